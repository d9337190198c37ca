//! The fields of every type, through the hand-made encoder.

use super::Encoder;
use crate::source::itch::layout::{self, length_of};
use crate::source::itch::translate;
use crate::source::{Outcome, Recorder};
use proptest::prelude::*;
use twinline_wire::field::{
    CrossKind, EventFlags, Field, ImbalanceSide, ModifyAction, Optional, Price, Side, Status, Text, TradeKind,
};
use twinline_wire::{Message, U16, U32, U64, market};

const LAST: EventFlags = EventFlags::END_OF_EVENT;
const PRINTED: EventFlags = EventFlags(3);

/// What `message`, of source 9, becomes: exactly one message of ours, an `M`.
fn one<M: Message>(message: Encoder) -> M {
    assert_eq!(
        length_of(message.0[0]),
        Some(message.0.len()),
        "the test's encoder"
    );
    let mut sink = Recorder::default();
    assert_eq!(translate(9, &message.0, &mut sink), Outcome::Published);
    assert_eq!(sink.pending.len(), 1);
    let (template, bytes) = &sink.pending[0];
    assert_eq!(*template, M::TEMPLATE);
    M::read_from_bytes(bytes).unwrap()
}

proptest! {
    #[test]
    fn the_fields_of_every_order_message_come_through(
        locate: u16, time in 0..1u64 << 48, order: u64, new_order: u64, shares: u32, price: u32, id: u64,
        buy: bool, printable: bool,
    ) {
        let begin = |kind| Encoder::new(kind, locate, time);
        let source_time = U64::new(time);
        let instrument = U32::new(9 << 16 | u32::from(locate));
        let (order_id, match_id, quantity) = (U64::new(order), U64::new(id), U32::new(shares));
        let our_price = Price::new(i64::from(price) * 100_000);
        let (letter, side) = if buy { (b'B', Side::BUY) } else { (b'S', Side::SELL) };
        let mut added = market::AddOrder {
            source_time, order_id, price: our_price, quantity, instrument, participant: Text::default(), side,
            flags: LAST,
        };
        let add = |kind| begin(kind).u64(order).u8(letter).u32(shares).text("AAPL    ").u32(price);
        prop_assert_eq!(one::<market::AddOrder>(add(b'A')), added);
        added.participant = Text::new(b"LEHM");
        prop_assert_eq!(one::<market::AddOrder>(add(b'F').text("LEHM")), added);

        let mut executed = market::ExecuteOrder {
            source_time, order_id, match_id, price: Optional::NONE, quantity, instrument, flags: PRINTED,
        };
        prop_assert_eq!(one::<market::ExecuteOrder>(begin(b'E').u64(order).u32(shares).u64(id)), executed);
        executed.price = Optional::some(our_price);
        executed.flags = if printable { PRINTED } else { LAST };
        let print = if printable { b'Y' } else { b'N' };
        let message = begin(b'C').u64(order).u32(shares).u64(id).u8(print).u32(price);
        prop_assert_eq!(one::<market::ExecuteOrder>(message), executed);

        prop_assert_eq!(one::<market::ModifyOrder>(begin(b'X').u64(order).u32(shares)), market::ModifyOrder {
            source_time, order_id, quantity, instrument, action: ModifyAction::REDUCE_BY, flags: LAST,
        });
        prop_assert_eq!(one::<market::DeleteOrder>(begin(b'D').u64(order)), market::DeleteOrder {
            source_time, order_id, instrument, flags: LAST,
        });
        let message = begin(b'U').u64(order).u64(new_order).u32(shares).u32(price);
        prop_assert_eq!(one::<market::ReplaceOrder>(message), market::ReplaceOrder {
            source_time, order_id, new_order_id: U64::new(new_order), price: our_price, quantity, instrument,
            flags: LAST,
        });
    }

    #[test]
    fn the_fields_of_every_trade_message_come_through(
        locate: u16, time in 0..1u64 << 48, shares: u64, price in 1..=u32::MAX, id: u64, paired: u64, far: u32,
        cross in 0usize..5, direction in 0usize..5,
    ) {
        let begin = |kind| Encoder::new(kind, locate, time);
        let source_time = U64::new(time);
        let instrument = U32::new(9 << 16 | u32::from(locate));
        let our_price = |price: u32| Price::new(i64::from(price) * 100_000);
        let message = begin(b'P').u64(0).u8(b'B').u32(shares as u32).text("AAPL    ").u32(price).u64(id);
        let mut trade = market::Trade {
            source_time, match_id: U64::new(id), price: our_price(price), quantity: U64::new(u64::from(shares as u32)),
            instrument, side: Side::NULL, kind: TradeKind::NON_DISPLAYED, flags: PRINTED,
        };
        prop_assert_eq!(one::<market::Trade>(message), trade);
        let (letter, kind) = [
            (b'O', TradeKind::OPENING_CROSS), (b'C', TradeKind::CLOSING_CROSS), (b'H', TradeKind::HALT_CROSS),
            (b'I', TradeKind::OTHER_CROSS), (b'A', TradeKind::OTHER_CROSS),
        ][cross];
        (trade.quantity, trade.kind) = (U64::new(shares), kind);
        let message = begin(b'Q').u64(shares).text("AAPL    ").u32(price).u64(id).u8(letter);
        prop_assert_eq!(one::<market::Trade>(message), trade);
        prop_assert_eq!(one::<market::TradeCancel>(begin(b'B').u64(id)), market::TradeCancel {
            source_time, match_id: U64::new(id), instrument, flags: LAST,
        });

        let (way, side) = [
            (b'B', ImbalanceSide::BUY), (b'S', ImbalanceSide::SELL), (b'N', ImbalanceSide::NONE),
            (b'O', ImbalanceSide::INSUFFICIENT), (b'P', ImbalanceSide::PAUSED),
        ][direction];
        let (letter, cross) = [
            (b'O', CrossKind::OPENING), (b'C', CrossKind::CLOSING), (b'H', CrossKind::HALT), (b'A', CrossKind::OTHER),
            (b'A', CrossKind::OTHER),
        ][cross];
        let message = begin(b'I').u64(paired).u64(shares).u8(way).text("AAPL    ")
            .u32(far).u32(0).u32(price).u8(letter).u8(b'L');
        let far_price = if far == 0 { Optional::NONE } else { Optional::some(our_price(far)) };
        prop_assert_eq!(one::<market::Imbalance>(message), market::Imbalance {
            source_time, paired_quantity: U64::new(paired), imbalance_quantity: U64::new(shares), far_price,
            near_price: Optional::NONE, reference_price: Optional::some(our_price(price)), instrument, side, cross,
            flags: LAST,
        });
    }

    #[test]
    fn any_body_behind_any_letter_never_panics(kind: u8, body in proptest::collection::vec(any::<u8>(), 50)) {
        let length = layout::length_of(kind).unwrap_or(20);
        let mut message = body;
        message.truncate(length);
        message[0] = kind;
        let outcome = translate(1, &message, &mut Recorder::default());
        prop_assert_ne!(outcome, Outcome::WrongLength);
        prop_assert_eq!(outcome == Outcome::UnknownType, layout::length_of(kind).is_none());
    }
}

