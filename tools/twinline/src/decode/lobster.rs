//! Messages as LOBSTER's rows: time, type, order, size, price x 10,000, direction.
//!
//! LOBSTER repeats an order's price and side in every row; our messages do not. So the live orders are kept, and a row
//! takes from them what its message leaves out. What nobody said stays empty: the price of an order that entered before
//! an ITCH file begins, say.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use twinline_wire::field::{ModifyAction, Status, TradeKind};
use twinline_wire::market::{
    AddOrder, DeleteOrder, ExecuteOrder, ModifyOrder, ReplaceOrder, Trade, TradingStatus, UnseenOrder,
};
use twinline_wire::{Frame, Price, Side};

/// Our prices in a unit of LOBSTER's.
const PRICE_UNIT: i64 = 100_000;

type Key = (u32, u64);

#[derive(Clone, Copy, Debug)]
struct Order {
    price: Price,
    side: Side,
    left: u32,
}

/// Live orders, and what else rows need.
#[derive(Debug, Default)]
pub(super) struct Lobster {
    orders: HashMap<Key, Order>,
    /// What the message before said of the next one's order.
    unseen: Option<(Key, Order)>,
    /// Instruments that do not trade just now.
    halted: HashSet<u32>,
}

impl Lobster {
    /// The rows of `frame`, each with its line end, appended to `out`; false if LOBSTER has no row for it.
    pub(super) fn rows(&mut self, frame: &Frame<'_>, out: &mut String) -> bool {
        let unseen = self.unseen.take();
        let known = |orders: &HashMap<Key, Order>, key: Key| {
            let said = unseen.filter(|(of, _)| *of == key).map(|(_, order)| order);
            said.or(orders.get(&key).copied())
        };
        if let Some(m) = frame.view::<UnseenOrder>() {
            let order = order(m.price, m.side, m.quantity.get());
            self.unseen = Some(((m.instrument.get(), m.order_id.get()), order));
        } else if let Some(m) = frame.view::<AddOrder>() {
            let order = order(m.price, m.side, m.quantity.get());
            self.orders.insert((m.instrument.get(), m.order_id.get()), order);
            row(
                out,
                m.source_time.get(),
                1,
                m.order_id.get(),
                Some(order.left),
                Some(order),
            );
        } else if let Some(m) = frame.view::<DeleteOrder>() {
            let key = (m.instrument.get(), m.order_id.get());
            let order = known(&self.orders, key);
            self.orders.remove(&key);
            row(
                out,
                m.source_time.get(),
                3,
                key.1,
                order.map(|order| order.left),
                order,
            );
        } else if let Some(m) = frame.view::<ExecuteOrder>() {
            let key = (m.instrument.get(), m.order_id.get());
            let order = known(&self.orders, key);
            self.take(key, m.quantity.get());
            row(out, m.source_time.get(), 4, key.1, Some(m.quantity.get()), order);
        } else if let Some(m) = frame.view::<ModifyOrder>() {
            let key = (m.instrument.get(), m.order_id.get());
            let order = known(&self.orders, key);
            self.modify(&m, key, order, out);
        } else if let Some(m) = frame.view::<ReplaceOrder>() {
            let old = (m.instrument.get(), m.order_id.get());
            let gone = known(&self.orders, old);
            self.orders.remove(&old);
            row(
                out,
                m.source_time.get(),
                3,
                old.1,
                gone.map(|order| order.left),
                gone,
            );
            let side = gone.map_or(Side(u8::MAX), |order| order.side);
            let new = order(m.price, side, m.quantity.get());
            self.orders.insert((old.0, m.new_order_id.get()), new);
            row(
                out,
                m.source_time.get(),
                1,
                m.new_order_id.get(),
                Some(new.left),
                Some(new),
            );
        } else if let Some(m) = frame.view::<Trade>() {
            return trade(&m, out);
        } else if let Some(m) = frame.view::<TradingStatus>() {
            return self.status(&m, out);
        } else {
            return false;
        }
        true
    }

    /// An order loses this much; gone when nothing is left.
    fn take(&mut self, key: Key, quantity: u32) {
        if let Some(order) = self.orders.get_mut(&key) {
            order.left = order.left.saturating_sub(quantity);
            if order.left == 0 {
                self.orders.remove(&key);
            }
        }
    }

