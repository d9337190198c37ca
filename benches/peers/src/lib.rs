//! What the programs of this package share: which cores they use, and how a section of results is printed.

use core_affinity::CoreId;
use serde::Serialize;
use std::io::Error;
use std::path::Path;
use twinline_benches::harness::median::Median;
use twinline_benches::harness::result::{Figure, QUANTILES, Reached, Section, Value};
use twinline_wire::{OpenPacket, Stamp};

/// The two cores that are measured on; `None`, and a line that says so, where there is one only.
///
/// # Errors
/// In CI, where nothing may be left out in silence.
pub fn two_cores() -> Result<Option<[CoreId; 2]>, &'static str> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if let &[near, far, ..] = cores.as_slice() {
        return Ok(Some([near, far]));
    }
    let missing = "two cores are needed, one for each end";
    if std::env::var_os("CI").is_some() {
        return Err(missing);
    }
    println!("skipped: {missing}");
    Ok(None)
}

/// A packet of channel 1, session 1 and epoch 1 that `fill` puts messages into, the first one `sequence`.
///
/// # Panics
/// If `fill` says that there is no room.
pub fn packet(sequence: u64, fill: impl FnOnce(&mut OpenPacket, &mut [u8]) -> bool) -> Vec<u8> {
    let mut buffer = vec![0; 256];
    let mut open = OpenPacket::new();
    assert!(fill(&mut open, &mut buffer), "a packet holds it");
    let stamp = Stamp {
        channel: 1,
        session: 1,
        epoch: 1,
        epoch_base: 1,
        sequence,
        ..Stamp::default()
    };
    let length = open.finish_whole(&mut buffer, stamp, 0);
    buffer.truncate(length);
    buffer
}

/// Writes `results` to `file` as one JSON object, if a file was named.
///
/// # Errors
/// If it cannot be written.
pub fn write_json(file: Option<&Path>, results: &impl Serialize) -> Result<(), Error> {
    file.map_or(Ok(()), |file| std::fs::write(file, serde_json::to_vec(results)?))
}

/// Says what a brief run is worth, if this is one.
pub fn say_brief(brief: bool) {
    if brief {
        println!("brief: everybody's messages arrived; the figures mean nothing");
    }
}

/// A median with its interval.
pub fn interval(ratio: &Median) -> String {
    format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.low, ratio.high)
}

/// Prints a section for people.
pub fn print(section: &Section) {
    println!("{}\n", section.title);
    for line in &section.how {
        println!("  {line}");
    }
    println!();
    for figure in &section.figures {
        println!("{}", row(figure));
    }
    for distribution in section.distributions.iter().filter(|all| all.count > 0) {
        let quantile = |at: f64| format!("{:>10.2}", distribution.at(at) as f64 / 1e3);
        let row: String = QUANTILES.iter().map(|&at| quantile(at)).collect();
        println!(
            "{:<34}{row}  us at p50, p90, p99, p99.9, p99.99, max",
            distribution.name
        );
    }
    for line in &section.not_measured {
        println!("  not measured: {line}");
    }
    println!();
}

fn row(figure: &Figure) -> String {
    let value = match (&figure.value, figure.unit.as_str()) {
        (value, _) if value.middle().is_nan() => "none".into(),
        (Value::Median(median), "x") => interval(median),
        (value, "messages/s") => format!("{:.2} million", value.middle() / 1e6),
        (value, _) => format!("{:.1}", value.middle()),
    };
    let goal = figure
        .goal
        .as_ref()
        .filter(|_| !figure.value.middle().is_nan())
        .map_or(String::new(), |goal| {
            let reached = match goal.reached(figure.value.middle()) {
                Reached::Goal => "reached",
                Reached::Within => "within its limit",
                Reached::Missed => "missed",
            };
            format!("goal {}, limit {}: {reached}", goal.goal, goal.limit)
        });
    let note = figure.note.as_deref().unwrap_or_default();
    format!(
        "{:<48} {value:>22} {:<11} {goal} {note}",
        figure.name, figure.unit
    )
    .trim_end()
    .into()
}
