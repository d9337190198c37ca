//! Which cores interrupts go to, and which are near a card.

use super::Wanted;
use crate::doctor::cores::{online, parse, place, show};
use crate::doctor::finding::{Finding, HOST, Severity};
use crate::doctor::root::Root;

const WHY: &str = "an interrupt takes a core from the thread that spins there; a card's takes the packets' whole way to the socket with it";

/// Looks at the interrupts, of these interfaces above all.
pub(in crate::doctor) fn check(root: &Root, interfaces: &[&str], wanted: &Wanted) -> Vec<Finding> {
    let mut findings = vec![on_cores(root, wanted)];
    findings.extend(interfaces.iter().filter_map(|name| of_interface(root, name)));
    findings.extend(interfaces.iter().filter_map(|name| node(root, name, wanted)));
    findings.push(balancer(root));
    findings
}

/// An interrupt: its number, how often it came, and what it is of.
struct Interrupt {
    number: u32,
    came: u64,
    of: String,
}

/// Those of devices; what the kernel itself does on each core cannot be moved.
fn interrupts(root: &Root) -> Vec<Interrupt> {
    let text = root.text("proc/interrupts").unwrap_or_default();
    let mut lines = text.lines();
    let cores = lines.next().map_or(0, |head| head.split_whitespace().count());
    lines
        .filter_map(|line| {
            let (number, rest) = line.split_once(':')?;
            let fields: Vec<&str> = rest.split_whitespace().collect();
            let counts = fields.get(..cores)?.iter().map(|field| field.parse::<u64>().ok());
            Some(Interrupt {
                number: number.trim().parse().ok()?,
                came: counts.sum::<Option<u64>>()?,
                of: fields.last()?.to_string(),
            })
        })
        .collect()
}

/// The cores that an interrupt goes to.
fn goes_to(root: &Root, number: u32) -> Vec<usize> {
    let of = |what: &str| root.text(&format!("proc/irq/{number}/{what}"));
    let effective = of("effective_affinity_list").filter(|text| !text.is_empty());
    parse(&effective.or_else(|| of("smp_affinity_list")).unwrap_or_default())
}

fn on_cores(root: &Root, wanted: &Wanted) -> Finding {
    let isolated = parse(&root.text("sys/devices/system/cpu/isolated").unwrap_or_default());
    let cores = match wanted.cores.is_empty() {
        true => isolated,
        false => wanted.cores.clone(),
    };
    if cores.is_empty() {
        let found = "no core is named (--cpu) or set aside that they should stay away from";
        return Finding::ok("cpu.interrupts", HOST, found, WHY).is(Severity::Note);
    }
    let there: Vec<Interrupt> = interrupts(root)
        .into_iter()
        .filter(|interrupt| interrupt.came > 0)
        .filter(|interrupt| {
            goes_to(root, interrupt.number)
                .iter()
                .any(|core| cores.contains(core))
        })
        .collect();
    if there.is_empty() {
        return Finding::ok("cpu.interrupts", place(&cores), "no device interrupts there", WHY);
    }
    const SHOWN: usize = 6;
    let shown: Vec<String> = there
        .iter()
        .take(SHOWN)
        .map(|interrupt| format!("{} ({})", interrupt.number, interrupt.of))
        .collect();
    let more = match there.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let found = Finding::ok(
        "cpu.interrupts",
        place(&cores),
        format!("devices interrupt there: {}{more}", shown.join(", ")),
        WHY,
    )
    .is(Severity::Slow);
    let others: Vec<usize> = online(root)
        .into_iter()
        .filter(|core| !cores.contains(core))
        .collect();
    if others.is_empty() {
        return found;
    }
    let numbers: Vec<String> = there
        .iter()
        .map(|interrupt| interrupt.number.to_string())
        .collect();
    // Nothing that a program may read tells which ones the kernel keeps to itself; writing does.
    let found = Finding {
        found: format!(
            "{}; one that cannot be moved (input/output error) is placed by the kernel itself, as a disk's queues are: \
             isolcpus=managed_irq,domain,{} at the next start keeps such away",
            found.found,
            show(&cores)
        ),
        ..found
    };
    found.mend(format!(
        "for irq in {}; do echo {} > /proc/irq/$irq/smp_affinity_list || echo \"interrupt $irq stays\"; done",
        numbers.join(" "),
        show(&others)
    ))
}

/// None if no interrupts of the interface are known.
fn of_interface(root: &Root, name: &str) -> Option<Finding> {
    let device = format!("sys/class/net/{name}/device");
    let mut numbers = root.list(&format!("{device}/msi_irqs"));
    if numbers.is_empty() {
        // A virtio device's are those of the card that it is on.
        numbers = root.list(&format!("{device}/../msi_irqs"));
    }
    let mut cores: Vec<usize> = numbers
        .iter()
        .filter_map(|number| number.parse().ok())
        .flat_map(|number| goes_to(root, number))
        .collect();
    cores.sort_unstable();
    cores.dedup();
    if cores.is_empty() {
        return None;
    }
    let found = format!(
        "its {} interrupts go to {}: the lines' threads (--cpu) are best beside them, not on them",
        numbers.len(),
        place(&cores)
    );
    Some(Finding::ok("cpu.interface_interrupts", name, found, WHY))
}

