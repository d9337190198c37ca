//! `twinline listen`: two lossy lines in, one complete and ordered stream out, in a journal of its own.

mod print;
mod report;

use crate::cli::Global;
use crate::exit::{Exit, Failure, Finish};
use crate::line_args::{JournalArgs, LineArgs, ThreadArgs};
use crate::progress::Progress;
use crate::signals;
use crate::summary::Summary;
use crate::units;
use clap::Args;
use print::Printer;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use twinline_line::ReceiverOptions;
use twinline_line::impair::Spec;
use twinline_listener::{
    ArbiterConfig, GapConfig, ListenError, Listener, ListenerConfig, Live, Report, StartAt,
};
use twinline_recovery::ClientConfig;

/// Turn the two lines into one complete, ordered stream and journal.
///
/// Each message is delivered once and in order, from whichever line brings it first; what both lines lost comes from the
/// recovery services. Everything delivered goes into the listener's own journal, which is also its position: the same
/// command goes on with the next message. What cannot be had is announced in the stream itself, never left out silently.
/// It may be started before the publisher and the recovery service: then it waits.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  twinline listen --recovery 10.0.0.5:17010 --journal /var/lib/twinline/listener\n  twinline listen --recovery 10.0.0.5:17010 --journal /var/lib/twinline/listener --print | jq ."
)]
pub(crate) struct Listen {
    #[command(flatten)]
    lines: LineArgs,
    /// Hear only this sender (a source-specific join); may be given several times
    #[arg(long, value_name = "ADDRESS", help_heading = "Lines")]
    sender: Vec<Ipv4Addr>,
    /// Bytes that each line's socket can hold while the thread is busy
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = units::size_in_memory, help_heading = "Lines")]
    receive_buffer: usize,
    /// Do to the lines' packets what a bad network does, repeatably: a share of packets that is lost, lost on both
    /// lines, doubled, overtaken, damaged; as in loss=2%,both=0.5%,dup=1%,reorder=1%,corrupt=0.1%,seed=7
    #[arg(long, value_name = "SPEC", help_heading = "Lines")]
    impair: Option<Spec>,
    #[command(flatten)]
    journal: JournalArgs,
    /// A recovery service; may be given up to 8 times
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Recovery")]
    recovery: Vec<SocketAddr>,
    /// Who we are to recovery services
    #[arg(
        long,
        value_name = "NAME",
        default_value = "listener",
        help_heading = "Recovery"
    )]
    name: String,
    /// Wait so long for late packets before a gap is asked for, unless both lines have passed it
    #[arg(long, value_name = "TIME", default_value = "2ms", value_parser = units::duration, help_heading = "Recovery")]
    reorder_time: Duration,
    /// Announce a gap as lost if nobody fills it for so long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration, help_heading = "Recovery")]
    gap_timeout: Duration,
    /// Where to start without a position: beginning (of the session), live (what was before is announced as skipped), or
    /// a sequence
    #[arg(long, value_name = "WHERE", default_value = "beginning", value_parser = start_at, help_heading = "Start and end")]
    from: StartAt,
    /// End once a session is complete
    #[arg(long, help_heading = "Start and end")]
    until_end: bool,
    /// Print each message and notice that is delivered as one JSON object on stdout
    #[arg(long, help_heading = "Output")]
    print: bool,
    #[command(flatten)]
    thread: ThreadArgs,
}

fn start_at(text: &str) -> Result<StartAt, String> {
    match text {
        "beginning" => Ok(StartAt::Beginning),
        "live" => Ok(StartAt::Live),
        _ => match text.parse() {
            Ok(sequence) if sequence > 0 => Ok(StartAt::Sequence(sequence)),
            _ => Err(format!(
                "{text:?} is not a place to start: write beginning, live or a sequence"
            )),
        },
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Listen {
    fn config(&self) -> ListenerConfig {
        ListenerConfig {
            lines: [self.lines.line_a.clone(), self.lines.line_b.clone()],
            receiver: ReceiverOptions {
                receive_buffer: self.receive_buffer,
                sources: self.sender.clone(),
            },
            recovery: self.recovery.clone(),
            client: ClientConfig::new(&self.name, self.lines.channel),
            journal: self.journal.journal.clone(),
            journal_config: self.journal.config(&self.lines),
            arbiter: ArbiterConfig {
                channel: self.lines.channel,
                max_packet: self.lines.packet_size,
                start: self.from,
                ..ArbiterConfig::default()
            },
            gaps: GapConfig {
                reorder: nanos(self.reorder_time),
                timeout: nanos(self.gap_timeout),
                ..GapConfig::default()
            },
            impair: self.impair,
            cpu: self.thread.cpu,
            idle: self.thread.idle,
            until_end: self.until_end,
        }
    }
}

/// Runs `twinline listen`.
pub(crate) fn run(args: &Listen, global: &Global) -> Result<Finish, Failure> {
    args.lines.check()?;
    let stop = signals::stop_flag()?;
    let mut progress = Progress::new(global.progress);
    let started = Instant::now();
    let listener = Listener::open(&args.config())?;
    let live = listener.live();
    let printer = match args.print {
        true => Some(Printer::start(&args.journal.journal, Arc::clone(&stop))?),
        false => None,
    };
    for warning in live.report().buffers.iter().filter_map(|buffer| buffer.warning()) {
        progress.warn(warning);
    }
    if args.recovery.is_empty() {
        progress.warn("no --recovery service is named: what both lines lose is lost");
    }
    progress.ready(None, &ready_text(args, &listener));
    let summary = |report: &Report| report::summary(args, report, started);
    let result = watch_over(listener, &live, &stop, &mut progress, &summary)?;
    let printed = printer.map_or(Ok(()), Printer::finish);
    let report = live.report();
    let mut summary = summary(&report);
    summary.warnings = progress.warnings().to_vec();
    Ok(match (result, printed) {
        (Err(error), _) => Finish::failed(summary, error.into()),
        (Ok(_), Err(failure)) => Finish::failed(summary, failure),
        (Ok(report), Ok(())) if report.is_incomplete() => Finish::with(summary, Exit::Loss),
        (Ok(_), Ok(())) => Finish::success(summary),
    })
}

fn ready_text(args: &Listen, listener: &Listener) -> String {
    let position = listener.position();
    let place = match position.session {
        0 => "waiting for a session".to_string(),
        session => format!("going on in session {session} at sequence {}", position.next),
    };
    format!(
        "listening on {} and {}; {place}",
        args.lines.line_a, args.lines.line_b
    )
}

/// Runs the listener on a thread of its own and shows how it goes.
fn watch_over(
    listener: Listener,
    live: &Live,
    stop: &AtomicBool,
    progress: &mut Progress,
    summary: &impl Fn(&Report) -> Summary,
) -> Result<Result<Report, ListenError>, Failure> {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("lines".into())
            .spawn_scoped(scope, move || listener.run(stop))
            .map_err(|cause| Failure::error(format!("cannot start the line thread: {cause}")))?;
        while !worker.is_finished() {
            thread::park_timeout(LOOK_EVERY);
            progress.figures(|| summary(&live.report()));
        }
        worker.join().map_err(|_| {
            // Whatever else waits for the flag must end too.
            stop.store(true, Ordering::Relaxed);
            Failure::error("the line thread panicked: this is a bug; the journal has what was delivered")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_start_are_read() {
        assert_eq!(start_at("live"), Ok(StartAt::Live));
        assert_eq!(start_at("17"), Ok(StartAt::Sequence(17)));
        assert!(start_at("0").is_err() && start_at("end").is_err());
    }
}
