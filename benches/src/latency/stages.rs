//! Where the time goes: the same way in slices of its own, with stamps between the parts, so that the stamps do not disturb
//! the headline.
//!
//! The sending side is the publisher as it is, with lines that stamp around the sockets. The receiving side is driven from
//! the parts that the daemon is made of: its sockets, the check, the arbiter, a journal, a ring. It looks first at the line
//! that brings things first.

use super::load::Feed;
use super::ours::Sending;
use crate::harness::bed::{Bed, BedConfig, CHANNEL};
use crate::harness::clock::Clock;
use crate::harness::error::BenchError;
use crate::harness::median::Median;
use crate::harness::result::Stages;
use crate::harness::watch::Watch;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use twinline_feed::lines::NetworkLines;
use twinline_feed::publisher::{Burst, Line, Lines};
use twinline_feed::run::unix_now;
use twinline_journal::JournalWriter;
use twinline_line::LineReceiver;
use twinline_listener::{Arbiter, ArbiterConfig, Delivery, LinePoller, Notice, Origin, Sink};
use twinline_ring::{Kind, Next, RingConfig, RingReader, RingWriter};
use twinline_wire::Packet;
use twinline_wire::header::DEFAULT_PACKET_LEN;

/// What has not come after this is lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of the ring's records.
const RING: usize = 16 << 20;

/// Lines that stamp.
#[derive(Debug)]
struct Stamped {
    lines: NetworkLines,
    clock: Clock,
    /// Before and behind the send on A, and behind the send on B.
    at: [u64; 3],
}

impl Lines for Stamped {
    #[inline]
    fn send(&mut self, line: Line, burst: Burst<'_>) -> usize {
        if line == Line::A {
            self.at[0] = self.clock.now();
        }
        let sent = self.lines.send(line, burst);
        self.at[1 + line.index()] = self.clock.now();
        sent
    }
}

/// Stamps of a send, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Sent {
    sequence: u64,
    began: u64,
    lines: [u64; 3],
    back: u64,
}

/// Stamps of a delivery, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Got {
    sequence: u64,
    origin: Origin,
    received: u64,
    checked: u64,
    arbitrated: u64,
    journalled: u64,
    ringed: u64,
}

/// The end of the receiving side: a journal and a ring, with stamps.
struct Stamping {
    clock: Clock,
    journal: JournalWriter,
    ring: RingWriter,
    received: u64,
    checked: u64,
    got: Vec<Got>,
    error: Option<BenchError>,
}

impl Sink for Stamping {
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        let arbitrated = self.clock.now();
        if let Err(error) = self.journal.append(delivery.packet.bytes()) {
            self.error.get_or_insert(error.into());
            return;
        }
        let journalled = self.clock.now();
        let (location, time) = (self.journal.location().to_bits(), unix_now());
        self.ring.messages(
            &delivery.packet,
            delivery.skip,
            delivery.take,
            time,
            delivery.origin.into(),
            location,
        );
        self.got.push(Got {
            sequence: delivery.begin(),
            origin: delivery.origin,
            received: self.received,
            checked: self.checked,
            arbitrated,
            journalled,
            ringed: self.clock.now(),
        });
    }

    fn notice(&mut self, _: &Notice) {}
}

/// Measures `slices` slices; the way of a message, and the publisher's time for one.
pub(super) fn measure(
    config: &BedConfig,
    clock: &Clock,
    feed: &mut Feed,
    slices: usize,
    watch: &Watch,
    name: &str,
) -> Result<[Stages; 2], BenchError> {
    let bed = Bed::new(&BedConfig {
        ring: Some(RING),
        ..config.clone()
    })?;
    let [a, b] = bed.lines();
    let open = |line| LineReceiver::open(line, &config.receiver(), DEFAULT_PACKET_LEN);
    let receivers = config.listening(|| Ok([open(a)?, open(b)?]))?;
    let lines = Stamped {
        lines: bed.senders()?,
        clock: clock.clone(),
        at: [0; 3],
    };
    let sending = Sending::new(bed.publisher(lines)?);
    let dir = bed.ring().expect("a bed with a ring was made");
    let ring = RingConfig {
        channel: CHANNEL,
        capacity: RING,
        max_packet: DEFAULT_PACKET_LEN,
        journal: bed.listener_journal(),
    };
    let sink = Stamping {
        clock: clock.clone(),
        journal: JournalWriter::open(&bed.listener_journal(), bed.journal_config())?,
        ring: RingWriter::create(dir, &ring)?,
        received: 0,
        checked: 0,
        // Page faults are not to be a stage.
        got: vec![NOTHING; 1 << 20],
        error: None,
    };
    let reader = RingReader::open(dir, CHANNEL, "bench")?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        let receiving = scope.spawn(move || {
            config.pin(1)?;
            receive(receivers, sink, stop)
        });
        let step = |done| watch.step(name, done, slices);
        let sent = config
            .pin(0)
            .and_then(|()| send(sending, reader, clock, feed, slices, &step));
        stop.store(true, Ordering::Relaxed);
        let got = receiving.join();
        let got = got.map_err(|_| BenchError::Broken("the receiving thread panicked".into()))??;
        let (sent, seen) = sent?;
        Ok(stages(name, &sent, &got, &seen))
    })
}

