//! The snapshot files in a listener's journal's directory: which of them the journal names, and the newest one that a
//! program can begin with.
//!
//! A file is whole and durable before the journal names it, with a `StateReplaced` notice. A file that the journal does not
//! name was left by a listener that was killed in between.

use twinline_book::snapshot::Snapshot;
use twinline_book::snapshot::file::{self, FileError};
use twinline_journal::{JournalError, JournalReader, Seek};
use twinline_wire::session::StateReplaced;

/// Why a listener's snapshot files cannot be looked after.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotsError {
    /// The files.
    #[error(transparent)]
    File(#[from] FileError),
    /// The journal that names them.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// True if the journal says that its state was replaced by the snapshot of this session, epoch and sequence. Moves `reader`.
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

/// The newest snapshot of `session` that the journal names, that stands at or before `at_most`, that can be read, and of which
/// the journal holds what follows. `None` if there is none: a publisher's journal has none. Moves `reader`.
///
/// # Errors
/// If the journal or its directory cannot be read.
pub fn newest_named(
    reader: &mut JournalReader,
    session: u32,
    at_most: u64,
) -> Result<Option<Snapshot>, SnapshotsError> {
    for path in file::list(reader.dir())?.iter().rev() {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some((of, epoch, sequence)) = name.and_then(file::parse_name) else {
            continue;
        };
        if of == session
            && sequence <= at_most
            && is_named(reader, session, epoch, sequence)?
            && matches!(reader.seek(session, sequence)?, Seek::Found | Seek::NotYet)
            && let Ok(snapshot) = file::read(path)
        {
            return Ok(Some(snapshot));
        }
    }
    Ok(None)
}
