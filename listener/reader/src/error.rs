//! What can go wrong for a reader.

use crate::Position;
use crate::snapshots::SnapshotsError;
use std::path::PathBuf;
use twinline_book::snapshot::file::FileError;
use twinline_journal::JournalError;
use twinline_ring::RingError;

/// Why a reader cannot be opened, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The directory with the snapshots beside the journal.
    #[error(transparent)]
    Snapshots(#[from] FileError),
    /// A position to start at that is of a session of which the journal knows nothing, nor of a later one.
    #[error(
        "position {position} is of a session that the journal in {} has never come to: is it a position of this channel, and of \
         this listener's publisher? If it is, start at the oldest or with the books",
        journal.display()
    )]
    UnknownSession {
        /// The position.
        position: Position,
        /// The journal's directory.
        journal: PathBuf,
    },
    /// A symbol that no instrument can have.
    #[error(
        "no instrument can have the symbol {symbol:?}: symbols have 1 to 16 bytes, without spaces at their end"
    )]
    Symbol {
        /// The symbol.
        symbol: String,
    },
    /// The ring names the journal of another channel.
    #[error(
        "the ring of channel {channel} names the journal in {}, which is of channel {found}: start the listener again",
        journal.display()
    )]
    Channel {
        /// The ring's channel.
        channel: u16,
        /// The journal's directory.
        journal: PathBuf,
        /// The journal's channel.
        found: u16,
    },
}

impl From<SnapshotsError> for ReadError {
    fn from(error: SnapshotsError) -> Self {
        match error {
            SnapshotsError::File(error) => Self::Snapshots(error),
            SnapshotsError::Journal(error) => Self::Journal(error),
        }
    }
}
