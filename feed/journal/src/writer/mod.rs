//! The one writer of a journal.

mod append;

use crate::chain::{self, Broken, Chain};
use crate::control::{self, ControlWriter, Location, Made, Position};
use crate::map::WriteMap;
use crate::prepare::{Finished, Helper, Preparer, Shared};
use crate::segment::{self, EndMark, Geometry};
use crate::sync::Syncer;
use crate::watch::JournalWatch;
use crate::{
    JournalConfig, JournalError, Prepare, Recovery, SyncPolicy, Tail, discard, failpoint, files, recover,
};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use twinline_wire::Packet;
use twinline_wire::header::{ALIGN, PacketHeader, align_up, first_word, flags as bits};
use zerocopy::FromBytes;

/// Packets of the largest size whose memory is asked for ahead.
const AHEAD: usize = 2;

/// The one writer of a journal. Dropping it makes everything durable and lets another one open it.
#[derive(Debug)]
pub struct JournalWriter {
    dir: PathBuf,
    made: Made,
    geometry: Geometry,
    sync: SyncPolicy,
    /// The segment being written.
    map: WriteMap,
    index: u64,
    /// Where the next packet goes in it.
    at: usize,
    /// True from [`slot`](Self::slot) to [`commit`](Self::commit): there is room for a packet at `at`.
    open: bool,
    /// Up to here the processor was asked for the segment's memory.
    near: usize,
    /// Blocks of its index that are written.
    indexed: usize,
    /// How the journal stands. `ended` is not decided while `last` is set.
    chain: Option<Chain>,
    /// The place of the last packet with messages, if it is in this segment and was not looked into yet.
    last: Option<usize>,
    /// The last packet's sending time.
    time: u64,
    shared: Arc<Shared>,
    syncer: Arc<Syncer>,
    control: Arc<ControlWriter>,
    supply: Supply,
    recovery: Recovery,
    /// Holds the lock of the one writer.
    _lock: File,
}

/// What a commit takes from a packet's header.
#[derive(Clone, Copy, Debug)]
struct Committed {
    flags: u8,
    sequence: u64,
    time: u64,
}

impl Committed {
    #[inline]
    fn of(header: &PacketHeader, flags: u8) -> Self {
        Self {
            flags,
            sequence: header.sequence.get(),
            time: header.sending_time.get(),
        }
    }
}

/// Where the next segment comes from.
#[derive(Debug)]
enum Supply {
    Thread(Helper),
    Inline(Preparer),
    /// A failed discard left nobody to make one.
    Broken,
}

impl JournalWriter {
    /// Creates the journal in `dir` (and `dir`), or opens it: checks what a crash may have torn, cuts the torn tail.
    ///
    /// # Errors
    /// Another writer, a directory that is no journal or of other settings, no permission, no room, damage below the
    /// last synced position.
    pub fn open(dir: &Path, config: JournalConfig) -> Result<Self, JournalError> {
        let made = Made {
            channel: config.channel,
            segment_size: config.segment_size,
            max_packet: config.max_packet,
        };
        let geometry = Geometry::new(&made)?;
        if let (Prepare::Inline, SyncPolicy::Every(period)) = (config.prepare, config.sync) {
            return Err(JournalError::Config {
                what: "without helper threads, a sync period in milliseconds of",
                value: period.as_millis() as u64,
                must: "it needs Prepare::Thread",
            });
        }
        fs::create_dir_all(dir).map_err(files::write_error("create", dir))?;
        if !control::exists(dir) && !files::is_empty(dir)? {
            return Err(JournalError::NotAJournal(dir.to_owned()));
        }
        let lock = files::lock_writer(dir)?;
        let created = !control::exists(dir);
        if created {
            control::create(dir, &made)?;
            if let Some(parent) = dir.canonicalize().ok().as_deref().and_then(Path::parent) {
                files::sync_dir(parent)?;
            }
        }
        let (control, found) = ControlWriter::open(dir)?;
        check_same(dir, &found, &made)?;
        let control = Arc::new(control);
        let recovered = recover::recover(dir, &control, &made)?;
        let position = Position::new(recovered.index, recovered.at);
        let syncer = Syncer::new(dir.to_owned(), control.clone(), position, recovered.map.share());
        let syncer = Arc::new(syncer);
        let preparer = Preparer {
            dir: dir.to_owned(),
            geometry,
            retention: config.retention,
            control: control.clone(),
            syncer: syncer.clone(),
            finished: recovered.finished,
        };
        let mut writer = Self {
            dir: dir.to_owned(),
            made,
            geometry,
            sync: config.sync,
            map: recovered.map,
            index: recovered.index,
            at: recovered.at,
            open: false,
            near: 0,
            indexed: recovered.indexed,
            chain: recovered.chain,
            last: None,
            time: recovered.time,
            shared: Arc::new(Shared::default()),
            syncer,
            control,
            supply: Supply::Broken,
            recovery: Recovery {
                created,
                ..recovered.report
            },
            _lock: lock,
        };
        writer.publish_position();
        writer.supply = writer.resupply(preparer, config.prepare == Prepare::Thread)?;
        Ok(writer)
    }

