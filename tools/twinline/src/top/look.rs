//! A daemon's newest page beside two earlier ones: totals from the newest, rates since the last look, shares and
//! percentiles over the last minute.

use super::histogram::{Histogram, Percentiles};
use super::page::Page;
use crate::summary::Counts;
use serde::Serialize;
use std::time::Duration;

/// An earlier page, and how long before the newest one it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Earlier<'p> {
    pub(super) page: &'p Page,
    pub(super) ago: Duration,
}

/// What is looked at, narrowed to some labels.
#[derive(Clone, Debug)]
pub(super) struct Look<'p> {
    pub(super) now: &'p Page,
    /// The look before this one.
    pub(super) last: Option<Earlier<'p>>,
    /// The oldest look that counts for shares and percentiles.
    pub(super) window: Option<Earlier<'p>>,
    pub(super) labels: Vec<(&'p str, &'p str)>,
}

/// Times measured since the daemon started; in `now` those of the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Measured {
    #[serde(flatten)]
    pub(super) total: Percentiles,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) now: Option<Percentiles>,
}

impl<'p> Look<'p> {
    /// Narrowed further.
    pub(super) fn with(&self, label: &'p str, value: &'p str) -> Self {
        let mut look = self.clone();
        look.labels.push((label, value));
        look
    }

    /// A metric that may be missing, or no number.
    pub(super) fn gauge(&self, name: &str) -> Option<f64> {
        self.now.value(name, &self.labels).filter(|value| !value.is_nan())
    }

    /// A count; 0 if it is not on the page.
    pub(super) fn count(&self, name: &str) -> u64 {
        // Saturates, and what is below 0 is 0.
        self.gauge(name).unwrap_or(0.0) as u64
    }

    /// Seconds as nanoseconds.
    pub(super) fn nanos(&self, name: &str) -> Option<u64> {
        self.gauge(name).map(|seconds| (seconds * 1e9).round() as u64)
    }

    /// A flag that may be missing.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.gauge(name).map(|value| value != 0.0)
    }

    /// True if a flag is there and set.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.flag(name) == Some(true)
    }

    fn since(&self, earlier: Option<Earlier<'_>>, name: &str) -> Option<f64> {
        let now = self.gauge(name)?;
        let before = earlier?.page.value(name, &self.labels).unwrap_or(0.0);
        // A counter that fell began anew.
        Some(if now >= before { now - before } else { now })
    }

    /// What a counter gained since the last look.
    pub(super) fn step(&self, name: &str) -> Option<u64> {
        self.since(self.last, name).map(|gained| gained as u64)
    }

    /// What a counter gained in the last minute; 0 if that is not known.
    pub(super) fn gained(&self, name: &str) -> u64 {
        self.since(self.window, name).unwrap_or(0.0) as u64
    }

    /// What a gauge grew by in the last minute; 0 if it fell, or if that is not known.
    pub(super) fn grew(&self, name: &str) -> u64 {
        let before = self
            .window
            .and_then(|earlier| earlier.page.value(name, &self.labels));
        match (self.gauge(name), before) {
            (Some(now), Some(before)) => (now - before) as u64,
            _ => 0,
        }
    }

    /// A counter's rate since the last look, a second.
    pub(super) fn rate(&self, name: &str) -> Option<f64> {
        let seconds = self.last?.ago.as_secs_f64();
        self.since(self.last, name)
            .filter(|_| seconds > 0.0)
            .map(|gained| gained / seconds)
    }

    /// The share of a gauge in another one.
    pub(super) fn share(&self, of: &str, capacity: &str) -> Option<f64> {
        let capacity = self.gauge(capacity).filter(|capacity| *capacity > 0.0)?;
        Some(self.gauge(of)? / capacity)
    }

    /// The values of a label that a metric has.
    pub(super) fn values(&self, name: &str, label: &str) -> Vec<&'p str> {
        let mut values: Vec<&'p str> = self.now.labels(name, &[], label);
        values.retain(|value| {
            let wanted = [&self.labels[..], &[(label, *value)]].concat();
            self.now.value(name, &wanted).is_some()
        });
        values
    }

    /// A counter by the values of a label, without those that are 0.
    pub(super) fn counts(&self, name: &str, label: &'static str) -> Counts {
        self.values(name, label)
            .into_iter()
            .map(|value| (value.to_string(), self.with(label, value).count(name)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    fn histogram_since(&self, earlier: Option<Earlier<'_>>, name: &str) -> Option<Histogram> {
        let now = self.now.histogram(name, &self.labels)?;
        let before = earlier?.page.histogram(name, &self.labels);
        Some(now.since(before.as_ref()))
    }

    /// What a histogram gained since the last look.
    pub(super) fn histogram_step(&self, name: &str) -> Option<Histogram> {
        self.histogram_since(self.last, name)
    }

    /// What a histogram gained in the last minute.
    pub(super) fn histogram_now(&self, name: &str) -> Option<Histogram> {
        self.histogram_since(self.window, name)
    }

    /// Percentiles of a histogram; nothing if it is not on the page or empty.
    pub(super) fn measured(&self, name: &str) -> Option<Measured> {
        Some(Measured {
            total: self.now.histogram(name, &self.labels)?.percentiles()?,
            now: self
                .histogram_now(name)
                .and_then(|histogram| histogram.percentiles()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page::parse(text).unwrap()
    }

    fn look<'p>(now: &'p Page, before: &'p Page) -> Look<'p> {
        let earlier = Some(Earlier {
            page: before,
            ago: Duration::from_secs(2),
        });
        Look {
            now,
            last: earlier,
            window: earlier,
            labels: vec![("channel", "1")],
        }
    }

    #[test]
    fn a_rate_is_what_a_counter_gained_a_second_and_after_a_reset_what_it_has() {
        let before = page("x{channel=\"1\"} 100\nx{channel=\"2\"} 7\n");
        let after = page("x{channel=\"1\"} 300\nx{channel=\"2\"} 9\n");
        assert_eq!(look(&after, &before).rate("x"), Some(100.0));
        assert_eq!(look(&after, &before).gained("x"), 200);
        assert_eq!(
            look(&before, &after).rate("x"),
            Some(50.0),
            "fell to 100: 100 since it began anew"
        );
        assert_eq!(look(&after, &before).rate("y"), None);
        let alone = Look {
            last: None,
            window: None,
            ..look(&after, &before)
        };
        assert_eq!((alone.rate("x"), alone.gained("x")), (None, 0));
    }

    #[test]
    fn a_gauge_that_falls_grew_by_nothing() {
        let (low, high) = (page("x{channel=\"1\"} 5\n"), page("x{channel=\"1\"} 8\n"));
        assert_eq!(look(&high, &low).grew("x"), 3);
        assert_eq!(look(&low, &high).grew("x"), 0);
    }

    #[test]
    fn labels_are_looked_up_within_what_is_looked_at() {
        let now = page(
            "d{channel=\"1\",reason=\"late\"} 2\nd{channel=\"1\",reason=\"odd\"} 0\nd{channel=\"2\",reason=\"far\"} 3\n",
        );
        let look = look(&now, &now);
        assert_eq!(look.values("d", "reason"), ["late", "odd"]);
        assert_eq!(look.counts("d", "reason"), [("late".to_string(), 2)].into());
        assert_eq!(look.count("d"), 2);
        assert_eq!(look.gauge("nothing"), None);
    }

    #[test]
    fn what_is_no_number_is_not_known() {
        let now = page("lag{channel=\"1\"} NaN\n");
        assert_eq!(look(&now, &now).gauge("lag"), None);
        assert_eq!(look(&now, &now).count("lag"), 0);
    }
}
