//! What a benchmark says, as plain data: the table, the JSON and the HTML report are made of this alone.

use super::clock::Drift;
use super::median::Median;
use serde::{Deserialize, Serialize};

/// A run of one or more benchmarks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What it ran on.
    pub machine: Machine,
    /// When it began, in seconds since the Unix epoch.
    pub started: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The counter against the system's clock over the run.
    pub drift: Drift,
    /// True if it was cut short to see that everything works: its figures mean nothing.
    pub brief: bool,
    /// One for each benchmark.
    pub sections: Vec<Section>,
}

/// The machine, as far as it bears on the figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// The kernel's clock source.
    pub clock_source: String,
    /// The hypervisor, if one says so.
    pub hypervisor: Option<String>,
    /// Memory in bytes.
    pub memory: u64,
    /// The load average over one minute when the run began: other programs disturb.
    pub load: f64,
}

/// One benchmark.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Section {
    /// A short name: `latency`.
    pub name: String,
    /// What it shows, as a heading.
    pub title: String,
    /// How it was measured, in sentences: threads and cores, sizes, rates, rounds.
    pub how: Vec<String>,
    /// The figures.
    pub figures: Vec<Figure>,
    /// Whole distributions.
    pub distributions: Vec<Distribution>,
    /// Where the time goes.
    pub stages: Vec<Stages>,
    /// Figures over the run.
    pub timelines: Vec<Timeline>,
    /// What was not measured, and why.
    pub not_measured: Vec<String>,
}

/// A figure, with what it should be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What it is: `p50 to the floor`.
    pub name: String,
    /// `x` for a ratio, `ns`, `messages/s`.
    pub unit: String,
    /// The value, with its interval if it is a median of rounds.
    pub value: Value,
    /// What it should be, if that is said.
    pub goal: Option<Goal>,
    /// What one has to know to read it.
    pub note: Option<String>,
}

/// A value.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A median of rounds.
    Median(Median),
    /// A figure of one run.
    Single(f64),
}

impl Value {
    /// The median, or the figure.
    pub fn middle(&self) -> f64 {
        match self {
            Value::Median(median) => median.median,
            Value::Single(value) => *value,
        }
    }
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Goal {
    /// The goal.
    pub goal: f64,
    /// Worse than this is not done.
    pub limit: f64,
    /// True if more is better.
    pub more_is_better: bool,
}

/// How a figure stands to its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// As good as the goal, or better.
    Goal,
    /// Between goal and limit.
    Within,
    /// Worse than the limit.
    Missed,
}

impl Goal {
    /// At most `goal`, never above `limit`.
    pub const fn at_most(goal: f64, limit: f64) -> Self {
        Self {
            goal,
            limit,
            more_is_better: false,
        }
    }

    /// At least `goal`, never below `limit`.
    pub const fn at_least(goal: f64, limit: f64) -> Self {
        Self {
            goal,
            limit,
            more_is_better: true,
        }
    }

    /// How `value` stands to it. What is not a number has missed it.
    pub fn reached(&self, value: f64) -> Reached {
        let good = |bound: f64| match self.more_is_better {
            true => value >= bound,
            false => value <= bound,
        };
        match (good(self.goal), good(self.limit)) {
            (true, _) => Reached::Goal,
            (false, true) => Reached::Within,
            (false, false) => Reached::Missed,
        }
    }
}

/// A distribution of latencies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Distribution {
    /// Whose.
    pub name: String,
    /// Values in it.
    pub count: u64,
    /// Their mean, in nanoseconds.
    pub mean: f64,
    /// Their standard deviation, in nanoseconds.
    pub deviation: f64,
    /// Quantile (0 to 1) and latency in nanoseconds, rising, the last one the maximum.
    pub points: Vec<(f64, u64)>,
}

/// Quantiles that a table shows.
pub const QUANTILES: [f64; 6] = [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0];

impl Distribution {
    /// Of a histogram.
    pub fn of(name: impl Into<String>, histogram: &hdrhistogram::Histogram<u64>) -> Self {
        // 1 - 2^-k, four steps to each halving of what is left: what an HDR plot shows.
        let fine = (0..=80).map(|step| 1.0 - 0.5f64.powf(f64::from(step) / 4.0));
        let points = fine
            .chain([1.0])
            .map(|quantile| (quantile, histogram.value_at_quantile(quantile)));
        Self {
            name: name.into(),
            count: histogram.len(),
            mean: histogram.mean(),
            deviation: histogram.stdev(),
            points: points.collect(),
        }
    }

    /// The latency that `quantile` of the values stay within, in nanoseconds; 0 of an empty one.
    pub fn at(&self, quantile: f64) -> u64 {
        let point = self.points.iter().find(|point| point.0 >= quantile);
        point.or(self.points.last()).map_or(0, |point| point.1)
    }
}

/// Where the time of one way goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stages {
    /// Whose.
    pub name: String,
    /// Each stage and its median in nanoseconds, in order.
    pub parts: Vec<(String, f64)>,
}

/// A figure over the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timeline {
    /// What.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Seconds since the run began, and the value.
    pub points: Vec<(f64, f64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_reaches_its_goal_stays_within_its_limit_or_misses_it() {
        let ratio = Goal::at_most(1.03, 1.15);
        let reached = [1.03, 1.1, 1.2, f64::NAN].map(|value| ratio.reached(value));
        assert_eq!(
            reached,
            [Reached::Goal, Reached::Within, Reached::Missed, Reached::Missed]
        );
        let rate = Goal::at_least(20e6, 8e6);
        assert_eq!(
            [25e6, 9e6, 7e6].map(|value| rate.reached(value)),
            [Reached::Goal, Reached::Within, Reached::Missed]
        );
    }

    #[test]
    fn a_distribution_ends_with_the_maximum_and_never_falls() {
        let mut histogram = super::super::slice::latencies();
        for value in 1..=10_000 {
            histogram.record(value).unwrap();
        }
        let distribution = Distribution::of("all", &histogram);
        assert!(distribution.points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
        assert_eq!(distribution.at(1.0), histogram.value_at_quantile(1.0));
        assert!(distribution.at(0.5).abs_diff(5_000) < 20);
        assert!(distribution.at(0.99).abs_diff(9_900) < 100);
    }
}
