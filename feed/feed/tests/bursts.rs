//! Bursts: whatever a publisher is told to do, the lines carry what its journal holds, in order and once, and nothing
//! waits that has nothing to wait for.

mod common;

use common::*;
use proptest::prelude::*;
use std::cell::RefCell;
use std::rc::Rc;
use tempfile::TempDir;
use twinline_feed::publisher::{
    Burst, Line, Lines, PublishError, Publisher, PublisherConfig, Sink, open_without_thread,
};
use twinline_feed::source::EventSink;
use twinline_journal::JournalReader;
use twinline_wire::Packet;
use twinline_wire::header::ALIGN;

const START: u64 = 1_000_000_000_000;
/// How long a packet may wait for others, in nanoseconds.
const LONGEST_WAIT: u64 = 50_000;

/// The packets that a send carried.
type Send = (Line, Vec<Vec<u8>>);

/// Every send.
#[derive(Clone, Debug, Default)]
struct Sends(Rc<RefCell<Vec<Send>>>);

impl Lines for Sends {
    fn send(&mut self, line: Line, burst: Burst<'_>) -> usize {
        let packets: Vec<_> = burst.packets().map(<[u8]>::to_vec).collect();
        let count = packets.len();
        self.0.borrow_mut().push((line, packets));
        count
    }
}

/// What a publisher may be told.
#[derive(Clone, Debug)]
enum Step {
    /// So many events of so many messages each.
    Events(u16, u8),
    /// An event that no packet holds.
    TooLarge,
    Flush,
    Publish,
    RecordPositions,
    Tick,
    /// The time goes on, or back.
    Time(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..400u16, 0..4u8).prop_map(|(events, messages)| Step::Events(events, messages)),
        1 => Just(Step::TooLarge),
        3 => Just(Step::Flush),
        1 => Just(Step::Publish),
        1 => Just(Step::RecordPositions),
        3 => Just(Step::Tick),
        6 => (-1000..60_000i64).prop_map(Step::Time),
        1 => (0..200_000_000i64).prop_map(Step::Time),
    ]
}

struct Rig {
    /// Holds the journal.
    _dir: TempDir,
    journal: JournalReader,
    sends: Sends,
    publisher: Publisher<Sends>,
    config: PublisherConfig,
    now: u64,
    position: u64,
    /// Packets in the journal that were not seen on the lines yet.
    unsent: Vec<Vec<u8>>,
    /// The sequence behind the last packet that was.
    next: u64,
    /// The longest burst.
    longest: usize,
}

impl Rig {
    fn new(packet_limit: usize, burst: usize, block: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut place = place(dir.path(), "boot");
        place.block = block;
        let config = PublisherConfig {
            packet_limit,
            burst,
            ..at_once()
        };
        let sends = Sends::default();
        let (publisher, _) = open_without_thread(config.clone(), &place, sends.clone(), START).unwrap();
        let journal = JournalReader::open(&place.journal).unwrap();
        Self {
            _dir: dir,
            journal,
            sends,
            publisher,
            config,
            now: START,
            position: 0,
            unsent: Vec::new(),
            next: 1,
            longest: 0,
        }
    }

