//! One instrument's book: what it shows, and what is known of the instrument besides.

use crate::ladder::{Ladder, SIDES, price, side_index};
use crate::store::{Level, Order, Store};
use std::fmt;
use twinline_wire::field::Text;
use twinline_wire::market::{BestBidOffer, Imbalance, InstrumentDefinition, PriceTick, Trade, TradingStatus};
use twinline_wire::{Price, Side, U64};

/// The best price of a side, and the quantity there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The price.
    pub price: Price,
    /// The sum of what the orders there show.
    pub quantity: u64,
}

/// The best bid and offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Best {
    /// The highest bid.
    pub bid: Option<Quote>,
    /// The lowest offer.
    pub offer: Option<Quote>,
}

impl Best {
    /// True if somebody bids at least what somebody asks: in continuous trading that cannot stay.
    pub fn is_crossed(&self) -> bool {
        match (self.bid, self.offer) {
            (Some(bid), Some(offer)) => bid.price.mantissa() >= offer.price.mantissa(),
            _ => false,
        }
    }
}

/// A message changed a best bid or offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of this instrument.
    pub instrument: u32,
    /// The message's source time.
    pub source_time: u64,
    /// What it is now, both sides.
    pub best: Best,
}

/// One price of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// The price.
    pub price: Price,
    /// The sum of the orders' quantities.
    pub quantity: u64,
    /// How many orders stand there.
    pub orders: u32,
}

/// An order as the book has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BookOrder {
    /// The venue's number.
    pub id: u64,
    /// Its limit.
    pub price: Price,
    /// What it shows.
    pub quantity: u32,
    /// The participant, where the venue shows one.
    pub participant: Text<4>,
    /// Its side.
    pub side: Side,
}

impl fmt::Debug for BookOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            price,
            quantity,
            side,
            ..
        } = self;
        write!(f, "{id}: {side:?} {quantity} at {price}")
    }
}

/// What was counted of an instrument on the way. Two books may show the same and have come there in different ways, so
/// none of it is in the checksum; all of it is in a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Times that the best bid or offer changed.
    pub changes: u64,
    /// Messages about an order that the book does not have: it entered before the stream, or was lost.
    pub unseen_orders: u64,
    /// Orders that entered under a number that the book had: the older one was taken out.
    pub duplicate_orders: u64,
    /// Quantities of zero: no such order enters, one that is set to it leaves.
    pub zero_quantities: u64,
    /// Reductions and executions of more than there was: the order left.
    pub over_reductions: u64,
    /// Messages whose side or action has no meaning here: ignored.
    pub senseless: u64,
    /// Trades that were broken.
    pub trade_cancels: u64,
}

/// Trades so far, part of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traded {
    /// Trades and printed executions.
    pub trades: u64,
    /// Their quantities. Broken trades stay in it: what they had is not told.
    pub volume: u64,
}

/// What is kept of an instrument beside its orders: the last message of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Last {
    pub(crate) definition: Option<InstrumentDefinition>,
    pub(crate) status: Option<TradingStatus>,
    pub(crate) tick: Option<PriceTick>,
    pub(crate) trade: Option<Trade>,
    pub(crate) quote: Option<BestBidOffer>,
    pub(crate) imbalance: Option<Imbalance>,
}

/// A book's own part; its orders and levels stand in the store.
#[derive(Clone, Debug)]
pub(crate) struct BookState {
    pub(crate) instrument: u32,
    /// Bids and offers.
    pub(crate) ladders: [Ladder; 2],
    pub(crate) best: Best,
    pub(crate) tallies: Tallies,
    pub(crate) traded: Traded,
    pub(crate) last: Last,
}

impl BookState {
    pub(crate) fn new(instrument: u32) -> Self {
        Self {
            instrument,
            ladders: Default::default(),
            best: Best::default(),
            tallies: Tallies::default(),
            traded: Traded::default(),
            last: Last::default(),
        }
    }

    /// The change that the best is.
    #[inline]
    pub(crate) fn changed(&mut self, source_time: U64) -> Change {
        self.tallies.changes += 1;
        Change {
            instrument: self.instrument,
            source_time: source_time.get(),
            best: self.best,
        }
    }

    /// The best of a side by the orders there.
    #[inline]
    pub(crate) fn top(&self, store: &Store, side: u8) -> Option<Quote> {
        let level = store.level(self.ladders[usize::from(side)].best()?);
        Some(Quote {
            price: price(side, level.key),
            quantity: level.quantity,
        })
    }

    /// What the book shows as its best. A source's own best bid and offer count as long as no order stands in the book.
    pub(crate) fn best_now(&self, store: &Store) -> Best {
        let best = Best {
            bid: self.top(store, 0),
            offer: self.top(store, 1),
        };
        match (&self.last.quote, best) {
            (
                Some(quote),
                Best {
                    bid: None,
                    offer: None,
                },
            ) => quoted(quote),
            _ => best,
        }
    }
}

