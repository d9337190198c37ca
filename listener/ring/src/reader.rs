//! The reading end of a ring, for one program.

use crate::RingError;
use crate::cursor::{Cursor, Found};
use crate::layout::{BEATS_AT, INSTANCE_AT, STATE_AT, state};
use crate::memory::Ring;
use crate::place::{self, Paths};
use crate::record::Record;
use crate::status::{Bell, Progress, StatusPage};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// The writer's thread says that it turns at least ten times a second; after so long without, it is silent.
const SILENCE: Duration = Duration::from_secs(1);
/// Whether the writer lives is looked at this often while it says nothing.
const LOOK: Duration = Duration::from_millis(50);
/// A reader without a status page looks for new records this often.
const NAP: Duration = Duration::from_millis(1);

/// What [`RingReader::poll`] finds.
#[derive(Debug)]
pub enum Next<'a> {
    /// A record.
    Record(Record<'a>),
    /// Nothing new yet.
    Empty,
    /// The writer went round the ring before this reader had read it all. The reader stands at the newest place again;
    /// the next record says what is missing.
    Overrun,
}

/// What is known of a ring's writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It goes on.
    Alive,
    /// Its process lives, but the thread that writes has not turned for a second: it is stopped or stuck.
    Silent,
    /// It died. What it wrote can still be read; a new writer makes a new ring.
    Dead,
    /// It ended in good order. What it wrote can still be read; a new writer makes a new ring.
    Closed,
    /// A new writer took over: open the ring again.
    Replaced,
}

/// Reads a channel's ring.
#[derive(Debug)]
pub struct RingReader {
    cursor: Cursor,
    ring: Arc<Ring>,
    paths: Paths,
    name: String,
    journal: PathBuf,
    lock: File,
    status: Option<(StatusPage, Bell)>,
    /// The writer's beats when they last changed, and when that was seen.
    beats: (u64, Instant),
    /// What was known of the writer, and when it was looked at.
    known: (Liveness, Instant),
}

impl RingReader {
    /// Opens the ring of a channel in `dir`, at the newest place that can be begun at: at most 4 KiB before its end. `name`
    /// (its first 40 bytes) is what operators see.
    ///
    /// Where this process may not write to the directory of status pages, operators do not see it and [`wait`](Self::wait)
    /// looks a thousand times a second instead of being woken.
    ///
    /// # Errors
    /// No ring, one of another layout, no permission.
    pub fn open(dir: &Path, channel: u16, name: &str) -> Result<Self, RingError> {
        let paths = Paths::new(dir, channel);
        let ring = place::open(&paths)?;
        Self::attach(paths, ring, name)
    }

    fn attach(paths: Paths, ring: Ring, name: &str) -> Result<Self, RingError> {
        let ring = Arc::new(ring);
        let now = Instant::now();
        let cursor = Cursor::new(Arc::clone(&ring), place::longest(&ring));
        let status = StatusPage::create(&paths, name).and_then(|page| Ok((page, Bell::open(&paths)?)));
        let status = status.ok();
        if let Some((page, _)) = &status {
            page.set_position(cursor.position());
        }
        Ok(Self {
            cursor,
            journal: place::journal(&ring),
            lock: paths.open_lock()?,
            paths,
            name: name.to_owned(),
            status,
            beats: (ring.control(BEATS_AT).load(Ordering::Relaxed), now),
            known: (Liveness::Alive, now),
            ring,
        })
    }

