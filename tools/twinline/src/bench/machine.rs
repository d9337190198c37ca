//! The machine, as far as it bears on figures. No name of it: reports are shown around.

use std::fs;
use std::thread;
use twinline_benches::harness::result::Machine;

/// What a file of the kernel says; empty if there is no such file.
fn read(path: &str) -> String {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// The value behind `key` and a colon in a file of the kernel.
fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

/// This machine.
pub(super) fn this() -> Machine {
    let cpu = read("/proc/cpuinfo");
    let is_virtual =
        value(&cpu, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let vendor = Some(read("/sys/class/dmi/id/sys_vendor")).filter(|vendor| !vendor.is_empty());
    let memory = read("/proc/meminfo");
    let kib = value(&memory, "MemTotal").and_then(|total| total.split(' ').next()?.parse::<u64>().ok());
    Machine {
        processor: value(&cpu, "model name").unwrap_or(std::env::consts::ARCH).into(),
        cores: thread::available_parallelism().map_or(1, usize::from),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        hypervisor: is_virtual.then(|| vendor.unwrap_or_else(|| "one that does not say its name".into())),
        memory: kib.unwrap_or(0) << 10,
        load: read("/proc/loadavg")
            .split(' ')
            .next()
            .and_then(|load| load.parse().ok())
            .unwrap_or(f64::NAN),
    }
}
