//! The snapshot files of a listener, in its own journal's directory: those that the journal names, and no others.
//!
//! A file is whole and durable before the journal names it, with a `StateReplaced` notice. A file that the journal does
//! not name was left by a listener that was killed in between, and is removed.

use std::fs;
use std::path::{Path, PathBuf};
use twinline_book::snapshot::file;
use twinline_journal::JournalReader;
use twinline_reader::snapshots::{SnapshotsError, is_named};

/// Removes what the journal in `dir` does not name, and what was being written. Returns what stays, the oldest first.
///
/// # Errors
/// If the journal or its directory cannot be read or changed.
pub(crate) fn clean(dir: &Path) -> Result<Vec<PathBuf>, SnapshotsError> {
    let mut reader = JournalReader::open(dir)?;
    let mut named = Vec::new();
    for path in file::list(dir)? {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some((session, epoch, sequence)) = name.and_then(file::parse_name) else {
            continue;
        };
        if is_named(&mut reader, session, epoch, sequence)? {
            named.push(path);
        } else {
            // One that cannot be removed is looked at again at the next start.
            let _ = fs::remove_file(&path);
        }
    }
    file::prune(dir, usize::MAX)?;
    Ok(named)
}
