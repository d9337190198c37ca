//! `twinline demo`: publisher, recovery service and listeners as real processes on this machine, over a bad network, and
//! at the end a comparison of what was published with what arrived.

mod cluster;
mod place;

use crate::cli::Global;
use crate::exit::{Exit, Failure, Finish};
use crate::signals;
use crate::summary::{Summary, UsageSummary};
use crate::table::{self, LiveTable};
use crate::units;
use clap::Args;
use cluster::{Cluster, Outcome};
use place::Place;
use std::fmt::Write;
use std::num::{NonZeroU16, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;
use twinline_feed::source::pace::Pace;
use twinline_line::impair::Spec;

/// Messages a second that the generator makes if nothing else is said.
const DEFAULT_RATE: u64 = 20_000;

/// Run publisher, recovery service and listeners on this machine, and compare what arrived.
///
/// All parts are real processes that talk over loopback. Each listener sits behind an impairer that loses, duplicates
/// and reorders packets as a bad network does, each with a seed of its own; what both lines lost comes from the recovery
/// service. At the end another process compares each listener's journal with the publisher's, message by message. Exit
/// code 0 only if all are equal.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    twinline demo\n  \
    twinline demo --from day.itch50.gz --pace max --listeners 5 --json\n  \
    twinline demo --ticks 1000 --listeners 40 --idle park:2ms --impair none")]
pub(crate) struct Demo {
    /// Publish this file of NASDAQ ITCH 5.0 messages, plain or gzip, in place of made-up order flow
    #[arg(long, value_name = "FILE", conflicts_with = "length")]
    from: Option<PathBuf>,
    /// Publish a price tick a second of each of so many instruments in place of made-up order flow
    #[arg(long, value_name = "SYMBOLS", conflicts_with_all = ["from", "rate", "pace"])]
    ticks: Option<NonZeroU16>,
    /// How long the made-up market runs, at its rate
    #[arg(long = "for", value_name = "TIME", default_value = "5s", value_parser = units::duration)]
    length: Duration,
    /// max, recorded (as the times in the file say), or so many times as fast, as in 10x
    #[arg(long, conflicts_with = "rate")]
    pace: Option<Pace>,
    /// So many messages a second [default: 20000; with --from: as fast as possible]
    #[arg(long, value_name = "MESSAGES", value_parser = units::rate)]
    rate: Option<NonZeroU64>,
    /// Listeners
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    listeners: u16,
    /// What publisher and listeners do while nothing comes: spin, yield, or park:TIME; it decides what they cost
    #[arg(long, value_name = "HOW", default_value = "yield")]
    idle: String,
    /// What each listener's network does to packets, each packet of each line; none: nothing
    #[arg(
        long,
        value_name = "SPEC",
        default_value = "loss=2%,both=0.5%,dup=1%,reorder=1%,seed=7"
    )]
    impair: String,
    /// Leave the journals, and say where they are
    #[arg(long)]
    keep: bool,
}

impl Demo {
    /// The impairment; `None`: none.
    fn impairment(&self) -> Result<Option<Spec>, Failure> {
        if self.impair == "none" {
            return Ok(None);
        }
        self.impair.parse().map(Some).map_err(Failure::usage)
    }

    /// The publisher's arguments that say what it publishes and how fast.
    fn source(&self) -> Vec<String> {
        if let Some(symbols) = self.ticks {
            let ticks = (f64::from(symbols.get()) * self.length.as_secs_f64()).ceil() as u64;
            // A definition of each, and that the market opens, come first.
            let messages = ticks + u64::from(symbols.get()) + 1;
            return [
                "--generate",
                &messages.to_string(),
                "--profile",
                "ticks",
                "--symbols",
                &symbols.to_string(),
            ]
            .map(Into::into)
            .to_vec();
        }
        let mut arguments = match &self.from {
            Some(path) => vec!["--from".into(), path.display().to_string()],
            None => {
                let rate = self.rate.map_or(DEFAULT_RATE, NonZeroU64::get);
                let messages = (rate as f64 * self.length.as_secs_f64()).ceil() as u64;
                vec!["--generate".into(), messages.max(1).to_string()]
            }
        };
        match (self.rate, self.pace, &self.from) {
            (Some(rate), _, _) => arguments.extend(["--rate".into(), rate.to_string()]),
            (None, Some(pace), _) => arguments.extend(["--pace".into(), pace.to_string()]),
            (None, None, None) => arguments.extend(["--rate".into(), DEFAULT_RATE.to_string()]),
            (None, None, Some(_)) => {}
        }
        arguments
    }
}

