//! Where a session's sources are to be resumed, kept beside the journal, so that opening it reads the newest packets only,
//! and still knows all when retention has removed the first ones.
//!
//! The publishing thread leaves a copy of its state in [`Progress`] now and then (it never waits for the lock), the control
//! thread writes it to `resume.json` in the journal's directory a second later, when the journal is durable so far. It is a
//! hint that must not lie: every opening checks it against the journal and replaces it before anything is published.

use super::resume::Resume;
use super::{OpenError, Position};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The file's name in the journal's directory.
const NAME: &str = "resume.json";

/// How far a session was published when its next sequence was `next`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) session: u32,
    pub(super) next: u64,
    pub(super) resume: Resume,
}

impl Checkpoint {
    /// The checkpoint in the journal directory `dir`; `None` if there is none, or none that can be read.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        let mut read: Self = serde_json::from_slice(&fs::read(dir.join(NAME)).ok()?).ok()?;
        // The publishing thread leaves new ones behind the others.
        read.resume.instruments.sort_unstable();
        Some(read)
    }

    /// Replaces the one in `dir`, durably.
    pub(super) fn write(&self, dir: &Path) -> Result<(), OpenError> {
        let path = dir.join(NAME);
        self.replace(dir, &path)
            .map_err(|cause| OpenError::Checkpoint { path, cause })
    }

    fn replace(&self, dir: &Path, path: &Path) -> io::Result<()> {
        let temporary = dir.join("resume.json.new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(dir)?.sync_all()
    }
}

/// The publishing thread's newest state, for the control thread.
#[derive(Debug)]
pub(super) struct Progress(Mutex<Checkpoint>);

impl Progress {
    /// Begins with `checkpoint`; room for `sources` positions and `instruments` is made once.
    pub(super) fn new(mut checkpoint: Checkpoint, sources: usize, instruments: usize) -> Self {
        let Resume {
            positions,
            instruments: named,
            ..
        } = &mut checkpoint.resume;
        positions.reserve(sources.saturating_sub(positions.len()));
        named.reserve(instruments.saturating_sub(named.len()));
        Self(Mutex::new(checkpoint))
    }

    /// Leaves the state here, with the instruments named since the last time, unless the control thread looks at it just
    /// now; true if it was left.
    pub(super) fn leave(
        &self,
        next: u64,
        source_messages: u64,
        positions: impl Iterator<Item = Position>,
        named: &[u32],
    ) -> bool {
        let Ok(mut checkpoint) = self.0.try_lock() else {
            return false;
        };
        checkpoint.next = next;
        checkpoint.resume.source_messages = source_messages;
        checkpoint.resume.positions.clear();
        checkpoint.resume.positions.extend(positions);
        checkpoint.resume.instruments.extend_from_slice(named);
        true
    }

    fn copy(&self) -> Checkpoint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Writes what the publishing thread left, one round later than it was seen.
#[derive(Debug)]
pub(super) struct CheckpointWriter {
    dir: PathBuf,
    progress: std::sync::Arc<Progress>,
    seen: Checkpoint,
    written: u64,
}

impl CheckpointWriter {
    pub(super) fn new(dir: PathBuf, progress: std::sync::Arc<Progress>) -> Self {
        let seen = progress.copy();
        Self {
            dir,
            progress,
            written: seen.next,
            seen,
        }
    }

    /// One round; to be called about every second.
    pub(super) fn round(&mut self) -> Result<(), OpenError> {
        if self.seen.next != self.written {
            self.seen.write(&self.dir)?;
            self.written = self.seen.next;
        }
        self.seen = self.progress.copy();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_was_left_is_written_a_round_later() {
        let dir = tempfile::tempdir().unwrap();
        let first = Checkpoint {
            session: 4,
            next: 1,
            resume: Resume::default(),
        };
        let progress = Arc::new(Progress::new(first, 8, 8));
        let mut writer = CheckpointWriter::new(dir.path().to_owned(), Arc::clone(&progress));
        let at = Position {
            source: 1,
            position: 70,
        };
        assert!(progress.leave(90, 60, [at].into_iter(), &[9, 7]));
        writer.round().unwrap();
        assert_eq!(Checkpoint::read(dir.path()), None);
        writer.round().unwrap();
        let read = Checkpoint::read(dir.path()).unwrap();
        assert_eq!(
            (read.session, read.next, read.resume.source_messages),
            (4, 90, 60)
        );
        assert_eq!(read.resume.positions, [at]);
        assert_eq!(read.resume.instruments, [7, 9]);
    }

    #[test]
    fn a_checkpoint_that_cannot_be_read_is_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), b"{\"session\":1,").unwrap();
        assert_eq!(Checkpoint::read(dir.path()), None);
    }
}
