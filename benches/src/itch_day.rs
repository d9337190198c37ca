//! A day of many symbols in memory: one hour of one symbol, replayed by each of them a little later, merged by time. The
//! same bytes as `itch_day.py` makes, where the real hour is there; else of an hour that is made up.
//!
//! [`Looped`] reads it again and again, so that a benchmark never waits for a disk.

use crate::book::load;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use twinline_feed::source::itch::ItchFile;
use twinline_feed::source::pace::Pace;

/// Order references of symbol `k` start at `k` times this.
const REFERENCES: u64 = 1 << 28;
/// Symbol `k` runs `k` times this behind symbol 0, in nanoseconds.
const SHIFT: u64 = 37_000_000;
/// Messages of an hour that is made up: as many as the real one has.
const MADE_UP: u64 = 92_000;

/// ITCH messages in memory, each behind its length. A clone shares them.
#[derive(Clone, Debug)]
pub struct ItchDay {
    bytes: Arc<[u8]>,
    messages: u64,
    symbols: u16,
    made_up: bool,
}

impl ItchDay {
    /// `symbols` symbols (1 to 9,999) that replay the hour in `file`, plain or gzip, or without a file one that is made up.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn new(file: Option<&Path>, symbols: u16) -> io::Result<Self> {
        let hour = match file {
            Some(path) => load(path)?,
            None => made_up(),
        };
        let bytes = replicate(&hour, symbols);
        Ok(Self {
            messages: messages(&bytes).count() as u64,
            bytes: bytes.into(),
            symbols,
            made_up: file.is_none(),
        })
    }

    /// The messages, each behind its length.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many there are.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// What it is, for a report.
    pub fn describe(&self) -> String {
        let hour = if self.made_up { "a made-up" } else { "the real" };
        format!(
            "{} ITCH messages ({:.0} MB): {} symbols that replay {hour} hour",
            self.messages,
            self.bytes.len() as f64 / 1e6,
            self.symbols
        )
    }

    /// Reads the messages again and again, for ever.
    pub fn looped(&self) -> Looped {
        Looped {
            bytes: Arc::clone(&self.bytes),
            at: 0,
        }
    }

    /// A source, of number `number`, that says the messages again and again; its position goes on growing.
    pub fn source(&self, number: u16, pace: Pace) -> ItchFile {
        ItchFile::over(Path::new("memory"), number, pace, self.looped())
    }
}

/// Reads bytes in memory again and again. There is no end.
#[derive(Clone, Debug)]
pub struct Looped {
    bytes: Arc<[u8]>,
    at: usize,
}

impl Read for Looped {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.bytes.len() - self.at);
        buffer[..length].copy_from_slice(&self.bytes[self.at..self.at + length]);
        self.at += length;
        if self.at == self.bytes.len() {
            self.at = 0;
        }
        Ok(length)
    }
}

/// The messages of `bytes`, each without its length.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let [high, low, behind @ ..] = bytes else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (message, rest) = behind.split_at_checked(length)?;
        bytes = rest;
        Some(message)
    })
}

fn put(day: &mut Vec<u8>, message: &[u8]) {
    day.extend_from_slice(&(message.len() as u16).to_be_bytes());
    day.extend_from_slice(message);
}

/// Source time in nanoseconds.
fn time(message: &[u8]) -> u64 {
    message[5..11]
        .iter()
        .fold(0, |time, &byte| time << 8 | u64::from(byte))
}

fn set_time(message: &mut [u8], time: u64) {
    message[5..11].copy_from_slice(&time.to_be_bytes()[2..]);
}

/// The hour as `symbols` symbols have it.
fn replicate(hour: &[u8], symbols: u16) -> Vec<u8> {
    assert!((1..=9_999).contains(&symbols), "1 to 9,999 symbols");
    let (system, flow): (Vec<_>, Vec<_>) = messages(hour).partition(|message| message[0] == b'S');
    let (opening, closing) = system.split_at(system.len().min(2));
    let mut day = Vec::with_capacity(hour.len() * usize::from(symbols) + hour.len());
    opening.iter().for_each(|message| put(&mut day, message));
    let due = |at: usize, symbol: u16| time(flow[at]) + u64::from(symbol) * SHIFT;
    let mut heads: BinaryHeap<_> = match flow.is_empty() {
        true => BinaryHeap::new(),
        false => (0..symbols)
            .map(|symbol| Reverse((due(0, symbol), symbol, 0)))
            .collect(),
    };
    let (mut last, mut message) = (0, Vec::new());
    while let Some(Reverse((at, symbol, index))) = heads.pop() {
        message.clear();
        message.extend_from_slice(flow[index]);
        shift(&mut message, symbol, at);
        put(&mut day, &message);
        last = at;
        if index + 1 < flow.len() {
            heads.push(Reverse((due(index + 1, symbol), symbol, index + 1)));
        }
    }
    for (after, closing) in (1..).zip(closing) {
        message.clear();
        message.extend_from_slice(closing);
        set_time(&mut message, last + after);
        put(&mut day, &message);
    }
    day
}

