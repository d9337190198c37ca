//! The highest rate that a bed still holds at, found in steps and confirmed over the whole time.

use super::trial::{Bound, Trial, run_one};
use super::{Options, SHORTEST, room};
use crate::harness::bed::{Bed, BedConfig};
use crate::harness::error::BenchError;
use crate::harness::watch::Watch;
use crate::itch_day::ItchDay;
use std::num::NonZeroU64;
use std::time::Duration;
use twinline_feed::source::pace::Pace;

/// A rate counts as kept if so much of it was delivered by its end.
pub(super) const KEPT: f64 = 0.97;
/// Runs of a rate before it counts as too high: at tens of millions of messages a second the sockets' buffers hold parts of a
/// second, and a machine that others use takes a core away for longer now and then.
const CHANCES: usize = 2;
/// The search begins here, in messages a second.
const FIRST: f64 = 4e6;
/// Writing each segment once takes no longer than this, or is not finished.
const WARM_UP: Duration = Duration::from_secs(60);
/// The search ends once what holds and what does not are this close.
const CLOSE: f64 = 1.05;

/// What the search for the highest rate came to.
pub(super) struct Highest {
    /// The run over the whole time.
    pub(super) confirmed: Option<Trial>,
    /// Steps of the search.
    pub(super) steps: usize,
}

/// A bed whose journals have written all their segments once: from now on each is written again.
pub(super) fn used(options: &Options, config: &BedConfig, day: &ItchDay) -> Result<Bed, BenchError> {
    let bed = Bed::new(config)?;
    if let Some(segments) = config.segments {
        let messages = (segments * config.segment_size / SHORTEST) as u64;
        let bound = Bound {
            span: WARM_UP,
            messages: messages.min(options.most.unwrap_or(u64::MAX)),
        };
        run_one(&bed, day, per_second(FIRST), bound)?;
    }
    Ok(bed)
}

/// The highest rate that holds, confirmed over the whole span.
pub(super) fn highest(
    options: &Options,
    name: &str,
    bed: &BedConfig,
    day: &ItchDay,
    watch: &Watch,
) -> Result<Highest, BenchError> {
    // Fresh segments are so in every run.
    let fresh = bed.segments.is_none();
    let mut used = used(options, bed, day)?;
    let mut attempt = |rate: f64, span: Duration| -> Result<Option<Trial>, BenchError> {
        for _ in 0..CHANCES {
            let mut span = span;
            if fresh {
                used = Bed::new(bed)?;
                span = span.min(room(bed, rate)?);
            }
            let trial = run_one(&used, day, per_second(rate), options.bound(span))?;
            // Less came through than was to: the publisher or the listener cannot.
            if trial.rate() >= rate * KEPT && trial.holds() {
                return Ok(Some(trial));
            }
        }
        Ok(None)
    };
    let mut tries = 0;
    let found = search(FIRST, options.tries, |rate| {
        tries += 1;
        watch.step(
            &format!("throughput, {name}: {:.2} million/s? try", rate / 1e6),
            tries,
            options.tries,
        )?;
        attempt(rate, options.step).map(|held| held.is_some())
    })?;
    let mut confirmed = None;
    let mut rate = found.held;
    for number in 0..options.tries {
        if rate == 0.0 || confirmed.is_some() {
            break;
        }
        let what = format!(
            "throughput, {name}: {:.2} million/s for the whole time? try",
            rate / 1e6
        );
        watch.step(&what, number, options.tries)?;
        confirmed = attempt(rate, options.span)?;
        // What held for a step need not hold for long.
        rate *= 0.93;
    }
    Ok(Highest {
        confirmed,
        steps: found.tries,
    })
}

fn per_second(rate: f64) -> Pace {
    Pace::PerSecond(NonZeroU64::new(rate as u64).unwrap_or(NonZeroU64::MIN))
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Found {
    /// The highest rate that held; 0: none did.
    held: f64,
    /// The lowest that did not.
    failed: Option<f64>,
    /// Tries that it took.
    tries: usize,
}

/// Searches from `first` on with so many `tries` at most: twice as much while it holds, half while nothing does, then between
/// the two.
///
/// # Errors
/// The first one of `holds`.
fn search<E>(first: f64, tries: usize, mut holds: impl FnMut(f64) -> Result<bool, E>) -> Result<Found, E> {
    let mut found = Found {
        held: 0.0,
        failed: None,
        tries: 0,
    };
    let mut rate = first;
    while found.tries < tries {
        found.tries += 1;
        match holds(rate)? {
            true => found.held = found.held.max(rate),
            false => found.failed = Some(found.failed.map_or(rate, |failed| failed.min(rate))),
        }
        rate = match found.failed {
            None => rate * 2.0,
            Some(failed) if found.held == 0.0 => failed / 2.0,
            Some(failed) if failed <= found.held * CLOSE => break,
            Some(failed) => f64::midpoint(failed, found.held),
        };
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(first: f64, limit: f64) -> Found {
        search(first, 12, |rate| Ok::<_, ()>(rate <= limit)).unwrap()
    }

    #[test]
    fn the_rate_is_found_from_below_and_from_above() {
        for (first, limit) in [(1e6, 3.3e6), (8e6, 1.1e6), (1e6, 1e6)] {
            let found = found(first, limit);
            assert!(
                found.held <= limit && found.held * CLOSE >= limit * 0.99,
                "{found:?}"
            );
            assert!(found.failed.is_some_and(|failed| failed > limit));
        }
    }

    #[test]
    fn a_rate_that_never_holds_ends_with_nothing_and_an_error_ends_the_search() {
        let found = found(1e6, 0.0);
        assert_eq!((found.held, found.tries), (0.0, 12));
        assert_eq!(search(1.0, 12, |_| Err("broken")), Err("broken"));
    }
}
