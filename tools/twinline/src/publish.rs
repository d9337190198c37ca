//! `twinline publish`: a source, a journal, two lines.

mod source;

use crate::cli::Global;
use crate::exit::{Failure, Finish};
use crate::line_args::{JournalArgs, LineArgs, ThreadArgs};
use crate::progress::Progress;
use crate::signals;
use crate::summary::{LineSummary, LinesSummary, Position, SentSummary, SourceSummary, Summary};
use crate::units;
use clap::Args;
use source::{AnySource, SourceArgs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};
use twinline_feed::lines::SocketLines;
use twinline_feed::publisher::{
    self, Counters, DEFAULT_BLOCK, Line, Phase, Place, Publisher, PublisherConfig, Reserve, Reserver,
};
use twinline_feed::run::{self, RunConfig, RunEnd, RunError, unix_now};
use twinline_feed::source::Source;
use twinline_journal::epoch::Holder;
use twinline_line::{LineHealth, SenderOptions};

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
        twinline publish --generate 5000 --profile ticks --symbols 1000 --journal /tmp/twinline/ticks")]
pub(crate) struct Publish {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    lines: LineArgs,
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
    /// Routers that packets may cross; 1: this network only
    #[arg(long, value_name = "HOPS", default_value_t = 1, help_heading = "Lines", value_parser = clap::value_parser!(u8).range(1..))]
    ttl: u8,
    #[command(flatten)]
    thread: ThreadArgs,
}

/// Runs `twinline publish`.
pub(crate) fn run(args: &Publish, global: &Global) -> Result<Finish, Failure> {
    args.lines.check()?;
    let stop = signals::stop_flag()?;
    let mut progress = Progress::new(global.progress);
    // The source and the lines first: where they are wrong nothing is created.
    let source = AnySource::open(&args.source)?;
    let options = SenderOptions {
        ttl: args.ttl,
        ..SenderOptions::default()
    };
    let lines = SocketLines::open(&args.lines.line_a, &args.lines.line_b, options)?;
    let opened = publisher::open(config(args), &place(args)?, lines.clone(), unix_now())?;
    let watch = Watch::new(args, &opened.publisher, lines);
    if opened.publisher.phase() == Phase::Ending {
        progress.warn(format!(
            "session {} is complete in the journal: nothing is left to publish; start a new one with --session {}",
            watch.session,
            watch.session + 1
        ));
    }
    progress.ready(
        None,
        &format!(
            "publishing session {} epoch {} from sequence {} on",
            watch.session, watch.epoch, watch.begin
        ),
    );
    let (warnings, warned) = channel();
    let job = Job {
        publisher: opened.publisher,
        reserver: opened.reserver,
        source,
        config: RunConfig {
            idle: args.thread.idle,
            ..RunConfig::default()
        },
        cpu: args.thread.cpu,
    };
    let done = watch_over(job, &stop, &watch, warnings, &warned, &mut progress)?;
    Ok(finish(done, &watch, &progress))
}

fn config(args: &Publish) -> PublisherConfig {
    PublisherConfig {
        packet_limit: args.lines.packet_size,
        heartbeat_interval: args.heartbeat,
        lead_in: args.lead_in,
        linger: args.linger,
        name: args.name.clone(),
        trading_date: args.date,
        ..PublisherConfig::default()
    }
}

fn place(args: &Publish) -> Result<Place, Failure> {
    let store = args.epoch_store.clone().unwrap_or_else(|| {
        let mut name = args.journal.journal.file_name().unwrap_or_default().to_owned();
        name.push(".epochs");
        args.journal.journal.with_file_name(name)
    });
    let holder = Holder::this_machine().map_err(|cause| {
        Failure::error(format!("the system does not tell which machine this is: {cause}"))
    })?;
    Ok(Place {
        journal: args.journal.journal.clone(),
        journal_config: args.journal.config(&args.lines),
        store,
        session: args.session,
        holder,
        block: DEFAULT_BLOCK,
    })
}

/// What the publishing thread is given.
struct Job {
    publisher: Publisher<SocketLines>,
    reserver: Option<Reserver>,
    source: AnySource,
    config: RunConfig,
    cpu: Option<usize>,
}

/// What it leaves.
struct Done {
    result: Result<RunEnd, RunError>,
    source: SourceSummary,
}

