//! Spreads one source's events over the channels, in the source's thread.
//!
//! An instrument stays on the channel that named it first: what channels have in their journals counts before the rule.
//! The messages that one event has for a channel stay one event there, with the event's position. Each channel is given
//! only what its own journal does not have yet.

use super::queue::{FULL, Handed, Writer};
use super::spread::Spread;
use crate::source::EventSink;
use std::collections::HashMap;
use twinline_wire::market::InstrumentDefinition;
use twinline_wire::message::{FrameHeader, SbeHeader, view_block};
use twinline_wire::session::SourcePosition;
use twinline_wire::{Frame, Message, U16, U64};
use zerocopy::IntoBytes;

/// Instruments of a source.
const NUMBERS: usize = 1 << 16;

/// No channel yet.
const NOWHERE: u16 = u16::MAX;

/// A channel as a source sees it.
#[derive(Debug)]
struct Output {
    writer: Writer,
    /// Up to here its journal has the source already.
    from: u64,
    /// Where the current event begins in the open batch.
    event: usize,
    /// The newest position that it was told.
    told: u64,
}

/// The router of one source.
#[derive(Debug)]
pub(super) struct Router<'r> {
    source: u16,
    spread: &'r Spread,
    channels: &'r [u16],
    outputs: Vec<Output>,
    /// The place of the channel of each of the source's own numbers.
    own: Vec<u16>,
    /// The same for instruments that carry another source's number.
    foreign: HashMap<u32, usize>,
    position: u64,
    refused: Option<&'static str>,
}

impl<'r> Router<'r> {
    /// For the source `source`; a writer and the position held for each of `channels`, in order.
    pub(super) fn new(
        source: u16,
        spread: &'r Spread,
        channels: &'r [u16],
        writers: Vec<(Writer, u64)>,
    ) -> Self {
        let output = |(writer, from)| Output {
            writer,
            from,
            event: 0,
            told: from,
        };
        Self {
            source,
            spread,
            channels,
            outputs: writers.into_iter().map(output).collect(),
            own: vec![NOWHERE; NUMBERS],
            foreign: HashMap::new(),
            position: 0,
            refused: None,
        }
    }

    /// `instrument` is named in the journal of the channel at `place` already.
    pub(super) fn keep(&mut self, instrument: u32, place: usize) {
        if instrument >> 16 == u32::from(self.source) {
            self.own[instrument as usize % NUMBERS] = place as u16;
        } else {
            self.foreign.insert(instrument, place);
        }
    }

    /// The least position that channels hold: where the source is to be resumed.
    pub(super) fn resume_at(&self) -> u64 {
        let held = self.outputs.iter().map(|output| output.from).min().unwrap_or(0);
        // All of them complete: nothing more is asked for.
        if held == u64::MAX { 0 } else { held }
    }

    /// True if no channel needs anything of the source: all are complete.
    pub(super) fn is_complete(&self) -> bool {
        self.outputs.iter().all(|output| output.from == u64::MAX)
    }

    /// The least position that is in the channels' journals.
    pub(super) fn committed(&self) -> u64 {
        let committed = self.outputs.iter().map(|output| output.writer.committed());
        committed.min().unwrap_or(0)
    }

    /// The place of the channel of `instrument`; the symbol is there if this message names it.
    #[inline]
    fn place(&mut self, instrument: u32, symbol: Option<&str>) -> usize {
        let own = instrument >> 16 == u32::from(self.source);
        let known = if own {
            Some(self.own[instrument as usize % NUMBERS])
                .filter(|&at| at != NOWHERE)
                .map(usize::from)
        } else {
            self.foreign.get(&instrument).copied()
        };
        known.unwrap_or_else(|| {
            let place = match symbol {
                Some(symbol) => self.spread.of_symbol(symbol, self.channels),
                None => self.spread.of_number(instrument, self.channels),
            };
            self.keep(instrument, place);
            place
        })
    }

    /// Puts a message, in pieces, where it belongs. Without an instrument, or with the number that stands for all of the
    /// source's, it concerns all channels.
    #[inline]
    fn put(&mut self, pieces: [&[u8]; 2], instrument: Option<u32>, symbol: Option<&str>) {
        let outputs = match instrument.filter(|number| number % NUMBERS as u32 != 0) {
            Some(number) => {
                let place = self.place(number, symbol);
                &mut self.outputs[place..=place]
            }
            None => &mut self.outputs[..],
        };
        for output in outputs {
            for piece in pieces {
                output.writer.open.bytes.extend_from_slice(piece);
            }
        }
    }

