//! A reader's status page: a small file that the reader alone writes, but for the word that it sleeps on, so that the listener's
//! keeper can show how far it is and wake it. The reader holds a lock on it as long as it lives.
//!
//! ```text
//! word 0  magic, layout version     word 8   position in the ring, bytes     word 12  messages that it missed
//! word 1  process                   word 9   session                         word 13  messages filled from the journal
//! word 2  name: length, bytes       word 10  next sequence                   word 16  1 while it sleeps (32 bits)
//!                                   word 11  times that it was overrun
//! ```

use crate::RingError;
use crate::layout::LAYOUT_VERSION;
use crate::memory::{Memory, put_text, text};
use crate::place::{Paths, open_shared};
use rustix::fs::{FlockOperation, flock};
use rustix::thread::futex;
use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Bytes of a status page.
const LEN: u64 = 4096;
const MAGIC: u64 = u64::from_ne_bytes(*b"TWREADER") ^ LAYOUT_VERSION;
const MAGIC_AT: usize = 0;
const PROCESS_AT: usize = 1;
const NAME: Range<usize> = 2..8;
const POSITION_AT: usize = 8;
const SESSION_AT: usize = 9;
const NEXT_AT: usize = 10;
const OVERRUNS_AT: usize = 11;
const MISSED_AT: usize = 12;
const FILLED_AT: usize = 13;
const SLEEP_AT: usize = 16;

/// What a reader shows of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Session that it reads.
    pub session: u32,
    /// Sequence that it reads next.
    pub next: u64,
    /// Times that it was overrun.
    pub overruns: u64,
    /// Messages that it missed and will not have.
    pub missed: u64,
    /// Messages that it missed in the ring and had from the journal.
    pub filled: u64,
}

/// A status page.
#[derive(Debug)]
pub(crate) struct StatusPage {
    memory: Memory,
    /// Locked by the reader; of the keeper's pages, to see whether it still is.
    file: File,
    path: PathBuf,
}

/// Tells readers of one process apart.
static READERS: AtomicU64 = AtomicU64::new(0);

