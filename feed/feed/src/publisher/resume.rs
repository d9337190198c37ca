//! What a session's journal says about where its sources are to be resumed.

use super::packing::flags_offset;
use super::{OpenError, Position};
use std::path::Path;
use twinline_journal::{JournalReader, Seek};
use twinline_wire::session::SourcePosition;
use twinline_wire::{EventFlags, Frame, Packet};

/// How far a session is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

/// Reads how far `session` is published from the journal in `dir`, from the session's first packet to its last: the newest
/// position of a source that has long been silent may stand anywhere.
///
/// # Errors
/// If the journal cannot be read, or no longer holds the session's beginning.
pub fn resume(dir: &Path, session: u32) -> Result<Resume, OpenError> {
    let mut resume = Resume::default();
    let mut reader = JournalReader::open(dir)?;
    match reader.seek(session, 1)? {
        Seek::Found => {}
        Seek::NotYet | Seek::UnknownSession => return Ok(resume),
        Seek::TooOld { oldest } => {
            return Err(OpenError::Incomplete {
                dir: dir.to_owned(),
                session,
                oldest,
            });
        }
    }
    while let Some(packet) = reader.next()? {
        if packet.header().session.get() != session {
            break;
        }
        resume.add(&packet);
    }
    Ok(resume)
}
