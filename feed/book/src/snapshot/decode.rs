//! From bytes to books. Bytes are hostile until the last check: every count is held to the bytes that are there before
//! anything is made of it, and only what this build would write itself is taken.

use super::layout::{
    Header, InstrumentHead, LevelHead, MAGIC, OrderEntry, POSITION, STATUS, SourceEntry, TalliesEntry, VALID,
    VERSION, checksum,
};
use super::{Place, Snapshot, SnapshotError};
use crate::book::{Last, Tallies, Traded};
use crate::{Books, SourceState};
use twinline_wire::market::{BestBidOffer, Imbalance, InstrumentDefinition, PriceTick, Trade, TradingStatus};
use twinline_wire::{Message, U32};
use zerocopy::FromBytes;

/// No count is higher: so counting on does not overflow.
const MOST: u64 = u64::MAX / 2;

/// Reads a snapshot.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
    let (header, rest) = Header::ref_from_prefix(bytes).map_err(|_| SnapshotError::Truncated)?;
    if header.magic != MAGIC {
        return Err(SnapshotError::Magic);
    }
    if header.version.get() != VERSION {
        return Err(SnapshotError::Version(header.version.get()));
    }
    match header.length.get().cmp(&(bytes.len() as u64)) {
        std::cmp::Ordering::Greater => return Err(SnapshotError::Truncated),
        std::cmp::Ordering::Less => return Err(SnapshotError::Trailing),
        std::cmp::Ordering::Equal => {}
    }
    if header.checksum.get() != checksum(bytes) {
        return Err(SnapshotError::Checksum);
    }
    let place = Place {
        channel: header.channel.get(),
        session: header.session.get(),
        epoch: header.epoch.get(),
        epoch_base: header.epoch_base.get(),
        sequence: header.sequence.get(),
    };
    let zero = place.session == 0 || place.epoch == 0 || place.epoch_base == 0 || place.sequence == 0;
    if header.flags & !VALID != 0 || header.spare != [0; 3] || zero {
        return Err(SnapshotError::Malformed("a header that no writer makes"));
    }
    let mut reader = Reader(rest);
    let books = reader.books(header)?;
    if !reader.0.is_empty() {
        return Err(SnapshotError::Malformed("bytes behind the last record"));
    }
    Ok(Snapshot { place, books })
}

