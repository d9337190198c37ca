//! How much later one line brings a packet than the other.
//!
//! One packet at a time is compared: one of a line is remembered, and when the other line brings the same one the difference
//! is counted for the line that was behind. The next one is chosen when the arbiter has had its [turn](Skew::turn), some
//! thousand times a second at most: so nearly every packet under load is told by one comparison that it is not looked at,
//! and what comes seldom is all compared. Times are those that the caller gives: of a thread that polls both lines in turn,
//! packets that wait in both sockets differ by 0.

use hdrhistogram::Histogram;

/// A packet that the other line has not brought after so long is not waited for, in nanoseconds: it was lost there, or the
/// line is dead, or no publisher ever sent it.
const PATIENCE: u64 = 1_000_000_000;

/// A packet that one line has brought.
#[derive(Clone, Copy, Debug)]
struct Pending {
    line: usize,
    place: (u32, u64),
    at: u64,
}

/// Compares the two lines.
#[derive(Debug)]
pub(super) struct Skew {
    /// From here on each line's packets of the session are to be looked at.
    from: [u64; 2],
    pending: Option<Pending>,
    behind: [Histogram<u64>; 2],
}

const ALL: [u64; 2] = [0; 2];
const NONE: [u64; 2] = [u64::MAX; 2];

impl Skew {
    pub(super) fn new() -> Self {
        // 1 ns to 10 s, to one digit: 4 KiB each.
        let histogram = || {
            Histogram::new_with_bounds(1, 10_000_000_000, 1)
                .expect("the bounds are constants that make sense")
        };
        Self {
            from: ALL,
            pending: None,
            behind: [histogram(), histogram()],
        }
    }

    /// False if the packet that begins at `sequence` of the session being delivered need not be [told of](Self::packet).
    #[inline]
    pub(super) fn wants(&self, line: usize, sequence: u64) -> bool {
        sequence >= self.from[line]
    }

    /// `line` brought the packet of messages that begins at `place` (session, sequence).
    #[cold]
    pub(super) fn packet(&mut self, line: usize, place: (u32, u64), now: u64) {
        match self.pending {
            None if self.from == NONE => return,
            Some(pending) if line == pending.line || place < pending.place => return,
            Some(pending) if place == pending.place => {
                self.behind[line].saturating_record(now.saturating_sub(pending.at).max(1));
                self.pending = None;
                self.from = NONE;
                return;
            }
            // There was none, or the other line has passed it without it.
            _ => {}
        }
        self.pending = Some(Pending { line, place, at: now });
        self.from[line] = u64::MAX;
        self.from[1 - line] = place.1;
    }

    /// `session` begins: no packet of one before it is waited for.
    pub(super) fn begin(&mut self, session: u32) {
        if self.pending.is_some_and(|pending| pending.place.0 < session) {
            self.pending = None;
            self.from = ALL;
        }
    }

    /// The next packet may be compared, unless one still is.
    pub(super) fn turn(&mut self, now: u64) {
        self.pending = self
            .pending
            .filter(|pending| now.saturating_sub(pending.at) < PATIENCE);
        if self.pending.is_none() {
            self.from = ALL;
        }
    }

    /// For line A and line B: how much later it brought what the other one had brought, in nanoseconds.
    pub(super) fn behind(&self) -> &[Histogram<u64>; 2] {
        &self.behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: usize = 0;
    const B: usize = 1;

    fn counts(skew: &Skew) -> [u64; 2] {
        [skew.behind[A].len(), skew.behind[B].len()]
    }

    #[test]
    fn the_time_is_counted_for_the_line_that_was_behind() {
        let mut skew = Skew::new();
        skew.packet(A, (1, 10), 1_000);
        skew.packet(B, (1, 10), 4_000);
        assert_eq!(counts(&skew), [0, 1]);
        let behind = skew.behind[B].max();
        assert!((2_800..=3_300).contains(&behind), "{behind}");
        skew.turn(5_000);
        skew.packet(B, (1, 11), 5_000);
        skew.packet(A, (1, 11), 5_000);
        assert_eq!((counts(&skew), skew.behind[A].max()), ([1, 1], 1));
    }

    #[test]
    fn between_two_turns_one_packet_is_compared_and_no_other_is_wanted() {
        let mut skew = Skew::new();
        assert!(skew.wants(A, 10) && skew.wants(B, 10));
        skew.packet(A, (1, 10), 1_000);
        assert!(!skew.wants(A, 11), "that line has had its turn");
        assert!(!skew.wants(B, 9) && skew.wants(B, 10));
        skew.packet(B, (1, 10), 2_000);
        assert!(!skew.wants(A, 11) && !skew.wants(B, 11));
        skew.packet(A, (1, 11), 3_000);
        skew.packet(B, (1, 11), 4_000);
        assert_eq!(counts(&skew), [0, 1]);
        skew.turn(5_000);
        assert!(skew.wants(A, 12) && skew.wants(B, 12));
    }

    #[test]
    fn a_packet_that_the_other_line_lost_is_not_waited_for() {
        let mut skew = Skew::new();
        skew.packet(A, (1, 10), 1_000);
        skew.packet(A, (1, 11), 2_000);
        skew.turn(2_500);
        skew.packet(B, (1, 9), 3_000);
        // B has lost 10, and is first with 12.
        skew.packet(B, (1, 12), 4_000);
        skew.packet(A, (1, 12), 5_000);
        assert_eq!(counts(&skew), [1, 0]);
    }

    #[test]
    fn a_new_session_and_a_packet_that_nobody_published_do_not_stop_it() {
        let mut skew = Skew::new();
        skew.packet(A, (1, 500), 1_000);
        skew.packet(B, (2, 1), 2_000);
        skew.packet(A, (2, 1), 3_000);
        assert_eq!(counts(&skew), [1, 0]);
        skew.turn(3_500);
        skew.packet(A, (u32::MAX, u64::MAX), 4_000);
        skew.turn(4_500);
        skew.packet(B, (2, 7), 5_000);
        skew.turn(PATIENCE + 4_000);
        skew.packet(B, (2, 8), PATIENCE + 4_000);
        skew.packet(A, (2, 8), PATIENCE + 5_000);
        assert_eq!(counts(&skew), [2, 0]);
    }
}
