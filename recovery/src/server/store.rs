//! What all clients of a service share: the journal's reader, and what may be sent to all of them together.

use super::answer::{Answer, Cursor, Refusal, Room, Wanted, answer, unknown_session};
use super::limits::Quota;
use super::snapshot::Shelf;
use std::sync::Arc;
use twinline_journal::{Head, JournalError, JournalReader};
use twinline_wire::field::RejectCode;

/// The journal as the clients of a service see it.
#[derive(Debug)]
pub struct Store {
    /// The journal; without one (there is none yet) every session is unknown.
    pub journal: Option<JournalReader>,
    /// What may be sent to all clients together.
    pub total: Quota,
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
        answer(journal, cursor, wanted, room).unwrap_or_else(|error| {
            self.error = Some(error);
            Answer::Refused(Refusal {
                end: wanted.end,
                code: RejectCode::INTERNAL,
                reason: "the service cannot read its journal",
                again: true,
            })
        })
    }

    /// Where the journal ends; all zero while there is none, or nothing in it.
    pub(super) fn head(&mut self) -> Head {
        let head = match &mut self.journal {
            None => Ok(None),
            Some(journal) => journal.head(),
        };
        match head {
            Ok(Some(head)) => return head,
            Ok(None) => {}
            Err(error) => self.error = Some(error),
        }
        Head {
            session: 0,
            epoch: 0,
            epoch_base: 0,
            next: 0,
            ended: false,
            oldest: 0,
        }
    }
}
