//! The reverse-path filter. Strict, it drops what comes through another interface than the one that its sender is reached
//! through; loose, what comes from a sender that no route leads to at all. Either way without a word.
//!
//! A publisher has an address in each of two networks. So an interface is fine if it takes what comes from one of them; but
//! each of them must be taken somewhere: the line that is sent from it is lost otherwise.

use crate::doctor::finding::{Finding, Severity, sysctl};
use crate::doctor::link::{Link, Sender};
use crate::doctor::netlink::route::Way;
use crate::doctor::root::Root;

/// Looks at the interfaces that lines go through, in the lines' order.
pub(in crate::doctor) fn check(root: &Root, links: &[Link]) -> Vec<Finding> {
    // An interface that is down drops all, whatever the filter says, and no line opens on one without an address.
    let links: Vec<&Link> = links
        .iter()
        .filter(|link| !link.is_loopback() && link.is_up() && !link.addresses.is_empty())
        .collect();
    let lost = lost(&links);
    let of = |link: &&Link| {
        let Some(mode) = mode(root, link) else {
            let text = "not known: the kernel does not tell the filter's setting here";
            return vec![found(link, text).is(Severity::Note)];
        };
        let of_it: Vec<Finding> = lost
            .iter()
            .filter(|(_, index)| *index == link.index)
            .map(|(sender, _)| taken_nowhere(link, mode, sender))
            .collect();
        match (link.senders.is_empty(), of_it.is_empty()) {
            (true, _) => vec![without_senders(root, link, mode)],
            (false, true) => vec![from_senders(link, mode)],
            (false, false) => of_it,
        }
    };
    links.iter().flat_map(of).collect()
}

fn found(link: &Link, text: impl Into<String>) -> Finding {
    const WHY: &str = "the reverse-path filter drops what comes through an interface that its sender is not reached through, without a word: line B has a network of its own, often without a route to the publisher";
    Finding::ok("interface.reverse_path", &link.name, text, WHY)
}

/// 0 is off, 1 strict, 2 loose.
fn mode(root: &Root, link: &Link) -> Option<u8> {
    let of = |which: &str| root.number::<u8>(&format!("proc/sys/net/ipv4/conf/{which}/rp_filter"));
    // The higher one holds.
    Some(of("all")?.max(of(&link.name)?))
}

/// Where no sender was named, default routes tell whether there is a way to all.
fn without_senders(root: &Root, link: &Link, mode: u8) -> Finding {
    let defaults = default_routes(root);
    let here = defaults.contains(&link.name);
    match mode {
        0 => found(link, "the filter is off"),
        1 if here => found(
            link,
            "the filter is strict, and the default route is through this interface",
        ),
        1 => found(
            link,
            format!(
                "the filter is strict, and the default route is not through this interface: of senders outside {} nothing is \
                 heard; if the publisher is inside, say so with --sender ADDRESS",
                link.networks()
            ),
        )
        .is(Severity::Loss)
        .mend(loosen(link)),
        _ if defaults.is_empty() => found(
            link,
            "the filter is loose, and there is no default route: of a sender that no other route leads to nothing is heard; \
             name the publisher's addresses with --sender ADDRESS to have them looked at",
        )
        .is(Severity::Note),
        _ => found(
            link,
            "the filter is loose, and the default route leads to every sender",
        ),
    }
}

/// By what the kernel itself says of packets from the senders that were named.
fn from_senders(link: &Link, mode: u8) -> Finding {
    let named = |which: &dyn Fn(&&Sender) -> bool| {
        let those = link
            .senders
            .iter()
            .filter(which)
            .map(|sender| sender.address.to_string());
        those.collect::<Vec<_>>().join(", ")
    };
    let taken = named(&|sender| matches!(sender.comes, Some(Way::Through(_))));
    if !taken.is_empty() {
        return found(link, format!("what comes from {taken} is taken"));
    }
    let all = named(&|_| true);
    if link.senders.iter().any(|sender| sender.comes.is_none()) {
        let text = format!("not known: the kernel does not say what it does with packets from {all}");
        return found(link, text).is(Severity::Note);
    }
    let reached = link.senders.iter().any(|sender| sender.back != Some(Way::No));
    match (mode, reached) {
        (1, _) => strict(link, &all),
        // The finding about the sender itself, at the interface that is to have the route, has the command.
        (2.., false) => found(
            link,
            format!("there is no route to {all}, so the filter drops what comes from there"),
        )
        .is(Severity::Loss),
        _ => not_filtered(link, &all),
    }
}

