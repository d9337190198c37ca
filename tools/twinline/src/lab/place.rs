//! The lab's directories: journals on disk, rings in shared memory. Gone when it ends, whatever ends it.

use super::network::Wires;
use crate::exit::Failure;
use rustix::fs::{FlockOperation, flock};
use std::env;
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The channel of all parts.
pub(super) const CHANNEL: u16 = 1;
/// Where rings belong.
const SHARED_MEMORY: &str = "/dev/shm";

/// What the names of directories begin with that are removed when their lab is over, and of those that stay.
const PREFIX: &str = "twinline-lab-";
const KEPT: &str = "twinline-lab.kept-";

/// A lab's own place.
pub(super) struct Place {
    journals: Directory,
    rings: Directory,
    /// Group and port of lines A and B. The networks are the lab's own, so they are nobody else's.
    pub(super) lines: [(Ipv4Addr, u16); 2],
}

impl Place {
    /// Takes a place; `keep`: leave the journals when the lab is over.
    pub(super) fn take(keep: bool, wires: &mut Wires) -> Result<Self, Failure> {
        let fail = |cause| {
            Failure::error(format!(
                "cannot make a directory for the lab (set TMPDIR to another place): {cause}"
            ))
        };
        let temporary = env::temp_dir();
        let memory = match Path::new(SHARED_MEMORY).is_dir() {
            true => Path::new(SHARED_MEMORY),
            false => &temporary,
        };
        sweep(&temporary);
        sweep(memory);
        let journals = match keep {
            true => Directory::kept(&temporary),
            false => Directory::new(&temporary),
        };
        let place = Self {
            journals: journals.map_err(fail)?,
            rings: Directory::new(memory).map_err(fail)?,
            lines: [1, 2].map(|line: u8| (Ipv4Addr::new(239, 77, 0, line), 17_000 + u16::from(line))),
        };
        if place.dir().to_str().is_none() {
            return Err(Failure::error(format!(
                "the path {} is not UTF-8: set TMPDIR to another place",
                place.dir().display()
            )));
        }
        wires.also_remove(place.rings.dir.path())?;
        if !keep {
            wires.also_remove(place.dir())?;
        }
        Ok(place)
    }

    /// Where the journals are.
    pub(super) fn dir(&self) -> &Path {
        self.journals.dir.path()
    }

    /// The publisher's journal.
    pub(super) fn publisher(&self) -> String {
        self.journal("publisher")
    }

    /// The journal of server `number`, counted from 1.
    pub(super) fn listener(&self, number: usize) -> String {
        self.journal(&format!("server-{number}"))
    }

    /// The ring of server `number`.
    pub(super) fn ring(&self, number: usize) -> PathBuf {
        self.rings.dir.path().join(number.to_string())
    }

    fn journal(&self, name: &str) -> String {
        // It was found to be UTF-8 when it was made.
        self.dir().join(name).display().to_string()
    }
}

/// A directory, and the lock that says that its lab lives: the kernel takes it from a dead one.
struct Directory {
    dir: TempDir,
    _lock: Option<File>,
}

impl Directory {
    /// One that goes with its lab.
    fn new(parent: &Path) -> io::Result<Self> {
        loop {
            let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            let lock = File::open(dir.path())?;
            flock(&lock, FlockOperation::LockExclusive)?;
            // Another lab may have swept it away before it was locked.
            if dir.path().exists() {
                return Ok(Self {
                    dir,
                    _lock: Some(lock),
                });
            }
        }
    }

    /// One that stays.
    fn kept(parent: &Path) -> io::Result<Self> {
        let mut dir = tempfile::Builder::new().prefix(KEPT).tempdir_in(parent)?;
        dir.disable_cleanup(true);
        Ok(Self { dir, _lock: None })
    }
}

/// Removes what is left there of labs that died together with the process that clears up behind them.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX));
        // Somebody's link of that name is not followed.
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(lock) = File::open(entry.path()) else {
            continue;
        };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // What stays is tried again next time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dead_labs_left_is_swept_away_and_nothing_else() {
        let parent = tempfile::tempdir().expect("a directory");
        let lives = Directory::new(parent.path()).expect("a directory");
        let kept = Directory::kept(parent.path()).expect("a directory");
        let mut dead = Directory::new(parent.path()).expect("a directory");
        dead.dir.disable_cleanup(true);
        fs::write(dead.dir.path().join("ring"), "").expect("written");
        let gone = dead.dir.path().to_owned();
        drop(dead);
        let of_others = parent.path().join("twinline-labyrinth");
        fs::create_dir(&of_others).expect("a directory");

        assert!(gone.exists());
        sweep(parent.path());
        assert!(!gone.exists());
        assert!(lives.dir.path().exists() && kept.dir.path().exists() && of_others.exists());
    }
}
