//! A state from elsewhere in place of what the stream adds up to: where delivery waits for it, and where it is told of.
//!
//! A snapshot replaces the state before a message, so it must be told of exactly where it stands. Delivery stops where the
//! snapshot that is asked for must reach at least; when it is here, delivery goes on to where it stands, says so, and goes
//! on from there. What lies between is delivered like everything else.

use super::ranges::Span;
use super::{Arbiter, Bug, NoticeKind, Sink, is_planted};
use twinline_wire::field::LossReason;

/// A snapshot that is durable in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Its session.
    pub session: u32,
    /// Its epoch.
    pub epoch: u32,
    /// That epoch's first sequence.
    pub epoch_base: u64,
    /// It holds all valid messages below this sequence.
    pub sequence: u64,
    /// Its file's number.
    pub file: u64,
}

impl Arbiter {
    /// What was delivered does not add up to the state; one that does stands at or beyond `from`.
    pub(super) fn state_is_incomplete(&mut self, from: u64) {
        self.incomplete = true;
        self.state_from = self.state_from.max(from);
    }

    /// The record that it goes on from says so: messages are lost or void, and no state replaced them.
    pub fn resume_incomplete(&mut self) {
        self.state_is_incomplete(self.next.max(1));
    }

    /// True if the state has to be replaced: what was delivered does not add up to it.
    pub fn wants_state(&self) -> bool {
        self.session != 0 && !self.ended && (self.incomplete || self.awaiting)
    }

    /// True while what was delivered does not add up to the state: messages are lost or void, and no state replaced them.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// True if a state is here, and delivery goes on to where it stands.
    pub fn has_state(&self) -> bool {
        self.armed.is_some()
    }

    /// True while nothing is delivered because a state is waited for. Nothing is missing then.
    #[inline]
    pub fn is_held(&self) -> bool {
        self.next >= self.stop
    }

    /// True while a state to begin with is waited for.
    pub fn awaits_state(&self) -> bool {
        self.awaiting
    }

    /// Stops delivery before where a state that is asked for now must reach at least, which it returns: `margin`
    /// sequences beyond what was delivered, or beyond what was lost.
    pub fn stop_for_state(&mut self, margin: u64) -> u64 {
        self.close_lane();
        if self.awaiting {
            return 0;
        }
        let mut from = self.next.max(self.state_from);
        if !self.may_deliver() {
            from = from.max(self.base + 1);
        }
        self.stop = from.saturating_add(margin);
        self.stop
    }

    /// No state comes for now: delivery goes on without it, unless it has to begin with one.
    pub fn go_on(&mut self, sink: &mut impl Sink) {
        self.close_lane();
        if !self.awaiting && self.armed.is_none() {
            self.stop = u64::MAX;
            self.drain(sink);
        }
    }

    /// No service has a state to begin with: delivery begins with the session's first message.
    pub fn begin_without_state(&mut self, sink: &mut impl Sink) {
        self.close_lane();
        if self.awaiting {
            self.forget_state();
            self.drain(sink);
        }
    }

    /// A state is here, durable. It is told of where it stands. False if it is of no use: another session's, of something
    /// that an epoch cut off, or passed already.
    pub fn replace_state(&mut self, mut state: State, sink: &mut impl Sink) -> bool {
        self.close_lane();
        if is_planted(Bug::CutStateAccepted) && state.epoch < self.epoch {
            // Of an epoch that is over, it passes for one of this.
            (state.epoch, state.epoch_base) = (self.epoch, self.base);
            state.sequence = state.sequence.max(self.base + 1);
        }
        let behind = !self.awaiting && state.sequence < self.next.max(self.state_from);
        if state.session != self.session || self.ended || behind || !self.is_of_this_stream(&state) {
            return false;
        }
        if self.awaiting {
            self.begin_at(state, sink);
            return true;
        }
        if state.epoch > self.epoch && state.epoch_base >= self.delivered {
            // A service is believed.
            self.enter_epoch(state.epoch, state.epoch_base);
        }
        self.stop = state.sequence;
        self.armed = Some(state);
        self.drain(sink);
        true
    }

    /// False if an epoch that is known says otherwise.
    fn is_of_this_stream(&self, state: &State) -> bool {
        let other_base = state.epoch == self.epoch && state.epoch_base != self.base;
        !other_base && state.epoch_base < state.sequence && state.sequence <= self.limit(state.epoch)
    }

    /// Delivery begins where the state stands.
    fn begin_at(&mut self, state: State, sink: &mut impl Sink) {
        self.forget_state();
        if state.sequence > 1 && !is_planted(Bug::SkipNotSaid) {
            self.lose(Span::new(1, state.sequence), LossReason::SKIPPED, sink);
        }
        self.next = state.sequence;
        self.told = state.sequence;
        self.delivered = state.sequence;
        self.shown = self.shown.max(state.sequence);
        if state.epoch > self.epoch {
            (self.epoch, self.base) = (state.epoch, state.epoch_base);
            self.last_heartbeat = None;
        } else if state.epoch < self.epoch {
            self.started = (state.epoch, state.epoch_base);
        }
        self.told_epoch = (state.epoch, state.epoch_base);
        self.say_state(state, sink);
        let next = self.next;
        self.window.retain(|early| early.end > next);
        self.drain(sink);
    }

    /// Delivery has come to the stop. False if it waits there.
    #[cold]
    pub(super) fn pass_stop(&mut self, sink: &mut impl Sink) -> bool {
        let Some(state) = self.armed.take() else {
            return false;
        };
        self.stop = u64::MAX;
        // Passed by what was lost or void meanwhile, it is of no use any more.
        if state.sequence == self.next && state.sequence >= self.state_from && self.is_of_this_stream(&state)
        {
            self.say_state(state, sink);
        }
        true
    }

    fn say_state(&mut self, state: State, sink: &mut impl Sink) {
        self.incomplete = false;
        self.stats.states += 1;
        self.say(NoticeKind::StateReplaced(state), sink);
    }

    /// Nothing is waited for.
    pub(super) fn forget_stop(&mut self) {
        (self.stop, self.armed, self.awaiting) = (u64::MAX, None, false);
    }

    /// A session begins: what is delivered from its first message on adds up to its state.
    pub(super) fn forget_state(&mut self) {
        self.forget_stop();
        (self.incomplete, self.state_from) = (false, 1);
    }

    /// Delivery begins with a state.
    pub(super) fn await_state(&mut self) {
        (self.stop, self.awaiting) = (1, true);
    }
}