    fn modify(&mut self, m: &ModifyOrder, key: Key, known: Option<Order>, out: &mut String) {
        let (time, quantity) = (m.source_time.get(), m.quantity.get());
        let left = known.map(|order| order.left);
        if m.action == ModifyAction::REDUCE_BY {
            self.take(key, quantity);
            return row(out, time, 2, key.1, Some(quantity), known);
        }
        if m.action == ModifyAction::SET_KEEP_PRIORITY
            && let Some(less) = left.and_then(|left| left.checked_sub(quantity))
        {
            self.take(key, less);
            return row(out, time, 2, key.1, Some(less), known);
        }
        // LOBSTER knows no growth and no new place in the queue: the order goes and comes again.
        row(out, time, 3, key.1, left, known);
        if let Some(order) = known {
            let again = Order {
                left: quantity,
                ..order
            };
            self.orders.insert(key, again);
            row(out, time, 1, key.1, Some(quantity), Some(again));
        }
    }

    /// A halt (price -1), its quoting period (0) and its end (1), as LOBSTER writes them.
    fn status(&mut self, m: &TradingStatus, out: &mut String) -> bool {
        let instrument = m.instrument.get();
        let price = match m.status {
            Status::HALTED | Status::PAUSED => -1,
            Status::QUOTATION_ONLY => 0,
            Status::TRADING if self.halted.contains(&instrument) => 1,
            _ => return false,
        };
        if price == 1 {
            self.halted.remove(&instrument);
        } else {
            self.halted.insert(instrument);
        }
        let _ = writeln!(out, "{},7,0,0,{price},-1", time(m.source_time.get()));
        true
    }
}

/// A hidden execution or a cross. The order is the number that LOBSTER's own file had; a source that does not say the
/// side (ITCH) has another number there, the match: then it is 0 and the direction 1, as LOBSTER writes both.
fn trade(m: &Trade, out: &mut String) -> bool {
    let known = m.side == Side::BUY || m.side == Side::SELL;
    let (kind, id, direction) = match m.kind {
        TradeKind::NON_DISPLAYED if known => (5, m.match_id.get(), direction(m.side)),
        TradeKind::NON_DISPLAYED => (5, 0, "1"),
        TradeKind::OPENING_CROSS
        | TradeKind::CLOSING_CROSS
        | TradeKind::HALT_CROSS
        | TradeKind::OTHER_CROSS => {
            // LOBSTER has no order there and writes -1 for both.
            let side = if known { direction(m.side) } else { "-1" };
            let (time, price) = (time(m.source_time.get()), price(m.price));
            let _ = writeln!(out, "{time},6,-1,{},{price},{side}", m.quantity.get());
            return true;
        }
        _ => return false,
    };
    let (time, price) = (time(m.source_time.get()), price(m.price));
    let _ = writeln!(out, "{time},{kind},{id},{},{price},{direction}", m.quantity.get());
    true
}

fn order(price: Price, side: Side, left: u32) -> Order {
    Order { price, side, left }
}

fn row(out: &mut String, at: u64, kind: u8, id: u64, size: Option<u32>, order: Option<Order>) {
    let size = size.map_or(String::new(), |size| size.to_string());
    let (price, direction) = order.map_or((String::new(), ""), |order| {
        (price(order.price), direction(order.side))
    });
    let _ = writeln!(out, "{},{kind},{id},{size},{price},{direction}", time(at));
}

fn direction(side: Side) -> &'static str {
    match side {
        Side::BUY => "1",
        Side::SELL => "-1",
        _ => "",
    }
}

