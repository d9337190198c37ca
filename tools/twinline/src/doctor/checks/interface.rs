//! An interface as a line needs it: up, wide enough, and with routes that do not stand in a line's way.

use super::Wanted;
use crate::doctor::finding::{Finding, Severity, sysctl};
use crate::doctor::link::{Link, Sender};
use crate::doctor::netlink::route::Way;
use crate::doctor::root::Root;
use std::net::Ipv4Addr;
use twinline_line::LineAddress;

/// IPv4 and UDP headers of a packet.
const HEADERS: usize = 28;

/// Looks at an interface.
pub(in crate::doctor) fn check(root: &Root, link: &Link, wanted: &Wanted) -> Vec<Finding> {
    let mut findings = vec![up(link), mtu(link, wanted)];
    // An interface that is down drops all, whatever the filter says.
    if !link.is_loopback() && link.is_up() && !link.addresses.is_empty() {
        findings.push(filter(root, link));
    }
    findings
}

fn up(link: &Link) -> Finding {
    const WHY: &str = "nothing comes and nothing goes";
    let found = |text: &str| Finding::ok("interface.up", &link.name, text, WHY);
    match (link.is_up(), link.carrier) {
        (false, _) => found("it is down")
            .is(Severity::Loss)
            .mend(format!("ip link set dev {} up", link.name)),
        (true, Some(false)) => found(
            "it is up, but nothing is at its other end: look at the cable, the switch's port or the peer",
        )
        .is(Severity::Loss),
        (true, _) => found("up"),
    }
}

fn mtu(link: &Link, wanted: &Wanted) -> Finding {
    const WHY: &str = "packets are never cut into fragments: what is longer than the MTU is not sent, and most cards drop it when it comes";
    let needed = wanted.packet_size + HEADERS;
    let found = |text: String| Finding::ok("interface.mtu", &link.name, text, WHY);
    let as_size = |mtu: u32| usize::try_from(mtu).unwrap_or(usize::MAX);
    let mtu = as_size(link.mtu);
    if mtu >= needed {
        return found(format!("MTU {mtu}; packets need {needed}"));
    }
    // What a packet may have here: a multiple of 64.
    let fits = mtu.saturating_sub(HEADERS) / 64 * 64;
    let found = found(format!(
        "MTU {mtu}; packets of {} bytes need {needed} with their headers; or publish with --packet-size {fits}",
        wanted.packet_size
    ))
    .is(Severity::Loss);
    let most = link.mtu_most.map_or(usize::MAX, as_size);
    match most >= needed {
        true => found.mend(format!(
            "ip link set dev {} mtu {}",
            link.name,
            needed.max(1500).min(most)
        )),
        false => found,
    }
}

/// The reverse-path filter: it drops what comes through another interface than the one that its sender is reached through.
fn filter(root: &Root, link: &Link) -> Finding {
    const WHY: &str = "the reverse-path filter drops what comes through an interface that its sender is not reached through, without a word: line B has a network of its own, often without a route to the publisher";
    let of = |which: &str| root.number::<u8>(&format!("proc/sys/net/ipv4/conf/{which}/rp_filter"));
    let (Some(all), Some(own)) = (of("all"), of(&link.name)) else {
        let found = "not known: the kernel does not tell the filter's setting here";
        return Finding::ok("interface.reverse_path", &link.name, found, WHY).is(Severity::Note);
    };
    // The higher one holds.
    let mode = all.max(own);
    let found = |text: String| Finding::ok("interface.reverse_path", &link.name, text, WHY);
    if !link.senders.is_empty() {
        return from_senders(link, mode, found);
    }
    if mode != 1 || default_through(root, &link.name) {
        let what = match mode {
            0 => "the filter is off",
            1 => "the filter is strict, and the default route is through this interface",
            _ => "the filter is loose",
        };
        return found(what.into());
    }
    found(format!(
        "the filter is strict, and the default route is not through this interface: of senders outside {} nothing is heard; if the \
         publisher is inside, say so with --sender ADDRESS",
        link.networks()
    ))
    .is(Severity::Loss)
    .mend(loosen(link))
}

