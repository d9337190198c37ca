//! Medians, and how far to trust them.

use serde::Serialize;

/// A median over rounds with its 95% interval, from order statistics: nothing is assumed of how the values are spread.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Median {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Median {
    pub(crate) fn of(values: &[f64]) -> Self {
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
    pub(crate) fn of_ratios(values: &[f64], to: &[f64]) -> Self {
        let ratios: Vec<f64> = values.iter().zip(to).map(|(value, to)| value / to).collect();
        Self::of(&ratios)
    }
}
