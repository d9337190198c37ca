//! Snapshots of the journal's books: made by one thread, served by another.
//!
//! The [`Keeper`] follows the journal, keeps the books, and makes snapshots, in a thread of its own. What is made lies on the
//! [`Shelf`], from which the service's thread takes it: many clients share the bytes of one snapshot, and nothing that
//! is slow is done while the shelf is locked. A [`Transfer`](transfer::Transfer) is a client's way through one.

mod fit;
mod keeper;
mod shelf;
mod stats;
mod thread;
pub(super) mod transfer;

pub use keeper::{Keeper, Step};
pub use shelf::{Made, Shelf};
pub use stats::SnapshotStats;
pub(super) use thread::KeeperThread;

use crate::SharedMark;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How snapshots are made, kept and served.
#[derive(Clone, Debug)]
pub struct SnapshotConfig {
    /// Where their files are.
    pub dir: PathBuf,
    /// A file is written after so many messages.
    pub every_messages: u64,
    /// A file is written after this time, if there was any message.
    pub every: Duration,
    /// Files that are kept.
    pub keep: usize,
    /// A snapshot that is so many messages behind is not served any more if a newer one can be made.
    pub max_behind: u64,
    /// Clients that are sent one at once.
    pub max_transfers: usize,
    /// How long a request waits for the books to come so far.
    pub wait: Duration,
    /// What may be shown; `None`: whatever the journal holds. Set by the service.
    pub released: Option<Arc<SharedMark>>,
}

impl SnapshotConfig {
    /// The defaults: a file a million messages or a minute, three of them kept, eight transfers at once.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            released: None,
            every_messages: 1_000_000,
            every: Duration::from_secs(60),
            keep: 3,
            max_behind: 100_000,
            max_transfers: 8,
            wait: Duration::from_secs(2),
        }
    }

    /// Where the snapshots of a journal are unless something else is said: beside it.
    pub fn beside(journal: &Path) -> PathBuf {
        let mut name = journal.components().as_path().as_os_str().to_owned();
        name.push(".snapshots");
        name.into()
    }
}
