//! Messages by their type.

use twinline_wire::market::{
    AddOrder, BestBidOffer, DeleteOrder, ExecuteOrder, Imbalance, InstrumentDefinition, ModifyOrder,
    PriceTick, ReplaceOrder, Trade, TradeCancel, TradingStatus, UnseenOrder,
};
use twinline_wire::message::view_block;
use twinline_wire::session::{EndOfSession, EpochStart, SessionStart, SourcePosition};
use twinline_wire::{Frame, Message, View};

macro_rules! market {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {
        /// A message by its type. Fields are read where they stand; one of an older schema version is completed with nulls.
        #[derive(Clone, Copy, Debug)]
        #[non_exhaustive]
        pub enum Market<'a> {
            $($(#[$meta])* $name(View<'a, $name>),)*
            /// A template that this build does not know.
            Other(Frame<'a>),
        }

        impl<'a> Market<'a> {
            /// The message in a frame.
            #[inline]
            pub fn of(frame: Frame<'a>) -> Self {
                match frame.template() {
                    $($name::TEMPLATE => Self::$name(view_block(frame.block())),)*
                    _ => Self::Other(frame),
                }
            }
        }
    };
}

market! {
    /// An order enters the book.
    AddOrder,
    /// An order leaves the book.
    DeleteOrder,
    /// An order in the book is executed.
    ExecuteOrder,
    /// An order's quantity changes.
    ModifyOrder,
    /// An order is replaced by another.
    ReplaceOrder,
    /// A trade that changes no displayed order.
    Trade,
    /// A trade is broken.
    TradeCancel,
    /// The best bid and offer of a source that sends no orders.
    BestBidOffer,
    /// A price.
    PriceTick,
    /// An instrument is named.
    InstrumentDefinition,
    /// An instrument's state, or that of a whole market.
    TradingStatus,
    /// An auction that is being collected.
    Imbalance,
    /// An order that entered before the source's first message.
    UnseenOrder,
    /// How far into a source the messages before this one reach.
    SourcePosition,
    /// An epoch begins.
    EpochStart,
    /// A session begins.
    SessionStart,
    /// A session ends.
    EndOfSession,
}
