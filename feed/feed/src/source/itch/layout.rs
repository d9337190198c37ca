//! The messages of NASDAQ TotalView-ITCH 5.0, byte for byte: big endian, no alignment, each of one exact length.
//!
//! Field names follow the specification. Types that have no template of ours stand in [`TYPES`] only.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Every type of the specification: its letter and the length of its messages in bytes.
pub const TYPES: [(u8, usize); 23] = [
    (b'S', 12),
    (b'R', 39),
    (b'H', 25),
    (b'Y', 20),
    (b'L', 26),
    (b'V', 35),
    (b'W', 12),
    (b'K', 28),
    (b'J', 35),
    (b'h', 21),
    (b'A', 36),
    (b'F', 40),
    (b'E', 31),
    (b'C', 36),
    (b'X', 23),
    (b'D', 19),
    (b'U', 35),
    (b'P', 44),
    (b'Q', 40),
    (b'B', 19),
    (b'I', 50),
    (b'N', 20),
    (b'O', 48),
];

/// Length by letter; 0: no such type.
static LENGTHS: [u8; 256] = {
    let mut lengths = [0; 256];
    let mut at = 0;
    while at < TYPES.len() {
        lengths[TYPES[at].0 as usize] = TYPES[at].1 as u8;
        at += 1;
    }
    lengths
};

/// The length that messages of this type have; `None` if the specification has no such type.
#[inline]
pub fn length_of(kind: u8) -> Option<usize> {
    match LENGTHS[usize::from(kind)] {
        0 => None,
        length => Some(usize::from(length)),
    }
}

/// What every message begins with.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Head {
    /// The type's letter.
    pub kind: u8,
    /// The instrument's number of the day; 0 where the message is about none.
    pub locate: U16,
    /// NASDAQ's internal number.
    pub tracking: U16,
    /// Nanoseconds since midnight.
    pub time: [u8; 6],
}

impl Head {
    /// Nanoseconds since midnight.
    #[inline]
    pub fn nanoseconds(&self) -> u64 {
        // The eight bytes that end here in one load; the first two are the field before.
        let [_, _, _, tracking_and_time @ ..]: [u8; size_of::<Self>()] = zerocopy::transmute!(*self);
        u64::from_be_bytes(tracking_and_time) & ((1 << 48) - 1)
    }
}

/// Declares message layouts: a head, then the fields.
macro_rules! layouts {
    ($($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, FromBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        pub struct $name {
            /// Type, instrument and time.
            pub head: Head,
            $($(#[$fmeta])* pub $field: $type,)*
        }
    )*};
}

layouts! {
    /// `S`.
    SystemEvent {
        /// `O S Q M E C`.
        event: u8,
    }
    /// `R`.
    StockDirectory {
        /// Symbol.
        stock: [u8; 8],
        /// Listing market or tier.
        market_category: u8,
        /// Financial status.
        financial_status: u8,
        /// Units in a round lot.
        round_lot_size: U32,
        /// Whether only round lots are taken.
        round_lots_only: u8,
        /// Kind of security.
        issue_classification: u8,
        /// Kind in detail.
        issue_sub_type: [u8; 2],
        /// Live or test.
        authenticity: u8,
        /// Short sale threshold.
        short_sale_threshold: u8,
        /// New issue.
        ipo_flag: u8,
        /// Limit-up limit-down tier.
        luld_tier: u8,
        /// Exchange traded product.
        etp_flag: u8,
        /// Its leverage.
        etp_leverage: U32,
        /// Whether it is inverse.
        inverse: u8,
    }
    /// `H`.
    TradingAction {
        /// Symbol.
        stock: [u8; 8],
        /// `H P Q T`.
        state: u8,
        /// Reserved.
        reserved: u8,
        /// Reason code.
        reason: [u8; 4],
    }
    /// `h`.
    OperationalHalt {
        /// Symbol.
        stock: [u8; 8],
        /// The market centre.
        market: u8,
        /// `H` halted, `T` resumed.
        action: u8,
    }
    /// `A`, and the beginning of `F`.
    AddOrder {
        /// Order number.
        order: U64,
        /// `B` or `S`.
        side: u8,
        /// Quantity.
        shares: U32,
        /// Symbol.
        stock: [u8; 8],
        /// Price, four decimals.
        price: U32,
    }
    /// `E`.
    OrderExecuted {
        /// Order number.
        order: U64,
        /// Quantity.
        shares: U32,
        /// Match number.
        match_number: U64,
    }
    /// `C`.
    OrderExecutedWithPrice {
        /// Order number.
        order: U64,
        /// Quantity.
        shares: U32,
        /// Match number.
        match_number: U64,
        /// `Y` or `N`.
        printable: u8,
        /// Price, four decimals.
        price: U32,
    }
    /// `X`.
    OrderCancel {
        /// Order number.
        order: U64,
        /// Quantity taken away.
        shares: U32,
    }
    /// `D`.
    OrderDelete {
        /// Order number.
        order: U64,
    }
    /// `U`.
    OrderReplace {
        /// The order that goes.
        order: U64,
        /// The order that comes.
        new_order: U64,
        /// Its quantity.
        shares: U32,
        /// Its price, four decimals.
        price: U32,
    }
    /// `P`.
    Trade {
        /// Always 0 today.
        order: U64,
        /// Always `B` today, whichever side it was.
        side: u8,
        /// Quantity.
        shares: U32,
        /// Symbol.
        stock: [u8; 8],
        /// Price, four decimals.
        price: U32,
        /// Match number.
        match_number: U64,
    }
    /// `Q`.
    CrossTrade {
        /// Quantity.
        shares: U64,
        /// Symbol.
        stock: [u8; 8],
        /// Price, four decimals.
        price: U32,
        /// Match number.
        match_number: U64,
        /// `O C H I A`.
        cross: u8,
    }
    /// `B`.
    BrokenTrade {
        /// Match number.
        match_number: U64,
    }
    /// `I`.
    NetOrderImbalance {
        /// Quantity that would trade.
        paired: U64,
        /// Quantity left over.
        imbalance: U64,
        /// `B S N O P`.
        direction: u8,
        /// Symbol.
        stock: [u8; 8],
        /// Price, four decimals.
        far_price: U32,
        /// Price, four decimals.
        near_price: U32,
        /// Price, four decimals.
        reference_price: U32,
        /// `O C H A`.
        cross: u8,
        /// How far the near price is from the reference.
        variation: u8,
    }
}

/// `F`: an add with its participant.
#[derive(Clone, Copy, Debug, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct AddOrderAttributed {
    /// As in `A`.
    pub add: AddOrder,
    /// The participant.
    pub attribution: [u8; 4],
}
