//! The open packet: messages go straight into the journal's slot, and source events stay whole.
//!
//! All messages of one source event, and the position behind it, share one packet. So the packet remembers where its
//! last whole event ends; an event that does not fit behind that is set aside (the only copy there is), the packet is
//! closed without it, and it goes to the next one. Room for the closing positions is kept free throughout.

use core::marker::PhantomData;
use serde::{Deserialize, Serialize};
use twinline_wire::header::HEADER_LEN;
use twinline_wire::market::InstrumentDefinition;
use twinline_wire::message::FRAME_HEADER_LEN;
use twinline_wire::session::SourcePosition;
use twinline_wire::{EventFlags, Frame, Message, OpenPacket, U16, U64};

/// Bytes that the closing position of one source takes.
pub(super) const POSITION_LEN: usize = SourcePosition::FRAME_LEN;

/// Sources that a publisher can have without allocating while it runs.
pub(super) const SOURCES: usize = 64;

/// [`MessageDef::flags_offset`] of a template, found at compile time.
pub(super) struct FlagsOf<M>(PhantomData<M>);

impl<M: Message> FlagsOf<M> {
    /// Bytes from the start of the frame; `None` if `M` is no market message.
    pub(super) const AT: Option<usize> = match M::DEF.flags_offset() {
        Some(offset) => Some(FRAME_HEADER_LEN + offset),
        None => None,
    };

    /// True if `message` is marked as the last of its event.
    #[inline]
    pub(super) fn is_last(message: &M) -> bool {
        let flags = Self::AT.and_then(|at| message.as_bytes().get(at - FRAME_HEADER_LEN));
        flags.is_some_and(|flags| flags & EventFlags::END_OF_EVENT.0 != 0)
    }
}

/// How far into a source the stream reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The source.
    pub source: u16,
    /// Source messages consumed: where reading goes on.
    pub position: u64,
}

/// A source's position, and whether the open packet holds messages of it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Position,
    in_packet: bool,
    /// Up to here its messages are in closed packets.
    closed: u64,
}

/// The open packet.
#[derive(Debug)]
pub(super) struct Packing {
    /// Everything pushed, the current event's messages too.
    open: OpenPacket,
    /// As it was after the last whole event.
    whole: OpenPacket,
    /// Where in the slot the last message's flags are; 0: its source has marked it as the event's last already.
    flags_at: usize,
    /// Whole events with messages in the packet.
    events: u64,
    /// Most bytes that a packet may have.
    limit: usize,
    /// Where messages end at most: the closing positions come behind.
    room: usize,
    entries: Vec<Entry>,
    /// Entries that are `in_packet`.
    sources: usize,
    /// The entry of the source that spoke last.
    recent: usize,
    /// The current event's frames while it changes packets.
    aside: Vec<u8>,
}

impl Packing {
    /// An empty packet of at most `limit` bytes.
    pub(super) fn new(limit: usize, positions: &[Position]) -> Self {
        let mut entries = Vec::with_capacity(SOURCES.max(positions.len()));
        entries.extend(positions.iter().map(|&at| Entry {
            at,
            in_packet: false,
            closed: at.position,
        }));
        Self {
            open: OpenPacket::new(),
            whole: OpenPacket::new(),
            flags_at: 0,
            events: 0,
            limit,
            room: limit - POSITION_LEN,
            entries,
            sources: 0,
            recent: 0,
            aside: Vec::with_capacity(limit),
        }
    }

    /// The newest position of every source known, whether it is published already or not.
    pub(super) fn positions(&self) -> impl Iterator<Item = Position> {
        self.entries.iter().map(|entry| entry.at)
    }

    /// What is known of `source`. Most often it is the one that spoke last.
    #[inline]
    fn entry(&self, source: u16) -> Option<&Entry> {
        let is_of = |entry: &&Entry| entry.at.source == source;
        let recent = self.entries.get(self.recent).filter(is_of);
        recent.or_else(|| self.entries.iter().find(is_of))
    }

    /// The newest position of `source`, whether it is published already or not; 0 if it is not known.
    #[inline]
    pub(super) fn position(&self, source: u16) -> u64 {
        self.entry(source).map_or(0, |entry| entry.at.position)
    }

