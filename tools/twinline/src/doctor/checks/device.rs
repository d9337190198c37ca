//! What a card and its driver do with packets: XDP, rings, queues and steering, interrupts, offloads.

use crate::doctor::finding::{Finding, Severity};
use crate::doctor::link::{Features, Link};
use twinline_line::LineAddress;

/// Looks at an interface's driver. `lines` are the lines that go through it.
pub(in crate::doctor) fn check(link: &Link, lines: &[&LineAddress]) -> Vec<Finding> {
    let mut findings = vec![xdp(link)];
    if link.is_hardware() {
        findings.push(ring(link));
        findings.push(coalescing(link));
    }
    if link.is_hardware() || link.queues.is_some_and(|queues| queues > 1) {
        findings.push(queues(link, lines));
    }
    match &link.features {
        Some(features) => findings.extend(offloads(link, features)),
        None => findings.push(unknown(
            "interface.offloads",
            link,
            "which offloads are on",
            OFFLOADS,
        )),
    }
    findings
}

/// What the kernel or the driver does not tell.
fn unknown(check: &'static str, link: &Link, what: &str, why: &'static str) -> Finding {
    let driver = link.driver.as_deref().unwrap_or("its driver");
    Finding::ok(
        check,
        &link.name,
        format!("not known: {driver} does not tell {what}"),
        why,
    )
    .is(Severity::Note)
}

fn xdp(link: &Link) -> Finding {
    const WHY: &str = "how far past the kernel AF_XDP can go here: zero-copy, native in copy mode, or generic, which saves little";
    let driver = match (&link.driver, link.is_loopback()) {
        (Some(driver), _) => driver,
        (None, true) => "loopback",
        (None, false) => "not known",
    };
    let found = |text: String| {
        Finding::ok(
            "interface.xdp",
            &link.name,
            format!("driver {driver}: {text}"),
            WHY,
        )
    };
    match link.xdp {
        Some(xdp) if xdp.native && xdp.redirect && xdp.zero_copy => found("native XDP, zero-copy".into()),
        Some(xdp) if xdp.native && xdp.redirect => found("native XDP, copy mode".into()).is(Severity::Note),
        Some(xdp) if xdp.native => {
            found("native XDP without redirection: AF_XDP is generic here".into()).is(Severity::Note)
        }
        // A driver may tell more as it is now set up: some only with queues to spare or an offload switched off.
        Some(_) => found("no native XDP as it is set up now: AF_XDP is generic".into()).is(Severity::Note),
        None => found("not known what it can do for XDP: the kernel tells that from 6.3 on".into())
            .is(Severity::Note),
    }
}

fn ring(link: &Link) -> Finding {
    const WHY: &str =
        "the ring holds what comes while the kernel is busy elsewhere; at 10 Gbit/s 256 packets are 0.3 ms";
    let Some(rings) = link.rings else {
        return unknown("interface.ring", link, "its ring sizes", WHY);
    };
    let found = Finding::ok(
        "interface.ring",
        &link.name,
        format!(
            "receive ring of {} packets, at most {}",
            rings.receive, rings.receive_most
        ),
        WHY,
    );
    if rings.receive >= rings.receive_most {
        return found;
    }
    // A small ring alone is no proof: many cards run well with it. That it once was too small is one.
    let overrun = link.counters.overrun();
    let small = rings.receive < 1024;
    let command = format!("ethtool -G {} rx {}", link.name, rings.receive_most);
    let text = match overrun {
        0 => found.found.clone(),
        lost => format!(
            "{}; {lost} packets were lost for that since the interface was made",
            found.found
        ),
    };
    let severity = match (overrun, small) {
        (0, false) => Severity::Ok,
        (0, true) => Severity::Note,
        _ => Severity::Loss,
    };
    let found = Finding { found: text, ..found }.is(severity);
    match severity {
        Severity::Ok => found,
        _ => found.mend(command),
    }
}

