//! Where messages come from: files, streams, generators.
//!
//! A [`Source`] turns what a venue sends into messages of ours and hands them, one source event at a time, to an
//! [`EventSink`], which the publisher is. It does its own reading and pacing, is told the time, and keeps a position
//! that a restarted publisher resumes it at. A source that numbers its messages the same way each time it is read is
//! what makes an interrupted run and an uninterrupted one equal.

mod file;
pub mod generator;
pub mod itch;
pub mod lobster;
pub mod pace;
pub mod retry;

use crate::engine::EngineAddress;
use std::io;
use std::path::PathBuf;
use twinline_wire::{Frame, Message};

/// Takes what a source has to say. The publisher is one.
pub trait EventSink {
    /// One message of the current source event, in order. The source has set
    /// [`END_OF_EVENT`](twinline_wire::EventFlags::END_OF_EVENT) on the event's last message that has flags.
    fn push<M: Message>(&mut self, message: &M);

    /// The same for a message that is framed already, by another process or for a queue. What is no market message of
    /// this build's schema is not published.
    fn push_frame(&mut self, frame: &Frame<'_>);

    /// The event is complete: everything up to `position` of `source` (exclusive: a count of source messages consumed)
    /// is now said. It may come without a message before it, where the source's last messages have no template.
    fn end_event(&mut self, source: u16, position: u64);
}

/// What a source can do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// Poll again at once: more may be there.
    Ready,
    /// Nothing before this time, in nanoseconds of the clock that [`Source::poll`] is given.
    Idle {
        /// When to poll again.
        until: u64,
    },
    /// Everything has been said. Stays so.
    End,
}

/// Something that market data comes from.
pub trait Source {
    /// The source's number, part of every instrument's number.
    fn id(&self) -> u16;

    /// Source messages consumed since the source's beginning, those without a template included.
    fn position(&self) -> u64;

    /// Goes to `position`, before the first poll: the messages before it are consumed without being said or counted.
    ///
    /// # Errors
    /// If the source ends or breaks before `position`.
    fn resume(&mut self, position: u64) -> Result<(), SourceError>;

    /// Puts at most one source event into `sink`. `now` is in nanoseconds of any clock, always the same one, that does
    /// not run backwards; pacing counts from the first poll.
    ///
    /// # Errors
    /// If the source breaks; all that could be read before that has been said. From then on it is at its end.
    fn poll(&mut self, now: u64, sink: &mut impl EventSink) -> Result<SourceState, SourceError>;

    /// Messages consumed by type since the first poll. Their sum is the position, less the position resumed at.
    fn counts(&self) -> Vec<TypeCount>;

    /// Everything below `position` is journalled on every channel it went to and will not be asked for again. Called
    /// now and then with a position that never falls; whoever keeps messages for a publisher's restart may drop them.
    #[inline]
    fn acknowledge(&mut self, position: u64) {
        let _ = position;
    }

    /// The share that is consumed already, from 0 to 1; `None` if the end is not known.
    fn progress(&self) -> Option<f64> {
        None
    }
}

/// How often a type of source message came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeCount {
    /// The type, in the source's own letters.
    pub kind: String,
    /// What became of messages like this.
    pub outcome: Outcome,
    /// How many.
    pub messages: u64,
    /// Position of the first of them: how many source messages stand before it.
    pub first: u64,
}

/// What becomes of a source message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It was published.
    Published,
    /// The source's specification has it, but no template of ours does: counted only.
    NoTemplate,
    /// The source's specification does not have this type: counted only.
    UnknownType,
    /// It is longer or shorter than the specification says: counted only.
    WrongLength,
}

/// Counts of a source that publishes all that it has: by kind the messages, and the position of the first.
pub(crate) fn published(kinds: &[&str], counts: &[(u64, u64)]) -> Vec<TypeCount> {
    let came = kinds
        .iter()
        .zip(counts)
        .filter(|(_, (messages, _))| *messages > 0);
    came.map(|(kind, (messages, first))| TypeCount {
        kind: (*kind).into(),
        outcome: Outcome::Published,
        messages: *messages,
        first: *first,
    })
    .collect()
}

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be opened.
    #[error("cannot read {}: {cause}: check the path and its permissions", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// There is nothing in it.
    #[error("{} is empty: name a file that holds messages", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// Its content breaks off or makes no sense.
    #[error(
        "{} breaks at byte {offset} (of its uncompressed content), after message {messages}: {reason}; \
         what stands before was read: get the file again and resume",
        path.display()
    )]
    Broken {
        /// Which file.
        path: PathBuf,
        /// Byte of the uncompressed content at which the first message that cannot be read begins.
        offset: u64,
        /// Whole messages before it.
        messages: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A line of it makes no sense.
    #[error(
        "{}, line {line}: {reason}; the {messages} rows before it were read: correct the line and resume",
        path.display()
    )]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// The line's number, from 1, a header included.
        line: u64,
        /// What is wrong with it, and what belongs there.
        reason: String,
        /// Rows before it.
        messages: u64,
    },
    /// Nobody can connect.
    #[error(
        "cannot listen for an engine at {address}: {cause}: choose another place, or see whether a publisher listens there already"
    )]
    Listen {
        /// Where.
        address: EngineAddress,
        /// What the system says.
        cause: io::Error,
    },
    /// An engine broke the dialogue.
    #[error(
        "the engine connected at {address} sent {reason}; {events} events before it were taken, its connection was closed"
    )]
    Peer {
        /// Where it is.
        address: EngineAddress,
        /// Events taken.
        events: u64,
        /// What is wrong.
        reason: String,
    },
    /// It ends before the position to resume at.
    #[error(
        "{name} ends after {messages} messages but is to be resumed at {position}: the journal was not made from \
         it; name the same source again, or another journal directory"
    )]
    Short {
        /// Which source.
        name: String,
        /// Messages that it has.
        messages: u64,
        /// Position asked for.
        position: u64,
    },
}

#[cfg(test)]
pub(crate) use recorder::Recorder;

#[cfg(test)]
mod recorder {
    use super::EventSink;
    use twinline_wire::{Frame, Message};

    /// A template and its block.
    pub(crate) type Recorded = (u16, Vec<u8>);

    /// One source event.
    #[derive(Debug, PartialEq, Eq)]
    pub(crate) struct Event {
        pub(crate) messages: Vec<Recorded>,
        pub(crate) position: u64,
    }

    /// A sink that keeps what it is told.
    #[derive(Debug, Default)]
    pub(crate) struct Recorder {
        /// Messages of the event that is not ended yet.
        pub(crate) pending: Vec<Recorded>,
        pub(crate) events: Vec<Event>,
    }

    impl EventSink for Recorder {
        fn push<M: Message>(&mut self, message: &M) {
            self.pending.push((M::TEMPLATE, message.as_bytes().to_vec()));
        }

        fn push_frame(&mut self, frame: &Frame<'_>) {
            self.pending.push((frame.template(), frame.block().to_vec()));
        }

        fn end_event(&mut self, _source: u16, position: u64) {
            let messages = std::mem::take(&mut self.pending);
            self.events.push(Event { messages, position });
        }
    }
}
