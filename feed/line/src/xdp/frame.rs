//! A frame as it lies in memory: Ethernet, IPv4 and UDP headers and a packet (RFC 791, 768, 1071, 1112).

use std::net::SocketAddrV4;
use std::ops::Range;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Bytes of an IPv4 header without options.
const IP: usize = 20;
/// Bytes of a UDP header.
const UDP: usize = 8;
/// Bytes of all headers.
pub(super) const HEADERS: usize = ETHERNET + IP + UDP;
/// Bytes of an IPv4 packet besides the UDP payload.
pub(super) const WITHIN_MTU: usize = IP + UDP;

/// The headers of one line's frames. All but lengths and checksums is the same in each, and most packets are as long as the one
/// before.
#[derive(Debug)]
pub(super) struct Headers {
    bytes: [u8; HEADERS],
    /// Bytes of the packet that they are for.
    length: usize,
    /// The sum of UDP's pseudo-header and header, without its checksum.
    udp_sum: u64,
}

impl Headers {
    /// Headers of frames from an interface with this hardware address and `source` to the group and port `to`.
    pub(super) fn new(hardware: [u8; 6], source: SocketAddrV4, to: SocketAddrV4, ttl: u8) -> Self {
        let mut bytes = [0; HEADERS];
        let [_, group @ ..] = to.ip().octets();
        // A group's hardware address has the lower 23 bits of the group's (RFC 1112, 6.4).
        bytes[..6].copy_from_slice(&[1, 0, 0x5e, group[0] & 0x7f, group[1], group[2]]);
        bytes[6..12].copy_from_slice(&hardware);
        bytes[12..14].copy_from_slice(&[8, 0]);
        let ip = &mut bytes[ETHERNET..];
        ip[0] = 0x45;
        ip[6] = 0x40; // never to be fragmented
        ip[8] = ttl;
        ip[9] = libc::IPPROTO_UDP as u8;
        ip[12..16].copy_from_slice(&source.ip().octets());
        ip[16..20].copy_from_slice(&to.ip().octets());
        ip[20..22].copy_from_slice(&source.port().to_be_bytes());
        ip[22..24].copy_from_slice(&to.port().to_be_bytes());
        let mut headers = Self {
            bytes,
            length: 0,
            udp_sum: 0,
        };
        headers.set_length(0);
        headers
    }

    /// Makes them those of packets of `length` bytes.
    #[cold]
    fn set_length(&mut self, length: usize) {
        let bytes = &mut self.bytes;
        let udp_length = ((UDP + length) as u16).to_be_bytes();
        bytes[16..18].copy_from_slice(&((IP + UDP + length) as u16).to_be_bytes());
        bytes[24..26].fill(0);
        let ip = checksum(sum(&bytes[ETHERNET..ETHERNET + IP]));
        bytes[24..26].copy_from_slice(&ip);
        bytes[38..40].copy_from_slice(&udp_length);
        // The length counts twice: in the pseudo-header and in the header.
        self.udp_sum = sum(&bytes[ETHERNET + 12..ETHERNET + IP + 6])
            + u64::from(u16::to_be(libc::IPPROTO_UDP as u16))
            + word(udp_length);
        self.length = length;
    }

    /// Writes a frame with `packet` into `place`, which has room for it; returns its length.
    #[inline]
    pub(super) fn write(&mut self, packet: &[u8], place: &mut [u8]) -> usize {
        if packet.len() != self.length {
            self.set_length(packet.len());
        }
        let length = HEADERS + packet.len();
        let udp = checksum(self.udp_sum + sum(packet));
        let (headers, rest) = place[..length].split_at_mut(HEADERS);
        headers.copy_from_slice(&self.bytes);
        // Zero would say that there is none.
        headers[40..42].copy_from_slice(if udp == [0, 0] { &[0xff, 0xff] } else { &udp });
        rest.copy_from_slice(packet);
        length
    }
}

/// Where the packet is in a frame that the program picked; `None` if its headers contradict it or a checksum is wrong. A frame that
/// never left the host may have the pseudo-header's sum instead of UDP's checksum, which is for the network card to complete.
#[inline]
pub(super) fn packet(frame: &[u8]) -> Option<Range<usize>> {
    let headers: &[u8; HEADERS] = frame.first_chunk()?;
    let half = |at: usize| [headers[at], headers[at + 1]];
    let ip_length = usize::from(u16::from_be_bytes(half(16)));
    let udp_length = usize::from(u16::from_be_bytes(half(38)));
    let fits = headers[14] == 0x45
        && ip_length <= frame.len() - ETHERNET
        && (UDP..=ip_length.checked_sub(IP)?).contains(&udp_length);
    if !fits || checksum(sum(&headers[ETHERNET..ETHERNET + IP])) != [0, 0] {
        return None;
    }
    let end = ETHERNET + IP + udp_length;
    let packet = HEADERS..end;
    let given = half(40);
    if given == [0, 0] {
        return Some(packet);
    }
    let pseudo = sum(&headers[26..34]) + u64::from(u16::to_be(libc::IPPROTO_UDP as u16)) + word(half(38));
    let is_right = given == folded(pseudo)
        || checksum(pseudo + sum(&headers[34..]) + sum(&frame[packet.clone()])) == [0, 0];
    is_right.then_some(packet)
}

