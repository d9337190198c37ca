//! What a session's journal says about where its sources are to be resumed.

use super::checkpoint::Checkpoint;
use super::packing::flags_offset;
use super::{OpenError, Position};
use serde::{Deserialize, Serialize};
use std::path::Path;
use twinline_journal::{JournalReader, Seek};
use twinline_wire::session::{EpochStart, SourcePosition};
use twinline_wire::{EventFlags, Frame, Packet};

/// How far a session is published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The newest position of each source.
    pub positions: Vec<Position>,
    /// Source messages (whole events) published.
    pub source_messages: u64,
}

impl Resume {
    /// Adds what `packet`, the next one of the session, says.
    pub fn add(&mut self, packet: &Packet<'_>) {
        for (_, frame) in packet.messages() {
            if let Some(message) = frame.view::<SourcePosition>() {
                self.set(message.source.get(), message.position.get());
            } else if ends_event(&frame) {
                self.source_messages += 1;
            }
        }
    }

    fn set(&mut self, source: u16, position: u64) {
        match self.positions.iter_mut().find(|at| at.source == source) {
            Some(at) => at.position = position,
            None => self.positions.push(Position { source, position }),
        }
    }
}

/// True if `frame` is the last message of a source event.
fn ends_event(frame: &Frame<'_>) -> bool {
    let flags = frame.definition().and_then(flags_offset);
    flags
        .and_then(|at| frame.block().get(at))
        .is_some_and(|flags| flags & EventFlags::END_OF_EVENT.0 != 0)
}

/// Reads how far `session` is published from the journal in `dir`, whose next sequence is `next`: from the newest
/// checkpoint that fits the journal, or else from the session's first packet on.
///
/// # Errors
/// If the journal cannot be read, or neither has a checkpoint nor holds the session's beginning.
pub fn resume(dir: &Path, session: u32, next: u64) -> Result<Resume, OpenError> {
    let mut reader = JournalReader::open(dir)?;
    let checkpoint = Checkpoint::read(dir).filter(|at| at.session == session && at.next <= next);
    if let Some(checkpoint) = checkpoint
        && let Seek::Found | Seek::NotYet = reader.seek(session, checkpoint.next)?
        && let Some(resume) = read_on(&mut reader, session, checkpoint.next, checkpoint.resume)?
    {
        return Ok(resume);
    }
    match reader.seek(session, 1)? {
        Seek::Found => {}
        Seek::NotYet | Seek::UnknownSession => return Ok(Resume::default()),
        // Where a power cut took everything the session had published, it begins with a later epoch.
        Seek::TooOld { oldest } if begins_session(&mut reader, session, oldest)? => {}
        Seek::TooOld { oldest } => {
            return Err(OpenError::Incomplete {
                dir: dir.to_owned(),
                session,
                oldest,
            });
        }
    }
    Ok(read_on(&mut reader, session, 1, Resume::default())?.unwrap_or_default())
}

/// True if the packet at `oldest` says that nothing valid was published before it. Leaves the reader there.
fn begins_session(reader: &mut JournalReader, session: u32, oldest: u64) -> Result<bool, OpenError> {
    reader.seek(session, oldest)?;
    let first = reader.next()?.and_then(|packet| packet.messages().next());
    let start = first.and_then(|(_, frame)| frame.view::<EpochStart>());
    let begins = start.is_some_and(|start| start.valid_end.get() == 1);
    reader.seek(session, oldest)?;
    Ok(begins)
}

/// Adds the packets of `session` from where `reader` stands to its end; `None` if the first begins before `from`.
fn read_on(
    reader: &mut JournalReader,
    session: u32,
    from: u64,
    mut resume: Resume,
) -> Result<Option<Resume>, OpenError> {
    while let Some(packet) = reader.next()? {
        if packet.header().session.get() != session {
            break;
        }
        if packet.sequence() < from {
            return Ok(None);
        }
        resume.add(&packet);
    }
    Ok(Some(resume))
}
