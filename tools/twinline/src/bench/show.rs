//! Figures as people read them; the table and the page say the same.

use crate::decode::show_time;
use crate::units::{show_count, show_nanos};
use twinline_benches::harness::result::{Figure, Reached, Value};

/// A value with its unit.
pub(super) fn value(value: f64, unit: &str) -> String {
    match unit {
        _ if !value.is_finite() => "none".into(),
        "ns" if value >= 1_000.0 => show_nanos(value as u64),
        "x" => format!("{value:.3} x"),
        "%" => format!("{value:.3}%"),
        "" => show_count(value as u64),
        unit if value.abs() < 1_000.0 => format!("{value:.1} {unit}"),
        unit => format!("{} {unit}", show_count(value as u64)),
    }
}

/// A value at an axis.
pub(super) fn short(value: f64, unit: &str) -> String {
    let scaled = |value: f64| match value {
        value if value >= 10.0 => format!("{value:.0}"),
        value => format!("{}", (value * 10.0).round() / 10.0),
    };
    match unit {
        "ns" if value >= 1e9 => format!("{} s", scaled(value / 1e9)),
        "ns" if value >= 1e6 => format!("{} ms", scaled(value / 1e6)),
        "ns" if value >= 1e3 => format!("{} us", scaled(value / 1e3)),
        "ns" => format!("{} ns", scaled(value)),
        _ if value >= 1e6 => format!("{} M", scaled(value / 1e6)),
        _ if value >= 1e3 => format!("{} k", scaled(value / 1e3)),
        "%" => format!("{}%", scaled(value)),
        _ => scaled(value),
    }
}

/// Seconds since the Unix epoch as a date and a time, UTC.
pub(super) fn date(seconds: u64) -> String {
    let time = show_time(seconds * 1_000_000_000);
    format!("{} {} UTC", &time[..10], &time[11..16])
}

/// A median's interval.
pub(super) fn interval(figure: &Figure) -> Option<String> {
    match figure.value {
        Value::Median(median) if median.median.is_finite() => Some(format!(
            "{} to {}",
            value(median.low, &figure.unit),
            value(median.high, &figure.unit)
        )),
        _ => None,
    }
}

/// What it should be.
pub(super) fn goal(figure: &Figure) -> Option<String> {
    let goal = figure.goal?;
    let bound = if goal.more_is_better {
        "at least"
    } else {
        "at most"
    };
    let (wanted, limit) = (value(goal.goal, &figure.unit), value(goal.limit, &figure.unit));
    Some(format!("{bound} {wanted} ({limit})"))
}

/// Whether it is.
pub(super) fn reached(figure: &Figure) -> Option<&'static str> {
    let (goal, value) = (figure.goal?, figure.value.middle());
    Some(match goal.reached(value) {
        _ if !value.is_finite() => "not measured",
        Reached::Goal => "reached",
        Reached::Within => "within limit",
        Reached::Missed => "MISSED",
    })
}

/// A quantile: `p99.9`, `max`.
pub(super) fn quantile(quantile: f64) -> String {
    match quantile {
        1.0 => "max".into(),
        quantile => format!("p{}", (quantile * 1e6).round() / 1e4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_that_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_798_761_599), "2026-12-31 23:59 UTC");
    }

    #[test]
    fn values_at_an_axis_are_short() {
        let shown = [(4_000.0, "ns"), (250.0, "ns"), (1.5e6, "messages/s"), (0.25, "%")];
        let shown = shown.map(|(value, unit)| short(value, unit));
        assert_eq!(shown, ["4 us", "250 ns", "1.5 M", "0.3%"]);
    }

    #[test]
    fn values_are_shown_in_a_unit_that_suits_them() {
        assert_eq!(value(4_230.0, "ns"), "4.2 us");
        assert_eq!(value(12.34, "ns"), "12.3 ns");
        assert_eq!(value(1.0234, "x"), "1.023 x");
        assert_eq!(value(20e6, "messages/s"), "20,000,000 messages/s");
        assert_eq!(value(f64::NAN, "x"), "none");
        assert_eq!(
            [0.5, 0.999, 0.9999, 1.0].map(quantile),
            ["p50", "p99.9", "p99.99", "max"]
        );
    }
}
