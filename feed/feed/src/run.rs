//! The thread that drives a publisher with a source: it reads the clock, polls the source, flushes when nothing waits,
//! and idles as configured. Everything that decides is in [`publisher`](crate::publisher).
//!
//! It runs on the calling thread, so that the caller names, pins ([`pin`]) and joins it.

use crate::publisher::{Lines, Phase, PublishError, Publisher, Reserver};
use crate::source::{Source, SourceError, SourceState};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use core_affinity::CoreId;
use rustix::thread::CpuSet;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use twinline_journal::JournalError;
use twinline_journal::epoch::EpochError;

/// What the thread does when its source has nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Polls again at once: lowest latency, a core of its own.
    Spin,
    /// Lets other threads of the core run, then polls again.
    Yield,
    /// Sleeps for this long at most: least load, latency up to this and what the kernel adds.
    Park(Duration),
}

/// How [`run`] runs.
#[derive(Clone, Copy, Debug)]
pub struct RunConfig {
    /// What to do when the source has nothing.
    pub idle: Idle,
    /// How long to wait for reserved sequences before giving up.
    pub reserve_patience: Duration,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            idle: Idle::Yield,
            reserve_patience: Duration::from_secs(1),
        }
    }
}

/// How a run ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// The source said everything, and the session is complete.
    Complete,
    /// It was told to stop before that. Opened again it goes on where it stopped.
    Stopped,
}

/// Why a run ended. What the source had said before was published, and can be gone on from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The source broke.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Nothing more can be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// What was published could not be made durable.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The session is complete in the journal, but the epoch store could not be told. Opening it again tells it.
    #[error(transparent)]
    Epoch(#[from] EpochError),
}

/// The core cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// There is no such core here.
    #[error(
        "there is no core {core}, or it is off, or this process's control group (cpuset) leaves it out: the thread is not pinned"
    )]
    NoCore {
        /// The core asked for.
        core: usize,
    },
}

/// Pins the calling thread to `core`.
///
/// Whether the thread might run there before does not matter: on a core that is set aside (`isolcpus`) nothing runs that was
/// not pinned to it.
///
/// # Errors
/// If there is no such core, or none that this process may have: worth a warning, the thread works unpinned.
pub fn pin(core: usize) -> Result<(), PinError> {
    // Beyond what a set has room for, the crate would panic.
    match core < CpuSet::MAX_CPU && core_affinity::set_for_current(CoreId { id: core }) {
        true => Ok(()),
        false => Err(PinError::NoCore { core }),
    }
}

/// Both times for one look at the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Nanoseconds since the clock was made; does not run backwards.
    pub(crate) mono: u64,
    /// Nanoseconds since the Unix epoch; follows the system's clock where that is set.
    pub(crate) unix: u64,
}

/// The monotonic clock, tied to the real time anew every second.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// Real time at `start`, as it would be by the last tie.
    origin: u64,
    tied: u64,
}

impl Clock {
    const TIE_EVERY: u64 = 1_000_000_000;

    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            origin: unix_now(),
            tied: 0,
        }
    }

    #[inline]
    pub(crate) fn now(&mut self) -> Now {
        let mono = self.start.elapsed().as_nanos() as u64;
        if mono - self.tied >= Self::TIE_EVERY {
            self.tied = mono;
            self.origin = unix_now().saturating_sub(mono);
        }
        Now {
            mono,
            unix: self.origin + mono,
        }
    }
}

/// The real time in nanoseconds since the Unix epoch.
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

/// Sleep while there is nothing to be fast for: lead-in, linger, waiting for the epoch store.
pub(crate) const CALM: Duration = Duration::from_millis(1);

impl Idle {
    /// Idles once; wakes `wait` nanoseconds from now at the latest.
    #[inline]
    pub fn idle(self, wait: u64) {
        match self {
            Self::Spin => core::hint::spin_loop(),
            Self::Yield => thread::yield_now(),
            Self::Park(longest) => thread::sleep(longest.min(Duration::from_nanos(wait))),
        }
    }
}

