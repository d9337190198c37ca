//! From a message of ITCH to one of ours.

use super::layout::{
    AddOrder, AddOrderAttributed, BrokenTrade, CrossTrade, Head, NetOrderImbalance, OperationalHalt,
    OrderCancel, OrderDelete, OrderExecuted, OrderExecutedWithPrice, OrderReplace, StockDirectory,
    SystemEvent, Trade, TradingAction, length_of,
};
use crate::source::{EventSink, Outcome};
use twinline_wire::field::{
    CrossKind, EventFlags, Field, ImbalanceSide, ModifyAction, Optional, Price, Side, Status, Text, TradeKind,
};
use twinline_wire::{U16, U32, U64, market};
use zerocopy::{FromBytes, Immutable, KnownLayout, big_endian};

/// Units of our prices in one of ITCH's, which have four decimals.
const PRICE_UNIT: i64 = 100_000;

const LAST: EventFlags = EventFlags::END_OF_EVENT;
const LAST_PRINTABLE: EventFlags = EventFlags(EventFlags::END_OF_EVENT.0 | EventFlags::PRINTABLE.0);

/// Pushes what `message`, of source `source`, says into `sink`: one message of ours, marked as the last of its event,
/// or none if the outcome is another than [`Outcome::Published`].
#[inline]
pub fn translate(source: u16, message: &[u8], sink: &mut impl EventSink) -> Outcome {
    let Some(&kind) = message.first() else {
        return Outcome::WrongLength;
    };
    match length_of(kind) {
        None => return Outcome::UnknownType,
        Some(length) if length != message.len() => return Outcome::WrongLength,
        Some(_) => {}
    }
    let said = match kind {
        b'A' => read(message).map(|m: &AddOrder| sink.push(&add(source, m, Text([0; 4])))),
        b'F' => read(message)
            .map(|m: &AddOrderAttributed| sink.push(&add(source, &m.add, Text::new(&m.attribution)))),
        b'D' => read(message).map(|m| sink.push(&delete(source, m))),
        b'E' => read(message).map(|m| sink.push(&execute(source, m))),
        b'C' => read(message).map(|m| sink.push(&execute_at_price(source, m))),
        b'X' => read(message).map(|m| sink.push(&cancel(source, m))),
        b'U' => read(message).map(|m| sink.push(&replace(source, m))),
        b'P' => read(message).map(|m| sink.push(&trade(source, m))),
        b'Q' => read(message).map(|m| sink.push(&cross_trade(source, m))),
        b'B' => read(message).map(|m| sink.push(&trade_cancel(source, m))),
        b'I' => read(message).map(|m| sink.push(&imbalance(source, m))),
        b'S' => read(message).map(|m| sink.push(&system_event(source, m))),
        b'R' => read(message).map(|m| sink.push(&instrument_definition(source, m))),
        b'H' => read(message).map(|m| sink.push(&trading_action(source, m))),
        b'h' => read(message).map(|m| sink.push(&operational_halt(source, m))),
        _ => return Outcome::NoTemplate,
    };
    said.map_or(Outcome::WrongLength, |()| Outcome::Published)
}

/// `message` as an `M`; `None` if it is not exactly as long.
fn read<M: FromBytes + KnownLayout + Immutable + zerocopy::Unaligned>(message: &[u8]) -> Option<&M> {
    M::ref_from_bytes(message).ok()
}

fn instrument(source: u16, head: &Head) -> U32 {
    U32::new(u32::from(source) << 16 | u32::from(head.locate.get()))
}

fn time(head: &Head) -> U64 {
    U64::new(head.nanoseconds())
}

fn price(price: big_endian::U32) -> Price {
    Price::new(i64::from(price.get()) * PRICE_UNIT)
}

/// A price of which 0 says that there is none.
fn price_or_none(value: big_endian::U32) -> Optional<Price> {
    if value.get() == 0 {
        Optional::NONE
    } else {
        Optional::some(price(value))
    }
}

fn long(value: big_endian::U64) -> U64 {
    U64::new(value.get())
}

fn quantity(value: big_endian::U32) -> U32 {
    U32::new(value.get())
}

fn side(letter: u8) -> Side {
    match letter {
        b'B' => Side::BUY,
        b'S' => Side::SELL,
        _ => Side::NULL,
    }
}

fn add(source: u16, m: &AddOrder, participant: Text<4>) -> market::AddOrder {
    market::AddOrder {
        source_time: time(&m.head),
        order_id: long(m.order),
        price: price(m.price),
        quantity: quantity(m.shares),
        instrument: instrument(source, &m.head),
        participant,
        side: side(m.side),
        flags: LAST,
    }
}

fn delete(source: u16, m: &OrderDelete) -> market::DeleteOrder {
    market::DeleteOrder {
        source_time: time(&m.head),
        order_id: long(m.order),
        instrument: instrument(source, &m.head),
        flags: LAST,
    }
}

fn execute(source: u16, m: &OrderExecuted) -> market::ExecuteOrder {
    market::ExecuteOrder {
        source_time: time(&m.head),
        order_id: long(m.order),
        match_id: long(m.match_number),
        price: Optional::NONE,
        quantity: quantity(m.shares),
        instrument: instrument(source, &m.head),
        flags: LAST_PRINTABLE,
    }
}

fn execute_at_price(source: u16, m: &OrderExecutedWithPrice) -> market::ExecuteOrder {
    market::ExecuteOrder {
        source_time: time(&m.head),
        order_id: long(m.order),
        match_id: long(m.match_number),
        price: Optional::some(price(m.price)),
        quantity: quantity(m.shares),
        instrument: instrument(source, &m.head),
        flags: if m.printable == b'Y' { LAST_PRINTABLE } else { LAST },
    }
}

