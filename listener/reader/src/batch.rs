//! Batches: whole source events, as many as came together.

use crate::books::{Book, State};
use crate::source::Head;
use crate::{Message, Notice};
use twinline_book::Change;
use twinline_ring::Origin;
use twinline_wire::header::MAX_PACKET_LEN;
use twinline_wire::session::{EndOfSession, EpochStart, SessionStart, SourcePosition};
use twinline_wire::{EventFlags, Frame, Message as _};

/// What a reader delivers at once.
#[derive(Clone, Copy, Debug)]
pub enum Batch<'a> {
    /// Messages of whole events.
    Messages(Messages<'a>),
    /// Something happened to the stream itself.
    Notice(Notice<'a>),
}

/// Messages that came together and end where a source event does. The books are those behind the last of them.
#[derive(Clone, Copy, Debug)]
pub struct Messages<'a> {
    head: &'a Head,
    sequence: u64,
    frames: &'a [u8],
    changes: &'a [(u64, Change)],
    state: &'a State,
}

impl<'a> Messages<'a> {
    pub(crate) fn new(
        head: &'a Head,
        sequence: u64,
        frames: &'a [u8],
        changes: &'a [(u64, Change)],
        state: &'a State,
    ) -> Self {
        Self {
            head,
            sequence,
            frames,
            changes,
            state,
        }
    }

    /// The messages that the filter lets through, in order.
    pub fn iter(&self) -> MessagesIter<'a> {
        MessagesIter { left: *self }
    }

    /// Every change of a best bid or offer of a book that is kept, with the sequence of the message that made it; whatever the
    /// filter lets through.
    pub fn changes(&self) -> &'a [(u64, Change)] {
        self.changes
    }

    /// The book of an instrument, if it is kept.
    pub fn book(&self, instrument: u32) -> Option<Book<'a>> {
        self.state.book(instrument)
    }

    /// The symbol of an instrument.
    pub fn symbol(&self, instrument: u32) -> Option<&'a str> {
        self.state.symbols.symbol(instrument)
    }

    /// When the packet was published, in nanoseconds since the Unix epoch.
    pub fn sending_time(&self) -> u64 {
        self.head.sending_time
    }

    /// When the listener had it, in nanoseconds since the Unix epoch; `None` from the journal.
    pub fn receive_time(&self) -> Option<u64> {
        self.head.receive_time
    }

    /// Who brought it; `None` from the journal.
    pub fn origin(&self) -> Option<Origin> {
        self.head.origin
    }
}

impl<'a> IntoIterator for Messages<'a> {
    type Item = Message<'a>;
    type IntoIter = MessagesIter<'a>;

    fn into_iter(self) -> MessagesIter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &Messages<'a> {
    type Item = Message<'a>;
    type IntoIter = MessagesIter<'a>;

    fn into_iter(self) -> MessagesIter<'a> {
        self.iter()
    }
}

/// The messages of a batch.
#[derive(Clone, Debug)]
pub struct MessagesIter<'a> {
    left: Messages<'a>,
}

impl<'a> Iterator for MessagesIter<'a> {
    type Item = Message<'a>;

    #[inline]
    fn next(&mut self) -> Option<Message<'a>> {
        let left = &mut self.left;
        loop {
            let (frame, rest) = Frame::split(left.frames)?;
            let sequence = left.sequence;
            (left.frames, left.sequence) = (rest, sequence.saturating_add(1));
            let change = match left.changes {
                [(at, change), rest @ ..] if *at == sequence => {
                    left.changes = rest;
                    Some(*change)
                }
                _ => None,
            };
            if left.state.filter.wants(&frame) {
                return Some(Message::new(left.head, sequence, frame, change, left.state));
            }
        }
    }
}

/// What a walk over frames finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Events {
    /// Bytes of whole events, from the start on, and their messages.
    pub(crate) whole: (usize, u64),
    /// Bytes of all, and their messages.
    pub(crate) all: (usize, u64),
}

impl Events {
    /// Looks at `frames`, at whose start an event begins.
    pub(crate) fn find(frames: &[u8]) -> Self {
        let mut events = Self::default();
        let mut rest = frames;
        // Whether the messages behind `whole` belong to an event that has begun.
        let mut begun = false;
        while let Some((frame, behind)) = Frame::split(rest) {
            rest = behind;
            events.all.0 += frame.bytes().len();
            events.all.1 += 1;
            begun = !ends_event(&frame, begun);
            if !begun {
                events.whole = events.all;
            }
        }
        events
    }
}

/// True if no event is under way behind this message, if one was `begun` before it or not.
#[inline]
fn ends_event(frame: &Frame<'_>, begun: bool) -> bool {
    match (frame.event_flags(), frame.template()) {
        (Some(flags), _) => flags.0 & EventFlags::END_OF_EVENT.0 != 0,
        // A position stands behind its event, the others in none.
        (
            None,
            SourcePosition::TEMPLATE | EpochStart::TEMPLATE | SessionStart::TEMPLATE | EndOfSession::TEMPLATE,
        ) => true,
        (None, _) => !begun,
    }
}

/// The beginning of an event whose rest has not come.
#[derive(Debug)]
pub(crate) struct Half {
    /// Bytes at the start that were delivered.
    done: usize,
    bytes: Vec<u8>,
    head: Option<Head>,
    /// Sequence of the first message that was not delivered.
    pub(crate) begin: u64,
    /// The sequence behind the last message.
    pub(crate) end: u64,
}

impl Half {
    pub(crate) fn new() -> Self {
        Self {
            done: 0,
            bytes: Vec::with_capacity(2 * MAX_PACKET_LEN),
            head: None,
            begin: 0,
            end: 0,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.done == self.bytes.len()
    }

    /// The context of what came last.
    pub(crate) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// What was not delivered.
    pub(crate) fn frames(&self) -> &[u8] {
        &self.bytes[self.done..]
    }

    /// `frames`, which begin at `sequence`, wait here.
    #[cold]
    pub(crate) fn keep(&mut self, head: &Head, frames: &[u8], sequence: u64, end: u64) {
        if self.is_empty() {
            self.begin = sequence;
        }
        self.bytes.drain(..self.done);
        self.done = 0;
        self.bytes.extend_from_slice(frames);
        self.head = Some(*head);
        self.end = end;
    }

    /// True if what stands under `head` goes on where this ends.
    pub(crate) fn goes_on_with(&self, head: &Head) -> bool {
        self.head.is_some_and(|own| {
            (own.session, own.epoch, self.end) == (head.session, head.epoch, head.sequence)
        })
    }

    /// True if it cannot be an event: one is never longer than a packet.
    pub(crate) fn is_too_long(&self) -> bool {
        self.bytes.len() - self.done > MAX_PACKET_LEN
    }

    /// The first `bytes`, with `messages`, are delivered. They stay until something is kept again.
    pub(crate) fn take(&mut self, bytes: usize, messages: u64) {
        self.done += bytes;
        self.begin += messages;
    }

    /// Forgets it. Returns where it began and ended.
    pub(crate) fn clear(&mut self) -> (u64, u64) {
        self.done = 0;
        self.bytes.clear();
        (self.begin, self.end)
    }

    /// Bytes that wait or were delivered last.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many of them were delivered.
    pub(crate) fn done(&self) -> usize {
        self.done
    }
}
