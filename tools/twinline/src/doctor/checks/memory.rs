//! Memory: what the kernel moves, swaps or defers under a thread that must not wait.

use super::Wanted;
use crate::doctor::finding::{Finding, HOST, Severity, sysctl};
use crate::doctor::link::Link;
use crate::doctor::root::Root;
use crate::units::show_bytes;
use rustix::thread::CapabilitySet;
use twinline_line::LineAddress;

/// A huge page, as AF_XDP's frames are put into.
const HUGE_PAGE: u64 = 2 << 20;
/// Room for some channels' rings.
const SHARED: u64 = 256 << 20;

/// What this process may lock, and what is free for rings; none: no limit, or not known.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::doctor) struct Room {
    /// `RLIMIT_MEMLOCK`, in bytes.
    pub(in crate::doctor) lockable: Option<u64>,
    /// Bytes free in `/dev/shm`, and all that may be in it.
    pub(in crate::doctor) shared: Option<[u64; 2]>,
}

/// Looks at memory.
pub(in crate::doctor) fn check(root: &Root, room: Room, wanted: &Wanted, links: &[Link]) -> Vec<Finding> {
    let meminfo = root.text("proc/meminfo").unwrap_or_default();
    let frames = Frames::of(wanted, links);
    let findings = [
        compaction(root),
        Some(huge_pages(root, frames)),
        Some(lock(room, wanted, frames)),
        swap(&meminfo),
        numa(root),
        shared(room),
    ];
    findings.into_iter().flatten().collect()
}

/// The memory that a listener's packets come into through AF_XDP.
#[derive(Clone, Copy, Debug)]
struct Frames {
    /// The queues of all lines, each of which has memory of its own.
    queues: u64,
    /// Bytes of each.
    each: u64,
}

impl Frames {
    /// By every queue, as without `--xdp-queues`. Where no line is named there are two, of as many queues as any interface has.
    fn of(wanted: &Wanted, links: &[Link]) -> Self {
        let queues = |link: &Link| u64::from(link.queues.unwrap_or(1).max(1));
        let of_line = |line: &LineAddress| {
            let named = |link: &&Link| line.interface.as_deref().is_some_and(|name| link.is_named(name));
            links.iter().find(named).map_or(1, queues)
        };
        let queues = match wanted.lines.is_empty() {
            true => 2 * links.iter().map(queues).max().unwrap_or(1),
            false => wanted.lines.iter().map(of_line).sum(),
        };
        Self {
            queues,
            // As many frames as a power of two, and a frame is one too.
            each: (wanted.receive_buffer as u64).next_power_of_two(),
        }
    }

    fn all(self) -> u64 {
        self.queues.saturating_mul(self.each)
    }

