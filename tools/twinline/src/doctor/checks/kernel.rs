//! The kernel: what its version brings, and AF_XDP.

use super::Wanted;
use crate::doctor::finding::{Finding, HOST, Severity};
use crate::doctor::root::Root;
use rustix::thread::CapabilitySet;

/// The oldest kernel whose AF_XDP does what the lines want of it.
const AF_XDP: (u32, u32) = (5, 11);
/// What a listener through AF_XDP needs, each with what allows the same. A publisher attaches no program: the first is enough.
const NEEDED: [(CapabilitySet, CapabilitySet, &str); 3] = [
    (CapabilitySet::NET_RAW, CapabilitySet::empty(), "CAP_NET_RAW"),
    (CapabilitySet::NET_ADMIN, CapabilitySet::empty(), "CAP_NET_ADMIN"),
    (CapabilitySet::BPF, CapabilitySet::SYS_ADMIN, "CAP_BPF"),
];
/// What `setcap` is to give: these, and to lock memory without limit.
const GIVEN: CapabilitySet = CapabilitySet::NET_RAW
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::BPF)
    .union(CapabilitySet::IPC_LOCK);

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
    wanted: &Wanted,
    program: &str,
) -> Vec<Finding> {
    let mut findings = vec![version(release), af_xdp(root, release, sockets, wanted, program)];
    findings.extend(bpf_jit(root));
    findings
}

/// Major and minor; none of what does not begin with them.
fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn version(release: &str) -> Finding {
    const WHY: &str =
        "bursts need 5.0 (UDP_GRO), AF_XDP needs 5.11, what drivers can do for XDP is told from 6.3 on";
    let found = Finding::ok("kernel.version", HOST, format!("Linux {release}"), WHY);
    match numbers(release) {
        Some(version) if version >= (6, 3) => found,
        Some(version) if version >= (5, 0) => found.is(Severity::Note),
        Some(_) => found.is(Severity::Slow),
        None => found.is(Severity::Note),
    }
}

fn af_xdp(root: &Root, release: &str, sockets: XdpSockets, wanted: &Wanted, program: &str) -> Finding {
    const WHY: &str =
        "AF_XDP takes a line's packets past most of the kernel; without, lines go through ordinary sockets";
    let found = |text: String| Finding::ok("kernel.af_xdp", HOST, text, WHY);
    if sockets == XdpSockets::Missing {
        return found("this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)".into()).is(Severity::Note);
    }
    if numbers(release).is_some_and(|version| version < AF_XDP) {
        let (major, minor) = AF_XDP;
        return found(format!("this kernel is too old for it: {major}.{minor} or newer")).is(Severity::Note);
    }
    let lack: Vec<&str> = NEEDED
        .iter()
        .filter(|(right, same, _)| !wanted.rights.intersects(*right | *same))
        .map(|(.., name)| *name)
        .collect();
    if lack.is_empty() {
        return match sockets {
            XdpSockets::Forbidden => found(
                "this process has the rights, but something forbids it AF_XDP sockets (a container's seccomp, systemd's \
                 RestrictAddressFamilies)"
                    .into(),
            )
            .is(Severity::Note),
            _ => found("AF_XDP sockets can be made, and programs attached".into()),
        };
    }
    let lack = lack.join(", ");
    let text = match sockets {
        XdpSockets::There => format!(
            "AF_XDP sockets can be made, as a publisher needs, but no programs attached, as a listener does: this process lacks {lack}"
        ),
        _ => format!("this process may not make AF_XDP sockets: it lacks {lack}"),
    };
    // A file that is given more than its process may ever have does not even start.
    match may_ever_have(root).contains(GIVEN) {
        true => found(text).is(Severity::Note).mend(format!(
            "setcap cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock+ep {program}"
        )),
        false => found(format!(
            "{text}; what started it allows it no more (see a container's --cap-add, systemd's CapabilityBoundingSet)"
        ))
        .is(Severity::Note),
    }
}