/// By what the kernel itself says of packets from the senders that were named. A publisher has an address in each of two
/// networks: so it is enough if one of them is heard here.
fn from_senders(link: &Link, mode: u8, found: impl Fn(String) -> Finding) -> Finding {
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
        return found(format!("what comes from {taken} is taken"));
    }
    let all = named(&|_| true);
    if link.senders.iter().any(|sender| sender.comes.is_none()) {
        let text = format!("not known: the kernel does not say what it does with packets from {all}");
        return found(text).is(Severity::Note);
    }
    let reached = |sender: &Sender| matches!(sender.back, Some(Way::Through(_)));
    match mode {
        1 if link.senders.iter().any(reached) => found(format!(
            "the filter is strict, and what comes from {all} is dropped: the way back is through another interface"
        ))
        .is(Severity::Loss)
        .mend(loosen(link)),
        1.. => {
            let route = format!("ip route add {}/32 dev {}", link.senders[0].address, link.name);
            found(format!("there is no route to {all}, so the filter drops what comes from there"))
                .is(Severity::Loss)
                .mend(route)
        }
        0 => found(format!(
            "what comes from {all} is dropped, and not by the reverse-path filter: is it an address of this host?"
        ))
        .is(Severity::Loss),
    }
}

fn loosen(link: &Link) -> String {
    // A dot in an interface's name is a slash where dots part names.
    sysctl(
        &format!("net.ipv4.conf.{}.rp_filter", link.name.replace('.', "/")),
        2,
    )
}

/// Whether a default route leads through an interface.
fn default_through(root: &Root, name: &str) -> bool {
    let routes = root.text("proc/net/route").unwrap_or_default();
    routes.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [interface, "00000000", _, _, _, _, _, "00000000", ..] if interface == name)
    })
}

/// Looks at a line that names no interface: then the routes decide, here `way`. `first` is an interface that it could take.
pub(in crate::doctor) fn line_without_interface(
    line: &LineAddress,
    way: Option<Way>,
    first: Option<&str>,
) -> Finding {
    const WHY: &str =
        "a line without an interface goes where the routes lead, and may lead both lines into one network";
    let found = |text: String| Finding::ok("interface.multicast_route", format!("line {line}"), text, WHY);
    match (way, first) {
        (Some(Way::Through(_)), _) => {
            found("the line names no interface: the routes choose one; better name it, as in @eth0".into())
                .is(Severity::Note)
        }
        (None, _) => found("not known: the kernel does not say where it would go".into()).is(Severity::Note),
        (Some(Way::No), Some(first)) => found(format!(
            "the line names no interface, and no route leads to {}: it can be neither sent on nor joined",
            line.group
        ))
        .is(Severity::Loss)
        .mend(format!("ip route add {} dev {first}", network_of(line.group))),
        (Some(Way::No), None) => found(format!(
            "no route leads to {}, and no interface is up",
            line.group
        ))
        .is(Severity::Loss),
    }
}

