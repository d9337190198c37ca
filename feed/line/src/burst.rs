//! Several packets that go, or came, in one piece: what segmentation offload cuts up and receive offload puts together.

use std::iter;
use twinline_wire::header::{MAGIC, PacketHeader};
use zerocopy::FromBytes;

/// Most packets in one burst: what every kernel with segmentation offload cuts up in one send.
const MOST_PACKETS: usize = 64;

/// Most bytes in one burst: with Ethernet, IPv4 and UDP headers no more than the 65,536 bytes that a kernel hands on in
/// one piece. A longer one, if it is taken at all, is cut up by the sender's kernel before receivers see it.
const MOST_BYTES: usize = 65_536 - 14 - 20 - 8;

/// Packets back to back, all of one size but for the last, which may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst<'p> {
    bytes: &'p [u8],
    size: usize,
}

impl<'p> Burst<'p> {
    /// The packets of `size` bytes each that stand in `bytes`.
    ///
    /// # Panics
    /// If `size` is 0 and there are bytes.
    #[inline]
    pub fn new(bytes: &'p [u8], size: usize) -> Self {
        assert!(size > 0 || bytes.is_empty(), "packets have a size");
        Self { bytes, size }
    }

    /// One packet.
    #[inline]
    pub fn one(packet: &'p [u8]) -> Self {
        Self {
            bytes: packet,
            size: packet.len(),
        }
    }

    /// What came in one piece: several packets where one of ours begins right where the first one's header says that it ends.
    #[inline]
    pub fn received(bytes: &'p [u8]) -> Self {
        Self {
            bytes,
            size: size_of_first(bytes),
        }
    }

    /// Most packets of `size` bytes that one send may carry; at least 1.
    pub const fn most(size: usize) -> usize {
        match MOST_BYTES / size {
            0 => 1,
            most if most < MOST_PACKETS => most,
            _ => MOST_PACKETS,
        }
    }

    /// All bytes.
    #[inline]
    pub fn bytes(self) -> &'p [u8] {
        self.bytes
    }

    /// Bytes of each packet but the last.
    #[inline]
    pub fn size(self) -> usize {
        self.size
    }

    /// How many packets there are: at least 1, which may be empty.
    #[inline]
    pub fn count(self) -> usize {
        match self.bytes.len() <= self.size {
            true => 1,
            false => self.bytes.len().div_ceil(self.size),
        }
    }

    /// Each packet, in order.
    #[inline]
    pub fn packets(self) -> impl Iterator<Item = &'p [u8]> {
        let mut rest = Some(self.bytes);
        iter::from_fn(move || {
            let bytes = rest?;
            if bytes.len() <= self.size {
                return rest.take();
            }
            let (packet, others) = bytes.split_at(self.size);
            rest = Some(others);
            Some(packet)
        })
    }
}

/// The size of the datagrams that `bytes` were received as, all of which but the last have the same. More than one only
/// where a packet of ours begins right where the first one's header says that it ends.
#[inline]
fn size_of_first(bytes: &[u8]) -> usize {
    let Ok((header, _)) = PacketHeader::ref_from_prefix(bytes) else {
        return bytes.len();
    };
    let size = usize::from(header.length.get());
    let next = bytes.get(size..size + 2);
    match size >= size_of::<PacketHeader>()
        && header.magic.get() == MAGIC
        && next == Some(&MAGIC.to_le_bytes())
    {
        true => size,
        false => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_its_packets_in_order_and_only_the_last_is_shorter() {
        let bytes: Vec<u8> = (0..10).collect();
        for (size, packets) in [
            (3, vec![&bytes[..3], &bytes[3..6], &bytes[6..9], &bytes[9..]]),
            (5, vec![&bytes[..5], &bytes[5..]]),
            (10, vec![&bytes[..]]),
            (11, vec![&bytes[..]]),
        ] {
            let burst = Burst::new(&bytes, size);
            assert_eq!(burst.packets().collect::<Vec<_>>(), packets);
            assert_eq!(burst.count(), packets.len());
        }
        assert_eq!(Burst::one(&bytes).packets().collect::<Vec<_>>(), [&bytes[..]]);
        assert_eq!(Burst::one(&[]).packets().collect::<Vec<_>>(), [&[0u8; 0][..]]);
        assert_eq!(Burst::one(&[]).count(), 1);
    }

    #[test]
    fn a_burst_fits_one_datagram_with_its_headers_and_the_segments_of_every_kernel() {
        for (size, most) in [
            (1408, 46),
            (192, 64),
            (8896, 7),
            (1, 64),
            (65_494, 1),
            (100_000, 1),
        ] {
            assert_eq!(Burst::most(size), most, "{size}");
        }
    }
}