fn cancel(source: u16, m: &OrderCancel) -> market::ModifyOrder {
    market::ModifyOrder {
        source_time: time(&m.head),
        order_id: long(m.order),
        quantity: quantity(m.shares),
        instrument: instrument(source, &m.head),
        action: ModifyAction::REDUCE_BY,
        flags: LAST,
    }
}

fn replace(source: u16, m: &OrderReplace) -> market::ReplaceOrder {
    market::ReplaceOrder {
        source_time: time(&m.head),
        order_id: long(m.order),
        new_order_id: long(m.new_order),
        price: price(m.price),
        quantity: quantity(m.shares),
        instrument: instrument(source, &m.head),
        flags: LAST,
    }
}

/// The side stays absent: ITCH writes `B` whichever side it was, so the letter says nothing.
fn trade(source: u16, m: &Trade) -> market::Trade {
    market::Trade {
        source_time: time(&m.head),
        match_id: long(m.match_number),
        price: price(m.price),
        quantity: U64::new(u64::from(m.shares.get())),
        instrument: instrument(source, &m.head),
        side: Side::NULL,
        kind: TradeKind::NON_DISPLAYED,
        flags: LAST_PRINTABLE,
    }
}

fn cross_trade(source: u16, m: &CrossTrade) -> market::Trade {
    market::Trade {
        source_time: time(&m.head),
        match_id: long(m.match_number),
        price: price(m.price),
        quantity: long(m.shares),
        instrument: instrument(source, &m.head),
        side: Side::NULL,
        kind: match m.cross {
            b'O' => TradeKind::OPENING_CROSS,
            b'C' => TradeKind::CLOSING_CROSS,
            b'H' => TradeKind::HALT_CROSS,
            _ => TradeKind::OTHER_CROSS,
        },
        flags: LAST_PRINTABLE,
    }
}

fn trade_cancel(source: u16, m: &BrokenTrade) -> market::TradeCancel {
    market::TradeCancel {
        source_time: time(&m.head),
        match_id: long(m.match_number),
        instrument: instrument(source, &m.head),
        flags: LAST,
    }
}

fn imbalance(source: u16, m: &NetOrderImbalance) -> market::Imbalance {
    market::Imbalance {
        source_time: time(&m.head),
        paired_quantity: long(m.paired),
        imbalance_quantity: long(m.imbalance),
        far_price: price_or_none(m.far_price),
        near_price: price_or_none(m.near_price),
        reference_price: price_or_none(m.reference_price),
        instrument: instrument(source, &m.head),
        side: match m.direction {
            b'B' => ImbalanceSide::BUY,
            b'S' => ImbalanceSide::SELL,
            b'N' => ImbalanceSide::NONE,
            b'O' => ImbalanceSide::INSUFFICIENT,
            b'P' => ImbalanceSide::PAUSED,
            _ => ImbalanceSide::NULL,
        },
        cross: match m.cross {
            b'O' => CrossKind::OPENING,
            b'C' => CrossKind::CLOSING,
            b'H' => CrossKind::HALT,
            _ => CrossKind::OTHER,
        },
        flags: LAST,
    }
}

fn status(source: u16, head: &Head, status: Status, reason: Text<4>) -> market::TradingStatus {
    market::TradingStatus {
        source_time: time(head),
        instrument: instrument(source, head),
        status,
        reason,
        flags: LAST,
    }
}

/// About all of the source's instruments, so its number 0.
fn system_event(source: u16, m: &SystemEvent) -> market::TradingStatus {
    let (state, reason) = match m.event {
        b'O' => (Status::START_OF_MESSAGES, Text::default()),
        b'S' => (Status::START_OF_SYSTEM_HOURS, Text::default()),
        b'Q' => (Status::START_OF_MARKET_HOURS, Text::default()),
        b'M' => (Status::END_OF_MARKET_HOURS, Text::default()),
        b'E' => (Status::END_OF_SYSTEM_HOURS, Text::default()),
        b'C' => (Status::END_OF_MESSAGES, Text::default()),
        other => (Status::OTHER, Text::new(&[other])),
    };
    market::TradingStatus {
        instrument: U32::new(u32::from(source) << 16),
        ..status(source, &m.head, state, reason)
    }
}

fn trading_action(source: u16, m: &TradingAction) -> market::TradingStatus {
    let (state, reason) = match m.state {
        b'H' => (Status::HALTED, Text::new(&m.reason)),
        b'P' => (Status::PAUSED, Text::new(&m.reason)),
        b'Q' => (Status::QUOTATION_ONLY, Text::new(&m.reason)),
        b'T' => (Status::TRADING, Text::new(&m.reason)),
        other => (Status::OTHER, Text::new(&[other])),
    };
    status(source, &m.head, state, reason)
}

/// The reason is the market centre's letter.
fn operational_halt(source: u16, m: &OperationalHalt) -> market::TradingStatus {
    let (state, reason) = match m.action {
        b'H' => (Status::OPERATIONAL_HALT, Text::new(&[m.market])),
        b'T' => (Status::OPERATIONAL_RESUME, Text::new(&[m.market])),
        other => (Status::OTHER, Text::new(&[m.market, other])),
    };
    status(source, &m.head, state, reason)
}

fn instrument_definition(source: u16, m: &StockDirectory) -> market::InstrumentDefinition {
    let [major, minor] = m.issue_sub_type;
    market::InstrumentDefinition {
        source_time: time(&m.head),
        instrument: instrument(source, &m.head),
        symbol: Text::new(&m.stock),
        lot_size: Optional::some(U32::new(m.round_lot_size.get())),
        price_increment: Optional::NONE,
        source: U16::new(source),
        market: Text::new(&[m.market_category]),
        class: Text::new(&[m.issue_classification, major, minor]),
        flags: LAST,
    }
}
