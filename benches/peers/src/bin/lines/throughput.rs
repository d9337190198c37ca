//! The highest rate at which everything arrives and the pace is kept: one search each, in turn, several times.

use crate::ends::{Bench, SIZE};
use crate::{AERON, FLOOR, Failure, NAMES, TWINLINE, ZEROMQ};
use twinline_benches::harness::median::Median;
use twinline_benches::harness::result::{Figure, Section, Value};

/// The lowest rate that is tried, in messages a second.
const LOWEST: f64 = 50_000.0;
/// The highest.
const HIGHEST: f64 = 100_000_000.0;
/// A rate is raised by this factor until so many in a row do not hold: who packs messages only when it is behind may hold a
/// high rate and not a low one. Then the steps between are halved so often.
const UP: f64 = 1.5;
const MISSES: u32 = 3;
const HALVINGS: u32 = 3;
/// Who has held none up to this one holds none.
const LAST: f64 = 2_000_000.0;
/// A rate that holds for a moment only is lowered by this factor, at most so often.
const DOWN: f64 = 0.95;
const LOWERINGS: u32 = 12;
/// Seconds of a try, and of the one that decides.
const TRY: f64 = 0.15;
const HOLD: f64 = 1.0;
/// The pace is kept if the last message comes no later than this part of the time behind its own.
const LATE: f64 = 0.02;

/// The rates that `searches` searches found for everybody.
pub(crate) fn measure(bench: &mut Bench<'_>, brief: bool, searches: u16) -> Result<Section, Failure> {
    let mut rates: [Vec<f64>; NAMES.len()] = Default::default();
    for _ in 0..if brief { 1 } else { searches } {
        for (candidate, rates) in rates.iter_mut().enumerate() {
            rates.push(match brief {
                true => first(bench, candidate)?,
                false => search(bench, candidate)?,
            });
        }
    }
    Ok(section(&rates))
}

/// True if `candidate` holds this rate.
fn holds(bench: &mut Bench<'_>, candidate: usize, rate: f64, seconds: f64) -> Result<bool, Failure> {
    // What waits in queues from a try before is over then.
    if !bench.arrives(candidate)? {
        return Ok(false);
    }
    let count = (rate * seconds) as u64;
    let outcome = bench.run(candidate, rate as u64, count, count)?;
    let limit = seconds * 1e9 * (1.0 + LATE);
    Ok(outcome.took.is_some_and(|took| took as f64 <= limit))
}

/// The lowest rate, tried once: that messages arrive one right behind the other is all that a brief run shows.
fn first(bench: &mut Bench<'_>, candidate: usize) -> Result<f64, Failure> {
    Ok(if holds(bench, candidate, LOWEST, TRY)? {
        LOWEST
    } else {
        f64::NAN
    })
}

fn search(bench: &mut Bench<'_>, candidate: usize) -> Result<f64, Failure> {
    // A moment that the machine took away must not end it: each rate has two tries.
    let mut held = |rate: f64| -> Result<bool, Failure> {
        Ok(holds(bench, candidate, rate, TRY)? || holds(bench, candidate, rate, TRY)?)
    };
    let (mut best, mut rate, mut missed) = (None, LOWEST, 0);
    while rate < HIGHEST && (missed < MISSES || best.is_none() && rate < LAST) {
        missed = match held(rate)? {
            true => 0,
            false => missed + 1,
        };
        if missed == 0 {
            best = Some(rate);
        }
        rate *= UP;
    }
    let Some(mut low) = best else {
        return Ok(f64::NAN);
    };
    let mut factor = UP;
    for _ in 0..HALVINGS {
        factor = factor.sqrt();
        if held(low * factor)? {
            low *= factor;
        }
    }
    for _ in 0..LOWERINGS {
        if holds(bench, candidate, low, HOLD)? {
            return Ok(low);
        }
        low *= DOWN;
    }
    Ok(f64::NAN)
}

fn section(rates: &[Vec<f64>; NAMES.len()]) -> Section {
    // A search that found no rate has no ratio.
    let ratio = |of: usize, to: usize| {
        let both: Vec<f64> = rates[of].iter().zip(&rates[to]).map(|(of, to)| of / to).collect();
        let found: Vec<f64> = both.into_iter().filter(|ratio| ratio.is_finite()).collect();
        Figure {
            name: format!("{} to {}", NAMES[of], NAMES[to]),
            unit: "x".into(),
            value: Value::Median(Median::of(&found)),
            goal: None,
            note: (found.len() < rates[of].len())
                .then(|| format!("of {} of {} searches", found.len(), rates[of].len())),
        }
    };
    let rate = |who: usize| {
        let found: Vec<f64> = rates[who]
            .iter()
            .copied()
            .filter(|rate| rate.is_finite())
            .collect();
        Figure {
            name: NAMES[who].into(),
            unit: "messages/s".into(),
            value: Value::Median(Median::of(&found)),
            goal: None,
            note: None,
        }
    };
    Section {
        name: "peers_throughput".into(),
        title: format!("Highest rate of {SIZE}-byte messages without a loss, over loopback multicast"),
        how: vec![
            format!(
                "{} searches each, in turn; a rate counts if for {HOLD} s every message arrives in order and the pace is kept",
                rates[FLOOR].len()
            ),
            "a sender that is behind pushes all that is due before it lets go: Twinline and Aeron pack them".into(),
            "Twinline: both lines, both journals, every message looked at; Aeron and ZeroMQ: one stream, no journal".into(),
        ],
        figures: vec![
            ratio(TWINLINE, AERON),
            ratio(TWINLINE, FLOOR),
            ratio(AERON, FLOOR),
            ratio(TWINLINE, ZEROMQ),
            rate(FLOOR),
            rate(TWINLINE),
            rate(AERON),
            rate(ZEROMQ),
        ],
        ..Section::default()
    }
}
