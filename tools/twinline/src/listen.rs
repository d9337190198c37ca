//! `twinline listen`: two lossy lines in, one complete and ordered stream out, in a journal of its own.

mod fair;
mod print;
mod report;

use crate::cli::Global;
use crate::exit::{Exit, Failure, Finish};
use crate::io_args::{self, IoArgs, XdpMode};
use crate::line_args::{ChannelArgs, JournalArgs, LineArgs, ThreadArgs, journal_of};
use crate::metrics::{ListenerMetrics, MetricsArgs};
use crate::progress::Progress;
use crate::signals;
use crate::summary::Summary;
use crate::units;
use clap::Args;
use print::Printer;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use twinline_line::impair::Spec;
use twinline_line::{Line, ReceiverOptions};
use twinline_listener::arbiter::Dropped;
use twinline_listener::{
    ArbiterConfig, GapConfig, ListenError, Listener, ListenerConfig, Live, Report, RingPlace, StartAt,
};
use twinline_recovery::ClientConfig;
use twinline_wire::field::ClockState;

/// Turn the two lines into one complete, ordered stream and journal.
///
/// Each message is delivered once and in order, from whichever line brings it first; what both lines lost comes from the
/// recovery services. Everything delivered goes into the listener's own journal, which is also its position: the same
/// command goes on with the next message. What cannot be had is announced in the stream itself, never left out silently.
/// It may be started before the publisher and the recovery service: then it waits.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  twinline listen --recovery 10.0.0.5:17010 --journal /var/lib/twinline/listener\n  twinline listen --recovery 10.0.0.5:17010 --journal /var/lib/twinline/listener --print | jq .\n  twinline listen --recovery 10.0.0.5:17010 --journal /var/lib/twinline/listener --ring /dev/shm/twinline\n  twinline listen --channels 3 --recovery 10.0.0.5:17010 --journal /var/lib/twinline/three\n  twinline listen --recovery 10.0.0.5:17010 --journal /var/lib/twinline/listener --from snapshot --keep-segments 16\n  twinline listen --recovery 10.0.0.5:17010 --journal /var/lib/twinline/listener --fair-hold 500us --idle spin"
)]
pub(crate) struct Listen {
    #[command(flatten)]
    channels: ChannelArgs,
    /// Hear only this sender (a source-specific join); may be given several times
    #[arg(long, value_name = "ADDRESS", help_heading = "Lines")]
    sender: Vec<Ipv4Addr>,
    #[command(flatten)]
    io: IoArgs,
    /// With AF_XDP, how the program that picks our packets runs [default: native; and with --io xdp, where the interface's driver
    /// cannot, generic]
    #[arg(long, value_name = "HOW", value_enum, help_heading = "Lines")]
    xdp_mode: Option<XdpMode>,
    /// Bytes that each line can hold while the thread is busy; with AF_XDP, each of its queues
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = units::size_in_memory, help_heading = "Lines")]
    receive_buffer: usize,
    /// Do to the lines' packets what a bad network does, repeatably: a share of packets that is lost, lost on both
    /// lines, doubled, overtaken, damaged, and how much later all of them come (delay, and up to jitter more); as in
    /// loss=2%,both=0.5%,dup=1%,reorder=1%,corrupt=0.1%,delay=3ms,jitter=100us,seed=7. With line=a or line=b only that
    /// line's packets meet the faults, except for both and the delays
    #[arg(long, value_name = "SPEC", help_heading = "Lines")]
    impair: Option<Spec>,
    #[command(flatten)]
    journal: JournalArgs,
    /// Hand the stream to the programs on this host through shared memory: a ring for each channel in this directory, which should
    /// be on tmpfs. Programs attach with the twinline-reader library
    #[arg(long, value_name = "DIR", help_heading = "Local programs")]
    ring: Option<PathBuf>,
    /// Bytes of a ring, a power of two: how far a program may fall behind before it reads the journal instead
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = units::size_in_memory, requires = "ring", help_heading = "Local programs")]
    ring_size: usize,
    /// A recovery service; may be given up to 8 times. Of several channels it is the first one's; each next one's is at
    /// the next port
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
    /// Where to start without a position: beginning (of the session), snapshot (the newest that a recovery service has, and
    /// what follows it), live (the first message that comes), or a sequence. What was before is announced as skipped
    #[arg(long, value_name = "WHERE", default_value = "beginning", value_parser = start_at, help_heading = "Start and end")]
    from: StartAt,
    /// End once a session is complete
    #[arg(long, help_heading = "Start and end")]
    until_end: bool,
    /// Print each message and notice that is delivered as one JSON object on stdout; the figures then go to stderr, or with
    /// --json stand behind them
    #[arg(long, help_heading = "Output")]
    print: bool,
    #[command(flatten)]
    fair: fair::FairArgs,
    #[command(flatten)]
    thread: ThreadArgs,
    #[command(flatten)]
    metrics: MetricsArgs,
}

