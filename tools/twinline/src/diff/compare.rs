//! Comparing two streams of journalled messages, without I/O: what is missing, what is there that should not be, and
//! where they first differ.
//!
//! Messages are equal by (session, epoch, sequence, bytes). How they are packed into packets is no difference, and a
//! listener's notices are none either; but a message that a `Void` notice takes back does not count as delivered.

use crate::show;
use serde::Serialize;
use serde_json::{Value as Json, json};
use std::fmt;
use twinline_wire::Frame;

/// Ranges that are listed; beyond this they are only counted.
const LISTED: usize = 10_000;

/// One message, borrowed from a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Session.
    pub(crate) session: u32,
    /// Epoch.
    pub(crate) epoch: u32,
    /// Sequence.
    pub(crate) sequence: u64,
    /// The framed message.
    pub(crate) bytes: &'a [u8],
}

impl Entry<'_> {
    fn key(&self) -> (u32, u64) {
        (self.session, self.sequence)
    }
}

/// Sequences of a session, the end exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Range {
    /// Session.
    pub(crate) session: u32,
    /// First sequence.
    pub(crate) begin: u64,
    /// The sequence after the last.
    pub(crate) end: u64,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {} {}..{}", self.session, self.begin, self.end)
    }
}

/// Ranges in ascending order, adjoining ones made one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Ranges {
    /// Messages in all ranges.
    pub(crate) messages: u64,
    /// The ranges; of very many only the first.
    pub(crate) ranges: Vec<Range>,
}

impl Ranges {
    /// Adds one sequence behind all others.
    fn push(&mut self, session: u32, sequence: u64) {
        self.messages += 1;
        if let Some(last) = self.ranges.last_mut()
            && (last.session, last.end) == (session, sequence)
        {
            last.end += 1;
        } else if self.ranges.len() < LISTED {
            self.ranges.push(Range {
                session,
                begin: sequence,
                end: sequence + 1,
            });
        }
    }

    /// Takes `cut` out, and returns how many messages that were.
    pub(crate) fn remove(&mut self, cut: Range) -> u64 {
        let mut removed = 0;
        let mut kept = Vec::with_capacity(self.ranges.len());
        for range in self.ranges.drain(..) {
            let begin = range.begin.max(cut.begin);
            let end = range.end.min(cut.end);
            if range.session != cut.session || begin >= end {
                kept.push(range);
                continue;
            }
            removed += end - begin;
            kept.extend([Range { end: begin, ..range }, Range { begin: end, ..range }]);
        }
        kept.retain(|range| range.begin < range.end);
        self.ranges = kept;
        self.messages -= removed;
        removed
    }
}

/// Where a listener's state was replaced by a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Replaced {
    /// Session.
    pub(crate) session: u32,
    /// Epoch.
    pub(crate) epoch: u32,
    /// The snapshot holds all valid messages below this sequence.
    pub(crate) sequence: u64,
}

/// Where two streams first differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct First {
    /// Session.
    pub(crate) session: u32,
    /// Sequence.
    pub(crate) sequence: u64,
    /// How.
    pub(crate) what: String,
    /// The message as the publisher has it, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) publisher: Option<Json>,
    /// The message as the listener has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listener: Option<Json>,
}

impl First {
    fn new(what: String, left: Option<Entry<'_>>, right: Option<Entry<'_>>) -> Self {
        let (session, sequence) = left.or(right).map_or((0, 0), |entry| entry.key());
        Self {
            session,
            sequence,
            what,
            publisher: left.and_then(decoded),
            listener: right.and_then(decoded),
        }
    }
}

/// A message in words.
fn decoded(entry: Entry<'_>) -> Option<Json> {
    let (frame, _) = Frame::split(entry.bytes)?;
    Some(json!({ "epoch": entry.epoch, "name": show::name(&frame), "fields": show::fields(&frame) }))
}

