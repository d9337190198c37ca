//! `twinline bench fanout`: how far apart many listeners have a message.

use super::Part;
use super::ground::IoArg;
use super::output::Output;
use clap::Args;
use twinline_benches::fanout::{self, Options};

/// From the first listener that has a message to the last: 1 to 60 of them, each in a network namespace of its own.
///
/// The namespaces and the bridges between them are made for it and removed behind it, whatever ends it. Needs root and iproute2;
/// without them it says so, and measures nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  twinline bench fanout --brief
  twinline bench fanout --listeners 1,10,60
  twinline bench fanout --brief --io xdp

Without --brief it takes about a minute.")]
pub(super) struct Fanout {
    /// What the lines go through
    #[arg(long, value_name = "HOW", value_enum, default_value = "socket")]
    io: IoArg,
    /// Numbers of listeners, rising [default: 1,2,5,10,20,40,60]
    #[arg(long, value_name = "COUNT", value_delimiter = ',', conflicts_with = "brief", value_parser = clap::value_parser!(u16).range(1..=250))]
    listeners: Vec<u16>,
    #[command(flatten)]
    pub(super) output: Output,
}

impl Fanout {
    pub(super) fn part(&self) -> Part<'_> {
        let mut options = Options::default();
        if !self.listeners.is_empty() {
            options.listeners = self.listeners.iter().map(|&count| count.into()).collect();
        }
        part(options, self.io, self.output.brief)
    }
}

/// Fan-out with these options, through this.
pub(super) fn part<'a>(options: Options, io: IoArg, brief: bool) -> Part<'a> {
    let mut options = if brief { options.brief() } else { options };
    options.bed.io = io.into();
    Box::new(move |watch| fanout::run(&options, watch))
}
