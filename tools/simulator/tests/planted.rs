//! The simulator bites: each bug that is planted is caught within a few seeds.

use twinline_simulator::{Options, Plant, simulate};

/// Seeds in which a bug must have been caught.
const SEEDS: u64 = 100;

#[test]
fn every_planted_bug_is_caught() {
    let missed: Vec<Plant> = std::thread::scope(|scope| {
        let (left, right) = Plant::ALL.split_at(Plant::ALL.len() / 2);
        let threads =
            [left, right].map(|plants| scope.spawn(|| plants.iter().copied().filter(|plant| !catch(*plant))));
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a run does not panic").collect::<Vec<_>>())
            .collect()
    });
    assert!(missed.is_empty(), "not caught in {SEEDS} seeds: {missed:?}");
}

fn catch(plant: Plant) -> bool {
    let options = Options {
        plant: Some(plant),
        ..Options::default()
    };
    for seed in 0..SEEDS {
        if let Err(failure) = simulate(seed, &options) {
            let what = failure.what.lines().next().unwrap_or_default();
            println!("{plant:?}: seed {seed}: {what}");
            return true;
        }
    }
    false
}
