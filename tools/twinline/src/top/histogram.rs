//! Histograms of a metrics page: what came since an earlier look, and percentiles of it.

use serde::Serialize;

/// Times, counted in buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram {
    /// Each bucket's upper bound in seconds, ascending, and how many it holds. The last bound is infinite.
    buckets: Vec<(f64, u64)>,
}

/// Percentiles in nanoseconds, interpolated within buckets as Prometheus does it: as exact as the buckets are narrow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Percentiles {
    /// How many were measured.
    pub(super) count: u64,
    /// Half are not above this.
    pub(super) p50: u64,
    /// 90 of 100.
    pub(super) p90: u64,
    /// 99 of 100.
    pub(super) p99: u64,
    /// 999 of 1,000.
    pub(super) p99_9: u64,
}

impl Histogram {
    /// Of buckets that each count all before them too, in any order; nothing if the bucket without a bound is missing.
    pub(super) fn from_cumulative(mut cumulative: Vec<(f64, f64)>) -> Option<Self> {
        cumulative.sort_by(|one, other| one.0.total_cmp(&other.0));
        if cumulative.last()?.0 != f64::INFINITY {
            return None;
        }
        let mut before = 0;
        let bucket = |(bound, count): (f64, f64)| {
            let count = count as u64;
            let own = count.saturating_sub(before);
            before = before.max(count);
            (bound, own)
        };
        Some(Self {
            buckets: cumulative.into_iter().map(bucket).collect(),
        })
    }

    /// What came since `earlier`; all of it if that is of an earlier process.
    pub(super) fn since(&self, earlier: Option<&Self>) -> Self {
        let Some(earlier) = earlier else {
            return self.clone();
        };
        let pairs = || self.buckets.iter().zip(&earlier.buckets);
        let goes_on = self.buckets.len() == earlier.buckets.len()
            && pairs().all(|(now, then)| now.0 == then.0 && now.1 >= then.1);
        if !goes_on {
            return self.clone();
        }
        Self {
            buckets: pairs().map(|(now, then)| (now.0, now.1 - then.1)).collect(),
        }
    }

    /// How many it holds.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// Percentiles; nothing if it is empty.
    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        let count = self.count();
        let at = |share| (self.quantile(share) * 1e9).round() as u64;
        (count > 0).then(|| Percentiles {
            count,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
        })
    }

    /// The time that so large a share is not above, in seconds. Beyond the last finite bound nothing is known: that bound.
    fn quantile(&self, share: f64) -> f64 {
        let rank = share * self.count() as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for &(bound, count) in &self.buckets {
            let count = count as f64;
            if below + count >= rank && count > 0.0 {
                if bound.is_infinite() {
                    break;
                }
                return lower + (bound - lower) * ((rank - below) / count).clamp(0.0, 1.0);
            }
            below += count;
            if bound.is_finite() {
                lower = bound;
            }
        }
        lower
    }

    /// At most so many buckets, from the first that holds something to the last: upper bound in nanoseconds (nothing: no
    /// bound) and how many. Neighbours are put together to get there.
    pub(super) fn bars(&self, most: usize) -> Vec<(Option<u64>, u64)> {
        let holds = |bucket: &(f64, u64)| bucket.1 > 0;
        let (Some(first), Some(last)) = (
            self.buckets.iter().position(holds),
            self.buckets.iter().rposition(holds),
        ) else {
            return Vec::new();
        };
        let held = &self.buckets[first..=last];
        let together = held.len().div_ceil(most.max(1));
        held.chunks(together)
            .map(|chunk| {
                let bound = chunk.last().map_or(f64::INFINITY, |(bound, _)| *bound);
                let count = chunk.iter().map(|(_, count)| count).sum();
                (bound.is_finite().then(|| (bound * 1e9).round() as u64), count)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: f64 = f64::INFINITY;

    fn histogram(cumulative: &[(f64, f64)]) -> Histogram {
        Histogram::from_cumulative(cumulative.to_vec()).unwrap()
    }

    #[test]
    fn percentiles_are_interpolated_within_a_bucket() {
        let all = histogram(&[(0.001, 0.0), (0.002, 100.0), (0.005, 100.0), (END, 100.0)]);
        let percentiles = all.percentiles().unwrap();
        assert_eq!(percentiles.count, 100);
        assert_eq!(percentiles.p50, 1_500_000);
        assert_eq!(percentiles.p99, 1_990_000);
    }

    #[test]
    fn beyond_the_last_bound_the_bound_is_all_that_is_known() {
        let all = histogram(&[(END, 10.0), (1.0, 5.0)]);
        assert_eq!(all.percentiles().unwrap().p99, 1_000_000_000);
        assert_eq!(Histogram::default().percentiles(), None);
        assert_eq!(Histogram::from_cumulative(vec![(1.0, 5.0)]), None);
    }

    #[test]
    fn a_difference_is_what_came_since_and_after_a_restart_all() {
        let before = histogram(&[(1.0, 10.0), (END, 11.0)]);
        let after = histogram(&[(1.0, 10.0), (END, 14.0)]);
        assert_eq!(after.since(Some(&before)).count(), 3);
        assert_eq!(after.since(None).count(), 14);
        assert_eq!(before.since(Some(&after)).count(), 11, "it fell: a new process");
    }

    #[test]
    fn bars_span_what_holds_something_and_no_more_than_asked() {
        let all = histogram(&[
            (0.001, 0.0),
            (0.002, 1.0),
            (0.005, 1.0),
            (0.01, 3.0),
            (0.02, 4.0),
            (END, 4.0),
        ]);
        assert_eq!(
            all.bars(10),
            [
                (Some(2_000_000), 1),
                (Some(5_000_000), 0),
                (Some(10_000_000), 2),
                (Some(20_000_000), 1)
            ]
        );
        assert_eq!(all.bars(2), [(Some(5_000_000), 1), (Some(20_000_000), 3)]);
        assert_eq!(all.bars(0).len(), 1);
        assert!(Histogram::default().bars(3).is_empty());
    }
}
