//! The next segment, retention, and syncing: everything that needs the system, done beside the writer by a helper thread
//! or, for [`Prepare::Inline`](crate::Prepare::Inline), by the writer itself.

use crate::control::{ControlWriter, Position};
use crate::map::WriteMap;
use crate::segment::Geometry;
use crate::sync::Syncer;
use crate::{JournalError, Retention, files};
use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How many segments are ready ahead of the writer.
const AHEAD: usize = 2;
/// The helpers look whether there is something to do once in the time in which a writer fills a segment at so many bytes a
/// millisecond, twice what the fastest does; within these bounds, in milliseconds. A look interrupts whoever has the core.
const LOOK_RATE: usize = 4_000_000;
const LOOK: [u64; 2] = [2, 20];
/// How often a writer that waits for a segment looks whether it is there.
const WAIT: Duration = Duration::from_micros(50);
/// How long a helper waits after it could not make the next segment.
const RETRY: Duration = Duration::from_millis(200);
/// Finished segments that stay mapped, to be written again: to map one anew takes a page fault for each of its pages, from
/// the core that a line's thread runs on, maybe. A map costs memory, so a journal that keeps more maps them anew.
const MAPPED: usize = 64;

/// Makes segments and retires old ones.
#[derive(Debug)]
pub(crate) struct Preparer {
    pub(crate) dir: PathBuf,
    pub(crate) geometry: Geometry,
    pub(crate) retention: Retention,
    pub(crate) control: Arc<ControlWriter>,
    pub(crate) syncer: Arc<Syncer>,
    /// Finished segments, oldest first.
    pub(crate) finished: VecDeque<Finished>,
}

/// A segment that has its end mark.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) index: u64,
    /// Its last packet's sending time.
    pub(crate) time: u64,
    /// The mapping that it was written through, if that is still there.
    pub(crate) map: Option<WriteMap>,
}

/// The file of a segment that is to be written again, under the temporary name and locked, and its mapping.
type Recycled = (File, Option<WriteMap>);

impl Preparer {
    /// Notes that a segment got its end mark.
    pub(crate) fn finished(&mut self, mut finished: Finished) {
        if self.finished.len() >= MAPPED || self.retention == Retention::default() {
            finished.map = None;
        }
        self.finished.push_back(finished);
    }

    /// Makes the segment `index`, empty: from one that retention gives free, or a new one.
    pub(crate) fn prepare(&mut self, index: u64) -> Result<WriteMap, JournalError> {
        let temporary = files::temporary_path(&self.dir);
        let (file, map) = match self.retire()? {
            Some(recycled) => recycled,
            None => (files::allocate(&self.dir, self.geometry.size)?, None),
        };
        let mut map = match map {
            Some(map) => map,
            None => WriteMap::open(&file).map_err(JournalError::io("map", &temporary))?,
        };
        // What a recycled segment held must not be taken for the new one's. The rest is overwritten as it is used: each
        // commit zeroes the word after it first.
        map.slot(0, 64).fill(0);
        let (end, size) = (self.geometry.data_end, self.geometry.size);
        map.slot(end, size - end).fill(0);
        map.flush(0, 64)
            .and_then(|()| map.flush(end, size))
            .and_then(|()| file.sync_all())
            .map_err(JournalError::io("sync", &temporary))?;
        // The mapping would keep a recycled file's exclusive lock, also when `file` is closed.
        files::unlock(&file, &temporary)?;
        let path = files::segment_path(&self.dir, index);
        files::rename(&temporary, &path)?;
        files::sync_dir(&self.dir)?;
        // After syncing, which makes every page read-only until it is written again.
        map.prefault().map_err(JournalError::io("fill", &path))?;
        self.syncer.add(index, map.share());
        Ok(map)
    }

