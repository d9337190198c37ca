//! Appending to the own journal under each sync policy, in rounds of their own: one that waits for the device lets the
//! caches of all other pieces go cold, and one that a helper thread syncs shares them.

use super::load::Load;
use super::pieces::{self, Own};
use super::{Measure, time};
use crate::harness::median::Median;
use std::path::Path;
use std::time::{Duration, Instant};
use twinline_journal::{JournalError, SyncPolicy};

/// Packets of one round, behind as many that warm it up: not more than any device takes in that time. Not 32: those fill
/// whole pages, so each round would copy over the same distance modulo a page, and some distances take twice the time.
const PACKETS: usize = 31;

/// The same, where the device is waited for with each.
const WAITED_FOR: usize = 2;

/// A journal of one policy.
struct Journal {
    name: &'static str,
    own: Own,
    /// What is appended in a round, the first half to warm up.
    load: Load,
    times: Vec<f64>,
}

impl Journal {
    fn create(
        name: &'static str,
        dir: &Path,
        sync: SyncPolicy,
        packets: usize,
    ) -> Result<Self, JournalError> {
        Ok(Self {
            name,
            own: Own::create(dir, sync)?,
            load: Load::new(2 * packets),
            times: Vec::new(),
        })
    }

    fn round(&mut self) -> Result<(), JournalError> {
        let packets = self.load.checked();
        let (warm, measured) = packets.split_at(packets.len() / 2);
        self.own.append(warm)?;
        let start = Instant::now();
        self.own.append(measured)?;
        let time = start.elapsed().as_nanos() as f64;
        self.times.push(time / measured.len() as f64);
        self.load.go_on();
        Ok(())
    }
}

/// One for each policy, in directories in `dir`.
fn journals(dir: &Path) -> Result<[Journal; 3], JournalError> {
    Ok([
        Journal::create(
            "append to the own journal, sync none",
            &dir.join("none"),
            SyncPolicy::None,
            PACKETS,
        )?,
        Journal::create(
            "append to the own journal, sync 10ms",
            &dir.join("10ms"),
            SyncPolicy::Every(Duration::from_millis(10)),
            PACKETS,
        )?,
        Journal::create(
            "append, sync packet: waits for the device",
            &dir.join("packet"),
            SyncPolicy::EveryPacket,
            WAITED_FOR,
        )?,
    ])
}

/// Measures each policy in `rounds` interleaved rounds, the journals in directories in `dir`.
pub(super) fn measure(rounds: usize, dir: &Path) -> Result<Vec<Measure>, JournalError> {
    let mut journals = journals(dir)?;
    let load = Load::new(PACKETS);
    let mut floors = Vec::new();
    for _ in 0..rounds {
        pieces::floor(&load);
        floors.push(time(|| pieces::floor(&load)).as_nanos() as f64 / PACKETS as f64);
        journals.iter_mut().try_for_each(Journal::round)?;
    }
    let measures = journals.iter().map(|journal| Measure {
        name: journal.name,
        unit: "packet",
        nanoseconds: Median::of(&journal.times),
        to_floor: Median::of_ratios(&journal.times, &floors),
        goal: None,
    });
    Ok(measures.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_the_device_is_waited_for_every_packet_is_durable_once_it_is_appended() {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let [mut none, mut every, mut waiting] = journals(dir.path()).expect("they can be made");
        for journal in [&mut none, &mut every, &mut waiting] {
            (0..3).for_each(|_| journal.round().expect("it can be written"));
            assert_eq!(journal.times.len(), 3);
        }
        let counts = |journal: &Journal| {
            let counts = journal.own.0.watch().counts();
            (counts.sync_times.len(), counts.unsynced_bytes > 0)
        };
        assert_eq!(counts(&none), (0, true));
        // And the session's start.
        assert_eq!(counts(&waiting), (3 * 2 * WAITED_FOR as u64 + 1, false));
    }
}
