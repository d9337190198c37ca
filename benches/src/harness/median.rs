//! Medians, and how far to trust them.

use serde::{Deserialize, Serialize};

/// A median with its 95% interval, from order statistics: nothing is assumed of how the values are spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Median {
    /// The median; NaN of no values.
    pub median: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Median {
    /// Of these values.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len() as f64;
        let at = |rank: f64| {
            let rank = rank.clamp(0.0, (sorted.len().max(1) - 1) as f64) as usize;
            sorted.get(rank).copied().unwrap_or(f64::NAN)
        };
        // Ranks of the median in a binomial distribution, two standard deviations around its middle.
        let spread = 0.98 * count.sqrt();
        Self {
            median: at((count / 2.0).floor()),
            low: at((count / 2.0 - spread).floor()),
            high: at((count / 2.0 + spread).ceil()),
        }
    }

    /// Of the ratios of the two values of each round.
    pub fn of_ratios(values: &[f64], to: &[f64]) -> Self {
        let ratios: Vec<f64> = values.iter().zip(to).map(|(value, to)| value / to).collect();
        Self::of(&ratios)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_median_and_narrows_with_more_values() {
        let values = |count: u32| (0..count).map(f64::from).collect::<Vec<_>>();
        let few = Median::of(&values(20));
        let many = Median::of(&values(2_000));
        assert_eq!((few.median, many.median), (10.0, 1_000.0));
        assert!(few.low <= few.median && few.median <= few.high);
        assert!((many.high - many.low) / 2_000.0 < (few.high - few.low) / 20.0);
        assert!(Median::of(&[]).median.is_nan());
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let ratio = Median::of_ratios(&[2.0, 20.0, 200.0], &[1.0, 10.0, 100.0]);
        assert_eq!((ratio.low, ratio.median, ratio.high), (2.0, 2.0, 2.0));
    }
}
