//! What heartbeats say, and how far it is believed.

use super::{Arbiter, Bug, Origin, Sink, is_planted, line_index};
use crate::lines::LineTracker;
use twinline_wire::Packet;
use twinline_wire::field::SessionState;
use twinline_wire::header::flags;

/// What a heartbeat said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heartbeat {
    sequence: u64,
    checksum: u32,
    origin: Origin,
    /// Nothing comes after `sequence`.
    ends: bool,
    at: u64,
}

impl Heartbeat {
    /// True if `last` is not the very same again, and not too long ago to count.
    fn agrees(&self, last: &Heartbeat, patience: u64) -> bool {
        let other = (last.checksum, last.origin) != (self.checksum, self.origin);
        other && self.at.saturating_sub(last.at) <= patience
    }
}

impl Arbiter {
    pub(super) fn on_heartbeat(
        &mut self,
        origin: Origin,
        packet: &Packet<'_>,
        limit: u64,
        now: u64,
        sink: &mut impl Sink,
    ) {
        let sequence = packet.sequence();
        let last = self.last_heartbeat;
        let heartbeat = Heartbeat {
            sequence,
            checksum: packet.header().checksum.get(),
            origin,
            ends: packet.header().flags & flags::END_OF_SESSION != 0,
            at: now,
        };
        if let Some(line) = line_index(origin) {
            self.lines[line].heartbeat();
            if self.lines.iter().all(LineTracker::is_idle) {
                self.start_lines(sequence.min(limit));
            }
        }
        // One heartbeat alone could be forged by a flipped bit: it counts as far as another one agrees.
        let agreed = match last {
            _ if is_planted(Bug::HeartbeatBelieved) => sequence,
            Some(last) if heartbeat.agrees(&last, self.config.patience) => sequence.min(last.sequence),
            _ => 0,
        };
        self.last_heartbeat = Some(heartbeat);
        if !self.ended {
            self.announced = self.announced.max(agreed.min(limit));
        }
        if let Some(line) = line_index(origin) {
            self.lines[line].passed(sequence.min(self.highest().max(self.announced)));
        }
        // Where the session ends is known from two heartbeats that say so.
        let ends = |beat: &Heartbeat| beat.ends && beat.sequence == agreed;
        if agreed > 0 && ends(&heartbeat) && last.as_ref().is_some_and(ends) && !self.ended {
            self.end_at = agreed;
            if is_planted(Bug::EndTooEarly) {
                return self.end_session(SessionState::ABANDONED, sink);
            }
            self.end_where_said(sink);
        }
    }
}
