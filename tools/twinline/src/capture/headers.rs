//! What stands around a datagram in a capture: link, IPv4 and UDP headers, taken off and put on.

use std::net::{Ipv4Addr, SocketAddrV4};

/// A UDP datagram of a captured packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Datagram<'a> {
    /// Who sent it.
    pub(crate) source: SocketAddrV4,
    /// Where it went.
    pub(crate) destination: SocketAddrV4,
    /// What it holds.
    pub(crate) payload: &'a [u8],
}

/// The datagram in a packet of this link type, as tcpdump numbers them; otherwise why there is none, as a counter's
/// name.
pub(crate) fn datagram(link: u16, bytes: &[u8]) -> Result<Datagram<'_>, &'static str> {
    udp(ip(link, bytes)?)
}

/// The IPv4 packet behind the link's header.
fn ip(link: u16, bytes: &[u8]) -> Result<&[u8], &'static str> {
    const CUT: &str = "cut_by_the_capture";
    let (mut kind, mut rest) = match link {
        // Ethernet.
        1 => (word(bytes, 12).ok_or(CUT)?, bytes.get(14..)),
        // Raw IP, under its several numbers.
        12 | 14 | 101 | 228 => return Ok(bytes),
        // BSD loopback: a family in somebody's byte order; the IP header's own version is looked at anyway.
        0 | 108 => return bytes.get(4..).ok_or(CUT),
        // Linux cooked, both versions (tcpdump -i any).
        113 => (word(bytes, 14).ok_or(CUT)?, bytes.get(16..)),
        276 => (word(bytes, 0).ok_or(CUT)?, bytes.get(20..)),
        _ => return Err("unknown_link_type"),
    };
    // 802.1Q and 802.1ad tags, one in the other.
    while matches!(kind, 0x8100 | 0x88a8) {
        let tagged = rest.ok_or(CUT)?;
        (kind, rest) = (word(tagged, 2).ok_or(CUT)?, tagged.get(4..));
    }
    match kind {
        0x0800 => rest.ok_or(CUT),
        _ => Err("not_ipv4"),
    }
}

