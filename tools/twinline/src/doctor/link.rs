//! An interface, as far as the kernel tells of it.

use super::netlink::{ethtool, netdev, route};
use super::{ioctl, netlink::route::Way};
use serde::{Serialize, Serializer};
use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;

/// An interface. What the kernel or the driver does not tell is none.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Link {
    /// Its name.
    pub(super) name: String,
    /// Its number in the kernel.
    pub(super) index: u32,
    /// `IFF_` flags.
    #[serde(skip)]
    pub(super) flags: u32,
    /// Whether something is at the other end.
    pub(super) carrier: Option<bool>,
    /// The longest IP packet.
    pub(super) mtu: u32,
    /// The most that can be set.
    pub(super) mtu_most: Option<u32>,
    /// What it is if it is no hardware: `veth`, `bridge`.
    pub(super) kind: Option<String>,
    /// The interface that it lies on, if it is a VLAN or the like on this host.
    #[serde(skip)]
    pub(super) on: Option<u32>,
    /// The bond or bridge that it is a part of.
    #[serde(skip)]
    pub(super) part_of: Option<u32>,
    /// Its driver.
    pub(super) driver: Option<String>,
    /// Its IPv4 addresses, with the lengths of their networks' prefixes.
    #[serde(serialize_with = "with_prefix")]
    pub(super) addresses: Vec<(Ipv4Addr, u8)>,
    /// What it lost.
    pub(super) counters: Counters,
    /// What its driver can do for XDP.
    pub(super) xdp: Option<Xdp>,
    /// Its rings.
    pub(super) rings: Option<Rings>,
    /// Its receive queues.
    pub(super) queues: Option<u32>,
    /// When it interrupts.
    pub(super) coalescing: Option<Coalescing>,
    /// Its offloads.
    pub(super) features: Option<Features>,
    /// Rules that steer packets to queues.
    pub(super) flow_rules: Option<u32>,
    /// What becomes of packets from each sender that was named.
    #[serde(skip)]
    pub(super) senders: Vec<Sender>,
}

/// Packets that came and were lost, since the interface was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counters {
    /// By the kernel, or of no protocol that it has.
    pub(super) dropped: u64,
    /// Longer than the ring's buffers, or more than it held.
    pub(super) over: u64,
    /// Damaged on the way.
    pub(super) crc: u64,
    /// The card's own memory was full.
    pub(super) fifo: u64,
    /// The receive ring was full.
    pub(super) missed: u64,
}

impl Counters {
    /// Lost as nobody took them out of the ring in time.
    pub(super) fn overrun(&self) -> u64 {
        self.over + self.fifo + self.missed
    }
}

/// What a driver can do for XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Xdp {
    /// Runs programs itself.
    pub(super) native: bool,
    /// And hands packets to AF_XDP sockets.
    pub(super) redirect: bool,
    /// Without copying them.
    pub(super) zero_copy: bool,
    /// Pieces that a packet may have then.
    pub(super) zero_copy_segments: Option<u32>,
}

/// Ring sizes, in packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rings {
    /// Of each receive ring.
    pub(super) receive: u32,
    /// The largest that it can be.
    pub(super) receive_most: u32,
}

/// When a card interrupts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Coalescing {
    /// So long after a packet came, in microseconds.
    pub(super) receive_us: Option<u32>,
    /// The driver changes that as it likes.
    pub(super) adaptive: bool,
}

/// Offloads, by the names that `ethtool` shows and takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Features {
    /// Switched on.
    pub(super) active: BTreeSet<String>,
    /// Can be switched.
    #[serde(skip)]
    pub(super) changeable: BTreeSet<String>,
}

/// A sender that was named, as an interface sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sender {
    /// Its address.
    pub(super) address: Ipv4Addr,
    /// What becomes of a packet from it that comes through this interface.
    pub(super) comes: Option<Way>,
    /// Where a packet to it would leave.
    pub(super) back: Option<Way>,
}

impl Link {
    /// True if it was brought up.
    pub(super) fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP.cast_unsigned() != 0
    }

    /// True if a line that names an interface so means this one: by its name, or an address that it has.
    pub(super) fn is_named(&self, name: &str) -> bool {
        let address: Option<Ipv4Addr> = name.parse().ok();
        self.name == name || self.addresses.iter().any(|(own, _)| Some(*own) == address)
    }

    /// True if it is the host itself.
    pub(super) fn is_loopback(&self) -> bool {
        self.flags & libc::IFF_LOOPBACK.cast_unsigned() != 0
    }

    /// True if a card is behind it, or what a hypervisor shows as one: not something that the kernel makes up.
    pub(super) fn is_hardware(&self) -> bool {
        !self.is_loopback() && self.kind.is_none()
    }

    /// True if what comes through `above` comes through this one first.
    pub(super) fn is_below(&self, above: &Link) -> bool {
        // The other end of a veth pair is not below it, though the kernel tells of it in the same way.
        let stacked = above.kind.as_deref().is_some_and(|kind| kind != "veth");
        stacked && (above.on == Some(self.index) || self.part_of == Some(above.index))
    }

    /// Its networks: `10.0.0.0/24`.
    pub(super) fn networks(&self) -> String {
        let shown = self.addresses.iter().map(|&(address, bits)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            format!("{}/{bits}", Ipv4Addr::from(u32::from(address) & mask))
        });
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// Addresses as they are written: `10.0.0.2/24`.
fn with_prefix<S: Serializer>(addresses: &[(Ipv4Addr, u8)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(
        addresses
            .iter()
            .map(|(address, bits)| format!("{address}/{bits}")),
    )
}

/// All interfaces, with all that the kernel and their drivers tell.
///
/// # Errors
/// If the kernel does not even list them.
pub(super) fn all() -> io::Result<Vec<Link>> {
    let mut links = route::links()?;
    // A kernel without a family, and a driver without an answer, leave unknown what they would tell.
    let _ = ethtool::fill(&mut links);
    let _ = netdev::fill(&mut links);
    for link in &mut links {
        link.driver = ioctl::driver(&link.name).or_else(|| link.kind.clone());
        link.flow_rules = ioctl::flow_rules(&link.name);
    }
    Ok(links)
}

/// What becomes of packets from `senders` that come through `link`.
pub(super) fn look_at_senders(link: &mut Link, senders: &[Ipv4Addr]) {
    let Some(&(own, _)) = link.addresses.first() else {
        return;
    };
    let of = |&address| Sender {
        address,
        comes: route::way_from(address, own, link.index),
        back: route::way_to(address),
    };
    link.senders = senders.iter().map(of).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_a_vlan_is_its_card_and_below_a_bond_its_parts_but_below_a_veth_nothing() {
        let link = |index, kind: Option<&str>| Link {
            index,
            kind: kind.map(Into::into),
            ..Link::default()
        };
        let card = Link {
            part_of: Some(9),
            ..link(1, None)
        };
        let on_card = |kind| Link {
            on: Some(1),
            ..link(5, Some(kind))
        };
        assert!(card.is_below(&on_card("vlan")) && card.is_below(&link(9, Some("bond"))));
        assert!(!card.is_below(&on_card("veth")) && !card.is_below(&link(8, Some("bond"))));
    }

    #[test]
    fn networks_are_shown_by_their_prefix() {
        let link = Link {
            addresses: vec![
                ("10.77.2.9".parse().unwrap(), 24),
                ("10.1.2.3".parse().unwrap(), 0),
            ],
            ..Link::default()
        };
        assert_eq!(link.networks(), "10.77.2.0/24, 0.0.0.0/0");
    }
}
