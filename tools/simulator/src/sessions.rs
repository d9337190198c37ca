//! What sessions and retention do in a run: what each recovery service still holds at any time, listeners that sleep
//! through sessions, and whether a loss that a listener names was one.

use crate::check::{Loss, Missed};
use crate::faults::MS;
use crate::ledger::Ledger;
use crate::rng::Rng;
use twinline_journal::JournalReader;

/// How often it is looked whether something went, at least.
const LOOK: u64 = 10 * MS;

/// The oldest packet that a service holds, each time it changed: when, its session, its sequence.
#[derive(Debug, Default)]
pub(crate) struct Held {
    oldest: Vec<(u64, u32, u64)>,
    /// Of copies: when each was made, and where it ends.
    ends: Vec<(u64, u32, u64)>,
    looked: u64,
}

impl Held {
    /// Looks at what the service reads, now and then or when that is `fresh`; true if something went since the last look.
    pub(crate) fn look(&mut self, journal: &mut JournalReader, fresh: bool, now: u64) -> bool {
        if !fresh && now < self.looked + LOOK {
            return false;
        }
        self.looked = now;
        let Ok(Some(session)) = journal.session_from(0) else {
            return false;
        };
        let Ok(Some(span)) = journal.session(session) else {
            return false;
        };
        let last = self.oldest.last().map(|&(_, session, oldest)| (session, oldest));
        if last == Some((session, span.oldest)) {
            return false;
        }
        self.oldest.push((now, session, span.oldest));
        last.is_some()
    }

    /// A copy was made.
    pub(crate) fn copied(&mut self, journal: &mut JournalReader, now: u64) {
        if let Ok(Some(head)) = journal.head() {
            self.ends.push((now, head.session, head.next));
        }
    }

    /// True if from `begin` to `time` it could have sent what is missing of `session` below `end`, had it been asked.
    pub(crate) fn has(&self, session: u32, end: u64, begin: u64, time: u64) -> bool {
        let copy = self.ends.iter().rev().find(|(at, ..)| *at <= begin);
        // What an open end holds only a newer session shows.
        let reach = if end == u64::MAX {
            (session + 1, 0)
        } else {
            (session, end)
        };
        let lags = !self.ends.is_empty() && copy.is_none_or(|&(_, newest, next)| (newest, next) < reach);
        !lags && !self.is_past(session, end, time)
    }

    /// True if at `time` nothing was held of `session` below `end`.
    fn is_past(&self, session: u32, end: u64, time: u64) -> bool {
        // What went just before may have been seen just after.
        let known = self.oldest.iter().rev().find(|(at, ..)| *at <= time + LOOK);
        known.is_some_and(|&(_, first, oldest)| session < first || (session == first && end <= oldest))
    }
}

/// True if at `time` no service held any of what is said to be too old.
pub(crate) fn is_too_old<'a>(mut services: impl Iterator<Item = &'a Held>, loss: &Loss, time: u64) -> bool {
    services.all(|held| held.is_past(loss.session, loss.span.end, time))
}

/// True if at `time` no service held anything of the sessions that are said to be missed.
pub(crate) fn are_too_old<'a>(
    mut services: impl Iterator<Item = &'a Held>,
    missed: &Missed,
    ledger: &Ledger,
    time: u64,
) -> bool {
    let newest = newest_of(ledger, missed.begin, missed.end);
    newest.is_none_or(|session| services.all(|held| held.is_past(session, u64::MAX, time)))
}

/// The newest session that has messages, of those with numbers in `begin..end`.
pub(crate) fn newest_of(ledger: &Ledger, begin: u32, end: u32) -> Option<u32> {
    let mut sessions = ledger.sessions.range(begin..end);
    let newest = sessions.rfind(|(_, session)| !session.entries.is_empty());
    newest.map(|(&session, _)| session)
}

/// When a listener that was killed is started again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sleep {
    /// Not before this time.
    pub(crate) until: u64,
    /// Nor before this session is published, unless all is.
    session: u32,
}

impl Sleep {
    /// Before the listener starts for the first time.
    pub(crate) fn first(until: u64) -> Self {
        Self { until, session: 0 }
    }

    /// A short one; or, one time in `long`, one until a session or two have come and gone.
    pub(crate) fn draw(rng: &mut Rng, now: u64, newest: u32, long: u64) -> Self {
        let until = now + rng.range(1, 60) * MS;
        let session = match long > 0 && rng.one_in(long) {
            true => newest + rng.range(2, 12) as u32,
            false => 0,
        };
        Self { until, session }
    }

    /// True if it waits for a session.
    pub(crate) fn is_long(&self) -> bool {
        self.session > 0
    }

    /// True if it is over.
    pub(crate) fn is_over(&self, now: u64, newest: u32, calm: bool) -> bool {
        now >= self.until && (calm || newest >= self.session)
    }
}