/// The bytes that are not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<T: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned>(
        &mut self,
    ) -> Result<&'a T, SnapshotError> {
        let (value, rest) = T::ref_from_prefix(self.0)
            .map_err(|_| SnapshotError::Malformed("a count that the bytes do not hold"))?;
        self.0 = rest;
        Ok(value)
    }

    fn books(&mut self, header: &Header) -> Result<Books, SnapshotError> {
        let mut books = Books::new();
        books.valid = header.flags & VALID != 0;
        for _ in 0..header.sources.get() {
            let source = self.source()?;
            if books
                .sources
                .last()
                .is_some_and(|last| last.source >= source.source)
            {
                return Err(SnapshotError::Malformed("sources out of order"));
            }
            books.sources.push(source);
        }
        // No more than the bytes can hold, whatever the header says.
        let most = self.0.len() / size_of::<OrderEntry>();
        books.reserve(most.min(usize::try_from(header.orders.get()).unwrap_or(most)));
        let mut last = None;
        for _ in 0..header.instruments.get() {
            let instrument = self.instrument(&mut books)?;
            if last.is_some_and(|last| last >= instrument) {
                return Err(SnapshotError::Malformed("instruments out of order"));
            }
            last = Some(instrument);
        }
        if books.live_orders() as u64 != header.orders.get() {
            return Err(SnapshotError::Malformed("another number of orders"));
        }
        Ok(books)
    }

    fn source(&mut self) -> Result<SourceState, SnapshotError> {
        let entry: &SourceEntry = self.take()?;
        let position = entry.position.get();
        let has_position = entry.present & POSITION != 0;
        if entry.present & !(POSITION | STATUS) != 0 || entry.spare != 0 || (!has_position && position != 0) {
            return Err(SnapshotError::Malformed("a source that no writer makes"));
        }
        let number = u32::from(entry.source.get()) << 16;
        let status = match entry.present & STATUS {
            0 => None,
            _ => self.block(number, |status: &TradingStatus| status.instrument)?,
        };
        Ok(SourceState {
            source: entry.source.get(),
            position: has_position.then_some(position),
            status,
        })
    }

    /// A message, which must be about this instrument.
    fn block<M: Message>(
        &mut self,
        instrument: u32,
        about: impl Fn(&M) -> U32,
    ) -> Result<Option<M>, SnapshotError> {
        let message: &M = self.take()?;
        if about(message).get() != instrument {
            return Err(SnapshotError::Malformed("a message about another instrument"));
        }
        Ok(Some(*message))
    }

    fn instrument(&mut self, books: &mut Books) -> Result<u32, SnapshotError> {
        let head: &InstrumentHead = self.take()?;
        if head.spare != [0; 3] || head.present >> 6 != 0 {
            return Err(SnapshotError::Malformed("an instrument that no writer makes"));
        }
        let instrument = head.instrument.get();
        let known = books.books.len();
        let book = books.book_index(instrument);
        if book as usize != known {
            return Err(SnapshotError::Malformed("an instrument twice"));
        }
        let last = self.last(instrument, head.present)?;
        self.ladder(books, book, 0, head.bid_levels.get())?;
        self.ladder(books, book, 1, head.offer_levels.get())?;
        let tallies: &TalliesEntry = self.take()?;
        if head.trades.get() > MOST || !tallies.all().iter().all(|count| count.get() <= MOST) {
            return Err(SnapshotError::Malformed("a count that nobody reaches"));
        }
        let state = &mut books.books[book as usize];
        state.traded = Traded {
            trades: head.trades.get(),
            volume: head.volume.get(),
        };
        state.last = last;
        state.tallies = Tallies {
            changes: tallies.changes.get(),
            unseen_orders: tallies.unseen_orders.get(),
            duplicate_orders: tallies.duplicate_orders.get(),
            zero_quantities: tallies.zero_quantities.get(),
            over_reductions: tallies.over_reductions.get(),
            senseless: tallies.senseless.get(),
            trade_cancels: tallies.trade_cancels.get(),
        };
        state.best = state.best_now(&books.store);
        Ok(instrument)
    }

    fn last(&mut self, instrument: u32, present: u8) -> Result<Last, SnapshotError> {
        let is_there = |bit: u8| present & 1 << bit != 0;
        let mut last = Last::default();
        if is_there(0) {
            last.definition = self.block(instrument, |m: &InstrumentDefinition| m.instrument)?;
        }
        if is_there(1) {
            last.status = self.block(instrument, |m: &TradingStatus| m.instrument)?;
        }
        if is_there(2) {
            last.tick = self.block(instrument, |m: &PriceTick| m.instrument)?;
        }
        if is_there(3) {
            last.trade = self.block(instrument, |m: &Trade| m.instrument)?;
        }
        if is_there(4) {
            last.quote = self.block(instrument, |m: &BestBidOffer| m.instrument)?;
        }
        if is_there(5) {
            last.imbalance = self.block(instrument, |m: &Imbalance| m.instrument)?;
        }
        Ok(last)
    }

    /// The levels of one side, the best first.
    fn ladder(&mut self, books: &mut Books, book: u32, side: u8, levels: u32) -> Result<(), SnapshotError> {
        // Read from the best on, built from the worst on: so each level is put where the ladder is shortest to move.
        let mut heads = Vec::new();
        let mut before = None;
        for _ in 0..levels {
            let head: &LevelHead = self.take()?;
            let key = crate::ladder::key(side, head.price.mantissa());
            if before.is_some_and(|before| key >= before) {
                return Err(SnapshotError::Malformed("price levels out of order"));
            }
            before = Some(key);
            let bytes = (head.orders.get() as usize)
                .checked_mul(size_of::<OrderEntry>())
                .filter(|bytes| *bytes > 0);
            let Some((orders, rest)) = bytes.and_then(|bytes| self.0.split_at_checked(bytes)) else {
                return Err(SnapshotError::Malformed("a count that the bytes do not hold"));
            };
            self.0 = rest;
            heads.push((key, orders));
        }
        for (key, orders) in heads.into_iter().rev() {
            let orders = <[OrderEntry]>::ref_from_bytes(orders)
                .map_err(|_| SnapshotError::Malformed("a count that the bytes do not hold"))?;
            books.put_in_level(book, side, key, orders)?;
        }
        Ok(())
    }
}

impl Books {
    /// Puts a level with its orders in.
    fn put_in_level(
        &mut self,
        book: u32,
        side: u8,
        key: i64,
        orders: &[OrderEntry],
    ) -> Result<(), SnapshotError> {
        let state = &mut self.books[book as usize];
        let instrument = state.instrument;
        let level = state.ladders[usize::from(side)].level(&mut self.store, book, side, key);
        for order in orders {
            let (id, quantity) = (order.order_id.get(), order.quantity.get());
            if quantity == 0 || self.store.find(instrument, id).is_some() {
                return Err(SnapshotError::Malformed("an order twice, or without a quantity"));
            }
            self.store
                .enter(instrument, id, quantity, order.participant, level);
        }
        Ok(())
    }
}
