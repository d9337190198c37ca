//! What each line brought and what it lost, message by message, whatever the other line did.

use crate::arbiter::ranges::{Span, Spans};

/// Gaps of a line that are still counted exactly; older ones are final.
const OPEN_GAPS: usize = 4096;

/// Counters of one line, in messages unless said otherwise. Heartbeats are counted apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineStats {
    /// Datagrams taken from the line, good or bad.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Heartbeats among them.
    pub heartbeats: u64,
    /// Messages that the line brought, each once.
    pub received: u64,
    /// Messages that this line brought more than once.
    pub duplicate: u64,
    /// Messages that came after later ones of the same line.
    pub late: u64,
    /// Messages that never came on this line, as far as is known.
    pub lost: u64,
    /// Messages that this line brought first, and that were delivered from it.
    pub delivered: u64,
}

/// Follows one line through a session.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct LineTracker {
    /// Datagrams, and their bytes. Apart, so that they are not added as a pair: a processor takes twice as long from one such
    /// addition to the next.
    packets: u64,
    /// The sequence after the last one seen; 0 before anything was.
    high: u64,
    bytes: u64,
    /// From here to `high` all messages came in order; they are not in `stats`.
    counted: u64,
    /// All that is not counted elsewhere.
    stats: LineStats,
    missing: Spans,
    /// Ranges that never existed.
    holes: Spans,
}

impl LineTracker {
    pub(crate) fn new() -> Self {
        Self {
            packets: 0,
            high: 0,
            bytes: 0,
            counted: 0,
            stats: LineStats::default(),
            missing: Spans::with_capacity(OPEN_GAPS),
            holes: Spans::with_capacity(64),
        }
    }

    /// A packet or heartbeat arrived, good or bad.
    #[inline]
    pub(crate) fn datagram(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// A session begins: counting starts at `sequence`.
    pub(crate) fn start(&mut self, sequence: u64) {
        self.count();
        self.stats.lost += self.missing.total();
        self.missing.clear();
        self.holes.clear();
        self.go_to(sequence);
    }

    /// A session begins of which the line will bring nothing.
    pub(crate) fn rest(&mut self) {
        self.start(0);
    }

    /// The session that `next` has followed begins; `next` is empty then.
    pub(crate) fn go_on(&mut self, next: &mut LineTracker) {
        self.start(0);
        next.count();
        std::mem::swap(&mut self.missing, &mut next.missing);
        self.go_to(next.high);
        self.stats.received += next.stats.received;
        self.stats.duplicate += next.stats.duplicate;
        self.stats.late += next.stats.late;
        self.stats.lost += next.stats.lost;
        next.forget();
    }

    /// Forgets everything.
    pub(crate) fn forget(&mut self) {
        self.stats = LineStats::default();
        self.missing.clear();
        self.holes.clear();
        self.go_to(0);
    }

    /// True before [`start`](Self::start).
    pub(crate) fn is_idle(&self) -> bool {
        self.high == 0
    }

    /// Counts what came in order since this was done last.
    fn count(&mut self) {
        self.stats.received += self.high - self.counted;
        self.counted = self.high;
    }

    /// Goes on at `sequence`, whatever came before.
    fn go_to(&mut self, sequence: u64) {
        (self.high, self.counted) = (sequence, sequence);
    }

    /// The line's next messages arrived, those up to `end`.
    #[inline]
    pub(crate) fn next(&mut self, end: u64) {
        self.high = end;
    }

    /// Messages `begin..end` arrived.
    #[inline]
    pub(crate) fn messages(&mut self, begin: u64, end: u64) {
        if self.is_idle() {
            self.go_to(begin);
        }
        if begin == self.high {
            return self.next(end);
        }
        self.out_of_order(begin, end);
    }

    #[cold]
    fn out_of_order(&mut self, begin: u64, end: u64) {
        self.count();
        let high = self.high;
        if begin > high {
            self.missed(Span::new(high, begin));
            self.go_to(begin);
            return self.next(end);
        }
        let old = Span::new(begin, end.min(high));
        let late = self.missing.remove(old);
        let new = end.saturating_sub(high);
        self.stats.late += late;
        self.stats.received += late + new;
        self.stats.duplicate += old.len() - late;
        self.go_to(high.max(end));
    }

    /// A heartbeat said that `next` comes next on this line.
    pub(crate) fn passed(&mut self, next: u64) {
        if next > self.high && !self.is_idle() {
            self.count();
            self.missed(Span::new(self.high, next));
            self.go_to(next);
        }
    }

    fn missed(&mut self, span: Span) {
        if let Some(evicted) = self.missing.insert(span) {
            self.stats.lost += evicted.len();
        }
        for hole in self.holes.as_slice() {
            self.missing.remove(*hole);
        }
    }

    /// These sequences never existed: not having them is no loss.
    pub(crate) fn hole(&mut self, hole: Span) {
        self.holes.insert(hole);
        self.missing.remove(hole);
    }

    pub(crate) fn heartbeat(&mut self) {
        self.stats.heartbeats += 1;
    }

    /// The sequence after the last one seen; 0 before anything was.
    #[inline]
    pub(crate) fn high(&self) -> u64 {
        self.high
    }

    /// The counters; what a line did not bring below `next` counts as lost on it. `delivered` from it is the arbiter's.
    pub(crate) fn stats(&self, next: u64, delivered: u64) -> LineStats {
        let stats = self.stats;
        let mut stats = LineStats {
            packets: self.packets,
            bytes: self.bytes,
            received: stats.received + (self.high - self.counted),
            lost: stats.lost + self.missing.total(),
            delivered,
            ..stats
        };
        if !self.is_idle() {
            let tail = Span::new(self.high, next);
            let holes = self.holes.as_slice().iter();
            stats.lost += tail.len() - holes.map(|hole| hole.overlap(tail)).sum::<u64>();
        }
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker() -> LineTracker {
        let mut line = LineTracker::new();
        line.start(1);
        line
    }

    #[test]
    fn what_comes_late_was_not_lost() {
        let mut line = tracker();
        line.messages(1, 3);
        line.messages(5, 7);
        assert_eq!(line.stats(7, 0).lost, 2);
        line.messages(3, 5);
        let stats = line.stats(7, 0);
        assert_eq!(
            (stats.received, stats.late, stats.lost, stats.duplicate),
            (6, 2, 0, 0)
        );
    }

    #[test]
    fn a_repeat_on_the_same_line_is_a_duplicate() {
        let mut line = tracker();
        line.messages(1, 5);
        line.messages(3, 8);
        let stats = line.stats(8, 0);
        assert_eq!((stats.received, stats.duplicate, stats.lost), (7, 2, 0));
    }

    #[test]
    fn a_heartbeat_shows_a_lost_tail_and_a_hole_is_no_loss() {
        let mut line = tracker();
        line.messages(1, 5);
        line.passed(20);
        assert_eq!(line.stats(20, 0).lost, 15);
        line.hole(Span::new(10, 20));
        assert_eq!(line.stats(20, 0).lost, 5);
        assert_eq!(
            line.stats(30, 0).lost,
            15,
            "what was delivered from elsewhere is lost here"
        );
    }
}
