//! How a publisher's lines are sent on.

use crate::units;
use clap::{Args, ValueEnum};
use std::num::NonZeroU64;
use twinline_line::SenderOptions;

/// How packets leave.
#[derive(Debug, Args)]
#[command(next_help_heading = "Lines")]
pub(super) struct SendingArgs {
    /// Routers that packets may cross; 1: this network only
    #[arg(long, value_name = "HOPS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    ttl: u8,
    /// While more waits, hand full packets to the kernel several at a time, cut up by it or the network card: auto (where they
    /// can), or off
    #[arg(long, value_name = "WHETHER", value_enum, default_value_t = Segmentation::Auto)]
    segmentation: Segmentation,
    /// Bits a second on the wire that a line is not to exceed, as in 9.5G: its source then waits [default: no limit]
    #[arg(long, value_name = "BITS", value_parser = units::line_rate)]
    line_rate: Option<NonZeroU64>,
}

/// Whether bursts of packets go out in one send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Segmentation {
    Auto,
    Off,
}

impl SendingArgs {
    /// The options of a channel's lines, on which packets are at most so many bytes long.
    pub(super) fn options(&self, longest: usize) -> SenderOptions {
        SenderOptions {
            longest,
            ttl: self.ttl,
            segmentation: self.segmentation == Segmentation::Auto,
            rate: self.line_rate,
            ..SenderOptions::default()
        }
    }

    /// Most packets in one send.
    pub(super) fn burst(&self) -> usize {
        match self.segmentation {
            Segmentation::Auto => usize::MAX,
            Segmentation::Off => 1,
        }
    }
}