    fn start_helper(&self, preparer: Preparer) -> Result<Supply, JournalError> {
        let period = match self.sync {
            SyncPolicy::Every(period) => Some(period),
            SyncPolicy::None | SyncPolicy::EveryPacket => None,
        };
        Helper::start(preparer, self.shared.clone(), self.index + 1, period).map(Supply::Thread)
    }

    /// Where the journal ends; `None` while it is empty.
    pub fn tail(&self) -> Option<Tail> {
        let mut tail = self.chain?.tail;
        if let Some(at) = self.last {
            tail.ended = self.ends_session(at);
        }
        Some(tail)
    }

    /// True if the journal says that messages of its newest session are lost or void, and not after that that the state
    /// was replaced. Not known of what was retired before this writer opened the journal, unless a segment before is held.
    pub fn is_incomplete(&self) -> bool {
        self.chain.is_some_and(|chain| chain.incomplete)
    }

    fn ends_session(&self, at: usize) -> bool {
        let bytes = self.map.committed(at, self.geometry.data_end);
        bytes
            .and_then(|bytes| Packet::trusted_prefix(bytes).ok())
            .is_some_and(|packet| chain::ends_session(&packet))
    }

    /// What opening it found.
    pub fn recovered(&self) -> &Recovery {
        &self.recovery
    }

    /// The journal as other threads may watch it while it is written.
    pub fn watch(&self) -> JournalWatch {
        JournalWatch::new(
            Arc::clone(&self.shared),
            Arc::clone(&self.syncer),
            self.made.segment_size,
        )
    }

    /// A number that names this journal: another journal, also a copy of this one, has another number. For
    /// [`epoch::Request`](crate::epoch::Request).
    pub fn id(&self) -> u64 {
        self.control.read().id()
    }

    /// Where the next packet goes: `max_packet` bytes, the first four zero; they must stay zero (a reader looks there).
    /// What is written here counts only once it is committed. The same slot, and what was written there, until then: to
    /// ask for it again costs nothing.
    ///
    /// # Errors
    /// If the next segment could not be made (full disk), or syncing failed. The call can be repeated.
    #[inline]
    pub fn slot(&mut self) -> Result<&mut [u8], JournalError> {
        // A slot may have been made ready long before: what failed since then is said now.
        if !self.open || self.shared.has_failed() {
            self.open_slot()?;
        }
        Ok(self.map.slot(self.at, self.geometry.max_packet))
    }

    /// Sees to it that there is a slot. Once a packet.
    fn open_slot(&mut self) -> Result<(), JournalError> {
        self.shared.check()?;
        if self.is_full() {
            self.switch()?;
        }
        self.open = true;
        Ok(())
    }

    /// Does now what the next [`slot`](Self::slot) would have to do first, and asks the processor for the memory behind it: for
    /// a writer that has the time, behind a packet that somebody waited for.
    #[inline]
    pub fn make_ready(&mut self) {
        let ahead = self.at + AHEAD * self.geometry.max_packet;
        self.near = self.near.max(self.at);
        while self.near < ahead {
            self.map.prefetch(self.near);
            self.near += ALIGN;
        }
        self.open = self.open || !(self.is_full() || self.shared.has_failed());
    }

