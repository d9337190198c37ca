//! What a process, and the whole machine, cost: processor time and memory, as the kernel counts them.

use crate::summary::UsageSummary;
use std::fs;

/// What this process has used so far; nothing where the kernel does not tell.
pub(crate) fn own() -> Option<UsageSummary> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let (user, system) = times(&stat)?;
    let nanos_a_tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
    let memory = |name| kibibytes(&status, name).map(|kibibytes| kibibytes * 1024);
    Some(UsageSummary {
        cpu_user_ns: user * nanos_a_tick,
        cpu_system_ns: system * nanos_a_tick,
        memory_peak: memory("VmHWM:")?,
        memory_anonymous: memory("RssAnon:")?,
    })
}

/// Bytes of this process that are resident now, mapped files counted; nothing where the kernel does not tell.
pub(crate) fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    kibibytes(&status, "VmRSS:").map(|kibibytes| kibibytes * 1024)
}

/// Ticks in user and in system mode: fields 14 and 15, counted behind the name, which may hold anything.
fn times(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Time that all cores of the machine have spent since it started, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    busy: u64,
    all: u64,
}

impl Machine {
    /// Now; nothing where the kernel does not tell.
    pub(crate) fn now() -> Option<Self> {
        Self::read(&fs::read_to_string("/proc/stat").ok()?)
    }

    fn read(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of user and nice.
        let fields: Vec<u64> = line
            .split_whitespace()
            .take(8)
            .filter_map(|field| field.parse().ok())
            .collect();
        let idle: u64 = fields.get(3..5)?.iter().sum();
        let all: u64 = fields.iter().sum();
        Some(Self {
            busy: all - idle,
            all,
        })
    }

    /// The share of all cores' time since `before` in which they were busy, whoever it was for, from 0 to 1.
    pub(crate) fn busy_since(self, before: Self) -> f64 {
        (self.busy - before.busy) as f64 / (self.all - before.all).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 14 15 0 0 20";
        assert_eq!(times(stat), Some((14, 15)));
        assert_eq!(
            kibibytes("VmHWM:\t  12 kB\nRssAnon:\t 7 kB\n", "RssAnon:"),
            Some(7)
        );
        let before = Machine::read("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1 1\n").unwrap();
        let after = Machine::read("cpu  30 0 40 90 20 5 5 10 0 0\n").unwrap();
        assert_eq!(after.busy_since(before), 0.7);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = own().unwrap();
        assert!(usage.memory_peak >= usage.memory_anonymous && usage.memory_anonymous > 0);
    }
}
