//! The one writer of a journal.

use crate::JournalError;
use std::path::Path;
use std::time::Duration;

/// How a journal is written. Channel, packet limit and segment size are fixed when the journal is created.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// The channel whose packets it holds.
    pub channel: u16,
    /// The longest packet in bytes: a multiple of 64, at most [`twinline_wire::header::MAX_PACKET_LEN`].
    pub max_packet: usize,
    /// Bytes of a segment: a multiple of 4,096, from 64 KiB to 16 GiB.
    pub segment_size: usize,
    /// When packets become durable.
    pub sync: SyncPolicy,
    /// What is kept.
    pub retention: Retention,
    /// Who makes the next segment.
    pub prepare: Prepare,
}

/// When packets become durable (survive a power cut; a killed process loses nothing in any case).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// When the kernel likes, or when asked with [`JournalWriter::sync`].
    None,
    /// About this often, by a helper thread.
    Every(Duration),
    /// Before [`JournalWriter::commit`] returns.
    EveryPacket,
}

/// What is kept; the oldest segments beyond any limit go. `None` sets no limit. The segment being written always stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// At most so many segments, 2 or more.
    pub segments: Option<usize>,
    /// At most so many bytes of segments (at least two segments stay).
    pub bytes: Option<u64>,
    /// Segments whose last packet was sent this long before the newest packet go.
    pub age: Option<Duration>,
}

/// Who makes the next segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepare {
    /// A helper thread, ahead of use: the writer makes no system call.
    Thread,
    /// The writer itself, when it needs it: deterministic, no thread.
    Inline,
}

/// Where a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
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
}

/// What [`JournalWriter::open`] found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// True if the journal was created.
    pub created: bool,
    /// Packets whose checksum and continuity were checked.
    pub packets: u64,
    /// Segments that were read wholly; of the others only the first packet and the end mark.
    pub segments: u64,
    /// Bytes after the last valid packet that were not zero and were cut off: what a crash tore.
    pub torn_bytes: u64,
    /// Segments after the last valid packet that were removed because they held something.
    pub torn_segments: u64,
}

/// The one writer of a journal. Dropping it syncs (but for [`SyncPolicy::None`]) and lets another one open it.
#[derive(Debug)]
pub struct JournalWriter {}

impl JournalWriter {
    /// Creates the journal in `dir` (and `dir`), or opens it: checks what a crash may have torn, cuts the torn tail.
    ///
    /// # Errors
    /// Another writer, a directory that is no journal or of other settings, no permission, no room, damage below the
    /// last synced position.
    pub fn open(_dir: &Path, _config: JournalConfig) -> Result<Self, JournalError> {
        unimplemented!()
    }

    /// Where the journal ends; `None` while it is empty.
    pub fn tail(&self) -> Option<Tail> {
        unimplemented!()
    }

    /// What opening it found.
    pub fn recovered(&self) -> &Recovery {
        unimplemented!()
    }

    /// A number that names this journal: another journal, also a copy of this one, has another number. For
    /// [`epoch::Request`](crate::epoch::Request).
    pub fn id(&self) -> u64 {
        unimplemented!()
    }

    /// Where the next packet goes: `max_packet` bytes, the first four zero; they must stay zero (a reader looks there).
    /// What is written here counts only once it is committed.
    ///
    /// # Errors
    /// If the next segment could not be made (full disk), or syncing failed. The call can be repeated.
    pub fn slot(&mut self) -> Result<&mut [u8], JournalError> {
        unimplemented!()
    }

    /// Commits the packet of `length` bytes in the slot, whose header has `flags`: readers see it from now on. Returns
    /// its bytes, for the lines.
    ///
    /// # Panics
    /// If the packet does not continue the journal, or no slot was asked for.
    pub fn commit(&mut self, _length: usize, _flags: u8) -> &[u8] {
        unimplemented!()
    }

    /// Copies a whole packet made elsewhere (a listener's, a replica's) and commits it. A higher session begins a new
    /// segment. Its checksum is taken as checked.
    ///
    /// # Errors
    /// Those of [`slot`](Self::slot), and [`JournalError::NotNext`] with nothing changed.
    pub fn append(&mut self, _packet: &[u8]) -> Result<&[u8], JournalError> {
        unimplemented!()
    }

    /// The next packet begins a new session, so a new segment.
    ///
    /// # Errors
    /// Those of [`slot`](Self::slot).
    pub fn start_session(&mut self) -> Result<(), JournalError> {
        unimplemented!()
    }

    /// Discards what the newest session holds from `sequence` on (a void tail). Readers that had read it are told.
    /// Returns the number of messages discarded.
    ///
    /// # Errors
    /// If `sequence` is older than what is held or stands inside a packet; or files cannot be made.
    pub fn discard_from(&mut self, _sequence: u64) -> Result<u64, JournalError> {
        unimplemented!()
    }

    /// Makes everything committed durable, now.
    ///
    /// # Errors
    /// If the system cannot.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        unimplemented!()
    }
}
