//! Where a reader's stream comes from: the ring while it keeps up with it, the journal before and whenever it does not.
//!
//! The listener writes its journal first, then the ring, so the journal is always as far as the ring. The two are joined like
//! this: the ring is opened (or begun anew) first, then the journal read to its end, then the ring. What of the ring was in
//! the journal already is left out: messages by session and sequence, notices by their place in the journal.

mod head;
mod journal;
mod live;

pub(crate) use head::Head;
pub(crate) use live::Live;

use crate::{Missed, Overrun, Position, ReadError, WriterState};
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;
use twinline_journal::{JournalReader, Location, after_notice};
use twinline_ring::{Kind, Progress};
use twinline_wire::Frame;
use twinline_wire::header::MAX_PACKET_LEN;
use twinline_wire::session::{EpochStart, Void};

/// Readers show how far they are once in so many records, besides when they have nothing to do.
const REPORT: u32 = 4096;

/// What the reader itself has to say in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    Filling,
    Filled { messages: u64 },
    Missed(Missed),
    Discarded { session: u32, begin: u64, end: u64 },
    Void { begin: u64, end: u64, epoch: u32 },
    HalfEvent { begin: u64, end: u64 },
    Writer(WriterState),
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A record of messages: [`Source::rest`] says where they stand.
    Messages,
    /// A notice, for [`Source::take_notice`].
    Notice,
    /// The reader's own word.
    Own(Own),
    /// Nothing yet; of a recorded journal: its end.
    Nothing,
}

/// Where the current record stands, and the next one comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Journal,
    Ring,
}

/// What one look at a ring or a journal found.
enum Found {
    /// A record that is now the current one.
    Record,
    /// Something else happened: look again.
    Again,
    Nothing,
}

/// The stream, record by record.
#[derive(Debug)]
pub(crate) struct Source {
    journal: JournalReader,
    /// The listener's ring; not with a recorded journal.
    live: Option<Live>,
    policy: Overrun,
    from: From,
    /// False while the stream is to end where the journal does.
    joins: bool,
    pub(crate) head: Head,
    /// The frames of a record from the journal. A copy of some kilobytes costs less than finding the packet again for each
    /// message, which cannot be held on to.
    copy: Vec<u8>,
    /// The record is not told of yet.
    pending: bool,
    /// It is one of messages that is being taken, and where the next one stands.
    open: bool,
    at: usize,
    position: Position,
    /// The sequence behind the session's last message that was had. The next one's is further where a notice says so.
    had: u64,
    /// Where the last thing known to be had stands in the journal.
    seen: u64,
    /// A place in the present journal, behind something that was had; what was had since then are some records of messages.
    near: Option<Location>,
    /// The newest epoch that a listener's Void notice named.
    void_epoch: u32,
    own: VecDeque<Own>,
    /// Where a reader that skips was overrun.
    skipped_from: Option<Position>,
    /// Messages had when filling began.
    filling: Option<u64>,
    messages: u64,
    records: u32,
    progress: Progress,
}

impl Source {
    pub(crate) fn new(journal: JournalReader, live: Option<Live>, policy: Overrun) -> Self {
        Self {
            journal,
            live,
            policy,
            from: From::Journal,
            joins: true,
            head: Head::NOTHING,
            copy: Vec::with_capacity(MAX_PACKET_LEN),
            pending: false,
            open: false,
            at: 0,
            position: Position::default(),
            had: 0,
            seen: 0,
            near: None,
            void_epoch: 0,
            own: VecDeque::with_capacity(16),
            skipped_from: None,
            filling: None,
            messages: 0,
            records: 0,
            progress: Progress::default(),
        }
    }

    /// The journal's directory.
    pub(crate) fn dir(&self) -> &Path {
        self.journal.dir()
    }

    pub(crate) fn channel(&self) -> u16 {
        self.journal.channel()
    }

    pub(crate) fn journal_mut(&mut self) -> &mut JournalReader {
        &mut self.journal
    }

    /// The next message's place.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// True without a ring: the stream ends where the journal does.
    pub(crate) fn is_recorded(&self) -> bool {
        self.live.is_none()
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What is known of the listener.
    pub(crate) fn writer(&self) -> WriterState {
        self.live.as_ref().map_or(WriterState::Alive, Live::state)
    }

    /// True while what comes is older than what the ring holds.
    pub(crate) fn is_behind(&self) -> bool {
        self.live.as_ref().is_some_and(|live| {
            let gone = live.is_gone();
            !gone && (self.from == From::Journal || !live.is_joined())
        })
    }

    /// The stream ends where the journal does (`false`), or goes on in the ring.
    pub(crate) fn set_joins(&mut self, joins: bool) {
        self.joins = joins;
    }

    /// What is before `position` was had.
    pub(crate) fn begin_at(&mut self, position: Position) {
        (self.position, self.had) = (position, position.sequence);
    }

    /// Begins where the journal ends.
    pub(crate) fn begin_at_end(&mut self) -> Result<(), ReadError> {
        self.journal.seek_head()?;
        self.seen = self.journal.location().map_or(0, |location| location.to_bits());
        // A clone's: what finds the head would keep its segment.
        if let Some(head) = self.journal.clone().head()? {
            self.position = Position {
                session: head.session,
                epoch: head.epoch,
                sequence: head.next,
            };
        }
        Ok(())
    }

    /// Says something, before what comes next.
    pub(crate) fn say(&mut self, own: Own) {
        self.own.push_back(own);
    }

    /// What was told is told once more.
    pub(crate) fn unsay(&mut self, own: Own) {
        self.own.push_front(own);
    }

    /// The current record is told of once more.
    pub(crate) fn put_back(&mut self) {
        (self.pending, self.open) = (true, false);
    }

    /// Goes to the next record, or tells what else there is.
    #[inline]
    pub(crate) fn advance(&mut self) -> Result<Step, ReadError> {
        loop {
            if !self.own.is_empty()
                && let Some(own) = self.own.pop_front()
            {
                return Ok(Step::Own(own));
            }
            if std::mem::take(&mut self.pending) {
                self.open = self.head.kind == Kind::Messages;
                return Ok(match self.open {
                    true => Step::Messages,
                    false => Step::Notice,
                });
            }
            let found = match self.from {
                From::Ring => self.look_in_ring()?,
                From::Journal => self.look_in_journal()?,
            };
            if let Found::Nothing = found
                && self.own.is_empty()
            {
                return Ok(Step::Nothing);
            }
        }
    }

    /// What is left of the record: where it begins, and its first message's sequence. `None` if nothing is.
    #[inline]
    pub(crate) fn rest(&self) -> Option<(usize, u64)> {
        self.open.then_some((self.at, self.position.sequence))
    }

    /// The record's messages are had up to this place and this sequence; whether there are `more`.
    #[inline]
    pub(crate) fn take_to(&mut self, at: usize, sequence: u64, more: bool) {
        self.messages += sequence - self.position.sequence;
        (self.at, self.position.sequence, self.open) = (at, sequence, more);
        self.had = sequence;
    }

    /// The frame at a place in the current record.
    #[inline]
    pub(crate) fn frame(&self, at: usize) -> Option<Frame<'_>> {
        Some(Frame::split(self.frames().get(at..)?)?.0)
    }

