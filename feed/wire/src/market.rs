//! Market messages: what happens on a venue, normalised, order by order.
//!
//! `source_time` is the source's own clock in nanoseconds; [`SessionStart`](crate::session::SessionStart) says since
//! when (for ITCH: since midnight of the venue's day). `instrument` is `source << 16 | the source's own number` (from 1)
//! and is named by an [`InstrumentDefinition`]; quantities are whole units.

use crate::field::{
    CrossKind, EventFlags, ImbalanceSide, ModifyAction, Optional, Price, Side, Status, Text, TradeKind,
};
use crate::message::{Message, MessageDef, messages};
use crate::{U16, U32, U64};

messages! {
    /// Names an instrument. Comes before anything else about it, and again whenever something changes.
    InstrumentDefinition = 10 {
        /// Source time in nanoseconds.
        source_time: U64,
        /// The number that all other messages name it by.
        instrument: U32,
        /// The venue's symbol.
        symbol: Text<16>,
        /// Units in a round lot.
        lot_size: Optional<U32>,
        /// Smallest price step.
        price_increment: Optional<Price>,
        /// The source.
        source: U16,
        /// The venue's market or tier, its own letters.
        market: Text<4>,
        /// The venue's classification, its own letters.
        class: Text<4>,
        /// Marks.
        flags: EventFlags,
    }
    /// The state of an instrument changes, or of the source's whole market (an instrument whose low 16 bits are 0).
    TradingStatus = 11 {
        /// Source time in nanoseconds.
        source_time: U64,
        /// The instrument; with low 16 bits of 0, all of the source's.
        instrument: U32,
        /// The new state.
        status: Status,
        /// The venue's reason, its own letters.
        reason: Text<4>,
        /// Marks.
        flags: EventFlags,
    }
    /// An order enters the book.
    AddOrder = 12 {
        /// Source time in nanoseconds.
        source_time: U64,
        /// The venue's order number.
        order_id: U64,
        /// Limit price.
        price: Price,
        /// Displayed quantity.
        quantity: U32,
        /// The instrument.
        instrument: U32,
        /// The participant, where the venue shows one.
        participant: Text<4>,
        /// Side of the book.
        side: Side,
        /// Marks.
        flags: EventFlags,
    }
    /// An order's quantity changes.
    ModifyOrder = 13 {
        /// Source time in nanoseconds.
        source_time: U64,
        /// The order.
        order_id: U64,
        /// How much, see `action`.
        quantity: U32,
        /// The instrument.
        instrument: U32,
        /// What `quantity` means.
        action: ModifyAction,
        /// Marks.
        flags: EventFlags,
    }
    /// An order is replaced by another on the same side; the new one goes to the end of its queue.
    ReplaceOrder = 14 {
        /// Source time in nanoseconds.
        source_time: U64,
        /// The order that goes.
        order_id: U64,
        /// The order that comes.
        new_order_id: U64,
        /// Its limit price.
        price: Price,
        /// Its displayed quantity.
        quantity: U32,
        /// The instrument.
        instrument: U32,
        /// Marks.
        flags: EventFlags,
    }
    /// An order leaves the book.
    DeleteOrder = 15 {
        /// Source time in nanoseconds.
        source_time: U64,
        /// The order.
        order_id: U64,
        /// The instrument.
        instrument: U32,
        /// Marks.
        flags: EventFlags,
    }
    /// An order in the book is executed, in part or in full.
    ExecuteOrder = 16 {
        /// Source time in nanoseconds.
        source_time: U64,
        /// The order.
        order_id: U64,
        /// The venue's number of the match.
        match_id: U64,
        /// The price, where it is not the order's own.
        price: Optional<Price>,
        /// Executed quantity.
        quantity: U32,
        /// The instrument.
        instrument: U32,
        /// Marks.
        flags: EventFlags,
    }
    /// A trade that changes no displayed order.
    Trade = 17 {
        /// Source time in nanoseconds.
        source_time: U64,
        /// The venue's number of the match.
        match_id: U64,
        /// Price.
        price: Price,
        /// Quantity.
        quantity: U64,
        /// The instrument.
        instrument: U32,
        /// Side of the resting order, where the source says it.
        side: Side,
        /// How it came about.
        kind: TradeKind,
        /// Marks.
        flags: EventFlags,
    }
    /// A trade is broken.
    TradeCancel = 18 {
        /// Source time in nanoseconds.
        source_time: U64,
        /// The number of the match that no longer counts.
        match_id: U64,
        /// The instrument.
        instrument: U32,
        /// Marks.
        flags: EventFlags,
    }
    /// The state of an auction that is being collected.
    Imbalance = 19 {
        /// Source time in nanoseconds.
        source_time: U64,
        /// Quantity that would trade at the reference price.
        paired_quantity: U64,
        /// Quantity left over.
        imbalance_quantity: U64,
        /// Price at which the auction would clear with all orders in it.
        far_price: Optional<Price>,
        /// Price at which it would clear with continuous orders too.
        near_price: Optional<Price>,
        /// Price that the quantities are for.
        reference_price: Optional<Price>,
        /// The instrument.
        instrument: U32,
        /// Side of what is left over.
        side: ImbalanceSide,
        /// Which auction.
        cross: CrossKind,
        /// Marks.
        flags: EventFlags,
    }
    /// The best bid and offer, from a source that sends no orders.
    BestBidOffer = 20 {
        /// Source time in nanoseconds.
        source_time: U64,
        /// Best bid price.
        bid_price: Optional<Price>,
        /// Best offer price.
        offer_price: Optional<Price>,
        /// Quantity at the best bid.
        bid_quantity: U64,
        /// Quantity at the best offer.
        offer_quantity: U64,
        /// The instrument.
        instrument: U32,
        /// Marks.
        flags: EventFlags,
    }
    /// A price, and nothing else: the plainest market data there is.
    PriceTick = 21 {
        /// Source time in nanoseconds.
        source_time: U64,
        /// Price.
        price: Price,
        /// Quantity, where there is one.
        quantity: Optional<U64>,
        /// The instrument.
        instrument: U32,
        /// Marks.
        flags: EventFlags,
    }
    /// An order that entered before the source's first message, of which the source tells only when something happens to
    /// it: stands before the message that says what, in the same event. No book shows it, before or after.
    UnseenOrder = 22 {
        /// Source time in nanoseconds.
        source_time: U64,
        /// The venue's order number.
        order_id: U64,
        /// Limit price.
        price: Price,
        /// Quantity that the next message takes from it.
        quantity: U32,
        /// The instrument.
        instrument: U32,
        /// Side of the book.
        side: Side,
        /// Marks.
        flags: EventFlags,
    }
}

/// Every market message.
pub static DEFS: &[&MessageDef] = &[
    InstrumentDefinition::DEF,
    TradingStatus::DEF,
    AddOrder::DEF,
    ModifyOrder::DEF,
    ReplaceOrder::DEF,
    DeleteOrder::DEF,
    ExecuteOrder::DEF,
    Trade::DEF,
    TradeCancel::DEF,
    Imbalance::DEF,
    BestBidOffer::DEF,
    PriceTick::DEF,
    UnseenOrder::DEF,
];