/// Seconds since midnight with nine decimals.
fn time(nanos: u64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

/// A price x 10,000: whole where ours has up to four decimals, otherwise with the decimals that are left.
fn price(price: Price) -> String {
    let (whole, part) = (
        price.mantissa() / PRICE_UNIT,
        (price.mantissa() % PRICE_UNIT).unsigned_abs(),
    );
    let sign = if price.mantissa() < 0 && whole == 0 {
        "-"
    } else {
        ""
    };
    match part {
        0 => whole.to_string(),
        _ => format!("{sign}{whole}.{part:05}").trim_end_matches('0').into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinline_wire::{Message, OpenPacket, Packet, Stamp};

    fn rows<M: Message>(lobster: &mut Lobster, message: &M) -> String {
        let mut buffer = [0; 512];
        let mut open = OpenPacket::new();
        assert!(open.push(&mut buffer, message));
        let stamp = Stamp {
            channel: 1,
            session: 1,
            epoch: 1,
            epoch_base: 1,
            sequence: 1,
            sending_time: 0,
            flags: 0,
        };
        let length = open.finish_whole(&mut buffer, stamp, 0);
        let packet = Packet::parse(&buffer[..length]).unwrap();
        let (_, frame) = packet.messages().next().unwrap();
        let mut out = String::new();
        lobster.rows(&frame, &mut out);
        out
    }

    #[test]
    fn a_row_takes_from_its_order_what_its_message_leaves_out() {
        let mut lobster = Lobster::default();
        let add = AddOrder {
            source_time: 34_200_004_241_176.into(),
            order_id: 7.into(),
            price: Price::new(585_330_000_000),
            quantity: 18.into(),
            side: Side::SELL,
            ..AddOrder::NULL
        };
        assert_eq!(rows(&mut lobster, &add), "34200.004241176,1,7,18,5853300,-1\n");
        let reduce = ModifyOrder {
            source_time: 1.into(),
            order_id: 7.into(),
            quantity: 3.into(),
            action: ModifyAction::REDUCE_BY,
            ..ModifyOrder::NULL
        };
        assert_eq!(rows(&mut lobster, &reduce), "0.000000001,2,7,3,5853300,-1\n");
        let execute = ExecuteOrder {
            source_time: 2.into(),
            order_id: 7.into(),
            quantity: 5.into(),
            ..ExecuteOrder::NULL
        };
        assert_eq!(rows(&mut lobster, &execute), "0.000000002,4,7,5,5853300,-1\n");
        let replace = ReplaceOrder {
            source_time: 3.into(),
            order_id: 7.into(),
            new_order_id: 8.into(),
            price: Price::new(1_000_000_000),
            quantity: 4.into(),
            ..ReplaceOrder::NULL
        };
        let replaced = "0.000000003,3,7,10,5853300,-1\n0.000000003,1,8,4,10000,-1\n";
        assert_eq!(rows(&mut lobster, &replace), replaced);
        let delete = DeleteOrder {
            source_time: 4.into(),
            order_id: 8.into(),
            ..DeleteOrder::NULL
        };
        assert_eq!(rows(&mut lobster, &delete), "0.000000004,3,8,4,10000,-1\n");
        assert_eq!(
            rows(&mut lobster, &delete),
            "0.000000004,3,8,,,\n",
            "nobody said what it was"
        );
    }

    #[test]
    fn an_unseen_order_is_known_to_the_next_message_only() {
        let mut lobster = Lobster::default();
        let unseen = UnseenOrder {
            order_id: 9.into(),
            price: Price::new(2_000_000_000),
            quantity: 6.into(),
            side: Side::BUY,
            ..UnseenOrder::NULL
        };
        let delete = DeleteOrder {
            source_time: 0.into(),
            order_id: 9.into(),
            ..DeleteOrder::NULL
        };
        assert_eq!(rows(&mut lobster, &unseen), "");
        assert_eq!(rows(&mut lobster, &delete), "0.000000000,3,9,6,20000,1\n");
        assert_eq!(rows(&mut lobster, &delete), "0.000000000,3,9,,,\n");
    }

    #[test]
    fn halts_are_rows_and_the_first_trading_is_none() {
        let mut lobster = Lobster::default();
        let status = |status| TradingStatus {
            source_time: 0.into(),
            status,
            ..TradingStatus::NULL
        };
        assert_eq!(rows(&mut lobster, &status(Status::TRADING)), "");
        assert_eq!(
            rows(&mut lobster, &status(Status::HALTED)),
            "0.000000000,7,0,0,-1,-1\n"
        );
        assert_eq!(
            rows(&mut lobster, &status(Status::QUOTATION_ONLY)),
            "0.000000000,7,0,0,0,-1\n"
        );
        assert_eq!(
            rows(&mut lobster, &status(Status::TRADING)),
            "0.000000000,7,0,0,1,-1\n"
        );
    }
}
