//! When each message is to be sent, whatever became of those before it: a late sender does not make its lateness vanish.

/// Intended send times at an even rate.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    start: u64,
    /// Nanoseconds between two messages, in 1/1024.
    period: u64,
}

impl Pace {
    /// `rate` messages a second, the first at `start` (nanoseconds of the clock).
    ///
    /// # Panics
    /// If `rate` is 0.
    pub fn new(start: u64, rate: u64) -> Self {
        Self {
            start,
            period: (1_000_000_000 << 10) / rate,
        }
    }

    /// When message `number` is to be sent.
    #[inline]
    pub fn at(&self, number: u64) -> u64 {
        self.start + ((number * self.period) >> 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intended_times_do_not_drift() {
        let pace = Pace::new(500, 50_000);
        assert_eq!((pace.at(0), pace.at(1)), (500, 20_500));
        assert_eq!(pace.at(50_000), 1_000_000_500);
        let uneven = Pace::new(0, 30_000);
        assert!(uneven.at(30_000).abs_diff(1_000_000_000) < 50_000);
    }
}