fn start_at(text: &str) -> Result<StartAt, String> {
    match text {
        "beginning" => Ok(StartAt::Beginning),
        "live" => Ok(StartAt::Live),
        "snapshot" => Ok(StartAt::Snapshot),
        _ => match text.parse() {
            Ok(sequence) if sequence > 0 => Ok(StartAt::Sequence(sequence)),
            _ => Err(format!(
                "{text:?} is not a place to start: write beginning, snapshot, live or a sequence"
            )),
        },
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Listen {
    /// What the channel of this place among so many is.
    fn config(&self, place: usize, of: usize, lines: &LineArgs) -> Result<ListenerConfig, Failure> {
        let recovery = self.recovery.iter().map(|first| {
            let port = u16::try_from(place)
                .ok()
                .and_then(|place| first.port().checked_add(place));
            let port =
                port.ok_or_else(|| Failure::usage(format!("{first} leaves no ports for {of} channels")))?;
            Ok(SocketAddr::new(first.ip(), port))
        });
        Ok(ListenerConfig {
            lines: [lines.line_a.clone(), lines.line_b.clone()],
            receiver: self.io.receivers(
                self.xdp_mode,
                &ReceiverOptions {
                    receive_buffer: self.receive_buffer,
                    sources: self.sender.clone(),
                    ..ReceiverOptions::default()
                },
            ),
            recovery: recovery.collect::<Result<_, Failure>>()?,
            client: ClientConfig::new(&self.name, lines.channel),
            journal: journal_of(&self.journal.journal, lines.channel, of),
            journal_config: self.journal.config(lines),
            ring: self.ring.clone().map(|dir| RingPlace {
                dir,
                capacity: self.ring_size,
            }),
            arbiter: ArbiterConfig {
                channel: lines.channel,
                max_packet: lines.packet_size,
                start: self.from,
                ..ArbiterConfig::default()
            },
            gaps: GapConfig {
                reorder: nanos(self.reorder_time),
                timeout: nanos(self.gap_timeout),
                ..GapConfig::default()
            },
            fair: self.fair.config(),
            impair: self.impair,
            cpu: self.thread.cpu.get(place).copied(),
            idle: self.thread.idle,
            until_end: self.until_end,
        })
    }
}

/// A channel that is listened to.
struct Channel {
    lines: LineArgs,
    listener: Option<Listener>,
    live: Live,
    clock: ClockState,
    printer: Option<Printer>,
}

impl Channel {
    /// Tells of a line that brings nothing that can be used, because a flag is wrong, and of a clock that is.
    fn tell(&mut self, args: &Listen, progress: &mut Progress) {
        let report = self.live.report();
        if let Some(fair) = &report.fair {
            args.fair
                .tell(self.lines.channel, fair, &mut self.clock, progress);
        }
        for line in Line::ALL {
            let address = [&self.lines.line_a, &self.lines.line_b][line.index()];
            let packets = report.lines[line.index()].packets;
            if packets > 0 && report.dropped()[line.index()].get(Dropped::Channel) == packets {
                progress.warn(format!(
                    "line {line} ({address}) brings packets of other channels only, none of channel {}: check --channel and \
                     the line's group and port",
                    self.lines.channel
                ));
            }
            if report.sockets[line.index()].truncated > 0 {
                progress.warn(format!(
                    "line {line} ({address}) brings packets longer than {} bytes, which cannot be taken: give --packet-size as \
                     the publisher has it",
                    self.lines.packet_size
                ));
            }
        }
    }

    fn open(
        args: &Listen,
        place: usize,
        of: usize,
        lines: &LineArgs,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        let config = args.config(place, of, lines)?;
        let listener = Listener::open(&config)?;
        let printer = match args.print {
            true => Some(Printer::start(&config.journal, Arc::clone(stop))?),
            false => None,
        };
        Ok(Self {
            lines: lines.clone(),
            live: listener.live(),
            listener: Some(listener),
            clock: ClockState::PLAUSIBLE,
            printer,
        })
    }
}

/// Runs `twinline listen`.
pub(crate) fn run(args: &Listen, global: &Global) -> Result<Finish, Failure> {
    if args.from == StartAt::Snapshot && args.recovery.is_empty() {
        return Err(Failure::usage(
            "--from snapshot needs a recovery service to have one from: name it with --recovery",
        ));
    }
    let lines = args.channels.all()?;
    let metrics = args.metrics.bind()?;
    let stop = signals::stop_flag()?;
    let mut progress = Progress::new(global.progress);
    let started = Instant::now();
    let each = lines.iter().enumerate();
    let mut channels = each
        .map(|(place, of)| Channel::open(args, place, lines.len(), of, &stop))
        .collect::<Result<Vec<_>, _>>()?;
    for channel in &channels {
        for warning in channel
            .live
            .report()
            .buffers
            .iter()
            .filter_map(|buffer| buffer.warning())
        {
            progress.warn(warning);
        }
    }
    if args.recovery.is_empty() {
        progress.warn("no --recovery service is named: what both lines lose is lost");
    }
    let shown = |channel: &Channel| (channel.lines.channel, channel.live.clone(), args.recovery.len());
    let shown = ListenerMetrics {
        channels: channels.iter().map(shown).collect(),
        sync: args.journal.sync,
    };
    metrics.serve("listen", shown, &mut progress)?;
    progress.ready(
        None,
        &channels.iter().map(ready_text).collect::<Vec<_>>().join("\n"),
    );
    let printers: Vec<_> = channels
        .iter_mut()
        .filter_map(|channel| channel.printer.take())
        .collect();
    let results = watch_over(args, &mut channels, &stop, &mut progress, &|channels| {
        summary(args, channels, started)
    })?;
    let printed: Result<(), Failure> = printers
        .into_iter()
        .map(Printer::finish)
        .fold(Ok(()), Result::and);
    let mut summary = summary(args, &channels, started);
    summary.warnings = progress.warnings().to_vec();
    summary.printed = args.print;
    let several = channels.len() > 1;
    let mut incomplete = false;
    for (channel, result) in channels.iter().zip(results) {
        match result {
            Ok(report) => incomplete |= report.is_incomplete(),
            Err(error) if several => {
                let named = Failure::error(format!("channel {}: {error}", channel.lines.channel));
                return Ok(Finish::failed(summary, named));
            }
            Err(error) => return Ok(Finish::failed(summary, error.into())),
        }
    }
    Ok(match printed {
        Err(failure) => Finish::failed(summary, failure),
        Ok(()) if incomplete => Finish::with(summary, Exit::Loss),
        Ok(()) => Finish::success(summary),
    })
}

fn summary(args: &Listen, channels: &[Channel], started: Instant) -> Summary {
    let of = |channel: &Channel| report::summary(args, &channel.lines, &channel.live.report(), started);
    match channels {
        [only] => of(only),
        several => report::together(several.iter().map(of).collect()),
    }
}

fn ready_text(channel: &Channel) -> String {
    let position = channel.listener.as_ref().map(Listener::position);
    let place = match position.filter(|position| position.session > 0) {
        None => "waiting for a session".to_string(),
        Some(at) => format!("going on in session {} at sequence {}", at.session, at.next),
    };
    let lines = &channel.lines;
    format!(
        "channel {}: listening on {} and {}; {place}\n{}",
        lines.channel,
        lines.line_a,
        lines.line_b,
        io_args::told(channel.live.report().transports.each_ref())
    )
}

/// Runs each channel's listener on a thread of its own and shows how it goes. One that fails ends all.
fn watch_over(
    args: &Listen,
    channels: &mut [Channel],
    stop: &AtomicBool,
    progress: &mut Progress,
    summary: &impl Fn(&[Channel]) -> Summary,
) -> Result<Vec<Result<Report, ListenError>>, Failure> {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    const TELL_EVERY: Duration = Duration::from_secs(1);
    let listeners: Vec<(u16, Listener)> = channels
        .iter_mut()
        .filter_map(|channel| Some((channel.lines.channel, channel.listener.take()?)))
        .collect();
    thread::scope(|scope| {
        let mut workers = Vec::new();
        for (channel, listener) in listeners {
            let run = move || {
                let result = listener.run(stop);
                if result.is_err() {
                    stop.store(true, Ordering::Relaxed);
                }
                result
            };
            let worker = thread::Builder::new()
                .name(format!("lines {channel}"))
                .spawn_scoped(scope, run);
            workers.push(worker.map_err(|cause| {
                stop.store(true, Ordering::Relaxed);
                Failure::error(format!("cannot start a line thread: {cause}"))
            })?);
        }
        let mut told = Instant::now();
        while !workers.iter().all(|worker| worker.is_finished()) {
            thread::park_timeout(LOOK_EVERY);
            progress.figures(|| summary(channels));
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                channels
                    .iter_mut()
                    .for_each(|channel| channel.tell(args, progress));
            }
        }
        channels
            .iter_mut()
            .for_each(|channel| channel.tell(args, progress));
        let join = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().map_err(|_| {
                // Whatever else waits for the flag must end too.
                stop.store(true, Ordering::Relaxed);
                Failure::error("a line thread panicked: this is a bug; the journal has what was delivered")
            })
        };
        workers.into_iter().map(join).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_start_are_read() {
        assert_eq!(start_at("live"), Ok(StartAt::Live));
        assert_eq!(start_at("snapshot"), Ok(StartAt::Snapshot));
        assert_eq!(start_at("17"), Ok(StartAt::Sequence(17)));
        assert!(start_at("0").is_err() && start_at("end").is_err());
    }
}
