//! A client's way through a snapshot: waits until there is one, then part after part.

use super::shelf::{Found, Ticket};
use super::{Made, Shelf};
use crate::nanos;
use std::ops;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use twinline_journal::failpoint;
use twinline_wire::field::RejectCode;

/// A request for a snapshot that is open.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) request_id: u32,
    pub(crate) session: u32,
    pub(crate) at_least: u64,
    since: u64,
    shelf: Arc<Shelf>,
    _ticket: Ticket,
    made: Option<Arc<Made>>,
    sent: usize,
}

/// What comes next of it.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing yet.
    Wait,
    /// This part.
    Part(Part),
    /// All of it was sent.
    Done,
    /// It is refused.
    Refused {
        code: RejectCode,
        reason: &'static str,
        again: bool,
    },
}

/// A part of a snapshot, which it keeps in memory.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) made: Arc<Made>,
    pub(crate) bytes: ops::Range<usize>,
}

impl Transfer {
    /// A new request; `None` if too many clients are being sent one.
    pub(crate) fn new(
        shelf: &Arc<Shelf>,
        request_id: u32,
        session: u32,
        at_least: u64,
        now: u64,
    ) -> Option<Self> {
        shelf.stats().requests.fetch_add(1, Ordering::Relaxed);
        let ticket = shelf.ticket()?;
        Some(Self {
            request_id,
            session,
            at_least,
            since: now,
            shelf: Arc::clone(shelf),
            _ticket: ticket,
            made: None,
            sent: 0,
        })
    }

    /// What there is to send, once what was to be sent before is gone: at most `room` bytes at once.
    pub(crate) fn next(&mut self, room: usize, now: u64) -> Next {
        let made = match &self.made {
            Some(made) => Arc::clone(made),
            None => match self.find(now) {
                Ok(made) => Arc::clone(self.made.insert(made)),
                Err(next) => return next,
            },
        };
        let end = made.bytes.len().min(self.sent + room);
        let bytes = self.sent..end;
        self.sent = end;
        let stats = self.shelf.stats();
        if bytes.is_empty() {
            stats.served.fetch_add(1, Ordering::Relaxed);
            return Next::Done;
        }
        failpoint::hit("recovery.part");
        stats
            .bytes_served
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Next::Part(Part { made, bytes })
    }

    fn find(&self, now: u64) -> Result<Arc<Made>, Next> {
        let late = now.saturating_sub(self.since) >= nanos(self.shelf.wait);
        match self.shelf.find(self.session, self.at_least) {
            Found::Ready(made) => Ok(made),
            Found::Wait(Some(made)) if late => Ok(made),
            Found::Wait(None) if late => Err(Next::Refused {
                code: RejectCode::NOT_YET_PUBLISHED,
                reason: "the books have not come so far",
                again: true,
            }),
            Found::Wait(_) => Err(Next::Wait),
            Found::Refused { code, reason, again } => Err(Next::Refused { code, reason, again }),
        }
    }
}
