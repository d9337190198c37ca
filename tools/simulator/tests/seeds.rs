//! Many seeds, every kind of fault, and the same result each time.

use std::sync::atomic::{AtomicU64, Ordering};
use twinline_simulator::{Fault, Options, run_many, simulate};

/// Development aid: `SEEDS=0..100 cargo test -p twinline-simulator --test seeds some -- --ignored --nocapture`.
#[test]
#[ignore = "for seeds named in the environment"]
fn some_seeds() {
    let text = std::env::var("SEEDS").unwrap_or_else(|_| "0..50".into());
    let (from, to) = text.split_once("..").expect("SEEDS is from..to");
    let seeds = from.parse().expect("a number")..to.parse().expect("a number");
    let options = Options {
        trace: std::env::var("TRACE").is_ok(),
        ..Options::default()
    };
    let begin = std::time::Instant::now();
    let report = run_many(seeds, 2, &options, |_| true);
    for failure in report.failures.iter().take(12) {
        println!("{failure}\n");
        failure.trace.iter().for_each(|line| println!("{line}"));
    }
    print(&report.counts);
    println!("{} failed, {:?}", report.failures.len(), begin.elapsed());
}

fn print(counts: &twinline_simulator::Counts) {
    for &fault in Fault::ALL {
        println!("{:>24} {}", fault.name(), counts.fault(fault));
    }
    println!("{counts:?}");
}

#[test]
fn a_seed_runs_the_same_way_each_time() {
    let done = AtomicU64::new(0);
    for seed in 0..4 {
        let options = Options {
            trace: true,
            ..Options::default()
        };
        let first = simulate(seed, &options);
        assert_eq!(first, simulate(seed, &options), "seed {seed}");
        done.fetch_add(1, Ordering::Relaxed);
    }
}
