//! The books of all instruments of one channel, and what each message does to them.

use crate::book::{BookState, Change};
use crate::ladder::{SIDES, key, price, side_index};
use crate::store::{Found, Store};
use crate::table::{Table, hash};
use twinline_wire::field::{EventFlags, Field, ModifyAction, Text, TradeKind};
use twinline_wire::market::{
    AddOrder, BestBidOffer, DeleteOrder, ExecuteOrder, Imbalance, InstrumentDefinition, ModifyOrder,
    PriceTick, ReplaceOrder, Trade, TradeCancel, TradingStatus,
};
use twinline_wire::message::view_block;
use twinline_wire::session::SourcePosition;
use twinline_wire::{Frame, Message, U64};

/// The books of one channel.
#[derive(Clone, Debug)]
pub struct Books {
    pub(crate) store: Store,
    pub(crate) books: Vec<BookState>,
    /// Books by instrument.
    table: Table,
    /// By number.
    pub(crate) sources: Vec<SourceState>,
    pub(crate) valid: bool,
}

/// What is known of a source.
#[derive(Clone, Copy, Debug)]
pub struct SourceState {
    /// Its number.
    pub source: u16,
    /// How far into it the messages reach.
    pub position: Option<u64>,
    /// The status of its whole market.
    pub status: Option<TradingStatus>,
}

impl Default for Books {
    fn default() -> Self {
        Self {
            store: Store::default(),
            books: Vec::new(),
            table: Table::default(),
            sources: Vec::new(),
            valid: true,
        }
    }
}

impl Books {
    /// Books before the first message: none, and valid.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for so many orders in all books, so that none of them has to wait for it.
    pub fn reserve(&mut self, orders: usize) {
        self.store.reserve(orders);
    }

    /// Applies a message as it stands in a packet. One that concerns no book is ignored. Says so if the best bid or
    /// offer of its instrument is another now.
    #[inline]
    pub fn apply(&mut self, frame: &Frame<'_>) -> Option<Change> {
        self.apply_block(frame.template(), frame.block())
    }

    /// The same for a message that is a struct.
    #[inline]
    pub fn apply_message<M: Message>(&mut self, message: &M) -> Option<Change> {
        self.apply_block(M::TEMPLATE, message.as_bytes())
    }

    // Inlined into each caller: where the template is known the choice is made by the compiler.
    #[inline(always)]
    fn apply_block(&mut self, template: u16, block: &[u8]) -> Option<Change> {
        match template {
            AddOrder::TEMPLATE => self.add(&view_block(block)),
            DeleteOrder::TEMPLATE => self.delete(&view_block(block)),
            ExecuteOrder::TEMPLATE => self.execute(&view_block(block)),
            ModifyOrder::TEMPLATE => self.modify(&view_block(block)),
            ReplaceOrder::TEMPLATE => self.replace(&view_block(block)),
            _ => self.apply_rare(template, block),
        }
    }

    /// Adds an order; one that has its number leaves first.
    #[inline]
    fn add(&mut self, m: &AddOrder) -> Option<Change> {
        let (instrument, id, quantity) = (m.instrument.get(), m.order_id.get(), m.quantity.get());
        let book = self.book_index(instrument);
        let Some(side) = side_index(m.side) else {
            self.books[book as usize].tallies.senseless += 1;
            return None;
        };
        if quantity == 0 {
            self.books[book as usize].tallies.zero_quantities += 1;
            return None;
        }
        if let Some(found) = self.store.find(instrument, id) {
            return self.add_again(book, side, found, m);
        }
        self.put_in(book, side, id, quantity, m.participant, m.price.mantissa());
        self.settle(book, side, m.source_time)
    }

    /// Adds an order under a number that the book has: the newer word counts, on whichever side.
    #[cold]
    fn add_again(&mut self, book: u32, side: u8, found: Found, m: &AddOrder) -> Option<Change> {
        self.books[book as usize].tallies.duplicate_orders += 1;
        self.take_out(found);
        let (id, quantity) = (m.order_id.get(), m.quantity.get());
        self.put_in(book, side, id, quantity, m.participant, m.price.mantissa());
        self.settle_both(book, m.source_time)
    }

    #[inline]
    fn delete(&mut self, m: &DeleteOrder) -> Option<Change> {
        let found = self.find(m.instrument.get(), m.order_id.get())?;
        let (book, side) = self.take_out(found);
        self.settle(book, side, m.source_time)
    }

