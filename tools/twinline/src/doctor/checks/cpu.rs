//! Cores: whether they are there and [set aside](aside), their speed, how deep they sleep, and what they share.

use super::{Wanted, aside};
use crate::doctor::cores::{grouped, online, parse, place, show};
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::root::Root;

/// Where the kernel tells of the cores.
pub(super) const CPU: &str = "sys/devices/system/cpu";
/// A core that needs longer than this to wake, in microseconds, sleeps too deep.
const LITTLE_SLEEP: u64 = 10;

/// Looks at the cores: those that were named, otherwise all.
pub(in crate::doctor) fn check(root: &Root, wanted: &Wanted) -> Vec<Finding> {
    let online = online(root);
    let cores = match wanted.cores.is_empty() {
        true => online.clone(),
        false => wanted.cores.clone(),
    };
    let mut findings = missing(&online, &cores);
    findings.extend(aside::check(root, &online, wanted));
    findings.extend(governor(root, &online, &cores));
    findings.extend(sleep(root, &online, &cores));
    findings.extend(siblings(root, &cores, wanted));
    findings
}

fn missing(online: &[usize], cores: &[usize]) -> Vec<Finding> {
    let missing: Vec<usize> = cores
        .iter()
        .copied()
        .filter(|core| !online.contains(core))
        .collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let found = format!("there is no such core, or it is off; there are {}", show(online));
    vec![
        Finding::ok(
            "cpu.online",
            place(&missing),
            found,
            "a thread that cannot be pinned runs anywhere",
        )
        .is(Severity::Slow),
    ]
}

/// A command for some cores: `each` with `$core`, the core's directory.
fn for_each(cores: &[usize], online: &[usize], each: &str) -> String {
    let dirs = match cores == online {
        true => format!("/{CPU}/cpu[0-9]*"),
        false => {
            let dirs: Vec<String> = cores.iter().map(|core| format!("/{CPU}/cpu{core}")).collect();
            dirs.join(" ")
        }
    };
    format!("for core in {dirs}; do {each}; done")
}

fn governor(root: &Root, online: &[usize], cores: &[usize]) -> Vec<Finding> {
    const WHY: &str =
        "a core that is slowed down while little comes is slow for the first packets of a burst";
    let said = grouped(cores, |core| {
        root.text(&format!("{CPU}/cpu{core}/cpufreq/scaling_governor"))
    });
    if said.is_empty() {
        let found = "the kernel does not change the cores' speed (a virtual machine's host may)";
        return vec![Finding::ok("cpu.governor", place(cores), found, WHY)];
    }
    let judge = |(governor, cores): &(String, Vec<usize>)| {
        let found = Finding::ok("cpu.governor", place(cores), format!("governor {governor}"), WHY);
        match governor.as_str() {
            "performance" => found,
            _ => {
                let each = "echo performance > $core/cpufreq/scaling_governor";
                found.is(Severity::Slow).mend(for_each(cores, online, each))
            }
        }
    };
    said.iter().map(judge).collect()
}

/// The deepest sleep that a core may fall into: its name, and how long it takes to wake, in microseconds.
fn deepest(root: &Root, core: usize) -> Option<(String, u64)> {
    let dir = format!("{CPU}/cpu{core}/cpuidle");
    let states = root.list(&dir).into_iter().filter_map(|state| {
        let of = |what: &str| root.text(&format!("{dir}/{state}/{what}"));
        let allowed = of("disable").is_none_or(|disabled| disabled == "0");
        let wakes: u64 = of("latency")?.parse().ok()?;
        allowed.then_some((of("name")?, wakes))
    });
    states.max_by_key(|(_, wakes)| *wakes)
}

fn sleep(root: &Root, online: &[usize], cores: &[usize]) -> Vec<Finding> {
    const WHY: &str = "a core that sleeps takes so long to wake for a packet; a thread with --idle spin keeps its own core awake, not the one that takes the interrupts";
    let said = grouped(cores, |core| deepest(root, core));
    if said.is_empty() {
        let found = "the kernel puts no core to sleep (a virtual machine's host may)";
        return vec![Finding::ok("cpu.sleep", place(cores), found, WHY)];
    }
    let judge = |((name, wakes), cores): &((String, u64), Vec<usize>)| {
        let text = format!("deepest sleep {name}, {wakes} us to wake");
        let found = Finding::ok("cpu.sleep", place(cores), text, WHY);
        match *wakes {
            0..=LITTLE_SLEEP => found,
            _ => {
                let each = format!(
                    "for state in $core/cpuidle/state*; do test $(cat $state/latency) -le {LITTLE_SLEEP} || echo 1 > $state/disable; done"
                );
                found.is(Severity::Slow).mend(for_each(cores, online, &each))
            }
        }
    };
    said.iter().map(judge).collect()
}

