//! Finding a place in a journal that may be written and retired meanwhile: by binary search over the segments' first
//! packets, over the segment's index, then a short walk.

use crate::chain::{self, Chain};
use crate::control::{Control, Made, Position};
use crate::segment::Segment;
use crate::{JournalError, files};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use twinline_wire::Packet;
use twinline_wire::header::{align_up, flags};

/// What [`JournalReader::seek`](crate::JournalReader::seek) found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The reader stands at the packet that holds the sequence, or the first one after it.
    Found,
    /// The session has not come so far: the reader stands at its end and follows from there.
    NotYet,
    /// Retention removed it. The reader did not move.
    TooOld {
        /// The oldest sequence held of the session.
        oldest: u64,
    },
    /// No packet of the session is held. The reader did not move.
    UnknownSession,
}

/// Where a journal ends, and where its newest session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The newest session.
    pub session: u32,
    /// Its newest epoch.
    pub epoch: u32,
    /// That epoch's first sequence.
    pub epoch_base: u64,
    /// The next sequence to come.
    pub next: u64,
    /// True if the last message is EndOfSession.
    pub ended: bool,
    /// The oldest sequence held of the session.
    pub oldest: u64,
}

/// What is held of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSpan {
    /// The oldest sequence held.
    pub oldest: u64,
    /// The sequence after the last one held.
    pub next: u64,
    /// The newest epoch.
    pub epoch: u32,
    /// That epoch's first sequence.
    pub epoch_base: u64,
    /// True if the last message is EndOfSession.
    pub ended: bool,
    /// True if a newer session exists: nothing more comes in this one.
    pub superseded: bool,
}

/// Keys that are remembered at most; all are forgotten then.
const KEYS: usize = 4096;

/// Session and sequence of a segment's first packet.
pub(crate) type Key = (u32, u64);

/// A place in the journal, and the segment that it is in.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) segment: Arc<Segment>,
    pub(crate) at: usize,
}

/// The end of a session, or of what there is of it yet.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) place: Place,
    pub(crate) chain: Chain,
    /// True if the segment has its end mark.
    pub(crate) marked: bool,
}

/// All segments of a journal, as a reader sees them.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    pub(crate) dir: Arc<Path>,
    pub(crate) made: Made,
    pub(crate) control: Control,
    /// Nothing at or beyond this is to be believed: what a power cut left, before a writer has recovered it.
    pub(crate) limit: Option<Position>,
    /// Keys that were looked up: a segment's first packet stays while the files are those that they were.
    keys: RefCell<HashMap<u64, Key>>,
}

/// What a search found while segments may go under it: `None` means once more.
type Attempt<T> = Result<Option<T>, JournalError>;

