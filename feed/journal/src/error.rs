//! What can go wrong with a journal, each with the place and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why a journal operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The directory may not be written.
    #[error("the journal directory {} cannot be written: change its permissions or name another one", .0.display())]
    ReadOnly(PathBuf),
    /// No room for the next segment. Nothing is lost: append again when there is room.
    #[error(
        "no room for a journal segment of {needed} bytes in {}: free space there, or lower the retention",
        dir.display()
    )]
    DiskFull {
        /// The journal's directory.
        dir: PathBuf,
        /// Bytes of one segment.
        needed: u64,
    },
    /// The directory holds files, but no journal. Nothing was changed.
    #[error("{} is not empty and not a journal: name an empty or a new directory", .0.display())]
    NotAJournal(PathBuf),
    /// There is no journal yet.
    #[error("there is no journal in {} (yet): is the directory right, and was the writer started?", .0.display())]
    Missing(PathBuf),
    /// The journal was made by a build with another file format.
    #[error("the journal in {} has file format {found}, this build knows {known}: use a build that fits", dir.display())]
    Format {
        /// The journal's directory.
        dir: PathBuf,
        /// Its format version.
        found: u32,
        /// The version of this build.
        known: u32,
    },
    /// The journal was made with other settings.
    #[error(
        "the journal in {} was made with {what} {found}, not {asked}: ask for {found}, or name a new directory",
        dir.display()
    )]
    Mismatch {
        /// The journal's directory.
        dir: PathBuf,
        /// Which setting.
        what: &'static str,
        /// The journal's value.
        found: u64,
        /// The value asked for.
        asked: u64,
    },
    /// A setting that cannot be.
    #[error("{what} {value} cannot be: {must}")]
    Config {
        /// Which setting.
        what: &'static str,
        /// Its value.
        value: u64,
        /// What it must be.
        must: &'static str,
    },
    /// Another process writes the journal.
    #[error(
        "the journal in {} is being written by {}: stop that one first, or name another directory",
        dir.display(),
        holder.map_or("another process".into(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The journal's directory.
        dir: PathBuf,
        /// The other's process id, if known.
        holder: Option<u32>,
    },
    /// Bytes that were written durably are not what was written.
    #[error(
        "{} is damaged at offset {offset}: {reason}; this was already durable, so it is not a crash's torn tail: \
         restore the directory from a replica or start a new one",
        segment.display()
    )]
    Damaged {
        /// The segment's file.
        segment: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// The packet does not follow the last one.
    #[error("the packet does not continue the journal in {}: {reason}", dir.display())]
    NotNext {
        /// The journal's directory.
        dir: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A cut between two messages of one packet: the journal would need a packet that nobody sent.
    #[error(
        "sequence {sequence} stands inside the packet {begin}..{end}: only whole packets can be discarded"
    )]
    InsidePacket {
        /// The sequence to cut at.
        sequence: u64,
        /// The packet's first sequence.
        begin: u64,
        /// The sequence after its last.
        end: u64,
    },
    /// The reader was slower than retention: what it would read next is gone. It can go on at `oldest`.
    #[error(
        "the reader fell behind: the oldest packets held are those of session {session} from {oldest} on"
    )]
    Behind {
        /// The oldest session held.
        session: u32,
        /// The first sequence held of it.
        oldest: u64,
    },
    /// The writer discarded packets that the reader had read already (a void tail). It can go on at `next`.
    #[error("session {session} was cut: what was read from {next} up to {read} is void")]
    Discarded {
        /// The session.
        session: u32,
        /// The first sequence that was read and is void.
        next: u64,
        /// The sequence after the last one read.
        read: u64,
    },
    /// Nothing at or below this sequence is held, so nothing can be cut there.
    #[error("cannot cut at sequence {sequence}: the oldest one held of the session is {oldest}")]
    NotHeld {
        /// The sequence to cut at.
        sequence: u64,
        /// The oldest one held.
        oldest: u64,
    },
    /// The device did not take the data. For good: nobody knows what it holds.
    #[error("the journal could not be made durable: {0}; stop, repair the device, open the journal again")]
    NotDurable(String),
    /// The helper thread is gone.
    #[error("the journal's helper thread ended: open the journal again")]
    Helper,
}

impl JournalError {
    /// An [`Io`](Self::Io) of `action` on `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