/// Of a sender nothing is taken on any interface, and `link` is the one that it probably comes through.
fn taken_nowhere(link: &Link, mode: u8, sender: &Sender) -> Finding {
    let from = sender.address;
    match (mode, sender.back) {
        (1.., Some(Way::No)) => found(
            link,
            format!(
                "there is no route to {from}, so the filter drops what comes from there on every interface"
            ),
        )
        .is(Severity::Loss)
        .mend(format!("ip route add {from}/32 dev {}", link.name)),
        (1, _) => strict(link, &from.to_string()),
        _ => not_filtered(link, &from.to_string()),
    }
}

fn strict(link: &Link, senders: &str) -> Finding {
    let text = format!(
        "the filter is strict, and what comes from {senders} is dropped: the way back is not through this interface"
    );
    found(link, text).is(Severity::Loss).mend(loosen(link))
}

fn not_filtered(link: &Link, senders: &str) -> Finding {
    let text = format!(
        "what comes from {senders} is dropped, and not by the reverse-path filter: is it an address of this host?"
    );
    found(link, text).is(Severity::Loss)
}

/// The senders of which nothing is taken on any of these interfaces, each with the interface that it probably comes
/// through: the one in its place, as A's and B's are named in the same order, but none that another sender is reached
/// through.
fn lost<'l>(links: &[&'l Link]) -> Vec<(&'l Sender, u32)> {
    let Some(first) = links.first() else {
        return Vec::new();
    };
    let is_dropped = |sender: &Sender, link: &Link| {
        let mut here = link.senders.iter();
        here.any(|other| other.address == sender.address && other.comes == Some(Way::No))
    };
    let is_free = |link: &Link| {
        let mut reached = link.senders.iter().map(|sender| sender.back);
        !reached.any(|back| back == Some(Way::Through(link.index)))
    };
    let comes_through = |place: usize| {
        let mut from_its_place = links.iter().cycle().skip(place).take(links.len());
        let free = from_its_place.find(|link| is_free(link));
        free.unwrap_or(&links[place % links.len()]).index
    };
    let senders = first.senders.iter().enumerate();
    senders
        .filter(|(_, sender)| links.iter().all(|link| is_dropped(sender, link)))
        .map(|(place, sender)| (sender, comes_through(place)))
        .collect()
}

fn loosen(link: &Link) -> String {
    // A dot in an interface's name is a slash where dots part names.
    sysctl(
        &format!("net.ipv4.conf.{}.rp_filter", link.name.replace('.', "/")),
        2,
    )
}