    /// Commits the packet of `length` bytes in the slot, whose header has `flags`: readers see it from now on. If it could not
    /// be made durable ([`SyncPolicy::EveryPacket`]), the next call of [`slot`](Self::slot) says so.
    ///
    /// # Panics
    /// If the packet does not continue the journal, or no slot was asked for.
    #[inline(always)]
    pub fn commit(&mut self, length: usize, flags: u8) {
        let at = self.at;
        assert!(
            self.open && length <= self.geometry.max_packet,
            "a packet is committed in the slot that was asked for"
        );
        debug_assert_eq!(
            self.map.word(at),
            0,
            "readers look at the slot's first four bytes"
        );
        let bytes = self.map.written(at, length);
        let (header, _) = PacketHeader::ref_from_prefix(bytes).expect("a packet has a header");
        assert!(
            usize::from(header.length.get()) == length && header.channel.get() == self.made.channel,
            "a packet of this channel with its own length is committed"
        );
        let committed = Committed::of(header, flags);
        match &mut self.chain {
            Some(chain) if chain.goes_on(header, flags) => chain.go_on(header.end()),
            before => match chain::follow(before.as_ref(), at == 0, header, flags, bytes) {
                Ok(chain) => *before = Some(chain),
                Err(reason) => does_not_go_on(reason),
            },
        }
        self.put(length, committed);
    }

    /// Commits the packet in the slot, which is checked; the chain is as it is behind it.
    #[inline]
    fn put(&mut self, length: usize, header: Committed) {
        let at = self.at;
        failpoint::hit("journal.commit.before");
        let next = at + align_up(length);
        // No reader, and nobody whom a region is sent to, sees what a recycled file held.
        self.map.slot(at + length, next - at - length).fill(0);
        if next < self.geometry.data_end {
            self.map.store_word(next, 0);
        }
        self.map.store_word(at, first_word(header.flags));
        failpoint::hit("journal.commit.after");
        segment::note_in_index(&self.map, &self.geometry, &mut self.indexed, at, header.sequence);
        if header.flags & bits::LOCAL == 0 {
            self.last = Some(at);
        } else if self.chain.is_some_and(|chain| chain.tail.ended) {
            // The notice itself ended the session.
            self.last = None;
        }
        self.time = header.time;
        self.at = next;
        self.open = false;
        self.publish_position();
        if self.sync == SyncPolicy::EveryPacket
            && let Err(error) = self.sync()
        {
            self.shared.fail(&error);
        }
    }

