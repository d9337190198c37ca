//! What other threads see of a journal while it is written: how far it is durable, and what its helper threads counted.
//! Reading it takes nothing from the writer.

use crate::control::Position;
use crate::prepare::Shared;
use crate::sync::Syncer;
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// A journal that is written, for any thread to look at.
#[derive(Clone, Debug)]
pub struct JournalWatch {
    shared: Arc<Shared>,
    syncer: Arc<Syncer>,
    segment_size: usize,
}

/// How a journal is doing.
#[derive(Clone, Debug)]
pub struct JournalCounts {
    /// Bytes committed and not durable yet, the room that finished segments leave empty counted.
    pub unsynced_bytes: u64,
    /// When everything committed was last found or made durable; at first when the journal was opened.
    pub last_sync: SystemTime,
    /// How long it took each time that there was something to make durable, in nanoseconds.
    pub sync_times: Histogram<u64>,
    /// Times that the writer had to wait for the next segment.
    pub stalls: u64,
    /// The writer waits for the next segment now.
    pub waits: bool,
}

impl JournalWatch {
    pub(crate) fn new(shared: Arc<Shared>, syncer: Arc<Syncer>, segment_size: usize) -> Self {
        Self {
            shared,
            syncer,
            segment_size,
        }
    }

    /// How it is doing now.
    pub fn counts(&self) -> JournalCounts {
        let stats = self.syncer.stats();
        let synced = self.syncer.synced();
        let committed = Position::from_bits(self.shared.committed.load(Ordering::Acquire));
        let segments = committed.index().saturating_sub(synced.index());
        let unsynced =
            (segments * self.segment_size as u64 + committed.at() as u64).saturating_sub(synced.at() as u64);
        JournalCounts {
            unsynced_bytes: unsynced,
            last_sync: stats.last,
            sync_times: stats.times,
            stalls: self.shared.stalls.load(Ordering::Relaxed),
            waits: self.shared.wanted.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Stream, config, fill};
    use crate::{JournalConfig, JournalWriter, Prepare, SyncPolicy};
    use std::time::Duration;

    #[test]
    fn what_is_committed_is_unsynced_until_it_is_made_durable() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
        let watch = writer.watch();
        assert_eq!(watch.counts().unsynced_bytes, 0);
        let mut stream = Stream::new(1);
        fill(&mut writer, &mut stream, 4);
        let counts = watch.counts();
        // An epoch's start takes two cache lines, a packet of 1,000 bytes sixteen.
        assert_eq!(counts.unsynced_bytes, 128 + 3 * 1024);
        assert_eq!(counts.sync_times.len(), 0);
        writer.sync().unwrap();
        let counts = watch.counts();
        assert_eq!((counts.unsynced_bytes, counts.sync_times.len()), (0, 1));
        // Nothing new: no sync.
        writer.sync().unwrap();
        assert_eq!(watch.counts().sync_times.len(), 1);
        // Finished segments are synced by whoever makes the next one: only the rest is not durable.
        fill(&mut writer, &mut stream, 200);
        assert!(watch.counts().unsynced_bytes < 1 << 16);
    }

    #[test]
    fn the_thread_that_syncs_says_when_it_last_found_everything_durable() {
        let dir = tempfile::tempdir().unwrap();
        let config = JournalConfig {
            prepare: Prepare::Thread,
            sync: SyncPolicy::Every(Duration::from_millis(1)),
            ..config()
        };
        let mut writer = JournalWriter::open(dir.path(), config).unwrap();
        let watch = writer.watch();
        fill(&mut writer, &mut Stream::new(1), 10);
        // It is durable first, and counted once the control file says so.
        while watch.counts().unsynced_bytes > 0 || watch.counts().sync_times.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let before = watch.counts();
        while watch.counts().last_sync <= before.last_sync {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