/// Whether the cores that were named are on the card's own node; none where no core is named or the card has no node.
fn node(root: &Root, name: &str, wanted: &Wanted) -> Option<Finding> {
    const WHY: &str = "a card writes packets into the memory of its own node; a core of another one fetches each of them from there";
    let node: u32 = root.number(&format!("sys/class/net/{name}/device/numa_node"))?;
    let near = parse(&root.text(&format!("sys/devices/system/node/node{node}/cpulist"))?);
    if wanted.cores.is_empty() {
        return None;
    }
    let far = wanted.cores_beside(&near);
    Some(match far.is_empty() {
        true => Finding::ok(
            "cpu.node",
            name,
            format!("{} are on its node {node}", place(&wanted.cores)),
            WHY,
        ),
        false => Finding::ok(
            "cpu.node",
            name,
            format!(
                "its node is {node}; not on it: {}; take some of {}",
                place(&far),
                show(&near)
            ),
            WHY,
        )
        .is(Severity::Slow),
    })
}

fn balancer(root: &Root) -> Finding {
    let runs = root
        .list("proc")
        .iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .any(|process| root.text(&format!("proc/{process}/comm")).as_deref() == Some("irqbalance"));
    let why = "it moves interrupts about, onto a line's core too";
    match runs {
        true => Finding::ok("cpu.irqbalance", HOST, "irqbalance runs", why)
            .is(Severity::Slow)
            .mend("systemctl disable --now irqbalance"),
        false => Finding::ok("cpu.irqbalance", HOST, "irqbalance does not run", why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::testing::{one, verdict, wanted};
    use crate::doctor::root::machine;

    const FILES: [(&str, &str); 9] = [
        (
            "proc/interrupts",
            "           CPU0       CPU1       CPU2\n  9:          0          0          0   IO-APIC   9-fasteoi   acpi\n \
             41:       8273          1          0  PCI-MSIX-0000:00:04.0   0-edge      eth0-rx-0\n \
             42:          0      30618          0  PCI-MSIX-0000:00:04.0   1-edge      nvme0q1\nNMI:  1 2 3  Non-maskable interrupts\nERR:  0\n",
        ),
        ("proc/irq/9/smp_affinity_list", "0-2"),
        ("proc/irq/41/smp_affinity_list", "0-2"),
        ("proc/irq/41/effective_affinity_list", "0"),
        ("proc/irq/42/smp_affinity_list", "1"),
        ("proc/irq/42/effective_affinity_list", ""),
        ("proc/812/comm", "irqbalance\n"),
        ("sys/devices/system/cpu/online", "0-2"),
        ("sys/class/net/eth0/device/msi_irqs/41", "msix"),
    ];

    #[test]
    fn interrupts_on_a_core_that_is_to_be_used_are_moved_to_the_others() {
        let (_dir, root) = machine(&FILES);
        let of = |cores: &[usize]| {
            let wanted = Wanted {
                cores: cores.to_vec(),
                ..wanted()
            };
            check(&root, &["eth0"], &wanted)
        };
        let findings = of(&[1]);
        assert_eq!(
            verdict(&findings, "cpu.interrupts"),
            (
                Severity::Slow,
                Some(
                    "for irq in 42; do echo 0,2 > /proc/irq/$irq/smp_affinity_list || echo \"interrupt $irq stays\"; done"
                )
            )
        );
        let found = &one(&findings, "cpu.interrupts").found;
        assert!(found.contains("42 (nvme0q1)"), "{found}");
        assert!(
            found.contains("isolcpus=managed_irq,domain,1 "),
            "a disk's may not be moved by hand: {found}"
        );
        assert!(
            one(&findings, "cpu.interface_interrupts")
                .found
                .contains("go to core 0")
        );
        assert_eq!(
            verdict(&findings, "cpu.irqbalance"),
            (Severity::Slow, Some("systemctl disable --now irqbalance"))
        );
        assert_eq!(verdict(&of(&[2]), "cpu.interrupts").0, Severity::Ok);
        assert_eq!(verdict(&of(&[0, 1, 2]), "cpu.interrupts"), (Severity::Slow, None));
    }

    #[test]
    fn a_core_far_from_the_card_costs_time() {
        let (_dir, root) = machine(&[
            ("sys/class/net/eth0/device/numa_node", "1"),
            ("sys/class/net/eth1/device/numa_node", "-1"),
            ("sys/devices/system/node/node1/cpulist", "8-15"),
        ]);
        let of = |cores: &[usize]| {
            let wanted = Wanted {
                cores: cores.to_vec(),
                ..wanted()
            };
            let findings = check(&root, &["eth0", "eth1"], &wanted);
            one(&findings, "cpu.node").clone()
        };
        assert_eq!(of(&[8, 9]).severity, Severity::Ok);
        let far = of(&[3, 9]);
        assert_eq!(far.severity, Severity::Slow);
        assert_eq!(far.found, "its node is 1; not on it: core 3; take some of 8-15");
    }

    #[test]
    fn without_a_core_to_use_there_is_nothing_to_judge() {
        let (_dir, root) = machine(&FILES[..1]);
        let findings = check(&root, &["eth0"], &wanted());
        assert_eq!(one(&findings, "cpu.interrupts").severity, Severity::Note);
        assert_eq!(one(&findings, "cpu.irqbalance").severity, Severity::Ok);
        assert_eq!(findings.len(), 2, "no interrupts of eth0 are known");
    }
}