    /// An execution that is printed is a trade too, at the order's price unless it names one.
    #[inline]
    fn execute(&mut self, m: &ExecuteOrder) -> Option<Change> {
        let found = self.find(m.instrument.get(), m.order_id.get())?;
        let level = self.store.level(self.store.order(found.number).level);
        let (book, side) = (level.book(), level.side());
        if m.quantity.get() == 0 {
            self.books[book as usize].tallies.zero_quantities += 1;
            return None;
        }
        if m.flags.0 & EventFlags::PRINTABLE.0 != 0 {
            let trade = Trade {
                source_time: m.source_time,
                match_id: m.match_id,
                price: m.price.get().unwrap_or(price(side, level.key)),
                quantity: U64::new(u64::from(m.quantity.get())),
                instrument: m.instrument,
                side: SIDES[usize::from(side)],
                kind: TradeKind::NULL,
                flags: m.flags,
            };
            self.trade(book, trade);
        }
        self.reduce(book, found, m.quantity.get());
        self.settle(book, side, m.source_time)
    }

    #[inline]
    fn modify(&mut self, m: &ModifyOrder) -> Option<Change> {
        let found = self.find(m.instrument.get(), m.order_id.get())?;
        let level = self.store.level(self.store.order(found.number).level);
        let (book, side) = (level.book(), level.side());
        let quantity = m.quantity.get();
        let tallies = &mut self.books[book as usize].tallies;
        tallies.zero_quantities += u64::from(quantity == 0);
        match m.action {
            ModifyAction::REDUCE_BY => self.reduce(book, found, quantity),
            ModifyAction::SET_KEEP_PRIORITY | ModifyAction::SET_LOSE_PRIORITY if quantity == 0 => {
                self.take_out(found);
            }
            ModifyAction::SET_KEEP_PRIORITY => self.store.set_quantity(found.number, quantity),
            ModifyAction::SET_LOSE_PRIORITY => self.store.queue_again(found.number, quantity),
            _ => tallies.senseless += 1,
        }
        self.settle(book, side, m.source_time)
    }

    /// The new order is on the old one's side and shows the same participant.
    #[inline]
    fn replace(&mut self, m: &ReplaceOrder) -> Option<Change> {
        let (instrument, new_id) = (m.instrument.get(), m.new_order_id.get());
        let found = self.find(instrument, m.order_id.get())?;
        let participant = self.store.order(found.number).participant;
        let (book, side) = self.take_out(found);
        if let Some(found) = self.store.find(instrument, new_id) {
            self.books[book as usize].tallies.duplicate_orders += 1;
            self.take_out(found);
        }
        match m.quantity.get() {
            0 => self.books[book as usize].tallies.zero_quantities += 1,
            quantity => self.put_in(book, side, new_id, quantity, participant, m.price.mantissa()),
        }
        // A duplicate may have stood on the other side.
        self.settle_both(book, m.source_time)
    }

    /// The messages that do not come by the million.
    fn apply_rare(&mut self, template: u16, block: &[u8]) -> Option<Change> {
        match template {
            Trade::TEMPLATE => {
                let trade: Trade = *view_block(block);
                let book = self.book_index(trade.instrument.get());
                self.trade(book, trade);
            }
            PriceTick::TEMPLATE => {
                let tick: PriceTick = *view_block(block);
                self.state(tick.instrument.get()).last.tick = Some(tick);
            }
            BestBidOffer::TEMPLATE => {
                let quote: BestBidOffer = *view_block(block);
                let book = self.book_index(quote.instrument.get());
                self.books[book as usize].last.quote = Some(quote);
                return self.settle_both(book, quote.source_time);
            }
            SourcePosition::TEMPLATE => {
                let position = view_block::<SourcePosition>(block);
                self.source(position.source.get()).position = Some(position.position.get());
            }
            TradeCancel::TEMPLATE => self.cancel_trade(&view_block(block)),
            Imbalance::TEMPLATE => {
                let imbalance: Imbalance = *view_block(block);
                self.state(imbalance.instrument.get()).last.imbalance = Some(imbalance);
            }
            TradingStatus::TEMPLATE => {
                let status: TradingStatus = *view_block(block);
                let instrument = status.instrument.get();
                match instrument & 0xffff {
                    0 => self.source((instrument >> 16) as u16).status = Some(status),
                    _ => self.state(instrument).last.status = Some(status),
                }
            }
            InstrumentDefinition::TEMPLATE => {
                let definition: InstrumentDefinition = *view_block(block);
                self.state(definition.instrument.get()).last.definition = Some(definition);
            }
            // An UnseenOrder too: what happens to that order changes nothing that a book shows.
            _ => {}
        }
        None
    }

    fn trade(&mut self, book: u32, trade: Trade) {
        let state = &mut self.books[book as usize];
        state.traded.trades += 1;
        state.traded.volume = state.traded.volume.saturating_add(trade.quantity.get());
        state.last.trade = Some(trade);
    }

