//! Delivery: a packet that reaches over the position, then what the window holds behind it.

use super::{Arbiter, Bug, Delivery, NoticeKind, Origin, Sink, Window, is_planted, window};
use twinline_wire::field::SessionState;
use twinline_wire::session::{EndOfSession, EpochStart};
use twinline_wire::{Message, Packet};

impl Arbiter {
    /// Delivers what is new in a packet that reaches over the position. `end` is where it stops being valid.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        packet: &Packet<'_>,
        end: u64,
        origin: Origin,
        waited: bool,
        sink: &mut impl Sink,
    ) {
        let begin = packet.sequence();
        let mut skip = (self.next - begin) as u16;
        let mut take = (end - self.next) as u16;
        if is_planted(Bug::FillTrimmedTooFar) && origin == Origin::Recovery && take > 1 {
            (skip, take) = (skip + 1, take - 1);
        }
        sink.deliver(&Delivery {
            packet: *packet,
            skip,
            take,
            origin,
            waited,
        });
        self.moved_to(end);
        self.told_epoch = (packet.header().epoch.get(), packet.header().epoch_base.get());
        self.stats.delivered[origin as usize] += u64::from(take);
        self.stats.packets += 1;
        let first = packet.messages().next();
        match first.map(|(_, frame)| frame.template()) {
            Some(EpochStart::TEMPLATE) if skip == 0 => {
                let state = if begin == 1 {
                    SessionState::STARTED
                } else {
                    SessionState::EPOCH_STARTED
                };
                self.say(NoticeKind::Session(state), sink);
            }
            Some(EndOfSession::TEMPLATE) if end == packet.end() => {
                self.end_session(SessionState::ENDED, sink)
            }
            _ => {}
        }
    }

    /// Everything below `end` was delivered.
    #[inline]
    pub(super) fn moved_to(&mut self, end: u64) {
        self.next = end;
        self.told = end;
        self.delivered = end;
    }

    /// Delivers what the window holds next, over holes and void ranges.
    #[inline]
    pub(super) fn drain(&mut self, sink: &mut impl Sink) {
        while self.may_deliver() && !self.ended {
            if self.next >= self.stop && !self.pass_stop(sink) {
                return;
            }
            if let Some(hole) = self.epochs.hole(self.next) {
                self.next = hole.end;
                continue;
            }
            // What a service calls void is not asked for again. Which epoch made it so, and what else that cut off, only
            // the EpochStart behind it says: delivery waits for that, unless the session is over there.
            match self.closed.containing(self.next) {
                Some(closed) if closed.end == u64::MAX => {
                    return self.end_session(SessionState::ABANDONED, sink);
                }
                Some(_) => return,
                None => {}
            }
            let Some(front) = self.window.front().copied() else {
                return;
            };
            if front.begin > self.next {
                return;
            }
            if front.end.min(self.limit(front.epoch)) > self.stop {
                // The rest of it stays.
                self.deliver_early(front, self.stop, sink);
                continue;
            }
            let Some(early) = self.window.pop() else { return };
            let end = early.end.min(self.limit(early.epoch));
            if end <= self.next {
                continue;
            }
            self.deliver_early(early, end, sink);
        }
    }

    fn deliver_early(&mut self, early: window::Early, end: u64, sink: &mut impl Sink) {
        // The window lends its memory while the rest of the arbiter moves on.
        let window = std::mem::replace(&mut self.window, Window::empty());
        if let Ok(packet) = Packet::trusted_prefix(window.bytes(&early)) {
            self.deliver(&packet, end, early.origin, true, sink);
        }
        self.window = window;
        // That was the session's last message: what else waits is no part of it, nor of the next one.
        if self.ended {
            self.window.clear();
        }
    }
}