fn udp(bytes: &[u8]) -> Result<Datagram<'_>, &'static str> {
    const CUT: &str = "cut_by_the_capture";
    let first = *bytes.first().ok_or(CUT)?;
    if first >> 4 != 4 {
        return Err("not_ipv4");
    }
    let header = usize::from(first & 15) * 4;
    let total = usize::from(word(bytes, 2).ok_or(CUT)?);
    if header < 20 || total < header {
        return Err("wrong_ip_header");
    }
    let fragment = word(bytes, 6).ok_or(CUT)?;
    if *bytes.get(9).ok_or(CUT)? != 17 {
        return Err("not_udp");
    }
    // More fragments, or not the first one.
    if fragment & 0x3fff != 0 {
        return Err("ip_fragment");
    }
    let packet = bytes.get(..total).ok_or(CUT)?;
    let body = packet.get(header..).ok_or(CUT)?;
    let length = usize::from(word(body, 4).ok_or("wrong_udp_header")?);
    let payload = body.get(8..length).ok_or("wrong_udp_header")?;
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let port = |at| word(body, at).ok_or("wrong_udp_header");
    Ok(Datagram {
        source: SocketAddrV4::new(address(12), port(0)?),
        destination: SocketAddrV4::new(address(16), port(2)?),
        payload,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Puts Ethernet, IPv4 and UDP headers before a multicast datagram that was received, into `out`. The sender's hardware
/// address and the hops left are not known to a socket: they are a local address and 1.
pub(crate) fn put_on(out: &mut Vec<u8>, source: SocketAddrV4, group: SocketAddrV4, payload: &[u8]) {
    out.clear();
    let [_, b, c, d] = group.ip().octets();
    out.extend_from_slice(&[0x01, 0x00, 0x5e, b & 0x7f, c, d]);
    out.extend_from_slice(&[0x02, 0x00]);
    out.extend_from_slice(&source.ip().octets());
    out.extend_from_slice(&[0x08, 0x00]);
    let begin = out.len();
    let udp = 8 + payload.len();
    let total = (20 + udp) as u16;
    out.extend_from_slice(&[0x45, 0]);
    out.extend_from_slice(&total.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0x40, 0, 1, 17, 0, 0]);
    out.extend_from_slice(&source.ip().octets());
    out.extend_from_slice(&group.ip().octets());
    let sum = !folded(summed(0, &out[begin..]));
    out[begin + 10..begin + 12].copy_from_slice(&sum.to_be_bytes());
    let body = out.len();
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&group.port().to_be_bytes());
    out.extend_from_slice(&(udp as u16).to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(payload);
    // The pseudo header: both addresses, the protocol, the length.
    let pseudo = summed(17 + udp as u32, &out[begin + 12..begin + 20]);
    let sum = match !folded(summed(pseudo, &out[body..])) {
        // 0 would say that there is no checksum.
        0 => u16::MAX,
        sum => sum,
    };
    out[body + 6..body + 8].copy_from_slice(&sum.to_be_bytes());
}

/// The sum of big-endian 16-bit words, an odd last byte padded with zero.
fn summed(start: u32, bytes: &[u8]) -> u32 {
    bytes.chunks(2).fold(start, |sum, pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        sum + u32::from(u16::from_be_bytes([pair[0], low]))
    })
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> (Vec<u8>, SocketAddrV4, SocketAddrV4) {
        let source = SocketAddrV4::new(Ipv4Addr::new(10, 1, 2, 3), 4321);
        let group = SocketAddrV4::new(Ipv4Addr::new(239, 205, 1, 2), 17001);
        let mut frame = Vec::new();
        put_on(&mut frame, source, group, payload);
        (frame, source, group)
    }

    #[test]
    fn headers_put_on_come_off_again_and_their_checksums_are_right() {
        for payload in [&b"even"[..], b"odd", b""] {
            let (frame, source, destination) = frame(payload);
            let expected = Datagram {
                source,
                destination,
                payload,
            };
            assert_eq!(datagram(ETHERNET, &frame), Ok(expected));
            assert_eq!(datagram(101, &frame[14..]), Ok(expected));
            assert_eq!(folded(summed(0, &frame[14..34])), 0xffff);
            let pseudo = summed(17 + 8 + payload.len() as u32, &frame[26..34]);
            assert_eq!(folded(summed(pseudo, &frame[34..])), 0xffff);
            assert_eq!(frame[..6], [1, 0, 0x5e, 205 & 0x7f, 1, 2]);
        }
    }

    const ETHERNET: u16 = 1;

    #[test]
    fn tags_and_cooked_headers_come_off() {
        let (plain, source, _) = frame(b"payload");
        let tagged = [&plain[..12], &[0x81, 0, 0, 7], &plain[12..]].concat();
        let cooked = [&[0; 14][..], &plain[12..]].concat();
        let cooked2 = [&[8, 0][..], &[0; 18], &plain[14..]].concat();
        for (link, bytes) in [(ETHERNET, tagged), (113, cooked), (276, cooked2)] {
            let found = datagram(link, &bytes).unwrap();
            assert_eq!((found.source, found.payload), (source, &b"payload"[..]));
        }
    }

    #[test]
    fn what_is_no_whole_datagram_is_named() {
        let (plain, ..) = frame(b"payload");
        let with = |at: usize, value: u8| {
            let mut changed = plain.clone();
            changed[at] = value;
            datagram(ETHERNET, &changed).err()
        };
        assert_eq!(with(13, 6), Some("not_ipv4"));
        assert_eq!(with(14, 0x65), Some("not_ipv4"));
        assert_eq!(with(14, 0x44), Some("wrong_ip_header"));
        assert_eq!(with(20, 0x20), Some("ip_fragment"));
        assert_eq!(with(21, 1), Some("ip_fragment"));
        assert_eq!(with(23, 6), Some("not_udp"));
        assert_eq!(with(39, 7), Some("wrong_udp_header"));
        assert_eq!(datagram(999, &plain).err(), Some("unknown_link_type"));
        for cut in 0..plain.len() {
            assert!(datagram(ETHERNET, &plain[..cut]).is_err(), "cut at {cut}");
        }
    }
}