fn queues(link: &Link, lines: &[&LineAddress]) -> Finding {
    const WHY: &str = "packets are spread over the queues by a hash: which core takes a line's is chance, and an AF_XDP socket hears one queue only";
    let Some(queues) = link.queues else {
        return unknown("interface.queues", link, "its queues", WHY);
    };
    let found = |text: String| Finding::ok("interface.queues", &link.name, text, WHY);
    match (queues, link.flow_rules) {
        (0 | 1, _) => found("one receive queue".into()),
        // How many there are is known here, not what each of them is for.
        (_, Some(rules)) if rules > 0 => found(format!(
            "{queues} receive queues; rules that steer packets to them: {rules}, but whether they steer the lines' is not \
             looked at: `ethtool -n {}` shows them",
            link.name
        ))
        .is(Severity::Note),
        _ => {
            let rules_work = link.features.as_ref().is_some_and(|features| {
                let rules = "rx-ntuple-filter";
                features.active.contains(rules) || features.changeable.contains(rules)
            });
            let (unless, command) = match rules_work && !lines.is_empty() {
                true => (
                    "with --xdp-queues, steer each to one of those in place of queue 0",
                    steer(link, lines),
                ),
                false => (
                    "if --xdp-queues is to name several, leave them",
                    format!("ethtool -L {0} combined 1 || ethtool -L {0} rx 1", link.name),
                ),
            };
            found(format!(
                "{queues} receive queues, and no rule says which one the lines go to; {unless}"
            ))
            .is(Severity::Slow)
            .mend(command)
        }
    }
}

/// The lines into queue 0.
fn steer(link: &Link, lines: &[&LineAddress]) -> String {
    let name = &link.name;
    let mut command = format!("ethtool -K {name} ntuple on");
    for line in lines {
        let (group, port) = (line.group, line.port);
        command += &format!(" && ethtool -N {name} flow-type udp4 dst-ip {group} dst-port {port} action 0");
    }
    command
}

fn coalescing(link: &Link) -> Finding {
    const WHY: &str =
        "a card that waits before it interrupts makes every packet that comes alone so much later";
    /// What a card may wait, in microseconds, and nobody will see it.
    const LITTLE: u32 = 3;
    let found = |text: String| Finding::ok("interface.coalescing", &link.name, text, WHY);
    let name = &link.name;
    let told = link.coalescing.unwrap_or_default();
    match (told.adaptive, told.receive_us) {
        (true, _) => found("the driver adapts how long it waits before it interrupts".into())
            .is(Severity::Slow)
            .mend(format!("ethtool -C {name} adaptive-rx off rx-usecs 0")),
        (false, Some(wait)) if wait > LITTLE => found(format!("it waits {wait} us before it interrupts"))
            .is(Severity::Slow)
            .mend(format!("ethtool -C {name} rx-usecs 0")),
        (false, Some(_)) => found("it interrupts at once".into()),
        (false, None) => {
            let what = "how long it waits before it interrupts";
            unknown("interface.coalescing", link, what, WHY)
        }
    }
}

const OFFLOADS: &str =
    "what a card or the kernel puts together or takes apart shows as latency, or not at all to XDP";

