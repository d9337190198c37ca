//! Where a report goes, and whether it is good enough.

use crate::exit::{Exit, Failure};
use clap::Args;
use twinline_benches::harness::result::{Reached, Report};

/// What every benchmark takes.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Output {
    /// A few rounds only, to see that everything works: the figures mean nothing
    #[arg(long)]
    pub(super) brief: bool,
    /// Exit code 1 if a figure misses its limit
    #[arg(long, conflicts_with = "brief")]
    check: bool,
}

impl Output {
    /// That what is to be written can be, before anything is measured.
    pub(super) fn check(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// Writes the files that are asked for; their paths.
    pub(super) fn write(&self, _: &Report) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }

    /// What is wrong with the run, if something is.
    pub(super) fn judge(&self, report: &Report) -> Option<Failure> {
        if !report.brief && !report.drift.is_sound() {
            return Some(Failure::error(format!(
                "the processor's counter ran {:.0} parts per million off the system's clock: no figure can be trusted; \
                 see what sets the clock of this machine",
                report.drift.ppm
            )));
        }
        if !self.check {
            return None;
        }
        let missed: Vec<_> = missed(report).collect();
        (!missed.is_empty()).then(|| Failure {
            exit: Exit::Error,
            text: format!("beyond the limit: {}", missed.join("; ")),
        })
    }
}

/// The figures that are beyond their limits.
fn missed(report: &Report) -> impl Iterator<Item = String> {
    report.sections.iter().flat_map(|section| {
        let missed = section.figures.iter().filter_map(|figure| {
            let (goal, value) = (figure.goal?, figure.value.middle());
            let is = goal.reached(value) == Reached::Missed;
            is.then(|| {
                format!(
                    "{}: {} {:.3} {}, limit {}",
                    section.name, figure.name, value, figure.unit, goal.limit
                )
            })
        });
        missed.collect::<Vec<_>>()
    })
}
