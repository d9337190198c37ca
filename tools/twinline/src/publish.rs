//! `twinline publish`: a source, a journal, two lines.

mod heal;
mod left_out;
mod sending;
mod source;
pub(crate) mod watch;

use crate::cli::Global;
use crate::exit::{Failure, Finish};
use crate::io_args::IoArgs;
use crate::line_args::{ChannelArgs, JournalArgs, LineArgs, ThreadArgs, journal_of};
use crate::metrics::MetricsArgs;
use crate::progress::Progress;
use crate::signals;
use crate::summary::SourceSummary;
use crate::units;
use clap::Args;
use heal::HealArgs;
use sending::SendingArgs;
use source::{OpenSource, SourceArgs};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use twinline_feed::channels::{self, ChannelJob, SourceFailure, SourceJob, SourceStatus, Spread};
use twinline_feed::lines::NetworkLines;
use twinline_feed::publisher::{self, DEFAULT_BLOCK, Phase, Place, PublisherConfig};
use twinline_feed::run::{self, RunConfig, RunEnd, RunError, unix_now};
use twinline_feed::source::Source;
use twinline_journal::epoch::Holder;
use watch::{Watch, WatchedChannel, WatchedSource};

/// Publish a source on both lines and into a journal.
///
/// What was published is in the journal before it is on a line. However the publisher ends, the same command goes on
/// where the journal ends, in the same session; once the source has said everything, the session is complete, and the
/// same command only says so. A new session starts with a higher --session.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        twinline publish --from day.itch50.gz --pace 10x --journal /var/lib/twinline/publisher\n  \
        twinline publish --from AAPL_2012-06-21_message_50.csv.gz --rate 20000 --journal /var/lib/twinline/publisher\n  \
        twinline publish --generate 200000 --mean-rate 50000 --pace recorded --journal /tmp/twinline/orders\n  \
        twinline publish --source itch=day.itch50.gz,pace=recorded,retry=forever --journal /tmp/twinline/again\n  \
        twinline publish --channels 3 --spread A-F=1,G-M=2,*=3 --source itch=day.itch50.gz --source orders=10000 --journal /tmp/twinline/three\n  \
        twinline publish --source tcp=127.0.0.1:17020 --journal /tmp/twinline/engine\n  \
        twinline publish --source shm=/tmp/twinline/engine.socket --idle spin --journal /tmp/twinline/engine\n  \
        twinline publish --generate 5000 --profile ticks --symbols 1000 --journal /tmp/twinline/ticks\n  \
        twinline publish --generate 5000 --replica 10.0.0.6:17010,10.0.0.7:17010 --journal /tmp/twinline/replicated")]
pub(crate) struct Publish {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    channels: ChannelArgs,
    /// Which channel a symbol is on: hash (any, evenly), or a list of what symbols begin with, ranges or names, as in
    /// A-F=1,G-M=2,TSLA=1,*=3; a symbol stays on the channel that named it first
    #[arg(long, value_name = "RULE", default_value = "hash", help_heading = "Lines")]
    spread: Spread,
    #[command(flatten)]
    journal: JournalArgs,
    /// The file that says who may publish which sequences; it must outlive the journal and be the same for all
    /// publishers of the channel [default: the journal's directory with .epochs behind its name]
    #[arg(long, value_name = "FILE", help_heading = "Session")]
    epoch_store: Option<PathBuf>,
    /// The session: a number that only grows [default: go on with the newest one, or start session 1]
    #[arg(long, value_name = "NUMBER", help_heading = "Session")]
    session: Option<u32>,
    /// The trading date that the session's start names, as YYYYMMDD
    #[arg(long, value_name = "YYYYMMDD", help_heading = "Session")]
    date: Option<u32>,
    /// The publisher's name that the session's start names: 16 bytes of it
    #[arg(
        long,
        value_name = "NAME",
        default_value = "twinline",
        help_heading = "Session"
    )]
    name: String,
    /// Send a heartbeat after this long without anything else
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = units::duration, help_heading = "Session")]
    heartbeat: Duration,
    /// Send only heartbeats for this long before the first packet
    #[arg(long, value_name = "TIME", default_value = "300ms", value_parser = units::duration, help_heading = "Session")]
    lead_in: Duration,
    /// Say for this long after the end of the session that it has ended
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = units::duration, help_heading = "Session")]
    linger: Duration,
    #[command(flatten)]
    io: IoArgs,
    #[command(flatten)]
    sending: SendingArgs,
    /// Warn when a source has said nothing for this long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration, help_heading = "Source")]
    source_stall: Duration,
    #[command(flatten)]
    heal: HealArgs,
    #[command(flatten)]
    thread: ThreadArgs,
    #[command(flatten)]
    metrics: MetricsArgs,
}

