//! A short sorted list of disjoint sequence ranges, with room reserved once.

/// Sequences `begin..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First sequence.
    pub begin: u64,
    /// First sequence beyond.
    pub end: u64,
}

impl Span {
    /// Sequences `begin..end`.
    pub const fn new(begin: u64, end: u64) -> Self {
        Self { begin, end }
    }

    /// How many sequences.
    pub const fn len(self) -> u64 {
        self.end.saturating_sub(self.begin)
    }

    /// How many of them are in `other`, too.
    pub fn overlap(self, other: Self) -> u64 {
        Self::new(self.begin.max(other.begin), self.end.min(other.end)).len()
    }

    /// True if there are none.
    pub const fn is_empty(self) -> bool {
        self.begin >= self.end
    }
}

/// Disjoint ranges in order. Never holds more than the capacity it was made with.
#[derive(Debug)]
pub struct Spans {
    /// The ranges, from `first` on. What is before that was given up; its room is taken back all at once, because that moves
    /// the whole list.
    spans: Vec<Span>,
    first: usize,
    capacity: usize,
}

/// Ranges that may be given up, of a list of `capacity`, before their room is taken back.
const fn slack(capacity: usize) -> usize {
    capacity / 8
}

impl Spans {
    /// An empty list with room for `capacity` ranges.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            spans: Vec::with_capacity(capacity + slack(capacity)),
            first: 0,
            capacity,
        }
    }

    /// The ranges, in order.
    pub fn as_slice(&self) -> &[Span] {
        &self.spans[self.first..]
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.first = 0;
    }

    /// Gives up the oldest range.
    fn evict(&mut self) -> Option<Span> {
        let evicted = self.as_slice().first().copied()?;
        self.first += 1;
        if self.first > slack(self.capacity) {
            self.spans.drain(..self.first);
            self.first = 0;
        }
        Some(evicted)
    }

    /// How many sequences are in all the ranges.
    pub fn total(&self) -> u64 {
        self.as_slice().iter().map(|span| span.len()).sum()
    }

    /// Adds a range, joined with what it touches. Where there is no room left the oldest range makes it; it is returned.
    pub fn insert(&mut self, span: Span) -> Option<Span> {
        if span.is_empty() {
            return None;
        }
        let from = self.place(|other| other.end < span.begin);
        let to = self.place(|other| other.begin <= span.end);
        if from < to {
            let joined = Span::new(
                span.begin.min(self.spans[from].begin),
                span.end.max(self.spans[to - 1].end),
            );
            self.spans[from] = joined;
            self.spans.drain(from + 1..to);
            return None;
        }
        if self.as_slice().len() < self.capacity {
            self.spans.insert(from, span);
            return None;
        }
        let evicted = self.evict();
        // It may stand before the one that was given up.
        let at = self.place(|other| other.end < span.begin);
        self.spans.insert(at, span);
        evicted
    }

    /// The first place of the list whose range is not `before`.
    fn place(&self, before: impl Fn(&Span) -> bool) -> usize {
        self.first + self.as_slice().partition_point(before)
    }

    /// Takes a range out; returns how many of its sequences were in.
    pub fn remove(&mut self, span: Span) -> u64 {
        if span.is_empty() {
            return 0;
        }
        let mut removed = 0;
        let mut at = self.place(|other| other.end <= span.begin);
        while at < self.spans.len() && self.spans[at].begin < span.end {
            let old = self.spans[at];
            let (left, right) = (Span::new(old.begin, span.begin), Span::new(span.end, old.end));
            removed += old.end.min(span.end) - old.begin.max(span.begin);
            match (left.is_empty(), right.is_empty()) {
                (true, true) => {
                    self.spans.remove(at);
                    continue;
                }
                (false, true) => self.spans[at] = left,
                (true, false) => self.spans[at] = right,
                // A hole in the middle needs one more place. Without one the older part is given up.
                (false, false) if self.as_slice().len() == self.capacity => self.spans[at] = right,
                (false, false) => {
                    self.spans[at] = left;
                    self.spans.insert(at + 1, right);
                }
            }
            at += 1;
        }
        removed
    }

    /// The range that holds `sequence`.
    pub fn containing(&self, sequence: u64) -> Option<Span> {
        let at = self.place(|span| span.end <= sequence);
        self.spans.get(at).copied().filter(|span| span.begin <= sequence)
    }

    /// Forgets all that is below `sequence`; returns how many sequences that were.
    pub fn forget_below(&mut self, sequence: u64) -> u64 {
        self.remove(Span::new(0, sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_full_list_gives_up_its_oldest_range() {
        let mut spans = Spans::with_capacity(2);
        assert_eq!(spans.insert(Span::new(1, 3)), None);
        assert_eq!(spans.insert(Span::new(5, 6)), None);
        assert_eq!(spans.insert(Span::new(9, 10)), Some(Span::new(1, 3)));
        assert_eq!(spans.as_slice(), [Span::new(5, 6), Span::new(9, 10)]);
    }

    #[test]
    fn a_list_that_is_long_full_has_the_newest_ranges_and_never_grows() {
        let mut spans = Spans::with_capacity(16);
        let room = spans.spans.capacity();
        for begin in (0..2_000).map(|number| 10 * number) {
            let evicted = spans.insert(Span::new(begin, begin + 5));
            let oldest = (begin >= 160).then(|| Span::new(begin - 160, begin - 155));
            assert_eq!(evicted, oldest);
            assert_eq!(spans.as_slice().last(), Some(&Span::new(begin, begin + 5)));
            assert_eq!(spans.as_slice().len() as u64, (begin / 10 + 1).min(16));
            assert_eq!(spans.containing(begin + 1), Some(Span::new(begin, begin + 5)));
            assert_eq!(spans.containing(begin.saturating_sub(159)).is_some(), begin < 160);
        }
        assert_eq!(spans.remove(Span::new(19_992, 19_994)), 2);
        assert_eq!(spans.as_slice().len(), 16, "the older part made room");
        assert_eq!(spans.spans.capacity(), room);
    }

    proptest! {
        #[test]
        fn the_list_is_the_set_of_its_sequences(steps in prop::collection::vec((any::<bool>(), 1u64..60, 0u64..12), 1..40)) {
            let mut spans = Spans::with_capacity(64);
            let mut set = BTreeSet::new();
            for (add, begin, length) in steps {
                let span = Span::new(begin, begin + length);
                if add {
                    spans.insert(span);
                    set.extend(span.begin..span.end);
                } else {
                    let before = set.len();
                    (span.begin..span.end).for_each(|sequence| { set.remove(&sequence); });
                    prop_assert_eq!(spans.remove(span), (before - set.len()) as u64);
                }
                let listed: Vec<u64> = spans.as_slice().iter().flat_map(|span| span.begin..span.end).collect();
                prop_assert_eq!(listed, set.iter().copied().collect::<Vec<_>>());
                prop_assert!(spans.as_slice().windows(2).all(|pair| pair[0].end < pair[1].begin));
                for sequence in 0..80 {
                    prop_assert_eq!(spans.containing(sequence).is_some(), set.contains(&sequence));
                }
            }
        }
    }
}
