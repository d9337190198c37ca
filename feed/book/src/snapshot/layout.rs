//! The fixed parts of a snapshot, byte for byte.

use twinline_wire::field::{Price, Text};
use twinline_wire::{U16, U32, U64};

/// A field of a fixed part, for the protocol's document.
#[derive(Clone, Copy, Debug)]
pub struct LayoutField {
    /// Its name.
    pub name: &'static str,
    /// Its place, in bytes.
    pub offset: usize,
    /// Its size in bytes.
    pub size: usize,
    /// What it is.
    pub text: &'static str,
}

/// Declares a fixed part: the struct and the list of its fields.
macro_rules! layouts {
    ($($(#[doc = $text:literal])* $name:ident { $(#[doc = $of:literal] $field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[doc = $text])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, zerocopy::FromBytes, zerocopy::IntoBytes,
            zerocopy::KnownLayout, zerocopy::Immutable, zerocopy::Unaligned)]
        #[repr(C)]
        pub(crate) struct $name {
            $(#[doc = $of] pub(crate) $field: $type,)*
        }

        impl $name {
            pub(crate) const FIELDS: &'static [LayoutField] = &[$(LayoutField {
                name: stringify!($field),
                offset: core::mem::offset_of!($name, $field),
                size: size_of::<$type>(),
                text: $of,
            }),*];
        }
    )*};
}

layouts! {
    /// What a snapshot begins with.
    Header {
        /// The letters TWBK.
        magic: [u8; 4],
        /// Version of the layout: 1.
        version: U16,
        /// The channel.
        channel: U16,
        /// The session.
        session: U32,
        /// The epoch.
        epoch: U32,
        /// The epoch's first sequence.
        epoch_base: U64,
        /// The snapshot holds all valid messages below this sequence.
        sequence: U64,
        /// Bytes of the whole snapshot.
        length: U64,
        /// Orders in all books.
        orders: U64,
        /// Instrument records.
        instruments: U32,
        /// Source entries.
        sources: U32,
        /// Bit 0: the state is valid.
        flags: u8,
        /// Zero.
        spare: [u8; 3],
        /// CRC32C (Castagnoli) over all other bytes of the snapshot.
        checksum: U32,
    }
    /// What is known of a source.
    SourceEntry {
        /// The source.
        source: U16,
        /// Bit 0: it has a position. Bit 1: its market has a status, which follows.
        present: u8,
        /// Zero.
        spare: u8,
        /// How far into the source the messages reach; 0 without one.
        position: U64,
    }
    /// What an instrument's record begins with.
    InstrumentHead {
        /// The instrument.
        instrument: U32,
        /// Which messages follow, lowest bit first: InstrumentDefinition, TradingStatus, PriceTick, Trade, BestBidOffer, Imbalance.
        present: u8,
        /// Zero.
        spare: [u8; 3],
        /// Price levels of the bids.
        bid_levels: U32,
        /// Price levels of the offers.
        offer_levels: U32,
        /// Trades and printed executions so far.
        trades: U64,
        /// Their quantities.
        volume: U64,
    }
    /// A price level.
    LevelHead {
        /// Its price.
        price: Price,
        /// Its orders, 1 or more.
        orders: U32,
    }
    /// An order.
    OrderEntry {
        /// The venue's order number.
        order_id: U64,
        /// What it shows, 1 or more.
        quantity: U32,
        /// The participant, where the venue shows one.
        participant: Text<4>,
    }
    /// What was counted of the instrument; not part of its checksum.
    TalliesEntry {
        /// Changes of the best bid or offer.
        changes: U64,
        /// Messages about orders that the book did not have.
        unseen_orders: U64,
        /// Orders that entered under a number that the book had.
        duplicate_orders: U64,
        /// Quantities of zero.
        zero_quantities: U64,
        /// Reductions and executions of more than there was.
        over_reductions: U64,
        /// Messages whose side or action has no meaning.
        senseless: U64,
        /// Broken trades.
        trade_cancels: U64,
    }
}

impl TalliesEntry {
    /// All of them.
    pub(crate) fn all(&self) -> [U64; 7] {
        zerocopy::transmute!(*self)
    }
}

/// The letters that a snapshot begins with.
pub(crate) const MAGIC: [u8; 4] = *b"TWBK";
/// The version of the layout that this build writes and reads.
pub(crate) const VERSION: u16 = 1;
/// Where the checksum stands.
pub(crate) const CHECKSUM_AT: usize = core::mem::offset_of!(Header, checksum);
/// Bit of [`Header::flags`].
pub(crate) const VALID: u8 = 1;
/// Bits of [`SourceEntry::present`].
pub(crate) const POSITION: u8 = 1;
/// As [`POSITION`].
pub(crate) const STATUS: u8 = 2;

/// The fixed parts of a snapshot in the order in which they stand in it, for the protocol's document.
pub const LAYOUT: [(&str, &[LayoutField]); 6] = [
    ("header", Header::FIELDS),
    ("source", SourceEntry::FIELDS),
    ("instrument", InstrumentHead::FIELDS),
    ("level", LevelHead::FIELDS),
    ("order", OrderEntry::FIELDS),
    ("tallies", TalliesEntry::FIELDS),
];

/// CRC32C of a snapshot: all its bytes but the checksum itself.
///
/// # Panics
/// If it is shorter than a header.
pub(crate) fn checksum(snapshot: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&snapshot[..CHECKSUM_AT]);
    digest.update(&snapshot[size_of::<Header>()..]);
    digest.finalize() as u32
}
