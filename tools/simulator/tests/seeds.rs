//! Many seeds, every kind of fault, and the same result each time.

use std::thread::available_parallelism;
use twinline_simulator::{Counts, Fault, Options, run_many, simulate};

/// Seeds that every test run goes through.
const SEEDS: u64 = 4_000;
/// How often each kind of fault must have happened in them.
const EACH: u64 = 500;

#[test]
fn four_thousand_seeds_deliver_everything_or_say_what_is_missing() {
    let report = run(0..SEEDS);
    let rare: Vec<&str> = Fault::ALL
        .iter()
        .filter(|&&fault| report.fault(fault) < EACH)
        .map(|fault| fault.name())
        .collect();
    assert!(rare.is_empty(), "fewer than {EACH} times: {rare:?}");
    assert!(
        report.messages >= 2_000 * SEEDS,
        "a seed is at least 2,000 messages"
    );
    assert!(
        report.states >= 2_000 && report.valid_books >= SEEDS,
        "states of snapshots are taken and judged, and books at the end: {} and {}",
        report.states,
        report.valid_books
    );
    assert!(
        report.torn_seeds * 2 > SEEDS,
        "torn ends of journals were found in most seeds: {}",
        report.torn_seeds
    );
    assert!(
        report.delivered >= 2 * 1_900 * SEEDS,
        "and two listeners, which get nearly all of them"
    );
}

/// Runs seeds, prints what happened, and fails with the first failures.
fn run(seeds: std::ops::Range<u64>) -> Counts {
    let threads = available_parallelism().map_or(2, usize::from);
    let report = run_many(seeds, threads, &Options::default(), |_| true);
    for fault in Fault::ALL {
        println!("{:>24} {}", fault.name(), report.counts.fault(*fault));
    }
    println!("{:?}", report.counts);
    for failure in report.failures.iter().take(10) {
        println!("\n{failure}");
    }
    assert!(
        report.failures.is_empty(),
        "{} seeds failed, see above",
        report.failures.len()
    );
    report.counts
}

#[test]
fn a_seed_is_at_least_two_thousand_messages() {
    for seed in 0..100 {
        let (counts, _) = simulate(seed, &Options::default()).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(counts.messages >= 2_000, "seed {seed}: {counts:?}");
    }
}

#[test]
fn a_seed_runs_the_same_way_each_time() {
    for seed in 0..10 {
        let options = Options {
            trace: true,
            ..Options::default()
        };
        let first = simulate(seed, &options);
        assert_eq!(first, simulate(seed, &options), "seed {seed}");
    }
}
