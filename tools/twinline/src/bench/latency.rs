//! `twinline bench latency`: publish call to delivery, and on to a reader of the ring.

use super::Part;
use super::ground::{Ground, IoArg};
use super::output::Output;
use crate::units;
use clap::Args;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;
use twinline_benches::harness::bed::BedConfig;
use twinline_benches::harness::slice::LONGEST;
use twinline_benches::latency::{self, Mix, Options, Size};

/// One way: from the publish call to delivery in the listener, and on to a program that reads its ring.
///
/// One process: the publisher on one core, the listener daemon on another. Beside it, slice by slice, the barest program that
/// sends and receives the same bytes at the same times; with --io xdp two of them, the barest through AF_XDP and the barest
/// through sockets. Latencies count from the intended send time, so that a late sender does not hide its lateness. Where the
/// time goes is stamped in slices of its own.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  twinline bench latency --brief
  twinline bench latency --brief --html /tmp/latency.html --hgrm /tmp/latency
  twinline bench latency --brief --rate 1k,20k --size message,packet --burst 32@5ms
  twinline bench latency --brief --itch day.itch50.gz --speed 10
  twinline bench latency --brief --io xdp

Without --brief the usual run takes about a minute: 200 rounds of 25 ms of each side.")]
pub(super) struct Latency {
    /// What the lines go through; xdp makes interfaces of its own, so not with --interface
    #[arg(
        long,
        value_name = "HOW",
        value_enum,
        default_value = "socket",
        conflicts_with = "interface"
    )]
    io: IoArg,
    /// Sends a second, as in 50k; several: one after the other [default: 50k, unless --burst or --itch is given]
    #[arg(long, value_name = "RATE", value_delimiter = ',', value_parser = units::rate)]
    rate: Vec<NonZeroU64>,
    /// What is sent at once: one message of about 64 bytes, or a packet full of them
    #[arg(
        long,
        value_name = "SIZE",
        value_delimiter = ',',
        value_enum,
        default_value = "message"
    )]
    size: Vec<SizeArg>,
    /// Bursts: so many sends at once, again and again, as in 32@1ms
    #[arg(long, value_name = "COUNT@TIME", value_delimiter = ',', value_parser = burst)]
    burst: Vec<(u64, Duration)>,
    /// The messages of an ITCH 5.0 file, plain or gzip, at their own pace
    #[arg(long, value_name = "FILE")]
    itch: Option<PathBuf>,
    /// So many times faster than their own pace
    #[arg(long, value_name = "FACTOR", default_value_t = 1_000.0, requires = "itch", value_parser = speed)]
    speed: f64,
    /// Rounds that count, of a slice of each side
    #[arg(long, value_name = "COUNT", default_value_t = 200, conflicts_with = "brief")]
    rounds: usize,
    /// Rounds before those
    #[arg(long, value_name = "COUNT", default_value_t = 5, conflicts_with = "brief")]
    warm_up: usize,
    /// How long a slice is, at most 100ms
    #[arg(long, value_name = "TIME", default_value = "25ms", value_parser = slice)]
    slice: Duration,
    #[command(flatten)]
    ground: Ground,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SizeArg {
    /// One message of about 64 bytes
    Message,
    /// A packet full of them
    Packet,
}

impl Latency {
    pub(super) fn part(&self) -> Part<'_> {
        let options = Options {
            mixes: self.mixes(),
            rounds: self.rounds,
            warm_up: self.warm_up,
            slice: self.slice,
            ..Options::default()
        };
        part(options, self.io, &self.ground, self.output.brief)
    }

    fn mixes(&self) -> Vec<Mix> {
        let mut mixes = Vec::new();
        for size in &self.size {
            let size = match size {
                SizeArg::Message => Size::Message,
                SizeArg::Packet => Size::Packet,
            };
            mixes.extend(self.rate.iter().map(|rate| Mix::Rate {
                size,
                per_second: rate.get(),
            }));
            mixes.extend(
                self.burst
                    .iter()
                    .map(|&(sends, every)| Mix::Bursts { size, sends, every }),
            );
            if self.rate.is_empty() && self.burst.is_empty() && self.itch.is_none() {
                mixes.push(Mix::Rate {
                    size,
                    per_second: 50_000,
                });
            }
        }
        mixes.extend(self.itch.iter().map(|file| Mix::Itch {
            file: file.clone(),
            factor: self.speed,
        }));
        mixes
    }
}

/// Latency with these options, through this, on this ground.
pub(super) fn part<'a>(options: Options, io: IoArg, ground: &Ground, brief: bool) -> Part<'a> {
    let mut options = Options {
        bed: BedConfig {
            io: io.into(),
            ..ground.bed(options.bed)
        },
        ..options
    };
    if brief {
        (options.rounds, options.warm_up, options.stages) = (3, 1, 1);
        options.slice = options.slice.min(Duration::from_millis(20));
    }
    Box::new(move |watch| latency::run(&options, watch))
}

fn burst(text: &str) -> Result<(u64, Duration), String> {
    let parts = text.split_once('@');
    let burst = parts.and_then(|(sends, every)| Some((sends.parse().ok()?, units::duration(every).ok()?)));
    burst
        .filter(|(sends, every)| *sends > 0 && !every.is_zero())
        .ok_or_else(|| format!("{text:?} are not bursts: write 32@1ms"))
}

fn slice(text: &str) -> Result<Duration, String> {
    let slice = units::duration(text)?;
    match (1_000_000..=u128::from(LONGEST)).contains(&slice.as_nanos()) {
        true => Ok(slice),
        false => Err(format!("{text} is not from 1ms to 100ms")),
    }
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text
        .parse()
        .ok()
        .filter(|speed: &f64| speed.is_finite() && *speed > 0.0);
    speed.ok_or_else(|| format!("{text:?} is not a factor: write 1, 10 or 0.5"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_slices_and_speeds_are_read() {
        assert_eq!(burst("32@1ms"), Ok((32, Duration::from_millis(1))));
        assert!(
            ["0@1ms", "32@0ms", "32", "x@1ms"]
                .iter()
                .all(|wrong| burst(wrong).is_err())
        );
        assert_eq!(slice("50ms"), Ok(Duration::from_millis(50)));
        assert!(slice("101ms").is_err() && slice("10us").is_err());
        assert_eq!(speed("0.5"), Ok(0.5));
        assert!(speed("0").is_err() && speed("inf").is_err());
    }
}
