//! A message that is published by itself takes a shorter way than a batch: what comes of it must be the same.

mod common;

use common::*;
use proptest::prelude::*;
use tempfile::TempDir;
use twinline_feed::publisher::{Line, PublishError, Publisher, PublisherConfig, open_without_thread};
use twinline_feed::source::EventSink;
use twinline_wire::field::EventFlags;
use twinline_wire::market::{DeleteOrder, Imbalance};
use twinline_wire::{Message, U32, U64};

/// What a publisher may be told.
#[derive(Clone, Debug)]
enum Step {
    /// So many messages, each at once.
    Tick(u8),
    Imbalance(u8),
    /// One whose source says itself that its event ends.
    Marked,
    /// One that names an instrument.
    Definition(u32),
    /// An event that stays in the open packet, of this source.
    Event(u16),
    /// An event without messages.
    Silent(u16),
    Flush,
    RecordPositions,
    Turn(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let source = prop_oneof![Just(SOURCE), Just(SOURCE + 1)];
    prop_oneof![
        4 => (1..6u8).prop_map(Step::Tick),
        4 => (1..6u8).prop_map(Step::Imbalance),
        1 => Just(Step::Marked),
        1 => (0..3u32).prop_map(Step::Definition),
        2 => source.clone().prop_map(Step::Event),
        1 => source.prop_map(Step::Silent),
        2 => Just(Step::Flush),
        1 => Just(Step::RecordPositions),
        2 => (0..200_000_000u64).prop_map(Step::Turn),
    ]
}

struct Rig {
    dir: TempDir,
    lines: Recorded,
    publisher: Publisher<Recorded>,
    /// Publishes by itself what the other one publishes as a batch.
    alone: bool,
    now: u64,
    /// Of each source, SOURCE and the one behind it.
    positions: [u64; 2],
}

impl Rig {
    fn new(alone: bool, packet_limit: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lines = Recorded::default();
        let config = PublisherConfig {
            source: SOURCE,
            packet_limit,
            ..at_once()
        };
        let place = place(dir.path(), "boot");
        let now = 1_000_000_000_000;
        let (publisher, _) = open_without_thread(config, &place, lines.clone(), now).unwrap();
        Self {
            dir,
            lines,
            publisher,
            alone,
            now,
            positions: [0; 2],
        }
    }

    fn publish<M: Message>(&mut self, message: &M) -> Result<(), PublishError> {
        self.positions[0] += 1;
        match self.alone {
            true => self.publisher.publish(message, self.now),
            false => self
                .publisher
                .publish_batch(std::slice::from_ref(message), self.now),
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), PublishError> {
        let imbalance = Imbalance {
            source_time: U64::new(5),
            ..Imbalance::NULL
        };
        match *step {
            Step::Tick(count) => (0..count.into()).try_for_each(|n| self.publish(&tick(n))),
            Step::Imbalance(count) => (0..count).try_for_each(|_| self.publish(&imbalance)),
            Step::Marked => self.publish(&DeleteOrder {
                source_time: U64::new(1),
                order_id: U64::new(2),
                instrument: U32::new(7),
                flags: EventFlags::END_OF_EVENT,
            }),
            Step::Definition(instrument) => self.publish(&definition(1, instrument)),
            Step::Event(source) | Step::Silent(source) => {
                let position = &mut self.positions[usize::from(source - SOURCE)];
                *position += 1;
                let silent = matches!(step, Step::Silent(_));
                self.publisher.event(self.now, |sink| {
                    if !silent {
                        sink.push(&imbalance);
                    }
                    sink.end_event(source, *position);
                })
            }
            Step::Flush => self.publisher.flush(self.now),
            Step::RecordPositions => self.publisher.record_positions(self.now),
            Step::Turn(later) => {
                self.now += later;
                self.publisher.tick(self.now)
            }
        }
    }

    /// Everything that shows what it did.
    fn state(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let counters = self.publisher.counters();
        (
            self.lines.take(Line::A),
            self.publisher.next_sequence(),
            self.publisher.source_messages(),
            [SOURCE, SOURCE + 1]
                .map(|source| (self.publisher.position(source), self.publisher.committed(source))),
            [
                counters.messages.get(),
                counters.source_messages.get(),
                counters.packets.get(),
                counters.bytes.get(),
            ],
            self.publisher.reserve().next(),
            packets(&self.dir.path().join("journal"), 1),
        )
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_message_published_by_itself_is_what_a_batch_of_it_is(
        steps in prop::collection::vec(step(), 1..60),
        limit in prop_oneof![Just(192), Just(1408)],
    ) {
        let mut alone = Rig::new(true, limit);
        let mut batch = Rig::new(false, limit);
        for step in &steps {
            let done = [alone.take(step), batch.take(step)].map(|done| done.map_err(|error| error.to_string()));
            prop_assert_eq!(&done[0], &done[1], "{:?}", step);
            prop_assert_eq!(alone.state(), batch.state(), "{:?}", step);
        }
    }
}

#[test]
fn a_message_published_by_itself_stops_at_the_end_of_what_is_reserved_as_a_batch_does() {
    let published = [true, false].map(|alone| {
        let mut rig = Rig::new(alone, 192);
        let mut published = 0;
        let error = loop {
            match rig.publish(&tick(published)) {
                Ok(()) => published += 1,
                Err(error) => break error.to_string(),
            }
        };
        (published, error, rig.publisher.next_sequence())
    });
    assert!(published[0].0 > 1000);
    assert_eq!(published[0], published[1]);
}
