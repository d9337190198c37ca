//! The released mark, written down beside a replica's journal. It is a hint that may be old, never one that is ahead: a
//! lost or torn file means that nothing is served until an upstream has said how far is released.

use super::ReplicaError;
use crate::Mark;
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct ReleasedFile {
    path: PathBuf,
    written: Cell<Mark>,
}

impl ReleasedFile {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            path: dir.join("released"),
            written: Cell::default(),
        }
    }

    /// What stands there; nothing is released if it cannot be read.
    pub(super) fn read(&self) -> Mark {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let Some((session, next)) = text.strip_suffix('\n').and_then(|line| line.split_once(' ')) else {
            return Mark::default();
        };
        match (session.parse(), next.parse()) {
            (Ok(session), Ok(next)) => Mark::new(session, next),
            _ => Mark::default(),
        }
    }

    pub(super) fn write(&self, mark: Mark) -> Result<(), ReplicaError> {
        if self.written.get() == mark {
            return Ok(());
        }
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, format!("{} {}\n", mark.session, mark.next))
            .and_then(|()| fs::rename(&fresh, &self.path))
            .map_err(|source| ReplicaError::Released {
                path: self.path.display().to_string(),
                source,
            })?;
        self.written.set(mark);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_and_anything_else_releases_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = ReleasedFile::new(dir.path());
        assert_eq!(file.read(), Mark::default());
        file.write(Mark::new(3, 700)).unwrap();
        assert_eq!(ReleasedFile::new(dir.path()).read(), Mark::new(3, 700));
        for torn in ["", "3 7", "3", "x y\n", "3 -1\n", "\0\0\0\n"] {
            fs::write(dir.path().join("released"), torn).unwrap();
            assert_eq!(file.read(), Mark::default(), "{torn:?}");
        }
    }
}
