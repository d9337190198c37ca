//! Makes a journal durable, and records how far it is.

use crate::control::{ControlWriter, Position};
use crate::map::Map;
use crate::{JournalError, failpoint, files};
use hdrhistogram::Histogram;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Knows which segments are not durable yet. Its lock is never held while the device is waited for.
#[derive(Debug)]
pub(crate) struct Syncer {
    dir: PathBuf,
    control: Arc<ControlWriter>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Segments that may hold what is not durable, oldest first, prepared ones last.
    unsynced: VecDeque<(u64, Map)>,
    /// Everything before this is durable.
    synced: Position,
    stats: SyncStats,
}

/// What was counted of syncing.
#[derive(Clone, Debug)]
pub(crate) struct SyncStats {
    /// When everything committed was last found or made durable.
    pub(crate) last: SystemTime,
    /// How long each sync took, in nanoseconds, to one digit: 1 ns to 100 s.
    pub(crate) times: Histogram<u64>,
}

impl SyncStats {
    fn new() -> Self {
        let times = Histogram::new_with_bounds(1, 100_000_000_000, 1);
        Self {
            last: SystemTime::now(),
            times: times.expect("the bounds are constants that make sense"),
        }
    }

    fn took(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.times.saturating_record(nanos.max(1));
        self.last = SystemTime::now();
    }
}

impl Syncer {
    /// Everything before `synced`, in the segment `map`, is durable, and the control file says so.
    pub(crate) fn new(dir: PathBuf, control: Arc<ControlWriter>, synced: Position, map: Map) -> Self {
        let unsynced = VecDeque::from([(synced.index(), map)]);
        Self {
            dir,
            control,
            state: Mutex::new(State {
                unsynced,
                synced,
                stats: SyncStats::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with it left it as it was before or after a whole step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes on a further segment, before anything is committed to it.
    pub(crate) fn add(&self, index: u64, map: Map) {
        let mut state = self.state();
        // One that was made twice counts as it is now.
        state.unsynced.retain(|&(known, _)| known < index);
        state.unsynced.push_back((index, map));
    }

    /// After a cut: everything before `synced`, in the segment `map`, is durable, and there is nothing else.
    pub(crate) fn reset(&self, synced: Position, map: Map) {
        let unsynced = VecDeque::from([(synced.index(), map)]);
        let mut state = self.state();
        (state.unsynced, state.synced) = (unsynced, synced);
    }

    /// What was counted of syncing.
    pub(crate) fn stats(&self) -> SyncStats {
        self.state().stats.clone()
    }

    /// Notes that there is nothing to sync, if everything before `committed` is durable.
    pub(crate) fn look(&self, committed: Position) {
        let mut state = self.state();
        if state.synced >= committed {
            state.stats.last = SystemTime::now();
        }
    }

    /// Everything before this is durable.
    pub(crate) fn synced(&self) -> Position {
        self.state().synced
    }

    /// The first segment from `index` on that may hold what is not durable.
    fn unsynced_from(&self, index: u64) -> Option<(u64, Map)> {
        let state = self.state();
        state.unsynced.iter().find(|(at, _)| *at >= index).cloned()
    }

    /// Makes everything before `position`, which is committed, durable; then records it. Allocates nothing: a writer may do
    /// this with every packet.
    pub(crate) fn sync_to(&self, position: Position) -> Result<(), JournalError> {
        let from = self.synced();
        if position <= from {
            return Ok(());
        }
        let begun = Instant::now();
        let mut next = 0;
        while let Some((index, map)) = self
            .unsynced_from(next)
            .filter(|(index, _)| *index <= position.index())
        {
            next = index + 1;
            let begin = if index == from.index() { from.at() } else { 0 };
            let end = match index.cmp(&position.index()) {
                Ordering::Less => map.len(),
                _ => position.at(),
            };
            if end > begin
                && let Err(error) = map.flush(begin, end)
            {
                return Err(JournalError::io("sync", &files::segment_path(&self.dir, index))(
                    error,
                ));
            }
        }
        failpoint::hit("journal.sync.between");
        let mut state = self.state();
        if position > state.synced {
            state.synced = position;
            state.unsynced.retain(|&(index, _)| index >= position.index());
            self.control.set_synced(position);
        }
        drop(state);
        self.control.flush()?;
        self.state().stats.took(begun.elapsed());
        Ok(())
    }
}
