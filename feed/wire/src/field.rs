//! The types that message fields are made of: prices, optional values, codes, flags and text.

use crate::{I64, U16, U32, U64};
use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a field is, for the layout test and for printing any message without knowing its template.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// An unsigned integer of this many bytes.
    Unsigned {
        /// Bytes: 2, 4 or 8.
        size: usize,
        /// True if the type's largest value stands for "absent".
        optional: bool,
    },
    /// A price: i64 mantissa of [`PRICE_EXPONENT`].
    Price {
        /// True if `i64::MAX` stands for "absent".
        optional: bool,
    },
    /// ASCII, padded with zero bytes.
    Text {
        /// Bytes.
        size: usize,
    },
    /// A one-byte code.
    Code(&'static CodeDef),
    /// One byte of flags, lowest bit first.
    Flags(&'static CodeDef),
}

impl Kind {
    /// Bytes of the field.
    pub const fn size(self) -> usize {
        match self {
            Kind::Unsigned { size, .. } | Kind::Text { size } => size,
            Kind::Price { .. } => size_of::<Price>(),
            Kind::Code(_) | Kind::Flags(_) => 1,
        }
    }
}

/// The values of an enumeration or the bits of a set, as the schema has them.
#[derive(Debug, PartialEq, Eq)]
pub struct CodeDef {
    /// The type's name.
    pub name: &'static str,
    /// Each value (for a set: bit number) and its name.
    pub values: &'static [(u8, &'static str)],
}

/// A type that can stand in a message.
pub trait Field: Copy + FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned {
    /// What it is.
    const KIND: Kind;
    /// What an older, shorter message is completed with: the null value, or for text and flags zero.
    const NULL: Self;
}

macro_rules! unsigned {
    ($($type:ty),*) => {$(
        impl Field for $type {
            const KIND: Kind = Kind::Unsigned { size: size_of::<$type>(), optional: false };
            const NULL: Self = <$type>::MAX_VALUE;
        }
        impl OptionalField for $type {
            const OPTIONAL: Kind = Kind::Unsigned { size: size_of::<$type>(), optional: true };
        }
    )*};
}
unsigned!(U16, U32, U64);

/// Decimal places of every [`Price`]: its value is `mantissa × 10^-9`.
pub const PRICE_EXPONENT: i8 = -9;

/// A price: an integer count of 10^-9 currency units. No floating point on the wire.
#[derive(Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(transparent)]
pub struct Price(pub I64);

impl Price {
    /// A price of `mantissa × 10^-9`.
    pub const fn new(mantissa: i64) -> Self {
        Self(I64::new(mantissa))
    }

    /// The count of 10^-9 units.
    pub const fn mantissa(self) -> i64 {
        self.0.get()
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mantissa = self.mantissa();
        let sign = if mantissa < 0 { "-" } else { "" };
        let (whole, part) = (
            mantissa.unsigned_abs() / 1_000_000_000,
            mantissa.unsigned_abs() % 1_000_000_000,
        );
        if part == 0 {
            return write!(f, "{sign}{whole}");
        }
        let (mut part, mut width) = (part, 9);
        while part % 10 == 0 {
            (part, width) = (part / 10, width - 1);
        }
        write!(f, "{sign}{whole}.{part:0width$}")
    }
}

impl fmt::Debug for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Field for Price {
    const KIND: Kind = Kind::Price { optional: false };
    const NULL: Self = Self(I64::new(i64::MAX));
}

impl OptionalField for Price {
    const OPTIONAL: Kind = Kind::Price { optional: true };
}

/// A field type that has an optional twin.
pub trait OptionalField: Field + PartialEq {
    /// The optional twin's kind.
    const OPTIONAL: Kind;
}

/// A field that may be absent: the type's null value stands for that.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(transparent)]
pub struct Optional<T>(T);

impl<T: OptionalField> Optional<T> {
    /// Absent.
    pub const NONE: Self = Self(T::NULL);