/// The bounding set; all where the kernel does not tell.
fn may_ever_have(root: &Root) -> CapabilitySet {
    let status = root.text("proc/self/status").unwrap_or_default();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bits = bounding.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    bits.map_or(CapabilitySet::all(), CapabilitySet::from_bits_retain)
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
    use crate::doctor::checks::testing::{one, verdict, wanted};
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

    /// What a check says of AF_XDP to a process with `rights` in a container that may have `bounding`.
    fn af_xdp_with(rights: CapabilitySet, bounding: &str, sockets: XdpSockets, release: &str) -> Finding {
        let status = format!("Name:\ttwinline\nCapBnd:\t{bounding}\nCapAmb:\t0000000000000000\n");
        let (_dir, root) = machine(&[("proc/self/status", &status)]);
        let wanted = Wanted { rights, ..wanted() };
        let findings = check(&root, release, sockets, &wanted, "/usr/bin/twinline");
        one(&findings, "kernel.af_xdp").clone()
    }

    const EVERYTHING: &str = "000001ffffffffff";

    #[test]
    fn af_xdp_needs_the_right_to_attach_programs_too_not_only_to_make_sockets() {
        // A container's root, as Docker makes it.
        let usual = CapabilitySet::NET_RAW | CapabilitySet::CHOWN | CapabilitySet::SETUID;
        let of = |rights, bounding| af_xdp_with(rights, bounding, XdpSockets::There, "6.1.0");
        let caged = of(usual, "00000000a80425fb");
        assert_eq!((caged.severity, &caged.command), (Severity::Note, &None));
        assert!(
            caged
                .found
                .contains("lacks CAP_NET_ADMIN, CAP_BPF; what started it")
                && caged.found.contains("--cap-add"),
            "{caged:?}"
        );
        let free = of(usual, EVERYTHING);
        assert_eq!(free.severity, Severity::Note);
        assert!(free.command.unwrap().ends_with("+ep /usr/bin/twinline"));
        for last in [CapabilitySet::BPF, CapabilitySet::SYS_ADMIN] {
            let all = usual | CapabilitySet::NET_ADMIN | last;
            assert_eq!(of(all, EVERYTHING).severity, Severity::Ok, "{last:?}");
            let all_but_sockets = af_xdp_with(all, EVERYTHING, XdpSockets::Forbidden, "6.1.0");
            assert_eq!(all_but_sockets.severity, Severity::Note);
        }
    }

    #[test]
    fn an_older_kernels_af_xdp_is_not_enough() {
        for (release, severity) in [("5.10.0-28-amd64", Severity::Note), ("5.11.0", Severity::Ok)] {
            let found = af_xdp_with(CapabilitySet::all(), EVERYTHING, XdpSockets::There, release);
            assert_eq!((found.severity, found.command), (severity, None), "{release}");
        }
    }

    #[test]
    fn what_is_missing_for_af_xdp_is_named() {
        let (_dir, root) = machine(&[("proc/sys/net/core/bpf_jit_enable", "0")]);
        let findings = check(
            &root,
            "6.1.0",
            XdpSockets::Forbidden,
            &wanted(),
            "/usr/bin/twinline",
        );
        let (severity, command) = verdict(&findings, "kernel.af_xdp");
        assert_eq!(severity, Severity::Note);
        assert!(command.unwrap().ends_with("+ep /usr/bin/twinline"), "{command:?}");
        assert_eq!(
            verdict(&findings, "kernel.bpf_jit"),
            (Severity::Slow, Some("sysctl -w net.core.bpf_jit_enable=1"))
        );
        let (_dir, root) = machine(&[]);
        let findings = check(&root, "6.1.0", XdpSockets::Missing, &wanted(), "twinline");
        assert!(
            one(&findings, "kernel.af_xdp")
                .found
                .contains("CONFIG_XDP_SOCKETS")
        );
        assert_eq!(findings.len(), 2, "what the kernel does not tell is not judged");
    }
}