/// The sum of 16-bit words as they lie in memory, to be folded: its byte order is no matter (RFC 1071, 2). An odd last byte is
/// followed by a zero.
#[inline]
fn sum(bytes: &[u8]) -> u64 {
    let (longs, rest) = bytes.as_chunks::<8>();
    let sum: u128 = longs
        .iter()
        .map(|&long| u128::from(u64::from_ne_bytes(long)))
        .sum();
    let (words, rest) = rest.as_chunks::<4>();
    let (halves, odd) = rest.as_chunks::<2>();
    let words = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word)));
    let halves = halves.iter().map(|&half| word(half));
    let odd = odd.iter().map(|&byte| word([byte, 0]));
    let long = sum as u64;
    (long >> 32) + (long & 0xffff_ffff) + (sum >> 64) as u64 + words.chain(halves).chain(odd).sum::<u64>()
}

#[inline]
fn word(half: [u8; 2]) -> u64 {
    u64::from(u16::from_ne_bytes(half))
}

/// A sum in 16 bits, as it lies in memory.
#[inline]
fn folded(mut sum: u64) -> [u8; 2] {
    sum = (sum >> 32) + (sum & 0xffff_ffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    (sum as u16).to_ne_bytes()
}

/// The checksum for a sum: 0 if the sum had its checksum in it and that is right.
#[inline]
fn checksum(sum: u64) -> [u8; 2] {
    folded(sum).map(|byte| !byte)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn headers() -> Headers {
        Headers::new(
            [2, 0, 0, 0, 0, 7],
            "10.78.0.1:17001".parse().unwrap(),
            "239.129.1.2:5001".parse().unwrap(),
            1,
        )
    }

    pub(crate) fn frame(packet: &[u8]) -> Vec<u8> {
        let mut place = vec![0xaa; HEADERS + packet.len() + 9];
        let length = headers().write(packet, &mut place);
        place.truncate(length);
        place
    }

    /// The sum of RFC 1071 as it is written there.
    fn by_the_book(bytes: &[u8]) -> u16 {
        let mut sum: u32 = 0;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    #[test]
    fn a_frame_is_addressed_as_the_standards_say() {
        let frame = frame(b"abc");
        assert_eq!(
            frame[..14],
            [1, 0, 0x5e, 1, 1, 2, 2, 0, 0, 0, 0, 7, 8, 0],
            "23 bits of the group"
        );
        assert_eq!(frame[14..24], [0x45, 0, 0, 31, 0, 0, 0x40, 0, 1, 17]);
        assert_eq!(frame[26..34], [10, 78, 0, 1, 239, 129, 1, 2]);
        assert_eq!(frame[34..40], [0x42, 0x69, 0x13, 0x89, 0, 11]);
        assert_eq!(&frame[42..], b"abc");
    }

    #[test]
    fn a_frame_without_a_checksum_or_with_the_pseudo_headers_sum_is_taken() {
        let mut frame = frame(b"a packet");
        assert_eq!(packet(&frame), Some(42..50));
        frame[40..42].fill(0);
        assert_eq!(packet(&frame), Some(42..50));
        let mut pseudo = frame[26..34].to_vec();
        pseudo.extend([0, 17, frame[38], frame[39]]);
        frame[40..42].copy_from_slice(&by_the_book(&pseudo).to_be_bytes());
        assert_eq!(packet(&frame), Some(42..50));
        frame[45] ^= 1;
        assert_eq!(
            packet(&frame),
            Some(42..50),
            "the packet's own checksum is for that"
        );
    }

    #[test]
    fn what_ethernet_adds_to_short_frames_is_not_of_the_packet() {
        let mut frame = frame(b"x");
        frame.resize(60, 0);
        assert_eq!(packet(&frame), Some(42..43));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again_with_right_checksums(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
            let frame = frame(&bytes);
            prop_assert_eq!(packet(&frame), Some(42..42 + bytes.len()));
            prop_assert_eq!(&frame[42..], &bytes[..]);
            prop_assert_eq!(by_the_book(&frame[14..34]), 0xffff);
            let mut udp = frame[26..34].to_vec();
            udp.extend([0, 17, frame[38], frame[39]]);
            udp.extend(&frame[34..]);
            prop_assert_eq!(by_the_book(&udp), 0xffff);
            prop_assert_ne!(&frame[40..42], &[0, 0]);
        }

        #[test]
        fn a_frame_with_a_changed_bit_is_dropped(bytes in proptest::collection::vec(any::<u8>(), 0..200), bit in any::<prop::sample::Index>()) {
            let mut frame = frame(&bytes);
            // Not the Ethernet header, which has no checksum that we see.
            let bit = 14 * 8 + bit.index((frame.len() - 14) * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
            // One bit can turn the checksum into that of no checksum, or of the pseudo-header alone.
            let given = [frame[40], frame[41]];
            let pseudo = sum(&frame[26..34]) + word([0, 17]) + word([frame[38], frame[39]]);
            prop_assume!(given != [0, 0] && given != folded(pseudo));
            prop_assert_eq!(packet(&frame), None);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), lengths in any::<[u8; 4]>()) {
            let mut bytes = bytes;
            if bytes.len() > 40 {
                bytes[14] = 0x45;
                bytes[16..18].copy_from_slice(&lengths[..2]);
                bytes[38..40].copy_from_slice(&lengths[2..]);
            }
            if let Some(range) = packet(&bytes) {
                prop_assert!(range.end <= bytes.len());
            }
        }
    }
}
