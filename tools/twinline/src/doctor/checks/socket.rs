//! What limits sockets and their memberships.

use super::Wanted;
use crate::doctor::finding::{Finding, HOST, Severity, sysctl};
use crate::doctor::root::Root;
use crate::units::show_bytes;
use rustix::thread::CapabilitySet;

/// The kernel's own default of the queue between card and protocol.
const USUAL_BACKLOG: u64 = 1000;
/// What holds several bursts of both lines.
pub(super) const GOOD_BACKLOG: u64 = 16_384;

/// Looks at the host's limits. `queued`: whether an interface that is looked at uses the kernel's queue (lo, veth).
pub(in crate::doctor) fn check(root: &Root, wanted: &Wanted, queued: bool) -> Vec<Finding> {
    let findings = [
        Some(receive_buffer(root, wanted)),
        udp_memory(root, wanted),
        Some(memberships(root)),
        senders(root, wanted),
        backlog(root, queued),
    ];
    findings.into_iter().flatten().collect()
}

fn receive_buffer(root: &Root, wanted: &Wanted) -> Finding {
    const WHY: &str = "what comes while the listener's thread is away must fit; the listener asks for so much and gets no more than the limit, unless it has CAP_NET_ADMIN";
    let asked = wanted.receive_buffer as u64;
    let found = |text: String| Finding::ok("socket.receive_buffer", HOST, text, WHY);
    let Some(limit) = root.sysctl::<u64>("net.core.rmem_max") else {
        return found("not known: the kernel does not tell the limit here".into()).is(Severity::Note);
    };
    let text = format!(
        "a socket's buffer may have {}, the listener asks for {}",
        show_bytes(limit),
        show_bytes(asked)
    );
    if limit >= asked {
        return found(text);
    }
    let mend = sysctl("net.core.rmem_max", asked);
    match wanted.rights.contains(CapabilitySet::NET_ADMIN) {
        true => found(format!(
            "{text}; that is no limit to whoever has CAP_NET_ADMIN, as this process has"
        ))
        .is(Severity::Note)
        .mend(mend),
        false => found(text).is(Severity::Loss).mend(mend),
    }
}

/// None where the kernel does not tell, as in a network namespace of its own.
fn udp_memory(root: &Root, wanted: &Wanted) -> Option<Finding> {
    const WHY: &str = "a limit for all UDP sockets of the host together: beyond it datagrams are dropped, however much room a socket has";
    /// Of 32 and of 64 bits, but for few machines.
    const PAGE: u64 = 4096;
    let most = most_udp_pages(root)?.saturating_mul(PAGE);
    // The kernel counts its bookkeeping too and so lets a socket have twice what it asked for; two lines.
    let needed = 4 * wanted.receive_buffer as u64;
    let text = format!(
        "all UDP sockets may have {}, two lines' full buffers are {}",
        show_bytes(most),
        show_bytes(needed)
    );
    let found = Finding::ok("socket.udp_memory", HOST, text, WHY);
    Some(match most >= needed {
        true => found,
        false => {
            let pages = needed.div_ceil(PAGE) * 2;
            found.is(Severity::Loss).mend(udp_memory_of(pages))
        }
    })
}

/// The pages that all UDP sockets may have; none where the kernel does not tell.
pub(super) fn most_udp_pages(root: &Root) -> Option<u64> {
    let limits = root.text("proc/sys/net/ipv4/udp_mem")?;
    limits.split_whitespace().nth(2)?.parse().ok()
}

/// The command that lets them have so many.
pub(super) fn udp_memory_of(pages: u64) -> String {
    format!(
        "sysctl -w net.ipv4.udp_mem=\"{} {} {pages}\"",
        pages / 2,
        pages / 4 * 3
    )
}

fn memberships(root: &Root) -> Finding {
    const WHY: &str = "how many groups one socket may join; each line of each channel has a socket of its own, so one is enough here, but not for a program that joins many on one";
    let found = |text: String| Finding::ok("socket.memberships", HOST, text, WHY);
    match root.sysctl::<i64>("net.ipv4.igmp_max_memberships") {
        None => found("not known: the kernel does not tell the limit here".into()).is(Severity::Note),
        Some(limit) if limit < 1 => found(format!("a socket may join {limit} groups: no line can be heard"))
            .is(Severity::Loss)
            .mend(sysctl("net.ipv4.igmp_max_memberships", 200)),
        Some(limit) => found(format!("a socket may join {limit} groups; ours join one each")),
    }
}

/// Source-specific joins have a limit of their own.
fn senders(root: &Root, wanted: &Wanted) -> Option<Finding> {
    const WHY: &str = "how many senders of a group one socket may name; the listener names each --sender";
    let limit = root.sysctl::<i64>("net.ipv4.igmp_max_msf")?;
    let asked = wanted.senders.len();
    let found = Finding::ok(
        "socket.senders",
        HOST,
        format!("a socket may name {limit} senders of a group, {asked} are wanted"),
        WHY,
    );
    Some(match i64::try_from(asked) {
        Ok(asked) if asked > limit => found
            .is(Severity::Loss)
            .mend(sysctl("net.ipv4.igmp_max_msf", asked.max(64))),
        _ => found,
    })
}