impl Job {
    fn run(mut self, stop: &AtomicBool, warnings: &Sender<String>) -> Done {
        if let Some(error) = self.cpu.and_then(|core| run::pin(core).err()) {
            // The receiver outlives this thread.
            let _ = warnings.send(error.to_string());
        }
        let resumed_at = self.publisher.position(self.source.id());
        let source = &mut self.source;
        let result = run::run(&mut self.publisher, self.reserver, source, &self.config, stop);
        Done {
            result,
            source: source::summary(source, resumed_at, self.publisher.source_messages()),
        }
    }
}

/// What the main thread sees of a running publisher.
struct Watch {
    addresses: [String; 2],
    channel: u16,
    session: u32,
    epoch: u32,
    begin: u64,
    started: Instant,
    lines: SocketLines,
    counters: Arc<Counters>,
    reserve: Arc<Reserve>,
}

impl Watch {
    fn new(args: &Publish, publisher: &Publisher<SocketLines>, lines: SocketLines) -> Self {
        Self {
            addresses: [args.lines.line_a.to_string(), args.lines.line_b.to_string()],
            channel: args.lines.channel,
            session: publisher.session(),
            epoch: publisher.epoch(),
            begin: publisher.next_sequence(),
            started: Instant::now(),
            lines,
            counters: publisher.counters(),
            reserve: publisher.reserve(),
        }
    }

    fn summary(&self) -> Summary {
        let mut summary = Summary::new("publish");
        summary.elapsed_ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        summary.position = Some(Position {
            channel: self.channel,
            session: self.session,
            epoch: self.epoch,
            next: self.reserve.next(),
            ended: false,
        });
        summary.messages = self.counters.messages.get();
        summary.packets = self.counters.packets.get();
        summary.bytes = self.counters.bytes.get();
        summary.set("heartbeats", self.counters.heartbeats.get());
        summary.lines = Some(LinesSummary {
            a: self.line(Line::A),
            b: self.line(Line::B),
        });
        summary
    }

    fn line(&self, line: Line) -> LineSummary {
        let counts = self.lines.sender(line).counts();
        LineSummary {
            address: self.addresses[line.index()].clone(),
            packets: counts.sent,
            bytes: counts.bytes,
            sent: Some(SentSummary {
                send_failures: counts.dropped + counts.errors,
                would_block: counts.would_block,
            }),
            heard: None,
        }
    }

    /// Tells of lines that fail or work again.
    fn tell_health(&self, progress: &mut Progress) {
        for line in [Line::A, Line::B] {
            let sender = self.lines.sender(line);
            match sender.health_change() {
                Some(LineHealth::Failing(cause)) => {
                    progress.warn(format!("line {} cannot be sent on: {cause}", sender.address()));
                }
                Some(LineHealth::Well) => progress.warn(format!("line {} works", sender.address())),
                None => {}
            }
        }
    }
}

/// Runs the job on a thread of its own and shows how it goes.
fn watch_over(
    job: Job,
    stop: &AtomicBool,
    watch: &Watch,
    warnings: Sender<String>,
    warned: &Receiver<String>,
    progress: &mut Progress,
) -> Result<Done, Failure> {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    thread::scope(|scope| {
        let name = thread::Builder::new().name("publisher".into());
        let worker = name
            .spawn_scoped(scope, move || job.run(stop, &warnings))
            .map_err(|cause| Failure::error(format!("cannot start the publishing thread: {cause}")))?;
        while !worker.is_finished() {
            thread::park_timeout(LOOK_EVERY);
            warned.try_iter().for_each(|text| progress.warn(text));
            watch.tell_health(progress);
            progress.figures(|| watch.summary());
        }
        worker.join().map_err(|_| {
            Failure::error("the publishing thread panicked: this is a bug; the journal is whole")
        })
    })
}

fn finish(done: Done, watch: &Watch, progress: &Progress) -> Finish {
    let mut summary = watch.summary();
    let complete = matches!(done.result, Ok(RunEnd::Complete));
    if let Some(position) = &mut summary.position {
        position.ended = complete;
    }
    summary.set("complete", complete);
    summary.source = Some(done.source);
    summary.warnings = progress.warnings().to_vec();
    match done.result {
        Ok(_) => Finish::success(summary),
        Err(error) => Finish::failed(summary, error.into()),
    }
}
