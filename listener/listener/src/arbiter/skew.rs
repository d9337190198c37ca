//! How much later one line brings a packet than the other.
//!
//! At most one packet waits to be compared: the next one of a line is remembered, and when the other line brings the same
//! one the difference is counted for the line that was behind. So it costs a comparison a packet, allocates nothing, and
//! takes a sample of the packets that both lines bring: with a packet in flight all others are passed over. Times are those
//! that the caller gives: of a thread that polls both lines in turn, packets that wait in both sockets differ by 0.

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
    pending: Option<Pending>,
    behind: [Histogram<u64>; 2],
}

impl Skew {
    pub(super) fn new() -> Self {
        // 1 ns to 10 s, to one digit: 4 KiB each.
        let histogram = || {
            Histogram::new_with_bounds(1, 10_000_000_000, 1)
                .expect("the bounds are constants that make sense")
        };
        Self {
            pending: None,
            behind: [histogram(), histogram()],
        }
    }

    /// `line` brought the packet of messages that begins at `place` (session, sequence).
    #[inline]
    pub(super) fn packet(&mut self, line: usize, place: (u32, u64), now: u64) {
        if let Some(pending) = self.pending {
            let waits = now.saturating_sub(pending.at) < PATIENCE;
            if waits && (line == pending.line || place < pending.place) {
                return;
            }
            if waits && place == pending.place {
                self.behind[line].saturating_record((now - pending.at).max(1));
                self.pending = None;
                return;
            }
            // The other line has passed it without it.
        }
        self.pending = Some(Pending { line, place, at: now });
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
        skew.packet(B, (1, 11), 5_000);
        skew.packet(A, (1, 11), 5_000);
        assert_eq!((counts(&skew), skew.behind[A].max()), ([1, 1], 1));
    }

    #[test]
    fn a_packet_that_the_other_line_lost_is_not_waited_for() {
        let mut skew = Skew::new();
        skew.packet(A, (1, 10), 1_000);
        skew.packet(A, (1, 11), 2_000);
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
        skew.packet(A, (u32::MAX, u64::MAX), 4_000);
        skew.packet(B, (2, 7), 5_000);
        skew.packet(B, (2, 8), PATIENCE + 4_000);
        skew.packet(A, (2, 8), PATIENCE + 5_000);
        assert_eq!(counts(&skew), [2, 0]);
    }
}
