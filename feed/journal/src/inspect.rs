//! What `twinline journal info|verify` shows.

use crate::JournalError;
use std::path::{Path, PathBuf};

/// A journal, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The channel.
    pub channel: u16,
    /// The longest packet in bytes.
    pub max_packet: usize,
    /// Bytes of a segment.
    pub segment_size: usize,
    /// Segments that hold packets.
    pub segments: u64,
    /// Bytes of all segment files, the prepared one too.
    pub bytes: u64,
    /// Everything before this place is durable: index of the segment, offset in it.
    pub synced: (u64, u64),
    /// How often packets were discarded or the writer was opened.
    pub generation: u64,
    /// True while a writer holds the journal.
    pub locked: bool,
    /// The writer's process id; of the last writer if none is.
    pub holder: Option<u32>,
    /// The sessions, oldest first.
    pub sessions: Vec<SessionInfo>,
}

/// What is held of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// The session.
    pub session: u32,
    /// The oldest sequence held.
    pub oldest: u64,
    /// The sequence after the last one held.
    pub next: u64,
    /// True if the last message is EndOfSession.
    pub ended: bool,
    /// Each epoch held, with its first sequence.
    pub epochs: Vec<(u32, u64)>,
}

/// What checking every packet found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Segments read.
    pub segments: u64,
    /// Packets with messages, right and in order.
    pub packets: u64,
    /// Messages in them.
    pub messages: u64,
    /// Listener's notices.
    pub notices: u64,
    /// Bytes of all these packets.
    pub bytes: u64,
    /// The first thing that is wrong; nothing after it was read.
    pub broken: Option<Break>,
}

/// Something wrong in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// The segment's file.
    pub segment: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What.
    pub reason: String,
}

/// Describes the journal in `dir`, also while it is written.
///
/// # Errors
/// If there is no journal, or a segment cannot be read.
pub fn info(_dir: &Path) -> Result<Info, JournalError> {
    unimplemented!()
}

/// Checks every packet of the journal in `dir`: checksum, frames, continuity, end marks. Also while it is written.
///
/// # Errors
/// If there is no journal, or a file cannot be read. A break is no error, it is the report.
pub fn verify(_dir: &Path) -> Result<VerifyReport, JournalError> {
    unimplemented!()
}
