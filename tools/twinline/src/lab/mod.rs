//! `twinline lab`: a test bed on one machine. Publisher, recovery service and many servers, each on a host of its own (a
//! network namespace) with two interfaces, real daemons and real networks between them; a scenario that breaks something;
//! and at the end the proof, from the journals, that nothing was lost, and from everybody's counters that it was broken.

mod checks;
mod cluster;
mod flood;
mod network;
mod part;
mod place;
mod scenario;
mod spread;
mod view;

use crate::cli::Global;
use crate::exit::{Exit, Failure, Finish};
use crate::io_args::IoOfLines;
use crate::signals;
use crate::summary::Summary;
use crate::units::{self, show_count, show_nanos};
use checks::Check;
use clap::{Args, ValueEnum};
use cluster::{Cluster, Outcome};
use network::{Faults, Wires};
use part::Settings;
use place::Place;
use scenario::Scenario;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::num::NonZeroU64;
use std::time::Duration;
use view::View;

/// Steps of a scenario need room between them.
const SHORTEST: Duration = Duration::from_secs(2);
/// A run holds the memory of all rings, and the disk fills.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// Break things on a test bed of one publisher and many servers on this machine, and prove that nothing is lost.
///
/// Publisher, recovery service and every server run the real daemons, each in a network namespace of its own with an
/// interface on each of two networks, line A and line B. A scenario breaks something while they run; `--list` says what
/// each does and what is expected of it. Once a second a line says how it stands: what is published, what the servers have,
/// from the one that is furthest behind to the one that is not, gaps that both lines left, messages that recovery brought,
/// lines that are silent. At the end every server's journal is compared with the publisher's, message for message, and it is
/// checked that the fault was really there. Exit code 0 only if all of that holds.
///
/// Needs root and the commands ip and tc (iproute2). It touches no network of this machine, and leaves nothing behind,
/// even if it is killed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    twinline lab --list\n  \
    twinline lab --loss 1% --late 1%\n  \
    twinline lab line-a-dies --loss 1% --servers 40 --rate 1k --idle park:2ms\n  \
    twinline lab rolling-restart --json | jq .checks")]
pub(crate) struct Lab {
    /// What is broken
    #[arg(value_name = "SCENARIO", default_value = "steady")]
    scenario: Scenario,
    /// Say what each scenario does and what is expected of it, and do nothing
    #[arg(long)]
    list: bool,
    /// Servers; 40 are well within two cores at a thousand messages a second
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    servers: u16,
    /// Messages of the source, made-up order flow; with their positions about twice as many are in the stream
    #[arg(long, value_name = "COUNT", default_value = "10000")]
    messages: NonZeroU64,
    /// Of those a second; with --messages this is how long a run takes
    #[arg(long, value_name = "MESSAGES", default_value = "2000", value_parser = units::rate)]
    rate: NonZeroU64,
    /// Share of packets that each line loses on its way to each server, as in 1%, besides what the scenario does
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = share)]
    loss: f64,
    /// Share of packets that take a slow way round on their way to each server, and come after later ones; what there is no
    /// room for on it is lost
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = share)]
    late: f64,
    /// What publisher and listeners do while nothing comes: with more of them than cores they must park
    #[arg(long, value_name = "HOW", default_value = "park:1ms")]
    idle: String,
    /// What publisher and listeners have their lines go through: socket, xdp, or auto, as their own flag --io says
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = io)]
    io: String,
    /// Leave the journals, and say where they are
    #[arg(long)]
    keep: bool,
}

impl Lab {
    fn faults(&self) -> Faults {
        Faults {
            loss: self.loss,
            late: self.late,
            rate: self.rate.get(),
        }
    }
}

/// It is for the daemons, but wrong here already if it is.
fn io(text: &str) -> Result<String, String> {
    text.parse::<IoOfLines>().map(|_| text.into())
}

fn share(text: &str) -> Result<f64, String> {
    let number = text
        .strip_suffix('%')
        .and_then(|number| number.parse::<f64>().ok());
    number
        .filter(|number| (0.0..=50.0).contains(number))
        .map(|number| number / 100.0)
        .ok_or_else(|| format!("{text:?} is not a share: write 1% or 0.5%, 50% at most"))
}

/// Runs `twinline lab`.
pub(crate) fn run(args: &Lab, global: &Global) -> Result<Finish, Failure> {
    if args.list {
        return Ok(Finish::success(list()));
    }
    let length = args.messages.get() as f64 / args.rate.get() as f64;
    if length > LONGEST.as_secs_f64() {
        return Err(Failure::usage(format!(
            "{} messages at {} a second take more than {} hours: give fewer --messages, or a higher --rate",
            args.messages,
            args.rate,
            LONGEST.as_secs() / 3_600
        )));
    }
    let length = Duration::from_secs_f64(length);
    if args.scenario != Scenario::Steady && length < SHORTEST {
        return Err(Failure::usage(format!(
            "{} messages at {} a second take {}, and {} needs {} s: give more --messages, or a lower --rate",
            args.messages,
            args.rate,
            show_nanos(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)),
            args.scenario.name(),
            SHORTEST.as_secs()
        )));
    }
    let stop = signals::stop_flag()?;
    let mut view = View::new(global.progress);
    view.say(&format!(
        "{}: {}\nexpected: {}",
        args.scenario.name(),
        args.scenario.does(),
        args.scenario.expects()
    ));
    let settings = Settings {
        servers: usize::from(args.servers),
        messages: args.messages.get(),
        rate: args.rate.get(),
        idle: args.idle.clone(),
        io: args.io.clone(),
    };
    let mut wires = Wires::build(settings.servers, args.faults())?;
    let place = Place::take(args.keep, &mut wires)?;
    if args.keep {
        view.say(&format!("the journals stay in {}", place.dir().display()));
    }
    let mut cluster = Cluster::new(&wires, &place, &settings, &stop, &mut view);
    cluster.start()?;
    let outcome = cluster.run(args.scenario.steps(length, settings.servers))?;
    Ok(finish(args, &place, &outcome))
}

