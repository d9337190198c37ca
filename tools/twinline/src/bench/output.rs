//! Where a report goes, and whether it is good enough.

use super::{hgrm, html};
use crate::exit::{Exit, Failure};
use clap::Args;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
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
    /// Write the report as one page that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write each distribution as an HdrHistogram percentile file into this directory
    #[arg(long, value_name = "DIR")]
    hgrm: Option<PathBuf>,
}

impl Output {
    /// That what is to be written can be, before anything is measured.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if let Some(dir) = &self.hgrm {
            fs::create_dir_all(dir).map_err(|cause| cannot("make", dir, &cause))?;
        }
        if let Some(path) = &self.html {
            let opened = fs::OpenOptions::new().create(true).append(true).open(path);
            opened.map_err(|cause| cannot("write", path, &cause))?;
        }
        Ok(())
    }

    /// Writes the files that are asked for; their paths.
    pub(super) fn write(&self, report: &Report) -> Result<Vec<String>, Failure> {
        let mut written = Vec::new();
        let mut write = |path: &Path, text: String| {
            fs::write(path, text).map_err(|cause| cannot("write", path, &cause))?;
            written.push(path.display().to_string());
            Ok::<_, Failure>(())
        };
        if let Some(path) = &self.html {
            write(path, html::page(report))?;
        }
        if let Some(dir) = &self.hgrm {
            for section in &report.sections {
                for distribution in &section.distributions {
                    let path = dir.join(hgrm::name(&section.name, distribution));
                    write(&path, hgrm::text(distribution))?;
                }
            }
        }
        Ok(written)
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

fn cannot(what: &str, path: &Path, cause: &io::Error) -> Failure {
    Failure::error(format!(
        "cannot {what} {}: {cause}: check the path and its permissions",
        path.display()
    ))
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
