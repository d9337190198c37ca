//! What is sent, and when: the same for what is measured and for its floor.

use crate::book::load;
use crate::harness::error::BenchError;
use crate::itch_day;
use std::path::PathBuf;
use std::time::Duration;
use twinline_feed::source::EventSink;
use twinline_feed::source::itch::translate;
use twinline_wire::header::{DEFAULT_PACKET_LEN, HEADER_LEN};
use twinline_wire::market::Imbalance;
use twinline_wire::session::SourcePosition;
use twinline_wire::{Frame, Message, OpenPacket};

/// The message that is sent: of all market messages the one whose frame is nearest to 64 bytes.
pub type Sample = Imbalance;
/// Bytes of its frame.
pub const SAMPLE_LEN: usize = Sample::FRAME_LEN;
/// Messages in a full packet: room for the position behind them is kept.
pub const FULL: usize = (DEFAULT_PACKET_LEN - HEADER_LEN - SourcePosition::FRAME_LEN) / SAMPLE_LEN;

/// What is sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// One message of about 64 bytes.
    Message,
    /// A packet full of them.
    Packet,
}

impl Size {
    /// Messages sent at once.
    pub fn messages(self) -> usize {
        match self {
            Size::Message => 1,
            Size::Packet => FULL,
        }
    }
}

/// When it is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Mix {
    /// At an even rate.
    Rate {
        /// What.
        size: Size,
        /// Sends a second.
        per_second: u64,
    },
    /// Many at once, again and again.
    Bursts {
        /// What.
        size: Size,
        /// Sends in a burst.
        sends: u64,
        /// From the beginning of a burst to that of the next.
        every: Duration,
    },
    /// A file of ITCH messages at its own pace, so many times faster.
    Itch {
        /// The file, plain or gzip.
        file: PathBuf,
        /// How much faster.
        factor: f64,
    },
}

impl Mix {
    /// In a few words.
    pub fn name(&self) -> String {
        let of = |size: &Size| match size {
            Size::Message => format!("{SAMPLE_LEN} B"),
            Size::Packet => "full packets".into(),
        };
        match self {
            Mix::Rate { size, per_second } => format!("{}, {per_second}/s", of(size)),
            Mix::Bursts { size, sends, every } => {
                format!("{}, bursts of {sends} every {} us", of(size), every.as_micros())
            }
            Mix::Itch { factor, .. } => format!("ITCH, {factor} times its own pace"),
        }
    }
}

/// One send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Send {
    /// When, in nanoseconds from the slice's beginning.
    pub(super) at: u64,
    /// Bytes of its packet.
    pub(super) length: usize,
    pub(super) what: What,
}

/// What a send sends.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// So many samples.
    Samples(usize),
    /// Frames that stand in the feed.
    Event { begin: usize, end: usize },
}

/// Says what each slice sends.
#[derive(Debug)]
pub(super) struct Feed {
    mix: Mix,
    /// Nanoseconds of a slice.
    slice: u64,
    frames: Vec<u8>,
    /// Source time and frames of each event, from the first one's time on.
    events: Vec<(u64, usize, usize)>,
    /// The next event, and the source time at which the next slice begins.
    next: usize,
    time: u64,
}

impl Feed {
    pub(super) fn new(mix: &Mix, slice: Duration) -> Result<Self, BenchError> {
        let mut feed = Self {
            mix: mix.clone(),
            slice: slice.as_nanos() as u64,
            frames: Vec::new(),
            events: Vec::new(),
            next: 0,
            time: 0,
        };
        if let Mix::Itch { file, .. } = mix {
            let bytes = load(file).map_err(BenchError::io(format!("read {}", file.display())))?;
            feed.take(&bytes);
            if feed.events.is_empty() {
                return Err(BenchError::Broken(format!(
                    "{} holds no ITCH message that is published",
                    file.display()
                )));
            }
        }
        Ok(feed)
    }

    /// Translates the messages of a file.
    fn take(&mut self, bytes: &[u8]) {
        let mut first = None;
        for message in itch_day::messages(bytes).filter(|message| message.len() > 10) {
            let begin = self.frames.len();
            translate(1, message, &mut Frames(&mut self.frames));
            if self.frames.len() > begin {
                let time = itch_day::time(message);
                let time = time.saturating_sub(*first.get_or_insert(time));
                self.events.push((time, begin, self.frames.len()));
            }
        }
    }

    /// The frames of an event.
    pub(super) fn frames(&self, begin: usize, end: usize) -> &[u8] {
        &self.frames[begin..end]
    }

