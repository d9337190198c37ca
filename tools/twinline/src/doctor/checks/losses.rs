//! What is being lost just now: the kernel's counters, looked at twice.

use super::socket::{GOOD_BACKLOG, most_udp_pages, udp_memory_of};
use crate::doctor::finding::{Finding, HOST, Severity, sysctl};
use crate::doctor::link::Counters;
use crate::doctor::root::Root;
use std::time::Duration;

/// Counters of the whole host, since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::doctor) struct Host {
    /// Packets for which there was no room in the queue between card and protocol.
    backlog: u64,
    /// Times that the kernel had more packets than it takes in one turn.
    squeezed: u64,
    /// Datagrams for which a socket's receive buffer had no room.
    full: u64,
    /// Datagrams for which all UDP sockets together had no memory left.
    memory: u64,
    /// Packets that the reverse-path filter dropped.
    filtered: u64,
}

impl Host {
    /// As they are now.
    pub(in crate::doctor) fn read(root: &Root) -> Self {
        let (mut backlog, mut squeezed) = (0, 0);
        for line in root.text("proc/net/softnet_stat").unwrap_or_default().lines() {
            let mut fields = line
                .split_whitespace()
                .map(|field| u64::from_str_radix(field, 16));
            backlog += fields.nth(1).and_then(Result::ok).unwrap_or(0);
            squeezed += fields.next().and_then(Result::ok).unwrap_or(0);
        }
        let snmp = root.text("proc/net/snmp").unwrap_or_default();
        let netstat = root.text("proc/net/netstat").unwrap_or_default();
        Self {
            backlog,
            squeezed,
            full: named(&snmp, "Udp:", "RcvbufErrors").unwrap_or(0),
            memory: named(&snmp, "Udp:", "MemErrors").unwrap_or(0),
            filtered: named(&netstat, "TcpExt:", "IPReversePathFilter").unwrap_or(0),
        }
    }
}

/// A figure of a file that has a line of names and below it a line of figures.
fn named(text: &str, section: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(section));
    let (names, figures) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|word| word == name)?;
    figures.split_whitespace().nth(at)?.parse().ok()
}

/// How a counter stands: how much it grew in a while, and how much it is in all.
struct Grown {
    by: u64,
    all: u64,
    of: Duration,
}

impl Grown {
    fn new(before: u64, after: u64, of: Duration) -> Self {
        Self {
            by: after.saturating_sub(before),
            all: after,
            of,
        }
    }

    /// A loss if it grows, and worth a note if it once grew.
    fn judge(&self, check: &'static str, place: &str, what: &str, why: &'static str) -> Finding {
        let found = |text: String| Finding::ok(check, place, text, why);
        match self {
            Self { by: 0, all: 0, .. } => found(format!("no {what}")),
            Self { by: 0, all, .. } => found(format!(
                "{all} {what} before, none in the last {:.1} s",
                self.of.as_secs_f64()
            ))
            .is(Severity::Note),
            Self { by, .. } => {
                found(format!("{by} {what} in the last {:.1} s", self.of.as_secs_f64())).is(Severity::Loss)
            }
        }
    }
}

/// Looks at what the host lost between two looks.
pub(in crate::doctor) fn host(root: &Root, before: Host, after: Host, of: Duration) -> Vec<Finding> {
    let grown = |before, after| Grown::new(before, after, of);
    let full = grown(before.full, after.full).judge(
        "socket.full_drops",
        HOST,
        "datagrams dropped because a socket's receive buffer was full",
        "some program here was away for too long; `twinline top` and `ss -uam` tell which. A larger --receive-buffer, or a core of its own, helps ours",
    );
    let memory = grown(before.memory, after.memory).judge(
        "socket.memory_drops",
        HOST,
        "datagrams dropped because all UDP sockets together had no memory left",
        "the limit is the host's: some program here, ours or not, let much wait; `ss -uam` tells which",
    );
    let memory = match (memory.severity, most_udp_pages(root)) {
        (Severity::Ok, _) | (_, None) => memory,
        (_, Some(most)) => memory.mend(udp_memory_of(most.saturating_mul(2))),
    };
    let filtered = grown(before.filtered, after.filtered).judge(
        "socket.filter_drops",
        HOST,
        "packets dropped by the reverse-path filter",
        "if they are a line's, nothing of that line arrives: see interface.reverse_path, with --sender",
    );
    // The filter is there to drop what is forged.
    let filtered = match filtered.severity {
        Severity::Loss => filtered.is(Severity::Note),
        _ => filtered,
    };
    vec![full, memory, filtered]
}

/// Looks at the queue between cards and protocols, which all network namespaces of a machine share: so only where the kernel
/// lets its size be seen, and set.
pub(in crate::doctor) fn queue(root: &Root, before: Host, after: Host, of: Duration) -> Vec<Finding> {
    if root.sysctl::<u64>("net.core.netdev_max_backlog").is_none() {
        return Vec::new();
    }
    let backlog = Grown::new(before.backlog, after.backlog, of).judge(
        "socket.backlog_drops",
        HOST,
        "packets dropped because the kernel's queue was full",
        "what comes through lo, veth or a queue moved to another core waits there; what finds it full is lost on all sockets",
    );
    let backlog = match backlog.severity {
        Severity::Ok => backlog,
        _ => backlog.mend(sysctl("net.core.netdev_max_backlog", GOOD_BACKLOG)),
    };
    let rate = after.squeezed.saturating_sub(before.squeezed) as f64 / of.as_secs_f64().max(1e-9);
    let budget = Finding::ok(
        "socket.budget",
        HOST,
        format!("{rate:.1} times a second the kernel had more packets than it takes in one turn"),
        "what is left waits for the next turn, behind whatever else wants the core",
    );
    let budget = match rate {
        0.0..10.0 => budget,
        _ => budget
            .is(Severity::Slow)
            .mend("sysctl -w net.core.netdev_budget=600 net.core.netdev_budget_usecs=8000"),
    };
    vec![backlog, budget]
}