fn siblings(root: &Root, cores: &[usize], wanted: &Wanted) -> Vec<Finding> {
    const WHY: &str = "two hyper-threads share one core: what runs on the other one takes half of its speed and of its cache";
    let said = |core| root.text(&format!("{CPU}/cpu{core}/topology/thread_siblings_list"));
    let shared: Vec<usize> = cores
        .iter()
        .copied()
        .filter(|&core| said(core).is_some_and(|text| parse(&text).len() > 1))
        .collect();
    let found = |place, text: String| Finding::ok("cpu.hyper_threads", place, text, WHY);
    if shared.is_empty() {
        return vec![found(place(cores), "no core is shared by hyper-threads".into())];
    }
    // Only whoever says which cores he uses can be told that they are shared by what he uses.
    let severity = match wanted.cores.is_empty() {
        true => Severity::Note,
        false => Severity::Slow,
    };
    let others = parse(&said(shared[0]).unwrap_or_default());
    let text = format!("hyper-threads share cores: {} are one", show(&others));
    vec![
        found(place(&shared), text)
            .is(severity)
            .mend(format!("echo off > /{CPU}/smt/control")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::testing::{one, verdict, wanted};
    use crate::doctor::root::machine;

    /// Eight cores of a server as it comes: powersave, deep sleep, hyper-threads, nothing set aside.
    fn server(more: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let mut files: Vec<(String, String)> = vec![
            (format!("{CPU}/online"), "0-7".into()),
            (format!("{CPU}/isolated"), String::new()),
            (format!("{CPU}/nohz_full"), "(null)".into()),
        ];
        for core in 0..8 {
            let of = |what: &str, value: &str| (format!("{CPU}/cpu{core}/{what}"), value.to_string());
            files.extend([
                of("cpufreq/scaling_governor", "powersave"),
                of(
                    "topology/thread_siblings_list",
                    &format!("{},{}", core % 4, core % 4 + 4),
                ),
                of("cpuidle/state0/name", "POLL"),
                of("cpuidle/state0/latency", "0"),
                of("cpuidle/state0/disable", "0"),
                of("cpuidle/state1/name", "C6"),
                of("cpuidle/state1/latency", "133"),
                of("cpuidle/state1/disable", "0"),
            ]);
        }
        files.extend(
            more.iter()
                .map(|(path, text)| (format!("{CPU}/{path}"), (*text).to_string())),
        );
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
        machine(&files)
    }

    fn with_cores(cores: &[usize]) -> Wanted {
        Wanted {
            cores: cores.to_vec(),
            ..wanted()
        }
    }

    #[test]
    fn a_server_as_it_comes_costs_time_and_each_setting_has_its_command() {
        let (_dir, root) = server(&[]);
        let findings = check(&root, &wanted());
        let (severity, command) = verdict(&findings, "cpu.isolated");
        assert_eq!(severity, Severity::Slow);
        assert!(
            command
                .unwrap()
                .contains("isolcpus=managed_irq,domain,6-7 nohz_full=6-7"),
            "{command:?}"
        );
        assert_eq!(verdict(&findings, "cpu.tick"), (Severity::Slow, command));
        assert_eq!(
            verdict(&findings, "cpu.governor"),
            (
                Severity::Slow,
                Some(
                    "for core in /sys/devices/system/cpu/cpu[0-9]*; do echo performance > $core/cpufreq/scaling_governor; done"
                )
            )
        );
        let sleep = one(&findings, "cpu.sleep");
        assert_eq!(
            (sleep.severity, &*sleep.found),
            (Severity::Slow, "deepest sleep C6, 133 us to wake")
        );
        assert_eq!(
            verdict(&findings, "cpu.hyper_threads"),
            (
                Severity::Note,
                Some("echo off > /sys/devices/system/cpu/smt/control")
            )
        );
    }

    #[test]
    fn of_the_cores_that_are_named_only_those_are_judged() {
        let (_dir, root) = server(&[
            ("isolated", "2-3"),
            ("nohz_full", "2-3"),
            ("cpu2/cpufreq/scaling_governor", "performance"),
            ("cpu2/cpuidle/state1/disable", "1"),
        ]);
        let findings = check(&root, &with_cores(&[2]));
        for (name, severity) in [
            ("cpu.isolated", Severity::Ok),
            ("cpu.tick", Severity::Ok),
            ("cpu.governor", Severity::Ok),
            ("cpu.sleep", Severity::Ok),
            ("cpu.hyper_threads", Severity::Slow),
        ] {
            assert_eq!(one(&findings, name).severity, severity, "{name}");
        }
        let findings = check(&root, &with_cores(&[2, 5]));
        assert!(one(&findings, "cpu.isolated").found.contains("but not core 5"));
        let governors = findings.iter().filter(|finding| finding.check == "cpu.governor");
        let commands: Vec<_> = governors.map(|finding| finding.command.as_deref()).collect();
        assert_eq!(commands[0], None);
        assert!(
            commands[1]
                .unwrap()
                .starts_with("for core in /sys/devices/system/cpu/cpu5; do")
        );
    }

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let (_dir, root) = server(&[]);
        let findings = check(&root, &with_cores(&[64]));
        assert_eq!(one(&findings, "cpu.online").place, "core 64");
    }

    #[test]
    fn a_small_virtual_machine_cannot_spare_a_core_and_is_not_told_to() {
        let (_dir, root) = machine(&[(&format!("{CPU}/online"), "0-1")]);
        for finding in check(&root, &wanted()) {
            assert!(
                finding.severity <= Severity::Note && finding.command.is_none(),
                "{finding:?}"
            );
        }
    }
}
