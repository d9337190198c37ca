//! From an ITCH message in memory to SBE in the journal: the real source, publisher and journal, on lines that take
//! everything. What the sockets cost is not in it.
//!
//! Rounds of all pieces are interleaved, and stand beside a floor of the same round: the barest loop over the same bytes.

use crate::harness::median::Median;
use crate::harness::result::{Figure, Goal, Section, Value};
use crate::itch_day::{ItchDay, messages};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;
use twinline_feed::publisher::{Burst, Line, Lines, Place, Publisher, PublisherConfig, open_without_thread};
use twinline_feed::run::poll;
use twinline_feed::source::itch::ItchFile;
use twinline_feed::source::pace::Pace;
use twinline_feed::source::{EventSink, Source};
use twinline_journal::epoch::Holder;
use twinline_journal::{JournalConfig, JournalWatch, Prepare, Retention, SyncPolicy};
use twinline_wire::header::DEFAULT_PACKET_LEN;
use twinline_wire::message::FRAME_HEADER_LEN;
use twinline_wire::{Frame, Message, OpenPacket, Stamp};

/// What the benchmark fails with.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Bytes of a segment of the journals, and segments of the one that recycles them.
const SEGMENT: usize = 16 << 20;
const KEPT: usize = 6;

/// How to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// An hour of one symbol as an ITCH file, plain or gzip; `None`: one is made up.
    pub hour: Option<PathBuf>,
    /// Symbols that replay it.
    pub symbols: u16,
    /// Interleaved rounds.
    pub rounds: usize,
    /// ITCH messages of a piece in a round.
    pub messages: u64,
    /// Where the journals are made: memory, or the device that counts.
    pub dir: PathBuf,
}

impl Options {
    /// Journals in shared memory where there is some, 100 symbols, 1,000 rounds of some hundred microseconds a piece.
    pub fn new(hour: Option<PathBuf>) -> Self {
        let memory = PathBuf::from("/dev/shm");
        Self {
            hour,
            symbols: 100,
            rounds: 1000,
            messages: 1 << 14,
            dir: if memory.is_dir() {
                memory
            } else {
                std::env::temp_dir()
            },
        }
    }
}

/// Takes every packet.
struct Everything;

impl Lines for Everything {
    fn send(&mut self, _: Line, burst: Burst<'_>) -> usize {
        black_box(burst.bytes());
        burst.count()
    }
}

/// A way from ITCH to encoded packets.
trait Piece {
    fn name(&self) -> &'static str;

    /// Goes on with the next `messages` messages.
    fn run(&mut self, messages: u64) -> Result<(), Error>;
}

/// Measures every piece.
///
/// # Errors
/// If the hour cannot be read or a journal cannot be written.
pub fn run(options: &Options) -> Result<Section, Error> {
    let day = ItchDay::new(options.hour.as_deref(), options.symbols)?;
    let dir = tempfile::tempdir_in(&options.dir)?;
    let recycled = Whole::new(
        "parse, encode, commit, checksum: recycled segments",
        &day,
        &dir.path().join("recycled"),
        Some(KEPT),
    )?;
    let fresh = Whole::new("the same, fresh segments", &day, &dir.path().join("fresh"), None)?;
    let watches = [recycled.watch.clone(), fresh.watch.clone()];
    let mut pieces: [Box<dyn Piece>; 4] = [
        Box::new(Floor::new(&day)),
        Box::new(Bare::new(&day)),
        Box::new(recycled),
        Box::new(fresh),
    ];
    let mut times = vec![Vec::with_capacity(options.rounds); pieces.len()];
    for round in 0..=options.rounds {
        for (piece, times) in pieces.iter_mut().zip(&mut times) {
            let start = Instant::now();
            piece.run(options.messages)?;
            let nanoseconds = start.elapsed().as_nanos() as f64 / options.messages as f64;
            // The first round warms up.
            if round > 0 {
                times.push(nanoseconds);
            }
        }
    }
    let mut section = Section {
        name: "encode".into(),
        title: "ITCH message to SBE in the journal, in full packets".into(),
        how: vec![
            format!("{}, in memory, looped.", day.describe()),
            format!(
                "{} interleaved rounds of {} messages a piece, one thread; medians, and medians of the ratios to the \
                 floor of the same round.",
                options.rounds, options.messages
            ),
            format!(
                "Real ITCH source, publisher and journal writer; packets of {DEFAULT_PACKET_LEN} bytes, no sync, \
                 segments of {} MiB in {}, of which {KEPT} are kept and recycled, or all.",
                SEGMENT >> 20,
                options.dir.display()
            ),
            "The lines take every packet and do nothing with it. The floor reads each message's length and copies its \
             bytes behind a frame header of constant bytes into memory as large as the recycled segments."
                .into(),
        ],
        ..Section::default()
    };
    for (index, (piece, time)) in pieces.iter().zip(&times).enumerate() {
        let figure = |unit: &str, value, goal| Figure {
            name: piece.name().into(),
            unit: unit.into(),
            value: Value::Median(value),
            goal,
            note: None,
        };
        let goal = (index == 2).then(|| Goal::at_most(15.0, 40.0));
        section
            .figures
            .push(figure("ns a message", Median::of(time), goal));
        if index > 0 {
            let ratio = Median::of_ratios(time, &times[0]);
            section.figures.push(figure("x the floor", ratio, None));
        }
    }
    for (watch, name) in watches.iter().zip(["recycled", "fresh"]) {
        section.figures.push(Figure {
            name: format!("waits for the next segment, {name}"),
            unit: "times".into(),
            value: Value::Single(watch.counts().stalls as f64),
            goal: None,
            note: Some("the device, or the helper's core, was slower than the writer".into()),
        });
    }
    Ok(section)
}

