//! The verdict on a run: every listener's stream, every replica, and whether a loss that was declared was one.

use super::{BEGIN, World};
use crate::books;
use crate::check::{self, Loss, Missed};
use crate::faults::{Fault, MS};
use crate::listener::{ListenerHost, TIMEOUT};
use crate::sessions;
use twinline_listener::arbiter::NoticeKind;
use twinline_wire::field::LossReason;

impl World<'_> {
    /// Judges every stream.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.ledger.check_sources(self.seed)?;
        self.ledger.check_journal(self.publisher.journal())?;
        self.replicas.check(self.publisher.journal())?;
        self.counts.torn_seeds = u64::from(self.counts.torn_tails > 0);
        for (at, listener) in self.listeners.iter().enumerate() {
            listener.collect(&mut self.counts);
            let stream = listener.record.stream()?;
            let verdict =
                check::judge(&stream, &self.ledger).map_err(|what| format!("listener {at}: {what}"))?;
            let (states, valid) = books::judge(&listener.record.dir, &stream, &self.ledger)
                .map_err(|what| format!("listener {at}: {what}"))?;
            self.counts.states += states;
            self.counts.valid_books += u64::from(valid);
            for loss in &verdict.losses {
                self.judge_loss(listener, loss)
                    .map_err(|what| format!("listener {at}: {what}"))?;
            }
            for missed in &verdict.missed {
                self.judge_missed(listener, missed)
                    .map_err(|what| format!("listener {at}: {what}"))?;
                self.counts.hit(Fault::SessionMissed);
            }
            let old = verdict
                .losses
                .iter()
                .filter(|loss| loss.reason == LossReason::TOO_OLD);
            self.counts.hits(Fault::TooOld, old.count() as u64);
            self.counts.delivered += verdict.messages;
            self.counts.recovered += listener.record.recovered;
            self.counts.lost += verdict.lost;
            self.counts.void += verdict.void;
            let (&number, session) = self
                .ledger
                .sessions
                .iter()
                .next_back()
                .ok_or("nothing was published")?;
            if (verdict.session, verdict.next, verdict.closed) != (number, session.end(), session.ended) {
                return Err(format!(
                    "listener {at} ends at session {} sequence {} (ended: {}), the journal at {number}, {} ({})",
                    verdict.session,
                    verdict.next,
                    verdict.closed,
                    session.end(),
                    session.ended
                ));
            }
        }
        let messages = self
            .ledger
            .sessions
            .values()
            .map(|session| session.entries.len() as u64);
        self.counts.messages += messages.sum::<u64>();
        Ok(())
    }

    /// A loss is legal only where recovery could not be asked for a good part of the gap time-out.
    fn judge_loss(&self, listener: &ListenerHost, loss: &Loss) -> Result<(), String> {
        let said = listener.record.notices.iter().rev().find(|(_, notice)| {
            notice.session == loss.session && notice.kind == NoticeKind::Lost(loss.span, loss.reason)
        });
        let at = said.map_or(self.now, |(at, _)| *at);
        // An open end in which there was nothing: the session was left before its end was published.
        let session = self.ledger.sessions.get(&loss.session);
        let is_empty = session.is_none_or(|session| session.end() <= loss.span.begin);
        let legal = match loss.reason {
            LossReason::TIMED_OUT if loss.span.end == u64::MAX && is_empty => true,
            LossReason::SKIPPED => listener.joined_late(loss.span),
            LossReason::TIMED_OUT => self.was_out_of_reach(listener, loss.session, loss.span.end, at),
            // A power cut took what there was of it.
            LossReason::TOO_OLD if loss.span.end == u64::MAX && is_empty => true,
            LossReason::TOO_OLD => {
                listener.was_away_beyond(loss.session, loss.span)
                    || sessions::is_too_old(self.services.iter().map(|of| &of.held), loss, at)
            }
            _ => false,
        };
        if legal {
            return Ok(());
        }
        Err(format!(
            "session {} sequences {:?} declared lost ({:?}) at {} ms, although recovery could be asked",
            loss.session,
            loss.span,
            loss.reason,
            (at - BEGIN) / MS
        ))
    }

    /// True if for a good part of the gap time-out no service could be asked that has what is missing.
    fn was_out_of_reach(&self, listener: &ListenerHost, session: u32, end: u64, at: u64) -> bool {
        let half = at.saturating_sub(TIMEOUT / 2);
        listener.was_cut_off(at.saturating_sub(TIMEOUT), at, TIMEOUT / 2, |service| {
            self.services[service].held.has(session, end, half, at)
        })
    }

    /// The same for sessions that were missed as a whole.
    fn judge_missed(&self, listener: &ListenerHost, missed: &Missed) -> Result<(), String> {
        let &Missed {
            begin, end, reason, ..
        } = missed;
        let kind = NoticeKind::SessionsMissed { begin, end, reason };
        let said = listener
            .record
            .notices
            .iter()
            .rev()
            .find(|(_, notice)| notice.session == missed.session && notice.kind == kind);
        let at = said.map_or(self.now, |(at, _)| *at);
        let held = self.services.iter().map(|service| &service.held);
        let legal = match reason {
            // Power cuts may take the next session again and again: then no service can say that there was none between.
            LossReason::TIMED_OUT if sessions::newest_of(&self.ledger, begin, end).is_none() => true,
            LossReason::TIMED_OUT => self.was_out_of_reach(listener, begin, u64::MAX, at),
            LossReason::TOO_OLD => sessions::are_too_old(held, missed, &self.ledger, at),
            _ => false,
        };
        if legal {
            return Ok(());
        }
        Err(format!(
            "sessions {begin}..{end} declared missed ({reason:?}) at {} ms, although they could be had",
            (at - BEGIN) / MS
        ))
    }
}