/// The groups around one: those that its first three numbers name.
fn network_of(group: Ipv4Addr) -> String {
    let [one, two, three, _] = group.octets();
    format!("{one}.{two}.{three}.0/24")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::testing::{one, verdict, wanted};
    use crate::doctor::root::machine;

    const STRICT: [(&str, &str); 3] = [
        ("proc/sys/net/ipv4/conf/all/rp_filter", "0"),
        ("proc/sys/net/ipv4/conf/eth1/rp_filter", "1"),
        (
            "proc/net/route",
            "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
             eth0 00000000 0101000A 0003 0 0 0 00000000 0 0 0\n\
             eth1 00024D0A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n",
        ),
    ];

    fn eth1() -> Link {
        Link {
            name: "eth1".into(),
            index: 3,
            flags: (libc::IFF_UP | libc::IFF_MULTICAST).cast_unsigned(),
            carrier: Some(true),
            mtu: 1500,
            addresses: vec![(Ipv4Addr::new(10, 77, 2, 9), 24)],
            ..Link::default()
        }
    }

    fn sender(comes: Way, back: Way) -> Sender {
        Sender {
            address: Ipv4Addr::new(10, 9, 9, 9),
            comes: Some(comes),
            back: Some(back),
        }
    }

    #[test]
    fn an_interface_that_is_down_or_alone_would_lose_all() {
        let (_dir, root) = machine(&[]);
        let down = Link { flags: 0, ..eth1() };
        assert_eq!(
            verdict(&check(&root, &down, &wanted()), "interface.up"),
            (Severity::Loss, Some("ip link set dev eth1 up"))
        );
        let alone = Link {
            carrier: Some(false),
            ..eth1()
        };
        let findings = check(&root, &alone, &wanted());
        assert_eq!(verdict(&findings, "interface.up"), (Severity::Loss, None));
        assert!(one(&findings, "interface.up").found.contains("cable"));
    }

    #[test]
    fn a_packet_and_its_headers_must_fit_the_mtu() {
        let (_dir, root) = machine(&[]);
        let mut link = Link { mtu: 1436, ..eth1() };
        let of = |link: &Link, packet_size| {
            let wanted = Wanted {
                packet_size,
                ..wanted()
            };
            let findings = check(&root, link, &wanted);
            one(&findings, "interface.mtu").clone()
        };
        assert_eq!(of(&link, 1408).severity, Severity::Ok);
        link.mtu = 1435;
        let found = of(&link, 1408);
        assert_eq!(found.severity, Severity::Loss);
        assert_eq!(found.command.as_deref(), Some("ip link set dev eth1 mtu 1500"));
        assert!(found.found.ends_with("--packet-size 1344"), "{}", found.found);
        let narrow = Link {
            mtu_most: Some(1400),
            ..link.clone()
        };
        assert_eq!(of(&narrow, 1408).command, None, "it cannot be that wide");
        let jumbo = of(&link, 8896);
        assert_eq!(jumbo.command.as_deref(), Some("ip link set dev eth1 mtu 8924"));
    }

    #[test]
    fn a_strict_filter_is_a_loss_on_an_interface_that_is_not_the_route_to_the_sender() {
        let (_dir, root) = machine(&STRICT);
        let of = |senders: Vec<Sender>| {
            let findings = check(&root, &Link { senders, ..eth1() }, &wanted());
            one(&findings, "interface.reverse_path").clone()
        };
        let loosen = Some("sysctl -w net.ipv4.conf.eth1.rp_filter=2");
        let unknown = of(Vec::new());
        assert_eq!(
            (unknown.severity, unknown.command.as_deref()),
            (Severity::Loss, loosen)
        );
        assert!(unknown.found.contains("10.77.2.0/24"), "{}", unknown.found);
        let elsewhere = of(vec![sender(Way::No, Way::Through(2))]);
        assert_eq!(
            (elsewhere.severity, elsewhere.command.as_deref()),
            (Severity::Loss, loosen)
        );
        let nowhere = of(vec![sender(Way::No, Way::No)]);
        let two_networks = of(vec![
            sender(Way::No, Way::Through(2)),
            sender(Way::Through(1), Way::Through(3)),
        ]);
        assert_eq!(
            two_networks.severity,
            Severity::Ok,
            "each network has an address of the publisher"
        );
        assert_eq!(
            nowhere.command.as_deref(),
            Some("ip route add 10.9.9.9/32 dev eth1")
        );
        assert_eq!(
            of(vec![sender(Way::Through(1), Way::Through(3))]).severity,
            Severity::Ok
        );
    }

    #[test]
    fn a_strict_filter_is_none_on_the_default_route_and_a_loose_or_missing_one_never_is() {
        let [all, _, routes] = STRICT;
        for (which, mode, severity) in [
            ("eth0", "1", Severity::Ok),
            ("eth1", "2", Severity::Ok),
            ("eth1", "0", Severity::Ok),
            ("eth1", "1", Severity::Loss),
        ] {
            let own = format!("proc/sys/net/ipv4/conf/{which}/rp_filter");
            let (_dir, root) = machine(&[all, (&own, mode), routes]);
            let link = Link {
                name: which.into(),
                ..eth1()
            };
            let findings = check(&root, &link, &wanted());
            assert_eq!(
                one(&findings, "interface.reverse_path").severity,
                severity,
                "{which} {mode}"
            );
        }
        let (_dir, root) = machine(&[]);
        let found = one(&check(&root, &eth1(), &wanted()), "interface.reverse_path").clone();
        assert!(found.severity == Severity::Note && found.found.starts_with("not known"));
    }

    #[test]
    fn a_line_without_an_interface_needs_a_route_to_its_group() {
        let line: LineAddress = "239.77.1.9:5001".parse().unwrap();
        let none = line_without_interface(&line, Some(Way::No), Some("eth1"));
        assert_eq!(none.severity, Severity::Loss);
        assert_eq!(
            none.command.as_deref(),
            Some("ip route add 239.77.1.0/24 dev eth1")
        );
        let some = line_without_interface(&line, Some(Way::Through(2)), Some("eth1"));
        assert_eq!(some.severity, Severity::Note);
    }
}
