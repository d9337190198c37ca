//! How fast what both lines lost is there again, beside bare TCP: one gap, a large part of the journal, and many clients
//! that ask for the same at once while the feed goes on.
//!
//! Publisher, recovery service and listener are the real ones, on loopback in one process. Each part runs in rounds: ours,
//! then the barest program that moves the same bytes; reported are the medians of the rounds' ratios.

mod bare;
pub(crate) mod bed;
mod burst;
mod clients;
mod fill;
mod replay;

use crate::harness::median::Median;
use crate::harness::result::{Figure, Goal, Section, Value};
use std::error::Error;
use std::time::Duration;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Options {
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
    /// Just enough to see that everything works.
    pub fn brief() -> Self {
        Self {
            rounds: 2,
            gaps: 5,
            replay: 8 << 20,
            clients: 8,
            messages: 2_000,
            seconds: 1,
        }
    }
}

/// Measures recovery.
///
/// # Errors
/// If something cannot be opened, fails, or does not come in time.
pub fn run(options: &Options) -> Result<Section> {
    let mut section = Section {
        name: "recovery".into(),
        title: "Recovery beside bare TCP".into(),
        how: vec![format!(
            "Publisher, recovery service and clients on core {}, the listener on core {}, or what stands in for them. \
             Everything on loopback. {} rounds.",
            bed::CORE,
            bed::LISTENER_CORE,
            options.rounds
        )],
        ..Section::default()
    };
    fill::run(options, &mut section)?;
    replay::run(options, &mut section)?;
    burst::run(options, &mut section)?;
    section.not_measured = vec![
        "Recovery over a real network: loopback has no bandwidth to share and no way to travel.".into(),
        "Recovery under TLS.".into(),
    ];
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
        let section = run(&Options::brief()).expect("loopback works");
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
