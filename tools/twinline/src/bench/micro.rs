//! `twinline bench micro`: what each message passes, piece by piece.

use super::Part;
use super::output::Output;
use clap::Args;
use twinline_benches::harness::error::BenchError;
use twinline_benches::harness::result::{Figure, Section, Value};

/// What each message passes on its way, piece by piece, on one thread.
///
/// Encode, check, arbitrate, journal, hand over in the ring: each in rounds beside the barest loop over the same packets.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  twinline bench micro --brief")]
pub(super) struct Micro {
    #[command(flatten)]
    pub(super) output: Output,
}

impl Micro {
    pub(super) fn part(&self) -> Part<'_> {
        part(self.output.brief)
    }
}

/// The pieces.
pub(super) fn part<'a>(brief: bool) -> Part<'a> {
    Box::new(move |watch| {
        watch.step("micro", 0, 1)?;
        let rounds = if brief { 3 } else { 2_001 };
        let measures =
            twinline_benches::micro(rounds).map_err(|error| BenchError::Broken(error.to_string()))?;
        let figures = measures.iter().map(|measure| Figure {
            name: measure.name.into(),
            unit: format!("ns a {}", measure.unit),
            value: Value::Single(measure.nanoseconds),
            goal: None,
            note: Some(format!("{:.1} times the floor, a packet", measure.to_floor)),
        });
        Ok(Section {
            name: "micro".into(),
            title: "What each message passes".into(),
            how: vec![format!(
                "One thread, everything in its caches. {rounds} rounds of all pieces in turn; the medians."
            )],
            figures: figures.collect(),
            ..Section::default()
        })
    })
}
