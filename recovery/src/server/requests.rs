//! The requests that a client has open, answered one after the other, each range after range. As large as the limits
//! allow and no larger.

use super::answer::Wanted;
use super::limits::Limits;
use crate::Range;
use std::collections::VecDeque;

/// A request that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) id: u32,
    session: u32,
    /// Ranges of it that are still in the queue.
    ranges: usize,
    /// Messages that may still be sent for it.
    pub(super) messages: u64,
    /// Bytes that may still be sent for it.
    pub(super) bytes: u64,
}

/// What became of a new request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Open,
    TooManyRanges,
    TooManyRequests,
}

/// Open requests, oldest first, and what is left of their ranges.
#[derive(Debug)]
pub(super) struct Requests {
    limits: Limits,
    requests: VecDeque<Request>,
    ranges: VecDeque<Range>,
}

impl Requests {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            requests: VecDeque::new(),
            ranges: VecDeque::new(),
        }
    }

    pub(super) fn is_open(&self, id: u32) -> bool {
        self.requests.iter().any(|request| request.id == id)
    }

    pub(super) fn take(
        &mut self,
        id: u32,
        session: u32,
        ranges: impl ExactSizeIterator<Item = Range>,
    ) -> Taken {
        if ranges.len() > usize::from(self.limits.max_ranges) {
            return Taken::TooManyRanges;
        }
        if self.requests.len() >= usize::from(self.limits.max_requests) {
            return Taken::TooManyRequests;
        }
        self.requests.push_back(Request {
            id,
            session,
            ranges: ranges.len(),
            messages: u64::from(self.limits.max_messages),
            bytes: self.limits.max_bytes,
        });
        self.ranges.extend(ranges);
        Taken::Open
    }

    /// The request that is being answered.
    pub(super) fn first(&self) -> Option<Request> {
        self.requests.front().copied()
    }

    /// What is left of the range of it that is being answered; `None` if none is left.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        let request = self.requests.front().filter(|request| request.ranges > 0)?;
        let range = self.ranges.front()?;
        Some(Wanted {
            session: request.session,
            begin: range.begin.get(),
            end: range.end.get(),
        })
    }

    /// So much was sent for the first request.
    pub(super) fn sent(&mut self, messages: u64, bytes: u64) {
        if let Some(request) = self.requests.front_mut() {
            request.messages = request.messages.saturating_sub(messages);
            request.bytes = request.bytes.saturating_sub(bytes);
        }
    }

    /// The first range is answered below this sequence.
    pub(super) fn answered_to(&mut self, sequence: u64) {
        if let Some(range) = self.ranges.front_mut() {
            range.begin = sequence.into();
            if sequence >= range.end.get() {
                self.skip_range();
            }
        }
    }

    /// The first range is done with.
    pub(super) fn skip_range(&mut self) {
        if let Some(request) = self.requests.front_mut() {
            request.ranges -= 1;
            self.ranges.pop_front();
        }
    }

    /// Takes the first request out, with what is left of it; its number.
    pub(super) fn finish(&mut self) -> Option<u32> {
        let request = self.requests.pop_front()?;
        self.ranges.drain(..request.ranges);
        Some(request.id)
    }

    pub(super) fn clear(&mut self) {
        self.requests.clear();
        self.ranges.clear();
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> usize {
        self.requests.capacity() * size_of::<Request>() + self.ranges.capacity() * size_of::<Range>()
    }
}
