//! The bytes of Twinline: packets, SBE messages and the recovery protocol.
//!
//! Everything a Twinline process sends, stores or receives is a [packet](header::PacketHeader) of
//! [messages](message::Message), or a [stream frame](stream) of the recovery protocol around such packets. This
//! package turns structs into those bytes, in a buffer that the caller gives, and bytes into typed views that borrow
//! from them. It does no I/O, keeps no state and allocates nothing. `twinline.xml` beside it is the contract; a test
//! holds every struct here to it.
//!
//! Bytes from outside are hostile until [`Packet::parse`] has accepted them; after that, walking them cannot fail.

mod crc;
pub mod field;
pub mod header;
pub mod market;
pub mod message;
pub mod packet;
pub mod recovery;
pub mod session;
pub mod stream;

pub use field::{EventFlags, Optional, Price, Side};
pub use header::{PacketHeader, flags};
pub use message::{Frame, FrameHeader, Message, MessageDef, View};
pub use packet::{OpenPacket, Packet, PacketError, Stamp};

/// The schema's id in every SBE message header.
pub const SCHEMA_ID: u16 = 7331;
/// The schema version that this build writes. Readers accept every version: a longer block is read as far as it is
/// known, a shorter one is completed with null values.
pub const SCHEMA_VERSION: u16 = 0;
/// The schema itself, as text.
pub const SCHEMA_XML: &str = include_str!("../twinline.xml");

/// Little-endian integers without alignment, as they stand on the wire.
pub use zerocopy::little_endian::{I64, U16, U32, U64};
