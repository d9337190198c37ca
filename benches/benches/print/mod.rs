//! A section as plain text.

use twinline_benches::harness::result::{Section, Value};

/// Prints how it was measured, the figures with their goals, and the distributions in microseconds.
pub(crate) fn print(section: &Section) {
    println!("{}", section.title);
    for how in section.how.iter().chain(&section.not_measured) {
        println!("- {how}");
    }
    for figure in &section.figures {
        let value = match figure.value {
            Value::Median(of) => format!("{:>12.2} ({:.2} to {:.2})", of.median, of.low, of.high),
            Value::Single(value) => format!("{value:>12.2}"),
        };
        let goal = figure.goal.map_or(String::new(), |goal| {
            let reached = goal.reached(figure.value.middle());
            format!("   goal {}, limit {}: {reached:?}", goal.goal, goal.limit)
        });
        println!("{:<66} {value} {}{goal}", figure.name, figure.unit);
    }
    for of in &section.distributions {
        let at = [0.5, 0.9, 0.99, 1.0].map(|quantile| format!("{:.1}", of.at(quantile) as f64 / 1e3));
        println!(
            "{:<66} {:>6} values, p50 p90 p99 max: {} us",
            of.name,
            of.count,
            at.join(" / ")
        );
    }
}
