//! Memory: what the kernel moves, swaps or defers under a thread that must not wait.

use super::Wanted;
use crate::doctor::finding::{Finding, HOST, Severity, sysctl};
use crate::doctor::root::Root;
use crate::units::show_bytes;
use rustix::thread::CapabilitySet;

/// What two AF_XDP lines keep locked, with room to spare.
const LOCKED: u64 = 256 << 20;
/// Room for some channels' rings.
const SHARED: u64 = 256 << 20;

/// What this process may lock, and what is free for rings; none: no limit, or not known.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::doctor) struct Room {
    /// `RLIMIT_MEMLOCK`, in bytes.
    pub(in crate::doctor) lockable: Option<u64>,
    /// Bytes free in `/dev/shm`.
    pub(in crate::doctor) shared: Option<u64>,
}

/// Looks at memory.
pub(in crate::doctor) fn check(root: &Root, room: Room, wanted: &Wanted) -> Vec<Finding> {
    let meminfo = root.text("proc/meminfo").unwrap_or_default();
    let findings = [
        compaction(root),
        Some(huge_pages(&meminfo)),
        Some(lock(room, wanted)),
        swap(&meminfo),
        numa(root),
        shared(room),
    ];
    findings.into_iter().flatten().collect()
}

/// A figure of `/proc/meminfo`: KiB, or a plain count.
fn figure(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What is chosen of a file such as `always [madvise] never`.
fn chosen(text: &str) -> Option<&str> {
    text.split_once('[')?.1.split_once(']').map(|(chosen, _)| chosen)
}

/// None if the kernel has no transparent huge pages.
fn compaction(root: &Root) -> Option<Finding> {
    const WHY: &str = "to make a huge page for a program that did not ask for one the kernel may move memory while the program waits, for milliseconds";
    const DIR: &str = "sys/kernel/mm/transparent_hugepage";
    let (enabled, defrag) = (
        root.text(&format!("{DIR}/enabled"))?,
        root.text(&format!("{DIR}/defrag"))?,
    );
    let (enabled, defrag) = (chosen(&enabled)?, chosen(&defrag)?);
    let text = format!("transparent huge pages {enabled}, made by waiting: {defrag}");
    let found = Finding::ok("memory.compaction", HOST, text, WHY);
    Some(match (enabled, defrag) {
        ("always", "always") => found
            .is(Severity::Slow)
            .mend(format!("echo madvise > /{DIR}/defrag")),
        _ => found,
    })
}

fn huge_pages(meminfo: &str) -> Finding {
    const WHY: &str = "journals and rings are mapped files: huge pages were measured and gain nothing there";
    let (total, free) = (
        figure(meminfo, "HugePages_Total"),
        figure(meminfo, "HugePages_Free"),
    );
    let text = match (total, free) {
        (Some(total), Some(free)) if total > 0 => {
            format!("{total} huge pages set aside, {free} free; none is needed")
        }
        _ => "no huge pages set aside; none is needed".into(),
    };
    Finding::ok("memory.huge_pages", HOST, text, WHY)
}

fn lock(room: Room, wanted: &Wanted) -> Finding {
    const WHY: &str = "AF_XDP's packet memory is locked: over the limit a line falls back to ordinary sockets, unless the process has CAP_IPC_LOCK";
    let found = |text: String| Finding::ok("memory.lock", HOST, text, WHY);
    match room.lockable {
        None => found("this process may lock any memory".into()),
        Some(limit) if limit >= LOCKED => found(format!("this process may lock {}", show_bytes(limit))),
        Some(limit) if wanted.rights.contains(CapabilitySet::IPC_LOCK) => found(format!(
            "this process may lock {}, but has CAP_IPC_LOCK, which knows no limit",
            show_bytes(limit)
        )),
        Some(limit) => found(format!("this process may lock {} only", show_bytes(limit)))
            .is(Severity::Slow)
            .mend("printf '* - memlock unlimited\\n' > /etc/security/limits.d/twinline.conf"),
    }
}

/// None if the kernel does not tell.
fn swap(meminfo: &str) -> Option<Finding> {
    const WHY: &str = "what was swapped out comes back in milliseconds, while the line goes on";
    let total = figure(meminfo, "SwapTotal")? << 10;
    let found = |text: String| Finding::ok("memory.swap", HOST, text, WHY);
    Some(match total {
        0 => found("no swap".into()),
        _ => found(format!("{} of swap", show_bytes(total)))
            .is(Severity::Slow)
            .mend("swapoff -a"),
    })
}

/// None on a machine without it.
fn numa(root: &Root) -> Option<Finding> {
    const WHY: &str = "the kernel takes pages away for a moment to see who uses them, and moves them: a thread that touches one waits";
    let found = |text: &str| Finding::ok("memory.numa_balancing", HOST, text, WHY);
    Some(match root.sysctl::<u32>("kernel.numa_balancing")? {
        0 => found("memory is not moved between nodes"),
        // There is nothing to move on one node, whatever it says.
        _ if root
            .text("sys/devices/system/node/online")
            .is_none_or(|nodes| nodes == "0") =>
        {
            found("there is one node only")
        }
        _ => found("memory is moved between nodes as it is used")
            .is(Severity::Slow)
            .mend(sysctl("kernel.numa_balancing", 0)),
    })
}

/// None if there is no `/dev/shm`.
fn shared(room: Room) -> Option<Finding> {
    const WHY: &str = "`listen --ring` allocates its rings there when it starts, and journals may lie there";
    let free = room.shared?;
    let found = Finding::ok(
        "memory.shared",
        "/dev/shm",
        format!("{} free", show_bytes(free)),
        WHY,
    );
    Some(match free {
        SHARED.. => found,
        _ => found
            .is(Severity::Note)
            .mend("mount -o remount,size=50% /dev/shm"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::testing::{one, verdict, wanted};
    use crate::doctor::root::machine;

    const FILES: [(&str, &str); 5] = [
        (
            "proc/meminfo",
            "MemTotal: 1000 kB\nSwapTotal: 2048 kB\nHugePages_Total: 8\nHugePages_Free: 7\n",
        ),
        (
            "sys/kernel/mm/transparent_hugepage/enabled",
            "[always] madvise never",
        ),
        (
            "sys/kernel/mm/transparent_hugepage/defrag",
            "[always] defer madvise never",
        ),
        ("proc/sys/kernel/numa_balancing", "1"),
        ("sys/devices/system/node/online", "0-1"),
    ];

    #[test]
    fn what_the_kernel_does_behind_a_threads_back_costs_time() {
        let (_dir, root) = machine(&FILES);
        let room = Room {
            lockable: Some(8 << 20),
            shared: Some(1 << 20),
        };
        let findings = check(&root, room, &wanted());
        for (name, command) in [
            (
                "memory.compaction",
                "echo madvise > /sys/kernel/mm/transparent_hugepage/defrag",
            ),
            ("memory.swap", "swapoff -a"),
            ("memory.numa_balancing", "sysctl -w kernel.numa_balancing=0"),
            (
                "memory.lock",
                "printf '* - memlock unlimited\\n' > /etc/security/limits.d/twinline.conf",
            ),
        ] {
            assert_eq!(
                verdict(&findings, name),
                (Severity::Slow, Some(command)),
                "{name}"
            );
        }
        assert_eq!(one(&findings, "memory.shared").severity, Severity::Note);
        assert!(
            one(&findings, "memory.huge_pages")
                .found
                .starts_with("8 huge pages")
        );
    }

    #[test]
    fn a_machine_without_any_of_that_is_fine() {
        let (_dir, root) = machine(&[
            ("proc/meminfo", "SwapTotal: 0 kB\nHugePages_Total: 0\n"),
            (
                "sys/kernel/mm/transparent_hugepage/enabled",
                "[always] madvise never",
            ),
            (
                "sys/kernel/mm/transparent_hugepage/defrag",
                "always defer [madvise] never",
            ),
            ("proc/sys/kernel/numa_balancing", "1"),
            ("sys/devices/system/node/online", "0"),
        ]);
        let room = Room {
            lockable: Some(8 << 20),
            shared: Some(1 << 30),
        };
        let locking = Wanted {
            rights: CapabilitySet::IPC_LOCK,
            ..wanted()
        };
        for finding in check(&root, room, &locking) {
            assert_eq!(
                (finding.severity, finding.command.as_ref()),
                (Severity::Ok, None),
                "{finding:?}"
            );
        }
    }
}
