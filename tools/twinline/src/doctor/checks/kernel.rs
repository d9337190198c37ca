//! The kernel: what its version brings, and AF_XDP.

use crate::doctor::finding::{Finding, HOST, Severity};
use crate::doctor::root::Root;

/// Whether this process can make an AF_XDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum XdpSockets {
    /// It can.
    There,
    /// This kernel was built without.
    Missing,
    /// It lacks the right to.
    Forbidden,
}

/// Looks at the kernel.
pub(in crate::doctor) fn check(
    root: &Root,
    release: &str,
    sockets: XdpSockets,
    program: &str,
) -> Vec<Finding> {
    let mut findings = vec![version(release), af_xdp(sockets, program)];
    findings.extend(bpf_jit(root));
    findings
}

fn version(release: &str) -> Finding {
    const WHY: &str = "bursts need 5.0 (UDP_GRO), AF_XDP that wakes the driver only when needed 5.4, what drivers can do for XDP is told from 6.3 on";
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    let version = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    };
    let found = Finding::ok("kernel.version", HOST, format!("Linux {release}"), WHY);
    match version {
        Some(version) if version >= (6, 3) => found,
        Some(version) if version >= (5, 0) => found.is(Severity::Note),
        Some(_) => found.is(Severity::Slow),
        None => found.is(Severity::Note),
    }
}

fn af_xdp(sockets: XdpSockets, program: &str) -> Finding {
    const WHY: &str = "AF_XDP takes a line's packets past most of the kernel";
    let found = |text: &str| Finding::ok("kernel.af_xdp", HOST, text, WHY);
    match sockets {
        XdpSockets::There => found("AF_XDP sockets can be made"),
        XdpSockets::Missing => {
            found("this kernel has no AF_XDP (CONFIG_XDP_SOCKETS): lines go through ordinary sockets")
                .is(Severity::Note)
        }
        XdpSockets::Forbidden => found("this process may not make AF_XDP sockets (CAP_NET_RAW)")
            .is(Severity::Note)
            .mend(format!(
                "setcap cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock+ep {program}"
            )),
    }
}

/// None where the kernel does not tell, as in a network namespace of its own.
fn bpf_jit(root: &Root) -> Option<Finding> {
    const WHY: &str =
        "an XDP program runs for each packet that comes; interpreted it takes several times as long";
    let found = |text: &str| Finding::ok("kernel.bpf_jit", HOST, text, WHY);
    Some(match root.sysctl::<u32>("net.core.bpf_jit_enable")? {
        0 => found("BPF programs are interpreted")
            .is(Severity::Slow)
            .mend("sysctl -w net.core.bpf_jit_enable=1"),
        _ => found("BPF programs are compiled"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::testing::{one, verdict};
    use crate::doctor::root::machine;

    #[test]
    fn an_old_kernel_costs_time_and_one_without_a_version_is_not_judged() {
        for (release, severity) in [
            ("6.18.44-cloud", Severity::Ok),
            ("5.10.0-28-amd64", Severity::Note),
            ("4.19.0", Severity::Slow),
            ("next", Severity::Note),
        ] {
            assert_eq!(version(release).severity, severity, "{release}");
        }
    }

    #[test]
    fn what_is_missing_for_af_xdp_is_named() {
        let (_dir, root) = machine(&[("proc/sys/net/core/bpf_jit_enable", "0")]);
        let findings = check(&root, "6.1.0", XdpSockets::Forbidden, "/usr/bin/twinline");
        let (severity, command) = verdict(&findings, "kernel.af_xdp");
        assert_eq!(severity, Severity::Note);
        assert!(command.unwrap().ends_with("+ep /usr/bin/twinline"), "{command:?}");
        assert_eq!(
            verdict(&findings, "kernel.bpf_jit"),
            (Severity::Slow, Some("sysctl -w net.core.bpf_jit_enable=1"))
        );
        let (_dir, root) = machine(&[]);
        let findings = check(&root, "6.1.0", XdpSockets::Missing, "twinline");
        assert!(
            one(&findings, "kernel.af_xdp")
                .found
                .contains("CONFIG_XDP_SOCKETS")
        );
        assert_eq!(findings.len(), 2, "what the kernel does not tell is not judged");
    }
}