    /// Retires what is beyond retention. Returns one to use again; the others are removed (and live on while readers have
    /// them mapped).
    fn retire(&mut self) -> Result<Option<Recycled>, JournalError> {
        let mut recycled = None;
        let synced = self.syncer.synced().index();
        while self
            .finished
            .front()
            .is_some_and(|oldest| oldest.index < synced && self.is_beyond(oldest.time))
            && let Some(Finished { index, map, .. }) = self.finished.pop_front()
        {
            self.control.set_first(index + 1);
            let path = files::segment_path(&self.dir, index);
            if recycled.is_none() {
                recycled = files::open_exclusive(&path).map(|file| (file, map));
                if recycled.is_some() {
                    files::rename(&path, &files::temporary_path(&self.dir))?;
                    // Its old name must be gone for good before its bytes change.
                    files::sync_dir(&self.dir)?;
                    continue;
                }
            }
            files::remove(&path)?;
        }
        Ok(recycled)
    }

    /// True if the oldest finished segment, with its last packet sent at `time`, is beyond retention.
    fn is_beyond(&self, time: u64) -> bool {
        // The one being written counts; the one being prepared does not.
        let segments = self.finished.len() + 1;
        let bytes = segments as u64 * self.geometry.size as u64;
        let newest = self.finished.back().map_or(0, |newest| newest.time);
        let age = Duration::from_nanos(newest.saturating_sub(time));
        let limits = &self.retention;
        // A time is a promise: what is younger stays, whatever room it takes.
        if limits.age.is_some_and(|limit| age <= limit) {
            return false;
        }
        if limits.segments.is_none() && limits.bytes.is_none() {
            return limits.age.is_some();
        }
        limits.segments.is_some_and(|limit| segments > limit.max(2))
            || limits.bytes.is_some_and(|limit| bytes > limit && segments > 2)
    }
}

/// What writer and helper tell each other without locks.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Everything before this [`Position`] is committed.
    pub(crate) committed: AtomicU64,
    /// Why syncing failed; see [`Shared::fail`].
    failure: Mutex<Option<String>>,
    failed: AtomicBool,
    stop: AtomicBool,
    /// The writer waits for a segment.
    pub(crate) wanted: AtomicBool,
    /// Times that the writer had to wait for a segment.
    pub(crate) stalls: AtomicU64,
}

impl Shared {
    /// Notes that syncing failed. For good: after that, nobody knows what is on the device.
    pub(crate) fn fail(&self, error: &JournalError) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        self.failed.store(true, Ordering::Release);
    }

    /// True once [`fail`](Self::fail) was called.
    #[inline]
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// The error of [`fail`](Self::fail), if it was called.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), JournalError> {
        if !self.has_failed() {
            return Ok(());
        }
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        Err(JournalError::NotDurable(failure.clone().unwrap_or_default()))
    }
}

/// The helper threads, as the writer sees them: one makes and retires segments, one syncs, so that the next segment never
/// waits for the device to take the last one.
#[derive(Debug)]
pub(crate) struct Helper {
    shared: Arc<Shared>,
    fresh: Receiver<Result<WriteMap, JournalError>>,
    finished: Sender<Finished>,
    thread: JoinHandle<Preparer>,
    sync: JoinHandle<()>,
}

impl Helper {
    /// Starts the thread; the first segment it makes is `next`. It syncs every `period`, or only finished segments.
    pub(crate) fn start(
        preparer: Preparer,
        shared: Arc<Shared>,
        next: u64,
        period: Option<Duration>,
    ) -> Result<Self, JournalError> {
        let (fresh_sender, fresh) = bounded(AHEAD);
        let (finished, finished_receiver) = bounded(64);
        shared.stop.store(false, Ordering::Relaxed);
        let dir = preparer.dir.clone();
        let look = look(preparer.geometry.size);
        let sync = SyncWorker {
            syncer: preparer.syncer.clone(),
            shared: shared.clone(),
            period,
            look,
        };
        let worker = Worker {
            preparer,
            shared: shared.clone(),
            fresh: fresh_sender,
            finished: finished_receiver,
            next,
            retry: None,
            look,
        };
        let failed = || JournalError::io("start a helper thread for", &dir);
        let thread = thread::Builder::new().name("journal-prepare".to_owned());
        let thread = thread.spawn(move || worker.run()).map_err(failed())?;
        let builder = thread::Builder::new().name("journal-sync".to_owned());
        let sync = builder.spawn(move || sync.run()).map_err(|error| {
            shared.stop.store(true, Ordering::Release);
            failed()(error)
        })?;
        Ok(Self {
            shared,
            fresh,
            finished,
            thread,
            sync,
        })
    }

