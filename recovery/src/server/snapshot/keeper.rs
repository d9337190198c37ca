//! The books of a journal: follows it, makes snapshots when they are due or asked for, writes them to files, and begins
//! with the newest file that fits.
//!
//! Each step is short (a region of the journal, or one snapshot), so whoever calls it can look around in between. Time is
//! passed in, in nanoseconds of any clock that only grows.

use super::fit::{begins, fits};
use super::{Made, Shelf, SnapshotConfig};
use crate::{Mark, nanos};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use twinline_book::snapshot::{self, Place, Snapshot, file};
use twinline_book::{Cause, Follower, Told};
use twinline_journal::{JournalError, JournalReader};

/// Bytes of the journal that are followed in one step.
const CHUNK: usize = 256 << 10;
/// The file that says who writes into a directory of snapshots.
const LOCK: &str = "lock";
const NO_BEGINNING: &str =
    "the journal does not hold this session from its beginning, and no snapshot file goes on where it begins";
const INCOMPLETE: &str = "the journal does not hold all messages of this session";

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is nothing to do just now.
    Idle,
    /// There is more to do.
    Worked,
    /// A snapshot was made: whoever waits for one should look.
    Made,
}

/// The state machine around the books. Reads the journal and writes snapshot files.
#[derive(Debug)]
pub struct Keeper {
    config: SnapshotConfig,
    channel: u16,
    shelf: Arc<Shelf>,
    reader: Option<JournalReader>,
    follower: Follower,
    /// The books stand in the journal; otherwise a place to begin has to be found.
    following: bool,
    trouble: Option<&'static str>,
    /// The session that no place to begin was found for.
    stuck: u32,
    /// Where and when the last file was written.
    last: (u64, u64),
    /// Held while files may be written here.
    lock: Option<File>,
}

impl Keeper {
    /// Books that know of no journal yet.
    pub fn new(config: SnapshotConfig, channel: u16, shelf: Arc<Shelf>) -> Self {
        let lock = lock(&config.dir)
            .map_err(|trouble| shelf.stats().fail(trouble))
            .ok();
        Self {
            config,
            channel,
            shelf,
            reader: None,
            follower: Follower::new(),
            following: false,
            trouble: None,
            stuck: 0,
            last: (0, 0),
            lock,
        }
    }

    /// The journal, or another copy of it. The books go on if what they have is in it.
    pub fn attach(&mut self, mut reader: JournalReader) {
        let goes_on = self.following && fits(&mut reader, &self.follower.place()).unwrap_or(false);
        self.reader = Some(reader);
        self.following = goes_on;
        self.stuck = 0;
    }

    /// Lets go of the journal.
    pub fn detach(&mut self) {
        self.reader = None;
    }

    /// True while there is a journal.
    pub fn is_attached(&self) -> bool {
        self.reader.is_some()
    }

    /// The books, and where they stand.
    pub fn follower(&self) -> &Follower {
        &self.follower
    }

    /// Does what is next.
    pub fn step(&mut self, now: u64) -> Step {
        let Some(mut reader) = self.reader.take() else {
            return Step::Idle;
        };
        match self.work(&mut reader, now) {
            Ok(step) => {
                self.reader = Some(reader);
                step
            }
            // Void, or overtaken by retention: the newest state that still counts.
            Err(JournalError::Discarded { .. } | JournalError::Behind { .. }) => {
                self.reader = Some(reader);
                self.go_back();
                Step::Worked
            }
            Err(error) => {
                self.shelf.stats().fail(&error);
                self.following = false;
                Step::Idle
            }
        }
    }

    fn go_back(&mut self) {
        self.following = false;
        self.shelf.clear();
        self.shelf.stats().went_back.fetch_add(1, Ordering::Relaxed);
    }