/// `message` as symbol number `symbol` sends it at `time`.
fn shift(message: &mut [u8], symbol: u16, time: u64) {
    let kind = message[0];
    message[1..3].copy_from_slice(&(symbol + 1).to_be_bytes());
    set_time(message, time);
    let add = |field: &mut [u8], change: &dyn Fn(u64) -> u64| {
        let bytes = <[u8; 8]>::try_from(&*field).expect("eight bytes are taken");
        field.copy_from_slice(&change(u64::from_be_bytes(bytes)).to_be_bytes());
    };
    let symbol_number = u64::from(symbol);
    let reference = |number| match number {
        0 => 0,
        number => number + symbol_number * REFERENCES,
    };
    let matched = |number| number * 10_000 + symbol_number;
    let name = format!("S{symbol:04}   ");
    if b"AFEXDCUP".contains(&kind) {
        add(&mut message[11..19], &reference);
    }
    match kind {
        b'A' | b'F' | b'P' => message[24..32].copy_from_slice(name.as_bytes()),
        b'R' | b'H' => message[11..19].copy_from_slice(name.as_bytes()),
        b'E' => add(&mut message[23..31], &matched),
        _ => {}
    }
    if kind == b'P' {
        add(&mut message[36..44], &matched);
    }
}

/// An hour of one symbol with the real one's mix of types: of 100 messages 49 adds, 44 deletes, 4 executions, 2 trades, now
/// and then a cancel. Orders live a while, prices wander.
fn made_up() -> Vec<u8> {
    let mut hour = Vec::new();
    let mut random = 1_u64;
    let (mut live, mut order) = (Vec::new(), 0_u64);
    let mut now = 34_200_000_000_000_u64;
    let head = |kind: u8, now: u64| {
        let mut message = vec![kind, 0, 1, 0, 0];
        message.extend_from_slice(&now.to_be_bytes()[2..]);
        message
    };
    for number in 0..MADE_UP {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (dice, detail) = (random >> 33, random >> 12);
        now += dice % 78_000;
        let kind = match dice % 1000 {
            _ if live.is_empty() => b'A',
            0..481 => b'A',
            481..927 => b'D',
            927..971 => b'E',
            971..995 => b'P',
            _ => b'X',
        };
        let mut message = head(kind, now);
        let place = detail as usize % live.len().max(1);
        let named = match kind {
            b'A' => {
                order += 1;
                live.push(order);
                order
            }
            b'D' => live.swap_remove(place),
            b'P' => 0,
            _ => live[place],
        };
        message.extend_from_slice(&named.to_be_bytes());
        let shares = (1 + detail as u32 % 5 * 100).to_be_bytes();
        match kind {
            b'A' | b'P' => {
                message.push(if detail & 1 == 0 { b'B' } else { b'S' });
                message.extend_from_slice(&shares);
                message.extend_from_slice(b"MADEUP  ");
                message.extend_from_slice(&(5_850_000 + detail as u32 % 1000 * 100).to_be_bytes());
            }
            b'E' | b'X' => message.extend_from_slice(&shares),
            _ => {}
        }
        if matches!(kind, b'E' | b'P') {
            message.extend_from_slice(&number.to_be_bytes());
        }
        put(&mut hour, &message);
    }
    hour
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use twinline_feed::source::{EventSink, Source, SourceState};
    use twinline_wire::{Frame, Message};

    /// Counts what a source says.
    #[derive(Default)]
    struct Said(u64);

    impl EventSink for Said {
        fn push<M: Message>(&mut self, _: &M) {
            self.0 += 1;
        }
        fn push_frame(&mut self, _: &Frame<'_>) {}
        fn end_event(&mut self, _: u16, _: u64) {}
    }

    #[test]
    fn a_day_that_is_made_up_is_read_whole_and_again_and_again() {
        let day = ItchDay::new(None, 3).expect("nothing is read");
        assert_eq!(day.messages(), 3 * MADE_UP);
        let (mut source, mut said) = (day.source(1, Pace::Max), Said::default());
        while source.position() < 7 * MADE_UP {
            let polled = source.poll(0, &mut said).expect("memory does not break");
            assert_eq!(polled, SourceState::Ready);
        }
        assert_eq!(said.0, 7 * MADE_UP, "every message has a template of ours");
        let times: Vec<u64> = messages(day.bytes()).map(time).collect();
        assert!(times.is_sorted());
    }

    #[test]
    fn the_day_of_the_real_hour_is_the_one_that_others_make_of_it() {
        let Some(hour) = crate::book::real("aapl-20120621-0930-1030.itch50.gz") else {
            return;
        };
        let script = hour
            .ancestors()
            .nth(2)
            .map(|shared| shared.join("tools/itch_day.py"));
        let script = script
            .filter(|path| path.exists())
            .expect("it stands beside the data");
        let dir = tempfile::tempdir().expect("a directory");
        let out = dir.path().join("day.itch50");
        let made = Command::new("python3")
            .arg(&script)
            .arg(&hour)
            .arg("3")
            .arg(&out)
            .output();
        let made = made.expect("python3 is there");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let day = ItchDay::new(Some(&hour), 3).expect("it can be read");
        assert!(
            std::fs::read(&out).expect("it was made") == day.bytes(),
            "byte for byte"
        );
    }
}
