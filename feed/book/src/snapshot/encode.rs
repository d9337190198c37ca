//! From books to bytes: a snapshot, and the checksums that rest on the same bytes.

use super::Place;
use super::layout::{
    CHECKSUM_AT, Header, InstrumentHead, LevelHead, MAGIC, OrderEntry, POSITION, STATUS, SourceEntry,
    TalliesEntry, VALID, VERSION, checksum,
};
use crate::book::{BookState, Tallies};
use crate::ladder::price;
use crate::store::Store;
use crate::{Book, Books, SourceState};
use crc_fast::{CrcAlgorithm, checksum as crc};
use twinline_wire::{Message, U16, U32, U64};
use zerocopy::IntoBytes;

/// Bytes that an instrument takes besides its orders, about.
const INSTRUMENT_SIZE: usize = 256;

/// The state of all books as a snapshot that holds all valid messages below `place.sequence`.
pub fn encode(books: &Books, place: &Place) -> Vec<u8> {
    let mut order: Vec<&BookState> = books.books.iter().collect();
    order.sort_unstable_by_key(|state| state.instrument);
    let orders = books.live_orders() * size_of::<OrderEntry>();
    let mut out = Vec::with_capacity(orders + orders / 4 + order.len() * INSTRUMENT_SIZE + 4096);
    let mut header = Header {
        magic: MAGIC,
        version: U16::new(VERSION),
        channel: U16::new(place.channel),
        session: U32::new(place.session),
        epoch: U32::new(place.epoch),
        epoch_base: U64::new(place.epoch_base),
        sequence: U64::new(place.sequence),
        orders: U64::new(books.live_orders() as u64),
        instruments: U32::new(order.len() as u32),
        sources: U32::new(books.sources.len() as u32),
        flags: if books.valid { VALID } else { 0 },
        ..Header::default()
    };
    out.extend_from_slice(header.as_bytes());
    for source in &books.sources {
        put_source(&mut out, source);
    }
    for state in order {
        put_state(&mut out, state, &books.store);
        out.extend_from_slice(tallies(&state.tallies).as_bytes());
    }
    header.length = U64::new(out.len() as u64);
    out[..size_of::<Header>()].copy_from_slice(header.as_bytes());
    let sum = checksum(&out);
    out[CHECKSUM_AT..size_of::<Header>()].copy_from_slice(&sum.to_le_bytes());
    out
}

fn put_source(out: &mut Vec<u8>, source: &SourceState) {
    let bit = |is_there: bool, bit| if is_there { bit } else { 0 };
    let entry = SourceEntry {
        source: U16::new(source.source),
        present: bit(source.position.is_some(), POSITION) | bit(source.status.is_some(), STATUS),
        spare: 0,
        position: U64::new(source.position.unwrap_or(0)),
    };
    out.extend_from_slice(entry.as_bytes());
    put_block(out, source.status.as_ref());
}

/// All of a record but its tallies: what the checksum of a book is of.
fn put_state(out: &mut Vec<u8>, state: &BookState, store: &Store) {
    let last = &state.last;
    let present = [
        last.definition.is_some(),
        last.status.is_some(),
        last.tick.is_some(),
        last.trade.is_some(),
        last.quote.is_some(),
        last.imbalance.is_some(),
    ];
    let levels = |side: usize| U32::new(state.ladders[side].levels().len() as u32);
    let head = InstrumentHead {
        instrument: U32::new(state.instrument),
        present: present
            .iter()
            .rev()
            .fold(0, |bits, is_there| bits << 1 | u8::from(*is_there)),
        spare: [0; 3],
        bid_levels: levels(0),
        offer_levels: levels(1),
        trades: U64::new(state.traded.trades),
        volume: U64::new(state.traded.volume),
    };
    out.extend_from_slice(head.as_bytes());
    put_block(out, last.definition.as_ref());
    put_block(out, last.status.as_ref());
    put_block(out, last.tick.as_ref());
    put_block(out, last.trade.as_ref());
    put_block(out, last.quote.as_ref());
    put_block(out, last.imbalance.as_ref());
    for (side, ladder) in (0..).zip(&state.ladders) {
        for number in ladder.levels() {
            let level = store.level(number);
            let head = LevelHead {
                price: price(side, level.key),
                orders: U32::new(level.orders),
            };
            out.extend_from_slice(head.as_bytes());
            for order in store.queue_of(number) {
                let entry = OrderEntry {
                    order_id: U64::new(order.id),
                    quantity: U32::new(order.quantity),
                    participant: order.participant,
                };
                out.extend_from_slice(entry.as_bytes());
            }
        }
    }
}

fn put_block<M: Message>(out: &mut Vec<u8>, message: Option<&M>) {
    if let Some(message) = message {
        out.extend_from_slice(message.as_bytes());
    }
}

fn tallies(tallies: &Tallies) -> TalliesEntry {
    TalliesEntry {
        changes: U64::new(tallies.changes),
        unseen_orders: U64::new(tallies.unseen_orders),
        duplicate_orders: U64::new(tallies.duplicate_orders),
        zero_quantities: U64::new(tallies.zero_quantities),
        over_reductions: U64::new(tallies.over_reductions),
        senseless: U64::new(tallies.senseless),
        trade_cancels: U64::new(tallies.trade_cancels),
    }
}

impl Book<'_> {
    /// CRC-64/NVME of the book's record in a snapshot, without its tallies: equal for equal states, however they came
    /// about and wherever they lie in memory.
    pub fn checksum(&self) -> u64 {
        let mut record = Vec::new();
        put_state(&mut record, self.state, self.store);
        crc(CrcAlgorithm::Crc64Nvme, &record)
    }
}

impl Books {
    /// CRC-64/NVME of all that the books show: the checksums of all books by instrument, and the status of each source's
    /// market. Not of positions, which a replay of the same market in other packets has elsewhere.
    pub fn checksum(&self) -> u64 {
        let mut all = Vec::new();
        for book in self.sorted() {
            all.extend_from_slice(&book.instrument().to_le_bytes());
            all.extend_from_slice(&book.checksum().to_le_bytes());
        }
        for source in &self.sources {
            put_block(&mut all, source.status.as_ref());
        }
        crc(CrcAlgorithm::Crc64Nvme, &all)
    }
}