#[test]
fn the_fields_of_every_state_message_come_through() {
    let about = |kind: u8| Encoder::new(kind, 77, 34_200_000_000_123);
    let expect = |instrument, status, reason: &str| market::TradingStatus {
        source_time: U64::new(34_200_000_000_123),
        instrument: U32::new(instrument),
        status,
        reason: Text::new(reason.as_bytes()),
        flags: LAST,
    };
    for (letter, status, reason) in [
        (b'O', Status::START_OF_MESSAGES, ""),
        (b'S', Status::START_OF_SYSTEM_HOURS, ""),
        (b'Q', Status::START_OF_MARKET_HOURS, ""),
        (b'M', Status::END_OF_MARKET_HOURS, ""),
        (b'E', Status::END_OF_SYSTEM_HOURS, ""),
        (b'C', Status::END_OF_MESSAGES, ""),
        (b'A', Status::OTHER, "A"),
    ] {
        assert_eq!(
            one::<market::TradingStatus>(about(b'S').u8(letter)),
            expect(9 << 16, status, reason)
        );
    }
    for (letter, status, reason) in [
        (b'H', Status::HALTED, "T1"),
        (b'P', Status::PAUSED, "LUDP"),
        (b'Q', Status::QUOTATION_ONLY, ""),
        (b'T', Status::TRADING, "T3"),
    ] {
        let message = about(b'H')
            .text("AAPL    ")
            .u8(letter)
            .u8(b' ')
            .text(&format!("{reason:4}"));
        assert_eq!(
            one::<market::TradingStatus>(message),
            expect(9 << 16 | 77, status, reason)
        );
    }
    for (letter, status) in [
        (b'H', Status::OPERATIONAL_HALT),
        (b'T', Status::OPERATIONAL_RESUME),
    ] {
        let message = about(b'h').text("AAPL    ").u8(b'X').u8(letter);
        assert_eq!(
            one::<market::TradingStatus>(message),
            expect(9 << 16 | 77, status, "X")
        );
    }
    let directory = about(b'R')
        .text("AAPL    ")
        .text("QN")
        .u32(100)
        .text("NCZ P")
        .text("NN1N")
        .u32(0)
        .u8(b'N');
    assert_eq!(
        one::<market::InstrumentDefinition>(directory),
        market::InstrumentDefinition {
            source_time: U64::new(34_200_000_000_123),
            instrument: U32::new(9 << 16 | 77),
            symbol: Text::new(b"AAPL"),
            lot_size: Optional::some(100),
            price_increment: Optional::NONE,
            source: U16::new(9),
            market: Text::new(b"Q"),
            class: Text::new(b"CZ"),
            flags: LAST,
        }
    );
}

#[test]
fn every_type_of_the_specification_has_an_outcome_and_no_other_letter_has() {
    let with_template = b"SRHhAFECXDUPQBI";
    for (kind, length) in layout::TYPES {
        let mut message = vec![0; length];
        message[0] = kind;
        let mut sink = Recorder::default();
        let expected = if with_template.contains(&kind) {
            Outcome::Published
        } else {
            Outcome::NoTemplate
        };
        assert_eq!(
            translate(1, &message, &mut sink),
            expected,
            "{}",
            char::from(kind)
        );
        assert_eq!(sink.pending.len(), usize::from(expected == Outcome::Published));
        message.push(0);
        assert_eq!(translate(1, &message, &mut sink), Outcome::WrongLength);
        assert_eq!(
            translate(1, &message[..length - 1], &mut sink),
            Outcome::WrongLength
        );
    }
    assert_eq!(translate(1, b"Z", &mut Recorder::default()), Outcome::UnknownType);
    assert_eq!(translate(1, b"", &mut Recorder::default()), Outcome::WrongLength);
}