/// Publishes what `source` says until it has said everything, then ends the session and lingers; or until `stop`.
///
/// The source is resumed where the journal ends. With `stop` everything said is flushed and made durable, and the
/// session stays open.
///
/// # Errors
/// See [`RunError`]. What was committed was sent.
pub fn run<L: Lines, S: Source>(
    publisher: &mut Publisher<L>,
    reserver: Option<Reserver>,
    source: &mut S,
    config: &RunConfig,
    stop: &AtomicBool,
) -> Result<RunEnd, RunError> {
    let position = publisher.position(source.id());
    if publisher.phase() == Phase::LeadIn && position > source.position() {
        source.resume(position)?;
    }
    let mut shell = Shell::new(publisher, reserver, config);
    shell.drive(
        || stop.load(Ordering::Relaxed),
        |shell, now| shell.turn(source, now),
    )
}

/// Events that are taken to one look at the clock at most, about as many as a packet holds: a look costs as much as an
/// event.
const EVENTS: usize = 32;

/// What polling a source came to.
#[derive(Debug)]
pub enum Polled {
    /// There may be more at once.
    Ready,
    /// Nothing before this time of the source's clock.
    Idle {
        /// When to poll again.
        until: u64,
    },
    /// Everything is said.
    End,
    /// The source cannot go on.
    Broken(SourceError),
}

/// Puts what `source` has into the publisher's open packet: until it has nothing more, or a packet was sent (the next one
/// is stamped with a time of its own), or some events are in. `mono` is the source's time, `unix` the publisher's.
///
/// # Errors
/// As [`Publisher::event`]; all events before that one are in.
#[inline]
pub fn poll<L: Lines, S: Source>(
    publisher: &mut Publisher<L>,
    source: &mut S,
    mono: u64,
    unix: u64,
) -> Result<Polled, PublishError> {
    let first = publisher.next_sequence();
    let mut other = Polled::Ready;
    for _ in 0..EVENTS {
        // The usual answer is passed on as a flag: moving all that an answer can be costs more than an event does.
        let ready = publisher.event(unix, |sink| match source.poll(mono, sink) {
            Ok(SourceState::Ready) => true,
            polled => {
                other = Polled::other(polled);
                false
            }
        })?;
        if !ready {
            return Ok(other);
        }
        if publisher.next_sequence() != first {
            break;
        }
    }
    Ok(Polled::Ready)
}

impl Polled {
    #[cold]
    fn other(polled: Result<SourceState, SourceError>) -> Self {
        match polled {
            Ok(SourceState::Ready) => Self::Ready,
            Ok(SourceState::Idle { until }) => Self::Idle { until },
            Ok(SourceState::End) => Self::End,
            Err(error) => Self::Broken(error),
        }
    }
}

/// What a turn of a publishing thread came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There may be more.
    Goes,
    /// Everything is said: the session ends.
    Complete,
    /// Nothing more comes, but not everything is said: the session stays open.
    Halted,
}

/// A publisher on its thread.
pub(crate) struct Shell<'r, L: Lines> {
    pub(crate) publisher: &'r mut Publisher<L>,
    reserver: Option<Reserver>,
    pub(crate) config: &'r RunConfig,
    clock: Clock,
    /// Since when no sequences are reserved, by the monotonic clock.
    starved: Option<u64>,
    /// The next sequence when the source was last told what is in the journal.
    acknowledged: u64,
}

impl<'r, L: Lines> Shell<'r, L> {
    pub(crate) fn new(
        publisher: &'r mut Publisher<L>,
        reserver: Option<Reserver>,
        config: &'r RunConfig,
    ) -> Self {
        Self {
            publisher,
            reserver,
            config,
            clock: Clock::new(),
            starved: None,
            acknowledged: 0,
        }
    }

    /// Takes turns while the session is live, and does all that stands around them.
    pub(crate) fn drive(
        &mut self,
        stop: impl Fn() -> bool,
        turn: impl FnMut(&mut Self, Now) -> Result<Turn, RunError>,
    ) -> Result<RunEnd, RunError> {
        let result = self.turns(stop, turn);
        if result.is_err() {
            // The error says why it ended; that this failed too would add nothing to do.
            let _ = self.publisher.journal().sync();
        }
        result
    }

    fn turns(
        &mut self,
        stop: impl Fn() -> bool,
        mut turn: impl FnMut(&mut Self, Now) -> Result<Turn, RunError>,
    ) -> Result<RunEnd, RunError> {
        let mut unrecorded = None;
        while !stop() {
            let now = self.clock.now();
            self.publisher.tick(now.unix)?;
            match self.publisher.phase() {
                Phase::Live => match turn(self, now)? {
                    Turn::Goes => {}
                    Turn::Complete => unrecorded = self.end_session(now)?,
                    Turn::Halted => break,
                },
                Phase::LeadIn | Phase::Ending => thread::sleep(CALM),
                Phase::Done => break,
                Phase::Failed => return Err(PublishError::Stopped.into()),
            }
        }
        let now = self.clock.now();
        self.publisher.flush(now.unix)?;
        self.publisher.journal().sync()?;
        match (self.publisher.phase(), unrecorded) {
            (_, Some(error)) => Err(error.into()),
            (Phase::Ending | Phase::Done, None) => Ok(RunEnd::Complete),
            (_, None) => Ok(RunEnd::Stopped),
        }
    }

