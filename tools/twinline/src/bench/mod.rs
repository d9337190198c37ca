//! `twinline bench`: latency, throughput and the rest, each beside a floor of the same run, on the machine that is to be
//! judged.
//!
//! What is measured is in the package `twinline-benches`; each benchmark there returns a [`Section`]. Here they become
//! a report: a table, JSON, histogram files, a page.

mod fanout;
mod ground;
mod hgrm;
mod html;
mod latency;
mod machine;
mod micro;
mod output;
pub(crate) mod progress;
mod recovery;
mod show;
mod table;
mod throughput;

use crate::cli::Global;
use crate::exit::{Failure, Finish};
use crate::signals;
use crate::summary::Summary;
use clap::{Args, Subcommand};
use ground::{Ground, IoArg};
use output::Output;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use twinline_benches::fanout::Options as FanoutOptions;
use twinline_benches::harness::clock::Clock;
use twinline_benches::harness::error::BenchError;
use twinline_benches::harness::result::{Report, Section};
use twinline_benches::harness::watch::Watch;
use twinline_benches::latency::{Mix, Options as LatencyOptions};
use twinline_benches::recovery::Options as RecoveryOptions;
use twinline_benches::throughput::Options as ThroughputOptions;

/// Measure latency, throughput and the rest on this machine, each beside a floor of the same run.
///
/// A figure alone says more about the machine than about the program: so each benchmark runs the barest program that does the
/// same beside it, slice by slice, and reports the ratio, with the interval that it lies in. Rounds that other programs
/// or the hypervisor disturbed are dropped from both sides and counted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  twinline bench latency --brief
  twinline bench all --brief --html /tmp/report.html

Run it without --brief on a quiet machine for figures that mean something. docs/benchmarks.md says how to read them.")]
pub(crate) struct Bench {
    #[command(subcommand)]
    which: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    Latency(latency::Latency),
    Throughput(throughput::Throughput),
    Recovery(recovery::Recovery),
    Fanout(fanout::Fanout),
    Micro(micro::Micro),
    All(All),
}

/// Every benchmark, one after the other, as one report.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  twinline bench all --brief --html /tmp/report.html")]
struct All {
    /// One symbol's ITCH 5.0 messages, plain or gzip, for the benchmarks that want real ones
    #[arg(long, value_name = "FILE")]
    itch: Option<PathBuf>,
    #[command(flatten)]
    ground: Ground,
    #[command(flatten)]
    output: Output,
}

impl All {
    fn parts(&self) -> Vec<Part<'_>> {
        let (ground, brief) = (&self.ground, self.output.brief);
        let itch = self.itch.as_deref();
        let mut latency = LatencyOptions::default();
        latency.mixes.extend(itch.map(|file| Mix::Itch {
            file: file.into(),
            factor: 1_000.0,
        }));
        let mut parts = vec![
            latency::part(latency.clone(), IoArg::Socket, ground, brief),
            latency::part(latency, IoArg::Xdp, ground, brief),
            throughput::part(ThroughputOptions::default(), IoArg::Socket, itch, ground, brief),
            throughput::part(ThroughputOptions::default(), IoArg::Xdp, itch, ground, brief),
            recovery::part(RecoveryOptions::default(), ground, brief),
            fanout::part(FanoutOptions::default(), IoArg::Socket, brief),
            fanout::part(FanoutOptions::default(), IoArg::Xdp, brief),
        ];
        parts.extend(micro::parts(itch, brief));
        parts
    }
}

/// A benchmark that is ready to run.
type Part<'a> = Box<dyn FnOnce(&Watch) -> Result<Section, BenchError> + 'a>;

/// Runs `twinline bench`.
pub(crate) fn run(args: &Bench, global: &Global) -> Result<Finish, Failure> {
    match &args.which {
        Which::Latency(args) => report("bench latency", vec![args.part()], &args.output, global),
        Which::Throughput(args) => report("bench throughput", vec![args.part()], &args.output, global),
        Which::Recovery(args) => report("bench recovery", vec![args.part()], &args.output, global),
        Which::Fanout(args) => report("bench fanout", vec![args.part()], &args.output, global),
        Which::Micro(args) => report("bench micro", args.parts(), &args.output, global),
        Which::All(args) => report("bench all", args.parts(), &args.output, global),
    }
}

/// Runs the benchmarks one after the other and shows what they say.
fn report(name: &str, parts: Vec<Part<'_>>, output: &Output, global: &Global) -> Result<Finish, Failure> {
    output.check()?;
    let stop = signals::stop_flag()?;
    let progress = progress::Progress::new("bench", global.progress);
    let watch = Watch::new(move |step| progress.show(step), stop.clone());
    let (clock, started) = (Clock::new(), Instant::now());
    let mut report = Report {
        machine: machine::this(),
        started: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        seconds: 0.0,
        drift: clock.check(),
        brief: output.brief,
        sections: Vec::new(),
    };
    for part in parts {
        if stop.load(Ordering::Relaxed) {
            return Err(BenchError::Stopped.into());
        }
        report.sections.push(part(&watch)?);
    }
    progress::clear(global.progress);
    report.seconds = started.elapsed().as_secs_f64();
    report.drift = clock.check();
    let mut summary = Summary::new(name);
    summary.own_text = table::text(&report);
    summary.set("report", &report);
    let written = output.write(&report)?;
    summary.set("written", &written);
    for path in &written {
        summary.own_text += &format!("{path} written\n");
    }
    Ok(match output.judge(&report) {
        None => Finish::success(summary),
        Some(failure) => Finish::failed(summary, failure),
    })
}