/// The floor: parse the length, copy the bytes.
struct Floor {
    day: ItchDay,
    /// Where in the day the next message is.
    at: usize,
    out: Vec<u8>,
    /// Where in `out` the next one goes.
    to: usize,
}

impl Floor {
    fn new(day: &ItchDay) -> Self {
        Self {
            day: day.clone(),
            at: 0,
            // Written, so that no page of it is still to come.
            out: vec![1; SEGMENT * KEPT],
            to: 0,
        }
    }
}

impl Piece for Floor {
    fn name(&self) -> &'static str {
        "floor: parse the length, copy the bytes"
    }

    #[inline(never)]
    fn run(&mut self, count: u64) -> Result<(), Error> {
        let mut left = count;
        while left > 0 {
            let mut rest = messages(&self.day.bytes()[self.at..]);
            let mut taken = 0;
            for message in rest.by_ref().take(left as usize) {
                let length = FRAME_HEADER_LEN + message.len();
                if self.to + length > self.out.len() {
                    self.to = 0;
                }
                let frame = &mut self.out[self.to..self.to + length];
                frame[..FRAME_HEADER_LEN].copy_from_slice(&[7; FRAME_HEADER_LEN]);
                frame[FRAME_HEADER_LEN..].copy_from_slice(message);
                self.to += length;
                self.at += 2 + message.len();
                taken += 1;
            }
            left -= taken;
            if self.at == self.day.bytes().len() {
                self.at = 0;
            }
        }
        black_box(&self.out);
        Ok(())
    }
}

/// Translates into packets in one buffer: no positions, no journal, no checksum of a whole stream.
struct Bare {
    source: ItchFile,
    sink: BareSink,
}

struct BareSink {
    open: OpenPacket,
    buffer: [u8; DEFAULT_PACKET_LEN],
}

impl Bare {
    fn new(day: &ItchDay) -> Self {
        Self {
            source: day.source(1, Pace::Max),
            sink: BareSink {
                open: OpenPacket::new(),
                buffer: [0; DEFAULT_PACKET_LEN],
            },
        }
    }
}

impl EventSink for BareSink {
    #[inline]
    fn push<M: Message>(&mut self, message: &M) {
        if !self.open.push(&mut self.buffer, message) {
            let stamp = Stamp {
                sequence: 1,
                ..Stamp::default()
            };
            black_box(self.open.finish(&mut self.buffer, stamp, 0));
            self.open = OpenPacket::new();
            self.open.push(&mut self.buffer, message);
        }
    }

    fn push_frame(&mut self, _: &Frame<'_>) {}

    #[inline]
    fn end_event(&mut self, _: u16, _: u64) {}
}

impl Piece for Bare {
    fn name(&self) -> &'static str {
        "parse, encode, checksum: packets in one buffer"
    }

    #[inline(never)]
    fn run(&mut self, count: u64) -> Result<(), Error> {
        let end = self.source.position() + count;
        while self.source.position() < end {
            self.source.poll(0, &mut self.sink)?;
        }
        Ok(())
    }
}

/// All of it.
struct Whole {
    name: &'static str,
    source: ItchFile,
    publisher: Publisher<Everything>,
    watch: JournalWatch,
    now: u64,
}

impl Whole {
    fn new(name: &'static str, day: &ItchDay, dir: &Path, kept: Option<usize>) -> Result<Self, Error> {
        std::fs::create_dir(dir)?;
        let place = Place {
            journal: dir.join("journal"),
            journal_config: JournalConfig {
                channel: 1,
                max_packet: DEFAULT_PACKET_LEN,
                segment_size: SEGMENT,
                sync: SyncPolicy::None,
                retention: Retention {
                    segments: kept,
                    ..Retention::default()
                },
                prepare: Prepare::Thread,
            },
            store: dir.join("epochs.json"),
            session: None,
            holder: Holder::this_machine()?,
            block: twinline_feed::publisher::DEFAULT_BLOCK,
        };
        let config = PublisherConfig::default();
        let (publisher, _) = open_without_thread(config, &place, Everything, 1)?;
        publisher.extend_reservation(1 << 48);
        Ok(Self {
            name,
            source: day.source(1, Pace::Max),
            watch: publisher.watch_journal(),
            publisher,
            now: 1,
        })
    }
}

impl Piece for Whole {
    fn name(&self) -> &'static str {
        self.name
    }

    #[inline(never)]
    fn run(&mut self, count: u64) -> Result<(), Error> {
        let end = self.source.position() + count;
        while self.source.position() < end {
            self.now += 1000;
            poll(&mut self.publisher, &mut self.source, self.now, self.now)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_measured_and_has_its_ratio_to_the_floor() {
        let options = Options {
            symbols: 2,
            rounds: 2,
            messages: 1 << 12,
            dir: std::env::temp_dir(),
            ..Options::new(None)
        };
        let section = run(&options).expect("a temporary journal can be written");
        let of = |unit: &str| {
            let figures = section.figures.iter().filter(|figure| figure.unit == unit);
            figures.map(|figure| figure.value.middle()).collect::<Vec<_>>()
        };
        let (times, ratios) = (of("ns a message"), of("x the floor"));
        assert_eq!((times.len(), ratios.len()), (4, 3));
        assert!(times.iter().chain(&ratios).all(|&value| value > 0.0));
        let goals = section.figures.iter().filter(|figure| figure.goal.is_some());
        assert_eq!(goals.count(), 1);
    }
}
