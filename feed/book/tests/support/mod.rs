//! What several tests of this package share: messages in few words, and the naivest book there is.
#![allow(dead_code, reason = "each test uses a part of it")]

use proptest::prelude::*;
use std::collections::BTreeMap;
use twinline_book::{Best, Books, Change, Quote};
use twinline_wire::field::{EventFlags, Field, ModifyAction, Optional, Text};
use twinline_wire::market::{
    AddOrder, BestBidOffer, DeleteOrder, ExecuteOrder, Imbalance, InstrumentDefinition, ModifyOrder,
    PriceTick, ReplaceOrder, Trade, TradeCancel, TradingStatus,
};
use twinline_wire::session::SourcePosition;
use twinline_wire::{Message, Price, Side};

/// What can happen to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Add { side: Side, price: i64, quantity: u32 },
    Modify { action: u8, quantity: u32 },
    Replace { new: u64, price: i64, quantity: u32 },
    Execute { quantity: u32, printed: bool },
    Delete,
}

/// It, and to which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) instrument: u32,
    pub(crate) id: u64,
    pub(crate) act: Act,
}

/// Applies a step.
pub(crate) fn apply(books: &mut Books, step: &Step, time: u64) -> Option<Change> {
    let (source_time, instrument, order_id) = (time.into(), step.instrument.into(), step.id.into());
    match step.act {
        Act::Add {
            side,
            price,
            quantity,
        } => books.apply_message(&AddOrder {
            source_time,
            order_id,
            price: Price::new(price),
            quantity: quantity.into(),
            instrument,
            participant: Text::new(&step.id.to_le_bytes()[..1]),
            side,
            flags: EventFlags::END_OF_EVENT,
        }),
        Act::Modify { action, quantity } => books.apply_message(&ModifyOrder {
            source_time,
            order_id,
            quantity: quantity.into(),
            instrument,
            action: ModifyAction(action),
            flags: EventFlags::END_OF_EVENT,
        }),
        Act::Replace { new, price, quantity } => books.apply_message(&ReplaceOrder {
            source_time,
            order_id,
            new_order_id: new.into(),
            price: Price::new(price),
            quantity: quantity.into(),
            instrument,
            flags: EventFlags::END_OF_EVENT,
        }),
        Act::Execute { quantity, printed } => books.apply_message(&ExecuteOrder {
            source_time,
            order_id,
            match_id: time.into(),
            price: Optional::NONE,
            quantity: quantity.into(),
            instrument,
            flags: if printed {
                EventFlags::PRINTABLE
            } else {
                EventFlags::NULL
            },
        }),
        Act::Delete => books.apply_message(&DeleteOrder {
            source_time,
            order_id,
            instrument,
            flags: EventFlags::END_OF_EVENT,
        }),
    }
}

/// Steps over few orders and prices, so that they meet; nonsense among them.
pub(crate) fn step() -> impl Strategy<Value = Step> {
    let side = prop_oneof![8 => Just(Side::BUY), 8 => Just(Side::SELL), 1 => Just(Side(7))];
    let price = prop_oneof![12 => -3..12_i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    let quantity = prop_oneof![1 => Just(0), 12 => 1..9_u32, 1 => Just(u32::MAX)];
    let id = 0..24_u64;
    let act = prop_oneof![
        8 => (side, price.clone(), quantity.clone())
            .prop_map(|(side, price, quantity)| Act::Add { side, price, quantity }),
        4 => (0..5_u8, quantity.clone()).prop_map(|(action, quantity)| Act::Modify { action, quantity }),
        3 => (id.clone(), price, quantity.clone())
            .prop_map(|(new, price, quantity)| Act::Replace { new, price, quantity }),
        3 => (quantity, any::<bool>()).prop_map(|(quantity, printed)| Act::Execute { quantity, printed }),
        3 => Just(Act::Delete),
    ];
    (1..4_u32, id, act).prop_map(|(instrument, id, act)| Step {
        instrument: 1 << 16 | instrument,
        id,
        act,
    })
}

/// One side: by a key that grows away from the best, the queue of orders and quantities.
type Side2 = BTreeMap<i128, Vec<(u64, u32)>>;

/// An instrument's orders, kept without any thought of speed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) sides: [Side2; 2],
    pub(crate) unseen: u64,
    pub(crate) duplicate: u64,
    pub(crate) zero: u64,
    pub(crate) over: u64,
    pub(crate) senseless: u64,
    pub(crate) trades: u64,
    pub(crate) volume: u64,
}

impl Model {
    fn key(side: usize, price: i64) -> i128 {
        [-i128::from(price), i128::from(price)][side]
    }

    fn find(&self, id: u64) -> Option<(usize, i128, usize)> {
        for (side, levels) in self.sides.iter().enumerate() {
            for (key, queue) in levels {
                if let Some(at) = queue.iter().position(|order| order.0 == id) {
                    return Some((side, *key, at));
                }
            }
        }
        None
    }

    fn take_out(&mut self, (side, key, at): (usize, i128, usize)) {
        let queue = self.sides[side].get_mut(&key).expect("found");
        queue.remove(at);
        if queue.is_empty() {
            self.sides[side].remove(&key);
        }
    }

    fn put_in(&mut self, side: usize, price: i64, id: u64, quantity: u32) {
        if let Some(found) = self.find(id) {
            self.duplicate += 1;
            self.take_out(found);
        }
        if quantity == 0 {
            self.zero += 1;
        } else {
            self.sides[side]
                .entry(Self::key(side, price))
                .or_default()
                .push((id, quantity));
        }
    }

    fn reduce(&mut self, place: (usize, i128, usize), by: u32) {
        let order = &mut self.sides[place.0].get_mut(&place.1).expect("found")[place.2];
        self.over += u64::from(by > order.1);
        order.1 = order.1.saturating_sub(by);
        if order.1 == 0 {
            self.take_out(place);
        }
    }