/// What comparing found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Comparison {
    /// Messages that are equal.
    pub(crate) equal: u64,
    /// Messages that only the publisher has.
    pub(crate) missing: Ranges,
    /// Messages that only the listener has.
    pub(crate) extra: Ranges,
    /// Messages that both have, with other bytes or of another epoch.
    pub(crate) different: Ranges,
    /// Messages that the listener had delivered and then declared void.
    pub(crate) void: u64,
    /// Messages out of order or there twice, in either stream.
    pub(crate) disorder: u64,
    /// The first difference.
    pub(crate) first: Option<First>,
}

impl Comparison {
    /// True if the streams are equal.
    pub(crate) fn is_equal(&self) -> bool {
        self.missing.messages + self.extra.messages + self.different.messages + self.disorder == 0
    }
}

/// Compares two streams whose messages are given in order.
#[derive(Debug, Default)]
pub(crate) struct Comparer {
    result: Comparison,
    /// Extra messages seen before anything else differed may turn out void: what was noted of them is kept apart.
    first_extra: Option<First>,
    last: [Option<(u32, u64)>; 2],
}

/// What a comparer wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The publisher's next message.
    Left,
    /// The listener's next message.
    Right,
    /// Both.
    Both,
}

impl Comparer {
    /// Compares the publisher's next message with the listener's next; `None` where a stream has ended. Says which of
    /// them it is done with; `None` once both have ended.
    pub(crate) fn step(&mut self, left: Option<Entry<'_>>, right: Option<Entry<'_>>) -> Option<Step> {
        for (side, entry) in [left, right].into_iter().enumerate() {
            if let Some(entry) = entry
                && self.last[side].is_some_and(|last| entry.key() <= last)
            {
                return Some(self.disorder(side, entry));
            }
        }
        match (left, right) {
            (Some(left), Some(right)) if left.key() == right.key() => {
                self.both(left, right);
                Some(Step::Both)
            }
            (Some(left), right) if right.is_none_or(|right| left.key() < right.key()) => {
                self.missing(left);
                Some(Step::Left)
            }
            (_, Some(right)) => {
                self.extra(right);
                Some(Step::Right)
            }
            _ => None,
        }
    }

    /// The listener's stream declares these sequences void.
    pub(crate) fn void(&mut self, range: Range) {
        self.result.void += self.result.extra.remove(range);
        if let Some(first) = &self.first_extra
            && first.session == range.session
            && (range.begin..range.end).contains(&first.sequence)
        {
            self.first_extra = None;
        }
    }

    /// What was found.
    pub(crate) fn finish(self) -> Comparison {
        let mut result = self.result;
        result.first = [result.first.take(), self.first_extra]
            .into_iter()
            .flatten()
            .min_by_key(|first| (first.session, first.sequence));
        result
    }

    fn both(&mut self, left: Entry<'_>, right: Entry<'_>) {
        self.last = [Some(left.key()), Some(right.key())];
        if left.epoch == right.epoch && left.bytes == right.bytes {
            self.result.equal += 1;
            return;
        }
        self.result.different.push(left.session, left.sequence);
        let what = if left.epoch != right.epoch {
            format!(
                "epoch {} at the publisher, {} at the listener",
                left.epoch, right.epoch
            )
        } else {
            let at = left
                .bytes
                .iter()
                .zip(right.bytes)
                .take_while(|(a, b)| a == b)
                .count();
            format!(
                "the messages differ from byte {at} on ({} and {} bytes)",
                left.bytes.len(),
                right.bytes.len()
            )
        };
        self.note(what, Some(left), Some(right));
    }

    fn missing(&mut self, left: Entry<'_>) {
        self.last[0] = Some(left.key());
        self.result.missing.push(left.session, left.sequence);
        self.note("the listener does not have it".into(), Some(left), None);
    }

    fn extra(&mut self, right: Entry<'_>) {
        self.last[1] = Some(right.key());
        self.result.extra.push(right.session, right.sequence);
        if self.first_extra.is_none() {
            self.first_extra = Some(First::new(
                "the publisher does not have it".into(),
                None,
                Some(right),
            ));
        }
    }

    fn disorder(&mut self, side: usize, entry: Entry<'_>) -> Step {
        self.result.disorder += 1;
        let what = |who| format!("it stands twice or out of order in the {who}'s journal");
        if side == 0 {
            self.note(what("publisher"), Some(entry), None);
            return Step::Left;
        }
        self.note(what("listener"), None, Some(entry));
        Step::Right
    }

