//! `twinline bench recovery`: how fast what both lines lost is there again.

use super::Part;
use super::ground::Ground;
use super::output::Output;
use clap::Args;
use twinline_benches::recovery::{self, Options};

/// How fast what both lines lost is there again, beside bare TCP.
///
/// One gap, from the moment it may be asked for to the delivery of what fills it, beside a bare request and reply of the same
/// bytes. A large part of the journal for one client, beside a bare stream. Many clients that ask for the same at once, and
/// what that does to a feed that goes on meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  twinline bench recovery --brief

Without --brief it takes about two minutes.")]
pub(super) struct Recovery {
    /// Rounds that count, of each side
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().rounds, conflicts_with = "brief")]
    rounds: usize,
    /// Clients that ask at once
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().clients, conflicts_with = "brief")]
    clients: usize,
    #[command(flatten)]
    ground: Ground,
    #[command(flatten)]
    pub(super) output: Output,
}

impl Recovery {
    pub(super) fn part(&self) -> Part<'_> {
        let options = Options {
            rounds: self.rounds,
            clients: self.clients,
            ..Options::default()
        };
        part(options, &self.ground, self.output.brief)
    }
}

/// Recovery with these options, on this ground.
pub(super) fn part<'a>(options: Options, ground: &Ground, brief: bool) -> Part<'a> {
    let mut options = Options {
        bed: ground.bed(options.bed),
        ..options
    };
    if brief {
        options = options.brief();
    }
    Box::new(move |watch| recovery::run(&options, watch))
}