    /// Present (absent if `value` is the null value itself).
    pub fn some(value: impl Into<T>) -> Self {
        Self(value.into())
    }

    /// The value, if present.
    pub fn get(self) -> Option<T> {
        (self.0 != T::NULL).then_some(self.0)
    }
}

impl<T: OptionalField + fmt::Debug> fmt::Debug for Optional<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl<T: OptionalField> Default for Optional<T> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<T: OptionalField> Field for Optional<T> {
    const KIND: Kind = T::OPTIONAL;
    const NULL: Self = Self::NONE;
}

/// ASCII text of a fixed size, padded with zero bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(transparent)]
pub struct Text<const N: usize>(pub [u8; N]);

impl<const N: usize> Text<N> {
    /// The first `N` bytes of `text`, without trailing spaces (venues pad with them).
    pub fn new(text: &[u8]) -> Self {
        let mut bytes = [0; N];
        let kept = text.trim_ascii_end();
        let length = kept.len().min(N);
        bytes[..length].copy_from_slice(&kept[..length]);
        Self(bytes)
    }

    /// The text without its padding; bytes that are not UTF-8 end it.
    pub fn as_str(&self) -> &str {
        text(&self.0)
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl<const N: usize> Field for Text<N> {
    const KIND: Kind = Kind::Text { size: N };
    const NULL: Self = Self([0; N]);
}

/// Zero-padded text without its padding; bytes that are not UTF-8 end it.
pub(crate) fn text(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    match core::str::from_utf8(&bytes[..end]) {
        Ok(text) => text,
        Err(error) => core::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// Declares one-byte enumerations and bit sets: a transparent wrapper (an unknown value stays what it is), its names,
/// and its definition for the schema test.
macro_rules! codes {
    ($($(#[$meta:meta])* $kind:ident $name:ident null $null:literal {
        $($(#[$vmeta:meta])* $const:ident = $value:literal $text:literal),* $(,)?
    })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(transparent)]
        pub struct $name(pub u8);

        impl $name {
            $($(#[$vmeta])* pub const $const: Self = Self($crate::field::code_value!($kind $value));)*
            /// The names of the values, as in the schema.
            pub const DEF: CodeDef =
                CodeDef { name: stringify!($name), values: &[$(($value, $text)),*] };
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(if *self == Self::$const { return f.write_str($text); })*
                write!(f, "{}", self.0)
            }
        }

        impl Field for $name {
            const KIND: Kind = Kind::$kind(&Self::DEF);
            const NULL: Self = Self($null);
        }
    )*};
}
macro_rules! code_value {
    (Code $value:literal) => {
        $value
    };
    (Flags $value:literal) => {
        1 << $value
    };
}
pub(crate) use code_value;

codes! {
    /// Which side of the book.
    Code Side null 255 {
        /// To buy.
        BUY = 1 "Buy",
        /// To sell.
        SELL = 2 "Sell",
    }
    /// Marks on a market message.
    Flags EventFlags null 0 {
        /// The last message of a source event: a book is whole after it.
        END_OF_EVENT = 0 "EndOfEvent",
        /// An execution that counts in the venue's printed volume.
        PRINTABLE = 1 "Printable",
    }
    /// What a [`ModifyOrder`](crate::market::ModifyOrder) does with its quantity.
    Code ModifyAction null 255 {
        /// The order loses this much and keeps its place.
        REDUCE_BY = 1 "ReduceBy",
        /// The order now has this much and keeps its place in the queue.
        SET_KEEP_PRIORITY = 2 "SetKeepPriority",
        /// The order now has this much and goes to the end of its queue.
        SET_LOSE_PRIORITY = 3 "SetLosePriority",
    }
    /// How a trade came about.
    Code TradeKind null 255 {
        /// Against an order that was not displayed.
        NON_DISPLAYED = 1 "NonDisplayed",
        /// In an opening auction.
        OPENING_CROSS = 2 "OpeningCross",
        /// In a closing auction.
        CLOSING_CROSS = 3 "ClosingCross",
        /// In the auction of an offering or after a halt.
        HALT_CROSS = 4 "HaltCross",
        /// In another auction.
        OTHER_CROSS = 5 "OtherCross",
        /// A trade reported by a source that does not say more.
        REGULAR = 6 "Regular",
    }
    /// State of an instrument, or of a source's whole market.
    Code Status null 255 {
        /// Trading.
        TRADING = 1 "Trading",
        /// Halted.
        HALTED = 2 "Halted",
        /// Paused.
        PAUSED = 3 "Paused",
        /// Only quotes are taken.
        QUOTATION_ONLY = 4 "QuotationOnly",
        /// The source's message day begins.
        START_OF_MESSAGES = 5 "StartOfMessages",
        /// The venue's system hours begin.
        START_OF_SYSTEM_HOURS = 6 "StartOfSystemHours",
        /// The market opens.
        START_OF_MARKET_HOURS = 7 "StartOfMarketHours",
        /// The market closes.
        END_OF_MARKET_HOURS = 8 "EndOfMarketHours",
        /// The venue's system hours end.
        END_OF_SYSTEM_HOURS = 9 "EndOfSystemHours",
        /// The source's message day ends.
        END_OF_MESSAGES = 10 "EndOfMessages",
        /// Halted at one market centre only.
        OPERATIONAL_HALT = 11 "OperationalHalt",
        /// The operational halt is over.
        OPERATIONAL_RESUME = 12 "OperationalResume",
        /// The source names a state that this list does not have; its reason says which.
        OTHER = 13 "Other",
    }
    /// Which side an auction has too much of.
    Code ImbalanceSide null 255 {
        /// More to buy.
        BUY = 1 "Buy",
        /// More to sell.
        SELL = 2 "Sell",
        /// None.
        NONE = 3 "None",
        /// Too few orders to tell.
        INSUFFICIENT = 4 "Insufficient",
        /// The auction is paused.
        PAUSED = 5 "Paused",
    }
    /// Which auction.
    Code CrossKind null 255 {
        /// Opening.
        OPENING = 1 "Opening",
        /// Closing.
        CLOSING = 2 "Closing",
        /// Offering or after a halt.
        HALT = 3 "Halt",
        /// Another.
        OTHER = 4 "Other",
    }
    /// Why sequences were declared lost.
    Code LossReason null 255 {
        /// The gap time-out passed.
        TIMED_OUT = 1 "TimedOut",
        /// Every recovery service says that it no longer has them.
        TOO_OLD = 2 "TooOld",
        /// The listener was told to start later.
        SKIPPED = 3 "Skipped",
    }
    /// One of the two lines.
    Code LineName null 255 {
        /// Line A.
        A = 0 "A",
        /// Line B.
        B = 1 "B",
        /// Both.
        BOTH = 2 "Both",
    }
    /// What happened to a line.
    Code LineState null 255 {
        /// Nothing came for the stall time while the other line went on.
        STALLED = 1 "Stalled",
        /// Packets come again.
        RESUMED = 2 "Resumed",
        /// Both lines are silent: the state may be stale.
        STALE = 3 "Stale",
    }
    /// What a listener with fair release holds of its host's clock.
    Code ClockState null 255 {
        /// Nothing speaks against it any more.
        PLAUSIBLE = 1 "Plausible",
        /// Packets come before they were sent: the clock is behind the publisher's.
        BEHIND = 2 "Behind",
        /// Even the fastest packet comes after its moment: the clock is ahead of the publisher's, or the way longer than the hold.
        AHEAD = 3 "Ahead",
        /// The kernel says that the clock is no longer synchronised.
        UNSYNCHRONISED = 4 "Unsynchronised",
    }
    /// What happened to a session.
    Code SessionState null 255 {
        /// A session begins.
        STARTED = 1 "Started",
        /// A new epoch of the session begins.
        EPOCH_STARTED = 2 "EpochStarted",
        /// The session is complete.
        ENDED = 3 "Ended",
        /// The session ended with losses or without its end having been seen.
        ABANDONED = 4 "Abandoned",
    }
    /// Why a recovery request, or a part of it, is refused.
    Code RejectCode null 255 {
        /// The session is not known here.
        UNKNOWN_SESSION = 1 "UnknownSession",
        /// No longer kept.
        TOO_OLD = 2 "TooOld",
        /// Void: these sequences name no message. Not a loss.
        VOID = 3 "Void",
        /// Not published yet: ask again later.
        NOT_YET_PUBLISHED = 4 "NotYetPublished",
        /// The request makes no sense.
        MALFORMED = 5 "Malformed",
        /// Over a limit of this service; retry after the time named.
        OVER_LIMITS = 6 "OverLimits",
        /// The token is not good.
        UNAUTHORISED = 7 "Unauthorised",
        /// The protocol version or the channel is not served here.
        NOT_SERVED = 8 "NotServed",
        /// The service cannot read its journal.
        INTERNAL = 9 "Internal",
    }
    /// How a request ended.
    Code CompleteStatus null 255 {
        /// Everything was answered (with data or with rejects).
        COMPLETE = 1 "Complete",
        /// A limit was reached: ask again for what is missing.
        PARTIAL = 2 "Partial",
        /// Of a tail, which goes on: all that there was is sent; what comes from now on is new.
        CAUGHT_UP = 3 "CaughtUp",
    }
    /// What a tail's client is.
    Code TailKind null 255 {
        /// Gets released packets only.
        READER = 1 "Reader",
        /// Gets committed packets, acknowledges what it holds durably, and learns the released mark.
        REPLICA = 2 "Replica",
    }
    /// Why a connection is closed.
    Code LogoutReason null 255 {
        /// The sender has what it wanted.
        DONE = 1 "Done",
        /// The sender stops.
        STOPPING = 2 "Stopping",
        /// The other side said nothing for too long.
        IDLE = 3 "Idle",
        /// The other side read too slowly.
        SLOW = 4 "Slow",
        /// The other side broke the protocol.
        PROTOCOL_ERROR = 5 "ProtocolError",
        /// Too many connections.
        FULL = 6 "Full",
        /// Not let in.
        REFUSED = 7 "Refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_prints_as_the_shortest_exact_decimal() {
        for (mantissa, printed) in [
            (0, "0"),
            (1, "0.000000001"),
            (-1, "-0.000000001"),
            (585_330_000_000, "585.33"),
            (100_000_000_000, "100"),
            (-2_050_000_000, "-2.05"),
            (i64::MIN, "-9223372036.854775808"),
            (i64::MAX, "9223372036.854775807"),
        ] {
            assert_eq!(Price::new(mantissa).to_string(), printed);
        }
    }

    #[test]
    fn the_null_value_is_absent_and_every_other_is_present() {
        assert_eq!(Optional::<U32>::NONE.get(), None);
        assert_eq!(Optional::<U32>::some(u32::MAX).get(), None);
        assert_eq!(Optional::<U32>::some(0).get(), Some(U32::new(0)));
        assert_eq!(Optional::<Price>::some(Price::new(i64::MAX)).get(), None);
        assert_eq!(
            Optional::<Price>::some(Price::new(i64::MIN)).get(),
            Some(Price::new(i64::MIN))
        );
    }

    #[test]
    fn text_loses_its_padding_and_what_does_not_fit() {
        assert_eq!(Text::<4>::new(b"AB  ").as_str(), "AB");
        assert_eq!(Text::<4>::new(b"ABCDEF").as_str(), "ABCD");
        assert_eq!(Text::<4>::default().as_str(), "");
        assert_eq!(Text::<4>(*b"A\xffB\0").as_str(), "A");
    }

    #[test]
    fn an_unknown_code_keeps_its_number() {
        assert_eq!(format!("{:?} {:?}", Side::SELL, Side(77)), "Sell 77");
        assert_eq!(EventFlags::END_OF_EVENT.0, 1);
        assert_eq!(EventFlags::PRINTABLE.0, 2);
    }
}
