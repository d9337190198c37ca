//! Snapshots in a directory: `snapshot-SESSION-EPOCH-SEQUENCE.twb`, numbers with leading zeros, so that names sort as the
//! stream goes.
//!
//! A file has its name only once it is whole and durable. Whoever reads takes the newest that holds together, and
//! tells of those that do not.

use super::{Place, Snapshot, SnapshotError, decode};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const BEGINNING: &str = "snapshot-";
const ENDING: &str = ".twb";
/// Ends the name of a file that is being written.
const UNFINISHED: &str = ".new";

/// Why a snapshot file cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system does not let us.
    #[error("cannot {action} {}: {cause}: check the path, its permissions and the space left", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// It is no snapshot.
    #[error("{} cannot be used: {reason}; take another snapshot", path.display())]
    NotOne {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: SnapshotError,
    },
    /// It is another snapshot than its name says.
    #[error("{} is a snapshot of another place than its name says; take another snapshot", path.display())]
    Renamed {
        /// Which file.
        path: PathBuf,
    },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError + use<> {
    let path = path.to_owned();
    move |cause| FileError::Io { action, path, cause }
}

/// The name of the file of a snapshot.
pub fn name(session: u32, epoch: u32, sequence: u64) -> String {
    format!("{BEGINNING}{session:010}-{epoch:010}-{sequence:020}{ENDING}")
}

/// Session, epoch and sequence of a file's name; `None` of what is no snapshot's name.
pub fn parse_name(text: &str) -> Option<(u32, u32, u64)> {
    let numbers = text.strip_prefix(BEGINNING)?.strip_suffix(ENDING)?;
    let mut parts = numbers.split('-');
    let (session, epoch, sequence) = (parts.next()?, parts.next()?, parts.next()?);
    let parsed = (session.parse().ok()?, epoch.parse().ok()?, sequence.parse().ok()?);
    // Only as it is written: one snapshot, one name.
    (name(parsed.0, parsed.1, parsed.2) == text).then_some(parsed)
}

/// Writes a snapshot's bytes under its name into `dir`, made if it is not there. When this returns the file is durable;
/// nobody ever sees a part of it under that name.
///
/// # Errors
/// If the system does not let us.
pub fn write(dir: &Path, place: &Place, bytes: &[u8]) -> Result<PathBuf, FileError> {
    fs::create_dir_all(dir).map_err(failed("make", dir))?;
    let path = dir.join(name(place.session, place.epoch, place.sequence));
    let mut unfinished = path.clone().into_os_string();
    unfinished.push(UNFINISHED);
    let unfinished = PathBuf::from(unfinished);
    let write = || {
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    let done = write().and_then(|()| fs::rename(&unfinished, &path));
    if done.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    done.map_err(failed("write", &path))?;
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(failed("make durable", dir))?;
    Ok(path)
}

/// Reads a snapshot file, whatever its name is.
///
/// # Errors
/// If it cannot be read, or is none.
pub fn read(path: &Path) -> Result<Snapshot, FileError> {
    let bytes = fs::read(path).map_err(failed("read", path))?;
    decode(&bytes).map_err(|reason| FileError::NotOne {
        path: path.to_owned(),
        reason,
    })
}

/// Reads a snapshot file that must be what its name says.
fn read_named(path: &Path, named: (u32, u32, u64)) -> Result<Snapshot, FileError> {
    let snapshot = read(path)?;
    let place = &snapshot.place;
    if (place.session, place.epoch, place.sequence) != named {
        return Err(FileError::Renamed {
            path: path.to_owned(),
        });
    }
    Ok(snapshot)
}

/// The files of `dir` that are named as snapshots are, the oldest first.
///
/// # Errors
/// If the directory cannot be read.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("read", dir))? {
        let path = entry.map_err(failed("read", dir))?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(parse_name);
        found.extend(name.map(|name| (name, path)));
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// What [`newest`] found.
#[derive(Debug)]
pub struct Newest {
    /// The newest snapshot that can be used, and its file.
    pub snapshot: Option<(PathBuf, Snapshot)>,
    /// Newer files that cannot, and why.
    pub skipped: Vec<FileError>,
}

/// The newest snapshot in `dir` of which `wanted` takes session, epoch and sequence.
///
/// # Errors
/// If the directory cannot be read; a file that cannot is skipped.
pub fn newest(dir: &Path, wanted: impl Fn(u32, u32, u64) -> bool) -> Result<Newest, FileError> {
    let mut skipped = Vec::new();
    for path in list(dir)?.into_iter().rev() {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(named) = name.and_then(parse_name) else {
            continue;
        };
        if !wanted(named.0, named.1, named.2) {
            continue;
        }
        match read_named(&path, named) {
            Ok(snapshot) => {
                let snapshot = Some((path, snapshot));
                return Ok(Newest { snapshot, skipped });
            }
            Err(error) => skipped.push(error),
        }
    }
    Ok(Newest {
        snapshot: None,
        skipped,
    })
}

/// Removes all snapshots of `dir` but the newest `keep` that can be used, and what writers that were killed left behind.
/// Those newer than the oldest kept stay even if they cannot be used: somebody should look at them. Returns how many
/// files went.
///
/// # Errors
/// If the system does not let us.
pub fn prune(dir: &Path, keep: usize) -> Result<usize, FileError> {
    let (mut kept, mut removed) = (0, 0);
    for path in list(dir)?.iter().rev() {
        if kept >= keep {
            fs::remove_file(path).map_err(failed("remove", path))?;
            removed += 1;
        } else if read(path).is_ok() {
            kept += 1;
        }
    }
    for entry in fs::read_dir(dir).map_err(failed("read", dir))? {
        let path = entry.map_err(failed("read", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let of = name.and_then(|name| name.strip_suffix(UNFINISHED));
        if of.and_then(parse_name).is_some() {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
            removed += 1;
        }
    }
    Ok(removed)
}
