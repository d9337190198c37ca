//! How an arbiter goes from one epoch to the next: nothing is delivered before the EpochStart is here, and what that cut
//! off is void.

use super::epochs::Epoch;
use super::ranges::Span;
use super::{Arbiter, Bug, NoticeKind, Sink, is_planted};
use twinline_wire::Packet;
use twinline_wire::session::EpochStart;

impl Arbiter {
    /// What packets of this epoch put at or beyond this sequence is void. What older epochs put at or beyond the current
    /// one's base is, even where its EpochStart came before a restart and how much it cut off is not known any more.
    #[inline]
    pub(super) fn limit(&self, epoch: u32) -> u64 {
        if is_planted(Bug::OlderEpochAccepted) {
            return u64::MAX;
        }
        let known = self.epochs.limit(epoch);
        if epoch < self.epoch {
            known.min(self.base)
        } else {
            known
        }
    }

    /// A higher epoch is believed. Nothing is delivered before its EpochStart is here.
    #[cold]
    pub(super) fn enter_epoch(&mut self, epoch: u32, base: u64) {
        if self.may_deliver() {
            self.started = (self.epoch, self.base);
        }
        self.epoch = epoch;
        self.base = base;
        self.last_heartbeat = None;
        self.end_at = 0;
        if is_planted(Bug::StartNotAwaited) {
            self.next = base;
        }
    }

    /// The epoch that delivery waits for was announced and never started: what was before it goes on.
    #[cold]
    pub(super) fn leave_epoch(&mut self) {
        (self.epoch, self.base) = self.started;
        self.last_heartbeat = None;
    }

    /// Nothing goes out while the current epoch's EpochStart stands ahead and is not here yet.
    #[inline]
    pub(super) fn may_deliver(&self) -> bool {
        self.next > self.base || self.epochs.knows(self.epoch)
    }

    /// If the packet opens an epoch: learn its cut, and act on it.
    #[inline]
    pub(super) fn notice_epoch_start(&mut self, packet: &Packet<'_>, sink: &mut impl Sink) {
        if packet.sequence() != packet.header().epoch_base.get() {
            return;
        }
        let first = packet.messages().next();
        let Some(start) = first.and_then(|(_, frame)| frame.view::<EpochStart>()) else {
            return;
        };
        let epoch = packet.header().epoch.get();
        let (valid_end, base) = (start.valid_end.get(), packet.sequence());
        if start.epoch.get() != epoch || valid_end > base || valid_end == 0 {
            return;
        }
        if !self.epochs.learn(Epoch {
            number: epoch,
            base,
            valid_end,
        }) {
            return;
        }
        let epochs = &self.epochs;
        let (current, newest_base) = (self.epoch, self.base);
        self.window.retain(|early| {
            let older = early.epoch < current && early.begin >= newest_base;
            !older && early.begin < epochs.limit(early.epoch)
        });
        for line in &mut self.lines {
            line.hole(Span::new(valid_end, base));
        }
        if self.next > valid_end && self.next <= base {
            let void = Span::new(valid_end, self.told);
            self.next = base;
            // Nothing is void where only a hole was passed, which an epoch left that is void itself.
            if !void.is_empty() {
                self.stats.void += void.len();
                self.state_is_incomplete(base + 1);
                if !is_planted(Bug::VoidNotSaid) {
                    self.say(NoticeKind::Void(void, epoch), sink);
                }
                self.told = base;
            }
        }
    }
}
