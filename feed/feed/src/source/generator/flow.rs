//! The made-up order flow itself: instruments, their live orders, and what happens to them next.
//!
//! Adds and deletes prevail, as in real order flow. A book built from it never crosses, no message names an order that
//! is not live, and the live orders of an instrument are bounded.

use super::bursts::Bursts;
use crate::source::EventSink;
use std::num::{NonZeroU16, NonZeroU64};
use twinline_line::random::Random;
use twinline_wire::field::{EventFlags, ModifyAction, Optional, Price, Side, Status, Text, TradeKind};
use twinline_wire::market::{
    AddOrder, DeleteOrder, ExecuteOrder, InstrumentDefinition, ModifyOrder, PriceTick, ReplaceOrder, Trade,
    TradingStatus,
};
use twinline_wire::{Message, U16, U32, U64};

/// Names of the [`Kind`]s, in their order: the templates'.
pub(super) const KINDS: [&str; 9] = [
    InstrumentDefinition::DEF.name,
    TradingStatus::DEF.name,
    AddOrder::DEF.name,
    DeleteOrder::DEF.name,
    ExecuteOrder::DEF.name,
    ModifyOrder::DEF.name,
    ReplaceOrder::DEF.name,
    Trade::DEF.name,
    PriceTick::DEF.name,
];

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Definition,
    Status,
    Add,
    Delete,
    Execute,
    Modify,
    Replace,
    Trade,
    Tick,
}

/// Live orders of an instrument: at most, and before anything but an add happens.
pub(super) const MOST_ORDERS: usize = 64;
const FEWEST_ORDERS: usize = 8;
/// One cent, the price step, in units of [`Price`].
const CENT: i64 = 10_000_000;
/// Where the middle of a book may wander, in cents.
pub(super) const MIDDLES: std::ops::RangeInclusive<u32> = 1_000..=100_000;
/// Half past nine, in nanoseconds since midnight.
pub(super) const OPENING: u64 = 34_200_000_000_000;
pub(super) const LAST: EventFlags = EventFlags::END_OF_EVENT;
const LAST_PRINTABLE: EventFlags = EventFlags(EventFlags::END_OF_EVENT.0 | EventFlags::PRINTABLE.0);

/// A live order.
#[derive(Clone, Copy, Debug)]
struct Order {
    id: u64,
    /// In cents.
    price: u32,
    quantity: u32,
    side: Side,
}

/// An instrument.
#[derive(Debug)]
struct Book {
    /// In cents.
    middle: u32,
    orders: Vec<Order>,
}

impl Book {
    /// Place of the order that an incoming one would meet first: the best price, then the lowest number.
    fn best(&self, side: Side) -> Option<usize> {
        let worth = |order: &Order| match side {
            Side::BUY => (u32::MAX - order.price, order.id),
            _ => (order.price, order.id),
        };
        let of_side = self
            .orders
            .iter()
            .enumerate()
            .filter(|(_, order)| order.side == side);
        of_side
            .min_by_key(|(_, order)| worth(order))
            .map(|(place, _)| place)
    }

    /// A price for a new order that does not cross the book, in cents.
    fn price(&self, side: Side, distance: u32) -> u32 {
        let other = |side| self.best(side).map(|place| self.orders[place].price);
        match side {
            Side::BUY => {
                let price = self.middle - 1 - distance;
                other(Side::SELL).map_or(price, |ask| price.min(ask - 1))
            }
            _ => {
                let price = self.middle + 1 + distance;
                other(Side::BUY).map_or(price, |bid| price.max(bid + 1))
            }
        }
    }
}

/// The flow.
#[derive(Debug)]
pub(super) struct Flow {
    source: u16,
    random: Random,
    bursts: Bursts,
    books: Vec<Book>,
    /// Messages of the opening that were said: a definition of each instrument, then that the market opens.
    opened: usize,
    /// Source time of the next message, in nanoseconds since midnight.
    time: u64,
    next_order: u64,
    next_match: u64,
}