/// The interfaces that default routes lead through.
fn default_routes(root: &Root) -> Vec<String> {
    /// The route refuses, as `unreachable` ones do.
    const REJECT: u32 = 0x200;
    let routes = root.text("proc/net/route").unwrap_or_default();
    let through = routes.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [interface, "00000000", _, flags, _, _, _, "00000000", ..] = fields[..] else {
            return None;
        };
        let refuses = u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & REJECT != 0);
        (!refuses).then(|| interface.to_owned())
    });
    through.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::testing::one;
    use crate::doctor::root::machine;
    use std::net::Ipv4Addr;

    const ETH0: u32 = 2;
    const ETH1: u32 = 3;
    const ELSEWHERE: u32 = 4;
    const HERE: Way = Way::Through(1);
    const A: [u8; 4] = [10, 1, 0, 5];
    const B: [u8; 4] = [10, 2, 0, 5];
    const LOOSEN: &str = "sysctl -w net.ipv4.conf.eth1.rp_filter=2";

    fn link(index: u32, senders: &[Sender]) -> Link {
        Link {
            name: format!("eth{}", index - ETH0),
            index,
            flags: (libc::IFF_UP | libc::IFF_MULTICAST).cast_unsigned(),
            addresses: vec![(Ipv4Addr::new(10, 77, 2, 9), 24)],
            senders: senders.to_vec(),
            ..Link::default()
        }
    }

    fn sender(address: [u8; 4], comes: Way, back: Way) -> Sender {
        Sender {
            address: address.into(),
            comes: Some(comes),
            back: Some(back),
        }
    }

    /// What is found where the filter is in a mode: severity, place and command.
    fn all_of(mode: &str, links: &[Link]) -> Vec<(Severity, String, Option<String>)> {
        let own: Vec<String> = links.iter().map(|link| of(&link.name)).collect();
        let mut files = vec![("proc/sys/net/ipv4/conf/all/rp_filter", "0")];
        files.extend(own.iter().map(|path| (path.as_str(), mode)));
        let (_dir, root) = machine(&files);
        let findings = check(&root, links).into_iter();
        findings
            .map(|finding| (finding.severity, finding.place, finding.command))
            .collect()
    }

    fn of(name: &str) -> String {
        format!("proc/sys/net/ipv4/conf/{name}/rp_filter")
    }

    fn loss(place: &str, command: &str) -> (Severity, String, Option<String>) {
        (Severity::Loss, place.into(), Some(command.into()))
    }

    fn fine(place: &str) -> (Severity, String, Option<String>) {
        (Severity::Ok, place.into(), None)
    }

    #[test]
    fn it_is_enough_if_an_interface_takes_one_sender_and_each_sender_is_taken_on_one() {
        let links = [
            link(
                ETH0,
                &[
                    sender(A, HERE, Way::Through(ETH0)),
                    sender(B, Way::No, Way::Through(ETH1)),
                ],
            ),
            link(
                ETH1,
                &[
                    sender(A, Way::No, Way::Through(ETH0)),
                    sender(B, HERE, Way::Through(ETH1)),
                ],
            ),
        ];
        assert_eq!(all_of("1", &links), [fine("eth0"), fine("eth1")]);
    }

    #[test]
    fn a_sender_without_a_route_is_lost_though_another_one_is_taken_everywhere() {
        let senders = [sender(A, HERE, Way::Through(ETH0)), sender(B, Way::No, Way::No)];
        let route = "ip route add 10.2.0.5/32 dev eth1";
        let links = [link(ETH0, &senders), link(ETH1, &senders)];
        assert_eq!(all_of("2", &links), [fine("eth0"), loss("eth1", route)]);
        // In whichever order they are named.
        let [a, b] = senders;
        let links = [link(ETH0, &[b, a]), link(ETH1, &[b, a])];
        assert_eq!(all_of("2", &links), [fine("eth0"), loss("eth1", route)]);
        // To loosen a strict filter would not help it.
        let links = [
            link(ETH0, &senders),
            link(ETH1, &[sender(A, Way::No, Way::Through(ETH0)), b]),
        ];
        assert_eq!(all_of("1", &links), [fine("eth0"), loss("eth1", route)]);
    }

    #[test]
    fn each_sender_without_a_route_gets_its_own_through_the_interface_in_its_place() {
        let senders = [sender(A, Way::No, Way::No), sender(B, Way::No, Way::No)];
        let routes = [
            loss("eth0", "ip route add 10.1.0.5/32 dev eth0"),
            loss("eth1", "ip route add 10.2.0.5/32 dev eth1"),
        ];
        for mode in ["1", "2"] {
            let links = [link(ETH0, &senders), link(ETH1, &senders)];
            assert_eq!(all_of(mode, &links), routes, "mode {mode}");
        }
        let only = [link(ETH1, &senders)];
        let commands: Vec<_> = all_of("2", &only).into_iter().map(|found| found.2).collect();
        let route = |address| Some(format!("ip route add {address}/32 dev eth1"));
        assert_eq!(commands, [route("10.1.0.5"), route("10.2.0.5")]);
        // One route for one sender, though no interface hears anything.
        let one = [sender(A, Way::No, Way::No)];
        let links = [link(ETH0, &one), link(ETH1, &one)];
        let [first, second] = &all_of("2", &links)[..] else {
            panic!("one of each interface");
        };
        assert_eq!(*first, routes[0]);
        assert_eq!(*second, (Severity::Loss, "eth1".into(), None));
    }

    #[test]
    fn a_strict_filter_is_loosened_where_the_sender_is_reached_through_another_interface() {
        for back in [Way::Through(ETH0), Way::Through(ELSEWHERE)] {
            let links = [link(ETH1, &[sender(B, Way::No, back)])];
            assert_eq!(all_of("1", &links), [loss("eth1", LOOSEN)]);
        }
        let both = |index| {
            let comes = if index == ETH0 { HERE } else { Way::No };
            link(
                index,
                &[
                    sender(A, comes, Way::Through(ETH0)),
                    sender(B, comes, Way::Through(ETH0)),
                ],
            )
        };
        let found = all_of("1", &[both(ETH0), both(ETH1)]);
        assert_eq!(found, [fine("eth0"), loss("eth1", LOOSEN)]);
    }

    #[test]
    fn what_is_dropped_without_a_filter_gets_no_command_and_what_the_kernel_does_not_say_is_not_known() {
        let dropped = [link(ETH1, &[sender(A, Way::No, HERE)])];
        assert_eq!(all_of("0", &dropped), [(Severity::Loss, "eth1".into(), None)]);
        let silent = Sender {
            comes: None,
            ..sender(A, HERE, HERE)
        };
        assert_eq!(
            all_of("2", &[link(ETH1, &[silent])]),
            [(Severity::Note, "eth1".into(), None)]
        );
    }

    #[test]
    fn without_a_named_sender_the_default_routes_tell_what_the_filter_drops() {
        let head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";
        let routed = "eth0 00000000 0101000A 0003 0 0 0 00000000 0 0 0\n\
                      eth1 00024D0A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
        let refused = "* 00000000 00000000 0200 0 0 0 00000000 0 0 0\n";
        for (index, mode, routes, severity, command) in [
            (ETH0, "1", routed, Severity::Ok, None),
            (ETH1, "1", routed, Severity::Loss, Some(LOOSEN)),
            (ETH1, "2", routed, Severity::Ok, None),
            (ETH1, "2", refused, Severity::Note, None),
            (ETH1, "2", "", Severity::Note, None),
            (ETH1, "0", "", Severity::Ok, None),
        ] {
            let link = link(index, &[]);
            let routes = format!("{head}{routes}");
            let (_dir, root) = machine(&[
                ("proc/sys/net/ipv4/conf/all/rp_filter", "0"),
                (&of(&link.name), mode),
                ("proc/net/route", &routes),
            ]);
            let findings = check(&root, &[link]);
            let found = one(&findings, "interface.reverse_path");
            let seen = (found.severity, found.command.as_deref());
            assert_eq!(seen, (severity, command), "mode {mode}: {routes}");
            match severity {
                Severity::Note => assert!(found.found.contains("--sender"), "{}", found.found),
                Severity::Loss => assert!(found.found.contains("10.77.2.0/24"), "{}", found.found),
                _ => {}
            }
        }
    }

    #[test]
    fn an_interface_that_is_down_or_has_no_address_is_not_asked_and_a_setting_that_is_not_there_is_not_known()
    {
        let (_dir, root) = machine(&[]);
        let down = Link {
            flags: 0,
            ..link(ETH0, &[])
        };
        let bare = Link {
            addresses: Vec::new(),
            ..link(ETH0, &[])
        };
        assert_eq!(check(&root, &[down, bare]), []);
        let found = one(&check(&root, &[link(ETH1, &[])]), "interface.reverse_path").clone();
        assert!(found.severity == Severity::Note && found.found.starts_with("not known"));
    }
}