impl Segments {
    /// The journal in `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self, JournalError> {
        let (control, made) = Control::open(dir)?;
        let mut segments = Self {
            dir: dir.into(),
            made,
            control,
            limit: None,
            keys: RefCell::default(),
        };
        segments.renew_limit();
        Ok(segments)
    }

    /// The files were replaced: forgets what was known of them, and looks again how far the journal can be believed.
    pub(crate) fn renew_limit(&mut self) {
        self.keys.get_mut().clear();
        self.limit = match self.control.is_of_this_boot() {
            true => None,
            false => Some(self.control.synced()),
        };
    }

    /// The segment `index`, if it exists.
    pub(crate) fn segment(&self, index: u64) -> Result<Option<Arc<Segment>>, JournalError> {
        Ok(Segment::open(&self.dir, index, &self.made, self.limit)?.map(Arc::new))
    }

    /// Makes `held` the segment `index`; allocates nothing unless somebody else holds it. False, with nothing changed, if that
    /// does not exist.
    pub(crate) fn reopen(&self, held: &mut Arc<Segment>, index: u64) -> Result<bool, JournalError> {
        if let Some(own) = Arc::get_mut(held) {
            return own.reopen(index, self.limit);
        }
        let segment = self.segment(index)?;
        let exists = segment.is_some();
        if let Some(segment) = segment {
            *held = segment;
        }
        Ok(exists)
    }

    /// The indexes of all segments.
    pub(crate) fn list(&self) -> Result<Vec<u64>, JournalError> {
        let mut list = files::segments(&self.dir)?;
        list.retain(|&index| self.limit.is_none_or(|limit| index <= limit.index()));
        Ok(list)
    }

    /// The first packet's key; `Some(None)` if the segment is empty, `None` if it is gone.
    ///
    /// Of a segment that was looked at before, without looking again whether it is still there: who goes on to read it finds
    /// out.
    fn key(&self, index: u64) -> Result<Option<Option<Key>>, JournalError> {
        if let Some(&key) = self.keys.borrow().get(&index) {
            return Ok(Some(Some(key)));
        }
        let Some(segment) = self.segment(index)? else {
            return Ok(None);
        };
        let key = segment
            .first()?
            .map(|packet| (packet.header().session.get(), packet.sequence()));
        if let Some(key) = key {
            let mut keys = self.keys.borrow_mut();
            if keys.len() >= KEYS {
                keys.clear();
            }
            keys.insert(index, key);
        }
        Ok(Some(key))
    }

    /// How many segments of `list` begin below `key`. Those that are gone do; an empty one does not.
    fn below(&self, list: &[u64], key: Key) -> Result<usize, JournalError> {
        let (mut low, mut high) = (0, list.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.key(list[middle])? {
                Some(first) if first.is_none_or(|first| first >= key) => high = middle,
                _ => low = middle + 1,
            }
        }
        Ok(low)
    }

    /// Does `attempt` again while segments go under it.
    fn steadily<T>(&self, attempt: impl Fn(&[u64]) -> Attempt<T>) -> Result<T, JournalError> {
        for _ in 0..1000 {
            if let Some(found) = attempt(&self.list()?)? {
                return Ok(found);
            }
        }
        Err(self.behind()?)
    }

    /// The error for a reader that retention has overtaken.
    pub(crate) fn behind(&self) -> Result<JournalError, JournalError> {
        for index in self.list()? {
            if let Some(Some((session, oldest))) = self.key(index)? {
                return Ok(JournalError::Behind { session, oldest });
            }
        }
        Ok(JournalError::Missing(self.dir.to_path_buf()))
    }

    /// True if the journal ends before `session`: all of it was cut off.
    pub(crate) fn is_cut_before(&self, session: u32) -> Result<bool, JournalError> {
        Ok(self.newest()?.is_none_or(|end| end.chain.tail.session < session))
    }

    /// The same as [`seek`](Self::seek) where `segment` is known to hold the sequence, or the journal's end before it.
    pub(crate) fn seek_in(
        &self,
        segment: &Arc<Segment>,
        session: u32,
        sequence: u64,
    ) -> Attempt<(Seek, Option<Place>)> {
        let first = segment
            .first()?
            .map(|packet| (packet.header().session.get(), packet.sequence()));
        if first.is_none_or(|(found, first)| found != session || first >= sequence) {
            return Ok(None);
        }
        match segment.end_mark()? {
            Some(mark) if mark.chain.tail.next <= sequence => Ok(None),
            _ => self.walk_to(segment.clone(), sequence).map(Some),
        }
    }

    /// Finds the first packet that is at or beyond `sequence`; for the meaning see [`Seek`].
    pub(crate) fn seek(&self, session: u32, sequence: u64) -> Result<(Seek, Option<Place>), JournalError> {
        self.steadily(|list| {
            let below = self.below(list, (session, sequence))?;
            if let Some(&index) = below.checked_sub(1).and_then(|last| list.get(last)) {
                match self.key(index)? {
                    None => return Ok(None),
                    Some(Some((found, _))) if found == session => return self.walk_from(index, sequence),
                    _ => {}
                }
            }
            let next = match list.get(below) {
                Some(&index) => match self.key(index)? {
                    None => return Ok(None),
                    Some(key) => key.map(|key| (index, key)),
                },
                None => None,
            };
            match next {
                Some((index, (found, first))) if found == session && first == sequence => {
                    self.walk_from(index, sequence)
                }
                Some((_, (found, oldest))) if found == session => Ok(Some((Seek::TooOld { oldest }, None))),
                _ => Ok(Some((Seek::UnknownSession, None))),
            }
        })
    }

    fn walk_from(&self, index: u64, sequence: u64) -> Attempt<(Seek, Option<Place>)> {
        match self.segment(index)? {
            None => Ok(None),
            Some(segment) => self.walk_to(segment, sequence).map(Some),
        }
    }

    /// Walks from the index entry before `sequence` to the first packet at or beyond it.
    fn walk_to(&self, segment: Arc<Segment>, sequence: u64) -> Result<(Seek, Option<Place>), JournalError> {
        let at = segment.start_below(sequence);
        let mut place = Place { segment, at };
        // A notice at the sequence is where the reader goes, but does not say that the sequence is there.
        let mut notice = None;
        loop {
            let Some(packet) = place.segment.packet(place.at)? else {
                match self.same_session_after(&place)? {
                    Some(next) => {
                        place = next;
                        continue;
                    }
                    None => return Ok((Seek::NotYet, Some(notice.unwrap_or(place)))),
                }
            };
            let local = packet.header().flags & flags::LOCAL != 0;
            let next = chain::after(&packet).tail.next;
            if next > sequence {
                return Ok((Seek::Found, Some(notice.unwrap_or(place))));
            }
            let length = packet.bytes().len();
            if local && packet.sequence() >= sequence && notice.is_none() {
                notice = Some(place.clone());
            }
            place.at += align_up(length);
        }
    }

    /// The start of the next segment, if the one of `place` ended there and the next goes on with its session.
    fn same_session_after(&self, place: &Place) -> Result<Option<Place>, JournalError> {
        let Some(mark) = place.segment.end_mark()? else {
            return Ok(None);
        };
        if mark.at != place.at {
            return Ok(None);
        }
        let Some(next) = self.segment(place.segment.index + 1)? else {
            return Ok(None);
        };
        let session = next.first()?.map(|packet| packet.header().session.get());
        Ok((session == Some(mark.chain.tail.session)).then(|| Place { segment: next, at: 0 }))
    }

    /// The oldest place.
    pub(crate) fn oldest(&self) -> Result<Option<Place>, JournalError> {
        self.steadily(|list| {
            let Some(&index) = list.first() else {
                return Ok(Some(None));
            };
            Ok(self.segment(index)?.map(|segment| Some(Place { segment, at: 0 })))
        })
    }

    /// The newest session and its end; `None` while the journal is empty.
    pub(crate) fn newest(&self) -> Result<Option<End>, JournalError> {
        self.steadily(|list| {
            for &index in list.iter().rev() {
                match self.segment(index)? {
                    None => return Ok(None),
                    Some(segment) if segment.first()?.is_none() => {}
                    Some(segment) => return Ok(Some(Some(self.end_of(segment)?))),
                }
            }
            Ok(Some(None))
        })
    }

    /// The oldest sequence held of `session`.
    pub(crate) fn oldest_of(&self, session: u32) -> Result<Option<u64>, JournalError> {
        self.steadily(|list| {
            let Some(&index) = list.get(self.below(list, (session, 0))?) else {
                return Ok(Some(None));
            };
            Ok(match self.key(index)? {
                None => None,
                Some(Some((found, first))) if found == session => Some(Some(first)),
                Some(_) => Some(None),
            })
        })
    }

    /// The first session from `session` on of which something is held.
    pub(crate) fn session_from(&self, session: u32) -> Result<Option<u32>, JournalError> {
        self.steadily(|list| {
            let Some(&index) = list.get(self.below(list, (session, 0))?) else {
                return Ok(Some(None));
            };
            Ok(self.key(index)?.map(|key| key.map(|(found, _)| found)))
        })
    }

    /// What is held of `session`.
    pub(crate) fn span(&self, session: u32) -> Result<Option<SessionSpan>, JournalError> {
        let last = self.steadily(|list| {
            let below = self.below(list, (session, u64::MAX))?;
            let Some(&index) = below.checked_sub(1).and_then(|last| list.get(last)) else {
                return Ok(Some(None));
            };
            let Some(segment) = self.segment(index)? else {
                return Ok(None);
            };
            if segment
                .first()?
                .is_none_or(|packet| packet.header().session.get() != session)
            {
                return Ok(Some(None));
            }
            let superseded = match list.get(below) {
                Some(&next) => matches!(self.key(next)?, Some(Some(_))),
                None => false,
            };
            Ok(Some(Some((self.end_of(segment)?, superseded))))
        })?;
        let Some((end, superseded)) = last else {
            return Ok(None);
        };
        let tail = end.chain.tail;
        Ok(self.oldest_of(session)?.map(|oldest| SessionSpan {
            oldest,
            next: tail.next,
            epoch: tail.epoch,
            epoch_base: tail.epoch_base,
            ended: tail.ended,
            superseded,
        }))
    }

    /// The end of a segment that holds packets.
    pub(crate) fn end_of(&self, segment: Arc<Segment>) -> Result<End, JournalError> {
        if let Some(mark) = segment.end_mark()? {
            return Ok(End {
                place: Place { segment, at: mark.at },
                chain: mark.chain,
                marked: true,
            });
        }
        let at = segment.start_near_end();
        let Some(packet) = segment.packet(at)? else {
            return Err(segment.damaged(at, "a packet is missing".to_owned()));
        };
        let before = match at {
            0 => self.chain_before(&segment, &packet)?,
            _ => None,
        };
        let mut end = End {
            chain: before.map_or_else(|| chain::after(&packet), |before| chain::pass(&before, &packet)),
            place: Place { segment, at },
            marked: false,
        };
        end.advance()?;
        Ok(end)
    }

    /// How the journal stood before the segment, if that begins with a notice, which does not say by itself how it stands
    /// behind it, and the one before it is still there.
    fn chain_before(&self, segment: &Segment, first: &Packet<'_>) -> Result<Option<Chain>, JournalError> {
        let header = first.header();
        if header.flags & flags::LOCAL == 0 || segment.index == 0 {
            return Ok(None);
        }
        let before = self.segment(segment.index - 1)?;
        let mark = before.map_or(Ok(None), |before| before.end_mark())?;
        let chain = mark.map(|mark| mark.chain);
        Ok(chain.filter(|chain| chain.tail.session == header.session.get()))
    }
}

impl End {
    /// Goes on to the end of what is committed in the segment by now.
    pub(crate) fn advance(&mut self) -> Result<(), JournalError> {
        let segment = self.place.segment.clone();
        let near = segment.start_near_end();
        if near > self.place.at {
            self.place.at = near;
        }
        while let Some(packet) = segment.packet(self.place.at)? {
            self.step(&packet);
        }
        // In this order: what the end mark says is final.
        if segment.has_end_mark()
            && let Some(mark) = segment.end_mark()?
        {
            (self.place.at, self.chain, self.marked) = (mark.at, mark.chain, true);
        }
        Ok(())
    }

    fn step(&mut self, packet: &Packet<'_>) {
        self.chain = chain::pass(&self.chain, packet);
        self.place.at += align_up(packet.bytes().len());
    }
}
