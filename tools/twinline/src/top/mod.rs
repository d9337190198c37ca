//! `twinline top`: what all daemons do, on a terminal, or once for a script.
//!
//! A thread a daemon fetches its metrics page ([`scrape`]); the [`Board`] makes rates, shares and alarms of what comes and
//! is asked for a view; that is drawn ([`draw`]), printed or written as JSON. Daemons know nothing of it: it reads what
//! Prometheus reads.

mod alarms;
mod board;
mod draw;
#[cfg(test)]
mod fixture;
mod gather;
mod histogram;
mod judge;
mod keys;
mod look;
mod page;
mod scrape;
mod screen;
#[cfg(test)]
mod tests;
mod view;

use crate::cli::Global;
use crate::exit::{Exit, Failure, Finish};
use crate::summary::Summary;
use crate::units;
use alarms::Kind;
use board::Board;
use clap::Args;
use scrape::Scrape;
use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};
use view::View;

/// Daemons are not asked more often.
const SHORTEST: Duration = Duration::from_millis(100);

/// Watch daemons: lines, gaps, latency, readers, alarms.
///
/// It reads the metrics pages of any number of publishers, recovery services, listeners and replicas that were started
/// with --metrics, and shows them on the terminal, on this host or over ssh: keys are q, Tab, arrows, p, and ? for help.
/// Counts are since a daemon started, rates since the last look, shares and percentiles of the last minute.
///
/// With --once it looks twice, --every apart, prints what it saw and ends; with --json as one object.
#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct Top {
    /// The daemons' metrics pages, as their --metrics says; a port alone is one of this host
    #[arg(value_name = "ADDRESS:PORT", value_parser = target, required_unless_present = "daemon")]
    targets: Vec<String>,
    /// The same, as a flag for the configuration file; those on the command line come first
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        value_delimiter = ',',
        value_parser = target,
        help_heading = "What"
    )]
    daemon: Vec<String>,
    /// How often daemons are asked, at least 100ms
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = every, help_heading = "What")]
    every: Duration,
    /// Print what it sees once, and end; the exit code says how it is
    #[arg(long, help_heading = "Output")]
    once: bool,
}

fn after_help() -> String {
    let rules: Vec<String> = alarms::rules()
        .into_iter()
        .map(|(name, what)| format!("  {name:<22} {what}"))
        .collect();
    format!(
        "Examples:\n  \
         twinline top 10.0.0.5:9464 10.0.0.6:9464\n  \
         twinline top 10.0.0.5:9464 --once\n  \
         twinline top 10.0.0.5:9464 --once --json | jq '.daemons[].alarms'\n\n\
         Exit codes with --once:\n  \
         0  all daemons are up, none has an alarm\n  \
         3  messages are lost or void (messages_lost)\n  \
         4  a daemon is down\n  \
         7  any other alarm\n\n\
         Alarms, the gravest first (lately: in the last minute, with --once between its two looks):\n{}",
        rules.join("\n")
    )
}

/// An address, or a port of this host. Names are looked up each time.
fn target(text: &str) -> Result<String, String> {
    let port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    match text.rsplit_once(':') {
        None if port(text) => Ok(format!("127.0.0.1:{text}")),
        Some((host, number)) if !host.is_empty() && port(number) => Ok(text.into()),
        _ => Err(format!(
            "{text:?} names no metrics page: write 10.0.0.5:9464, or 9464 for this host's"
        )),
    }
}

fn every(text: &str) -> Result<Duration, String> {
    let every = units::duration(text)?;
    match every < SHORTEST {
        true => Err("daemons are not asked more often than each 100ms".into()),
        false => Ok(every),
    }
}

/// Runs `twinline top`.
pub(crate) fn run(args: &Top, global: &Global) -> Result<Finish, Failure> {
    let mut targets = args.targets.clone();
    for target in &args.daemon {
        if !targets.contains(target) {
            targets.push(target.clone());
        }
    }
    if args.once {
        return once(&targets, args.every);
    }
    if global.json {
        return Err(Failure::usage("--json is for --once: give both, or neither"));
    }
    if !std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "stdout is no terminal: give --once to print what it sees and end, and --json for a program",
        ));
    }
    screen::run(&targets, args.every)?;
    let mut summary = Summary::new("top");
    summary.silent = true;
    Ok(Finish::success(summary))
}

fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Two looks, then what they show.
fn once(targets: &[String], every: Duration) -> Result<Finish, Failure> {
    let scrapes = scrape::start(targets, every, Some(2))?;
    let now = Instant::now();
    let mut board = Board::new(targets, every, now);
    // Who hangs in looking up a name is not waited for.
    take_until(&scrapes, now + every + 3 * scrape::TIMEOUT, &mut board);
    // Whoever has not answered by now is down, whatever it is at.
    let view = board.view(Instant::now(), wall_ns());
    let mut summary = Summary::new("top");
    summary.set("daemons", &view.daemons);
    summary.set("alarms", view.alarms().len());
    summary.own_text = draw::text(&view);
    Ok(Finish::with(summary, exit(&view)))
}

fn take_until(scrapes: &Receiver<Scrape>, deadline: Instant, board: &mut Board) {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match scrapes.recv_timeout(left) {
            Ok(Scrape { daemon, at, result }) => board.take(daemon, at, result),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The gravest of what is wrong.
fn exit(view: &View) -> Exit {
    let alarms = view.alarms();
    let has = |kind| alarms.iter().any(|(_, alarm)| alarm.kind == kind);
    match () {
        () if has(Kind::Down) => Exit::Peer,
        () if has(Kind::MessagesLost) => Exit::Loss,
        () if !alarms.is_empty() => Exit::Alarm,
        () => Exit::Success,
    }
}
