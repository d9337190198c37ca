//! The 48-byte packet header, the same on the lines, in the journal, in recovery's answers and in captures.

use crate::crc::{self, Words};
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
    /// A journal's own mark at the end of a segment: the journal goes on in the next one. Never sent.
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

/// The CRC32C of a packet: all its bytes but the checksum field itself.
///
/// # Panics
/// If `packet` is shorter than a header.
#[inline]
pub fn checksum(packet: &[u8]) -> u32 {
    let (header, body) = Words::ref_from_prefix(packet).expect("a packet has a header");
    crc::of_packet(header, body)
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

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    const CHECKSUM_AT: usize = core::mem::offset_of!(PacketHeader, checksum);

    #[test]
    fn the_first_word_is_the_first_four_bytes_and_never_zero() {
        let header = PacketHeader {
            magic: U16::new(MAGIC),
            version: VERSION,
            flags: 0x86,
            ..PacketHeader::default()
        };
        assert_eq!(&header.as_bytes()[..4], first_word(0x86).to_le_bytes());
        assert_eq!(&header.as_bytes()[..2], b"TW");
        assert_ne!(first_word(0), 0);
    }

    #[test]
    fn the_checksum_is_crc32c_of_all_bytes_but_its_own() {
        let mut packet = [0; HEADER_LEN + 4];
        packet[CHECKSUM_AT - 5..CHECKSUM_AT].copy_from_slice(b"12345");
        packet[HEADER_LEN..].copy_from_slice(b"6789");
        let sum = checksum(&packet);
        packet[CHECKSUM_AT..HEADER_LEN].fill(0xff);
        assert_eq!(checksum(&packet), sum);
        // The catalogue's check value of CRC-32/ISCSI is that of "123456789" alone.
        let spliced = [&packet[..CHECKSUM_AT], &packet[HEADER_LEN..]].concat();
        assert_eq!(sum, bitwise_crc32c(&spliced));
        assert_eq!(bitwise_crc32c(b"123456789"), 0xe306_9283);
    }

    fn bitwise_crc32c(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |sum, &byte| {
            (0..8).fold(sum ^ u32::from(byte), |sum, _| {
                sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 }
            })
        })
    }

    #[test]
    fn a_notice_and_an_end_mark_are_no_heartbeats() {
        let with = |flags, count| PacketHeader {
            flags,
            count: U16::new(count),
            ..PacketHeader::default()
        };
        assert!(with(0, 0).is_heartbeat());
        assert!(with(flags::END_OF_SESSION, 0).is_heartbeat());
        assert!(!with(0, 1).is_heartbeat());
        assert!(!with(flags::LOCAL, 0).is_heartbeat());
        assert!(!with(flags::SEGMENT_END, 0).is_heartbeat());
    }

    #[test]
    fn packets_are_aligned_upwards() {
        assert_eq!([0, 1, 64, 65].map(align_up), [0, 64, 64, 128]);
    }
}
