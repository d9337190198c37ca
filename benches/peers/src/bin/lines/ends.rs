//! The two ends of each connection, each on a thread of its own: one on core 0 that sends at intended times, one on core 1
//! that receives and keeps the figures. Both stay for the whole run; between two slices they sleep.

use crate::Failure;
use core_affinity::CoreId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use twinline_benches::harness::clock::Clock;
use twinline_benches::harness::gaps::Gaps;
use twinline_benches::harness::pace::Pace;
use twinline_benches::harness::slice::{Slice, latencies};

/// Bytes of a message.
pub(crate) const SIZE: usize = 64;
/// From the order to the first message, in nanoseconds: both threads are awake by then.
const LEAD: u64 = 3_000_000;
/// So long after the last message was due both ends give up, in nanoseconds.
const PATIENCE: u64 = 300_000_000;
/// The same where it is not measured, but tried whether messages arrive at all: however busy the machine is.
const LONG_PATIENCE: u64 = 3_000_000_000;
/// Messages that must arrive then, and how many a second.
const TRIED: u64 = 20;
const TRIED_RATE: u64 = 1_000;
/// A sender that has less time than this until its next message is due does nothing but wait, in nanoseconds.
const LEFT_ALONE: u64 = 3_000;
/// Most messages between two looks at the clock of a sender that is behind.
const BEHIND: u64 = 4096;

/// A message: when it was to be sent, and its number, with the slice in the upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) due: u64,
    pub(crate) number: u64,
}

impl Message {
    /// Its bytes, for those who have no format of their own.
    #[inline]
    pub(crate) fn bytes(self) -> [u8; SIZE] {
        let mut bytes = [self.number as u8; SIZE];
        bytes[..8].copy_from_slice(&self.due.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    /// The message with these bytes; `None` if they are not what was sent.
    #[inline]
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        let message = Self {
            due: word(0),
            number: word(8),
        };
        (message.bytes() == *bytes).then_some(message)
    }
}

/// The end that sends.
pub(crate) trait Sending {
    /// Its threads are this one alone: what is missing of its time was stolen. Otherwise they may share a core.
    const ALONE: bool = true;

    /// Sends a message at once. False: it cannot be taken now.
    fn send(&mut self, message: Message) -> Result<bool, Failure> {
        Ok(self.push(message)? && self.flush().map(|()| true)?)
    }

    /// Sends a message behind which there are more, which may go out together. False: it cannot be taken now.
    fn push(&mut self, message: Message) -> Result<bool, Failure>;

    /// Nothing more waits: what was pushed goes out.
    fn flush(&mut self) -> Result<(), Failure>;

    /// A turn while nothing is due.
    fn turn(&mut self) -> Result<(), Failure>;
}

/// The end that receives.
pub(crate) trait Receiving {
    /// As of [`Sending`].
    const ALONE: bool = true;

    /// Takes what is there, and hands on what of it is delivered, `None` for what is not as it was sent. `now`:
    /// nanoseconds of the run's clock.
    fn poll(&mut self, now: u64, took: &mut impl FnMut(Option<Message>)) -> Result<(), Failure>;
}

/// What the two ends are to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    candidate: usize,
    slice: u64,
    start: u64,
    rate: u64,
    count: u64,
    /// Messages at the beginning whose latency does not count.
    warm: u64,
    give_up: u64,
}

impl Order {
    fn pace(&self) -> Pace {
        Pace::new(self.start, self.rate)
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) slice: Slice,
    /// From when the first message was due until the last one was there, in nanoseconds; `None`: it did not come.
    pub(crate) took: Option<u64>,
}

/// A [`Sending`] end, whichever.
pub(crate) trait Sends {
    fn run(&mut self, order: &Order, clock: &Clock, done: &AtomicBool) -> Result<Gaps, Failure>;
}

/// A [`Receiving`] end, whichever.
pub(crate) trait Receives {
    fn run(&mut self, order: &Order, clock: &Clock) -> Result<Outcome, Failure>;
}

impl<S: Sending> Sends for S {
    fn run(&mut self, order: &Order, clock: &Clock, done: &AtomicBool) -> Result<Gaps, Failure> {
        let pace = order.pace();
        let mut gaps = Gaps::new(order.start);
        let mut sent = 0;
        while sent < order.count {
            let now = clock.now();
            if now >= order.start && S::ALONE {
                gaps.look(now);
            }
            if now > order.give_up {
                break;
            }
            let due = pace.at(sent);
            if now < due {
                match due - now > LEFT_ALONE {
                    true => self.turn()?,
                    false => std::hint::spin_loop(),
                }
                continue;
            }
            let behind = ((now - order.start) * order.rate / 1_000_000_000).saturating_sub(sent);
            if behind == 0 {
                sent += u64::from(self.send(order.message(sent, due))?);
                continue;
            }
            let until = order.count.min(sent + behind.min(BEHIND) + 1);
            while sent < until && self.push(order.message(sent, pace.at(sent)))? {
                sent += 1;
            }
            self.flush()?;
        }
        // What was lost may be asked for.
        while !done.load(Ordering::Acquire) && clock.now() < order.give_up {
            self.turn()?;
        }
        Ok(gaps)
    }
}

