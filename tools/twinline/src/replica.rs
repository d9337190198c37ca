//! `twinline replica`: the publisher's journal again on another machine, and a recovery service over it.

use crate::cli::Global;
use crate::exit::{Exit, Failure, Finish};
use crate::line_args::{JournalArgs, journal_of};
use crate::metrics::ReplicaMetrics;
use crate::progress::Progress;
use crate::recover::{ServeArgs, next_port};
use crate::served::{self, Served};
use crate::signals;
use crate::summary::{Position, Summary};
use crate::units;
use clap::Args;
use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use twinline_journal::{JournalWatch, JournalWriter, SyncPolicy};
use twinline_recovery::follow::Stuck;
use twinline_recovery::replica::{self, ReplicaConfig, ReplicaStats, RunConfig};
use twinline_recovery::{ClientConfig, Mark, Service, ServiceConfig, SharedMark};

/// Keep the publisher's journal a second time, record by record, and serve it.
///
/// It follows one of the upstreams (recovery services of the publisher, or other replicas), and another one when that one
/// fails, falls silent or is behind. It acknowledges what it holds durably, discards what a new epoch made void, and
/// serves gaps, tails and snapshots itself, as far as its upstream has released. Killed or without power, the same command goes on
/// where its journal ends. An upstream that contradicts what it holds is never followed, and it says so.
///
/// A journal has no holes: if every upstream has dropped what comes next, it stops with an error, unless --start-anew says
/// that the journal may be moved aside for a new one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    twinline replica --upstream 10.0.0.5:17010 --journal /var/lib/twinline/replica --listen 10.0.0.6:17010\n  \
    twinline replica --upstream 10.0.0.5:17010,10.0.0.6:17010 --journal /tmp/twinline/replica-2 --listen 10.0.0.7:17010")]
pub(crate) struct Replica {
    /// Follow these, the first one that is as far as we are; of several channels each address is the first one's, and each
    /// next one is at the next port
    #[arg(long, value_name = "ADDRESS:PORT", value_delimiter = ',', required = true)]
    upstream: Vec<SocketAddr>,
    /// Who we are to upstreams
    #[arg(long, value_name = "NAME", default_value = "replica")]
    name: String,
    /// Leave an upstream that brings nothing for so long while it or another is further, or says nothing at all
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = units::duration)]
    patience: Duration,
    /// If all upstreams have dropped what comes next, move the journal aside and begin a new one with the oldest they keep
    #[arg(long)]
    start_anew: bool,
    /// Most bytes in a packet, at least as the publisher has it
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "1408",
        value_parser = units::size_in_memory,
        help_heading = "Journal"
    )]
    packet_size: usize,
    #[command(flatten)]
    journal: JournalArgs,
    #[command(flatten)]
    serve: ServeArgs,
}

/// One channel, as all threads see it.
pub(crate) struct Channel {
    pub(crate) number: u16,
    address: SocketAddr,
    dir: PathBuf,
    upstreams: Vec<SocketAddr>,
    mark: Arc<SharedMark>,
    pub(crate) progress: ReplicaStats,
    /// Others after the journal was begun anew.
    working: Mutex<Arc<Working>>,
}

/// What others see of the journal and the service that work now.
pub(crate) struct Working {
    pub(crate) served: Served,
    pub(crate) journal: JournalWatch,
}

