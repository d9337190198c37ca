//! Several channels, several sources: a thread each, and a queue from every source to every channel.
//!
//! A source's thread polls it and spreads its events over the channels by the [`Spread`] rule; a channel's thread
//! publishes what its queues bring. How far each source is, is kept on every channel: a source is resumed at the least of
//! these positions, and each channel is given only what it does not have. With one source and one channel none of this is
//! needed: [`run`](crate::run) polls the source in the publishing thread.

mod channel;
mod queue;
mod router;
mod source;
mod spread;

pub use spread::{List, Spread, SpreadError};

use crate::publisher::{Lines, Phase, Publisher, Reserver};
use crate::run::{RunConfig, RunEnd, RunError, Shell, pin};
use crate::source::{Source, SourceError};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::io;
use std::sync::Arc;
use std::thread;

/// A channel to run.
#[derive(Debug)]
pub struct ChannelJob<L: Lines> {
    /// Its number.
    pub channel: u16,
    /// Its publisher, as it was opened.
    pub publisher: Publisher<L>,
    /// What reserves its sequences.
    pub reserver: Option<Reserver>,
    /// The core that its thread is pinned to.
    pub core: Option<usize>,
}

/// A source to run.
#[derive(Debug)]
pub struct SourceJob<S> {
    /// The source.
    pub source: S,
    /// Where the thread says how far it is.
    pub status: Arc<SourceStatus>,
}

/// How far a source is, to be read from any thread.
#[derive(Debug, Default)]
pub struct SourceStatus {
    position: AtomicU64,
    committed: AtomicU64,
    ended: AtomicBool,
}

impl SourceStatus {
    fn set(&self, position: u64, committed: u64) {
        self.position.store(position, Ordering::Relaxed);
        self.committed.store(committed, Ordering::Relaxed);
    }

    /// Source messages consumed.
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// Source messages that are in the journals of all channels that they went to.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    /// True once it has said everything, and that is in the journals.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// Why a source ended before it had said everything. The other sources go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceFailure {
    /// It broke.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It said what is not for sources to say.
    #[error("{name} is not a market message: only market messages can be published")]
    NotMarketData {
        /// The template.
        name: &'static str,
    },
}

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The rule does not fit the channels.
    #[error(transparent)]
    Spread(#[from] SpreadError),
    /// Two sources have the same number.
    #[error("two sources have the number {source_id}: give each its own")]
    SameSource {
        /// The number.
        source_id: u16,
    },
    /// The system starts no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// What a run leaves: the jobs' parts in their order, each with how it ended.
#[derive(Debug)]
pub struct Ended<L: Lines, S> {
    /// The channels.
    pub channels: Vec<(Publisher<L>, Result<RunEnd, RunError>)>,
    /// The sources.
    pub sources: Vec<(S, Result<RunEnd, SourceFailure>)>,
}

/// Says that everybody is to stop: the caller wants it, or a channel failed.
#[derive(Debug)]
struct Halt<'r> {
    stop: &'r AtomicBool,
    failed: AtomicBool,
}

impl Halt<'_> {
    fn is_set(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.failed.load(Ordering::Relaxed)
    }
}