impl StatusPage {
    /// Makes the page of this process's reader `name`.
    pub(crate) fn create(paths: &Paths, name: &str) -> Result<Self, RingError> {
        let process = std::process::id();
        let number = READERS.fetch_add(1, Ordering::Relaxed);
        let dir = paths.readers();
        let unfinished = dir.join(format!(".{process}-{number}"));
        let file = open_shared(&unfinished)?;
        let made = || -> std::io::Result<Memory> {
            // Of a process that had this one's number, and was killed here.
            file.set_len(0)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, LEN)?;
            Memory::writable(&file)
        };
        let memory = made().map_err(|cause| {
            let _ = fs::remove_file(&unfinished);
            RingError::io("make", &unfinished)(cause)
        })?;
        let words = memory.words();
        words[PROCESS_AT].store(process.into(), Ordering::Relaxed);
        let mut short = name;
        while short.len() > 8 * (NAME.len() - 1) {
            let last = short.char_indices().next_back().map_or(0, |(at, _)| at);
            short = &short[..last];
        }
        put_text(&words[NAME], short.as_bytes());
        words[MAGIC_AT].store(MAGIC, Ordering::Release);
        let path = dir.join(format!("{process}-{number}"));
        fs::rename(&unfinished, &path).map_err(RingError::io("name", &path))?;
        Ok(Self { memory, file, path })
    }

    /// The page of another process's reader; `None` if it is none of this layout.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
        if file.metadata().ok()?.len() != LEN {
            return None;
        }
        let memory = Memory::writable(&file).ok()?;
        let known = memory.words()[MAGIC_AT].load(Ordering::Acquire) == MAGIC;
        let path = path.to_owned();
        known.then_some(Self { memory, file, path })
    }

    fn get(&self, at: usize) -> u64 {
        self.memory.words()[at].load(Ordering::Relaxed)
    }

    fn set(&self, at: usize, value: u64) {
        self.memory.words()[at].store(value, Ordering::Relaxed);
    }

    /// The reader has come so far in the ring.
    #[inline]
    pub(crate) fn set_position(&self, position: u64) {
        self.set(POSITION_AT, position);
    }

    /// Where the reader stands in the ring.
    pub(crate) fn position(&self) -> u64 {
        self.get(POSITION_AT)
    }

    #[inline]
    pub(crate) fn set_progress(&self, progress: &Progress) {
        self.set(SESSION_AT, progress.session.into());
        self.set(NEXT_AT, progress.next);
        self.set(OVERRUNS_AT, progress.overruns);
        self.set(MISSED_AT, progress.missed);
        self.set(FILLED_AT, progress.filled);
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            session: self.get(SESSION_AT) as u32,
            next: self.get(NEXT_AT),
            overruns: self.get(OVERRUNS_AT),
            missed: self.get(MISSED_AT),
            filled: self.get(FILLED_AT),
        }
    }

    pub(crate) fn process(&self) -> u32 {
        self.get(PROCESS_AT) as u32
    }

    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(&text(&self.memory.words()[NAME])).into_owned()
    }

    /// Sleeps until woken, or `is_due`, or for `at_most`. `announce` tells the keeper that somebody sleeps.
    pub(crate) fn sleep(&self, at_most: Duration, is_due: impl Fn() -> bool, announce: impl FnOnce()) {
        let bell = self.memory.bell(SLEEP_AT);
        bell.store(1, Ordering::SeqCst);
        if !is_due() {
            announce();
            sleep_while(bell, 1, at_most);
        }
        bell.store(0, Ordering::SeqCst);
    }

    /// True if the reader sleeps.
    pub(crate) fn is_asleep(&self) -> bool {
        self.memory.bell(SLEEP_AT).load(Ordering::SeqCst) == 1
    }

    /// Wakes the reader.
    pub(crate) fn wake(&self) {
        let bell = self.memory.bell(SLEEP_AT);
        bell.store(0, Ordering::SeqCst);
        let _ = futex::wake(bell, futex::Flags::empty(), 1);
    }

    /// Removes the page if its reader is gone. True if it was.
    pub(crate) fn remove_if_left(&self) -> bool {
        let left = flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if left {
            let _ = fs::remove_file(&self.path);
        }
        left
    }

    /// The reader goes: its page, too.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Sleeps while `bell` has this value, until woken or for `at_most`. Woken, interrupted, too late to sleep, or the time is
/// up: the caller looks in every case.
fn sleep_while(bell: &AtomicU32, value: u32, at_most: Duration) {
    let at_most = futex::Timespec {
        tv_sec: at_most.as_secs().min(3600) as i64,
        tv_nsec: at_most.subsec_nanos().into(),
    };
    let _ = futex::wait(bell, futex::Flags::empty(), value, Some(&at_most));
}

/// The word by which readers tell the keeper that somebody sleeps.
#[derive(Debug)]
pub(crate) struct Bell {
    memory: Memory,
}

impl Bell {
    /// Opens the bell, which is made if it is not there.
    pub(crate) fn open(paths: &Paths) -> Result<Self, RingError> {
        let path = paths.bell();
        let file = open_shared(&path)?;
        let memory = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, LEN)
            .map_err(std::io::Error::from)
            .and_then(|()| Memory::writable(&file));
        let memory = memory.map_err(RingError::io("map", &path))?;
        Ok(Self { memory })
    }

    /// Rings it.
    pub(crate) fn ring(&self) {
        let bell = self.memory.bell(0);
        if bell.swap(1, Ordering::SeqCst) == 0 {
            let _ = futex::wake(bell, futex::Flags::empty(), 1);
        }
    }

    /// Waits until it is rung, or for `at_most`. True if it was rung.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let bell = self.memory.bell(0);
        sleep_while(bell, 0, at_most);
        bell.swap(0, Ordering::SeqCst) == 1
    }
}
