//! Between two sessions. Numbers may leave some out, and a listener that was away may have missed some: where the upcoming
//! session's start does not say that it follows, recovery services are asked for the next number. One that holds such a
//! session sends it; one that knows that there was none says so; where nobody has it, it is missed, and the stream says
//! so before the next session begins.

use super::{Arbiter, Bug, NoticeKind, Sink, is_planted};
use twinline_wire::field::LossReason;

/// Sessions that were missed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missed {
    begin: u32,
    end: u32,
    reason: LossReason,
}

/// What is known between two sessions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Between {
    /// The session that is asked for: all before it are done with, or missed.
    pub(super) wanted: u32,
    pub(super) missed: Option<Missed>,
}

impl Arbiter {
    /// Begins the upcoming session if this one is done with and nothing can be between them; true if it did.
    pub(super) fn next_session(&mut self, sink: &mut impl Sink) -> bool {
        let Some(upcoming) = self.upcoming.filter(|_| self.session == 0 || self.ended) else {
            return false;
        };
        let wanted = match self.between {
            Some(between) => between.wanted,
            None => self.session.saturating_add(1),
        };
        let follows = || {
            self.before_upcoming(upcoming.session)
                .is_some_and(|before| before < wanted)
        };
        if self.session == 0 || upcoming.session <= wanted || follows() || is_planted(Bug::GapInSessions) {
            self.upcoming = None;
            self.begin(upcoming, sink);
            self.play_ahead(sink);
            return true;
        }
        // In the lead-in no service can know of it.
        if upcoming.published && self.between.is_none() {
            self.between = Some(Between { wanted, missed: None });
        }
        false
    }

    /// Goes on with the next session once one is done with.
    pub(super) fn take_turn(&mut self, sink: &mut impl Sink) {
        while std::mem::take(&mut self.turn) {
            self.next_session(sink);
        }
    }

    /// The session that [`missing`](Self::missing) is of.
    pub fn wanted_session(&self) -> u32 {
        self.between.map_or(self.session, |between| between.wanted)
    }

    /// True while it is asked whether there were sessions before the upcoming one.
    pub fn is_between(&self) -> bool {
        self.between.is_some()
    }

    /// A recovery service knows that no session from the wanted one on was published before `next`.
    pub fn pass_sessions(&mut self, next: u32, sink: &mut impl Sink) {
        self.close_lane();
        let Some(between) = &mut self.between else { return };
        between.wanted = between.wanted.max(next);
        let wanted = between.wanted;
        // One that was announced and came to nothing, or that a power cut took.
        self.upcoming = self.upcoming.filter(|upcoming| upcoming.session >= wanted);
        self.next_session(sink);
        self.take_turn(sink);
    }

    /// Nobody has the wanted session, or any before `next` (the upcoming one if that is nearer, or `None`).
    pub fn miss_sessions(&mut self, next: Option<u32>, reason: LossReason, sink: &mut impl Sink) {
        self.close_lane();
        let upcoming = self.upcoming.map_or(u32::MAX, |upcoming| upcoming.session);
        let Some(between) = &mut self.between else { return };
        let next = next
            .filter(|&next| next > between.wanted)
            .unwrap_or(upcoming)
            .min(upcoming);
        between.missed = Some(Missed {
            begin: between.missed.map_or(between.wanted, |missed| missed.begin),
            end: next,
            reason,
        });
        between.wanted = next;
        self.next_session(sink);
        self.take_turn(sink);
    }

    /// The first thing in the session that has begun: which ones before it are missing.
    pub(super) fn say_missed(&mut self, missed: Missed, sink: &mut impl Sink) {
        let Missed { begin, end, reason } = missed;
        // A nearer one may have been heard of after all.
        let end = end.min(self.session);
        if begin < end && !is_planted(Bug::SessionsMissedNotSaid) {
            self.stats.sessions_missed += u64::from(end - begin);
            self.say(NoticeKind::SessionsMissed { begin, end, reason }, sink);
        }
    }
}