/// Runs `twinline publish`.
pub(crate) fn run(args: &Publish, global: &Global) -> Result<Finish, Failure> {
    let all_lines = args.channels.all()?;
    let numbers: Vec<u16> = all_lines.iter().map(|lines| lines.channel).collect();
    args.spread.check(&numbers).map_err(Failure::usage)?;
    left_out::check(&args.journal.journal, &numbers, args.session)?;
    let metrics = args.metrics.bind()?;
    let stop = signals::stop_flag()?;
    let mut progress = Progress::new(global.progress);
    // The sources and the lines first: where they are wrong nothing is created.
    let specs = args.source.specs()?;
    let least = all_lines.iter().map(|lines| lines.packet_size).min();
    let sources = specs
        .iter()
        .map(|spec| spec.open(least.unwrap_or_default()))
        .collect::<Result<Vec<_>, _>>()?;
    let opened = all_lines
        .iter()
        .enumerate()
        .map(|(place, lines)| {
            let options = args.io.senders(place, args.sending.options(lines.packet_size));
            NetworkLines::open(&lines.line_a, &lines.line_b, options)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (mut channels, mut watched) = (Vec::new(), Vec::new());
    for (place, (lines, opened)) in all_lines.iter().zip(opened).enumerate() {
        let home = home(args, all_lines.len(), lines)?;
        args.heal.heal(place, &home, &stop, &mut progress)?;
        let channel = open(args, place, &home, lines, opened)?;
        watched.push(WatchedChannel::new(lines, &channel.publisher, args.journal.sync));
        channels.push(channel);
    }
    let complete = |channel: &ChannelJob<_>| channel.publisher.phase() == Phase::Ending;
    let unasked = channels.iter().all(complete);
    let watch = Arc::new(Watch {
        started: Instant::now(),
        channels: watched,
        sources: sources
            .iter()
            .map(|source| WatchedSource::new(source, unasked))
            .collect(),
        stall_after: args.source_stall,
    });
    for (channel, of) in channels.iter().zip(&watch.channels) {
        if complete(channel) {
            progress.warn(format!(
                "session {} is complete in the journal{}: nothing is left to publish; start a new one with --session {}",
                of.session,
                watch.named(of.channel),
                of.session + 1
            ));
        }
    }
    metrics.serve("publish", Arc::clone(&watch), &mut progress)?;
    progress.ready(None, &watch.ready());
    let (warnings, warned) = channel();
    let job = Job {
        channels,
        sources,
        statuses: watch
            .sources
            .iter()
            .map(|source| Arc::clone(&source.status))
            .collect(),
        spread: args.spread.clone(),
        config: RunConfig {
            idle: args.thread.idle,
            ..RunConfig::default()
        },
    };
    let done = watch_over(job, &stop, &watch, warnings, &warned, &mut progress)?;
    Ok(finish(done, &watch, &progress))
}

/// Opens the publisher of the channel of this place.
fn open(
    args: &Publish,
    place: usize,
    home: &Place,
    lines: &LineArgs,
    opened: NetworkLines,
) -> Result<ChannelJob<NetworkLines>, Failure> {
    let config = PublisherConfig {
        packet_limit: lines.packet_size,
        heartbeat_interval: args.heartbeat,
        lead_in: args.lead_in,
        linger: args.linger,
        name: args.name.clone(),
        trading_date: args.date,
        burst: args.sending.burst(),
        ..PublisherConfig::default()
    };
    let opened = publisher::open(config, home, opened, unix_now())?;
    Ok(ChannelJob {
        channel: lines.channel,
        publisher: opened.publisher,
        reserver: opened.reserver,
        core: args.thread.cpu.get(place).copied(),
    })
}

/// Where a channel's journal and epochs are.
fn home(args: &Publish, of: usize, lines: &LineArgs) -> Result<Place, Failure> {
    let store = args.epoch_store.clone().unwrap_or_else(|| {
        let mut name = args.journal.journal.file_name().unwrap_or_default().to_owned();
        name.push(".epochs");
        args.journal.journal.with_file_name(name)
    });
    let holder = Holder::this_machine().map_err(|cause| {
        Failure::error(format!("the system does not tell which machine this is: {cause}"))
    })?;
    Ok(Place {
        journal: journal_of(&args.journal.journal, lines.channel, of),
        journal_config: args.journal.config(lines),
        store,
        session: args.session,
        holder,
        block: DEFAULT_BLOCK,
    })
}

/// What the publishing threads are given.
struct Job {
    channels: Vec<ChannelJob<NetworkLines>>,
    sources: Vec<OpenSource>,
    statuses: Vec<Arc<SourceStatus>>,
    spread: Spread,
    config: RunConfig,
}

/// What they leave, in the order of the job's.
struct Done {
    channels: Vec<Result<RunEnd, RunError>>,
    /// How each source ended, with what it said.
    sources: Vec<(Result<RunEnd, SourceFailure>, SourceSummary)>,
}

impl Job {
    fn run(mut self, stop: &AtomicBool, warnings: &Sender<String>) -> Result<Done, Failure> {
        // The receiver outlives these threads.
        let warn = |text: String| drop(warnings.send(text));
        if let ([channel], [source]) = (&mut self.channels[..], &mut self.sources[..]) {
            return Ok(alone(channel, source, &self.config, stop, &warn));
        }
        let resumed_at: Vec<u64> = self
            .sources
            .iter()
            .map(|source| resumed_at(&self.channels, source))
            .collect();
        let jobs = self.sources.into_iter().zip(self.statuses);
        let jobs = jobs
            .map(|(source, status)| SourceJob { source, status })
            .collect();
        let ended = channels::run(self.channels, jobs, &self.spread, &self.config, stop, &warn)?;
        let published: u64 = ended
            .channels
            .iter()
            .map(|(publisher, _)| publisher.source_messages())
            .sum();
        let sources = ended.sources.into_iter().zip(resumed_at);
        Ok(Done {
            channels: ended.channels.into_iter().map(|(_, result)| result).collect(),
            sources: sources
                .map(|((source, result), resumed_at)| {
                    (result, source::summary(&source, resumed_at, published))
                })
                .collect(),
        })
    }
}

/// One source on one channel: the publishing thread, which is this one, polls it.
fn alone(
    channel: &mut ChannelJob<NetworkLines>,
    source: &mut OpenSource,
    config: &RunConfig,
    stop: &AtomicBool,
    warn: &dyn Fn(String),
) -> Done {
    if let Some(error) = channel.core.and_then(|core| run::pin(core).err()) {
        warn(error.to_string());
    }
    let resumed_at = channel.publisher.position(source.id());
    let result = run::run(
        &mut channel.publisher,
        channel.reserver.take(),
        source,
        config,
        stop,
    );
    let said = source::summary(source, resumed_at, channel.publisher.source_messages());
    Done {
        channels: vec![result],
        sources: vec![(Ok(RunEnd::Complete), said)],
    }
}

/// The least position of the source on channels that still want it.
fn resumed_at(channels: &[ChannelJob<NetworkLines>], source: &OpenSource) -> u64 {
    let open = channels
        .iter()
        .filter(|channel| matches!(channel.publisher.phase(), Phase::LeadIn | Phase::Live));
    let least = open.map(|channel| channel.publisher.position(source.id())).min();
    least.unwrap_or_else(|| source.position())
}

/// Runs the job on threads of its own and shows how it goes.
fn watch_over(
    job: Job,
    stop: &AtomicBool,
    watch: &Watch,
    warnings: Sender<String>,
    warned: &Receiver<String>,
    progress: &mut Progress,
) -> Result<Done, Failure> {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    const STOPS_WITHIN: Duration = Duration::from_secs(1);
    thread::scope(|scope| {
        let name = thread::Builder::new().name("publisher".into());
        let worker = name
            .spawn_scoped(scope, move || job.run(stop, &warnings))
            .map_err(|cause| Failure::error(format!("cannot start the publishing thread: {cause}")))?;
        let mut stopping = None;
        while !worker.is_finished() {
            thread::park_timeout(LOOK_EVERY);
            if stop.load(Ordering::Relaxed) {
                let since = stopping.get_or_insert_with(Instant::now);
                if since.elapsed() > STOPS_WITHIN {
                    progress.warn(
                        "it was asked to stop and still waits for the disk, or for a source that reads from a pipe: a \
                         second signal ends it at once; what is in the journal stands",
                    );
                }
            }
            warned.try_iter().for_each(|text| progress.warn(text));
            watch
                .channels
                .iter()
                .for_each(|channel| channel.tell_health(progress));
            watch.tell_sources(progress);
            progress.figures(|| watch.summary());
        }
        worker.join().map_err(|_| {
            Failure::error("the publishing thread panicked: this is a bug; the journal is whole")
        })?
    })
}

fn finish(done: Done, watch: &Watch, progress: &Progress) -> Finish {
    let mut summary = watch.summary();
    let complete = done
        .channels
        .iter()
        .all(|result| matches!(result, Ok(RunEnd::Complete)));
    if let Some(position) = &mut summary.position {
        position.ended = complete;
    }
    summary.set("complete", complete);
    summary.warnings = progress.warnings().to_vec();
    let mut failure = None;
    for (result, of) in done.channels.into_iter().zip(&watch.channels) {
        if let Err(error) = result {
            let error = match watch.channels.len() {
                1 => error.into(),
                _ => Failure::error(format!("channel {}: {error}", of.channel)),
            };
            failure.get_or_insert(error);
        }
    }
    let mut by_number = BTreeMap::new();
    for ((result, said), of) in done.sources.into_iter().zip(&watch.sources) {
        if let Err(error) = result {
            failure.get_or_insert(Failure::error(format!("source {}: {error}", of.id)));
        }
        by_number.insert(of.id, said);
    }
    if by_number.len() == 1 {
        summary.source = by_number.pop_first().map(|(_, said)| said);
    } else {
        summary.set("sources", by_number);
    }
    match failure {
        None => Finish::success(summary),
        Some(failure) => Finish::failed(summary, failure),
    }
}
