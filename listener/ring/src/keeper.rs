//! The writer's helper thread: looks at the readers' status pages, so that the writer never has to. It tells how far behind
//! each is, wakes those that sleep when there is something new, and clears away what dead ones left.

use crate::RingError;
use crate::layout::{CAPACITY_AT, END_AT, NEXT_AT, SESSION_AT};
use crate::memory::Ring;
use crate::place::Paths;
use crate::status::{Bell, Progress, StatusPage};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// New readers, dead ones and everybody's progress are looked for this often.
const LOOK: Duration = Duration::from_millis(100);
/// While somebody sleeps the ring is looked at this often, less often while nothing comes.
const SHORTEST_NAP: Duration = Duration::from_micros(50);
const LONGEST_NAP: Duration = Duration::from_millis(1);

/// One reader, as the keeper saw it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderStatus {
    /// What it calls itself.
    pub name: String,
    /// Its process.
    pub process: u32,
    /// How far it is, and what it missed, as it says.
    pub progress: Progress,
    /// Bytes of records in the ring that it has not read yet.
    pub lag_bytes: u64,
    /// Messages that it has not read yet, of the session that the ring is in; all of that session's if it is in an older one.
    pub lag_messages: u64,
}

/// What there is to see of a ring.
#[derive(Clone, Debug, Default)]
struct Seen {
    readers: Vec<ReaderStatus>,
    /// Of readers that are gone.
    gone: Totals,
}

/// Sums over readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    overruns: u64,
    missed: u64,
    filled: u64,
}

impl Totals {
    fn add(&mut self, progress: &Progress) {
        self.overruns += progress.overruns;
        self.missed += progress.missed;
        self.filled += progress.filled;
    }
}

/// What a ring's writer and its readers do, for any thread.
#[derive(Clone, Debug)]
pub struct RingStats {
    ring: Arc<Ring>,
    seen: Arc<Mutex<Seen>>,
}

impl RingStats {
    /// The readers attached, as they were seen at most 100 ms ago.
    pub fn readers(&self) -> Vec<ReaderStatus> {
        self.lock().readers.clone()
    }

    /// Times that any reader was overrun, those that are gone included.
    pub fn overruns(&self) -> u64 {
        self.total().overruns
    }

    /// Messages that readers missed for good, those that are gone included.
    pub fn missed(&self) -> u64 {
        self.total().missed
    }

    /// Messages that readers missed in the ring and had from the journal, those that are gone included.
    pub fn filled(&self) -> u64 {
        self.total().filled
    }

    /// Bytes of records written in all.
    pub fn written(&self) -> u64 {
        self.ring.control(END_AT).load(Ordering::Relaxed)
    }

    /// Bytes of records that the ring holds.
    pub fn capacity(&self) -> u64 {
        self.ring.control(CAPACITY_AT).load(Ordering::Relaxed)
    }

    fn total(&self) -> Totals {
        let seen = self.lock();
        let mut total = seen.gone;
        seen.readers.iter().for_each(|reader| total.add(&reader.progress));
        total
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's owner.
#[derive(Debug)]
pub(crate) struct Keeper {
    stats: RingStats,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread.
    pub(crate) fn start(paths: &Paths, ring: Arc<Ring>) -> Result<Self, RingError> {
        let bell = Bell::open(paths)?;
        let stats = RingStats {
            ring,
            seen: Arc::default(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let watch = Watch {
            paths: paths.clone(),
            stats: stats.clone(),
            pages: BTreeMap::new(),
            gone: Totals::default(),
        };
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("ring keeper".into())
            .spawn(move || watch.run(&bell, &stopped))
            .map_err(RingError::io("start the keeper of", &paths.ring()))?;
        Ok(Self {
            stats,
            stop,
            thread: Some(thread),
        })
    }

    pub(crate) fn stats(&self) -> RingStats {
        self.stats.clone()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread knows.
#[derive(Debug)]
struct Watch {
    paths: Paths,
    stats: RingStats,
    pages: BTreeMap<OsString, StatusPage>,
    gone: Totals,
}

impl Watch {
    fn run(mut self, bell: &Bell, stop: &AtomicBool) {
        let mut looked: Option<Instant> = None;
        let mut nap = SHORTEST_NAP;
        let mut seen = 0;
        while !stop.load(Ordering::Acquire) {
            if looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                self.look();
            }
            let written = self.stats.written();
            if !self.wake(written) {
                if bell.wait(LOOK) {
                    // Who rang may be new.
                    looked = None;
                }
                continue;
            }
            nap = match written == seen {
                true => (nap * 2).min(LONGEST_NAP),
                false => SHORTEST_NAP,
            };
            seen = written;
            thread::sleep(nap);
        }
        // Those too that came just now. Who goes to sleep after this sees that the ring is closed.
        self.look();
        self.pages.values().for_each(StatusPage::wake);
    }

    /// Wakes who sleeps and has something to read. True if somebody sleeps still.
    fn wake(&self, written: u64) -> bool {
        let mut asleep = false;
        for page in self.pages.values() {
            if page.is_asleep() {
                if page.position() < written {
                    page.wake();
                }
                asleep = true;
            }
        }
        asleep
    }

    /// Looks for new readers, and at all.
    fn look(&mut self) {
        let listed = fs::read_dir(self.paths.readers()).into_iter().flatten().flatten();
        for entry in listed {
            let name = entry.file_name();
            if !name.as_encoded_bytes().starts_with(b".")
                && !self.pages.contains_key(&name)
                && let Some(page) = StatusPage::open(&entry.path())
            {
                self.pages.insert(name, page);
            }
        }
        let gone = &mut self.gone;
        self.pages.retain(|_, page| {
            let left = page.remove_if_left();
            if left {
                gone.add(&page.progress());
            }
            !left
        });
        let control = |at| self.stats.ring.control(at).load(Ordering::Relaxed);
        let (end, session, next) = (control(END_AT), control(SESSION_AT), control(NEXT_AT));
        let readers = self.pages.values().map(|page| {
            let progress = page.progress();
            let from = match u64::from(progress.session) == session {
                true => progress.next,
                false => 1,
            };
            ReaderStatus {
                name: page.name(),
                process: page.process(),
                progress,
                lag_bytes: end.saturating_sub(page.position()),
                lag_messages: next.saturating_sub(from.max(1)),
            }
        });
        let seen = Seen {
            readers: readers.collect(),
            gone: self.gone,
        };
        *self.stats.lock() = seen;
    }
}
