//! An interface as a line needs it: up, wide enough, and the one that the routes choose where a line names none.

use super::Wanted;
use crate::doctor::finding::{Finding, HOST, Severity};
use crate::doctor::link::Link;
use crate::doctor::netlink::route::Way;
use std::net::Ipv4Addr;
use twinline_line::LineAddress;

/// IPv4 and UDP headers of a packet.
const HEADERS: usize = 28;

/// Looks at an interface.
pub(in crate::doctor) fn check(link: &Link, wanted: &Wanted) -> Vec<Finding> {
    vec![up(link), mtu(link, wanted)]
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

/// An interface of lines has no IPv4 address.
pub(in crate::doctor) fn without_address(link: &Link) -> Finding {
    const WHY: &str = "a line is sent from an address of its interface and joins its group by it: without one it cannot be opened";
    Finding::ok("interface.address", &link.name, "it has no IPv4 address", WHY)
        .is(Severity::Loss)
        .mend(format!("ip address add ADDRESS/PREFIX dev {}", link.name))
}

/// Nobody said which interfaces are the lines'.
pub(in crate::doctor) fn none_named(looked_at: &[&Link], left_out: &[&Link]) -> Finding {
    const WHY: &str = "what an interface lacks is a loss only where a line goes through it: name the lines with --line-a and --line-b, or their interfaces";
    let names = |links: &[&Link]| {
        let names: Vec<&str> = links.iter().map(|link| &*link.name).collect();
        names.join(", ")
    };
    let mut text = format!(
        "no line and no interface is named, so nothing about {} counts as a loss",
        names(looked_at)
    );
    if !left_out.is_empty() {
        text += &format!("; left out, with nothing at the other end: {}", names(left_out));
    }
    Finding::ok("interface.named", HOST, text, WHY).is(Severity::Note)
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

    #[test]
    fn an_interface_that_is_down_or_alone_would_lose_all() {
        let down = Link { flags: 0, ..eth1() };
        assert_eq!(
            verdict(&check(&down, &wanted()), "interface.up"),
            (Severity::Loss, Some("ip link set dev eth1 up"))
        );
        let alone = Link {
            carrier: Some(false),
            ..eth1()
        };
        let findings = check(&alone, &wanted());
        assert_eq!(verdict(&findings, "interface.up"), (Severity::Loss, None));
        assert!(one(&findings, "interface.up").found.contains("cable"));
    }

    #[test]
    fn a_packet_and_its_headers_must_fit_the_mtu() {
        let mut link = Link { mtu: 1436, ..eth1() };
        let of = |link: &Link, packet_size| {
            let wanted = Wanted {
                packet_size,
                ..wanted()
            };
            let findings = check(link, &wanted);
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
