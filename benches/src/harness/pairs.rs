//! Slices of several candidates, round by round: every round has one slice of each, and counts only as a whole.

use super::median::Median;
use super::slice::{Slice, latencies};
use hdrhistogram::Histogram;

/// A round counts if at most this share of each of its slices was stolen.
pub const STOLEN_LIMIT: f64 = 0.01;

/// The rounds of a run. Candidate 0 is the floor.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    rounds: Vec<Vec<Slice>>,
    dropped: usize,
}

impl Pairs {
    /// Takes a round, one slice a candidate in the same order each time; drops it as a whole where time was stolen or a
    /// message did not arrive.
    pub fn push(&mut self, round: Vec<Slice>) {
        let counts = |slice: &Slice| {
            slice.stolen_share() <= STOLEN_LIMIT && slice.lost == 0 && !slice.latency.is_empty()
        };
        match round.iter().all(counts) {
            true => self.rounds.push(round),
            false => self.dropped += 1,
        }
    }

    /// Rounds that count.
    pub fn counted(&self) -> usize {
        self.rounds.len()
    }

    /// Rounds that were dropped.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// A quantile of `candidate`'s slices in nanoseconds, over the rounds.
    pub fn quantile(&self, candidate: usize, quantile: f64) -> Median {
        Median::of(&self.quantiles(candidate, quantile))
    }

    /// The ratio of a quantile of `candidate` to that of `to` in the same round, over the rounds.
    pub fn ratio(&self, candidate: usize, to: usize, quantile: f64) -> Median {
        Median::of_ratios(
            &self.quantiles(candidate, quantile),
            &self.quantiles(to, quantile),
        )
    }

    /// All latencies of `candidate` in the rounds that count.
    pub fn latency(&self, candidate: usize) -> Histogram<u64> {
        let mut all = latencies();
        for slice in self.rounds.iter().filter_map(|round| round.get(candidate)) {
            // Same bounds: nothing is out of range.
            let _ = all.add(&slice.latency);
        }
        all
    }

    /// The slices of `candidate` in the rounds that count.
    pub fn slices(&self, candidate: usize) -> impl Iterator<Item = &Slice> {
        self.rounds.iter().filter_map(move |round| round.get(candidate))
    }

    fn quantiles(&self, candidate: usize, quantile: f64) -> Vec<f64> {
        self.slices(candidate)
            .map(|slice| slice.quantile(quantile))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(latency: u64, stolen: u64) -> Slice {
        let mut histogram = latencies();
        histogram.record(latency).unwrap();
        Slice {
            began: 0,
            took: 1_000_000,
            latency: histogram,
            stolen,
            lost: 0,
        }
    }

    #[test]
    fn a_round_with_stolen_time_or_a_loss_is_dropped_from_all_and_counted() {
        let mut pairs = Pairs::default();
        pairs.push(vec![slice(1_000, 0), slice(1_100, 10_000)]);
        pairs.push(vec![slice(500, 0), slice(90_000, 10_001)]);
        let lossy = Slice {
            lost: 1,
            ..slice(1_000, 0)
        };
        pairs.push(vec![slice(1_000, 0), lossy]);
        assert_eq!((pairs.counted(), pairs.dropped()), (1, 2));
        let ratio = pairs.ratio(1, 0, 0.5).median;
        assert!((ratio - 1.1).abs() < 0.01, "{ratio}");
        assert_eq!(pairs.latency(1).len(), 1);
    }
}