/// A source's own best bid and offer.
#[cold]
fn quoted(quote: &BestBidOffer) -> Best {
    let side = |price: Option<Price>, quantity: u64| price.map(|price| Quote { price, quantity });
    Best {
        bid: side(quote.bid_price.get(), quote.bid_quantity.get()),
        offer: side(quote.offer_price.get(), quote.offer_quantity.get()),
    }
}

/// An order as it is shown.
fn shown(side: u8, price: Price, order: &Order) -> BookOrder {
    BookOrder {
        id: order.id,
        price,
        quantity: order.quantity,
        participant: order.participant,
        side: SIDES[usize::from(side)],
    }
}

/// A look at one instrument's book.
#[derive(Clone, Copy, Debug)]
pub struct Book<'a> {
    pub(crate) state: &'a BookState,
    pub(crate) store: &'a Store,
    pub(crate) valid: bool,
}

impl<'a> Book<'a> {
    /// The instrument's number.
    pub fn instrument(&self) -> u32 {
        self.state.instrument
    }

    /// Its symbol; empty before a definition.
    pub fn symbol(&self) -> &'a str {
        let definition = self.state.last.definition.as_ref();
        definition.map_or("", |definition| definition.symbol.as_str())
    }

    /// False after messages were lost or void, until a snapshot replaces the state. The book goes on all the same.
    pub fn is_valid(&self) -> bool {
        self.valid
    }

    /// The best bid and offer.
    pub fn best(&self) -> Best {
        self.state.best
    }

    /// The levels of a side, the best first; none of what is no side.
    pub fn depth(&self, side: Side) -> impl Iterator<Item = Depth> + use<'a> {
        self.levels(side).map(|(index, level)| Depth {
            price: price(index, level.key),
            quantity: level.quantity,
            orders: level.orders,
        })
    }

    /// The orders of a side as they will be executed: the best price first, at one price the earliest first.
    pub fn orders(&self, side: Side) -> impl Iterator<Item = BookOrder> + use<'a> {
        let store = self.store;
        let levels = self.level_numbers(side);
        levels.flat_map(move |(index, level)| {
            let at = price(index, store.level(level).key);
            store.queue_of(level).map(move |order| shown(index, at, order))
        })
    }

    /// The orders at one price, in the order of their queue.
    pub fn queue(&self, side: Side, at: Price) -> impl Iterator<Item = BookOrder> + use<'a> {
        let store = self.store;
        let level = self
            .level_numbers(side)
            .find(|(index, level)| price(*index, store.level(*level).key) == at);
        level
            .into_iter()
            .flat_map(move |(index, level)| store.queue_of(level).map(move |order| shown(index, at, order)))
    }

    /// An order by its number.
    pub fn order(&self, id: u64) -> Option<BookOrder> {
        let found = self.store.find(self.state.instrument, id)?;
        let order = self.store.order(found.number);
        let level = self.store.level(order.level);
        Some(shown(level.side(), price(level.side(), level.key), order))
    }

    /// Orders in the book.
    pub fn live_orders(&self) -> usize {
        SIDES
            .into_iter()
            .flat_map(|side| self.depth(side))
            .map(|level| level.orders as usize)
            .sum()
    }

    fn level_numbers(&self, side: Side) -> impl Iterator<Item = (u8, u32)> + use<'a> {
        let ladders = &self.state.ladders;
        let index = side_index(side);
        index.into_iter().flat_map(move |index| {
            ladders[usize::from(index)]
                .levels()
                .map(move |level| (index, level))
        })
    }

    fn levels(&self, side: Side) -> impl Iterator<Item = (u8, &'a Level)> + use<'a> {
        let store = self.store;
        self.level_numbers(side)
            .map(move |(index, level)| (index, store.level(level)))
    }

    /// The last definition.
    pub fn definition(&self) -> Option<&'a InstrumentDefinition> {
        self.state.last.definition.as_ref()
    }

    /// The last status of the instrument itself; that of its whole source is [`Books::market_status`](crate::Books).
    pub fn status(&self) -> Option<&'a TradingStatus> {
        self.state.last.status.as_ref()
    }

    /// The last price tick.
    pub fn last_tick(&self) -> Option<&'a PriceTick> {
        self.state.last.tick.as_ref()
    }

    /// The last trade. Of an execution: its price, the side of the order that was in the book, and no kind.
    pub fn last_trade(&self) -> Option<&'a Trade> {
        self.state.last.trade.as_ref()
    }

    /// The last best bid and offer that the source itself told.
    pub fn last_quote(&self) -> Option<&'a BestBidOffer> {
        self.state.last.quote.as_ref()
    }

    /// The last word on an auction that is being collected.
    pub fn last_imbalance(&self) -> Option<&'a Imbalance> {
        self.state.last.imbalance.as_ref()
    }

    /// Trades and volume so far.
    pub fn traded(&self) -> Traded {
        self.state.traded
    }

    /// What was counted on the way.
    pub fn tallies(&self) -> &'a Tallies {
        &self.state.tallies
    }
}
