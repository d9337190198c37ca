//! What a session's journal says about where its sources are to be resumed.

use super::checkpoint::Checkpoint;
use super::{OpenError, Position};
use serde::{Deserialize, Serialize};
use std::path::Path;
use twinline_journal::{JournalReader, Seek};
use twinline_wire::market::InstrumentDefinition;
use twinline_wire::session::{EpochStart, SourcePosition};
use twinline_wire::{EventFlags, Frame, Packet};

/// How far a session is published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The newest position of each source.
    pub positions: Vec<Position>,
    /// Source messages (whole events) published.
    pub source_messages: u64,
    /// The instruments that were named, in order: with several channels they stay on the channel that names them.
    #[serde(default)]
    pub instruments: Vec<u32>,
}

impl Resume {
    /// Adds what `packet`, the next one of the session, says.
    pub fn add(&mut self, packet: &Packet<'_>) {
        for (_, frame) in packet.messages() {
            if let Some(message) = frame.view::<SourcePosition>() {
                self.set(message.source.get(), message.position.get());
                continue;
            }
            if let Some(message) = frame.view::<InstrumentDefinition>() {
                self.name_instrument(message.instrument.get());
            }
            if ends_event(&frame) {
                self.source_messages += 1;
            }
        }
    }

    fn name_instrument(&mut self, instrument: u32) {
        if let Err(at) = self.instruments.binary_search(&instrument) {
            self.instruments.insert(at, instrument);
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
    frame
        .event_flags()
        .is_some_and(|flags| flags.0 & EventFlags::END_OF_EVENT.0 != 0)
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
        && let Start::Here = start(&mut reader, session, checkpoint.next)?
        && let Some(resume) = read_on(&mut reader, session, checkpoint.next, checkpoint.resume)?
    {
        return Ok(resume);
    }
    match start(&mut reader, session, 1)? {
        Start::Here => Ok(read_on(&mut reader, session, 1, Resume::default())?.unwrap_or_default()),
        Start::Gone { oldest } => Err(OpenError::Incomplete {
            dir: dir.to_owned(),
            session,
            oldest,
        }),
    }
}

/// Where reading can start.
enum Start {
    /// Where the reader stands.
    Here,
    /// Only at `oldest`: what stood before it is gone.
    Gone { oldest: u64 },
}

/// Takes `reader` to `from`, or to the session's first packet if there never was anything between `from` and that.
fn start(reader: &mut JournalReader, session: u32, from: u64) -> Result<Start, OpenError> {
    let Seek::TooOld { oldest } = reader.seek(session, from)? else {
        return Ok(Start::Here);
    };
    reader.seek(session, oldest)?;
    let cut = reader.next()?.and_then(|packet| valid_end(&packet));
    if cut.is_none_or(|valid_end| valid_end > from) {
        return Ok(Start::Gone { oldest });
    }
    reader.seek(session, oldest)?;
    Ok(Start::Here)
}

/// What an epoch's first packet says that older epochs validly published.
fn valid_end(packet: &Packet<'_>) -> Option<u64> {
    let (_, first) = packet.messages().next()?;
    Some(first.view::<EpochStart>()?.valid_end.get())
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