    fn note(&mut self, what: String, left: Option<Entry<'_>>, right: Option<Entry<'_>>) {
        self.result
            .first
            .get_or_insert_with(|| First::new(what, left, right));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequence, epoch, text.
    type Message = (u64, u32, &'static str);

    fn entry(message: Message) -> Entry<'static> {
        let (sequence, epoch, text) = message;
        Entry {
            session: 1,
            epoch,
            sequence,
            bytes: text.as_bytes(),
        }
    }

    fn run(comparer: &mut Comparer, left: &[Message], right: &[Message]) {
        let (mut l, mut r) = (left.iter().copied().peekable(), right.iter().copied().peekable());
        while let Some(step) = comparer.step(l.peek().copied().map(entry), r.peek().copied().map(entry)) {
            if step != Step::Right {
                l.next();
            }
            if step != Step::Left {
                r.next();
            }
        }
    }

    fn compare(left: &[Message], right: &[Message]) -> Comparison {
        let mut comparer = Comparer::default();
        run(&mut comparer, left, right);
        comparer.finish()
    }

    fn range(begin: u64, end: u64) -> Range {
        Range {
            session: 1,
            begin,
            end,
        }
    }

    #[test]
    fn equal_streams_are_equal() {
        let stream = [(1, 1, "a"), (2, 1, "b"), (10, 2, "c")];
        let result = compare(&stream, &stream);
        assert!(result.is_equal());
        assert_eq!((result.equal, result.first), (3, None));
    }

    #[test]
    fn missing_and_extra_messages_are_ranges_and_the_first_is_named() {
        let result = compare(
            &[(1, 1, "a"), (2, 1, "b"), (3, 1, "c"), (5, 1, "e")],
            &[(1, 1, "a"), (4, 1, "d"), (5, 1, "e"), (6, 1, "f")],
        );
        assert!(!result.is_equal());
        assert_eq!(result.missing.ranges, [range(2, 4)]);
        assert_eq!(result.extra.ranges, [range(4, 5), range(6, 7)]);
        assert_eq!(result.first.unwrap().sequence, 2);
    }

    #[test]
    fn another_byte_and_another_epoch_are_differences() {
        let bytes = compare(&[(1, 1, "abc")], &[(1, 1, "abd")]);
        assert!(bytes.first.unwrap().what.contains("from byte 2"));
        let epoch = compare(&[(1, 1, "abc")], &[(1, 2, "abc")]);
        assert_eq!(epoch.different.ranges, [range(1, 2)]);
    }

    #[test]
    fn what_a_notice_declares_void_is_not_extra() {
        let mut comparer = Comparer::default();
        let publisher = [(1, 1, "a"), (2, 1, "b"), (10, 2, "c")];
        run(
            &mut comparer,
            &publisher,
            &[(1, 1, "a"), (2, 1, "b"), (3, 1, "x"), (4, 1, "y")],
        );
        comparer.void(range(3, 5));
        let result = comparer.finish();
        assert_eq!((result.void, result.extra.messages), (2, 0));
        assert_eq!(result.missing.ranges, [range(10, 11)]);
        assert_eq!(result.first.unwrap().sequence, 10);
    }

    #[test]
    fn a_message_that_stands_twice_is_a_difference() {
        let result = compare(
            &[(1, 1, "a"), (2, 1, "b")],
            &[(1, 1, "a"), (1, 1, "a"), (2, 1, "b")],
        );
        assert_eq!((result.disorder, result.equal), (1, 2));
        assert!(!result.is_equal());
    }

    #[test]
    fn a_range_is_cut_in_two() {
        let mut ranges = Ranges::default();
        (1..=9).for_each(|sequence| ranges.push(1, sequence));
        assert_eq!(ranges.remove(range(3, 5)), 2);
        assert_eq!(ranges.ranges, [range(1, 3), range(5, 10)]);
        assert_eq!(ranges.messages, 7);
    }
}