/// Looks at what an interface lost between two looks.
pub(in crate::doctor) fn interface(
    name: &str,
    before: Counters,
    after: Counters,
    of: Duration,
) -> Vec<Finding> {
    let overrun = Grown::new(before.overrun(), after.overrun(), of).judge(
        "interface.overrun",
        name,
        "packets lost because the ring was full (missed, fifo, over)",
        "the kernel did not take them from the card in time: a larger ring (interface.ring), interrupts on a core that has time",
    );
    let damaged = Grown::new(before.crc, after.crc, of).judge(
        "interface.damaged",
        name,
        "packets damaged on the way (CRC)",
        "a cable, a connector or a transceiver: the card drops what it damages",
    );
    let dropped = Grown::new(before.dropped, after.dropped, of).judge(
        "interface.dropped",
        name,
        "packets dropped behind the card (rx_dropped)",
        "many drivers count here what found no buffer, and the kernel what is of no protocol that it has, such as a switch's own packets: compare with a line's lost packets",
    );
    // What it counts is not known, so neither is that it hurts.
    let dropped = match dropped.severity {
        Severity::Loss => dropped.is(Severity::Note),
        _ => dropped,
    };
    vec![overrun, damaged, dropped]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::testing::{one, verdict};
    use crate::doctor::root::machine;

    const WHILE: Duration = Duration::from_secs(2);

    #[test]
    fn the_kernels_counters_are_read() {
        let (_dir, root) = machine(&[
            (
                "proc/net/softnet_stat",
                "00000010 0000000a 00000002 0 0\n00000010 00000001 00000001 0 0\n",
            ),
            (
                "proc/net/snmp",
                "Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors MemErrors\nUdp: 5 0 3 7 3 2\n",
            ),
            (
                "proc/net/netstat",
                "TcpExt: SyncookiesSent IPReversePathFilter\nTcpExt: 0 44\nIpExt: A\nIpExt: 1\n",
            ),
        ]);
        let expected = Host {
            backlog: 11,
            squeezed: 3,
            full: 3,
            memory: 2,
            filtered: 44,
        };
        assert_eq!(Host::read(&root), expected);
        let (_dir, root) = machine(&[]);
        assert_eq!(Host::read(&root), Host::default());
    }

    #[test]
    fn a_counter_that_grows_is_a_loss_and_one_that_once_grew_a_note() {
        let before = Host {
            backlog: 5,
            ..Host::default()
        };
        let (_dir, root) = machine(&[
            ("proc/sys/net/core/netdev_max_backlog", "1000"),
            ("proc/sys/net/ipv4/udp_mem", "3000\t4000\t6000"),
        ]);
        let of = |after| {
            [
                host(&root, before, after, WHILE),
                queue(&root, before, after, WHILE),
            ]
            .concat()
        };
        let same = of(before);
        assert_eq!(one(&same, "socket.backlog_drops").severity, Severity::Note);
        assert_eq!(one(&same, "socket.full_drops").severity, Severity::Ok);
        let grown = of(Host {
            backlog: 6,
            full: 9,
            memory: 1,
            filtered: 1,
            squeezed: 100,
        });
        assert_eq!(
            verdict(&grown, "socket.backlog_drops"),
            (
                Severity::Loss,
                Some("sysctl -w net.core.netdev_max_backlog=16384")
            )
        );
        assert_eq!(one(&grown, "socket.full_drops").severity, Severity::Loss);
        assert_eq!(
            verdict(&grown, "socket.memory_drops"),
            (
                Severity::Loss,
                Some("sysctl -w net.ipv4.udp_mem=\"6000 9000 12000\"")
            )
        );
        assert_eq!(one(&grown, "socket.filter_drops").severity, Severity::Note);
        assert_eq!(one(&grown, "socket.budget").severity, Severity::Slow);
    }

    #[test]
    fn in_a_network_namespace_of_its_own_the_machines_queue_is_not_judged() {
        let (_dir, root) = machine(&[]);
        let after = Host {
            backlog: 6,
            ..Host::default()
        };
        assert!(queue(&root, Host::default(), after, WHILE).is_empty());
    }

    #[test]
    fn an_interface_that_loses_is_named_with_where_it_does() {
        let before = Counters {
            missed: 3,
            ..Counters::default()
        };
        let after = Counters {
            missed: 4,
            fifo: 1,
            crc: 1,
            dropped: 9,
            ..Counters::default()
        };
        let findings = interface("eth0", before, after, WHILE);
        let overrun = one(&findings, "interface.overrun");
        assert!(
            overrun.severity == Severity::Loss && overrun.found.starts_with("2 packets"),
            "{overrun:?}"
        );
        assert_eq!(one(&findings, "interface.damaged").severity, Severity::Loss);
        assert_eq!(one(&findings, "interface.dropped").severity, Severity::Note);
        let still = interface("eth0", before, before, WHILE);
        assert_eq!(one(&still, "interface.overrun").severity, Severity::Note);
    }
}