const NOTHING: Got = Got {
    sequence: 0,
    origin: Origin::LineA,
    received: 0,
    checked: 0,
    arbitrated: 0,
    journalled: 0,
    ringed: 0,
};

/// Polls both lines as the daemon does, and stamps what comes.
fn receive(
    receivers: [LineReceiver; 2],
    mut sink: Stamping,
    stop: &AtomicBool,
) -> Result<Vec<Got>, BenchError> {
    sink.got.clear();
    let mut arbiter = Arbiter::new(ArbiterConfig::default(), None, 0);
    let clock = sink.clock.clone();
    let mut poller = LinePoller::new(receivers, DEFAULT_PACKET_LEN);
    while !stop.load(Ordering::Relaxed) {
        poller.poll(clock.now(), false, |line, bytes| {
            sink.received = clock.now();
            let delivered = sink.got.len();
            if let Ok(packet) = Packet::parse(bytes) {
                sink.checked = clock.now();
                arbiter.on_valid(line.into(), packet, sink.received, &mut sink);
            }
            sink.got.len() > delivered
        });
    }
    match sink.error.take() {
        Some(error) => Err(error),
        None => Ok(sink.got),
    }
}

/// What was sent, and when the reader saw which sequence.
type Seen = (Vec<Sent>, HashMap<u64, u64>);

/// Publishes the slices and polls the ring.
fn send(
    mut sending: Sending<Stamped>,
    mut reader: RingReader,
    clock: &Clock,
    feed: &mut Feed,
    slices: usize,
    step: &dyn Fn(usize) -> Result<(), BenchError>,
) -> Result<Seen, BenchError> {
    let (mut sends, mut sent, mut seen) = (
        Vec::new(),
        Vec::with_capacity(1 << 20),
        Vec::with_capacity(1 << 20),
    );
    let mut read = |seen: &mut Vec<(u64, u64)>| {
        if let Next::Record(record) = reader.poll()
            && record.kind == Kind::Messages
        {
            let sequence = record.sequence;
            seen.push((sequence, clock.now()));
        }
    };
    for slice in 0..slices {
        step(slice)?;
        sending.publisher.tick(unix_now())?;
        feed.fill(&mut sends);
        let (start, real) = (clock.now() + 200_000, unix_now());
        for send in &sends {
            let began = loop {
                read(&mut seen);
                let now = clock.now();
                if now >= start + send.at {
                    break now;
                }
            };
            let sequence = sending.publisher.next_sequence();
            sending.publish(feed, send.what, real + send.at)?;
            sent.push(Sent {
                sequence,
                began,
                lines: sending.publisher.lines().at,
                back: clock.now(),
            });
        }
        let last = sent.last().map_or(0, |sent| sent.sequence);
        let waiting = Instant::now();
        while seen.last().is_none_or(|seen| seen.0 < last) {
            read(&mut seen);
            if waiting.elapsed() > PATIENCE {
                return Err(BenchError::Broken(format!(
                    "the packet of sequence {last} did not arrive within {} s",
                    PATIENCE.as_secs()
                )));
            }
        }
    }
    Ok((sent, seen.into_iter().collect()))
}

/// Medians of the parts.
fn stages(name: &str, sent: &[Sent], got: &[Got], seen: &HashMap<u64, u64>) -> [Stages; 2] {
    let got: HashMap<u64, &Got> = got.iter().map(|got| (got.sequence, got)).collect();
    let mut by_b = 0;
    let (mut way, mut own): (Vec<[f64; 7]>, Vec<[f64; 3]>) = (Vec::new(), Vec::new());
    for sent in sent {
        let between = |from: u64, to: u64| to.saturating_sub(from) as f64;
        let [before, behind_a, behind_b] = sent.lines;
        own.push([
            between(sent.began, before),
            between(before, behind_a),
            between(behind_a, behind_b),
        ]);
        let (Some(got), Some(seen)) = (got.get(&sent.sequence), seen.get(&sent.sequence)) else {
            continue;
        };
        by_b += usize::from(got.origin == Origin::LineB);
        way.push([
            between(sent.began, before),
            between(before, got.received),
            between(got.received, got.checked),
            between(got.checked, got.arbitrated),
            between(got.arbitrated, got.journalled),
            between(got.journalled, got.ringed),
            between(got.ringed.max(sent.back), *seen),
        ]);
    }
    let parts = [
        "encode, journal",
        "send to receive",
        "check",
        "arbitrate",
        "own journal",
        "ring write",
        "reader",
    ];
    let share = 100.0 * by_b as f64 / way.len().max(1) as f64;
    let median = |values: Vec<f64>| Median::of(&values).median;
    let way = parts
        .iter()
        .enumerate()
        .map(|(part, name)| ((*name).into(), median(way.iter().map(|all| all[part]).collect())));
    let own = ["encode, journal", "send A", "send B"]
        .iter()
        .enumerate()
        .map(|(part, name)| ((*name).into(), median(own.iter().map(|all| all[part]).collect())));
    [
        Stages {
            name: format!("{name}: the way of a message, {share:.0}% first by line B"),
            parts: way.collect(),
        },
        Stages {
            name: format!("{name}: the publisher's time"),
            parts: own.collect(),
        },
    ]
}
