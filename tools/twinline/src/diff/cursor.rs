//! Reading a journal message by message, for comparing: one message lent at a time, a listener's notices taken aside.

use super::compare::{Entry, Range, Replaced};
use crate::exit::Failure;
use std::ops::RangeInclusive;
use std::path::Path;
use twinline_journal::{JournalReader, Region};
use twinline_wire::header::align_up;
use twinline_wire::market::{InstrumentDefinition, UnseenOrder};
use twinline_wire::session::{Lost, StateReplaced, Void};
use twinline_wire::{Frame, Message, Packet, flags};

/// Bytes of packets taken from a journal at a time.
const REGION: usize = 1 << 20;

/// Templates that carry what a source said. The others are the publisher's own: epochs, sessions, positions.
const SOURCE_TEMPLATES: RangeInclusive<u16> = InstrumentDefinition::TEMPLATE..=UnseenOrder::TEMPLATE;

/// True for a message that a source said.
pub(super) fn is_source(template: u16) -> bool {
    SOURCE_TEMPLATES.contains(&template)
}

/// What of a journal is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Every message, under its own session, epoch and sequence.
    Everything,
    /// What sources said, numbered through: for two runs of one source.
    SourceMessages,
}

/// Where a packet's messages are in the region.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The message's own frame.
    begin: usize,
    end: usize,
    session: u32,
    epoch: u32,
    sequence: u64,
    template: u16,
}

/// A place in a journal.
pub(super) struct Cursor {
    reader: JournalReader,
    scope: Scope,
    region: Option<Region>,
    /// Where the next packet begins in the region.
    next_packet: usize,
    /// Messages of the current packet that are still to come, last one first.
    messages: Vec<Place>,
    current: Option<Place>,
    /// Void notices passed and not yet asked for.
    voids: Vec<Range>,
    /// Counts by template id; the last for all ids beyond.
    templates: Vec<u64>,
    /// What notices declare lost.
    pub(super) lost: Vec<Range>,
    /// States that notices say replaced the listener's own.
    pub(super) replaced: Vec<Replaced>,
    /// Source messages passed.
    sources: u64,
    /// Packets with messages passed.
    pub(super) packets: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

impl Cursor {
    /// At the oldest message of the journal in `dir`.
    pub(super) fn open(dir: &Path, scope: Scope) -> Result<Self, Failure> {
        let mut reader = JournalReader::open(dir)?;
        reader.seek_oldest()?;
        let mut cursor = Self {
            reader,
            scope,
            region: None,
            next_packet: 0,
            messages: Vec::new(),
            current: None,
            voids: Vec::new(),
            templates: vec![0; 256],
            lost: Vec::new(),
            replaced: Vec::new(),
            sources: 0,
            packets: 0,
            bytes: 0,
        };
        cursor.advance()?;
        Ok(cursor)
    }

    /// The message; `None` at the end.
    pub(super) fn peek(&self) -> Option<Entry<'_>> {
        let (place, region) = (self.current?, self.region.as_ref()?);
        Some(Entry {
            session: place.session,
            epoch: place.epoch,
            sequence: place.sequence,
            bytes: &region[place.begin..place.end],
        })
    }

    /// Goes to the next message.
    pub(super) fn advance(&mut self) -> Result<(), Failure> {
        loop {
            while let Some(mut place) = self.messages.pop() {
                self.templates[usize::from(place.template).min(255)] += 1;
                if is_source(place.template) {
                    self.sources += 1;
                }
                if self.scope == Scope::SourceMessages {
                    if !is_source(place.template) {
                        continue;
                    }
                    (place.session, place.epoch, place.sequence) = (0, 0, self.sources);
                }
                self.current = Some(place);
                return Ok(());
            }
            if !self.read_packet()? {
                self.current = None;
                return Ok(());
            }
        }
    }

    /// Void ranges that notices before the current message declare, each once.
    pub(super) fn voids(&mut self) -> impl Iterator<Item = Range> + '_ {
        self.voids.drain(..)
    }

    /// Messages by template id, the current one counted.
    pub(super) fn templates(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        (0..)
            .zip(self.templates.iter().copied())
            .filter(|(_, count)| *count > 0)
    }

    /// Takes up the next packet; false at the end.
    fn read_packet(&mut self) -> Result<bool, Failure> {
        while self
            .region
            .as_ref()
            .is_none_or(|region| self.next_packet >= region.len())
        {
            self.region = self.reader.next_region(REGION)?;
            self.next_packet = 0;
            if self.region.is_none() {
                return Ok(false);
            }
        }
        let Some(region) = &self.region else {
            return Ok(false);
        };
        let begin = self.next_packet;
        let packet = Packet::parse_prefix(&region[begin..]).map_err(|error| {
            Failure::error(format!(
                "a journalled packet is damaged ({error}): run `twinline journal verify` on both journals"
            ))
        })?;
        self.next_packet = align_up(begin + packet.bytes().len());
        if packet.header().flags & flags::LOCAL != 0 {
            for (_, frame) in packet.messages() {
                self.lost.extend(lost_by(&packet, &frame));
                self.replaced.extend(replaced_by(&packet, &frame));
                self.voids.extend(void_by(&packet, &frame));
            }
            return Ok(true);
        }
        self.packets += 1;
        self.bytes += packet.bytes().len() as u64;
        let (session, epoch) = (packet.header().session.get(), packet.header().epoch.get());
        let base = region.as_ptr().addr();
        self.messages.extend(packet.messages().map(|(sequence, frame)| {
            let begin = frame.bytes().as_ptr().addr() - base;
            Place {
                begin,
                end: begin + frame.bytes().len(),
                session,
                epoch,
                sequence,
                template: frame.template(),
            }
        }));
        self.messages.reverse();
        Ok(true)
    }
}

/// The range that a notice declares lost.
fn lost_by(packet: &Packet<'_>, frame: &Frame<'_>) -> Option<Range> {
    let lost = frame.view::<Lost>()?;
    Some(Range {
        session: packet.header().session.get(),
        begin: lost.begin.get(),
        end: lost.end.get(),
    })
}

/// The state that a notice says replaced the listener's own.
fn replaced_by(packet: &Packet<'_>, frame: &Frame<'_>) -> Option<Replaced> {
    let replaced = frame.view::<StateReplaced>()?;
    Some(Replaced {
        session: packet.header().session.get(),
        epoch: replaced.epoch.get(),
        sequence: replaced.sequence.get(),
    })
}

/// The range that a notice declares void.
fn void_by(packet: &Packet<'_>, frame: &Frame<'_>) -> Option<Range> {
    let void = frame.view::<Void>()?;
    Some(Range {
        session: packet.header().session.get(),
        begin: void.begin.get(),
        end: void.end.get(),
    })
}
