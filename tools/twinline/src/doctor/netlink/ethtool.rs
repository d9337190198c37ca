//! What drivers say through the `ethtool` family (Linux 5.6): rings, queues, coalescing, offloads.

use super::{Attributes, Netlink, attributes, find, generic_attributes, text, u32_at};
use crate::doctor::link::{Coalescing, Features, Link, Rings};
use std::collections::BTreeSet;
use std::io;

/// In every message, the attribute that says which interface is meant.
const DEVICE: u16 = 1;
const DEVICE_INDEX: u16 = 1;

/// Fills in what the driver of each interface says; what it does not know stays unknown.
///
/// # Errors
/// If this kernel has no such family.
pub(in crate::doctor) fn fill(links: &mut [Link]) -> io::Result<()> {
    let generic = Netlink::generic()?;
    let family = generic.family("ethtool")?;
    for link in links {
        let ask = |command: u8| -> Option<Vec<u8>> {
            let mut device = Attributes::behind(&[]);
            device.put(DEVICE_INDEX, &link.index.to_ne_bytes());
            let mut asked = Attributes::behind(&[command, 1, 0, 0]);
            asked.nest(DEVICE, &device);
            generic.ask(family, 0, asked.bytes()).ok()?.pop()
        };
        const FEATURES: u8 = 11;
        const RINGS: u8 = 15;
        const CHANNELS: u8 = 17;
        const COALESCING: u8 = 19;
        link.features = ask(FEATURES).map(|answer| features(&answer));
        link.rings = ask(RINGS).and_then(|answer| rings(&answer));
        link.queues = ask(CHANNELS).map(|answer| queues(&answer));
        link.coalescing = ask(COALESCING).map(|answer| coalescing(&answer));
    }
    Ok(())
}

fn number(answer: &[u8], kind: u16) -> Option<u32> {
    find(generic_attributes(answer), kind).and_then(|value| u32_at(value, 0))
}

fn rings(answer: &[u8]) -> Option<Rings> {
    Some(Rings {
        receive: number(answer, 6)?,
        receive_most: number(answer, 2)?,
    })
}

/// Receive queues: those of their own, and those that a queue for sending is combined with.
fn queues(answer: &[u8]) -> u32 {
    number(answer, 6).unwrap_or(0) + number(answer, 9).unwrap_or(0)
}

fn coalescing(answer: &[u8]) -> Coalescing {
    let adaptive = find(generic_attributes(answer), 11).and_then(|value| value.first());
    Coalescing {
        receive_us: number(answer, 2),
        adaptive: adaptive.is_some_and(|&on| on != 0),
    }
}

fn features(answer: &[u8]) -> Features {
    const CHANGEABLE: u16 = 2;
    const ACTIVE: u16 = 4;
    const FIXED: u16 = 5;
    let set = |kind| find(generic_attributes(answer), kind).map_or_else(BTreeSet::new, bits);
    Features {
        active: set(ACTIVE),
        changeable: set(CHANGEABLE).difference(&set(FIXED)).cloned().collect(),
    }
}

/// The names of the bits that are set in a bit set.
fn bits(set: &[u8]) -> BTreeSet<String> {
    /// Only bits that are set are listed.
    const ONLY_SET: u16 = 1;
    const BITS: u16 = 3;
    const NAME: u16 = 2;
    const IS_SET: u16 = 3;
    let only_set = find(attributes(set), ONLY_SET).is_some();
    let listed = find(attributes(set), BITS).unwrap_or(&[]);
    attributes(listed)
        .filter(|(_, bit)| only_set || find(attributes(bit), IS_SET).is_some())
        .filter_map(|(_, bit)| find(attributes(bit), NAME).map(text))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::netlink::route::links;

    #[test]
    fn of_a_bit_set_only_what_is_set_counts() {
        let bit = |name: &str, set: bool| {
            let mut bit = Attributes::behind(&[]);
            bit.put(2, &[name.as_bytes(), &[0]].concat());
            if set {
                bit.put(3, &[]);
            }
            bit
        };
        for (only_set, expected) in [(false, &["rx-gro"][..]), (true, &["rx-gro", "rx-lro"])] {
            let mut listed = Attributes::behind(&[]);
            listed.nest(1, &bit("rx-gro", true));
            listed.nest(1, &bit("rx-lro", false));
            let mut set = Attributes::behind(&[]);
            if only_set {
                set.put(1, &[]);
            }
            set.nest(3, &listed);
            assert_eq!(bits(set.bytes()).iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn the_loopback_interface_says_its_offloads() {
        let mut links = links().unwrap();
        links.retain(|link| link.name == "lo");
        if let Err(cause) = fill(&mut links) {
            eprintln!("skipped: this kernel has no ethtool family: {cause}");
            return;
        }
        let features = links[0].features.as_ref().unwrap();
        assert!(features.active.contains("tx-udp-segmentation"), "{features:?}");
        assert!(features.active.contains("loopback") && !features.changeable.contains("loopback"));
        assert!(features.changeable.contains("rx-gro"), "{features:?}");
    }
}
