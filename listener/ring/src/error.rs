//! What can be wrong with a ring.

use std::io;
use std::path::{Path, PathBuf};

/// Why a ring cannot be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The system does not let us.
    #[error("cannot {action} {}: {cause}: check the path and its permissions", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Shared memory is used up.
    #[error(
        "no room for a ring of {size} bytes at {}: take a smaller one, or make the file system larger (for /dev/shm: mount -o \
         remount,size=...)",
        path.display()
    )]
    NoSpace {
        /// The ring's file.
        path: PathBuf,
        /// Bytes asked for.
        size: u64,
    },
    /// A size that a ring cannot have.
    #[error("a ring cannot have {capacity} bytes: it must be a power of two, and at least {least}")]
    Capacity {
        /// Bytes asked for.
        capacity: usize,
        /// The least.
        least: usize,
    },
    /// The journal's path is longer than the control page has room for.
    #[error("the journal's path {} is too long for the ring's control page: take a shorter one", path.display())]
    JournalPath {
        /// The path.
        path: PathBuf,
    },
    /// Another writer.
    #[error("another listener (process {process}) writes the ring of channel {channel} in {}: stop it, or name another directory", dir.display())]
    Busy {
        /// The rings' directory.
        dir: PathBuf,
        /// The channel.
        channel: u16,
        /// Its process, 0 if it is not known.
        process: u64,
    },
    /// Nothing there.
    #[error("there is no ring of channel {channel} in {}: is a listener running, with --ring {}?", dir.display(), dir.display())]
    NoRing {
        /// The rings' directory.
        dir: PathBuf,
        /// The channel.
        channel: u16,
    },
    /// A file that is none, or of which only a part is there.
    #[error("{} is no ring, or not a whole one: {reason}; remove it and start the listener again", path.display())]
    NotARing {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// Another layout.
    #[error(
        "{} has ring layout {found} (written by {build}), this program knows layout {known}: build it with the twinline-reader of \
         the listener's version",
        path.display()
    )]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its layout.
        found: u64,
        /// Ours.
        known: u64,
        /// Who wrote it.
        build: String,
    },
}

impl RingError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |cause| RingError::Io { action, path, cause }
    }
}