    /// The next segment. Without a system call if it is ready.
    pub(crate) fn next(&self) -> Result<WriteMap, JournalError> {
        // An error that waits here is an old one.
        match self.fresh.try_recv() {
            Ok(Ok(map)) => return Ok(map),
            Ok(Err(_)) | Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(JournalError::Helper),
        }
        self.shared.stalls.fetch_add(1, Ordering::Relaxed);
        self.shared.wanted.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // Not the channel's own way to wait, which allocates.
        let answer = loop {
            match self.fresh.try_recv() {
                Ok(answer) => break answer,
                Err(TryRecvError::Empty) => thread::sleep(WAIT),
                Err(TryRecvError::Disconnected) => return Err(JournalError::Helper),
            }
        };
        self.shared.wanted.store(false, Ordering::Release);
        answer
    }

    /// Hands a segment over that got its end mark.
    pub(crate) fn finished(&self, finished: Finished) {
        // Waits if the helper is 64 segments behind; if it is gone, the next switch says so.
        let _ = self.finished.send(finished);
    }

    /// Ends the threads and returns what they worked with.
    pub(crate) fn stop(self) -> Result<Preparer, JournalError> {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.sync.thread().unpark();
        self.sync.join().map_err(|_| JournalError::Helper)?;
        self.thread.join().map_err(|_| JournalError::Helper)
    }
}

/// The thread that makes segments.
struct Worker {
    preparer: Preparer,
    shared: Arc<Shared>,
    fresh: Sender<Result<WriteMap, JournalError>>,
    finished: Receiver<Finished>,
    next: u64,
    retry: Option<Instant>,
    look: Duration,
}

/// How long the helpers of a journal with segments of `size` bytes sleep.
fn look(size: usize) -> Duration {
    let [least, most] = LOOK;
    Duration::from_millis(((size / LOOK_RATE) as u64).clamp(least, most))
}

impl Worker {
    fn run(mut self) -> Preparer {
        while !self.shared.stop.load(Ordering::Acquire) {
            self.take_finished();
            self.make_next();
            // By the clock: being woken would cost the writer a system call.
            thread::park_timeout(self.look);
        }
        self.take_finished();
        self.preparer
    }

    fn take_finished(&mut self) {
        while let Ok(finished) = self.finished.try_recv() {
            self.preparer.finished(finished);
        }
    }

    fn make_next(&mut self) {
        let wanted = self.shared.wanted.load(Ordering::Acquire);
        let waiting = self.retry.is_some_and(|retry| Instant::now() < retry);
        if self.fresh.is_full() || (waiting && !wanted) {
            return;
        }
        match self.preparer.prepare(self.next) {
            Ok(map) => {
                self.next += 1;
                self.retry = None;
                let _ = self.fresh.try_send(Ok(map));
            }
            // Whoever needs it now is told; else it is tried again.
            Err(error) => {
                self.retry = Some(Instant::now() + RETRY);
                if self.shared.wanted.swap(false, Ordering::AcqRel) {
                    let _ = self.fresh.try_send(Err(error));
                }
            }
        }
    }
}

/// The thread that syncs.
struct SyncWorker {
    syncer: Arc<Syncer>,
    shared: Arc<Shared>,
    period: Option<Duration>,
    look: Duration,
}

impl SyncWorker {
    /// Syncs everything once a period, and each finished segment at once.
    fn run(self) {
        let mut last = Instant::now();
        while !self.shared.stop.load(Ordering::Acquire) {
            let committed = Position::from_bits(self.shared.committed.load(Ordering::Acquire));
            let target = match self.period {
                Some(period) if last.elapsed() >= period => {
                    last = Instant::now();
                    self.syncer.look(committed);
                    committed
                }
                _ => Position::new(committed.index(), 0),
            };
            if let Err(error) = self.syncer.sync_to(target) {
                self.shared.fail(&error);
            }
            let left = self.period.map(|period| period.saturating_sub(last.elapsed()));
            thread::park_timeout(
                left.unwrap_or(self.look)
                    .clamp(Duration::from_millis(1), self.look),
            );
        }
    }
}
