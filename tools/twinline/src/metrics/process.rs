//! What is the same for every daemon: build, start, processor time, memory, warnings.

use super::{Monitor, Page};
use crate::usage;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in seconds since the Unix epoch: the daemon's start, to be taken when it starts.
pub(super) fn started() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

pub(super) fn fill(page: &mut Page, monitor: &Monitor) {
    let build = [("version", env!("CARGO_PKG_VERSION")), ("daemon", monitor.daemon)];
    page.of(&build).gauge(
        "twinline_build_info",
        "Always 1; the version and which daemon it is",
        1,
    );
    let mut of = page.of(&[]);
    of.gauge_of(
        "process_start_time_seconds",
        "When the process started, since the Unix epoch",
        monitor.started,
    );
    if let Some(usage) = usage::own() {
        of.counter_of(
            "process_cpu_seconds_total",
            "Processor time used, in user and system mode",
            super::page::seconds(usage.cpu_user_ns + usage.cpu_system_ns),
        );
    }
    if let Some(resident) = usage::resident() {
        of.gauge(
            "process_resident_memory_bytes",
            "Memory that is resident, mapped journals counted",
            resident,
        );
    }
    of.counter(
        "twinline_warnings_total",
        "Warnings said on stderr, each text once",
        monitor.warnings.load(Ordering::Relaxed),
    );
}
