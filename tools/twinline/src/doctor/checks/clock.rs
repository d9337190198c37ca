//! Clocks: what the time is read from, and whether anybody keeps it right.

use crate::doctor::finding::{Finding, HOST, Severity};
use crate::doctor::root::Root;
use crate::units::show_nanos;
use twinline_listener::fair::clock::KernelClock;

const SOURCES: &str = "sys/devices/system/clocksource/clocksource0";
/// Further off than this, one-way times say little.
const LITTLE_ERROR: u64 = 1_000_000;

/// Looks at the clocks; `kernel` is the kernel's opinion of the real-time one.
pub(in crate::doctor) fn check(root: &Root, kernel: Option<KernelClock>) -> Vec<Finding> {
    vec![source(root), synchronised(kernel), hardware(root)]
}

fn source(root: &Root) -> Finding {
    const WHY: &str = "each packet's time is read from it: from the processor's counter in some 20 ns, from another chip (hpet, acpi_pm) in a microsecond and more, by a system call";
    let Some(current) = root.text(&format!("{SOURCES}/current_clocksource")) else {
        return Finding::ok(
            "clock.source",
            HOST,
            "not known: the kernel does not tell its clock source",
            WHY,
        )
        .is(Severity::Note);
    };
    let found = Finding::ok("clock.source", HOST, format!("clock source {current}"), WHY);
    match current.as_str() {
        "tsc" | "arch_sys_counter" => found,
        // Read without a system call too, but through a page of the hypervisor's.
        "kvm-clock" | "hyperv_clocksource_tsc_page" => found.is(Severity::Note),
        _ => {
            let available = root
                .text(&format!("{SOURCES}/available_clocksource"))
                .unwrap_or_default();
            let found = found.is(Severity::Slow);
            match available
                .split_whitespace()
                .find(|name| matches!(*name, "tsc" | "kvm-clock"))
            {
                Some(better) => found.mend(format!("echo {better} > /{SOURCES}/current_clocksource")),
                // The kernel found the counter unfit; only whoever knows the machine can say otherwise.
                None => Finding {
                    found: format!(
                        "{}, and no better one is on offer: look why in `dmesg`",
                        found.found
                    ),
                    ..found
                },
            }
        }
    }
}

fn synchronised(kernel: Option<KernelClock>) -> Finding {
    const WHY: &str = "latency is the publisher's clock against the listener's, and fair release goes by the clock; no data is lost for it";
    let found = |text: String| Finding::ok("clock.synchronised", HOST, text, WHY);
    match kernel {
        None => found("not known: the kernel may not be asked here".into()).is(Severity::Note),
        Some(clock) if !clock.synchronised => found(
            "the kernel says that nobody synchronises the clock (in a virtual machine its host may, unseen)"
                .into(),
        )
        .is(Severity::Slow)
        .mend("apt-get install -y chrony && systemctl enable --now chrony"),
        Some(clock) => {
            let error = show_nanos(clock.max_error);
            match clock.max_error {
                0..=LITTLE_ERROR => found(format!("synchronised, off by at most {error}")),
                _ => found(format!(
                    "synchronised, but off by up to {error} by its own account: PTP with a hardware clock keeps within microseconds"
                ))
                .is(Severity::Note),
            }
        }
    }
}

fn hardware(root: &Root) -> Finding {
    const WHY: &str = "PTP keeps clocks within a microsecond only with a card that stamps packets itself";
    let named = |clock: &String| match root.text(&format!("sys/class/ptp/{clock}/clock_name")) {
        Some(name) => format!("{clock} ({name})"),
        None => clock.clone(),
    };
    // A card's clock is on the card; a hypervisor's (ptp_kvm) is on nothing, and stamps no packets.
    let (cards, others): (Vec<String>, Vec<String>) = root
        .list("sys/class/ptp")
        .into_iter()
        .partition(|clock| !root.list(&format!("sys/class/ptp/{clock}/device")).is_empty());
    let show = |clocks: &[String]| clocks.iter().map(named).collect::<Vec<_>>().join(", ");
    let found = |text: String| Finding::ok("clock.hardware", HOST, text, WHY);
    match (cards.is_empty(), others.is_empty()) {
        (false, _) => found(show(&cards)),
        (true, true) => found("no hardware clock for PTP".into()).is(Severity::Note),
        (true, false) => found(format!("no card's clock for PTP, only {}", show(&others))).is(Severity::Note),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::testing::{one, verdict};
    use crate::doctor::root::machine;

    fn sourced(current: &str, available: &str) -> Vec<Finding> {
        let (_dir, root) = machine(&[
            (&format!("{SOURCES}/current_clocksource"), current),
            (&format!("{SOURCES}/available_clocksource"), available),
        ]);
        check(&root, None)
    }

    #[test]
    fn hpet_costs_time_and_tsc_is_the_cure_where_it_is_on_offer() {
        let cured = sourced("hpet", "tsc hpet acpi_pm");
        assert_eq!(
            verdict(&cured, "clock.source"),
            (
                Severity::Slow,
                Some("echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource")
            )
        );
        let incurable = sourced("hpet", "hpet acpi_pm");
        assert_eq!(verdict(&incurable, "clock.source"), (Severity::Slow, None));
        assert!(one(&incurable, "clock.source").found.contains("dmesg"));
        assert_eq!(
            verdict(&sourced("tsc", "tsc"), "clock.source"),
            (Severity::Ok, None)
        );
        assert_eq!(
            verdict(&sourced("kvm-clock", "kvm-clock"), "clock.source").0,
            Severity::Note
        );
    }

    #[test]
    fn a_clock_that_nobody_synchronises_costs_time_and_a_loose_one_is_noted() {
        let (_dir, root) = machine(&[]);
        for (synchronised, max_error, severity) in [
            (false, 16_000_000_000, Severity::Slow),
            (true, 30_000_000, Severity::Note),
            (true, 400_000, Severity::Ok),
        ] {
            let findings = check(
                &root,
                Some(KernelClock {
                    synchronised,
                    max_error,
                }),
            );
            let found = one(&findings, "clock.synchronised");
            assert_eq!(found.severity, severity);
            assert_eq!(found.command.is_some(), severity == Severity::Slow);
        }
    }

    #[test]
    fn only_a_cards_clock_stamps_packets() {
        let of = |files: &[(&str, &str)]| {
            let (_dir, root) = machine(files);
            let found = one(&check(&root, None), "clock.hardware").clone();
            (found.severity, found.found)
        };
        let virtual_one = ("sys/class/ptp/ptp0/clock_name", "KVM virtual PTP");
        assert_eq!(
            of(&[virtual_one]),
            (
                Severity::Note,
                "no card's clock for PTP, only ptp0 (KVM virtual PTP)".into()
            )
        );
        let card = [
            ("sys/class/ptp/ptp1/clock_name", "ice"),
            ("sys/class/ptp/ptp1/device/vendor", "0x8086"),
        ];
        assert_eq!(
            of(&[virtual_one, card[0], card[1]]),
            (Severity::Ok, "ptp1 (ice)".into())
        );
        assert_eq!(of(&[]).0, Severity::Note);
    }
}