    /// What the next slice sends, in order, into `sends`. At least one.
    pub(super) fn fill(&mut self, sends: &mut Vec<Send>) {
        sends.clear();
        match &self.mix {
            Mix::Rate { size, per_second } => {
                let count = (u128::from(self.slice) * u128::from(*per_second) / 1_000_000_000).max(1) as u64;
                let at = |number: u64| u128::from(number) * 1_000_000_000 / u128::from(*per_second);
                sends.extend((0..count).map(|number| samples(*size, at(number) as u64)));
            }
            Mix::Bursts {
                size,
                sends: each,
                every,
            } => {
                let every = every.as_nanos().max(1) as u64;
                let bursts = (self.slice / every).max(1);
                let times = (0..bursts).flat_map(|burst| (0..*each).map(move |_| burst * every));
                sends.extend(times.map(|at| samples(*size, at)));
            }
            Mix::Itch { factor, .. } => {
                let factor = *factor;
                let span = (self.slice as f64 * factor) as u64;
                // Where the file says nothing for a whole slice, the slice begins with what it says next.
                while sends.is_empty() {
                    while let Some(&(time, begin, end)) = self.events.get(self.next)
                        && time < self.time + span
                    {
                        sends.push(Send {
                            at: (time.saturating_sub(self.time) as f64 / factor) as u64,
                            length: HEADER_LEN + end - begin + SourcePosition::FRAME_LEN,
                            what: What::Event { begin, end },
                        });
                        self.next += 1;
                    }
                    self.time += span;
                    match self.events.get(self.next) {
                        None => (self.next, self.time) = (0, 0),
                        Some(&(time, ..)) if sends.is_empty() => self.time = time,
                        Some(_) => {}
                    }
                }
            }
        }
    }
}

fn samples(size: Size, at: u64) -> Send {
    let messages = size.messages();
    Send {
        at,
        length: HEADER_LEN + messages * SAMPLE_LEN + SourcePosition::FRAME_LEN,
        what: What::Samples(messages),
    }
}

/// Keeps frames, back to back.
struct Frames<'f>(&'f mut Vec<u8>);

impl EventSink for Frames<'_> {
    fn push<M: Message>(&mut self, message: &M) {
        let mut buffer = [0; 256];
        let mut open = OpenPacket::new();
        if open.push(&mut buffer, message) {
            self.0.extend_from_slice(&buffer[HEADER_LEN..open.len()]);
        }
    }

    fn push_frame(&mut self, frame: &Frame<'_>) {
        self.0.extend_from_slice(frame.bytes());
    }

    fn end_event(&mut self, _: u16, _: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinline_wire::message::TEMPLATES;

    const SLICE: Duration = Duration::from_millis(100);

    #[test]
    fn no_market_message_is_nearer_to_64_bytes_than_the_sample() {
        let market = TEMPLATES.iter().filter(|def| def.flags_offset().is_some());
        let header = SAMPLE_LEN - Sample::DEF.block_length;
        let nearest = market.map(|def| (header + def.block_length).abs_diff(64)).min();
        assert_eq!(nearest, Some(SAMPLE_LEN.abs_diff(64)));
    }

    #[test]
    fn a_rate_and_bursts_are_spread_over_the_slice() {
        let mut sends = Vec::new();
        let rate = Mix::Rate {
            size: Size::Message,
            per_second: 50_000,
        };
        Feed::new(&rate, SLICE).unwrap().fill(&mut sends);
        assert_eq!(
            (sends.len(), sends[1].at, sends[4_999].at),
            (5_000, 20_000, 99_980_000)
        );
        let bursts = Mix::Bursts {
            size: Size::Packet,
            sends: 8,
            every: Duration::from_millis(10),
        };
        Feed::new(&bursts, SLICE).unwrap().fill(&mut sends);
        assert_eq!((sends.len(), sends[7].at, sends[8].at), (80, 0, 10_000_000));
        assert!(sends[0].length <= DEFAULT_PACKET_LEN && sends[0].length + SAMPLE_LEN > DEFAULT_PACKET_LEN);
    }

    #[test]
    fn an_itch_file_keeps_its_pace_and_begins_again_behind_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("day.itch50");
        let mut bytes = Vec::new();
        for number in 0..10_u64 {
            let mut message = vec![b'D', 0, 1, 0, 0];
            message.extend_from_slice(&(34_200_000_000_000 + number * 30_000_000).to_be_bytes()[2..]);
            message.extend_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(&(message.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&message);
        }
        std::fs::write(&file, bytes).unwrap();
        let mut feed = Feed::new(&Mix::Itch { file, factor: 2.0 }, SLICE).unwrap();
        let mut sends = Vec::new();
        let mut counts = Vec::new();
        for _ in 0..3 {
            feed.fill(&mut sends);
            counts.push(sends.len());
            assert!(sends.iter().all(|send| send.at < 100_000_000));
            assert!(sends.is_sorted_by_key(|send| send.at));
        }
        assert_eq!(counts, [7, 3, 7], "200 ms of the file a slice");
        assert_eq!(sends[1].at, 15_000_000);
    }
}
