//! `twinline recover`: the recovery service over a publisher's journal.

use crate::cli::Global;
use crate::exit::{Failure, Finish};
use crate::line_args::journal_of;
use crate::metrics::{MetricsArgs, ServiceMetrics};
use crate::progress::Progress;
use crate::served::{self, Served};
use crate::signals;
use crate::summary::{Counts, Summary};
use crate::units;
use clap::Args;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use twinline_recovery::{Limits, Service, ServiceConfig, ServiceError, SnapshotConfig};

/// Serve what both lines lost, tails and snapshots, from a publisher's journal, over TCP.
///
/// It may be started before the publisher: then it waits for the journal. It reads the journal while it is written and
/// never changes it; any number of services can serve one journal. It keeps the books of the newest session too and serves
/// snapshots of them, which listeners begin with or go on from after a loss. Without TLS and tokens, which it does not have yet,
/// it belongs on a network that only listeners reach: it listens on loopback unless told otherwise.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  twinline recover --journal /var/lib/twinline/publisher --listen 10.0.0.5:17010\n  twinline recover --channels 3 --journal /var/lib/twinline/three --listen 10.0.0.5:17010\n  twinline recover --journal /var/lib/twinline/publisher --snapshots /var/lib/twinline/snapshots --snapshot-time 10s"
)]
pub(crate) struct Recover {
    /// The publisher's journal; of several channels the directory that has each channel's as channel-N
    #[arg(long, value_name = "DIR")]
    journal: PathBuf,
    #[command(flatten)]
    serve: ServeArgs,
}

/// Where a journal is served, and to how many. Shared with `replica`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The address to listen at; port 0 takes a free one and says which. Of several channels it is the first one's; each
    /// next one is served at the next port (port 0: at any free one each)
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:17010")]
    pub(crate) listen: SocketAddr,
    /// The channel that the journal is of; of several the first one
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) channel: u16,
    /// So many channels, numbered from --channel on
    #[arg(long, value_name = "COUNT", default_value = "1")]
    pub(crate) channels: NonZeroU16,
    /// Where files of snapshots are kept, so that it starts fast on a long journal; of several channels each one's in channel-N
    /// [default: beside the journal, with .snapshots behind its name]
    #[arg(long, value_name = "DIR", help_heading = "Snapshots")]
    snapshots: Option<PathBuf>,
    /// Keep no books and serve no snapshots
    #[arg(long, conflicts_with = "snapshots", help_heading = "Snapshots")]
    no_snapshots: bool,
    /// Write a file after so many messages
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1_000_000,
        help_heading = "Snapshots"
    )]
    snapshot_messages: u64,
    /// Write a file after this time, if there was any message
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = units::duration, help_heading = "Snapshots")]
    snapshot_time: Duration,
    /// Files of snapshots that are kept
    #[arg(long, value_name = "COUNT", default_value_t = 3, help_heading = "Snapshots")]
    keep_snapshots: usize,
    /// Clients that are sent a snapshot at once
    #[arg(long, value_name = "COUNT", default_value_t = 8, help_heading = "Snapshots")]
    max_transfers: usize,
    /// Clients connected at once
    #[arg(long, value_name = "COUNT", default_value_t = 1024, help_heading = "Limits")]
    max_clients: usize,
    /// Ranges in a request
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().max_ranges, help_heading = "Limits")]
    max_ranges: u16,
    /// Requests that a client may have open
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().max_requests, help_heading = "Limits")]
    max_requests: u16,
    /// Messages sent for a request before it is answered as partial
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().max_messages, help_heading = "Limits")]
    max_messages: u32,
    /// Messages a minute that a client is sent [default: no limit]
    #[arg(long, value_name = "COUNT", help_heading = "Limits")]
    client_rate: Option<u32>,
    /// Messages a minute that all clients together are sent [default: no limit]
    #[arg(long, value_name = "COUNT", help_heading = "Limits")]
    total_rate: Option<u32>,
    /// Cut a client from which nothing came for this long
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = units::duration, help_heading = "Limits")]
    idle_timeout: Duration,
    /// Cut a client that does not take an answer within this
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration, help_heading = "Limits")]
    slow_timeout: Duration,
    /// Tails open at once, of all clients together
    #[arg(long, value_name = "COUNT", default_value_t = 64, help_heading = "Limits")]
    max_tails: usize,
    /// While tails are open, look at the journal for what is new this often, in whole milliseconds; 0ms: all the time
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = units::duration, help_heading = "Limits")]
    tail_interval: Duration,
    #[command(flatten)]
    pub(crate) metrics: MetricsArgs,
}

/// This address with a port so many places further; port 0 stays.
pub(crate) fn next_port(first: SocketAddr, place: u16) -> Option<SocketAddr> {
    let port = match first.port() {
        0 => Some(0),
        port => port.checked_add(place),
    };
    port.map(|port| SocketAddr::new(first.ip(), port))
}

