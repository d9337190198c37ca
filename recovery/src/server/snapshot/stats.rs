//! What is counted of snapshots, for any thread to read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters of snapshots.
#[derive(Debug, Default)]
pub struct SnapshotStats {
    /// Snapshots made.
    pub made: AtomicU64,
    /// Files written.
    pub written: AtomicU64,
    /// Bytes of the newest one.
    pub bytes: AtomicU64,
    /// Where the newest one stands.
    pub sequence: AtomicU64,
    /// How long it took to make the newest one, in nanoseconds.
    pub made_in: AtomicU64,
    /// How long the longest took, in nanoseconds.
    pub made_in_max: AtomicU64,
    /// Where the file stands that the books began with; 0: none.
    pub started_at: AtomicU64,
    /// Messages read since the books began anew.
    pub read: AtomicU64,
    /// Messages that the books are behind the journal.
    pub lag: AtomicU64,
    /// Orders in all books.
    pub live_orders: AtomicU64,
    /// Times that the books went back: what they had is void, or was overtaken by retention.
    pub went_back: AtomicU64,
    /// Files that could not be used.
    pub bad_files: AtomicU64,
    /// Files that could not be written, and times that the journal could not be read.
    pub failures: AtomicU64,
    /// Requests for snapshots.
    pub requests: AtomicU64,
    /// Snapshots sent whole.
    pub served: AtomicU64,
    /// Bytes sent in parts.
    pub bytes_served: AtomicU64,
    /// Clients that are being sent one.
    pub transfers: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl SnapshotStats {
    /// What went wrong last.
    pub fn last_trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn tell(&self, trouble: impl ToString) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble.to_string());
    }

    pub(super) fn fail(&self, trouble: impl ToString) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.tell(trouble);
    }
}
