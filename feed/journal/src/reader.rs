//! Readers of a journal, in any process, while it is written.

use crate::JournalError;
use std::ops::Deref;
use std::path::Path;
use twinline_wire::Packet;

/// What [`JournalReader::seek`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The reader stands at the packet that holds the sequence, or the first one after it.
    Found,
    /// The session has not come so far: the reader stands at its end and follows from there.
    NotYet,
    /// Retention removed it. The reader did not move.
    TooOld {
        /// The oldest sequence held of the session.
        oldest: u64,
    },
    /// No packet of the session is held. The reader did not move.
    UnknownSession,
}

/// Where a journal ends, and where its newest session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The newest session.
    pub session: u32,
    /// Its newest epoch.
    pub epoch: u32,
    /// That epoch's first sequence.
    pub epoch_base: u64,
    /// The next sequence to come.
    pub next: u64,
    /// True if the last message is EndOfSession.
    pub ended: bool,
    /// The oldest sequence held of the session.
    pub oldest: u64,
}

/// What is held of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSpan {
    /// The oldest sequence held.
    pub oldest: u64,
    /// The sequence after the last one held.
    pub next: u64,
    /// The newest epoch.
    pub epoch: u32,
    /// That epoch's first sequence.
    pub epoch_base: u64,
    /// True if the last message is EndOfSession.
    pub ended: bool,
    /// True if a newer session exists: nothing more comes in this one.
    pub superseded: bool,
}

/// A reader of a journal. A clone reads on its own from the same place and shares the mapped memory.
#[derive(Clone, Debug)]
pub struct JournalReader {}

impl JournalReader {
    /// Opens the journal in `dir` for reading, at its oldest packet.
    ///
    /// # Errors
    /// If there is no journal, or one of another format.
    pub fn open(_dir: &Path) -> Result<Self, JournalError> {
        unimplemented!()
    }

    /// The journal's channel.
    pub fn channel(&self) -> u16 {
        unimplemented!()
    }

    /// The longest packet in bytes.
    pub fn max_packet(&self) -> usize {
        unimplemented!()
    }

    /// Goes to the packet that holds `sequence`, or the first one after it. In a listener's journal to the notice that
    /// says it is lost, too.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn seek(&mut self, _session: u32, _sequence: u64) -> Result<Seek, JournalError> {
        unimplemented!()
    }

    /// Goes to the oldest packet held.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn seek_oldest(&mut self) -> Result<(), JournalError> {
        unimplemented!()
    }

    /// Goes behind the newest packet.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn seek_head(&mut self) -> Result<(), JournalError> {
        unimplemented!()
    }

    /// The next packet; `None` at the head: call again later.
    ///
    /// # Errors
    /// [`JournalError::Behind`] and [`JournalError::Discarded`] (seek, and go on), or a segment that cannot be read.
    #[expect(clippy::should_implement_trait, reason = "it lends, and it can fail")]
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, JournalError> {
        unimplemented!()
    }

    /// As many whole packets of one segment as fit `max_bytes`, at least one; `None` at the head.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_region(&mut self, _max_bytes: usize) -> Result<Option<Region>, JournalError> {
        unimplemented!()
    }

    /// Where the journal ends now; `None` while it is empty. Does not move the reader.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn head(&mut self) -> Result<Option<Head>, JournalError> {
        unimplemented!()
    }

    /// What is held of `session`; `None` if nothing. Does not move the reader.
    ///
    /// # Errors
    /// If a segment cannot be read.
    pub fn session(&mut self, _session: u32) -> Result<Option<SessionSpan>, JournalError> {
        unimplemented!()
    }
}

/// Whole packets of one session, back to back, each at a multiple of 64 bytes from the first (what stands between a
/// packet's end and the next multiple is undefined). Keeps its memory mapped.
#[derive(Clone, Debug)]
pub struct Region {}

impl Region {
    /// Session, and sequence of the first packet.
    pub fn first(&self) -> (u32, u64) {
        unimplemented!()
    }

    /// The sequence after the last message.
    pub fn end(&self) -> u64 {
        unimplemented!()
    }

    /// The packets.
    pub fn packets(&self) -> impl Iterator<Item = Packet<'_>> {
        std::iter::empty()
    }
}

impl Deref for Region {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        unimplemented!()
    }
}