impl Channel {
    pub(crate) fn working(&self) -> Arc<Working> {
        Arc::clone(&self.working.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The parts of a channel that work.
struct Parts {
    working: Arc<Working>,
    replica: replica::Replica,
    service: Service,
}

/// Runs `twinline replica`.
pub(crate) fn run(args: &Replica, global: &Global) -> Result<Finish, Failure> {
    let metrics = args.serve.metrics.bind()?;
    let stop = signals::stop_flag()?;
    let mut progress = Progress::new(global.progress);
    let started = Instant::now();
    let (mut channels, mut parts) = (Vec::new(), Vec::new());
    for place in 0..args.serve.channels.get() {
        let (channel, working) = args.channel(place)?;
        channels.push(channel);
        parts.push(working);
    }
    let channels = Arc::new(channels);
    let shown = ReplicaMetrics {
        channels: Arc::clone(&channels),
        sync_interval: args.sync_interval()?,
    };
    metrics.serve("replica", shown, &mut progress)?;
    let dir = args.journal.journal.display();
    let working: Vec<_> = channels.iter().map(Channel::working).collect();
    served::ready(&mut progress, working.iter().map(|of| &of.served), |addresses| {
        format!("replica in {dir}, serving it at {addresses}")
    });
    let result = watch(args, &channels, parts, &stop, &mut progress, started);
    let mut summary = together(&channels, started);
    summary.warnings = progress.warnings().to_vec();
    Ok(match result {
        Ok(()) => Finish::success(summary),
        Err(failure) => Finish::failed(summary, failure),
    })
}

impl Replica {
    fn sync_interval(&self) -> Result<Duration, Failure> {
        match self.journal.sync {
            SyncPolicy::Every(period) => Ok(period),
            SyncPolicy::EveryPacket => Ok(Duration::ZERO),
            SyncPolicy::None => Err(Failure::usage(
                "a replica acknowledges what is durable, so --sync none is no way for it: write packet or 100ms",
            )),
        }
    }

    fn follow_config(&self) -> Result<ReplicaConfig, Failure> {
        Ok(ReplicaConfig {
            sync_interval: self.sync_interval()?,
            patience: self.patience,
        })
    }

    /// Opens the channel of this place.
    fn channel(&self, place: u16) -> Result<(Channel, Parts), Failure> {
        let mark = Arc::new(SharedMark::default());
        let mut config = self.serve.config(&self.journal.journal, place)?;
        config.released = Some(Arc::clone(&mark));
        let number = config.channel;
        let upstreams = self.upstream.iter().map(|first| next_port(*first, place));
        let upstreams = upstreams
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Failure::usage("an upstream's port is too high for so many channels"))?;
        let dir = journal_of(&self.journal.journal, number, self.serve.channels.get().into());
        let parts = self.open(&dir, number, upstreams.len(), &mark, config)?;
        let channel = Channel {
            number,
            address: parts.service.local_addr(),
            dir,
            upstreams,
            mark,
            progress: ReplicaStats::default(),
            working: Mutex::new(Arc::clone(&parts.working)),
        };
        Ok((channel, parts))
    }

    fn open(
        &self,
        dir: &Path,
        number: u16,
        upstreams: usize,
        mark: &SharedMark,
        config: ServiceConfig,
    ) -> Result<Parts, Failure> {
        let mut settings = self.journal.of(number, self.packet_size);
        // What is durable is known only where it is asked for.
        settings.sync = SyncPolicy::None;
        let journal = JournalWriter::open(dir, settings)?;
        let watch = journal.watch();
        let replica = replica::Replica::open(dir, journal, upstreams, self.follow_config()?)?;
        mark.set(replica.released());
        let service = Service::bind(config)?;
        let working = Working {
            served: Served::by(&service, number),
            journal: watch,
        };
        Ok(Parts {
            working: Arc::new(working),
            replica,
            service,
        })
    }

    /// Follows and serves until it is to stop.
    fn live(
        &self,
        channel: &Channel,
        parts: Parts,
        stop: &AtomicBool,
        warnings: &Sender<String>,
    ) -> Result<(), Failure> {
        let mut client = ClientConfig::new(&self.name, channel.number);
        client.silence = self.patience.max(Duration::from_secs(2));
        let config = RunConfig {
            upstreams: channel.upstreams.clone(),
            client,
        };
        let warn = |text: String| {
            // The receiver outlives this thread.
            let _ = warnings.send(in_words(&text, &channel.upstreams));
        };
        let Parts { replica, service, .. } = parts;
        let stuck = thread::scope(|scope| {
            let handle = service.stop_handle();
            let serving = thread::Builder::new()
                .name("recovery".into())
                .spawn_scoped(scope, move || service.run())
                .map_err(|cause| Failure::error(format!("cannot start the service's thread: {cause}")))?;
            let ended = replica::run(replica, &config, &channel.mark, &channel.progress, stop, &warn);
            handle.stop();
            let served = serving.join().map_err(|_| {
                Failure::error("the service's thread panicked: this is a bug; start it again")
            })?;
            let stuck = ended?;
            served?;
            Ok::<_, Failure>(stuck)
        })?;
        match stuck {
            None => Ok(()),
            Some(Stuck::TooOld { at, .. }) if self.start_anew => {
                let aside = move_aside(&channel.dir)?;
                warn(format!(
                    "no upstream keeps session {} from {} on any more: the journal was moved to {}, and a new one is begun",
                    at.session,
                    at.next,
                    aside.display()
                ));
                self.begin_anew(channel, stop, warnings)
            }
            Some(Stuck::TooOld { at, .. }) => Err(Failure::error(format!(
                "no upstream keeps session {} from {} on any more: the replica was away for longer than their retention; \
                 start it with --start-anew to move {} aside and begin a new one with the oldest that they keep",
                at.session,
                at.next,
                channel.dir.display()
            ))),
            Some(Stuck::Contradicted) => Err(Failure {
                exit: Exit::Differ,
                text: format!(
                    "every upstream contradicts what {} holds: compare it with the publisher's journal (`twinline diff`); \
                     if this one is wrong, move it away and start the replica again",
                    channel.dir.display()
                ),
            }),
        }
    }

    fn begin_anew(
        &self,
        channel: &Channel,
        stop: &AtomicBool,
        warnings: &Sender<String>,
    ) -> Result<(), Failure> {
        let place = channel.number - self.serve.channel;
        let mut config = self.serve.config(&self.journal.journal, place)?;
        config.bind = channel.address;
        config.released = Some(Arc::clone(&channel.mark));
        let (upstreams, number) = (channel.upstreams.len(), channel.number);
        let parts = self.open(&channel.dir, number, upstreams, &channel.mark, config)?;
        *channel.working.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&parts.working);
        self.live(channel, parts, stop, warnings)
    }
}

/// Names upstreams by their addresses.
pub(crate) fn in_words(text: &str, upstreams: &[SocketAddr]) -> String {
    let mut text = text.to_string();
    for (number, address) in upstreams.iter().enumerate().rev() {
        text = text.replace(&format!("service {number} "), &format!("upstream {address} "));
        text = text.replace(&format!("service {number}:"), &format!("upstream {address}:"));
    }
    text
}

/// Renames a journal's directory to one that is free.
fn move_aside(dir: &Path) -> Result<PathBuf, Failure> {
    for number in 1..1000 {
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(format!(".old-{number}"));
        let aside = dir.with_file_name(name);
        if !aside.exists() {
            fs::rename(dir, &aside).map_err(|cause| {
                Failure::error(format!(
                    "cannot move {} to {}: {cause}",
                    dir.display(),
                    aside.display()
                ))
            })?;
            return Ok(aside);
        }
    }
    Err(Failure::error(format!(
        "there are a thousand old journals beside {}: remove some",
        dir.display()
    )))
}

/// Runs each channel on a thread of its own until one fails or they are to stop.
fn watch(
    args: &Replica,
    channels: &[Channel],
    parts: Vec<Parts>,
    stop: &AtomicBool,
    progress: &mut Progress,
    started: Instant,
) -> Result<(), Failure> {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    let (warnings, warned) = channel();
    thread::scope(|scope| {
        let mut workers = Vec::new();
        for (channel, parts) in channels.iter().zip(parts) {
            let warnings = warnings.clone();
            let worker = thread::Builder::new()
                .name(format!("replica {}", channel.number))
                .spawn_scoped(scope, move || args.live(channel, parts, stop, &warnings));
            let worker =
                worker.map_err(|cause| Failure::error(format!("cannot start a replica's thread: {cause}")));
            workers.push(worker.inspect_err(|_| stop.store(true, Ordering::Relaxed))?);
        }
        while !workers.iter().all(|worker| worker.is_finished()) {
            thread::park_timeout(LOOK_EVERY);
            if workers.iter().any(|worker| worker.is_finished()) {
                stop.store(true, Ordering::Relaxed);
            }
            warned.try_iter().for_each(|text| progress.warn(text));
            channels.iter().for_each(|of| of.working().served.tell(progress));
            progress.figures(|| together(channels, started));
        }
        warned.try_iter().for_each(|text| progress.warn(text));
        let mut result = Ok(());
        for worker in workers {
            let ended = worker.join();
            let panicked =
                |_| Failure::error("a replica's thread panicked: this is a bug; the journal is whole");
            result = result.and(ended.map_err(panicked)?);
        }
        result
    })
}

/// One channel's summary, or sums on top and each channel's own in `channels`.
fn together(channels: &[Channel], started: Instant) -> Summary {
    let each: Vec<Summary> = channels.iter().map(|channel| summary(channel, started)).collect();
    if let [only] = &each[..] {
        return only.clone();
    }
    let mut all = Summary::new("replica");
    for channel in &each {
        all.elapsed_ns = channel.elapsed_ns;
        all.messages += channel.messages;
        all.packets += channel.packets;
        all.bytes += channel.bytes;
    }
    all.set("channels", each);
    all
}

/// How many messages the furthest upstream is ahead, where both are in the same session.
pub(crate) fn lag(progress: &replica::Progress) -> Option<u64> {
    let held = progress.held;
    let at = held.map_or(Mark::default(), |tail| Mark::new(tail.session, tail.next));
    match progress.newest.session == at.session {
        true => Some(progress.newest.next.saturating_sub(at.next)),
        // What a newer session has, and what is left of the old one, nobody can tell from here.
        false => (progress.newest < at).then_some(0),
    }
}

fn summary(channel: &Channel, started: Instant) -> Summary {
    let progress = channel.progress.get();
    let place = |mark: Mark| json!({ "session": mark.session, "next": mark.next });
    let mut summary = Summary::new("replica");
    summary.elapsed_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    channel.working().served.fill(&mut summary);
    summary.position = progress.held.map(|tail| Position {
        channel: channel.number,
        session: tail.session,
        epoch: tail.epoch,
        next: tail.next,
        ended: tail.ended,
    });
    summary.messages = progress.counters.messages;
    summary.packets = progress.counters.packets;
    summary.bytes = progress.counters.bytes;
    let upstream = progress.upstream.and_then(|number| channel.upstreams.get(number));
    summary.set(
        "replica",
        json!({
            "upstream": upstream,
            "caught_up": progress.caught_up,
            "lag_messages": lag(&progress),
            "newest": place(progress.newest),
            "durable": place(progress.durable),
            "acknowledged": place(progress.acknowledged),
            "released": place(progress.released),
            "discarded": progress.counters.discarded,
            "tails": progress.follow.tails,
            "switches": progress.follow.switches,
            "bad_packets": progress.follow.bad_packets,
            "contradictions": progress.follow.contradictions,
            "cuts": progress.follow.cuts,
        }),
    );
    summary
}