/// None where the kernel does not tell, as in a network namespace of its own.
fn backlog(root: &Root, queued: bool) -> Option<Finding> {
    const WHY: &str = "packets that come through lo, veth or a queue moved to another core wait in it; a card's own driver does not use it";
    let limit = root.sysctl::<u64>("net.core.netdev_max_backlog")?;
    let found = Finding::ok(
        "socket.backlog",
        HOST,
        format!("the kernel's queue holds {limit} packets a core"),
        WHY,
    );
    let severity = match limit {
        GOOD_BACKLOG.. => Severity::Ok,
        USUAL_BACKLOG.. if !queued => Severity::Ok,
        USUAL_BACKLOG.. => Severity::Note,
        // Less than a burst of each line and a few more.
        _ if queued => Severity::Loss,
        // It may be used all the same: where the kernel spreads a card's packets over cores (RPS).
        _ => Severity::Note,
    };
    Some(match severity {
        Severity::Ok => found,
        _ => found
            .is(severity)
            .mend(sysctl("net.core.netdev_max_backlog", GOOD_BACKLOG)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::testing::{one, verdict, wanted};
    use crate::doctor::root::machine;
    use std::net::Ipv4Addr;

    #[test]
    fn a_small_receive_buffer_is_a_loss_unless_the_right_to_pass_the_limit_is_there() {
        let (_dir, root) = machine(&[("proc/sys/net/core/rmem_max", "212992")]);
        let command = Some("sysctl -w net.core.rmem_max=33554432");
        assert_eq!(
            verdict(&check(&root, &wanted(), false), "socket.receive_buffer"),
            (Severity::Loss, command)
        );
        let admin = Wanted {
            rights: CapabilitySet::NET_ADMIN,
            ..wanted()
        };
        assert_eq!(
            verdict(&check(&root, &admin, false), "socket.receive_buffer"),
            (Severity::Note, command)
        );
        let modest = Wanted {
            receive_buffer: 200_000,
            ..wanted()
        };
        assert_eq!(
            verdict(&check(&root, &modest, false), "socket.receive_buffer"),
            (Severity::Ok, None)
        );
    }

    #[test]
    fn the_memory_of_all_udp_sockets_must_hold_both_lines() {
        let (_dir, root) = machine(&[("proc/sys/net/ipv4/udp_mem", "3000\t4000\t6000")]);
        assert_eq!(
            verdict(&check(&root, &wanted(), false), "socket.udp_memory"),
            (
                Severity::Loss,
                Some("sysctl -w net.ipv4.udp_mem=\"32768 49152 65536\"")
            )
        );
        let (_dir, root) = machine(&[("proc/sys/net/ipv4/udp_mem", "32768 49152 65536")]);
        assert_eq!(
            verdict(&check(&root, &wanted(), false), "socket.udp_memory"),
            (Severity::Ok, None)
        );
    }

    #[test]
    fn the_usual_limit_of_groups_is_enough_as_each_line_has_its_own_socket() {
        for (limit, severity) in [("20", Severity::Ok), ("1", Severity::Ok), ("0", Severity::Loss)] {
            let (_dir, root) = machine(&[("proc/sys/net/ipv4/igmp_max_memberships", limit)]);
            let findings = check(&root, &wanted(), false);
            assert_eq!(one(&findings, "socket.memberships").severity, severity, "{limit}");
        }
    }

    #[test]
    fn more_senders_than_a_socket_may_name_are_a_loss() {
        let (_dir, root) = machine(&[("proc/sys/net/ipv4/igmp_max_msf", "1")]);
        let two = [1, 2].map(|host| Ipv4Addr::new(10, 0, 0, host));
        for (count, expected) in [
            (1, (Severity::Ok, None)),
            (2, (Severity::Loss, Some("sysctl -w net.ipv4.igmp_max_msf=64"))),
        ] {
            let wanted = Wanted {
                senders: two[..count].to_vec(),
                ..wanted()
            };
            assert_eq!(verdict(&check(&root, &wanted, false), "socket.senders"), expected);
        }
    }

    #[test]
    fn the_kernels_queue_matters_where_it_is_used_and_is_a_loss_below_the_usual() {
        for (limit, queued, severity) in [
            ("1000", false, Severity::Ok),
            ("1000", true, Severity::Note),
            ("16384", true, Severity::Ok),
            ("300", true, Severity::Loss),
            ("300", false, Severity::Note),
        ] {
            let (_dir, root) = machine(&[("proc/sys/net/core/netdev_max_backlog", limit)]);
            let findings = check(&root, &wanted(), queued);
            assert_eq!(
                one(&findings, "socket.backlog").severity,
                severity,
                "{limit} {queued}"
            );
        }
    }
}