/// Runs `twinline demo`.
pub(crate) fn run(args: &Demo, global: &Global) -> Result<Finish, Failure> {
    let impairment = args.impairment()?;
    let stop = signals::stop_flag()?;
    let place = Place::take(args.keep)?;
    let mut live = LiveTable::new(global.progress);
    if args.keep {
        live.say(&format!("the journals stay in {}", place.dir().display()));
    }
    let mut cluster = Cluster::new(&place, &stop, &mut live);
    cluster.start(
        usize::from(args.listeners),
        impairment,
        &args.source(),
        &args.idle,
    )?;
    let outcome = cluster.run()?;
    Ok(finish(outcome))
}

fn finish(outcome: Outcome) -> Finish {
    let equal = outcome.equal;
    let announced = |listener: &Summary| listener.exit_code == Some(Exit::Loss.code());
    let exit = if outcome.listeners.iter().any(announced) {
        Exit::Loss
    } else if equal {
        Exit::Success
    } else {
        Exit::Differ
    };
    let mut summary = Summary::new("demo");
    let publisher = &outcome.publisher;
    summary.messages = publisher.messages;
    summary.packets = publisher.packets;
    summary.bytes = publisher.bytes;
    summary.position.clone_from(&publisher.position);
    summary.source.clone_from(&publisher.source);
    summary.set("equal", equal);
    let kernel_drops: u64 = outcome.listeners.iter().map(Summary::kernel_drops).sum();
    summary.set("kernel_drops", kernel_drops);
    summary.set("publisher", publisher);
    summary.set("recovery_service", &outcome.recovery);
    summary.set("listeners", &outcome.listeners);
    summary.set("diff", &outcome.diff.detail);
    if let Some(busy) = outcome.busy {
        summary.set("machine_busy", busy);
    }
    summary.own_text = text(&outcome, kernel_drops);
    Finish::with(summary, exit)
}

fn text(outcome: &Outcome, kernel_drops: u64) -> String {
    let mut parts = vec![outcome.publisher.clone()];
    parts.extend(outcome.listeners.iter().cloned());
    let mut text = table::table(&parts);
    if let Some(source) = &outcome.publisher.source {
        let _ = writeln!(
            text,
            "source: {} messages, {} published, {} counted only ({})",
            units::show_count(source.messages),
            units::show_count(source.published),
            units::show_count(source.counted),
            crate::summary::show_counts(source.by_type.iter())
        );
    }
    text += &cost(outcome);
    if kernel_drops > 0 {
        let _ = writeln!(
            text,
            "the kernel itself dropped {} datagrams: this machine is slower than the pace",
            units::show_count(kernel_drops)
        );
    }
    let _ = match outcome.equal {
        true => writeln!(
            text,
            "all {} listeners' journals are EQUAL to the publisher's, message by message",
            outcome.listeners.len()
        ),
        false => writeln!(text, "NOT all journals are equal:\n{}", outcome.diff_text),
    };
    text
}

/// What it cost: the machine while the publisher ran, and the listener in the middle of them all.
fn cost(outcome: &Outcome) -> String {
    let cpu = |usage: &UsageSummary| usage.cpu_user_ns + usage.cpu_system_ns;
    let all = outcome.listeners.iter();
    let mut usages: Vec<(UsageSummary, u64)> = all
        .filter_map(|part| Some((part.usage?, part.elapsed_ns)))
        .collect();
    usages.sort_by_key(|(usage, _)| cpu(usage));
    let (Some(busy), Some((usage, elapsed))) = (outcome.busy, usages.get(usages.len() / 2)) else {
        return String::new();
    };
    format!(
        "this machine was {:.0}% busy from the publisher's start to its end; a listener used {:.1}% of a core, {} of memory of its own \
         and at most {} with its journal\n",
        busy * 100.0,
        cpu(usage) as f64 / (*elapsed).max(1) as f64 * 100.0,
        units::show_bytes(usage.memory_anonymous),
        units::show_bytes(usage.memory_peak)
    )
}