    fn work(&mut self, reader: &mut JournalReader, now: u64) -> Result<Step, JournalError> {
        if !self.following {
            return self.begin(reader, now);
        }
        let worked = self.follow(reader, now)?;
        let place = self.place();
        let stats = self.shelf.stats();
        let end = match worked {
            true => reader.head()?.filter(|head| head.session == place.session),
            false => None,
        };
        let lag = end.map_or(0, |head| head.next.saturating_sub(self.follower.place().sequence));
        stats.lag.store(lag, Ordering::Relaxed);
        let orders = self.follower.books().live_orders() as u64;
        stats.live_orders.store(orders, Ordering::Relaxed);
        let wanted = self.shelf.follow(place, self.follower.has_ended(), self.trouble);
        let due = self.is_due(place.sequence, now);
        // Who serves a replica's journal shows nothing before its upstream does.
        if (wanted || due) && self.may_show(&place) {
            let made = self.make(place);
            if due {
                self.write(&made, now);
            }
            return Ok(Step::Made);
        }
        Ok(if worked { Step::Worked } else { Step::Idle })
    }

    /// Finds a place to begin: the newest file that fits, or the session's first message.
    fn begin(&mut self, reader: &mut JournalReader, now: u64) -> Result<Step, JournalError> {
        let Some(head) = reader.head()? else {
            return Ok(Step::Idle);
        };
        if head.session == self.stuck {
            return Ok(Step::Idle);
        }
        self.stuck = 0;
        self.trouble = None;
        self.shelf.stats().read.store(0, Ordering::Relaxed);
        let found = self.newest_file(reader, head.session)?;
        let begins_at = found.as_ref().map_or(0, |(snapshot, _)| snapshot.place.sequence);
        self.shelf.stats().started_at.store(begins_at, Ordering::Relaxed);
        self.last = (begins_at, now);
        if let Some((snapshot, bytes)) = found {
            let place = snapshot.place;
            self.follower = Follower::from_snapshot(snapshot);
            self.following = true;
            self.shelf.follow(place, false, None);
            if self.may_show(&place) {
                self.shelf.put(Arc::new(Made { place, bytes }));
            }
            return Ok(Step::Made);
        }
        self.follower = Follower::new();
        self.following = begins(reader, head.session)?;
        if !self.following {
            self.stuck = head.session;
            self.shelf.stats().tell(NO_BEGINNING);
            let place = Place {
                channel: self.channel,
                session: head.session,
                ..Place::default()
            };
            self.shelf.follow(place, false, Some(NO_BEGINNING));
        }
        Ok(Step::Worked)
    }

    /// The newest file that is whole and belongs to the journal. The reader then stands behind it.
    fn newest_file(
        &self,
        reader: &mut JournalReader,
        session: u32,
    ) -> Result<Option<(Snapshot, Vec<u8>)>, JournalError> {
        let stats = self.shelf.stats();
        // Without the directory there are no files.
        for path in file::list(&self.config.dir).unwrap_or_default().iter().rev() {
            let name = path.file_name().and_then(|name| name.to_str());
            let Some((of, epoch, sequence)) = name.and_then(file::parse_name) else {
                continue;
            };
            let named = Place {
                channel: self.channel,
                session,
                epoch,
                epoch_base: 0,
                sequence,
            };
            // Void, or beyond what is kept.
            if of != session || !fits(reader, &named)? {
                continue;
            }
            let read = fs::read(path).map_err(|error| error.to_string());
            let read = read.and_then(|bytes| match snapshot::decode(&bytes) {
                Ok(snapshot) => Ok((snapshot, bytes)),
                Err(error) => Err(error.to_string()),
            });
            let trouble = match read {
                Ok((snapshot, bytes)) => {
                    let place = Place {
                        epoch_base: named.epoch_base,
                        ..snapshot.place
                    };
                    if place == named && snapshot.books.is_valid() {
                        return Ok(Some((snapshot, bytes)));
                    }
                    "it is another snapshot than its name says, or of an incomplete state".to_owned()
                }
                Err(trouble) => trouble,
            };
            stats.bad_files.fetch_add(1, Ordering::Relaxed);
            stats.tell(format!("{} is not used: {trouble}", path.display()));
        }
        Ok(None)
    }

