//! `twinline bench throughput`: how much goes through, from parsing to in-order delivery.

use super::Part;
use super::ground::{Ground, IoArg};
use super::output::Output;
use crate::units;
use clap::Args;
use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;
use twinline_benches::harness::bed::BedConfig;
use twinline_benches::throughput::{self, Options};

/// A file system in memory.
const MEMORY: &str = "/dev/shm";

/// Messages a second, from parsing ITCH in memory to in-order delivery behind both lines and both journals.
///
/// The highest rate at which nothing is lost and recovery has next to nothing to do, found in steps and confirmed over the whole
/// time: with full packets in bursts, the same with fresh journal segments, then packet by packet. The journals are in memory
/// (/dev/shm), and once more on disk; with --dir only there. Last, as fast as the publisher can. A rate at which a message is
/// lost does not hold; it ends with an error if one is missing that the stream does not name as lost.
///
/// With --io xdp the lines go through AF_XDP between two network namespaces; beside that through sockets over the same cables,
/// packet by packet and in bursts; and, as fast as it goes, the barest sender and receiver of full packets, through AF_XDP and
/// through sockets. AF_XDP in copy mode, which is all that these cables can, has a lower ceiling than sockets with segmentation
/// offload.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  twinline bench throughput --brief
  twinline bench throughput --brief --itch day.itch50.gz --symbols 3
  twinline bench throughput --brief --io xdp

Without --brief it takes five to six minutes and, for the fresh segments, up to half of the memory or of the room in --dir.")]
pub(super) struct Throughput {
    /// What the lines go through; xdp makes interfaces of its own, so not with --interface
    #[arg(
        long,
        value_name = "HOW",
        value_enum,
        default_value = "socket",
        conflicts_with = "interface"
    )]
    io: IoArg,
    /// One symbol's ITCH 5.0 messages, plain or gzip [default: an hour that is made up]
    #[arg(long, value_name = "FILE")]
    itch: Option<PathBuf>,
    /// Symbols that replay them, a little apart
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=9_999))]
    symbols: u16,
    /// How long each run lasts
    #[arg(long = "time", value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    span: Duration,
    /// How long a step of the search for the highest rate lasts
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = units::duration)]
    step: Duration,
    #[command(flatten)]
    ground: Ground,
    #[command(flatten)]
    pub(super) output: Output,
}

impl Throughput {
    pub(super) fn part(&self) -> Part<'_> {
        let options = Options {
            symbols: self.symbols,
            span: self.span,
            step: self.step,
            ..Options::default()
        };
        part(
            options,
            self.io,
            self.itch.as_deref(),
            &self.ground,
            self.output.brief,
        )
    }
}

/// Throughput with these options, through this, of this file, on this ground.
pub(super) fn part<'a>(
    options: Options,
    io: IoArg,
    itch: Option<&Path>,
    ground: &Ground,
    brief: bool,
) -> Part<'a> {
    let mut options = Options {
        bed: BedConfig {
            io: io.into(),
            ..ground.bed(options.bed)
        },
        itch: itch.map(Into::into),
        ..options
    };
    let memory = Path::new(MEMORY);
    if options.bed.dir.is_none() && memory.is_dir() {
        options.bed.dir = Some(memory.into());
        options.beside = Some(env::temp_dir());
    }
    if brief {
        (options.symbols, options.tries) = (options.symbols.min(2), if io == IoArg::Xdp { 1 } else { 3 });
        (options.span, options.step) = (Duration::from_millis(300), Duration::from_millis(100));
        options.most = Some(100_000);
        // Room for all of them, and made in no time for each run.
        options.bed.receive_buffer = 16 << 20;
    }
    Box::new(move |watch| throughput::run(&options, watch))
}
