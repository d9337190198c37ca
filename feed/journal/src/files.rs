//! A journal's directory: names, locks, allocation, and the errors that these can meet.

use crate::JournalError;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// The file of a segment.
pub(crate) fn segment_path(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("{index:020}.seg"))
}

/// Makes the path of one segment that of another one in its directory, in the memory that it has.
pub(crate) fn set_segment_path(path: &mut PathBuf, index: u64) {
    path.pop();
    path.push("");
    // Writing to memory does not fail.
    let _ = write!(path.as_mut_os_string(), "{index:020}.seg");
}

/// A segment while it is made.
pub(crate) fn temporary_path(dir: &Path) -> PathBuf {
    dir.join("next.tmp")
}

fn segment_index(name: &OsStr) -> Option<u64> {
    let digits = name.to_str()?.strip_suffix(".seg")?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// The indexes of all segments, in order.
pub(crate) fn segments(dir: &Path) -> Result<Vec<u64>, JournalError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(JournalError::io("list", dir))? {
        let entry = entry.map_err(JournalError::io("list", dir))?;
        found.extend(segment_index(&entry.file_name()));
    }
    found.sort_unstable();
    Ok(found)
}

/// True if `dir` holds nothing that is not a beginning of a journal of ours.
pub(crate) fn is_empty(dir: &Path) -> Result<bool, JournalError> {
    for entry in fs::read_dir(dir).map_err(JournalError::io("list", dir))? {
        let name = entry.map_err(JournalError::io("list", dir))?.file_name();
        if name != "writer.lock" && name != "control.tmp" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The error for a directory without a control file.
pub(crate) fn no_journal(dir: &Path) -> JournalError {
    match is_empty(dir) {
        Ok(false) => JournalError::NotAJournal(dir.to_owned()),
        _ => JournalError::Missing(dir.to_owned()),
    }
}

/// The error of a failed write in a journal's directory.
pub(crate) fn write_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    move |error| match Errno::from_io_error(&error) {
        Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => {
            JournalError::ReadOnly(path.parent().unwrap_or(path).to_owned())
        }
        _ => JournalError::io(action, path)(error),
    }
}

/// The error of a failed write that needs room.
pub(crate) fn space_error(
    error: io::Error,
    dir: &Path,
    needed: u64,
    action: &'static str,
    path: &Path,
) -> JournalError {
    match Errno::from_io_error(&error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => JournalError::DiskFull {
            dir: dir.to_owned(),
            needed,
        },
        _ => write_error(action, path)(error),
    }
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), JournalError> {
    fs::rename(from, to).map_err(write_error("rename", from))
}

/// Removes a file; that it is gone already is no error.
pub(crate) fn remove(path: &Path) -> Result<(), JournalError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(write_error("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Makes names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), JournalError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(JournalError::io("sync", dir))
}

/// A new file of `size` bytes of zeros under the temporary name, with its space allocated. Nothing is left behind if
/// there is no room.
pub(crate) fn allocate(dir: &Path, size: usize) -> Result<File, JournalError> {
    let path = temporary_path(dir);
    let made = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .and_then(|file| reserve(&file, size as u64).map(|()| file));
    made.map_err(|error| {
        let _ = fs::remove_file(&path);
        space_error(error, dir, size as u64, "allocate", &path)
    })
}

/// Allocates all of a segment that is there: a copy may have holes, and writing to one on a full disk is a signal.
pub(crate) fn fill_holes(dir: &Path, index: u64, size: usize) -> Result<(), JournalError> {
    let path = segment_path(dir, index);
    let file = OpenOptions::new()
        .write(true)
        .open(&path)
        .map_err(write_error("open", &path))?;
    match try_fallocate(&file, size as u64) {
        // Such a file system has no holes.
        Err(Errno::OPNOTSUPP) => Ok(()),
        result => result.map_err(|error| space_error(error.into(), dir, size as u64, "allocate", &path)),
    }
}

fn try_fallocate(file: &File, size: u64) -> rustix::io::Result<()> {
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, size) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

fn reserve(file: &File, size: u64) -> io::Result<()> {
    match try_fallocate(file, size) {
        // The file system cannot: write the zeros.
        Err(Errno::OPNOTSUPP) => {}
        result => return result.map_err(io::Error::from),
    }
    let mut file = file;
    io::copy(&mut io::repeat(0).take(size), &mut file)?;
    file.sync_data()
}

/// Takes the lock of the one writer, and writes down who has it.
pub(crate) fn lock_writer(dir: &Path) -> Result<File, JournalError> {
    let path = dir.join("writer.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(write_error("create", &path))?;
    let mut locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
    for _ in 0..3 {
        // Whoever only asks whether there is a writer has the lock for a moment.
        if locked == Err(Errno::WOULDBLOCK) {
            thread::sleep(Duration::from_millis(10));
            locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
        }
    }
    match locked {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(JournalError::Locked {
                dir: dir.to_owned(),
                holder: read_pid(&mut file),
            });
        }
        Err(error) => return Err(write_error("lock", &path)(error.into())),
    }
    // Only for information, so a full disk is no reason to fail.
    let _ = file
        .rewind()
        .and_then(|()| write!(file, "{:<10}", std::process::id()));
    Ok(file)
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether a writer holds the journal, and its process id (of the last one, if none does).
pub(crate) fn writer(dir: &Path) -> (bool, Option<u32>) {
    let Ok(mut file) = File::open(dir.join("writer.lock")) else {
        return (false, None);
    };
    let free = flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
    (!free, read_pid(&mut file))
}

/// Opens a segment for reading and takes the shared lock, so that it is not recycled; `None` if it does not exist, or is
/// just being recycled.
pub(crate) fn open_shared(path: &Path) -> Result<Option<File>, JournalError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(JournalError::io("open", path)(error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(JournalError::io("lock", path)(error.into())),
    }
    // It may have got another name between the two steps.
    let opened = file.metadata().map_err(JournalError::io("look at", path))?;
    match fs::metadata(path) {
        Ok(named) if named.ino() == opened.ino() && named.dev() == opened.dev() => Ok(Some(file)),
        _ => Ok(None),
    }
}

/// Opens a segment and takes the exclusive lock, if no reader has it mapped.
pub(crate) fn open_exclusive(path: &Path) -> Option<File> {
    let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(file)
}

/// Gives up whatever lock `file` has.
pub(crate) fn unlock(file: &File, path: &Path) -> Result<(), JournalError> {
    flock(file, FlockOperation::Unlock).map_err(|error| JournalError::io("unlock", path)(error.into()))
}