    /// The next record, if there is one.
    #[inline]
    pub fn poll(&mut self) -> Next<'_> {
        match self.cursor.advance() {
            Found::Record => {
                if let Some((page, _)) = &self.status {
                    page.set_position(self.cursor.position());
                }
                Next::Record(self.cursor.record())
            }
            Found::Nothing => Next::Empty,
            Found::Overrun => {
                self.restart();
                Next::Overrun
            }
        }
    }

    /// The record that [`poll`](Self::poll) found last, once more, for those who cannot hold on to what it lent. Means
    /// nothing once poll has found something else.
    #[inline]
    pub fn record(&self) -> Record<'_> {
        self.cursor.record()
    }

    /// Goes to the newest place that can be begun at.
    pub fn restart(&mut self) {
        self.cursor.restart();
        if let Some((page, _)) = &self.status {
            page.set_position(self.cursor.position());
        }
    }

    /// Whether the writer goes on. A system call now and then, but only once it has said nothing for a while. Poll again
    /// after it ended, died or was replaced: there may be something that it wrote before.
    pub fn liveness(&mut self) -> Liveness {
        match self.ring.control(STATE_AT).load(Ordering::Acquire) {
            state::CLOSED => return Liveness::Closed,
            state::REPLACED => return Liveness::Replaced,
            _ => {}
        }
        let now = Instant::now();
        let beats = self.ring.control(BEATS_AT).load(Ordering::Relaxed);
        if beats != self.beats.0 {
            self.beats = (beats, now);
            self.known = (Liveness::Alive, now);
            return Liveness::Alive;
        }
        let silence = now - self.beats.1;
        if silence >= LOOK && now - self.known.1 >= LOOK {
            let known = match self.is_writer_dead() {
                true => Liveness::Dead,
                false if silence >= SILENCE => Liveness::Silent,
                false => Liveness::Alive,
            };
            self.known = (known, now);
        }
        self.known.0
    }

    /// The writer holds its lock as long as it lives.
    fn is_writer_dead(&self) -> bool {
        let dead = flock(&self.lock, FlockOperation::NonBlockingLockShared).is_ok();
        if dead {
            let _ = flock(&self.lock, FlockOperation::Unlock);
        }
        // The lock may be the next writer's already; then it has marked this ring before it made its own.
        dead
    }

    /// Sleeps until something new is there, or for `at_most`. The listener's helper thread wakes it, some 50 microseconds to a
    /// millisecond later.
    pub fn wait(&mut self, at_most: Duration) {
        match &self.status {
            Some((page, bell)) => page.sleep(at_most, || self.is_due(), || bell.ring()),
            None => {
                let start = Instant::now();
                while !self.is_due() && start.elapsed() < at_most {
                    thread::sleep(NAP.min(at_most));
                }
            }
        }
    }

    /// True if there is something to read, or nothing more will come: the keeper wakes everybody at its end, but once only.
    fn is_due(&self) -> bool {
        self.cursor.is_due() || self.ring.control(STATE_AT).load(Ordering::SeqCst) != state::LIVE
    }

    /// Shows operators how far this reader is and what it missed.
    #[inline]
    pub fn report(&self, progress: &Progress) {
        if let Some((page, _)) = &self.status {
            page.set_progress(progress);
        }
    }

    /// The ring of the next writer, under the same name; `None` as long as there is none.
    ///
    /// # Errors
    /// One of another layout, no permission.
    pub fn successor(&self) -> Result<Option<Self>, RingError> {
        let ring = match place::open(&self.paths) {
            Ok(ring) => ring,
            Err(RingError::NoRing { .. } | RingError::NotARing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        // A dead writer's ring stays where it was until its successor makes its own.
        let instance = |ring: &Ring| ring.control(INSTANCE_AT).load(Ordering::Relaxed);
        if instance(&ring) == instance(&self.ring) {
            return Ok(None);
        }
        Self::attach(self.paths.clone(), ring, &self.name).map(Some)
    }

    /// The listener's own journal.
    pub fn journal(&self) -> &Path {
        &self.journal
    }

    /// The channel.
    pub fn channel(&self) -> u16 {
        self.paths.channel
    }

    /// True if operators see this reader, and the listener wakes it.
    pub fn is_listed(&self) -> bool {
        self.status.is_some()
    }
}

impl Drop for RingReader {
    fn drop(&mut self) {
        if let Some((page, _)) = &self.status {
            page.remove();
        }
    }
}
