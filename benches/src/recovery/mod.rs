//! How fast what both lines lost is there again, beside bare TCP: one gap, a large part of the journal, and many clients
//! that ask for the same at once while the feed goes on.
//!
//! Publisher, recovery service and listener are the real ones, on loopback in one process. Each part runs in rounds: ours,
//! then the barest program that moves the same bytes; reported are the medians of the rounds' ratios.

mod bare;
mod burst;
mod clients;
pub(crate) mod feed;
mod fill;
mod replay;
mod watching;

use crate::harness::bed::BedConfig;
use crate::harness::error::BenchError;
use crate::harness::median::Median;
use crate::harness::result::{Figure, Goal, Section, Value};
use crate::harness::watch::Watch;
use std::time::Duration;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Lines, journals, cores. It has a ring, and keeps all segments, whatever this says.
    pub bed: BedConfig,
    /// Rounds of the parts that are compared round by round.
    pub rounds: usize,
    /// Gaps in a round.
    pub gaps: usize,
    /// Bytes of journal that one client asks for.
    pub replay: u64,
    /// Clients that ask at once.
    pub clients: usize,
    /// Messages that each of them asks for.
    pub messages: u64,
    /// Seconds of the live feed with bursts, and as many without.
    pub seconds: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bed: BedConfig {
                cores: Some([0, 1]),
                ..BedConfig::default()
            },
            rounds: 50,
            gaps: 40,
            replay: 256 << 20,
            clients: 60,
            messages: 10_000,
            seconds: 10,
        }
    }
}

impl Options {
    /// The same, just enough to see that everything works.
    pub fn brief(self) -> Self {
        Self {
            bed: self.bed,
            rounds: 2,
            gaps: 5,
            replay: 8 << 20,
            clients: 8,
            messages: 2_000,
            seconds: 1,
        }
    }

    /// The publisher's core (0), or the listener's (1).
    fn core(&self, which: usize) -> Option<usize> {
        self.bed.cores.map(|cores| cores[which])
    }
}

/// Measures recovery.
///
/// # Errors
/// If something cannot be opened, fails, or does not come in time.
pub fn run(options: &Options, watch: &Watch) -> Result<Section, BenchError> {
    let options = Options {
        bed: BedConfig {
            ring: Some(32 << 20),
            segments: None,
            ..options.bed.clone()
        },
        ..options.clone()
    };
    measure(&options, watch)
}

fn measure(options: &Options, watch: &Watch) -> Result<Section, BenchError> {
    let mut section = Section {
        name: "recovery".into(),
        title: "Recovery beside bare TCP".into(),
        how: vec![
            options.bed.say_cores(),
            format!(
                "The recovery service, and the end of bare TCP that sends, are on the publisher's core; clients, and the \
                 end that receives, on the listener's. {} rounds of each part, ours and bare in turn.",
                options.rounds
            ),
        ],
        not_measured: vec![
            "Recovery over a network: loopback has no bandwidth to share and no way to travel.".into(),
            "Recovery under TLS.".into(),
        ],
        ..Section::default()
    };
    fill::run(options, &mut section, watch)?;
    replay::run(options, &mut section, watch)?;
    burst::run(options, &mut section, watch)?;
    Ok(section)
}

/// A ratio, with what it should be.
fn ratio(name: &str, value: Median, goal: Option<Goal>, note: Option<String>) -> Figure {
    figure(name, "x", Value::Median(value), goal, note)
}

fn figure(name: &str, unit: &str, value: Value, goal: Option<Goal>, note: Option<String>) -> Figure {
    Figure {
        name: name.into(),
        unit: unit.into(),
        value,
        goal,
        note,
    }
}

/// Times of rounds in seconds.
fn seconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(Duration::as_secs_f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_recovery_is_measured_beside_its_floor() {
        let section = run(&Options::default().brief(), &Watch::silent()).expect("loopback works");
        let goals: Vec<&str> = section
            .figures
            .iter()
            .filter(|figure| figure.goal.is_some())
            .map(|figure| figure.name.as_str())
            .collect();
        assert_eq!(
            goals,
            [
                "gap to filled, p50 to a bare request and reply",
                "bulk replay, rate to a bare stream",
                "many clients at once, the last to a bare stream",
                "live feed, p50 with bursts to quiet",
            ]
        );
        for figure in &section.figures {
            assert!(figure.value.middle() > 0.0, "{figure:?}");
        }
        assert!(section.distributions.iter().all(|of| of.count > 0));
    }
}
