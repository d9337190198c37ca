//! `twinline simulate`: seeds of the whole system on a virtual network and clock.

use crate::cli::Global;
use crate::exit::{Exit, Failure, Finish};
use crate::progress::Progress;
use crate::signals;
use crate::summary::{Counts, Summary};
use crate::units::show_count;
use clap::Args;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread;
use twinline_simulator::{Fault, Options, Report, run_many, simulate};

/// Run the whole system on a virtual network and clock under seeded faults.
///
/// A seed is a run of publisher, lines, recovery services and listeners (the very code that runs in production, without
/// sockets and clocks) in which everything goes wrong that can. At its end each listener's stream must be what was
/// validly published, or a notice must name the difference exactly. A seed that fails is printed with the command that
/// runs it alone; it always runs the same way. Exit code 6 if any failed.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  twinline simulate --seeds 10000\n  twinline simulate --seed 4711 --trace"
)]
pub(crate) struct Simulate {
    /// Run so many seeds
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    first: u64,
    /// Run this seed alone
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Print what happens in the run
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Messages that the publisher publishes in a run
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().messages)]
    messages: u64,
    /// Runs at once [default: as many as this machine has cores]
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
}

/// Failed seeds that are shown with what failed; of more only the numbers.
const SHOWN: usize = 10;

/// Runs `twinline simulate`.
pub(crate) fn run(args: &Simulate, global: &Global) -> Result<Finish, Failure> {
    #[allow(
        clippy::needless_update,
        reason = "the simulator's own tests build it with a field more"
    )]
    let options = Options {
        messages: args.messages,
        trace: args.trace,
        ..Options::default()
    };
    let report = match args.seed {
        Some(seed) => one(seed, &options),
        None => many(args, &options, global)?,
    };
    Ok(finish(args, &report))
}

/// One seed; its trace goes to stderr.
fn one(seed: u64, options: &Options) -> Report {
    let mut report = Report::default();
    let trace = match simulate(seed, options) {
        Ok((counts, trace)) => {
            report.counts.add(&counts);
            trace
        }
        Err(failure) => {
            report.failures.push(failure.clone());
            failure.trace
        }
    };
    for line in trace {
        eprintln!("{line}");
    }
    report
}

fn many(args: &Simulate, options: &Options, global: &Global) -> Result<Report, Failure> {
    let stop = signals::stop_flag()?;
    let threads = match args.threads {
        Some(threads) => threads,
        None => thread::available_parallelism().map_or(1, usize::from),
    };
    let end = args
        .first
        .checked_add(args.seeds)
        .ok_or_else(|| Failure::usage("there are not so many seeds: begin with a lower one"))?;
    let progress = Mutex::new(Progress::new(global.progress));
    let done = |count: u64| {
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.figures(|| {
            let mut summary = Summary::new(format!("simulate {} of {} seeds", count, args.seeds));
            summary.messages = count * args.messages;
            summary
        });
        !stop.load(Ordering::Relaxed)
    };
    Ok(run_many(args.first..end, threads, options, done))
}

fn finish(args: &Simulate, report: &Report) -> Finish {
    let counts = &report.counts;
    let faults: Counts = Fault::ALL
        .iter()
        .map(|fault| (fault.name().to_string(), counts.fault(*fault)))
        .collect();
    let failed: Vec<_> = report
        .failures
        .iter()
        .map(|failure| serde_json::json!({ "seed": failure.seed, "what": failure.what }))
        .collect();
    let mut summary = Summary::new("simulate");
    summary.messages = counts.messages;
    summary.packets = counts.datagrams;
    summary.set("seeds", counts.seeds + report.failures.len() as u64);
    summary.set("faults", &faults);
    summary.set("torn_tails", counts.torn_tails);
    summary.set("seeds_with_torn_tails", counts.torn_seeds);
    summary.set("failed", failed);
    summary.own_text = text(args, report, &faults);
    if report.failures.is_empty() {
        Finish::success(summary)
    } else {
        Finish::with(summary, Exit::Simulation)
    }
}

fn text(args: &Simulate, report: &Report, faults: &Counts) -> String {
    let counts = &report.counts;
    let mut text = format!(
        "{} seeds passed: {} messages published, {} delivered ({} of them from recovery), {} datagrams; {} epochs; \
         {} messages declared lost, {} void; {:.0} s of virtual time\n",
        show_count(counts.seeds),
        show_count(counts.messages),
        show_count(counts.delivered),
        show_count(counts.recovered),
        show_count(counts.datagrams),
        show_count(counts.epochs),
        show_count(counts.lost),
        show_count(counts.void),
        counts.virtual_time as f64 / 1e9
    );
    let _ = writeln!(
        text,
        "{} torn ends of journals found and cut after power cuts, in {} of the seeds",
        show_count(counts.torn_tails),
        show_count(counts.torn_seeds)
    );
    for (name, count) in faults {
        let _ = writeln!(text, "  {name:<28} {:>14}", show_count(*count));
    }
    for failure in report.failures.iter().take(SHOWN) {
        let messages = match args.messages == Options::default().messages {
            true => String::new(),
            false => format!(" --messages {}", args.messages),
        };
        let _ = writeln!(
            text,
            "FAILED: seed {} after {:.3} s: {}\n  run it alone: twinline simulate --seed {}{messages} --trace",
            failure.seed,
            failure.at as f64 / 1e9,
            failure.what,
            failure.seed
        );
    }
    if let Some(more) = report.failures.get(SHOWN..).filter(|more| !more.is_empty()) {
        let seeds: Vec<String> = more.iter().map(|failure| failure.seed.to_string()).collect();
        let _ = writeln!(text, "FAILED too: seeds {}", seeds.join(", "));
    }
    text
}
