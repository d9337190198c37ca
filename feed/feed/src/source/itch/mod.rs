//! NASDAQ TotalView-ITCH 5.0 files: messages behind big-endian 16-bit lengths, plain or gzip.
//!
//! Every type of the specification is known. What has a template of ours is published, the rest counted by type, as is
//! what the specification does not have: each message moves the position on, none is skipped unseen. Prices go from
//! four decimals to nine, instruments become `source << 16 | locate`.

mod frames;
pub mod layout;
mod translate;

pub use translate::translate;

use super::file::{self, Progress, Reader};
use super::pace::{Pace, Pacer};
use super::{EventSink, Outcome, Source, SourceError, SourceState, TypeCount};
use frames::Frames;
use layout::Head;
use std::io::Read;
use std::path::{Path, PathBuf};
use zerocopy::FromBytes;

/// Messages without a template that one poll goes through at most, so that it returns soon.
const SILENT_LIMIT: usize = 1024;

/// A file of ITCH messages.
pub struct ItchFile {
    path: PathBuf,
    source: u16,
    frames: Frames<Reader>,
    progress: Progress,
    pacer: Pacer,
    /// Messages consumed.
    position: u64,
    /// The position that the sink was last told.
    said: u64,
    /// Source time of the message before.
    time: u64,
    ended: bool,
    tally: Box<Tally>,
}

impl ItchFile {
    /// Opens a file, as source number `source`. Whether it is compressed its first bytes say, not its name.
    ///
    /// # Errors
    /// If it cannot be opened or read, or is empty.
    pub fn open(path: &Path, source: u16, pace: Pace) -> Result<Self, SourceError> {
        let (reader, progress) = file::open(path)?;
        Ok(Self::new(path, source, pace, reader, progress))
    }

    /// The messages that `reader` brings, plain, as source number `source`: memory, say. Errors call it `name`.
    pub fn over(name: &Path, source: u16, pace: Pace, reader: impl Read + Send + 'static) -> Self {
        Self::new(name, source, pace, Box::new(reader), Progress::default())
    }

    fn new(path: &Path, source: u16, pace: Pace, reader: Reader, progress: Progress) -> Self {
        Self {
            path: path.into(),
            source,
            frames: Frames::new(reader),
            progress,
            pacer: Pacer::new(pace),
            position: 0,
            said: 0,
            time: 0,
            ended: false,
            tally: Box::default(),
        }
    }

    /// Done with the message that is ready.
    #[inline]
    fn advance(&mut self) {
        self.frames.advance();
        self.position += 1;
    }

    /// Nothing more comes: tells the sink the position if it does not know it.
    #[cold]
    fn end(&mut self, sink: &mut impl EventSink) {
        self.ended = true;
        if self.position > self.said {
            self.said = self.position;
            sink.end_event(self.source, self.position);
        }
    }

    fn broken(&self, reason: String) -> SourceError {
        SourceError::Broken {
            path: self.path.clone(),
            offset: self.frames.offset(),
            messages: self.position,
            reason,
        }
    }
}

impl Source for ItchFile {
    fn id(&self) -> u16 {
        self.source
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn resume(&mut self, position: u64) -> Result<(), SourceError> {
        while self.position < position {
            match self.frames.ready() {
                Ok(true) => self.advance(),
                Ok(false) => {
                    return Err(SourceError::Short {
                        name: self.path.display().to_string(),
                        messages: self.position,
                        position,
                    });
                }
                Err(reason) => return Err(self.broken(reason)),
            }
        }
        self.said = self.position;
        Ok(())
    }

    fn poll(&mut self, now: u64, sink: &mut impl EventSink) -> Result<SourceState, SourceError> {
        if self.ended {
            return Ok(SourceState::End);
        }
        for _ in 0..SILENT_LIMIT {
            match self.frames.ready() {
                Ok(true) => {}
                Ok(false) => {
                    self.end(sink);
                    return Ok(SourceState::End);
                }
                Err(reason) => {
                    self.end(sink);
                    return Err(self.broken(reason));
                }
            }
            let message = self.frames.message();
            if let Ok((head, _)) = Head::ref_from_prefix(message) {
                self.time = head.nanoseconds();
            }
            let due = self.pacer.due(now, self.time);
            if due > now {
                return Ok(SourceState::Idle { until: due });
            }
            self.pacer.count();
            let outcome = translate(self.source, message, sink);
            self.tally.count(message, outcome, self.position);
            self.advance();
            if outcome == Outcome::Published {
                self.said = self.position;
                sink.end_event(self.source, self.position);
                break;
            }
        }
        Ok(SourceState::Ready)
    }

    fn counts(&self) -> Vec<TypeCount> {
        self.tally.counts()
    }

    fn progress(&self) -> Option<f64> {
        self.progress.share()
    }
}

/// Messages by type: those of the right length, and the others.
struct Tally([[Entry; 2]; 256]);

#[derive(Clone, Copy)]
struct Entry {
    outcome: Outcome,
    messages: u64,
    first: u64,
}

impl Default for Tally {
    fn default() -> Self {
        let entry = Entry {
            outcome: Outcome::UnknownType,
            messages: 0,
            first: 0,
        };
        Self([[entry; 2]; 256])
    }
}

impl Tally {
    #[inline]
    fn count(&mut self, message: &[u8], outcome: Outcome, position: u64) {
        let kind = message.first().copied().unwrap_or_default();
        let entry = &mut self.0[usize::from(kind)][usize::from(outcome == Outcome::WrongLength)];
        if entry.messages == 0 {
            (entry.outcome, entry.first) = (outcome, position);
        }
        entry.messages += 1;
    }

    fn counts(&self) -> Vec<TypeCount> {
        let name = |kind: u8| match kind {
            b'!'..=b'~' => char::from(kind).to_string(),
            _ => format!("0x{kind:02x}"),
        };
        let entries = (0..=u8::MAX).zip(&self.0);
        let came = entries
            .flat_map(|(kind, entries)| entries.iter().map(move |entry| (kind, entry)))
            .filter(|(_, entry)| entry.messages > 0);
        came.map(|(kind, entry)| TypeCount {
            kind: name(kind),
            outcome: entry.outcome,
            messages: entry.messages,
            first: entry.first,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests;
