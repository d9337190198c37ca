//! The 48-byte packet header, the same on the lines, in the journal, in recovery's answers and in captures.

use crate::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `"TW"` as the first two bytes of every packet.
pub const MAGIC: u16 = u16::from_le_bytes(*b"TW");
/// Version of the packet layout. A receiver drops what it does not know.
pub const VERSION: u8 = 1;
/// Bytes of the packet header.
pub const HEADER_LEN: usize = size_of::<PacketHeader>();
/// Packets start at multiples of this in the journal, and packet size limits are multiples of it.
pub const ALIGN: usize = 64;
/// Default limit of a packet's length in bytes: 22 cache lines, fits every path we know.
pub const DEFAULT_PACKET_LEN: usize = 1408;
/// The largest limit that can be configured, in bytes (a jumbo frame).
pub const MAX_PACKET_LEN: usize = 8896;

/// Bits of [`PacketHeader::flags`].
pub mod flags {
    /// A heartbeat after the end of the session: nothing more will come in it.
    pub const END_OF_SESSION: u8 = 1;
    /// A listener's notice, written to its own journal only; never sent on.
    pub const LOCAL: u8 = 2;
    /// The end mark of a journal segment: the journal goes on in the next segment.
    pub const SEGMENT_END: u8 = 4;
}

/// The header that opens every packet. All integers little endian.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct PacketHeader {
    /// [`MAGIC`].
    pub magic: U16,
    /// [`VERSION`].
    pub version: u8,
    /// Bits of [`flags`].
    pub flags: u8,
    /// The channel that the packet belongs to.
    pub channel: U16,
    /// Messages in the packet; 0 in a heartbeat and in a listener's notice.
    pub count: U16,
    /// The session, 1 or more; grows only.
    pub session: U32,
    /// The epoch within the session, 1 or more; grows only.
    pub epoch: U32,
    /// Sequence of the first message; in a packet without messages the next sequence to come.
    pub sequence: U64,
    /// When the publisher stamped the packet, in nanoseconds since the Unix epoch.
    pub sending_time: U64,
    /// The first sequence of the header's epoch.
    pub epoch_base: U64,
    /// Length of the whole packet in bytes, header and padding included.
    pub length: U16,
    /// Zero.
    pub spare: [u8; 2],
    /// CRC32C over all other bytes of the packet.
    pub checksum: U32,
}

const CHECKSUM_AT: usize = core::mem::offset_of!(PacketHeader, checksum);

/// The CRC32C of a packet: all its bytes but the checksum field itself.
///
/// # Panics
/// If `packet` is shorter than a header.
pub fn checksum(packet: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&packet[..CHECKSUM_AT]);
    digest.update(&packet[HEADER_LEN..]);
    digest.finalize() as u32
}

impl PacketHeader {
    /// The sequence after the packet's last message.
    pub fn end(&self) -> u64 {
        self.sequence.get().saturating_add(u64::from(self.count.get()))
    }

    /// True for a packet without messages that is no notice and no end mark.
    pub fn is_heartbeat(&self) -> bool {
        self.count.get() == 0 && self.flags & (flags::LOCAL | flags::SEGMENT_END) == 0
    }
}

/// The first four bytes of a packet as one little-endian word: magic, version, flags. Never zero, so a journal commits
/// a packet by storing it last.
pub fn first_word(flags: u8) -> u32 {
    u32::from(MAGIC) | u32::from(VERSION) << 16 | u32::from(flags) << 24
}

/// `length` rounded up to the next place where a packet may start in a journal.
pub fn align_up(length: usize) -> usize {
    length.next_multiple_of(ALIGN)
}
