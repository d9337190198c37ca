//! How a session begins and ends for a listener: what a higher session does to the one being delivered, what recovery
//! services say of either, and what is declared lost.

use super::ranges::Span;
use super::upcoming::Upcoming;
use super::{Arbiter, Bug, Dropped, FIRST_EPOCH, NoticeKind, Origin, Sink, StartAt, is_planted};
use twinline_wire::Packet;
use twinline_wire::field::{LossReason, SessionState};

impl Arbiter {
    /// A packet of another session than the one being delivered.
    #[cold]
    pub(super) fn other_session(
        &mut self,
        origin: Origin,
        packet: Packet<'_>,
        now: u64,
        sink: &mut impl Sink,
    ) {
        let seen = Upcoming::of(&packet);
        if seen.session < self.session {
            return self.drop_packet(origin, Dropped::OldSession);
        }
        if self.between.is_some_and(|between| between.wanted == seen.session)
            && !packet.header().is_heartbeat()
        {
            self.begin(seen, sink);
            return self.accept(origin, packet, now, sink);
        }
        self.note_upcoming(seen);
        if is_planted(Bug::OldSessionForgotten) && self.session > 0 && !self.ended {
            self.end_session(SessionState::ABANDONED, sink);
        }
        let kept = self.keep_ahead(origin, &packet);
        if !self.next_session(sink) {
            self.count_ahead(kept);
        } else if packet.header().is_heartbeat() {
            self.accept(origin, packet, now, sink);
        }
    }

    /// The old session is done with, and this one begins.
    pub(super) fn begin(&mut self, upcoming: Upcoming, sink: &mut impl Sink) {
        let first_ever = self.session == 0;
        for line in self.lines.iter_mut().filter(|line| !line.is_idle()) {
            line.passed(self.next);
        }
        self.session = upcoming.session;
        self.skew.begin(self.session);
        self.epoch = upcoming.epoch;
        self.base = upcoming.base;
        self.ended = false;
        self.end_at = 0;
        self.started = (0, 0);
        self.next = 1;
        self.told = 1;
        self.delivered = 1;
        self.told_epoch = FIRST_EPOCH;
        // How far the session is, its next packets and heartbeats say again, and those are not believed alone.
        self.shown = 1;
        self.announced = 1;
        self.last_heartbeat = None;
        self.epochs.clear();
        self.window.clear();
        self.closed.clear();
        self.lost.clear();
        self.forget_state();
        self.begin_lines(&upcoming);
        if let Some(missed) = self.between.take().and_then(|between| between.missed) {
            self.say_missed(missed, sink);
        }
        if first_ever && self.config.start == StartAt::Snapshot {
            return self.await_state();
        }
        let start = match self.config.start {
            StartAt::Live if first_ever => upcoming.first,
            StartAt::Sequence(sequence) if first_ever => sequence,
            _ => 1,
        };
        if start > 1 {
            self.lose(Span::new(1, start), LossReason::SKIPPED, sink);
        }
    }

    pub(super) fn end_session(&mut self, state: SessionState, sink: &mut impl Sink) {
        self.ended = true;
        self.forget_stop();
        self.shown = self.next;
        self.announced = self.next;
        self.window.clear();
        self.say(NoticeKind::Session(state), sink);
        // Not at once: a packet of this session may still be in hand.
        self.turn = self.upcoming.is_some();
    }

    /// Where heartbeats said that the session ends, and nothing was delivered that says so: its last message was lost.
    pub(super) fn end_where_said(&mut self, sink: &mut impl Sink) {
        if self.end_at == self.next && !self.ended {
            self.end_session(SessionState::ABANDONED, sink);
        }
    }

    /// Void by word of a recovery service: these sequences name no message.
    pub fn close_void(&mut self, session: u32, span: Span, sink: &mut impl Sink) {
        self.close_lane();
        if session != self.session || self.ended {
            return;
        }
        if span.end == u64::MAX && !self.is_closing() {
            return;
        }
        if !self.may_deliver() {
            if (span.begin..span.end).contains(&self.base) {
                self.leave_epoch();
                self.drain(sink);
                self.take_turn(sink);
            }
            return;
        }
        self.closed.insert(Span::new(span.begin.max(self.next), span.end));
        self.drain(sink);
        self.take_turn(sink);
    }

    /// Nobody has `span`, which begins at the position: it is announced as lost, and delivery goes on behind it. If it is
    /// the EpochStart that delivery waits for, everything before it is lost too: what of it was valid is not known.
    pub fn declare_lost(&mut self, span: Span, reason: LossReason, sink: &mut impl Sink) {
        self.close_lane();
        let span = match self.may_deliver() {
            false if span.begin == self.base => Span::new(self.next, span.end),
            // Nor is what was made void by an EpochStart that nobody has.
            true if self.closed.containing(self.next).is_some() => Span::new(self.next, span.end),
            _ => span,
        };
        if span.begin != self.next || span.is_empty() || self.ended {
            return;
        }
        self.lose(span, reason, sink);
        if span.end == u64::MAX {
            // The tail of a session that a newer one has overtaken: how long it was is not known.
            (self.next, self.told) = (span.begin, span.begin);
            self.end_session(SessionState::ABANDONED, sink);
        } else {
            self.drain(sink);
            self.end_where_said(sink);
        }
        self.take_turn(sink);
    }

    pub(super) fn lose(&mut self, span: Span, reason: LossReason, sink: &mut impl Sink) {
        self.next = span.end;
        self.told = span.end;
        self.shown = self.shown.max(if span.end == u64::MAX {
            span.begin
        } else {
            span.end
        });
        self.lost.insert(span);
        self.state_is_incomplete(self.next);
        if span.end != u64::MAX && reason != LossReason::SKIPPED {
            self.stats.lost += span.len();
        }
        self.say(NoticeKind::Lost(span, reason), sink);
    }

    /// A recovery service, which is believed, says how far it is: what a listener without lines goes by.
    pub fn on_service_head(&mut self, session: u32, epoch: u32, base: u64, next: u64, sink: &mut impl Sink) {
        self.close_lane();
        if session == 0 || session < self.session || epoch == 0 || base == 0 || next < base {
            return;
        }
        if session > self.session {
            self.note_upcoming(Upcoming {
                session,
                epoch,
                base,
                first: next,
                published: true,
            });
            self.next_session(sink);
            return self.take_turn(sink);
        }
        if epoch > self.epoch && base >= self.delivered {
            self.enter_epoch(epoch, base);
        }
        if !self.ended {
            self.announced = self.announced.max(next.min(self.limit(epoch)));
        }
    }

    /// True while the session is being completed because a newer one has begun.
    pub fn is_closing(&self) -> bool {
        self.upcoming.is_some() && !self.ended
    }
}
