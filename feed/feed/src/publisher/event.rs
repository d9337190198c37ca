//! How source events and single messages get into the open packet.

use super::packing::{FlagsOf, POSITION_LEN, Packing};
use super::sending::After;
use super::{Lines, Phase, PublishError, Publisher, failed, slot};
use crate::source::EventSink;
use twinline_wire::header::HEADER_LEN;
use twinline_wire::market::InstrumentDefinition;
use twinline_wire::message::view_block;
use twinline_wire::{Frame, Message, MessageDef};

impl<L: Lines> Publisher<L> {
    /// Lets `fill` put source events into the open packet, through a sink; what does not fit goes on to the next packet.
    /// A packet that is full is committed and sent, together with others that follow at once; the last one only by
    /// [`flush`](Self::flush). An event that `fill` does not end is dropped. During the lead-in this ends it.
    ///
    /// # Errors
    /// [`PublishError::EventTooLarge`] and [`PublishError::NotMarketData`]: that event is not published, all others are.
    /// Any other: see there.
    #[inline]
    pub fn event<R>(
        &mut self,
        now: u64,
        fill: impl FnOnce(&mut Sink<'_, L>) -> R,
    ) -> Result<R, PublishError> {
        if self.phase != Phase::Live {
            self.go_live(now)?;
        }
        self.send_overdue(now);
        if let Err(error) = self.check_reserve() {
            self.send_unsent(now);
            return Err(error);
        }
        let result = fill(&mut Sink { publisher: self, now });
        self.packing.drop_event();
        if self.error.is_some() {
            return self.refuse(result, now);
        }
        Ok(result)
    }

    /// The event's error, in place of what came of it.
    #[cold]
    fn refuse<R>(&mut self, result: R, now: u64) -> Result<R, PublishError> {
        self.send_unsent(now);
        self.error.take().map_or(Ok(result), Err)
    }

    /// Publishes market messages, each a source event of its own, in as few packets as they fit, at once.
    ///
    /// # Errors
    /// If not all were published: [`position`](Self::position) says how many; see [`PublishError`].
    pub fn publish_batch<M: Message>(&mut self, messages: &[M], now: u64) -> Result<(), PublishError> {
        let filled = self.fill(messages, now);
        let flushed = self.flush(now);
        filled.and(flushed)
    }

    fn fill<M: Message>(&mut self, messages: &[M], now: u64) -> Result<(), PublishError> {
        let source = self.config.source;
        let first = self.position(source) + 1;
        for (message, position) in messages.iter().zip(first..) {
            self.event(now, |sink| {
                sink.push(message);
                sink.end_event(source, position);
            })?;
        }
        Ok(())
    }

    /// One message of the current event.
    ///
    /// Inlined, and nothing that is not is given the message: so one that its source has just made goes from registers into
    /// the slot. Out of the stack it would be read back in larger parts than it was written in, which a processor waits for.
    #[inline(always)]
    fn push<M: Message>(&mut self, message: &M, now: u64) {
        if self.error.is_some() {
            return;
        }
        if FlagsOf::<M>::AT.is_none() {
            self.error = Some(PublishError::NotMarketData { name: M::DEF.name });
            return;
        }
        if M::TEMPLATE == InstrumentDefinition::TEMPLATE {
            let named = view_block::<InstrumentDefinition>(message.as_bytes());
            self.name_instrument(named.instrument.get());
        }
        self.put(now, |packing, room| packing.push(room, message));
    }

    /// One framed message of the current event.
    #[inline]
    fn push_frame(&mut self, frame: &Frame<'_>, now: u64) {
        if self.error.is_some() {
            return;
        }
        if let Some(named) = frame.view::<InstrumentDefinition>() {
            self.name_instrument(named.instrument.get());
        }
        let definition = frame.definition();
        match definition.and_then(MessageDef::flags_offset) {
            // A block of an older schema may end before its flags.
            Some(at) if at < frame.block().len() => {
                self.put(now, |packing, room| packing.push_frame(room, frame, at));
            }
            _ => {
                let name = definition.map_or("a template of another schema", |definition| definition.name);
                self.error = Some(PublishError::NotMarketData { name });
            }
        }
    }

    /// Remembers that this channel names `instrument`. A name that is then not published does no harm: its source says it
    /// again, to the same channel.
    fn name_instrument(&mut self, instrument: u32) {
        if self.instruments.insert(instrument) {
            self.named.push(instrument);
        }
    }

    /// Appends to the current event with `push`, which says whether there was room; without, the event moves on first. Where
    /// it cannot, the error is noted.
    #[inline(always)]
    fn put(&mut self, now: u64, mut push: impl FnMut(&mut Packing, &mut [u8]) -> bool) {
        let mut moved = false;
        loop {
            let pushed = match self.journal.slot() {
                Ok(room) => push(&mut self.packing, room),
                Err(error) => {
                    self.error = Some(failed(&mut self.phase, error));
                    return;
                }
            };
            if pushed || !self.moves_event(moved, now) {
                return;
            }
            moved = true;
        }
    }

    /// The current event is complete.
    #[inline(always)]
    fn end_event(&mut self, source: u16, position: u64, now: u64) {
        if self.error.is_some() {
            return;
        }
        if !self.packing.is_usual(source) {
            return self.end_unusual_event(source, position, now);
        }
        if !self.packing.is_marked() {
            match slot(&mut self.journal, &mut self.phase) {
                Ok(slot) => self.packing.mark(slot),
                Err(error) => return self.error = Some(error),
            }
        }
        self.packing.note(position);
    }

    #[cold]
    fn end_unusual_event(&mut self, source: u16, position: u64, now: u64) {
        self.put(now, |packing, room| packing.end_event(room, source, position));
    }

    /// The packet has no room: [`move_event`](Self::move_event), unless the event was `moved` already. True if there is room
    /// now; otherwise the error is noted.
    #[cold]
    fn moves_event(&mut self, moved: bool, now: u64) -> bool {
        let result = match moved {
            true => Err(self.too_large()),
            false => self.move_event(now),
        };
        result.map_err(|error| self.error = Some(error)).is_ok()
    }

    /// Closes the open packet without the current event, which moves to the next packet.
    fn move_event(&mut self, now: u64) -> Result<(), PublishError> {
        if self.packing.is_empty() {
            return Err(self.too_large());
        }
        self.packing.set_aside(slot(&mut self.journal, &mut self.phase)?);
        self.close(now, After::More)?;
        self.packing.bring_back(slot(&mut self.journal, &mut self.phase)?);
        Ok(())
    }

    fn too_large(&self) -> PublishError {
        self.counters.events_too_large.add(1);
        PublishError::EventTooLarge {
            limit: self.config.packet_limit - HEADER_LEN - POSITION_LEN,
        }
    }
}

/// What source events are put into; lent by [`Publisher::event`].
#[derive(Debug)]
pub struct Sink<'p, L: Lines> {
    publisher: &'p mut Publisher<L>,
    now: u64,
}

impl<L: Lines> EventSink for Sink<'_, L> {
    #[inline(always)]
    fn push<M: Message>(&mut self, message: &M) {
        self.publisher.push(message, self.now);
    }

    #[inline]
    fn push_frame(&mut self, frame: &Frame<'_>) {
        self.publisher.push_frame(frame, self.now);
    }

    #[inline(always)]
    fn end_event(&mut self, source: u16, position: u64) {
        self.publisher.end_event(source, position, self.now);
    }
}
