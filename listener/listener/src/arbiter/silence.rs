//! Lines that say nothing, and lines that come back; and what is said of the clock.

use super::{Arbiter, NoticeKind, Sink};
use twinline_wire::field::{ClockState, LineName, LineState};

impl Arbiter {
    /// True while both lines are silent and the session has not ended.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// For line A and line B: true while it is silent.
    pub fn stalled(&self) -> [bool; 2] {
        self.stalled
    }

    /// Time passes: lines that say nothing are stalled. To be called some thousand times a second, at least where the skew
    /// of the lines is looked at.
    pub fn tick(&mut self, now: u64, sink: &mut impl Sink) {
        self.skew.turn(now);
        if self.session == 0 {
            return;
        }
        let silent = self
            .last_seen
            .map(|at| now.saturating_sub(at) > self.config.stall);
        for line in 0..2 {
            if silent[line] && !self.stalled[line] {
                self.stalled[line] = true;
                if !silent[1 - line] {
                    self.say(NoticeKind::Line(LineName(line as u8), LineState::STALLED), sink);
                }
            }
        }
        if silent == [true; 2] && !self.stale && !self.ended {
            self.stale = true;
            self.say(NoticeKind::Line(LineName::BOTH, LineState::STALE), sink);
        }
    }

    #[cold]
    pub(super) fn line_is_back(&mut self, line: usize, sink: &mut impl Sink) {
        self.stalled[line] = false;
        self.stale = false;
        if self.session != 0 {
            self.say(NoticeKind::Line(LineName(line as u8), LineState::RESUMED), sink);
        }
    }

    /// The clock that messages are released by becomes implausible, or plausible again. Only once a session is delivered.
    pub(crate) fn say_clock(&mut self, state: ClockState, offset: Option<i64>, sink: &mut impl Sink) {
        if self.session != 0 {
            self.say(NoticeKind::Clock { state, offset }, sink);
        }
    }
}
