//! Whether a listener keeps up: what was known to exist a moment ago is to be delivered now.
//!
//! On lossy lines there is always something that waits for recovery, and while it catches up the end moves away; so it is
//! not asked whether anything is missing, but how long it took to get where the end was.

/// Getting there may take so long, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

/// Runs after the end of what is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chase {
    /// Session and sequence that are to be reached.
    target: (u32, u64),
    /// When the target was reached and a new one set; nothing before the first one was.
    reached: Option<u64>,
}

impl Chase {
    /// Everything before `next` is delivered, everything before `end` is known to exist; both are session and sequence.
    /// To be called several times a second.
    pub(crate) fn look(&mut self, next: (u32, u64), end: (u32, u64), now: u64) {
        if end.0 == 0 {
            // There is no session yet.
            return;
        }
        if self.target == (0, 0) {
            self.target = end;
        }
        if next >= self.target {
            (self.target, self.reached) = (end, Some(now));
        }
    }

    /// True while it keeps up.
    pub(crate) fn is_caught_up(&self, now: u64) -> bool {
        self.reached
            .is_some_and(|reached| now.saturating_sub(reached) < PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: u64 = PATIENCE / 10;

    #[test]
    fn it_is_not_caught_up_before_it_has_reached_what_there_was_at_first() {
        let mut chase = Chase::default();
        chase.look((0, 1), (0, 1), 0);
        assert!(!chase.is_caught_up(0), "there is no session yet");
        chase.look((1, 1), (1, 1_000), TENTH);
        chase.look((1, 900), (1, 2_000), 2 * TENTH);
        assert!(!chase.is_caught_up(2 * TENTH));
        chase.look((1, 1_000), (1, 3_000), 3 * TENTH);
        assert!(chase.is_caught_up(3 * TENTH));
    }

    #[test]
    fn it_keeps_up_while_gaps_close_and_not_while_one_stays() {
        let mut chase = Chase::default();
        for tenth in 0..100 {
            let end = 1_000 + 100 * tenth;
            chase.look((1, end - 50), (1, end), tenth * TENTH);
            assert!(tenth < 2 || chase.is_caught_up(tenth * TENTH), "{tenth}");
        }
        for tenth in 100..120 {
            chase.look((1, 10_850), (1, 11_000 + 100 * tenth), tenth * TENTH);
            assert_eq!(chase.is_caught_up(tenth * TENTH), tenth < 109, "{tenth}");
        }
    }

    #[test]
    fn an_idle_listener_that_has_everything_is_caught_up_and_a_new_session_is_chased_too() {
        let mut chase = Chase::default();
        for tenth in 0..100 {
            chase.look((1, 7), (1, 7), tenth * TENTH);
        }
        assert!(chase.is_caught_up(100 * TENTH));
        chase.look((1, 7), (2, 7), 101 * TENTH);
        chase.look((1, 7), (2, 7), 112 * TENTH);
        assert!(!chase.is_caught_up(112 * TENTH));
    }
}
