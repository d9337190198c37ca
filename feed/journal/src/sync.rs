//! Makes a journal durable, and records how far it is.

use crate::control::{ControlWriter, Position};
use crate::map::Map;
use crate::{JournalError, failpoint, files};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

/// Knows which segments are not durable yet.
#[derive(Debug)]
pub(crate) struct Syncer {
    dir: PathBuf,
    control: Arc<ControlWriter>,
    /// Segments that may hold what is not durable, oldest first, the prepared one last.
    unsynced: VecDeque<(u64, Map)>,
    synced: Position,
}

impl Syncer {
    /// Everything before `synced` is durable, and the control file says so.
    pub(crate) fn new(dir: PathBuf, control: Arc<ControlWriter>, synced: Position) -> Self {
        Self {
            dir,
            control,
            unsynced: VecDeque::new(),
            synced,
        }
    }

    /// Takes on the next segment, before anything is committed to it.
    pub(crate) fn add(&mut self, index: u64, map: Map) {
        // One that was made twice counts as it is now.
        self.unsynced.retain(|&(known, _)| known < index);
        self.unsynced.push_back((index, map));
    }

    /// Everything before this is durable.
    pub(crate) fn synced(&self) -> Position {
        self.synced
    }

    /// Makes everything before `position`, which is committed, durable; then records it.
    pub(crate) fn sync_to(&mut self, position: Position) -> Result<(), JournalError> {
        if position <= self.synced {
            return Ok(());
        }
        while let Some((index, map)) = self.unsynced.front() {
            let begin = if *index == self.synced.index() {
                self.synced.at()
            } else {
                0
            };
            let end = match index.cmp(&position.index()) {
                std::cmp::Ordering::Less => map.len(),
                std::cmp::Ordering::Equal => position.at(),
                std::cmp::Ordering::Greater => break,
            };
            if end > begin {
                let path = files::segment_path(&self.dir, *index);
                map.flush(begin, end).map_err(JournalError::io("sync", &path))?;
            }
            if *index == position.index() {
                break;
            }
            self.synced = Position::new(index + 1, 0);
            self.unsynced.pop_front();
        }
        failpoint::hit("journal.sync.between");
        self.synced = position;
        self.control.set_synced(position);
        self.control.flush()
    }
}