    pub(crate) fn step(&mut self, step: &Step) {
        if let Act::Add {
            side,
            price,
            quantity,
        } = step.act
        {
            match (side, quantity) {
                (Side::BUY | Side::SELL, 0) => self.zero += 1,
                (Side::BUY, _) => self.put_in(0, price, step.id, quantity),
                (Side::SELL, _) => self.put_in(1, price, step.id, quantity),
                _ => self.senseless += 1,
            }
            return;
        }
        let Some(found) = self.find(step.id) else {
            self.unseen += 1;
            return;
        };
        let queue = self.sides[found.0].get_mut(&found.1).expect("found");
        match step.act {
            Act::Add { .. } => unreachable!(),
            Act::Modify { action, quantity } => {
                self.zero += u64::from(quantity == 0);
                match (action, quantity) {
                    (1, 0) => {}
                    (1, _) => self.reduce(found, quantity),
                    (2 | 3, 0) => self.take_out(found),
                    (2, _) => queue[found.2].1 = quantity,
                    (3, _) => {
                        let (id, _) = queue.remove(found.2);
                        queue.push((id, quantity));
                    }
                    _ => self.senseless += 1,
                }
            }
            Act::Replace { new, price, quantity } => {
                self.take_out(found);
                self.put_in(found.0, price, new, quantity);
            }
            Act::Execute { quantity: 0, .. } => self.zero += 1,
            Act::Execute { quantity, printed } => {
                if printed {
                    self.trades += 1;
                    self.volume += u64::from(quantity);
                }
                self.reduce(found, quantity);
            }
            Act::Delete => self.take_out(found),
        }
    }

    pub(crate) fn best(&self) -> Best {
        let quote = |side: usize| {
            let (key, queue) = self.sides[side].first_key_value()?;
            Some(Quote {
                price: Price::new([-key, *key][side] as i64),
                quantity: queue.iter().map(|order| u64::from(order.1)).sum(),
            })
        };
        Best {
            bid: quote(0),
            offer: quote(1),
        }
    }
}

/// Asserts that a book shows what the model does, in every way it can be asked.
pub(crate) fn assert_shows(books: &Books, instrument: u32, model: &Model) {
    let Some(book) = books.book(instrument) else {
        assert_eq!(*model, Model::default());
        return;
    };
    assert_eq!(book.best(), model.best());
    for (side, levels) in [Side::BUY, Side::SELL].into_iter().zip(&model.sides) {
        let depth: Vec<_> = book
            .depth(side)
            .map(|level| (level.price.mantissa(), level.quantity, level.orders as usize))
            .collect();
        let expected: Vec<_> = levels
            .iter()
            .map(|(key, queue)| {
                let price = if side == Side::BUY { -key } else { *key };
                let quantity = queue.iter().map(|order| u64::from(order.1)).sum::<u64>();
                (price as i64, quantity, queue.len())
            })
            .collect();
        assert_eq!(depth, expected);
        let orders: Vec<_> = book
            .orders(side)
            .map(|order| (order.id, order.quantity))
            .collect();
        assert_eq!(orders, levels.values().flatten().copied().collect::<Vec<_>>());
        for order in book.orders(side) {
            assert_eq!(book.order(order.id), Some(order));
        }
        for (level, queue) in book.depth(side).zip(levels.values()) {
            let orders: Vec<_> = book
                .queue(side, level.price)
                .map(|order| (order.id, order.quantity))
                .collect();
            assert_eq!(orders, *queue);
        }
    }
    let tallies = book.tallies();
    let counted = (
        tallies.unseen_orders,
        tallies.duplicate_orders,
        tallies.zero_quantities,
        tallies.over_reductions,
        tallies.senseless,
    );
    assert_eq!(
        counted,
        (
            model.unseen,
            model.duplicate,
            model.zero,
            model.over,
            model.senseless
        )
    );
    assert_eq!(
        (book.traded().trades, book.traded().volume),
        (model.trades, model.volume)
    );
}

/// One of every message that is kept, about `instrument`.
pub(crate) fn everything(books: &mut Books, instrument: u32) {
    let number = instrument.into();
    let source = (instrument >> 16) as u16;
    books.apply_message(&InstrumentDefinition {
        instrument: number,
        symbol: Text::new(format!("S{instrument}").as_bytes()),
        source: source.into(),
        ..InstrumentDefinition::NULL
    });
    books.apply_message(&TradingStatus {
        instrument: number,
        status: twinline_wire::field::Status::TRADING,
        ..TradingStatus::NULL
    });
    books.apply_message(&TradingStatus {
        instrument: (instrument & 0xffff_0000).into(),
        status: twinline_wire::field::Status::START_OF_MARKET_HOURS,
        ..TradingStatus::NULL
    });
    books.apply_message(&PriceTick {
        instrument: number,
        price: Price::new(11),
        ..PriceTick::NULL
    });
    books.apply_message(&Trade {
        instrument: number,
        quantity: 5.into(),
        price: Price::new(12),
        match_id: 77.into(),
        ..Trade::NULL
    });
    books.apply_message(&BestBidOffer {
        instrument: number,
        bid_price: Optional::some(Price::new(9)),
        bid_quantity: 3.into(),
        ..BestBidOffer::NULL
    });
    books.apply_message(&Imbalance {
        instrument: number,
        ..Imbalance::NULL
    });
    books.apply_message(&TradeCancel {
        instrument: number,
        match_id: 3.into(),
        ..TradeCancel::NULL
    });
    books.apply_message(&SourcePosition {
        position: 1234.into(),
        source: source.into(),
    });
}