    /// Takes back what belongs to no whole event. The name of a message that is not for sources to say, if there was one.
    #[inline]
    pub(super) fn end_poll(&mut self) -> Option<&'static str> {
        for output in &mut self.outputs {
            output.writer.open.bytes.truncate(output.event);
        }
        self.refused.take()
    }

    /// Tells channels that the source said nothing to how far it is.
    pub(super) fn tell_positions(&mut self) {
        let (source, position) = (self.source, self.position);
        for output in &mut self.outputs {
            if output.told < position {
                output.end(source, position);
            }
        }
    }

    /// Hands over what channels wait for, and with `all` everything; false if a channel is behind that must take its batch
    /// before there is more.
    #[inline]
    pub(super) fn hand_over(&mut self, all: bool) -> bool {
        let mut done = true;
        for output in &mut self.outputs {
            let length = output.writer.open.bytes.len();
            if length == 0 {
                continue;
            }
            let must = all || length >= FULL;
            if must || output.writer.is_awaited() {
                done &= output.hand_over() || !must;
            }
        }
        done
    }

    /// Hands over the last batch of each channel; false if one is behind.
    pub(super) fn hand_over_last(&mut self) -> bool {
        let mut done = true;
        for output in &mut self.outputs {
            if output.told != u64::MAX {
                output.writer.open.last = true;
                let over = output.hand_over();
                if over {
                    output.told = u64::MAX;
                }
                done &= over;
            }
        }
        done
    }
}

impl Output {
    /// Hands the open batch over; false if the channel is behind.
    fn hand_over(&mut self) -> bool {
        match self.writer.hand_over() {
            Handed::Over => {}
            Handed::Full => return false,
            // The channel's own error says why, and ends the run.
            Handed::Gone => self.writer.open.bytes.clear(),
        }
        self.event = 0;
        true
    }

    /// Ends the current event, which may be empty.
    #[inline]
    fn end(&mut self, source: u16, position: u64) {
        let end = SourcePosition {
            position: U64::new(position),
            source: U16::new(source),
        };
        let bytes = &mut self.writer.open.bytes;
        bytes.extend_from_slice(header::<SourcePosition>().as_bytes());
        bytes.extend_from_slice(end.as_bytes());
        self.event = bytes.len();
        self.told = position;
    }
}

fn header<M: Message>() -> FrameHeader {
    FrameHeader {
        length: U16::new(M::FRAME_LEN as u16),
        sbe: SbeHeader::of::<M>(),
    }
}

fn number(block: &[u8], at: usize) -> Option<u32> {
    let bytes = block.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

impl EventSink for Router<'_> {
    #[inline]
    fn push<M: Message>(&mut self, message: &M) {
        if !is_market(M::TEMPLATE) {
            self.refused = Some(M::DEF.name);
            return;
        }
        let block = message.as_bytes();
        let instrument = const { M::DEF.instrument_offset() }.and_then(|at| number(block, at));
        let header = header::<M>();
        let pieces = [header.as_bytes(), block];
        if M::TEMPLATE == InstrumentDefinition::TEMPLATE {
            let named = view_block::<InstrumentDefinition>(block);
            self.put(pieces, instrument, Some(named.symbol.as_str()));
        } else {
            self.put(pieces, instrument, None);
        }
    }

    fn push_frame(&mut self, frame: &Frame<'_>) {
        let definition = frame.definition().filter(|def| is_market(def.template));
        let Some(definition) = definition else {
            self.refused = Some(
                frame
                    .definition()
                    .map_or("a template of another schema", |def| def.name),
            );
            return;
        };
        let instrument = definition
            .instrument_offset()
            .and_then(|at| number(frame.block(), at));
        let named = frame.view::<InstrumentDefinition>();
        let symbol = named.as_ref().map(|named| named.symbol.as_str());
        self.put([frame.bytes(), &[]], instrument, symbol);
    }

    #[inline]
    fn end_event(&mut self, source: u16, position: u64) {
        self.position = position;
        for output in &mut self.outputs {
            let length = output.writer.open.bytes.len();
            if length == output.event {
                continue;
            }
            if position <= output.from {
                output.writer.open.bytes.truncate(output.event);
            } else {
                output.end(source, position);
            }
        }
    }
}

/// True for what sources may say; the publisher has the last word.
const fn is_market(template: u16) -> bool {
    template >= 10 && template < 60
}