    fn show(self) -> String {
        let Self { queues, each } = self;
        format!(
            "a listener's AF_XDP takes {} ({queues} queues of all lines, {} each)",
            show_bytes(self.all()),
            show_bytes(each)
        )
    }
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

fn huge_pages(root: &Root, frames: Frames) -> Finding {
    const WHY: &str = "AF_XDP's packets lie each in another page: where a small one is must be looked up each time. Journals and rings gain nothing by huge pages";
    const DIR: &str = "sys/kernel/mm/hugepages/hugepages-2048kB";
    let found = |text: String| Finding::ok("memory.huge_pages", HOST, text, WHY);
    let of = |what: &str| root.number::<u64>(&format!("{DIR}/{what}"));
    let (Some(aside), Some(free)) = (of("nr_hugepages"), of("free_hugepages")) else {
        return found("this kernel sets no huge pages of 2 MiB aside".into()).is(Severity::Note);
    };
    // Each queue has pages of its own, if they are whole ones.
    let needed = frames.queues.saturating_mul(frames.each / HUGE_PAGE);
    let text = format!(
        "{aside} huge pages set aside, {free} free; {}: {needed} of them",
        frames.show()
    );
    match free >= needed {
        true => found(text),
        false => found(format!("{text}; without, it asks for transparent ones"))
            .is(Severity::Note)
            .mend(format!(
                "echo {} > /{DIR}/nr_hugepages",
                aside.saturating_add(needed - free)
            )),
    }
}

fn lock(room: Room, wanted: &Wanted, frames: Frames) -> Finding {
    const WHY: &str = "AF_XDP's packet memory is locked: over the limit a line falls back to ordinary sockets, unless the process has CAP_IPC_LOCK";
    let found = |text: String| Finding::ok("memory.lock", HOST, text, WHY);
    let Some(limit) = room.lockable else {
        return found("this process may lock any memory".into());
    };
    let text = format!("this process may lock {}", show_bytes(limit));
    if limit >= frames.all() {
        return found(text);
    }
    if wanted.rights.contains(CapabilitySet::IPC_LOCK) {
        return found(format!("{text}, but has CAP_IPC_LOCK, which knows no limit"));
    }
    found(format!(
        "{text} only, {}; the command is for logins: a systemd unit takes LimitMEMLOCK=infinity instead",
        frames.show()
    ))
    .is(Severity::Slow)
    // What is for everybody is not for root.
    .mend("printf '%s - memlock unlimited\\n' '*' root > /etc/security/limits.d/twinline.conf")
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
    let [free, all] = room.shared?;
    let text = format!("{} free of {}", show_bytes(free), show_bytes(all));
    let found = |text| Finding::ok("memory.shared", "/dev/shm", text, WHY);
    Some(match free {
        SHARED.. => found(text),
        _ => {
            // Larger than what lies there by so much.
            let size = (all - free.min(all) + SHARED).div_ceil(1 << 20);
            found(format!(
                "{text}; remove what nobody needs there, or make it larger"
            ))
            .is(Severity::Note)
            .mend(format!("mount -o remount,size={size}M /dev/shm"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::testing::{one, verdict, wanted};
    use crate::doctor::root::machine;

    const NR: &str = "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    const FREE: &str = "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";

    const FILES: [(&str, &str); 5] = [
        ("proc/meminfo", "MemTotal: 1000 kB\nSwapTotal: 2048 kB\n"),
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
            shared: Some([1 << 20, 64 << 20]),
        };
        let findings = check(&root, room, &wanted(), &[]);
        for (name, command) in [
            (
                "memory.compaction",
                "echo madvise > /sys/kernel/mm/transparent_hugepage/defrag",
            ),
            ("memory.swap", "swapoff -a"),
            ("memory.numa_balancing", "sysctl -w kernel.numa_balancing=0"),
            (
                "memory.lock",
                "printf '%s - memlock unlimited\\n' '*' root > /etc/security/limits.d/twinline.conf",
            ),
        ] {
            assert_eq!(
                verdict(&findings, name),
                (Severity::Slow, Some(command)),
                "{name}"
            );
        }
        assert_eq!(
            verdict(&findings, "memory.shared"),
            (Severity::Note, Some("mount -o remount,size=319M /dev/shm")),
            "63 MiB lie there, and 256 more are to"
        );
        assert!(one(&findings, "memory.lock").found.contains("LimitMEMLOCK="));
    }

    #[test]
    fn a_machine_without_any_of_that_is_fine() {
        let (_dir, root) = machine(&[
            ("proc/meminfo", "SwapTotal: 0 kB\n"),
            (NR, "40"),
            (FREE, "32"),
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
            shared: Some([1 << 30, 2 << 30]),
        };
        let locking = Wanted {
            rights: CapabilitySet::IPC_LOCK,
            ..wanted()
        };
        for finding in check(&root, room, &locking, &[]) {
            assert_eq!(
                (finding.severity, finding.command.as_ref()),
                (Severity::Ok, None),
                "{finding:?}"
            );
        }
    }

    #[test]
    fn the_memory_for_af_xdp_is_that_of_every_queue_of_every_line() {
        let link = |name: &str, queues| Link {
            name: name.into(),
            queues,
            ..Link::default()
        };
        let links = [link("eth0", Some(4)), link("eth1", None)];
        let line = |text: &str| text.parse().unwrap();
        let both = [line("239.1.1.1:5001@eth0"), line("239.1.1.2:5001@eth1")];
        let (_dir, root) = machine(&[(NR, "10"), (FREE, "8")]);
        // Of five queues in the first case: 33 MiB are frames for 64.
        for (lines, receive_buffer, needed) in [
            (&both[..], 33 << 20, 5 * (64 << 20)),
            (&both[1..], 1 << 20, 1 << 20),
            (&[], 32 << 20, 8 * (32 << 20)),
        ] {
            let wanted = Wanted {
                lines: lines.to_vec(),
                receive_buffer,
                ..wanted()
            };
            let of = |lockable| {
                let room = Room {
                    lockable: Some(lockable),
                    shared: None,
                };
                check(&root, room, &wanted, &links)
            };
            let enough = of(needed);
            assert_eq!(one(&enough, "memory.lock").severity, Severity::Ok, "{needed}");
            let little = of(needed - 1);
            assert_eq!(one(&little, "memory.lock").severity, Severity::Slow, "{needed}");
            let pages = needed / HUGE_PAGE;
            let expected = (pages > 8).then(|| format!("echo {} > /{NR}", 10 + pages - 8));
            let (severity, command) = verdict(&enough, "memory.huge_pages");
            assert_eq!(command, expected.as_deref());
            assert_eq!(severity == Severity::Note, expected.is_some());
        }
    }
}