impl Flow {
    /// One of `rate` messages a second on average.
    pub(super) fn new(source: u16, seed: u64, symbols: NonZeroU16, rate: NonZeroU64) -> Self {
        let mut random = Random::new(seed);
        let mut book = || Book {
            middle: 2_000 + random.below(48_000) as u32,
            orders: Vec::with_capacity(MOST_ORDERS),
        };
        let books = (0..symbols.get()).map(|_| book()).collect();
        Self {
            source,
            random,
            bursts: Bursts::new(1e9 / rate.get() as f64),
            books,
            opened: 0,
            time: OPENING,
            next_order: 1,
            next_match: 1,
        }
    }

    /// Source time of the next message.
    #[inline]
    pub(super) fn time(&self) -> u64 {
        self.time
    }

    /// Pushes the next message and says what it was.
    #[inline]
    pub(super) fn step(&mut self, sink: &mut impl EventSink) -> Kind {
        let kind = if self.opened <= self.books.len() {
            self.opened += 1;
            open((self.source, self.books.len()), self.opened - 1, self.time, sink)
        } else {
            self.happen(sink)
        };
        self.time += self.bursts.next(&mut self.random);
        kind
    }

    fn instrument(&self, book: usize) -> U32 {
        instrument(self.source, book)
    }

    /// Something happens to one of the instruments; to the first ones more often.
    fn happen(&mut self, sink: &mut impl EventSink) -> Kind {
        let count = self.books.len() as u64;
        let at = self.random.below(count).min(self.random.below(count)) as usize;
        if self.random.below(8) == 0 {
            let up = self.random.below(2) as u32 * 2;
            let book = &mut self.books[at];
            book.middle = (book.middle + up - 1).clamp(*MIDDLES.start(), *MIDDLES.end());
        }
        match (self.books[at].orders.len(), self.random.below(100)) {
            (0..FEWEST_ORDERS, _) => self.add(at, sink),
            (MOST_ORDERS.., 0..46) => self.delete(at, sink),
            (_, 0..46) => self.add(at, sink),
            (_, 46..86) => self.delete(at, sink),
            (_, 86..92) => self.execute(at, sink),
            (_, 92..93) => self.modify(at, sink),
            (_, 93..97) => self.replace(at, sink),
            (_, _) => self.trade(at, sink),
        }
    }

    fn add(&mut self, at: usize, sink: &mut impl EventSink) -> Kind {
        let side = self.any_side();
        let order = Order {
            id: self.next_order,
            price: self.any_price(at, side),
            quantity: self.any_quantity(),
            side,
        };
        self.next_order += 1;
        self.books[at].orders.push(order);
        sink.push(&AddOrder {
            source_time: U64::new(self.time),
            order_id: U64::new(order.id),
            price: cents(order.price),
            quantity: U32::new(order.quantity),
            instrument: self.instrument(at),
            participant: Text::default(),
            side,
            flags: LAST,
        });
        Kind::Add
    }

    fn delete(&mut self, at: usize, sink: &mut impl EventSink) -> Kind {
        let place = self.any_order(at);
        let order = self.books[at].orders.swap_remove(place);
        sink.push(&DeleteOrder {
            source_time: U64::new(self.time),
            order_id: U64::new(order.id),
            instrument: self.instrument(at),
            flags: LAST,
        });
        Kind::Delete
    }

    /// The best order of one side, or else of the other, is executed, in part or in full.
    fn execute(&mut self, at: usize, sink: &mut impl EventSink) -> Kind {
        let side = self.any_side();
        let in_part = self.random.below(3) == 0;
        let book = &mut self.books[at];
        let other = if side == Side::BUY { Side::SELL } else { Side::BUY };
        let Some(place) = book.best(side).or_else(|| book.best(other)) else {
            return self.trade(at, sink);
        };
        let order = &mut book.orders[place];
        let (id, quantity) = match order.quantity / 2 {
            half if in_part && half > 0 => (order.id, half),
            _ => (order.id, order.quantity),
        };
        order.quantity -= quantity;
        if order.quantity == 0 {
            book.orders.swap_remove(place);
        }
        sink.push(&ExecuteOrder {
            source_time: U64::new(self.time),
            order_id: U64::new(id),
            match_id: self.any_match(),
            price: Optional::NONE,
            quantity: U32::new(quantity),
            instrument: self.instrument(at),
            flags: LAST_PRINTABLE,
        });
        Kind::Execute
    }