    /// The current record's frames.
    #[inline]
    pub(crate) fn frames(&self) -> &[u8] {
        match (self.from, &self.live) {
            (From::Ring, Some(live)) => live.record().frames,
            _ => &self.copy,
        }
    }

    /// The notice that the current record is.
    pub(crate) fn take_notice(&mut self) {
        let frame = self.frame(0);
        let next = after_notice(frame, self.position.sequence);
        let void = frame.and_then(|frame| Some(frame.view::<Void>()?.epoch.get()));
        self.position.sequence = next;
        self.void_epoch = self.void_epoch.max(void.unwrap_or(0));
    }

    /// Makes what stands under `head` the current record, if it is new.
    #[inline]
    fn take(&mut self, head: Head) -> Found {
        let own = self.position;
        let same = head.session == own.session;
        if head.session < own.session {
            return Found::Again;
        }
        let (mut at, mut sequence) = (0, head.sequence);
        match head.kind {
            Kind::Messages if same && sequence < own.sequence => {
                (at, sequence) = self.skip_had(sequence);
                if self.frame(at).is_none() {
                    return Found::Again;
                }
            }
            Kind::Messages => {}
            Kind::Notice if head.location.is_some_and(|location| location <= self.seen) => {
                return Found::Again;
            }
            Kind::Notice if same => sequence = sequence.max(own.sequence),
            Kind::Notice => {}
        }
        if let Some(from) = self.skipped_from.take() {
            self.missed(from, head.session, sequence);
        }
        if head.kind == Kind::Messages && same && head.epoch > own.epoch && own.epoch != 0 {
            self.check_void(head.epoch);
        }
        self.head = Head { sequence, ..head };
        if let Some(location) = head.location {
            self.seen = self.seen.max(location);
            self.near = Some(Location::from_bits(location));
        }
        if !same || head.kind == Kind::Messages {
            self.position.epoch = head.epoch;
        }
        if !same {
            (self.void_epoch, self.had) = (0, 0);
        }
        (self.position.session, self.position.sequence) = (head.session, sequence);
        (self.at, self.pending) = (at, true);
        self.records = self.records.wrapping_add(1);
        if self.records.is_multiple_of(REPORT) {
            self.report();
        }
        Found::Record
    }

    /// Where the first message that is new stands in the current record, which begins at `sequence`.
    #[cold]
    fn skip_had(&self, mut sequence: u64) -> (usize, u64) {
        let mut at = 0;
        while sequence < self.position.sequence
            && let Some(frame) = self.frame(at)
        {
            at += frame.bytes().len();
            sequence += 1;
        }
        (at, sequence)
    }

    /// A later epoch begins. If it cuts off what was had before, and no listener has said so, the reader does.
    #[cold]
    fn check_void(&mut self, epoch: u32) {
        let start = self
            .frame(0)
            .and_then(|frame| frame.view::<EpochStart>().map(|start| *start));
        let end = self.had;
        if let Some(start) = start
            && start.valid_end.get() < end
            && self.void_epoch < epoch
        {
            let begin = start.valid_end.get();
            self.say(Own::Void { begin, end, epoch });
        }
    }

    /// What stands from `from` on, before `sequence` of `session`, will not come.
    #[cold]
    fn missed(&mut self, from: Position, session: u32, sequence: u64) {
        let missed = Missed {
            session: from.session,
            begin: from.sequence,
            end_session: session,
            end: sequence,
        };
        self.progress.missed += missed.len().unwrap_or(0);
        self.say(Own::Missed(missed));
        self.report();
    }

    /// Shows operators where this reader stands.
    fn report(&mut self) {
        self.progress.session = self.position.session;
        self.progress.next = self.position.sequence;
        if let Some(live) = &self.live {
            live.report(&self.progress);
        }
    }

    /// Sleeps until there may be something, or for `at_most`.
    pub(crate) fn wait(&mut self, at_most: Duration) {
        let joined = self.from == From::Ring;
        if let Some(live) = &mut self.live {
            live.wait(joined, at_most);
        }
    }
}
