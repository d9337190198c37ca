//! Snapshots: the state of a channel's books after all valid messages below a sequence, as bytes and as files.
//!
//! `layout` has the bytes, which `docs/protocol.md` shows; `encode` and `decode` go one way each; [`file`] keeps them in a
//! directory.

mod decode;
mod encode;
pub mod file;
mod layout;

pub use decode::decode;
pub use encode::encode;
pub use layout::{LAYOUT, LayoutField};

use crate::Books;

/// Where in the stream a state stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The channel.
    pub channel: u16,
    /// The session.
    pub session: u32,
    /// The epoch.
    pub epoch: u32,
    /// The epoch's first sequence.
    pub epoch_base: u64,
    /// The state is that after all valid messages below this sequence.
    pub sequence: u64,
}

/// A snapshot that was read.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Where it stands.
    pub place: Place,
    /// The books, valid if they were when it was made.
    pub books: Books,
}

/// Why bytes are no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Fewer bytes than a header has, or than the header names.
    #[error("it is cut off")]
    Truncated,
    /// Not a snapshot of ours.
    #[error("it is no snapshot of ours")]
    Magic,
    /// A layout that this build does not know.
    #[error("its layout is version {0}, which this build does not know")]
    Version(u16),
    /// More bytes than the header names.
    #[error("it is longer than its header says")]
    Trailing,
    /// The checksum does not match.
    #[error("its checksum is wrong")]
    Checksum,
    /// Its content does not hold together.
    #[error("it does not hold together: {0}")]
    Malformed(&'static str),
}