/// Publishes what all sources say on all channels until all sources have said everything, then ends the sessions and
/// lingers; or until `stop`. A source that fails does not end the others, but then the sessions stay open; a channel that
/// fails ends all. `warn` is told what an operator should know while it runs.
///
/// # Errors
/// [`SetupError`]: nothing was run.
pub fn run<L: Lines + Send, S: Source + Send>(
    channels: Vec<ChannelJob<L>>,
    sources: Vec<SourceJob<S>>,
    spread: &Spread,
    config: &RunConfig,
    stop: &AtomicBool,
    warn: &(dyn Fn(String) + Sync),
) -> Result<Ended<L, S>, SetupError> {
    let numbers: Vec<u16> = channels.iter().map(|job| job.channel).collect();
    spread.check(&numbers)?;
    for (at, job) in sources.iter().enumerate() {
        let source_id = job.source.id();
        if sources[..at].iter().any(|other| other.source.id() == source_id) {
            return Err(SetupError::SameSource { source_id });
        }
    }
    let halt = Halt {
        stop,
        failed: AtomicBool::new(false),
    };
    let mut inputs: Vec<Vec<_>> = channels.iter().map(|_| Vec::new()).collect();
    let mut routers = Vec::with_capacity(sources.len());
    for job in &sources {
        routers.push(connect(job.source.id(), &channels, spread, &numbers, &mut inputs));
    }
    let halt = &halt;
    thread::scope(|scope| {
        let mut publishing = Vec::with_capacity(channels.len());
        let mut reading = Vec::with_capacity(sources.len());
        let started = (|| -> io::Result<()> {
            for (job, inputs) in channels.into_iter().zip(inputs) {
                let name = thread::Builder::new().name(format!("channel-{}", job.channel));
                let work = move || publish(job, channel::Inputs::new(inputs), config, halt, warn);
                publishing.push(name.spawn_scoped(scope, work)?);
            }
            for (job, router) in sources.into_iter().zip(routers) {
                let name = thread::Builder::new().name(format!("source-{}", job.source.id()));
                let work = move || read(job, router, config, halt, warn);
                reading.push(name.spawn_scoped(scope, work)?);
            }
            Ok(())
        })();
        if started.is_err() {
            halt.failed.store(true, Ordering::Relaxed);
        }
        let ended = Ended {
            sources: reading.into_iter().map(join).collect(),
            channels: publishing.into_iter().map(join).collect(),
        };
        started.map(|()| ended).map_err(SetupError::from)
    })
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(left) => left,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The router of `source`, with a queue to each channel; the other ends go to `inputs`.
fn connect<'r, L: Lines>(
    source: u16,
    channels: &[ChannelJob<L>],
    spread: &'r Spread,
    numbers: &'r [u16],
    inputs: &mut [Vec<(u16, queue::Reader)>],
) -> router::Router<'r> {
    let mut writers = Vec::with_capacity(channels.len());
    for (job, inputs) in channels.iter().zip(inputs) {
        // A channel whose session is complete has everything.
        let held = match job.publisher.phase() {
            Phase::LeadIn | Phase::Live => job.publisher.position(source),
            Phase::Ending | Phase::Done | Phase::Failed => u64::MAX,
        };
        let (writer, reader) = queue::queue(held);
        writers.push((writer, held));
        inputs.push((source, reader));
    }
    let mut router = router::Router::new(source, spread, numbers, writers);
    for (place, job) in channels.iter().enumerate() {
        for instrument in job.publisher.instruments() {
            router.keep(instrument, place);
        }
    }
    router
}

/// A channel's thread.
fn publish<L: Lines>(
    job: ChannelJob<L>,
    mut inputs: channel::Inputs,
    config: &RunConfig,
    halt: &Halt<'_>,
    warn: &(dyn Fn(String) + Sync),
) -> (Publisher<L>, Result<RunEnd, RunError>) {
    if let Some(error) = job.core.and_then(|core| pin(core).err()) {
        warn(format!("channel {}: {error}", job.channel));
    }
    let mut publisher = job.publisher;
    let mut shell = Shell::new(&mut publisher, job.reserver, config);
    let result = shell.drive(|| halt.is_set(), |shell, now| inputs.turn(shell, now));
    if let Err(error) = &result {
        warn(format!("channel {}: {error}", job.channel));
        halt.failed.store(true, Ordering::Relaxed);
    }
    (publisher, result)
}

/// A source's thread.
fn read<S: Source>(
    job: SourceJob<S>,
    router: router::Router<'_>,
    config: &RunConfig,
    halt: &Halt<'_>,
    warn: &(dyn Fn(String) + Sync),
) -> (S, Result<RunEnd, SourceFailure>) {
    let SourceJob { mut source, status } = job;
    let result = source::run(&mut source, router, &status, config.idle, halt);
    if let Err(error) = &result {
        warn(format!("source {} has ended: {error}", source.id()));
    }
    (source, result)
}