    /// A broken trade is counted, and is the last one no more. Sources that do not number matches write 0.
    fn cancel_trade(&mut self, cancel: &TradeCancel) {
        let state = self.state(cancel.instrument.get());
        state.tallies.trade_cancels += 1;
        let id = cancel.match_id.get();
        state.last.trade = state
            .last
            .trade
            .filter(|trade| id == 0 || trade.match_id.get() != id);
    }

    /// An order; without it, it is counted as unseen.
    #[inline]
    fn find(&mut self, instrument: u32, id: u64) -> Option<Found> {
        let found = self.store.find(instrument, id);
        if found.is_none() {
            self.count_unseen(instrument);
        }
        found
    }

    #[cold]
    fn count_unseen(&mut self, instrument: u32) {
        self.state(instrument).tallies.unseen_orders += 1;
    }

    /// Takes so much from an order; with the last of it the order leaves.
    #[inline]
    fn reduce(&mut self, book: u32, found: Found, quantity: u32) {
        let held = self.store.order(found.number).quantity;
        if quantity < held {
            return self.store.set_quantity(found.number, held - quantity);
        }
        self.books[book as usize].tallies.over_reductions += u64::from(quantity > held);
        self.take_out(found);
    }

    #[inline]
    fn put_in(&mut self, book: u32, side: u8, id: u64, quantity: u32, participant: Text<4>, at: i64) {
        let state = &mut self.books[book as usize];
        let level = state.ladders[usize::from(side)].level(&mut self.store, book, side, key(side, at));
        self.store
            .enter(state.instrument, id, quantity, participant, level);
    }

    /// Takes an order out, with its level if it was the last there. Returns the book and the side that it was on.
    #[inline]
    fn take_out(&mut self, found: Found) -> (u32, u8) {
        let number = self.store.order(found.number).level;
        self.store.leave(found);
        let level = self.store.level(number);
        let (book, side) = (level.book(), level.side());
        if level.orders == 0 {
            self.books[book as usize].ladders[usize::from(side)].close(level.key);
            self.store.close_level(number);
        }
        (book, side)
    }

    /// Compares the best of the side that something happened to with what it was.
    #[inline]
    fn settle(&mut self, book: u32, side: u8, source_time: U64) -> Option<Change> {
        let state = &mut self.books[book as usize];
        if state.last.quote.is_some() {
            return self.settle_both(book, source_time);
        }
        let top = state.top(&self.store, side);
        let shown = match side {
            0 => &mut state.best.bid,
            _ => &mut state.best.offer,
        };
        if *shown == top {
            return None;
        }
        *shown = top;
        Some(state.changed(source_time))
    }

    /// The same for both sides.
    #[cold]
    fn settle_both(&mut self, book: u32, source_time: U64) -> Option<Change> {
        let state = &mut self.books[book as usize];
        let best = state.best_now(&self.store);
        if best == state.best {
            return None;
        }
        state.best = best;
        Some(state.changed(source_time))
    }

    /// The instrument's book, made if there is none: what is told before its definition counts as well.
    #[inline]
    pub(crate) fn book_index(&mut self, instrument: u32) -> u32 {
        match self.index_of(instrument) {
            Some(book) => book,
            None => self.new_book(instrument),
        }
    }

    #[inline]
    pub(crate) fn index_of(&self, instrument: u32) -> Option<u32> {
        let wanted = |book| self.books[book as usize].instrument == instrument;
        Some(self.table.find(hash(instrument, 0), wanted)?.1)
    }

    #[cold]
    fn new_book(&mut self, instrument: u32) -> u32 {
        let book = self.books.len() as u32;
        self.books.push(BookState::new(instrument));
        self.table.insert(hash(instrument, 0), book);
        book
    }

    fn state(&mut self, instrument: u32) -> &mut BookState {
        let book = self.book_index(instrument);
        &mut self.books[book as usize]
    }

    pub(crate) fn source(&mut self, source: u16) -> &mut SourceState {
        let at = match self.sources.binary_search_by_key(&source, |known| known.source) {
            Ok(at) => at,
            Err(at) => {
                let new = SourceState {
                    source,
                    position: None,
                    status: None,
                };
                self.sources.insert(at, new);
                at
            }
        };
        &mut self.sources[at]
    }

    /// Forgets an instrument: its orders, and all that is known of it besides.
    pub fn forget(&mut self, instrument: u32) {
        let Some(book) = self.index_of(instrument) else {
            return;
        };
        let orders: Vec<u64> = SIDES
            .into_iter()
            .flat_map(|side| self.look(book).orders(side))
            .map(|order| order.id)
            .collect();
        for id in orders {
            if let Some(found) = self.store.find(instrument, id) {
                self.take_out(found);
            }
        }
        self.books[book as usize] = BookState::new(instrument);
    }

    /// Messages are missing, or some were none: from now on no book is to be trusted. Messages are applied all the same.
    pub fn invalidate(&mut self) {
        self.valid = false;
    }
}
