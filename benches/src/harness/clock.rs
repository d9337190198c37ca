//! The processor's time stamp counter as a clock: a read costs about 10 ns, a system clock's 24 ns.

use std::time::Instant;

/// A calibrated counter. Copies count the same; the counters of all cores are in step, or [`check`](Clock::check) shows it.
#[derive(Clone, Debug)]
pub struct Clock {
    quanta: quanta::Clock,
    /// One moment by both clocks.
    raw: u64,
    system: Instant,
}

/// How far the counter is from the system's clock over a run.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Drift {
    /// The run, in seconds of the system's clock.
    pub seconds: f64,
    /// How much faster the counter was, in parts per million.
    pub ppm: f64,
}

impl Drift {
    /// More than this and no figure of the run can be trusted.
    pub const LIMIT_PPM: f64 = 500.0;

    /// True if the counter can be trusted.
    pub fn is_sound(&self) -> bool {
        self.ppm.abs() <= Self::LIMIT_PPM
    }
}

impl Clock {
    /// Calibrates the counter; takes some milliseconds the first time.
    pub fn new() -> Self {
        let quanta = quanta::Clock::new();
        let raw = quanta.raw();
        Self {
            quanta,
            raw,
            system: Instant::now(),
        }
    }

    /// Nanoseconds since the clock was made.
    #[inline]
    pub fn now(&self) -> u64 {
        self.quanta.delta_as_nanos(self.raw, self.quanta.raw())
    }

    /// Compares the counter with the system's clock since this clock was made.
    pub fn check(&self) -> Drift {
        let (counter, system) = (self.now() as f64, self.system.elapsed().as_nanos() as f64);
        Drift {
            seconds: system / 1e9,
            ppm: (counter - system) / system * 1e6,
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_forward() {
        let clock = Clock::new();
        let now = clock.now();
        assert!(clock.now() >= now);
    }

    #[test]
    fn a_drift_beyond_the_limit_is_not_sound() {
        let sound = Drift {
            seconds: 1.0,
            ppm: -40.0,
        };
        assert!(sound.is_sound());
        assert!(!Drift { ppm: -600.0, ..sound }.is_sound());
    }
}
