//! What is known of the session's epochs: where each began and what it cut off before it.

use super::ranges::Span;

/// An epoch whose EpochStart is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) number: u32,
    pub(crate) base: u64,
    pub(crate) valid_end: u64,
}

/// Epochs kept at most. A publisher that restarts more often in a session pushes out the oldest, whose packets nobody
/// waits for any more.
const CAPACITY: usize = 1024;

/// The epochs that count, in order: none of them was cut off itself.
#[derive(Debug)]
pub(crate) struct Epochs {
    known: Vec<Epoch>,
}

impl Epochs {
    pub(crate) fn new() -> Self {
        Self {
            known: Vec::with_capacity(CAPACITY + 1),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.known.clear();
    }

    pub(crate) fn knows(&self, number: u32) -> bool {
        self.known
            .binary_search_by_key(&number, |epoch| epoch.number)
            .is_ok()
    }

    /// Adds an epoch. An EpochStart that a later one cut off does not count, and is not kept. Returns true if it is new.
    pub(crate) fn learn(&mut self, epoch: Epoch) -> bool {
        let Err(at) = self
            .known
            .binary_search_by_key(&epoch.number, |known| known.number)
        else {
            return false;
        };
        if epoch.base >= self.limit(epoch.number) {
            return false;
        }
        self.known.insert(at, epoch);
        // It may cut off the starts of epochs before it.
        let mut limit = u64::MAX;
        for at in (0..self.known.len()).rev() {
            if self.known[at].base >= limit {
                self.known.remove(at);
            } else {
                limit = limit.min(self.known[at].valid_end);
            }
        }
        if self.known.len() > CAPACITY {
            self.known.remove(0);
        }
        true
    }

    /// What packets of epoch `number` put at or beyond this sequence is void.
    pub(crate) fn limit(&self, number: u32) -> u64 {
        let from = self.known.partition_point(|epoch| epoch.number <= number);
        self.known[from..]
            .iter()
            .map(|epoch| epoch.valid_end)
            .min()
            .unwrap_or(u64::MAX)
    }

    /// The range around `sequence` that never existed.
    pub(crate) fn hole(&self, sequence: u64) -> Option<Span> {
        self.known
            .iter()
            .rev()
            .map(|epoch| Span::new(epoch.valid_end, epoch.base))
            .find(|hole| (hole.begin..hole.end).contains(&sequence))
    }

    /// All ranges that never existed.
    pub(crate) fn holes(&self) -> impl Iterator<Item = Span> {
        self.known
            .iter()
            .map(|epoch| Span::new(epoch.valid_end, epoch.base))
            .filter(|hole| !hole.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u32, valid_end: u64, base: u64) -> Epoch {
        Epoch {
            number,
            base,
            valid_end,
        }
    }

    #[test]
    fn an_older_epoch_counts_below_every_later_valid_end() {
        let mut epochs = Epochs::new();
        assert!(epochs.learn(epoch(2, 100, 150)));
        assert!(epochs.learn(epoch(3, 200, 250)));
        assert_eq!(epochs.limit(1), 100);
        assert_eq!(epochs.limit(2), 200);
        assert_eq!(epochs.limit(3), u64::MAX);
        assert_eq!(epochs.hole(120), Some(Span::new(100, 150)));
        assert_eq!(epochs.hole(150), None);
        assert!(!epochs.learn(epoch(2, 100, 150)), "known already");
    }

    #[test]
    fn an_epoch_start_that_was_cut_off_itself_cuts_nothing() {
        let mut epochs = Epochs::new();
        epochs.learn(epoch(2, 100, 150));
        // The third epoch's publisher never saw the second: it cut at 120, before the second began.
        epochs.learn(epoch(3, 120, 300));
        assert_eq!(epochs.limit(1), 120, "the second epoch's cut is void");
        assert!(!epochs.knows(2));
        assert!(!epochs.learn(epoch(2, 100, 150)), "and does not come back");
    }
}
