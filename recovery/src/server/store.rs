//! What all clients of a service share: the journal's reader, and what may be sent to all of them together.

use super::answer::{Answer, Cursor, Refusal, Room, Wanted, answer, unknown_session, unpublished};
use super::limits::Quota;
use super::snapshot::Shelf;
use super::tail::{Next, Over, Tail};
use super::tails::Tails;
use crate::Mark;
use std::sync::Arc;
use twinline_journal::{Head, JournalError, JournalReader, Seek};
use twinline_wire::field::RejectCode;

/// Tails open at once, where nothing else is said.
pub(super) const DEFAULT_TAILS: usize = 64;

/// The journal as the clients of a service see it.
#[derive(Debug)]
pub struct Store {
    /// The journal; without one (there is none yet) every session is unknown.
    pub journal: Option<JournalReader>,
    /// What may be sent to all clients together.
    pub total: Quota,
    /// What may be shown to all but replicas; `None`: whatever the journal holds.
    pub released: Option<Mark>,
    /// The tails that are open.
    pub tails: Arc<Tails>,
    /// Its snapshots, if they are served.
    pub snapshots: Option<Arc<Shelf>>,
    error: Option<JournalError>,
}

impl Store {
    /// A store over this journal, or none yet, with this allowance for all clients together.
    pub fn new(journal: Option<JournalReader>, total: Quota) -> Self {
        Self {
            journal,
            total,
            released: None,
            tails: Tails::new(DEFAULT_TAILS),
            snapshots: None,
            error: None,
        }
    }

    /// The last failure of the journal since this was called last.
    pub fn take_error(&mut self) -> Option<JournalError> {
        self.error.take()
    }

    /// Follows the head, so that segments that are long past are let go and new requests begin near what they mostly
    /// ask for. To be called now and then.
    pub fn keep_up(&mut self) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        let followed = journal.head().and_then(|head| match head {
            Some(head) => journal.seek(head.session, head.next).map(drop),
            None => Ok(()),
        });
        if let Err(error) = followed {
            self.error = Some(error);
        }
    }

    /// The first part of the answer to a range; a journal that cannot be read is an answer too.
    pub(super) fn answer(&mut self, cursor: &mut Option<Cursor>, wanted: Wanted, room: Room) -> Answer {
        let Some(journal) = &mut self.journal else {
            return Answer::Refused(unknown_session(wanted, 0));
        };
        let wanted = match self.released {
            Some(mark) if wanted.session > mark.session => {
                return Answer::Refused(unknown_session(wanted, mark.session));
            }
            Some(mark) if wanted.session == mark.session && wanted.begin >= mark.next => {
                return Answer::Refused(unpublished(wanted.end));
            }
            Some(mark) if wanted.session == mark.session => Wanted {
                end: wanted.end.min(mark.next),
                ..wanted
            },
            _ => wanted,
        };
        answer(journal, cursor, wanted, room).unwrap_or_else(|error| {
            self.error = Some(error);
            Answer::Refused(Refusal {
                end: wanted.end,
                code: RejectCode::INTERNAL,
                reason: "the service cannot read its journal",
                again: true,
                next_session: None,
            })
        })
    }

    /// The next packets of a tail. A journal that is not there is waited for; one that cannot be read ends the tail.
    pub(super) fn tail(&mut self, tail: &mut Tail, max_bytes: usize) -> Next {
        let Some(journal) = &mut self.journal else {
            return Next::Wait;
        };
        tail.next(journal, self.released, max_bytes)
            .unwrap_or_else(|error| {
                self.error = Some(error);
                Next::Over(Over {
                    code: RejectCode::INTERNAL,
                    end: tail.at.next,
                    reason: "the service cannot read its journal",
                })
            })
    }

    /// Where what is released ends; all zero while there is no journal, or nothing in it.
    pub(super) fn head(&mut self) -> Head {
        let head = match &mut self.journal {
            None => Ok(None),
            Some(journal) => journal.head(),
        };
        match head {
            Ok(Some(head)) => return self.as_released(head),
            Ok(None) => {}
            Err(error) => self.error = Some(error),
        }
        NOTHING
    }

    /// The head as all but replicas see it.
    fn as_released(&mut self, head: Head) -> Head {
        let Some(mark) = self.released.filter(|mark| *mark < Mark::from(head)) else {
            return head;
        };
        match self.journal.as_mut().map(|journal| head_at(journal, mark)) {
            Some(Ok(Some(head))) => head,
            Some(Err(error)) => {
                self.error = Some(error);
                NOTHING
            }
            _ => NOTHING,
        }
    }
}

/// The head of a journal in which nothing is released.
const NOTHING: Head = Head {
    session: 0,
    epoch: 0,
    epoch_base: 0,
    next: 0,
    ended: false,
    oldest: 0,
};

/// The head of a journal that would end at this mark; `None` if it holds nothing before it in the mark's session.
fn head_at(journal: &mut JournalReader, mark: Mark) -> Result<Option<Head>, JournalError> {
    let Some(span) = journal.session(mark.session)? else {
        return Ok(None);
    };
    let mut reader = journal.clone();
    if mark.next <= span.oldest || reader.seek(mark.session, mark.next - 1)? != Seek::Found {
        return Ok(None);
    }
    Ok(reader.next()?.map(|packet| Head {
        session: mark.session,
        epoch: packet.header().epoch.get(),
        epoch_base: packet.header().epoch_base.get(),
        next: mark.next,
        ended: span.ended && mark.next >= span.next,
        oldest: span.oldest,
    }))
}
