//! Sequences are reserved in the epoch store in blocks, ahead of use: a publisher that was deposed cannot extend its
//! block and so stops, and a successor that does not know what was sent last begins behind the block.
//!
//! [`Reserve`] is what the publishing thread and the thread that talks to the store share: the first only reads an
//! atomic. [`Reserver`] is that second thread.

use super::checkpoint::CheckpointWriter;
use super::{Counters, Lines, Place, Publisher};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use twinline_journal::epoch::{EpochError, EpochStore, Grant};

/// Sequences that are reserved at a time unless configured otherwise.
pub const DEFAULT_BLOCK: u64 = 1 << 20;
/// The smallest block: a few of the largest packets full of the shortest messages.
pub const MIN_BLOCK: u64 = 4096;

/// How often the control thread looks at what is used.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often the control thread asks the store whether this publisher still holds the channel, and writes a checkpoint.
const ROUND_EVERY: Duration = Duration::from_secs(1);
/// How long the control thread waits before it asks a store again that could not be reached.
const RETRY_EVERY: Duration = Duration::from_millis(100);

/// What is reserved and what is used, shared by the publishing and the control thread.
#[derive(Debug)]
pub struct Reserve {
    /// The next sequence to be published.
    next: AtomicU64,
    /// Sequences below this may be used; 0 once deposed.
    end: AtomicU64,
    deposed: AtomicBool,
    /// Why the last attempt to extend failed.
    trouble: Mutex<Option<String>>,
}

impl Reserve {
    /// Sequences from `next` up to `end` (exclusive) may be used.
    pub(super) fn new(next: u64, end: u64) -> Self {
        Self {
            next: AtomicU64::new(next),
            end: AtomicU64::new(end),
            deposed: AtomicBool::new(false),
            trouble: Mutex::new(None),
        }
    }

    /// Sequences below this may be used.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// The next sequence to be published.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// True once another publisher holds the channel.
    pub fn is_deposed(&self) -> bool {
        self.deposed.load(Ordering::Acquire)
    }

    /// Why the last attempt to extend the block failed, if it did.
    pub fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Says that the sequences below `end` are durably reserved. Never takes any back.
    pub fn extend(&self, end: u64) {
        self.set_trouble(None);
        if !self.is_deposed() {
            self.end.fetch_max(end, Ordering::AcqRel);
        }
    }

    /// Says that another publisher holds the channel: nothing more may be published.
    pub fn depose(&self) {
        self.deposed.store(true, Ordering::Release);
        self.end.store(0, Ordering::Release);
    }

    #[inline]
    pub(super) fn set_next(&self, next: u64) {
        self.next.store(next, Ordering::Relaxed);
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// The control thread's state: asks the store for more when half of the block is used, and once a second whether this
/// publisher still holds the channel; then also writes the checkpoint.
#[derive(Debug)]
struct Keeper {
    store: EpochStore,
    grant: Grant,
    reserve: Arc<Reserve>,
    block: u64,
    checkpoints: CheckpointWriter,
    counters: Arc<Counters>,
    round: Instant,
}

impl Keeper {
    /// One look; returns how long to wait before the next, or `None` if there is nothing more to do.
    fn look(&mut self, now: Instant) -> Option<Duration> {
        let (next, end) = (self.reserve.next(), self.reserve.end());
        let more = end.saturating_sub(next) < self.block / 2;
        let round = now.duration_since(self.round) >= ROUND_EVERY;
        if round {
            self.round = now;
            if self.checkpoints.round().is_err() {
                self.counters.checkpoint_failures.add(1);
            }
        }
        if !more && !round {
            return Some(LOOK_EVERY);
        }
        let wanted = if more { next.max(end) + self.block } else { end };
        match self.store.extend(&self.grant, wanted) {
            Ok(end) => self.reserve.extend(end),
            Err(EpochError::Deposed { .. }) => {
                self.reserve.depose();
                return None;
            }
            Err(error) => {
                self.reserve.set_trouble(Some(error.to_string()));
                return Some(RETRY_EVERY);
            }
        }
        Some(LOOK_EVERY)
    }
}

/// The control thread that reserves sequences ahead of use.
#[derive(Debug)]
pub struct Reserver {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Keeper>>,
}

impl Reserver {
    /// Starts it for `publisher`, which publishes by `grant` of `store` at `place`.
    ///
    /// # Errors
    /// If the system starts no thread.
    pub fn start<L: Lines>(
        store: EpochStore,
        grant: Grant,
        publisher: &Publisher<L>,
        place: &Place,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut keeper = Keeper {
            store,
            grant,
            reserve: publisher.reserve(),
            block: place.block.max(MIN_BLOCK),
            checkpoints: CheckpointWriter::new(place.journal.clone(), Arc::clone(&publisher.progress)),
            counters: publisher.counters(),
            round: Instant::now(),
        };
        let work = move || {
            while !stopped.load(Ordering::Acquire) {
                match keeper.look(Instant::now()) {
                    Some(wait) => thread::park_timeout(wait),
                    None => break,
                }
            }
            keeper
        };
        let thread = thread::Builder::new().name("reserver".into()).spawn(work)?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Stops the thread and records in the store that the session is complete.
    ///
    /// # Errors
    /// If the store cannot be written, or another publisher holds the channel.
    pub fn end_session(mut self) -> Result<(), EpochError> {
        match self.join() {
            Some(keeper) => keeper.store.end_session(&keeper.grant),
            None => Ok(()),
        }
    }

    fn join(&mut self) -> Option<Keeper> {
        let thread = self.thread.take()?;
        self.stop.store(true, Ordering::Release);
        thread.thread().unpark();
        match thread.join() {
            Ok(keeper) => Some(keeper),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Reserver {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.join();
        }
    }
}