    /// True if the next packet goes into another segment.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.at + self.geometry.max_packet > self.geometry.data_end
    }

    /// The `length` bytes from `begin` on, which are committed packets: several in one piece where the one before each ends
    /// at a 64-byte boundary.
    ///
    /// # Panics
    /// If they are not all in the segment that is being written.
    #[inline]
    pub fn written(&self, begin: Location, length: usize) -> &[u8] {
        let begin = Position::from(begin);
        assert!(
            begin.index() == self.index && begin.at() + length <= self.at,
            "committed packets of this segment"
        );
        self.map.written(begin.at(), length)
    }

    /// Where the journal ends now.
    #[inline]
    pub fn location(&self) -> Location {
        self.position().into()
    }

    fn position(&self) -> Position {
        Position::new(self.index, self.at)
    }

    #[inline]
    fn publish_position(&self) {
        self.shared
            .committed
            .store(self.position().to_bits(), Ordering::Release);
    }

    /// The next packet begins a new session, so a new segment.
    ///
    /// # Errors
    /// Those of [`slot`](Self::slot).
    pub fn start_session(&mut self) -> Result<(), JournalError> {
        if self.at > 0 {
            self.switch()?;
        }
        Ok(())
    }

    /// Goes on in the next segment.
    #[cold]
    fn switch(&mut self) -> Result<(), JournalError> {
        let fresh = match &mut self.supply {
            Supply::Thread(helper) => helper.next()?,
            Supply::Inline(preparer) => preparer.prepare(self.index + 1)?,
            Supply::Broken => return Err(JournalError::Helper),
        };
        if let Some(tail) = self.tail()
            && let Some(chain) = &mut self.chain
        {
            chain.tail = tail;
            self.last = None;
            let mark = EndMark {
                at: self.at,
                chain: *chain,
                time: self.time,
            };
            failpoint::hit("journal.switch.before_end");
            segment::write_end_mark(&mut self.map, &self.geometry, self.made.channel, &mark);
            failpoint::hit("journal.switch.after_end");
        }
        let finished = Finished {
            index: self.index,
            time: self.time,
            map: Some(std::mem::replace(&mut self.map, fresh)),
        };
        (self.index, self.at, self.indexed) = (self.index + 1, 0, 0);
        (self.open, self.near) = (false, 0);
        self.publish_position();
        match &mut self.supply {
            Supply::Thread(helper) => helper.finished(finished),
            Supply::Inline(preparer) => {
                preparer.finished(finished);
                let synced = self.syncer.sync_to(Position::new(self.index, 0));
                if let Err(error) = synced {
                    self.shared.fail(&error);
                    return Err(error);
                }
            }
            Supply::Broken => {}
        }
        Ok(())
    }

    /// Discards what the newest session holds from `sequence` on (a void tail). Readers that had read it are told.
    /// Returns the number of messages discarded.
    ///
    /// # Errors
    /// If `sequence` is older than what is held or stands inside a packet; or files cannot be made. After an error in
    /// the middle the writer is of no more use: open the journal again and repeat it.
    pub fn discard_from(&mut self, sequence: u64) -> Result<u64, JournalError> {
        let Some(tail) = self.tail().filter(|tail| tail.next > sequence) else {
            return Ok(0);
        };
        let (mut preparer, threaded) = match std::mem::replace(&mut self.supply, Supply::Broken) {
            Supply::Thread(helper) => (helper.stop()?, true),
            Supply::Inline(preparer) => (preparer, false),
            Supply::Broken => return Err(JournalError::Helper),
        };
        let cut = match discard::cut(&mut preparer, &self.made, tail.session, sequence, self.index) {
            Ok(cut) => cut,
            Err(error @ (JournalError::NotHeld { .. } | JournalError::InsidePacket { .. })) => {
                self.supply = self.resupply(preparer, threaded)?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        (self.map, self.index, self.at) = (cut.map, cut.index, cut.at);
        (self.indexed, self.chain, self.last) = (cut.indexed, cut.chain, None);
        (self.open, self.near) = (false, 0);
        self.time = cut.time.unwrap_or(self.time);
        self.publish_position();
        self.supply = self.resupply(preparer, threaded)?;
        Ok(cut.messages)
    }

    fn resupply(&self, preparer: Preparer, threaded: bool) -> Result<Supply, JournalError> {
        match threaded {
            true => self.start_helper(preparer),
            false => Ok(Supply::Inline(preparer)),
        }
    }

    /// Makes everything committed durable, now.
    ///
    /// # Errors
    /// If the system cannot.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.syncer.sync_to(self.position())
    }
}

impl Drop for JournalWriter {
    fn drop(&mut self) {
        if let Supply::Thread(helper) = std::mem::replace(&mut self.supply, Supply::Broken) {
            let _ = helper.stop();
        }
        // Nobody is left to be told; the next one to open it finds out.
        let _ = self.sync();
    }
}

#[cold]
fn does_not_go_on(reason: Broken) -> ! {
    panic!("a packet is committed that does not continue the journal: {reason}")
}

/// The journal must have been made with what is asked for.
fn check_same(dir: &Path, found: &Made, asked: &Made) -> Result<(), JournalError> {
    let pairs = [
        ("channel", u64::from(found.channel), u64::from(asked.channel)),
        (
            "a segment size of",
            found.segment_size as u64,
            asked.segment_size as u64,
        ),
        (
            "a packet limit of",
            found.max_packet as u64,
            asked.max_packet as u64,
        ),
    ];
    match pairs.into_iter().find(|(_, found, asked)| found != asked) {
        None => Ok(()),
        Some((what, found, asked)) => Err(JournalError::Mismatch {
            dir: dir.to_owned(),
            what,
            found,
            asked,
        }),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Stream, config};
    use crate::{JournalError, JournalWriter};

    #[test]
    fn a_slot_that_was_made_ready_is_refused_once_syncing_has_failed() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
        writer.append(&Stream::new(1).epoch_start(1)).unwrap();
        writer.make_ready();
        assert!(writer.open && writer.slot().is_ok());
        writer.shared.fail(&JournalError::Helper);
        assert!(matches!(writer.slot(), Err(JournalError::NotDurable(_))));
    }
}