/// All scenarios.
fn list() -> Summary {
    let mut summary = Summary::new("lab");
    let mut objects = Vec::new();
    let mut text = String::new();
    for scenario in Scenario::value_variants() {
        let (name, does, expects) = (scenario.name(), scenario.does(), scenario.expects());
        let _ = writeln!(text, "{name}\n  does     {does}\n  expected {expects}");
        objects.push(serde_json::json!({"name": name, "does": does, "expects": expects}));
    }
    summary.set("scenarios", objects);
    summary.own_text = text;
    summary
}

fn finish(args: &Lab, place: &Place, outcome: &Outcome) -> Finish {
    let checks = checks::check(args.scenario, args.faults(), outcome);
    let mut summary = Summary::new("lab");
    let publisher = &outcome.publisher;
    summary.messages = publisher.messages;
    summary.packets = publisher.packets;
    summary.bytes = publisher.bytes;
    summary.position.clone_from(&publisher.position);
    summary.set("scenario", args.scenario.name());
    summary.set("does", args.scenario.does());
    summary.set("expects", args.scenario.expects());
    summary.set("checks", &checks);
    summary.set("equal", outcome.equal);
    summary.set("spread", &outcome.spread);
    summary.set("network_dropped", outcome.dropped.all);
    summary.set("junk", outcome.junk);
    summary.set("publisher", publisher);
    summary.set("recovery_service", &outcome.recovery);
    summary.set("servers", &outcome.servers);
    summary.set("diff", &outcome.diff.detail);
    summary.own_text = text(args, outcome, &checks);
    if args.keep {
        let dir = place.dir().display();
        let _ = writeln!(summary.own_text, "the journals are in {dir}");
        summary.set("journals", dir.to_string());
    }
    // A killed run's exit code does not say so.
    let announced = outcome.servers.iter().any(|server| checks::announced(server) > 0);
    let failed = checks.iter().find(|check| !check.holds);
    match failed {
        None => Finish::success(summary),
        Some(_) if announced => Finish::with(summary, Exit::Loss),
        Some(_) if !outcome.equal => Finish::with(summary, Exit::Differ),
        Some(check) => Finish::failed(
            summary,
            Failure::error(format!(
                "the streams are whole, but not all that was expected came: {}",
                check.what
            )),
        ),
    }
}

/// What the servers' lines went through, each kind once.
fn transports(outcome: &Outcome) -> String {
    let lines = outcome
        .servers
        .iter()
        .flatten()
        .filter_map(|run| run.lines.as_ref());
    let kinds: BTreeSet<&str> = lines
        .flat_map(|lines| [lines.a.io.as_str(), lines.b.io.as_str()])
        .collect();
    kinds.into_iter().collect::<Vec<_>>().join(" and ")
}

fn text(args: &Lab, outcome: &Outcome, checks: &[Check]) -> String {
    let mut text = String::new();
    let range = |of: &dyn Fn(&[Summary]) -> u64| {
        let counts = outcome.servers.iter().map(|server| of(server));
        let (least, most) = (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0));
        match least == most {
            true => show_count(most),
            false => format!("{} to {}", show_count(least), show_count(most)),
        }
    };
    let _ = writeln!(
        text,
        "{} messages published to {} servers (lines by {}); of each: lost on line A {}, on line B {}, from recovery {}",
        show_count(outcome.publisher.messages),
        outcome.servers.len(),
        transports(outcome),
        range(&|runs| checks::lost(runs, 0)),
        range(&|runs| checks::lost(runs, 1)),
        range(&checks::recovered)
    );
    let spread = &outcome.spread;
    let (apart, latest) = (&spread.first_to_last_ns, &spread.sending_to_last_ns);
    if outcome.servers.len() > 1 && apart.count > 0 {
        let _ = writeln!(
            text,
            "from the first server that had a message to the last: p50 {}, p99 {}, max {}; from its sending to the last: p50 {}, \
             p99 {} ({} messages; all servers share this machine, and idle by {})",
            show_nanos(apart.p50),
            show_nanos(apart.p99),
            show_nanos(apart.max),
            show_nanos(latest.p50),
            show_nanos(latest.p99),
            show_count(apart.count),
            args.idle
        );
    }
    for check in checks {
        let _ = writeln!(
            text,
            "{} {}",
            if check.holds { "  ok  " } else { "FAILED" },
            check.what
        );
    }
    let _ = match checks.iter().all(|check| check.holds) {
        true => writeln!(text, "{}: all as expected", args.scenario.name()),
        false => writeln!(text, "{}: NOT as expected", args.scenario.name()),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_percentage() {
        assert_eq!(share("1%"), Ok(0.01));
        assert_eq!(share("0%"), Ok(0.0));
        for wrong in ["1", "-1%", "51%", "x%", "%"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