    /// Takes a region of the journal; false at its end.
    fn follow(&mut self, reader: &mut JournalReader, now: u64) -> Result<bool, JournalError> {
        let Some(region) = reader.next_region(CHUNK)? else {
            return Ok(false);
        };
        let before = self.follower.place();
        if before.session != 0 && region.first().0 > before.session {
            // The session's last snapshot: for those that are not through with it.
            if self.trouble.is_none() && self.may_show(&before) {
                self.make(self.place());
            }
            (self.trouble, self.last) = (None, (0, now));
            self.shelf.stats().read.store(0, Ordering::Relaxed);
        }
        let mut read = 0;
        for packet in region.packets() {
            let (mut incomplete, mut void, mut wanted) = (false, false, None);
            self.follower.packet(&packet, |_, told| match told {
                Told::Invalid { cause, .. } => {
                    incomplete = true;
                    void |= cause == Cause::Void;
                }
                Told::Wanted(snapshot) => wanted = Some(snapshot),
                Told::Change { .. } | Told::Session { .. } => {}
            });
            read += u64::from(packet.header().count.get());
            if void {
                self.shelf.clear();
            }
            if incomplete {
                self.trouble = Some(INCOMPLETE);
                self.shelf.stats().tell(INCOMPLETE);
            }
            // A listener's journal names the file that makes its state whole again.
            if let Some(wanted) = wanted
                && let Ok(state) = file::read(&reader.dir().join(file::name(
                    wanted.session,
                    wanted.epoch,
                    wanted.sequence,
                )))
                && self.follower.replace(state).is_ok()
            {
                self.trouble = None;
            }
        }
        self.shelf.stats().read.fetch_add(read, Ordering::Relaxed);
        Ok(true)
    }

    /// Where a snapshot made now stands. EndOfSession changes no book, and whoever goes on from a snapshot must see it.
    fn place(&self) -> Place {
        let mut place = self.follower.place();
        if self.follower.has_ended() {
            place.sequence = place.sequence.saturating_sub(1).max(1);
        }
        place
    }

    /// True if nothing that is not released yet is in a snapshot of this place.
    fn may_show(&self, place: &Place) -> bool {
        let released = self.config.released.as_ref().map(|mark| mark.get());
        released.is_none_or(|mark| Mark::new(place.session, place.sequence) <= mark)
    }

    fn is_due(&self, sequence: u64, now: u64) -> bool {
        let (at, when) = self.last;
        let more = sequence.saturating_sub(at);
        self.lock.is_some()
            && self.trouble.is_none()
            && more > 0
            && (more >= self.config.every_messages || now.saturating_sub(when) >= nanos(self.config.every))
    }

    /// Makes a snapshot of the books as they are, unless there is one.
    fn make(&mut self, place: Place) -> Arc<Made> {
        if let Some(newest) = self.shelf.newest().filter(|newest| newest.place == place) {
            self.shelf.put(Arc::clone(&newest));
            return newest;
        }
        let start = Instant::now();
        let bytes = snapshot::encode(self.follower.books(), &place);
        let stats = self.shelf.stats();
        let took = nanos(start.elapsed());
        stats.made.fetch_add(1, Ordering::Relaxed);
        stats.bytes.store(bytes.len() as u64, Ordering::Relaxed);
        stats.sequence.store(place.sequence, Ordering::Relaxed);
        stats.made_in.store(took, Ordering::Relaxed);
        stats.made_in_max.fetch_max(took, Ordering::Relaxed);
        let made = Arc::new(Made { place, bytes });
        self.shelf.put(Arc::clone(&made));
        made
    }

    fn write(&mut self, made: &Made, now: u64) {
        self.last = (made.place.sequence, now);
        let written = file::write(&self.config.dir, &made.place, &made.bytes)
            .and_then(|_| file::prune(&self.config.dir, self.config.keep.max(1)));
        match written {
            Ok(_) => {
                self.shelf.stats().written.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.shelf.stats().fail(error),
        }
    }
}

/// Makes the directory and takes the right to write into it.
fn lock(dir: &Path) -> Result<File, String> {
    let failed = |error: std::io::Error| {
        format!(
            "no snapshot files are written into {}: {error}: name another directory, or give the right to write",
            dir.display()
        )
    };
    fs::create_dir_all(dir).map_err(failed)?;
    let file = File::create(dir.join(LOCK)).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(format!(
            "another service writes snapshot files into {}: this one writes none; name another directory",
            dir.display()
        )),
        Err(error) => Err(failed(error.into())),
    }
}