/// Offloads that hurt, and one that helps. One finding each that is not as it should be, or one for all.
fn offloads(link: &Link, features: &Features) -> Vec<Finding> {
    let hurt = [
        (
            "rx-lro",
            "LRO is on: the card puts packets together, and refuses native XDP meanwhile",
        ),
        (
            "rx-gro-hw",
            "hardware GRO is on: the card puts packets together before XDP sees them, and waits for more",
        ),
        (
            "rx-gro-list",
            "GRO by lists is on: UDP packets are chained, and unchained again for each socket",
        ),
        (
            "rx-udp-gro-forwarding",
            "GRO of forwarded UDP is on: packets are put together for every socket, and taken apart again for those that take one at a time",
        ),
    ];
    let mut findings = Vec::new();
    let name = &link.name;
    for (feature, what) in hurt
        .into_iter()
        .filter(|(feature, _)| features.active.contains(*feature))
    {
        let found = Finding::ok("interface.offloads", name, what, OFFLOADS).is(Severity::Slow);
        findings.push(match features.changeable.contains(feature) {
            true => found.mend(format!("ethtool -K {name} {feature} off")),
            false => Finding {
                found: format!("{what}; this driver does not let it be switched off"),
                ..found
            },
        });
    }
    // What the kernel makes up comes in the pieces that it was sent in.
    let gro = "rx-gro";
    if link.is_hardware() && !features.active.contains(gro) && features.changeable.contains(gro) {
        findings.push(
            Finding::ok(
                "interface.offloads",
                name,
                "GRO is off: a listener gets full packets one by one, where it could have 46 at a time",
                OFFLOADS,
            )
            .is(Severity::Slow)
            .mend(format!("ethtool -K {name} gro on")),
        );
    }
    // Generic XDP gets a burst of this host's own in one piece of up to 64 KiB, which fits no frame of AF_XDP.
    let generic = link.xdp.is_some_and(|xdp| !xdp.native);
    if generic && features.active.contains("tx-udp-segmentation") && link.is_loopback() {
        findings.push(
            Finding::ok(
                "interface.offloads",
                name,
                "bursts of this host's own publisher arrive in one piece, which AF_XDP cannot take here: use ordinary sockets, or --segmentation off",
                OFFLOADS,
            )
            .is(Severity::Note),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            "interface.offloads",
            name,
            "none that hurts is on",
            OFFLOADS,
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::testing::{one, verdict};
    use crate::doctor::link::{Coalescing, Counters, Rings, Xdp};

    fn card() -> Link {
        Link {
            name: "eth0".into(),
            driver: Some("ice".into()),
            xdp: Some(Xdp {
                native: true,
                redirect: true,
                zero_copy: true,
                zero_copy_segments: Some(8),
            }),
            rings: Some(Rings {
                receive: 4096,
                receive_most: 4096,
            }),
            queues: Some(1),
            coalescing: Some(Coalescing {
                receive_us: Some(0),
                adaptive: false,
            }),
            features: Some(features(&["rx-gro"], &["rx-gro", "rx-ntuple-filter"])),
            ..Link::default()
        }
    }

    fn features(active: &[&str], changeable: &[&str]) -> Features {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Features {
            active: set(active),
            changeable: set(changeable),
        }
    }

    fn of(link: &Link) -> Vec<Finding> {
        check(link, &[])
    }

    #[test]
    fn a_card_that_is_set_up_well_is_fine_throughout() {
        let findings = of(&card());
        assert_eq!(findings.len(), 5);
        assert!(
            findings.iter().all(|finding| finding.severity == Severity::Ok),
            "{findings:#?}"
        );
    }

    #[test]
    fn what_a_driver_does_not_tell_is_said_to_be_not_known() {
        let silent = Link {
            name: "eth0".into(),
            ..Link::default()
        };
        for finding in of(&silent) {
            assert_eq!(finding.severity, Severity::Note);
            assert!(finding.found.contains("not known"), "{finding:?}");
        }
    }

    #[test]
    fn zero_copy_is_told_from_copy_mode_and_from_generic() {
        let with = |native, redirect, zero_copy| {
            let xdp = Some(Xdp {
                native,
                redirect,
                zero_copy,
                zero_copy_segments: None,
            });
            let findings = of(&Link { xdp, ..card() });
            let found = one(&findings, "interface.xdp");
            (found.severity, found.found.clone())
        };
        assert_eq!(
            with(true, true, true),
            (Severity::Ok, "driver ice: native XDP, zero-copy".into())
        );
        assert!(with(true, true, false).1.contains("copy mode"));
        assert!(with(true, false, false).1.contains("without redirection"));
        assert!(with(false, false, false).1.contains("no native XDP"));
    }

    #[test]
    fn a_ring_below_its_largest_is_a_loss_only_where_it_has_lost() {
        let of = |receive, missed| {
            let link = Link {
                rings: Some(Rings {
                    receive,
                    receive_most: 4096,
                }),
                counters: Counters {
                    missed,
                    ..Counters::default()
                },
                ..card()
            };
            let findings = of(&link);
            let (severity, command) = verdict(&findings, "interface.ring");
            (severity, command.map(ToOwned::to_owned))
        };
        let larger = Some("ethtool -G eth0 rx 4096".to_owned());
        assert_eq!(of(256, 0), (Severity::Note, larger.clone()));
        assert_eq!(of(256, 7), (Severity::Loss, larger.clone()));
        assert_eq!(of(2048, 7), (Severity::Loss, larger));
        assert_eq!(of(2048, 0), (Severity::Ok, None));
        assert_eq!(of(4096, 7).0, Severity::Ok, "more than that cannot be set");
    }

    #[test]
    fn several_queues_want_a_rule_for_each_line() {
        let link = Link {
            queues: Some(8),
            flow_rules: Some(0),
            ..card()
        };
        let lines: Vec<LineAddress> = vec!["239.1.1.1:5001@eth0".parse().unwrap()];
        let findings = check(&link, &lines.iter().collect::<Vec<_>>());
        assert_eq!(
            verdict(&findings, "interface.queues"),
            (
                Severity::Slow,
                Some(
                    "ethtool -K eth0 ntuple on && ethtool -N eth0 flow-type udp4 dst-ip 239.1.1.1 dst-port 5001 action 0"
                )
            )
        );
        let without_lines = of(&link);
        for findings in [&findings, &without_lines] {
            let found = &one(findings, "interface.queues").found;
            assert!(found.contains("--xdp-queues"), "{found}");
        }
        let command = verdict(&without_lines, "interface.queues").1;
        assert_eq!(
            command,
            Some("ethtool -L eth0 combined 1 || ethtool -L eth0 rx 1")
        );
        let ruled = Link {
            flow_rules: Some(1),
            ..link
        };
        assert_eq!(
            verdict(&of(&ruled), "interface.queues"),
            (Severity::Note, None),
            "it may be another program's"
        );
    }

    #[test]
    fn a_card_that_waits_before_it_interrupts_costs_time() {
        let of = |receive_us, adaptive| {
            let coalescing = Some(Coalescing { receive_us, adaptive });
            let findings = of(&Link { coalescing, ..card() });
            let (severity, command) = verdict(&findings, "interface.coalescing");
            (severity, command.map(ToOwned::to_owned))
        };
        let command = |text: &str| Some(format!("ethtool -C eth0 {text}"));
        assert_eq!(of(Some(50), false), (Severity::Slow, command("rx-usecs 0")));
        assert_eq!(
            of(Some(0), true),
            (Severity::Slow, command("adaptive-rx off rx-usecs 0"))
        );
        assert_eq!(of(Some(1), false), (Severity::Ok, None));
        assert_eq!(of(None, false), (Severity::Note, None), "it does not tell");
    }

    #[test]
    fn offloads_that_put_packets_together_hurt_and_can_be_switched_off_unless_fixed() {
        let link = Link {
            features: Some(features(&["rx-lro", "rx-gro-hw"], &["rx-lro", "rx-gro"])),
            ..card()
        };
        let commands: Vec<_> = of(&link)
            .into_iter()
            .filter(|finding| finding.check == "interface.offloads")
            .map(|finding| (finding.severity, finding.command))
            .collect();
        let command = |text: &str| Some(format!("ethtool -K eth0 {text}"));
        assert_eq!(
            commands,
            [
                (Severity::Slow, command("rx-lro off")),
                (Severity::Slow, None),
                (Severity::Slow, command("gro on")),
            ]
        );
    }

    #[test]
    fn bursts_of_this_host_do_not_fit_generic_xdp_on_loopback() {
        let lo = Link {
            name: "lo".into(),
            flags: libc::IFF_LOOPBACK.cast_unsigned(),
            xdp: Some(Xdp {
                native: false,
                redirect: false,
                zero_copy: false,
                zero_copy_segments: None,
            }),
            features: Some(features(&["tx-udp-segmentation"], &[])),
            ..Link::default()
        };
        let findings = of(&lo);
        assert_eq!(
            findings.len(),
            2,
            "a loopback has no rings, queues or interrupts: {findings:#?}"
        );
        assert!(
            one(&findings, "interface.offloads")
                .found
                .contains("--segmentation off")
        );
    }
}
