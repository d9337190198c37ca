//! `cargo bench -p twinline-benches --bench snapshot [-- ORDERS [ROUNDS]]`: snapshots of a million live orders, served while
//! a publisher goes as fast as it can, and the same without. Rounds are interleaved; medians and ratios are shown.

use std::time::Duration;
use twinline_benches::snapshot::{Measured, Mode, measure};

const MODES: [(Mode, &str); 4] = [
    (Mode::Off, "gap fill only"),
    (Mode::Books, "books kept too"),
    (Mode::Serving, "a snapshot a second served too"),
    (Mode::Flood, "snapshots served one right after the other"),
];

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    let orders: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let mut all: [Vec<Measured>; 4] = Default::default();
    for _ in 0..rounds {
        for (runs, (mode, _)) in all.iter_mut().zip(MODES) {
            let dir = tempfile::tempdir()?;
            runs.push(measure(dir.path(), mode, orders, Duration::from_secs(4))?);
        }
    }
    let median = |runs: &[Measured], of: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let micros = |run: &Measured, at| run.fill(at).as_secs_f64() * 1e6;
    let base = &all[0];
    for (runs, (_, name)) in all.iter().zip(MODES) {
        let rate = median(runs, |run| run.rate);
        let p50 = median(runs, |run| run.fill(500).as_secs_f64() * 1e6);
        let p99 = median(runs, |run| run.fill(990).as_secs_f64() * 1e6);
        println!(
            "{name}: {:.2} million messages/s (x{:.2}); a gap of 100 messages filled in p50 {p50:.0} us (x{:.2}), p99 {p99:.0} us (x{:.2})",
            rate / 1e6,
            rate / median(base, |run| run.rate),
            p50 / median(base, |run| run.fill(500).as_secs_f64() * 1e6),
            p99 / median(base, |run| run.fill(990).as_secs_f64() * 1e6),
        );
        if let Some(last) = runs.last().filter(|run| run.snapshots > 0) {
            println!(
                "  {} snapshots of {} live orders in 4 s, {:.1} MB each, made in at most {:.0} ms; longest fill {:.0} us",
                last.snapshots,
                last.live_orders,
                last.snapshot_bytes as f64 / 1e6,
                last.made_in.as_secs_f64() * 1e3,
                micros(last, 1000)
            );
        }
    }
    Ok(())
}