impl Order {
    #[inline]
    fn message(&self, index: u64, due: u64) -> Message {
        Message {
            due,
            number: self.slice << 32 | index,
        }
    }
}

impl<R: Receiving> Receives for R {
    fn run(&mut self, order: &Order, clock: &Clock) -> Result<Outcome, Failure> {
        let mut latency = latencies();
        let mut gaps = Gaps::new(order.start);
        let (mut expected, mut missed, mut wrong, mut last) = (0, 0, 0, order.start);
        while expected < order.count {
            let now = clock.now();
            if now >= order.start && R::ALONE {
                gaps.look(now);
            }
            if now > order.give_up {
                break;
            }
            self.poll(now, &mut |message| {
                let Some(Message { due, number }) = message else {
                    wrong += 1;
                    return;
                };
                // What an earlier slice lost, and got after it was given up.
                if number >> 32 != order.slice {
                    return;
                }
                let index = number & u64::from(u32::MAX);
                if index < expected {
                    wrong += 1;
                    return;
                }
                missed += index - expected;
                expected = index + 1;
                if index >= order.warm {
                    last = clock.now();
                    latency.saturating_record(last.saturating_sub(due).max(1));
                }
            })?;
        }
        if wrong > 0 {
            return Err(format!("{wrong} messages came twice, or are not what was sent").into());
        }
        let complete = expected == order.count && missed == 0;
        let end = clock.now().max(order.start);
        Ok(Outcome {
            slice: Slice {
                began: order.start,
                took: end - order.start,
                latency,
                stolen: gaps.stolen(),
                lost: missed + order.count - expected,
            },
            took: complete.then_some(end - order.start),
        })
    }
}

/// Does what is ordered with the receiving ends, until the orders end.
pub(crate) fn serve(
    core: CoreId,
    clock: &Clock,
    ends: &mut [Box<dyn Receives>],
    orders: &Receiver<Order>,
    answers: &Sender<Result<Outcome, Failure>>,
    done: &AtomicBool,
) {
    core_affinity::set_for_current(core);
    for order in orders {
        let outcome = ends[order.candidate].run(&order, clock);
        done.store(true, Ordering::Release);
        if answers.send(outcome).is_err() {
            return;
        }
    }
}

/// The sending ends, and the way to the thread that has the receiving ones.
pub(crate) struct Bench<'a> {
    pub(crate) clock: Clock,
    pub(crate) ends: Vec<Box<dyn Sends>>,
    pub(crate) orders: Sender<Order>,
    pub(crate) answers: Receiver<Result<Outcome, Failure>>,
    pub(crate) done: &'a AtomicBool,
    pub(crate) slices: u64,
}

impl Bench<'_> {
    /// Sends `count` messages with `candidate` at `rate` a second; the first `warm` of them do not count.
    pub(crate) fn run(
        &mut self,
        candidate: usize,
        rate: u64,
        count: u64,
        warm: u64,
    ) -> Result<Outcome, Failure> {
        self.slices += 1;
        let start = self.clock.now() + LEAD;
        let give_up = Pace::new(start, rate).at(count) + PATIENCE;
        self.give(Order {
            candidate,
            slice: self.slices,
            start,
            rate,
            count,
            warm,
            give_up,
        })
    }

    /// True if all of a few messages arrive at `candidate`'s other end.
    pub(crate) fn arrives(&mut self, candidate: usize) -> Result<bool, Failure> {
        self.slices += 1;
        let start = self.clock.now() + LEAD;
        let order = Order {
            candidate,
            slice: self.slices,
            start,
            rate: TRIED_RATE,
            count: TRIED,
            warm: TRIED,
            give_up: start + LONG_PATIENCE,
        };
        Ok(self.give(order)?.took.is_some())
    }

    fn give(&mut self, order: Order) -> Result<Outcome, Failure> {
        self.done.store(false, Ordering::Release);
        self.orders
            .send(order)
            .map_err(|_| "the receiving thread is gone")?;
        let sent = self.ends[order.candidate].run(&order, &self.clock, self.done);
        let mut outcome = self
            .answers
            .recv()
            .map_err(|_| "the receiving thread is gone")??;
        outcome.slice.stolen = outcome.slice.stolen.max(sent?.stolen());
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written_and_no_other_bytes_pass_for_one() {
        let message = Message { due: 77, number: 3 };
        assert_eq!(Message::of(&message.bytes()), Some(message));
        let mut changed = message.bytes();
        changed[40] ^= 1;
        assert_eq!(Message::of(&changed), None);
        assert_eq!(Message::of(&message.bytes()[..63]), None);
    }
}