    /// How far closed packets reach into `source`; 0 if it is not known.
    #[inline]
    pub(super) fn closed(&self, source: u16) -> u64 {
        self.entry(source).map_or(0, |entry| entry.closed)
    }

    /// True if the packet holds no whole event.
    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_empty()
    }

    /// Sequences that the packet takes if it is closed now.
    pub(super) fn sequences(&self) -> u64 {
        u64::from(self.whole.count()) + self.sources as u64
    }

    /// Most messages that a packet of this limit can hold.
    pub(super) fn most_messages(&self) -> u64 {
        ((self.limit - HEADER_LEN) / POSITION_LEN) as u64
    }

    /// Appends a market message to the current event; false, with nothing changed, if the packet has no room for it.
    #[inline(always)]
    pub(super) fn push<M: Message>(&mut self, slot: &mut [u8], message: &M) -> bool {
        let at = self.open.len();
        if !self.open.push(&mut slot[..self.room], message) {
            return false;
        }
        self.flags_at = match FlagsOf::<M>::AT {
            Some(flags) if !FlagsOf::is_last(message) => at + flags,
            _ => 0,
        };
        true
    }

    /// [`push`](Self::push) of a framed market message whose event flags stand at `flags_at` in its block.
    #[inline]
    pub(super) fn push_frame(&mut self, slot: &mut [u8], frame: &Frame<'_>, flags_at: usize) -> bool {
        let at = self.open.len();
        if !self.open.push_frame(&mut slot[..self.room], frame.bytes()) {
            return false;
        }
        self.flags_at = at + FRAME_HEADER_LEN + flags_at;
        true
    }

    /// True if the current event is as most are: it has messages, its source was also the last one's, and there is room for
    /// the position. Then [`mark`](Self::mark) and [`note`](Self::note) end it.
    #[inline]
    pub(super) fn is_usual(&self, source: u16) -> bool {
        let entry = self.entries.get(self.recent);
        entry.is_some_and(|entry| {
            entry.at.source == source && (entry.in_packet || self.has_room_for_another())
        }) && self.open.count() != self.whole.count()
    }

    /// True if the position of one more source fits the packet.
    #[inline]
    fn has_room_for_another(&self) -> bool {
        self.open.len() + POSITION_LEN * (self.sources + 1) <= self.limit
    }

    /// True if the source has marked the current event's last message as such itself.
    #[inline]
    pub(super) fn is_marked(&self) -> bool {
        self.flags_at == 0
    }

    /// Marks the current event's last message as such, where its source has not.
    #[inline]
    pub(super) fn mark(&self, slot: &mut [u8]) {
        if !self.is_marked() {
            slot[self.flags_at] |= EventFlags::END_OF_EVENT.0;
        }
    }

    /// Notes that the current event, which has messages of the source that spoke last, is complete.
    #[inline]
    pub(super) fn note(&mut self, position: u64) {
        let entry = &mut self.entries[self.recent];
        entry.at.position = position;
        if !entry.in_packet {
            entry.in_packet = true;
            self.set_sources(self.sources + 1);
        }
        self.events += 1;
        self.whole = self.open;
    }

    /// Ends the current event; false, with nothing changed, if its position does not fit the packet any more.
    pub(super) fn end_event(&mut self, slot: &mut [u8], source: u16, position: u64) -> bool {
        let silent = self.open.count() == self.whole.count();
        let known = self.entries.iter().position(|entry| entry.at.source == source);
        let listed = known.is_some_and(|index| self.entries[index].in_packet);
        if !silent && !listed && !self.has_room_for_another() {
            return false;
        }
        self.recent = known.unwrap_or_else(|| {
            self.entries.push(Entry {
                at: Position { source, position },
                in_packet: false,
                closed: 0,
            });
            self.entries.len() - 1
        });
        if silent {
            self.entries[self.recent].at.position = position;
            return true;
        }
        self.mark(slot);
        self.note(position);
        true
    }

    #[inline]
    fn set_sources(&mut self, sources: usize) {
        self.sources = sources;
        self.room = self.limit - POSITION_LEN * sources.max(1);
    }

    /// Lists the sources that got further without a message in the packet, as many as fit it; false if there are none.
    /// The packet must be empty.
    pub(super) fn list_silent(&mut self) -> bool {
        let fit = (self.limit - HEADER_LEN) / POSITION_LEN - self.sources;
        let silent = |entry: &&mut Entry| !entry.in_packet && entry.at.position > entry.closed;
        let silent = self.entries.iter_mut().filter(silent);
        let listed = silent.take(fit).map(|entry| entry.in_packet = true).count();
        self.set_sources(self.sources + listed);
        self.sources > 0
    }

    /// Takes back the messages of an event that was not ended.
    pub(super) fn drop_event(&mut self) {
        self.open = self.whole;
    }

    /// Takes the current event's messages out of the packet, for [`bring_back`](Self::bring_back).
    pub(super) fn set_aside(&mut self, slot: &[u8]) {
        self.aside.clear();
        self.aside
            .extend_from_slice(&slot[self.whole.len()..self.open.len()]);
        if !self.is_marked() {
            self.flags_at -= self.whole.len() - HEADER_LEN;
        }
        self.open = self.whole;
    }

    /// Puts what was set aside into the packet, which is a new one.
    pub(super) fn bring_back(&mut self, slot: &mut [u8]) {
        let mut rest = &self.aside[..];
        while let Some((frame, after)) = Frame::split(rest) {
            self.open.push_frame(slot, frame.bytes());
            rest = after;
        }
    }

    /// True if a message of this type may be a packet by itself, as [`alone`](Self::alone) makes it: nothing is in the open one,
    /// `source` was also the last one's, and the message is market data that names nothing.
    #[inline]
    pub(super) fn takes_alone<M: Message>(&self, source: u16) -> bool {
        let is_market = FlagsOf::<M>::AT.is_some() && M::TEMPLATE != InstrumentDefinition::TEMPLATE;
        let recent = self.entries.get(self.recent);
        is_market
            && self.open.is_empty()
            && self.sources == 0
            && recent.is_some_and(|entry| entry.at.source == source)
    }

    /// A packet of one message, the next event of the source that spoke last, which it [may be](Self::takes_alone).
    #[inline(always)]
    pub(super) fn alone<M: Message>(&mut self, slot: &mut [u8], message: &M) -> OpenPacket {
        let entry = &mut self.entries[self.recent];
        entry.at.position += 1;
        entry.closed = entry.at.position;
        let position = SourcePosition {
            position: U64::new(entry.at.position),
            source: U16::new(entry.at.source),
        };
        let slot = &mut slot[..HEADER_LEN + M::FRAME_LEN + POSITION_LEN];
        let mut packet = OpenPacket::new();
        let fits = packet.push(slot, message);
        if let Some(at) = FlagsOf::<M>::AT {
            slot[HEADER_LEN + at] |= EventFlags::END_OF_EVENT.0;
        }
        let fits = fits && packet.push(slot, &position);
        debug_assert!(
            fits,
            "the smallest packet has room for any message and its position"
        );
        packet
    }

    /// Closes the packet with the position of each source that it holds messages of. Returns it and the number of
    /// whole source events in it; a new packet is open.
    #[inline]
    pub(super) fn close(&mut self, slot: &mut [u8]) -> (OpenPacket, u64) {
        let mut packet = self.whole;
        for entry in self.entries.iter_mut().filter(|entry| entry.in_packet) {
            entry.in_packet = false;
            entry.closed = entry.at.position;
            let message = SourcePosition {
                position: U64::new(entry.at.position),
                source: U16::new(entry.at.source),
            };
            let fits = packet.push(&mut slot[..self.limit], &message);
            debug_assert!(fits, "room for positions is kept free");
        }
        let events = core::mem::take(&mut self.events);
        self.set_sources(0);
        self.whole = OpenPacket::new();
        self.open = OpenPacket::new();
        (packet, events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinline_wire::message::TEMPLATES;

    #[test]
    fn market_messages_have_event_flags_and_no_others_do() {
        for definition in TEMPLATES {
            let market = (10..60).contains(&definition.template);
            assert_eq!(definition.flags_offset().is_some(), market, "{}", definition.name);
        }
    }

    #[test]
    fn the_smallest_packet_limit_holds_any_market_message_and_its_position() {
        let longest = TEMPLATES
            .iter()
            .filter(|def| (10..60).contains(&def.template))
            .map(|def| FRAME_HEADER_LEN + def.block_length)
            .max();
        assert!(HEADER_LEN + longest.unwrap_or(0) + POSITION_LEN <= super::super::MIN_PACKET_LIMIT);
    }
}