    /// An order gives up half of its quantity.
    fn modify(&mut self, at: usize, sink: &mut impl EventSink) -> Kind {
        let place = self.any_order(at);
        let order = &mut self.books[at].orders[place];
        let half = order.quantity / 2;
        if half == 0 {
            return self.delete(at, sink);
        }
        order.quantity -= half;
        let id = order.id;
        sink.push(&ModifyOrder {
            source_time: U64::new(self.time),
            order_id: U64::new(id),
            quantity: U32::new(half),
            instrument: self.instrument(at),
            action: ModifyAction::REDUCE_BY,
            flags: LAST,
        });
        Kind::Modify
    }

    fn replace(&mut self, at: usize, sink: &mut impl EventSink) -> Kind {
        let place = self.any_order(at);
        let old = self.books[at].orders[place];
        let new = Order {
            id: self.next_order,
            price: self.any_price(at, old.side),
            quantity: self.any_quantity(),
            side: old.side,
        };
        self.next_order += 1;
        self.books[at].orders[place] = new;
        sink.push(&ReplaceOrder {
            source_time: U64::new(self.time),
            order_id: U64::new(old.id),
            new_order_id: U64::new(new.id),
            price: cents(new.price),
            quantity: U32::new(new.quantity),
            instrument: self.instrument(at),
            flags: LAST,
        });
        Kind::Replace
    }

    /// A trade in the middle, against an order that is not shown.
    fn trade(&mut self, at: usize, sink: &mut impl EventSink) -> Kind {
        sink.push(&Trade {
            source_time: U64::new(self.time),
            match_id: self.any_match(),
            price: cents(self.books[at].middle),
            quantity: U64::new(u64::from(self.any_quantity())),
            instrument: self.instrument(at),
            side: self.any_side(),
            kind: TradeKind::NON_DISPLAYED,
            flags: LAST_PRINTABLE,
        });
        Kind::Trade
    }

    fn any_side(&mut self) -> Side {
        [Side::BUY, Side::SELL][self.random.below(2) as usize]
    }

    fn any_order(&mut self, at: usize) -> usize {
        self.random.below(self.books[at].orders.len() as u64) as usize
    }

    /// Near the middle more often than far from it.
    fn any_price(&mut self, at: usize, side: Side) -> u32 {
        let distance = self.random.draw().trailing_zeros().min(15);
        self.books[at].price(side, distance)
    }

    /// Round lots, the small ones more often, and now and then an odd one.
    fn any_quantity(&mut self) -> u32 {
        match self.random.below(8) {
            0 => 1 + self.random.below(99) as u32,
            _ => 100 * (1 + self.random.draw().trailing_zeros().min(9)),
        }
    }

    fn any_match(&mut self) -> U64 {
        self.next_match += 1;
        U64::new(self.next_match - 1)
    }
}

/// The number of the instrument at this place, from 0.
pub(super) fn instrument(source: u16, place: usize) -> U32 {
    U32::new(u32::from(source) << 16 | (place as u32 + 1))
}

/// Names the instrument at `place` of a source of so many, or says that the market opens where all are named.
pub(super) fn open(
    (source, count): (u16, usize),
    place: usize,
    time: u64,
    sink: &mut impl EventSink,
) -> Kind {
    let source_time = U64::new(time);
    if place == count {
        sink.push(&TradingStatus {
            source_time,
            instrument: U32::new(u32::from(source) << 16),
            status: Status::START_OF_MARKET_HOURS,
            reason: Text::default(),
            flags: LAST,
        });
        return Kind::Status;
    }
    sink.push(&InstrumentDefinition {
        source_time,
        instrument: instrument(source, place),
        symbol: symbol(place),
        lot_size: Optional::some(100),
        price_increment: Optional::some(Price::new(CENT)),
        source: U16::new(source),
        market: Text::new(b"DEMO"),
        class: Text::default(),
        flags: LAST,
    });
    Kind::Definition
}

pub(super) fn cents(price: u32) -> Price {
    Price::new(i64::from(price) * CENT)
}

/// `SYM00001` and on.
fn symbol(book: usize) -> Text<16> {
    let mut text = *b"SYM00000";
    let mut rest = book + 1;
    for digit in text[3..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    Text::new(&text)
}
