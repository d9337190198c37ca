//! `twinline bench micro`: what each message passes, piece by piece.

use super::Part;
use super::output::Output;
use clap::Args;
use std::path::{Path, PathBuf};
use twinline_benches::encode;
use twinline_benches::harness::error::BenchError;
use twinline_benches::harness::result::{Figure, Section, Value};

/// What each message passes on its way, piece by piece, on one thread.
///
/// Encode, check, arbitrate, journal, hand over in the ring: each in rounds beside the barest loop over the same packets. The
/// listener's journal under each sync policy, in the directory for temporary files (TMPDIR). Then the way from an ITCH message
/// to SBE in the journal.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  twinline bench micro --brief\n  twinline bench micro --brief --itch day.itch50.gz"
)]
pub(super) struct Micro {
    /// One symbol's ITCH 5.0 messages, plain or gzip, that 100 symbols replay [default: an hour that is made up]
    #[arg(long, value_name = "FILE")]
    itch: Option<PathBuf>,
    #[command(flatten)]
    pub(super) output: Output,
}

impl Micro {
    pub(super) fn parts(&self) -> Vec<Part<'_>> {
        parts(self.itch.as_deref(), self.output.brief)
    }
}

/// The pieces, and the way from ITCH.
pub(super) fn parts<'a>(itch: Option<&'a Path>, brief: bool) -> Vec<Part<'a>> {
    vec![pieces(brief), from_itch(itch, brief)]
}

fn from_itch(itch: Option<&Path>, brief: bool) -> Part<'_> {
    Box::new(move |watch| {
        watch.step("encode", 0, 1)?;
        let mut options = encode::Options::new(itch.map(PathBuf::from));
        if brief {
            (options.symbols, options.rounds) = (2, 3);
        }
        encode::run(&options).map_err(|error| BenchError::Broken(error.to_string()))
    })
}

fn pieces<'a>(brief: bool) -> Part<'a> {
    Box::new(move |watch| {
        watch.step("micro", 0, 1)?;
        let rounds = if brief { 3 } else { 2_001 };
        let measures =
            twinline_benches::micro(rounds).map_err(|error| BenchError::Broken(error.to_string()))?;
        let figures = measures.iter().map(|measure| Figure {
            name: measure.name.into(),
            unit: format!("ns a {}", measure.unit),
            value: Value::Median(measure.nanoseconds),
            goal: measure.goal,
            note: Some(format!(
                "{:.2} times the floor, a packet",
                measure.to_floor.median
            )),
        });
        Ok(Section {
            name: "micro".into(),
            title: "What each message passes".into(),
            how: vec![
                format!(
                    "One thread, everything in its caches. {rounds} rounds of all pieces in turn; the medians."
                ),
                format!(
                    "What is said with a sync policy: in rounds of its own, a tenth as many, beside the floor of these. The \
                     journals are in {}: where that is memory, there is no device to wait for.",
                    std::env::temp_dir().display()
                ),
            ],
            figures: figures.collect(),
            ..Section::default()
        })
    })
}
