//! `cargo bench -p twinline-benches --bench fair [-- SECONDS [IDLE_US]]`: how far apart three listeners have a message,
//! with and without fair release. `IDLE_US` 0: threads yield, otherwise they park so long.

use std::num::NonZeroU64;
use std::time::Duration;
use twinline_benches::fair::{Setting, fair, quantile};
use twinline_feed::run::Idle;

const RATE: u64 = 2_000;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    let seconds: u64 = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let idle = match arguments.next().map_or(Ok(50), |text| text.parse())? {
        0 => Idle::Yield,
        micros => Idle::Park(Duration::from_micros(micros)),
    };
    println!("{RATE} source messages a second for {seconds} s, {idle:?}");
    println!(
        "{:<18} {:<8} {:>9} {:>28} {:>28}  {:<24} {:>7}",
        "ways longer by",
        "hold",
        "messages",
        "spread p50 / p99 / max",
        "released after p50 / p99",
        "late",
        "early"
    );
    let apart = [0, 1, 3];
    for (delays, hold) in [
        ([0, 0, 0], None),
        (apart, None),
        (apart, Some(8)),
        (apart, Some(4)),
        (apart, Some(2)),
    ] {
        let setting = Setting {
            delays: delays.map(Duration::from_millis),
            hold: hold.map(Duration::from_millis),
            messages: RATE * seconds,
            rate: NonZeroU64::new(RATE).ok_or("no rate")?,
            idle,
        };
        let outcome = fair(&setting)?;
        let micros = |sorted: &[u64], share| quantile(sorted, share) as f64 / 1e3;
        let spread = [0.5, 0.99, 1.0].map(|share| format!("{:.0}", micros(&outcome.spreads, share)));
        // By the listeners' own clocks, of the one that does worst.
        let reports = outcome.reports.iter().filter_map(|report| report.fair.as_ref());
        let overshoot = [0.5, 0.99].map(|share| {
            let of = reports
                .clone()
                .map(|fair| fair.overshoot.value_at_quantile(share));
            format!("{:.0} us", of.max().unwrap_or(0) as f64 / 1e3)
        });
        let late: Vec<String> = outcome
            .late()
            .iter()
            .map(|share| format!("{:.2}%", share * 100.0))
            .collect();
        let early: u64 = reports.map(|fair| fair.stats.early()).sum();
        println!(
            "{:<18} {:<8} {:>9} {:>25} us {:>28}  {:<24} {:>7}{}",
            format!("{delays:?} ms"),
            hold.map_or("none".into(), |hold| format!("{hold} ms")),
            outcome.spreads.len(),
            spread.join(" / "),
            if hold.is_some() {
                overshoot.join(" / ")
            } else {
                "-".into()
            },
            if hold.is_some() {
                late.join(" ")
            } else {
                "-".into()
            },
            early,
            if outcome.incomplete > 0 {
                format!("; {} not seen by all", outcome.incomplete)
            } else {
                String::new()
            }
        );
    }
    Ok(())
}
