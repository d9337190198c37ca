//! The highest rate that something still holds at, found in steps.

/// The search ends once what holds and what does not are this close.
const CLOSE: f64 = 1.05;

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    /// The highest rate that held; 0: none did.
    pub(super) held: f64,
    /// The lowest that did not.
    pub(super) failed: Option<f64>,
    /// Tries that it took.
    pub(super) tries: usize,
}

/// Searches from `first` on with so many `tries` at most: twice as much while it
/// holds, half while nothing does, then between the two.
///
/// # Errors
/// The first one of `holds`.
pub(super) fn highest<E>(
    first: f64,
    tries: usize,
    mut holds: impl FnMut(f64) -> Result<bool, E>,
) -> Result<Found, E> {
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

    fn search(first: f64, limit: f64) -> Found {
        highest(first, 12, |rate| Ok::<_, ()>(rate <= limit)).unwrap()
    }

    #[test]
    fn the_rate_is_found_from_below_and_from_above() {
        for (first, limit) in [(1e6, 3.3e6), (8e6, 1.1e6), (1e6, 1e6)] {
            let found = search(first, limit);
            assert!(
                found.held <= limit && found.held * CLOSE >= limit * 0.99,
                "{found:?}"
            );
            assert!(found.failed.is_some_and(|failed| failed > limit));
        }
    }

    #[test]
    fn a_rate_that_never_holds_ends_with_nothing_and_an_error_ends_the_search() {
        let found = search(1e6, 0.0);
        assert_eq!((found.held, found.tries), (0.0, 12));
        assert_eq!(highest(1.0, 12, |_| Err("broken")), Err("broken"));
    }
}
