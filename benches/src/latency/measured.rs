//! From the times of a slice to its latencies.

use crate::harness::gaps::GAP;
use crate::harness::slice::{Slice, latencies};
use crate::harness::tie::Ties;

/// When something was to be sent, and when its sending began, in nanoseconds of the benchmark's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) due: u64,
    pub(super) began: u64,
}

/// A slice that is over.
#[derive(Debug)]
pub(super) struct Hearing<'s> {
    pub(super) sent: &'s [Times],
    pub(super) start: u64,
    pub(super) end: u64,
    /// Stolen from the sending thread.
    pub(super) stolen: u64,
}

impl Hearing<'_> {
    /// The slice, with `heard`: when each send was delivered, in real time; 0: never. Without ties, the system's clock was
    /// set, and no time means anything: all of it counts as stolen.
    ///
    /// What was stolen from the receiving thread shows in what it receives: from sending to delivery takes longer than
    /// any turn does. That is so for both sides, ours and the floor.
    pub(super) fn slice(&self, ties: Option<&Ties>, heard: impl Fn(usize) -> u64) -> Slice {
        let mut latency = latencies();
        let (mut lost, mut away, mut until) = (0, 0, 0);
        for (number, times) in self.sent.iter().enumerate() {
            let unix = heard(number);
            if unix == 0 {
                lost += 1;
                continue;
            }
            let Some(ties) = ties else { continue };
            let delivered = ties.clock(unix);
            latency.saturating_record(delivered.saturating_sub(times.due).max(1));
            if delivered.saturating_sub(times.began) > GAP {
                away += delivered.saturating_sub(times.began.max(until));
                until = until.max(delivered);
            }
        }
        let took = self.end.saturating_sub(self.start).max(1);
        Slice {
            began: self.start,
            took,
            latency,
            stolen: if ties.is_some() {
                self.stolen.max(away)
            } else {
                took
            },
            lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_count_from_the_intended_time_and_what_is_late_together_was_stolen_once() {
        let apart = 1_700_000_000_000_000_000;
        let ties = Ties::of_clocks(apart);
        let unix = |at: u64| apart + at;
        let now = 5_000_000;
        let sent = [0, 20_000, 40_000, 60_000].map(|at| Times {
            due: now + at,
            began: now + at + 1_000,
        });
        // The second and the third come together, long after the second was sent.
        let long = 4 * GAP;
        let together = unix(now + 21_000 + long);
        let heard = [unix(now + 5_000), together, together, 0];
        let hearing = Hearing {
            sent: &sent,
            start: now,
            end: now + 30_000 + long,
            stolen: 0,
        };
        let slice = hearing.slice(Some(&ties), |number| heard[number]);
        assert_eq!((slice.lost, slice.latency.len()), (1, 3));
        assert!(
            slice.latency.max().abs_diff(long + 1_000) < 1_000,
            "{}",
            slice.latency.max()
        );
        assert_eq!(slice.stolen, long);
        let unknown = hearing.slice(None, |number| heard[number]);
        assert_eq!(unknown.stolen_share(), 1.0);
    }
}