impl ServeArgs {
    /// What the service of the channel of this place is, over the journals in `dir`.
    pub(crate) fn config(&self, dir: &Path, place: u16) -> Result<ServiceConfig, Failure> {
        let channel = self.channel.checked_add(place);
        let (Some(channel), Some(address)) = (channel, next_port(self.listen, place)) else {
            return Err(Failure::usage(format!(
                "there is no room for {} channels from channel {} and {} on",
                self.channels, self.channel, self.listen
            )));
        };
        let journal = journal_of(dir, channel, self.channels.get().into());
        let mut config = ServiceConfig::new(&journal, channel, address);
        config.max_tails = self.max_tails;
        config.tail_interval = self.tail_interval;
        config.max_clients = self.max_clients;
        config.messages_per_minute = self.total_rate;
        config.limits = Limits {
            max_ranges: self.max_ranges,
            max_requests: self.max_requests,
            max_messages: self.max_messages,
            messages_per_minute: self.client_rate,
            idle_timeout: self.idle_timeout,
            slow_timeout: self.slow_timeout,
            ..Limits::default()
        };
        if !self.no_snapshots {
            let dir = match &self.snapshots {
                Some(dir) => journal_of(dir, channel, self.channels.get().into()),
                None => SnapshotConfig::beside(&journal),
            };
            config.snapshots = Some(SnapshotConfig {
                every_messages: self.snapshot_messages,
                every: self.snapshot_time,
                keep: self.keep_snapshots,
                max_transfers: self.max_transfers,
                ..SnapshotConfig::new(dir)
            });
        }
        Ok(config)
    }
}

/// Runs `twinline recover`.
pub(crate) fn run(args: &Recover, global: &Global) -> Result<Finish, Failure> {
    let metrics = args.serve.metrics.bind()?;
    let stop = signals::stop_flag()?;
    let mut progress = Progress::new(global.progress);
    let started = Instant::now();
    let (mut services, mut channels) = (Vec::new(), Vec::new());
    for place in 0..args.serve.channels.get() {
        let config = args.serve.config(&args.journal, place)?;
        let number = config.channel;
        let service = Service::bind(config)?;
        channels.push(Served::by(&service, number));
        services.push(service);
    }
    let channels = Arc::new(channels);
    metrics.serve("recover", ServiceMetrics(Arc::clone(&channels)), &mut progress)?;
    served::ready(&mut progress, channels.iter(), |addresses| {
        format!("serving {} at {addresses}", args.journal.display())
    });
    let figures = || together(&channels, started);
    let mut troubles = |progress: &mut Progress| channels.iter().for_each(|of| of.tell(progress));
    let result = serve(services, &stop, &mut progress, &figures, &mut troubles)?;
    let mut summary = figures();
    summary.warnings = progress.warnings().to_vec();
    match result {
        Ok(()) => Ok(Finish::success(summary)),
        Err(error) => Ok(Finish::failed(summary, error.into())),
    }
}

/// Runs each service on a thread of its own until one fails or they are to stop.
fn serve(
    services: Vec<Service>,
    stop: &AtomicBool,
    progress: &mut Progress,
    figures: &impl Fn() -> Summary,
    troubles: &mut impl FnMut(&mut Progress),
) -> Result<Result<(), ServiceError>, Failure> {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    let (mut handles, mut workers) = (Vec::new(), Vec::new());
    for service in services {
        handles.push(service.stop_handle());
        let worker = thread::Builder::new()
            .name("recovery".into())
            .spawn(move || service.run());
        workers.push(
            worker.map_err(|cause| Failure::error(format!("cannot start a service's thread: {cause}")))?,
        );
    }
    while !workers.iter().all(|worker| worker.is_finished()) {
        thread::park_timeout(LOOK_EVERY);
        if stop.load(Ordering::Relaxed) || workers.iter().any(|worker| worker.is_finished()) {
            handles.iter().for_each(|handle| handle.stop());
        }
        troubles(progress);
        progress.figures(figures);
    }
    let mut result = Ok(());
    for worker in workers {
        let ended = worker.join();
        let panicked = |_| Failure::error("a service's thread panicked: this is a bug; start it again");
        result = result.and(ended.map_err(panicked)?);
    }
    Ok(result)
}

/// One channel's summary, or sums on top and each channel's own in `channels`.
fn together(channels: &[Served], started: Instant) -> Summary {
    let each: Vec<Summary> = channels.iter().map(|channel| summary(channel, started)).collect();
    if let [only] = &each[..] {
        return only.clone();
    }
    let mut all = Summary::new("recover");
    let mut counts = Counts::new();
    for channel in &each {
        all.elapsed_ns = channel.elapsed_ns;
        all.messages += channel.messages;
        all.packets += channel.packets;
        all.bytes += channel.bytes;
        for (name, count) in channel.recovery.iter().flatten() {
            *counts.entry(name.clone()).or_default() += count;
        }
    }
    all.recovery = Some(counts);
    all.set("channels", each);
    all
}

fn summary(channel: &Served, started: Instant) -> Summary {
    let stats = &channel.stats;
    let get = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let mut summary = Summary::new("recover");
    summary.elapsed_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    summary.messages = get(&stats.messages);
    summary.packets = get(&stats.packets);
    summary.bytes = get(&stats.bytes);
    channel.fill(&mut summary);
    if let Some(error) = stats.last_journal_error() {
        summary.set("last_journal_error", error);
    }
    summary
}
