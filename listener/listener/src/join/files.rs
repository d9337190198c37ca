//! The snapshot files of a listener, in its own journal's directory: those that the journal names, and no others.
//!
//! A file is whole and durable before the journal names it, with a `StateReplaced` notice. A file that the journal does
//! not name was left by a listener that was killed in between, and is removed.

use std::fs;
use std::path::{Path, PathBuf};
use twinline_book::snapshot::file::{self, FileError};
use twinline_journal::{JournalError, JournalReader, Seek};
use twinline_wire::session::StateReplaced;

/// Why a listener's snapshot files cannot be looked after.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The files.
    #[error(transparent)]
    File(#[from] FileError),
    /// The journal that names them.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// True if the journal says that its state was replaced by the snapshot of this session, epoch and sequence.
///
/// # Errors
/// If the journal cannot be read.
pub fn is_named(
    reader: &mut JournalReader,
    session: u32,
    epoch: u32,
    sequence: u64,
) -> Result<bool, JournalError> {
    match reader.seek(session, sequence.saturating_sub(1).max(1))? {
        Seek::Found => {}
        // It may have been named before what is kept.
        Seek::TooOld { .. } => reader.seek_oldest()?,
        Seek::NotYet | Seek::UnknownSession => return Ok(false),
    }
    loop {
        let packet = match reader.next() {
            Ok(Some(packet)) => packet,
            Ok(None) => return Ok(false),
            Err(JournalError::Behind { .. } | JournalError::Discarded { .. }) => continue,
            Err(error) => return Err(error),
        };
        if packet.header().session.get() > session || packet.sequence() > sequence {
            return Ok(false);
        }
        let named = packet
            .messages()
            .filter_map(|(_, frame)| frame.view::<StateReplaced>())
            .any(|notice| (notice.epoch.get(), notice.sequence.get()) == (epoch, sequence));
        if named && packet.header().session.get() == session {
            return Ok(true);
        }
    }
}

/// Removes what the journal in `dir` does not name, and what was being written. Returns what stays, the oldest first.
///
/// # Errors
/// If the journal or its directory cannot be read or changed.
pub(crate) fn clean(dir: &Path) -> Result<Vec<PathBuf>, FilesError> {
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
