//! The CRC32C of a packet: of its header up to the checksum, and of what stands behind that.
//!
//! A short packet's is a chain of the processor's own instruction, where the build may take it for granted: next to no code, as
//! that counts where a packet's way is otherwise a few hundred instructions. A long packet's, and all others', is crc-fast's.

use crate::U64;
use crate::header::{HEADER_LEN, PacketHeader};
use core::mem::offset_of;
use zerocopy::IntoBytes;

/// A header by words. Its checksum is the upper half of the last one.
pub(crate) type Words = [U64; HEADER_LEN / size_of::<U64>()];

const _: () = assert!(offset_of!(PacketHeader, checksum) + size_of::<u32>() == HEADER_LEN);

/// Bytes of the longest body that the chain is quicker for than crc-fast.
#[cfg(all(target_arch = "x86_64", target_feature = "sse4.2"))]
const SHORT: usize = 256;

/// The CRC32C of the packet with this `header`, whatever the checksum in it, and `body`.
#[inline]
pub(crate) fn of_packet(header: &Words, body: &[u8]) -> u32 {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse4.2"))]
    if body.len() <= SHORT {
        return of_short(header, body);
    }
    of_any(header, body)
}

/// [`of_packet`] by the processor's own instruction.
#[cfg(all(target_arch = "x86_64", target_feature = "sse4.2"))]
#[inline(always)]
fn of_short(header: &Words, body: &[u8]) -> u32 {
    use safe_arch::{crc32_u8, crc32_u32, crc32_u64};
    let [words @ .., last] = header;
    let sum = words
        .iter()
        .fold(u64::from(!0_u32), |sum, word| crc32_u64(sum, word.get()));
    let sum = crc32_u32(sum as u32, last.get() as u32);
    let (words, rest) = body.as_chunks();
    let sum = words.iter().fold(u64::from(sum), |sum, word| {
        crc32_u64(sum, u64::from_le_bytes(*word))
    });
    let (halves, rest) = rest.as_chunks();
    let sum = halves
        .iter()
        .fold(sum as u32, |sum, half| crc32_u32(sum, u32::from_le_bytes(*half)));
    !rest.iter().fold(sum, |sum, &byte| crc32_u8(sum, byte))
}

/// [`of_packet`] of any length, on any processor.
#[inline(never)]
fn of_any(header: &Words, body: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&header.as_bytes()[..offset_of!(PacketHeader, checksum)]);
    digest.update(body);
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_packets_checksum_is_made_as_a_long_ones() {
        let header: Words = core::array::from_fn(|at| U64::new(0x0123_4567_89ab_cdef << at));
        let bytes: Vec<u8> = (0..600).map(|at| (at * 7 + at / 5) as u8).collect();
        // Also where the body is not aligned, as in a frame that was received.
        for begin in 0..9 {
            for end in begin..bytes.len() {
                let body = &bytes[begin..end];
                assert_eq!(of_packet(&header, body), of_any(&header, body), "{begin}..{end}");
            }
        }
    }
}
