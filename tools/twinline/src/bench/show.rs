//! Figures as people read them; the table and the page say the same.

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
    Some(match figure.goal?.reached(figure.value.middle()) {
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
