//! The page for Prometheus, put together anew for each request, in its text format 0.0.4.
//!
//! The encoder is the `prometheus` crate's, without its registry: counters live in the libraries, and only their values
//! come here.

use hdrhistogram::Histogram;
use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use std::collections::BTreeMap;

/// Upper bounds of all histograms, in nanoseconds: 1, 2 and 5 of each power of ten, 1 us to 10 s.
const BOUNDS: [u64; 22] = {
    let (mut bounds, mut at, mut power) = ([0; 22], 0, 1_000);
    while at < bounds.len() {
        let step = [1, 2, 5][at % 3];
        bounds[at] = step * power;
        if step == 5 {
            power *= 10;
        }
        at += 1;
    }
    bounds
};

/// What a daemon counts, just now.
#[derive(Debug, Default)]
pub(crate) struct Page {
    families: BTreeMap<&'static str, MetricFamily>,
}

/// The page for metrics that all have the same labels.
#[derive(Debug)]
pub(crate) struct Labelled<'p> {
    page: &'p mut Page,
    labels: Vec<LabelPair>,
}

fn pair(&(name, value): &(&str, &str)) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.into());
    pair.set_value(value.into());
    pair
}

impl Page {
    /// The metrics that have these labels.
    pub(crate) fn of(&mut self, labels: &[(&str, &str)]) -> Labelled<'_> {
        Labelled {
            page: self,
            labels: labels.iter().map(pair).collect(),
        }
    }

    /// The page as text.
    pub(crate) fn text(self) -> String {
        let families: Vec<MetricFamily> = self.families.into_values().collect();
        TextEncoder::new()
            .encode_to_string(&families)
            .expect("each family was made for a metric, and text takes it")
    }
}

impl Labelled<'_> {
    /// The metrics that have this label too.
    pub(crate) fn with(&mut self, name: &str, value: &str) -> Labelled<'_> {
        let mut labels = self.labels.clone();
        labels.push(pair(&(name, value)));
        Labelled {
            page: self.page,
            labels,
        }
    }

    /// A count that only grows while the process lives.
    pub(crate) fn counter(&mut self, name: &'static str, help: &'static str, count: u64) {
        self.counter_of(name, help, count as f64);
    }

    /// The same where it is no whole number.
    pub(crate) fn counter_of(&mut self, name: &'static str, help: &'static str, count: f64) {
        let mut counter = Counter::default();
        counter.set_value(count);
        let mut metric = Metric::default();
        metric.set_counter(counter);
        self.push(name, help, MetricType::COUNTER, metric);
    }

    /// A value that goes up and down.
    pub(crate) fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.gauge_of(name, help, value as f64);
    }

    /// The same where it is no whole number.
    pub(crate) fn gauge_of(&mut self, name: &'static str, help: &'static str, value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::default();
        metric.set_gauge(gauge);
        self.push(name, help, MetricType::GAUGE, metric);
    }

    /// 1 if it is so, otherwise 0.
    pub(crate) fn flag(&mut self, name: &'static str, help: &'static str, is_so: bool) {
        self.gauge(name, help, u64::from(is_so));
    }

    /// Times in nanoseconds, shown in seconds. Each counts with the upper end of what the histogram cannot tell apart.
    pub(crate) fn histogram(&mut self, name: &'static str, help: &'static str, times: &Histogram<u64>) {
        let (mut cumulative, mut sum) = ([0; BOUNDS.len()], 0.0);
        for step in times.iter_recorded() {
            let (time, count) = (step.value_iterated_to(), step.count_since_last_iteration());
            let first = BOUNDS.partition_point(|&bound| bound < time);
            cumulative[first..].iter_mut().for_each(|so_far| *so_far += count);
            sum += times.median_equivalent(time) as f64 * count as f64;
        }
        let bucket = |(bound, count): (u64, u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(seconds(bound));
            bucket.set_cumulative_count(count);
            bucket
        };
        let mut histogram = prometheus::proto::Histogram::default();
        histogram.set_bucket(BOUNDS.into_iter().zip(cumulative).map(bucket).collect());
        histogram.set_sample_count(times.len());
        histogram.set_sample_sum(sum / 1e9);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.push(name, help, MetricType::HISTOGRAM, metric);
    }

    fn push(&mut self, name: &'static str, help: &str, kind: MetricType, mut metric: Metric) {
        metric.set_label(self.labels.clone());
        let family = self.page.families.entry(name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(name.into());
            family.set_help(help.into());
            family.set_field_type(kind);
            family
        });
        debug_assert!(
            family.get_field_type() == kind && family.help() == help,
            "{name} means one thing"
        );
        family.mut_metric().push(metric);
    }
}

/// Nanoseconds as seconds.
pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_in_prometheus_text_format() {
        let mut page = Page::default();
        let mut of = page.of(&[("channel", "1")]);
        of.with("line", "a")
            .counter("twinline_x_total", "Of \\ and\nso on", 3);
        of.with("line", "b\"\\\n")
            .counter("twinline_x_total", "Of \\ and\nso on", u64::from(u32::MAX));
        of.flag("twinline_a", "Either", true);
        page.of(&[]).gauge_of("twinline_b", "Half", 0.5);
        assert_eq!(
            page.text(),
            "# HELP twinline_a Either\n# TYPE twinline_a gauge\ntwinline_a{channel=\"1\"} 1\n\
             # HELP twinline_b Half\n# TYPE twinline_b gauge\ntwinline_b 0.5\n\
             # HELP twinline_x_total Of \\\\ and\\nso on\n# TYPE twinline_x_total counter\n\
             twinline_x_total{channel=\"1\",line=\"a\"} 3\n\
             twinline_x_total{channel=\"1\",line=\"b\\\"\\\\\\n\"} 4294967295\n"
        );
    }

    #[test]
    fn times_count_in_each_bucket_that_they_are_not_beyond() {
        assert_eq!((BOUNDS[0], BOUNDS[21]), (1_000, 10_000_000_000));
        assert!(BOUNDS.is_sorted());
        let mut times = Histogram::new_with_bounds(1, 100_000_000_000, 2).unwrap();
        for time in [1, 900, 1_500, 3_000_000, 20_000_000_000] {
            times.saturating_record(time);
        }
        let mut page = Page::default();
        page.of(&[]).histogram("twinline_t_seconds", "Times", &times);
        let text = page.text();
        let count = |bound: &str| {
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("twinline_t_seconds_bucket{{le=\"{bound}\"}}")));
            let line = line.unwrap_or_else(|| panic!("{bound}: {text}"));
            line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
        };
        assert_eq!((count("0.000001"), count("0.000002")), (2, 3));
        assert_eq!((count("0.002"), count("0.005"), count("10")), (3, 4, 4));
        assert_eq!(count("+Inf"), 5);
        assert!(text.contains("twinline_t_seconds_count 5\n"), "{text}");
        let sum = text
            .lines()
            .find(|line| line.starts_with("twinline_t_seconds_sum "))
            .unwrap();
        let sum: f64 = sum.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((sum / 20.003 - 1.0).abs() < 0.01, "{sum}");
    }
}