    /// One event with `messages` messages.
    fn event(&mut self, messages: u64) -> Result<(), PublishError> {
        self.position += 1;
        let position = self.position;
        let fill = |sink: &mut Sink<'_, Sends>| {
            (0..messages).for_each(|n| sink.push(&tick(position * 100 + n)));
            sink.end_event(SOURCE, position);
        };
        self.publisher.event(self.now, fill)
    }

    /// Does `step`; true if nothing may be unsent behind it.
    fn step(&mut self, step: &Step) -> bool {
        match *step {
            Step::Events(events, messages) => {
                for _ in 0..events {
                    if self.event(u64::from(messages)).is_err() {
                        return true;
                    }
                }
                false
            }
            Step::TooLarge => {
                let most = self.config.packet_limit as u64;
                assert!(self.event(most).is_err());
                true
            }
            Step::Flush => {
                let _ = self.publisher.flush(self.now);
                true
            }
            Step::Publish => {
                let _ = self.publisher.publish(&tick(7), self.now);
                true
            }
            Step::RecordPositions => {
                let _ = self.publisher.record_positions(self.now);
                true
            }
            Step::Tick => {
                self.publisher.tick(self.now).unwrap();
                false
            }
            Step::Time(by) => {
                self.now = self.now.saturating_add_signed(by);
                false
            }
        }
    }

    /// Compares what the lines carried with what the journal holds.
    fn check(&mut self, all_sent: bool) {
        while let Some(packet) = self.journal.next().unwrap() {
            self.unsent.push(packet.bytes().to_vec());
        }
        let sends = self.sends.0.take();
        assert!(sends.len().is_multiple_of(2));
        for both in sends.chunks(2) {
            let [(Line::A, packets), (Line::B, on_b)] = both else {
                panic!("a send on A, then one on B");
            };
            assert!(packets == on_b, "both lines carry the same");
            self.check_send(packets);
        }
        if all_sent {
            assert_eq!(self.unsent.len(), 0, "unsent");
        }
    }

    fn check_send(&mut self, packets: &[Vec<u8>]) {
        let limit = self.config.packet_limit;
        self.longest = self.longest.max(packets.len());
        assert!(packets.len() <= self.config.burst.min(Burst::most(limit)));
        let (last, full) = packets.split_last().unwrap();
        assert!(full.iter().all(|packet| packet.len() == limit) && last.len() <= limit);
        for bytes in packets {
            let packet = Packet::parse(bytes).expect("a whole packet");
            assert_eq!(packet.sequence(), self.next, "nothing is sent out of order");
            if packet.header().is_heartbeat() {
                continue;
            }
            assert!(
                self.unsent.first() == Some(bytes),
                "the journal's next packet is sent"
            );
            self.unsent.remove(0);
            self.next = packet.end();
        }
    }

    /// That nothing has waited for longer than it may, now that the publisher was told the time.
    fn check_wait(&self) {
        if let Some(bytes) = self.unsent.first() {
            let committed = Packet::parse(bytes).unwrap().header().sending_time.get();
            assert!(self.now - committed < LONGEST_WAIT);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lines_carry_the_journal_in_order_and_once_and_a_flush_leaves_nothing_unsent(
        limit in prop_oneof![Just(192usize), Just(448), Just(1408)],
        burst in prop_oneof![Just(1usize), 2..6usize, Just(usize::MAX)],
        block in prop_oneof![3 => Just(1u64 << 20), 1 => 4096..20_000u64],
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut rig = Rig::new(limit, burst, block);
        rig.publisher.tick(START).unwrap();
        for step in &steps {
            let all_sent = rig.step(step);
            rig.check(all_sent || burst == 1);
            if matches!(step, Step::Tick | Step::Events(..)) {
                rig.check_wait();
            }
        }
        if rig.publisher.end_session(rig.now).is_err() {
            rig.check(true);
        }
        rig.check(true);
        rig.publisher.tick(rig.now + 1_000_000_000).unwrap();
        rig.check(true);
    }
}

#[test]
fn one_send_carries_as_many_full_packets_as_a_datagram_holds_and_the_last_of_a_burst_is_not_padded() {
    let mut rig = Rig::new(1408, usize::MAX, 1 << 20);
    rig.publisher.tick(START).unwrap();
    rig.check(true);
    (0..4000).for_each(|_| rig.event(1).unwrap());
    rig.publisher.flush(START).unwrap();
    let sends = rig.sends.0.borrow().clone();
    let sizes: Vec<Vec<usize>> = sends
        .iter()
        .filter(|(line, _)| *line == Line::A)
        .map(|(_, packets)| packets.iter().map(Vec::len).collect())
        .collect();
    assert_eq!([sizes[0].len(), sizes[1].len()], [46, 46]);
    let last = sizes.last().unwrap().last().unwrap();
    assert!(*last < 1408 && !last.is_multiple_of(ALIGN), "{last}");
    rig.check(true);
}

#[test]
fn a_full_packet_goes_out_with_what_follows_it_or_when_it_has_waited() {
    let mut rig = Rig::new(1408, usize::MAX, 1 << 20);
    rig.publisher.tick(START).unwrap();
    rig.check(true);
    while rig.unsent.is_empty() {
        rig.event(1).unwrap();
        rig.check(false);
    }
    rig.now += LONGEST_WAIT - 1;
    rig.event(1).unwrap();
    rig.publisher.tick(rig.now).unwrap();
    rig.check(false);
    assert_eq!(rig.unsent.len(), 1);
    rig.now += 1;
    rig.publisher.tick(rig.now).unwrap();
    rig.check(true);
}

#[test]
fn what_is_committed_goes_out_when_a_publisher_is_dropped() {
    let mut rig = Rig::new(192, usize::MAX, 1 << 20);
    rig.publisher.tick(START).unwrap();
    rig.check(true);
    (0..40).for_each(|_| rig.event(1).unwrap());
    rig.check(false);
    assert!(rig.unsent.len() > 1);
    let other = Rig::new(192, 1, 1 << 20);
    drop(std::mem::replace(&mut rig.publisher, other.publisher));
    rig.check(true);
}
