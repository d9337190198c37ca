//! One slice: a short run of one candidate, with what was measured in it.

use hdrhistogram::Histogram;

/// The longest slice, in nanoseconds.
pub const LONGEST: u64 = 100_000_000;

/// A histogram for latencies from 1 ns to 100 s, to three digits.
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 100_000_000_000, 3).expect("the bounds are constants that make sense")
}

/// What a slice came to.
#[derive(Clone, Debug)]
pub struct Slice {
    /// When it began, in nanoseconds of the run's clock.
    pub began: u64,
    /// How long it took, in nanoseconds.
    pub took: u64,
    /// Latencies from the intended send time, in nanoseconds.
    pub latency: Histogram<u64>,
    /// The most that was stolen from any of its threads, in nanoseconds.
    pub stolen: u64,
    /// Messages that did not arrive.
    pub lost: u64,
}

impl Slice {
    /// The part of the slice that was stolen, 0 to 1.
    pub fn stolen_share(&self) -> f64 {
        self.stolen as f64 / self.took.max(1) as f64
    }

    /// The latency that `quantile` (0 to 1) of the messages stay within, in nanoseconds.
    pub fn quantile(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64
    }
}
