//! One moment by two clocks, to bring what a listener stamps with the real time onto the benchmark's clock.

use super::clock::Clock;
use twinline_feed::run::unix_now;

/// Two ties of a slice may differ by so much, in nanoseconds: more, and somebody set the system's clock.
const STEP: u64 = 50_000;

/// One moment by the benchmark's clock and in real time, both in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tie {
    clock: u64,
    unix: u64,
}

impl Tie {
    /// Now: of a few tries the one with the least time between the readings.
    pub fn new(clock: &Clock) -> Self {
        let read = |_| {
            let (before, unix, after) = (clock.now(), unix_now(), clock.now());
            let width = after - before;
            (
                width,
                Self {
                    clock: before + width / 2,
                    unix,
                },
            )
        };
        let tightest = (0..16).map(read).min_by_key(|(width, _)| *width);
        tightest.map_or(Self { clock: 0, unix: 0 }, |(_, tie)| tie)
    }

    /// Real time at `clock`, shortly after this.
    #[inline]
    pub fn unix(&self, clock: u64) -> u64 {
        self.unix + (clock - self.clock)
    }
}

/// Two ties around a slice.
#[derive(Clone, Copy, Debug)]
pub struct Ties {
    begin: Tie,
    end: Tie,
}

impl Ties {
    /// `begin` and now; `None` if the system's clock was set in between.
    pub fn close(begin: Tie, clock: &Clock) -> Option<Self> {
        let end = Tie::new(clock);
        (begin.unix(end.clock).abs_diff(end.unix) <= STEP).then_some(Self { begin, end })
    }

    /// Ties of clocks that run alike, real time `apart` nanoseconds ahead.
    #[cfg(test)]
    pub(crate) fn of_clocks(apart: u64) -> Self {
        let tie = |clock| Tie {
            clock,
            unix: clock + apart,
        };
        Self {
            begin: tie(0),
            end: tie(1_000_000_000),
        }
    }

    /// A moment of real time by the benchmark's clock.
    pub fn clock(&self, unix: u64) -> u64 {
        let (begin, end) = (&self.begin, &self.end);
        let span = (end.unix - begin.unix).max(1) as f64;
        let rate = (end.clock - begin.clock) as f64 / span;
        let after = unix as i64 - begin.unix as i64;
        begin.clock.saturating_add_signed((after as f64 * rate) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_real_time_is_found_on_the_clock_although_they_run_apart() {
        let ties = Ties {
            begin: Tie {
                clock: 1_000,
                unix: 5_000_000,
            },
            end: Tie {
                clock: 100_011_000,
                unix: 105_000_000,
            },
        };
        assert_eq!(ties.clock(5_000_000), 1_000);
        assert_eq!(ties.clock(55_000_000), 50_006_000);
        assert_eq!(ties.clock(4_999_500), 500);
    }

    #[test]
    fn a_clock_that_was_set_in_between_ties_nothing() {
        let clock = Clock::new();
        let now = Tie::new(&clock);
        assert!(Ties::close(now, &clock).is_some());
        let set = Tie {
            unix: now.unix + 1_000_000_000,
            ..now
        };
        assert!(Ties::close(set, &clock).is_none());
    }
}
