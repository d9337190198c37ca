//! Jitter: a thread that is pinned to a core spins on the processor's counter, and whenever two looks are far apart, something
//! took the core from it.
//!
//! One core after the other, so that the rest of the machine has the other cores as ever: all at once would measure a
//! machine without any core to spare, on which what else runs must displace a spinning thread.

use super::root::Root;
use serde::Serialize;
use std::thread;
use std::time::Duration;
use twinline_benches::harness::clock::Clock;
use twinline_feed::run::pin;

/// What was taken from a spinning thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Jitter {
    /// How long it spun, in nanoseconds.
    pub(super) elapsed_ns: u64,
    /// Gaps longer than a microsecond.
    pub(super) over_1us: u64,
    /// Of these, longer than ten.
    pub(super) over_10us: u64,
    /// Of these, longer than a hundred.
    pub(super) over_100us: u64,
    /// The longest, in nanoseconds.
    pub(super) longest_ns: u64,
    /// All gaps longer than a microsecond together, in nanoseconds.
    pub(super) taken_ns: u64,
    /// Timer interrupts of the core meanwhile; none where the kernel does not tell.
    pub(super) ticks: Option<u64>,
}

impl Jitter {
    /// Counts the time between two looks.
    #[inline]
    fn look(&mut self, gap: u64) {
        // A turn of the loop is some tens of nanoseconds.
        if gap > 1_000 {
            self.over_1us += 1;
            self.over_10us += u64::from(gap > 10_000);
            self.over_100us += u64::from(gap > 100_000);
            self.longest_ns = self.longest_ns.max(gap);
            self.taken_ns += gap;
        }
    }
}

/// Spins on `core` for so long.
///
/// # Errors
/// Why it could not, in words.
pub(super) fn on_core(root: &Root, core: usize, time: Duration) -> Result<Jitter, String> {
    thread::scope(|scope| {
        let spinning = scope.spawn(move || {
            pin(core).map_err(|error| error.to_string())?;
            let before = ticks(root, core);
            let mut jitter = spin(time);
            let after = ticks(root, core);
            jitter.ticks = before
                .zip(after)
                .map(|(before, after)| after.saturating_sub(before));
            Ok(jitter)
        });
        spinning
            .join()
            .unwrap_or_else(|_| Err("the thread that spun panicked".into()))
    })
}

fn spin(time: Duration) -> Jitter {
    let clock = Clock::new();
    let end = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let mut jitter = Jitter::default();
    let start = clock.now();
    let mut last = start;
    while last - start < end {
        let now = clock.now();
        jitter.look(now.saturating_sub(last));
        last = now;
    }
    jitter.elapsed_ns = last - start;
    jitter
}

/// Timer interrupts of a core so far.
fn ticks(root: &Root, core: usize) -> Option<u64> {
    let text = root.text("proc/interrupts")?;
    let mut lines = text.lines();
    let column = format!("CPU{core}");
    let at = lines.next()?.split_whitespace().position(|name| name == column)?;
    // By its name on x86; what other processors call it is not asked for.
    let timer = lines.find_map(|line| line.trim().strip_prefix("LOC:"))?;
    timer.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::root::machine;

    #[test]
    fn gaps_are_counted_by_how_long_they_are() {
        let mut jitter = Jitter::default();
        for gap in [30, 1_000, 1_001, 10_001, 100_001] {
            jitter.look(gap);
        }
        let expected = Jitter {
            over_1us: 3,
            over_10us: 2,
            over_100us: 1,
            longest_ns: 100_001,
            taken_ns: 111_003,
            ..Jitter::default()
        };
        assert_eq!(jitter, expected);
    }

    #[test]
    fn a_cores_ticks_are_those_of_its_column() {
        let (_dir, root) = machine(&[(
            "proc/interrupts",
            "      CPU0  CPU2\n  4:  1  2  IO-APIC 4-edge ttyS0\nLOC:  500  700  Local timer interrupts\n",
        )]);
        assert_eq!(
            (ticks(&root, 0), ticks(&root, 2), ticks(&root, 1)),
            (Some(500), Some(700), None)
        );
    }

    #[test]
    fn a_core_is_watched_for_as_long_as_asked_and_one_that_is_not_there_is_named() {
        let root = Root::at("/");
        let jitter = on_core(&root, 0, Duration::from_millis(5)).unwrap();
        assert!(
            jitter.elapsed_ns >= 5_000_000 && jitter.over_1us >= jitter.over_10us,
            "{jitter:?}"
        );
        assert!(
            on_core(&root, 4095, Duration::ZERO)
                .unwrap_err()
                .contains("no core 4095")
        );
    }
}
