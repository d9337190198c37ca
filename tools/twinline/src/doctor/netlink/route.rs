//! The kernel's interfaces, and what its routes do with a packet.

use super::{Attributes, DUMP, Netlink, attributes, find, text, u32_at, u64_at};
use crate::doctor::link::{Counters, Link};
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;

const GET_LINK: u16 = 18;
const GET_ADDRESS: u16 = 22;
const GET_ROUTE: u16 = 26;
const IPV4: u8 = libc::AF_INET as u8;

/// All interfaces, with their addresses; what other families know of them is left empty.
///
/// # Errors
/// What the kernel says.
pub(in crate::doctor) fn links() -> io::Result<Vec<Link>> {
    let route = Netlink::open(None)?;
    // Family, kind, index, flags and change of a link: nothing asked for in particular.
    let mut links: Vec<Link> = route
        .ask(GET_LINK, DUMP, &[0; 16])?
        .iter()
        .filter_map(|answer| link(answer))
        .collect();
    let mut addresses: BTreeMap<u32, Vec<(Ipv4Addr, u8)>> = BTreeMap::new();
    for answer in route.ask(GET_ADDRESS, DUMP, &[IPV4, 0, 0, 0, 0, 0, 0, 0])? {
        if let Some((index, address)) = address(&answer) {
            addresses.entry(index).or_default().push(address);
        }
    }
    for link in &mut links {
        link.addresses = addresses.remove(&link.index).unwrap_or_default();
    }
    Ok(links)
}

fn link(answer: &[u8]) -> Option<Link> {
    const NAME: u16 = 3;
    const MTU: u16 = 4;
    const ON: u16 = 5;
    const PART_OF: u16 = 10;
    const INFO: u16 = 18;
    const INFO_KIND: u16 = 1;
    const STATISTICS: u16 = 23;
    const CARRIER: u16 = 33;
    const ON_NAMESPACE: u16 = 37;
    const MTU_MOST: u16 = 51;
    let body = answer.get(16..)?;
    let info = find(attributes(body), INFO);
    let number = |kind| find(attributes(body), kind).and_then(|value| u32_at(value, 0));
    Some(Link {
        name: text(find(attributes(body), NAME)?),
        index: u32_at(answer, 4)?,
        flags: u32_at(answer, 8)?,
        mtu: number(MTU)?,
        // 0 is that the driver knows no limit.
        mtu_most: number(MTU_MOST).filter(|&most| most > 0),
        carrier: find(attributes(body), CARRIER).and_then(|value| value.first().map(|&on| on != 0)),
        on: number(ON).filter(|_| find(attributes(body), ON_NAMESPACE).is_none()),
        part_of: number(PART_OF),
        kind: info.and_then(|info| find(attributes(info), INFO_KIND)).map(text),
        counters: find(attributes(body), STATISTICS)
            .map(counters)
            .unwrap_or_default(),
        ..Link::default()
    })
}

/// Those of `struct rtnl_link_stats64` that tell of packets that came and were lost.
fn counters(bytes: &[u8]) -> Counters {
    let at = |number: usize| u64_at(bytes, 8 * number).unwrap_or(0);
    Counters {
        dropped: at(6),
        over: at(11),
        crc: at(12),
        fifo: at(14),
        missed: at(15),
    }
}

/// The index of an interface, and an address of it with the length of its network's prefix.
fn address(answer: &[u8]) -> Option<(u32, (Ipv4Addr, u8))> {
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    let of = |kind| find(attributes(answer.get(8..)?), kind);
    let bytes: [u8; 4] = of(LOCAL).or_else(|| of(ADDRESS))?.try_into().ok()?;
    Some((u32_at(answer, 4)?, (bytes.into(), *answer.get(1)?)))
}

/// What the routes say of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum Way {
    /// It leaves through the interface of this index; if it comes to this host and is taken, that is the loopback interface.
    Through(u32),
    /// There is no way for it: it is not sent, or dropped when it comes.
    No,
}

impl Way {
    /// The index of the interface that it leads through.
    pub(in crate::doctor) fn index(self) -> Option<u32> {
        match self {
            Way::Through(index) => Some(index),
            Way::No => None,
        }
    }
}

/// Where a packet to `to` would leave; none where the kernel does not say.
pub(in crate::doctor) fn way_to(to: Ipv4Addr) -> Option<Way> {
    way(to, None)
}

/// What becomes of a packet that comes from `from` to our address `to` through the interface `index`: reverse-path filter
/// and all, by the very code that it meets. None where the kernel does not say.
pub(in crate::doctor) fn way_from(from: Ipv4Addr, to: Ipv4Addr, index: u32) -> Option<Way> {
    way(to, Some((from, index)))
}

fn way(to: Ipv4Addr, comes: Option<(Ipv4Addr, u32)>) -> Option<Way> {
    const TO: u16 = 1;
    const FROM: u16 = 2;
    const IN: u16 = 3;
    const OUT: u16 = 4;
    let from_bits = if comes.is_some() { 32 } else { 0 };
    let mut asked = Attributes::behind(&[IPV4, 32, from_bits, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    asked.put(TO, &to.octets());
    if let Some((from, index)) = comes {
        asked.put(FROM, &from.octets());
        asked.put(IN, &index.to_ne_bytes());
    }
    match Netlink::open(None).ok()?.ask(GET_ROUTE, 0, asked.bytes()) {
        Ok(answers) => {
            let body = answers.first()?.get(12..)?;
            let out = find(attributes(body), OUT).and_then(|value| u32_at(value, 0))?;
            Some(Way::Through(out))
        }
        // Which of these it is depends on the kernel: the reverse-path filter alone has been both of the first two.
        Err(error) => match error.raw_os_error() {
            Some(libc::EXDEV | libc::EINVAL | libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES) => {
                Some(Way::No)
            }
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_this_host_is_the_loopback_interface() {
        let links = links().unwrap();
        let lo = links.iter().find(|link| link.name == "lo").unwrap();
        assert!(lo.addresses.contains(&(Ipv4Addr::LOCALHOST, 8)), "{lo:?}");
        assert_eq!(way_to(Ipv4Addr::LOCALHOST), Some(Way::Through(lo.index)));
    }
}