    /// Sequences were there.
    #[inline]
    pub(crate) fn fed(&mut self) {
        self.starved = None;
    }

    /// Polls the source to one look at the clock.
    #[inline]
    fn turn<S: Source>(&mut self, source: &mut S, now: Now) -> Result<Turn, RunError> {
        match poll(self.publisher, source, now.mono, now.unix) {
            Ok(Polled::Ready) => {
                self.fed();
                self.acknowledge(source);
                Ok(Turn::Goes)
            }
            Ok(Polled::Idle { until }) => {
                self.publisher.flush(now.unix)?;
                self.acknowledge(source);
                self.config.idle.idle(until.saturating_sub(now.mono));
                Ok(Turn::Goes)
            }
            Ok(Polled::End) => Ok(Turn::Complete),
            Ok(Polled::Broken(broken)) => {
                self.publisher.flush(now.unix)?;
                Err(broken.into())
            }
            Err(error) => self.refused(error, now).map(|()| Turn::Goes),
        }
    }

    /// Tells the source what is in the journal, if that is more than before.
    #[inline]
    fn acknowledge<S: Source>(&mut self, source: &mut S) {
        let next = self.publisher.next_sequence();
        if next != self.acknowledged {
            self.acknowledged = next;
            source.acknowledge(self.publisher.committed(source.id()));
        }
    }

    /// What stands in the packet goes out; then an error ends the run, unless waiting for the epoch store may help.
    #[cold]
    pub(crate) fn refused(&mut self, error: PublishError, now: Now) -> Result<(), RunError> {
        if self.publisher.phase() == Phase::Failed {
            return Err(error.into());
        }
        self.publisher.flush(now.unix)?;
        let PublishError::OutOfReserve { .. } = error else {
            return Err(error.into());
        };
        let since = *self.starved.get_or_insert(now.mono);
        if u128::from(now.mono - since) >= self.config.reserve_patience.as_nanos() {
            return Err(error.into());
        }
        thread::sleep(CALM);
        Ok(())
    }

    /// Ends the session, durably, before the epoch store is told. Returns what the store said if it refused.
    fn end_session(&mut self, now: Now) -> Result<Option<EpochError>, RunError> {
        self.publisher.end_session(now.unix)?;
        self.publisher.journal().sync()?;
        let told = self.reserver.take().map_or(Ok(()), Reserver::end_session);
        match told {
            Err(error @ EpochError::Deposed { .. }) => Err(error.into()),
            told => Ok(told.err()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::thread::sched_getaffinity;

    #[test]
    fn a_core_that_does_not_exist_is_named_and_the_thread_goes_on() {
        for core in [CpuSet::MAX_CPU - 1, CpuSet::MAX_CPU, usize::MAX] {
            let error = pin(core).unwrap_err();
            assert_eq!(error, PinError::NoCore { core });
            assert!(error.to_string().contains(&format!("no core {core},")), "{error}");
        }
    }

    #[test]
    fn a_thread_is_pinned_to_a_core_that_it_was_kept_off_before() {
        let may = || sched_getaffinity(None).unwrap();
        let all = may();
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core)).collect();
        let &[first, .., last] = cores.as_slice() else {
            assert!(std::env::var_os("CI").is_none(), "CI has two cores");
            eprintln!("skipped: two cores are needed");
            return;
        };
        // As the children of an init that `isolcpus` keeps off the last one. It is this thread's alone.
        pin(first).unwrap();
        assert!(!may().is_set(last));
        pin(last).unwrap();
        assert!(may().is_set(last) && may().count() == 1);
    }

    #[test]
    fn both_times_of_the_clock_move_together() {
        let mut clock = Clock::new();
        let first = clock.now();
        let second = clock.now();
        assert_eq!(second.unix - first.unix, second.mono - first.mono);
        assert!(unix_now().abs_diff(second.unix) < 3_600_000_000_000);
    }
}
