//! One client's tail: a place in the journal that goes on for ever, over epochs and sessions, straight from the map.
//!
//! The place is (session, sequence): everything before it was sent. The journal may be cut and lose old segments under it;
//! then the place is looked up again. What a cut made void was sent and cannot be taken back: the next thing that the
//! client gets is the EpochStart that says so, because an epoch's base lies beyond everything that older epochs used.

use super::answer::Batch;
use super::tails::Seat;
use crate::Mark;
use twinline_journal::{JournalError, JournalReader, Region, Seek};
use twinline_wire::Packet;
use twinline_wire::field::{RejectCode, TailKind};
use twinline_wire::header::align_up;
use twinline_wire::session::EpochStart;

/// An open tail.
pub(super) struct Tail {
    pub(super) request_id: u32,
    pub(super) kind: TailKind,
    /// What comes next; session 0: the oldest packet that is kept.
    pub(super) at: Mark,
    /// The released mark that a replica was told last.
    pub(super) told: Mark,
    /// The client was told that all that there was is sent.
    pub(super) caught_up: bool,
    pub(super) seat: Seat,
    /// Its own place in the journal, if `placed`.
    reader: Option<JournalReader>,
    placed: bool,
}

/// What a tail comes upon.
pub(super) enum Next {
    /// These packets of the region are to be sent.
    Packets(Region, Batch),
    /// Nothing new yet.
    Wait,
    /// It cannot go on.
    Over(Over),
}

/// Why a tail cannot go on: `at..end` of its session cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) code: RejectCode,
    pub(super) end: u64,
    pub(super) reason: &'static str,
}

impl Tail {
    pub(super) fn new(request_id: u32, kind: TailKind, at: Mark, seat: Seat) -> Self {
        Self {
            request_id,
            kind,
            at,
            told: Mark::default(),
            caught_up: false,
            seat,
            reader: None,
            placed: false,
        }
    }

    /// The next packets, as many as fit `max_bytes`. A Reader gets nothing at or beyond `released`, if that is given.
    pub(super) fn next(
        &mut self,
        journal: &mut JournalReader,
        released: Option<Mark>,
        max_bytes: usize,
    ) -> Result<Next, JournalError> {
        let released = released.filter(|_| self.kind != TailKind::REPLICA);
        // Each turn looks at no more than a few segments' ends; a journal that is cut over and over is looked at again later.
        for _ in 0..8 {
            if !self.placed
                && let Some(over) = self.find_place(journal)?
            {
                return Ok(Next::Over(over));
            }
            let Some(reader) = &mut self.reader else {
                return Ok(Next::Wait);
            };
            let region = match reader.next_region(max_bytes) {
                Ok(Some(region)) => region,
                Ok(None) => return Ok(Next::Wait),
                Err(JournalError::Behind { .. } | JournalError::Discarded { .. }) => {
                    self.placed = false;
                    continue;
                }
                Err(error) => {
                    self.placed = false;
                    return Err(error);
                }
            };
            match walk(&region, self.at, released) {
                Found::Packets(batch, session) => {
                    self.at = Mark::new(session, batch.end);
                    // Where the walk ended early, the rest of the region is found again.
                    self.placed = align_up(batch.bytes.end) >= region.len();
                    return Ok(Next::Packets(region, batch));
                }
                Found::Hole { session, end } => {
                    // Of a later session the beginning is missing.
                    if session != self.at.session {
                        self.at = Mark::new(session, 1);
                    }
                    return Ok(Next::Over(Over {
                        code: RejectCode::TOO_OLD,
                        end,
                        reason: "no longer kept here: the end of this reject is the oldest sequence kept",
                    }));
                }
                Found::Unreleased => {
                    self.placed = false;
                    return Ok(Next::Wait);
                }
                Found::Nothing => {}
            }
        }
        Ok(Next::Wait)
    }

    fn find_place(&mut self, journal: &mut JournalReader) -> Result<Option<Over>, JournalError> {
        let reader = self.reader.get_or_insert_with(|| journal.clone());
        let Mark { session, next } = self.at;
        self.placed = true;
        if session == 0 {
            reader.seek_oldest()?;
            return Ok(None);
        }
        match reader.seek(session, next)? {
            Seek::Found | Seek::NotYet => {}
            // The epoch that starts there may say that nothing is missing.
            Seek::TooOld { oldest } => drop(reader.seek(session, oldest)?),
            Seek::UnknownSession => {
                // In this order: no session that begins meanwhile is passed over.
                reader.seek_head()?;
                let newest = journal.head()?.map_or(0, |head| head.session);
                if newest > session {
                    return Ok(Some(Over {
                        code: RejectCode::UNKNOWN_SESSION,
                        end: u64::MAX,
                        reason: "nothing of this session is kept here",
                    }));
                }
                self.placed = newest < session;
            }
        }
        Ok(None)
    }
}

enum Found {
    /// Packets of this session.
    Packets(Batch, u32),
    /// The first packet does not follow, and no epoch starts there: what is below `end` is missing.
    Hole { session: u32, end: u64 },
    /// Packets that a Reader may not have yet.
    Unreleased,
    /// Nothing but notices, and packets before the place.
    Nothing,
}

/// Takes packets from a region, which is of one session, up to a hole, a listener's notice, or the released mark.
fn walk(region: &Region, at: Mark, released: Option<Mark>) -> Found {
    let session = region.first().0;
    if session < at.session {
        return Found::Nothing;
    }
    let limit = match released {
        Some(mark) if session > mark.session => return Found::Unreleased,
        Some(mark) if session == mark.session => mark.next,
        _ => u64::MAX,
    };
    // From the oldest on, wherever that is; a later session from its beginning.
    let mut next = match at.session {
        0 => None,
        of if of == session => Some(at.next),
        _ => Some(1),
    };
    let mut batch: Option<Batch> = None;
    let mut offset = 0;
    while let Ok(packet) = Packet::trusted_prefix(region.get(offset..).unwrap_or_default()) {
        let (start, stop) = (offset, offset + packet.bytes().len());
        offset = align_up(stop);
        let count = u64::from(packet.header().count.get());
        let is_old = next.is_some_and(|next| packet.end() <= next);
        if count == 0 || is_old {
            match batch {
                // What is sent is one piece.
                Some(_) => break,
                None => continue,
            }
        }
        let follows = next.is_none_or(|next| packet.sequence() <= next || starts_epoch(&packet, next));
        let ended = match (follows, packet.sequence() >= limit) {
            (true, false) => None,
            (false, _) => Some(Found::Hole {
                session,
                end: packet.sequence(),
            }),
            (true, true) => Some(Found::Unreleased),
        };
        match (&mut batch, ended) {
            (None, Some(ended)) => return ended,
            (Some(_), Some(_)) => break,
            (Some(batch), None) => {
                batch.bytes.end = stop;
                batch.messages += count;
                batch.packets += 1;
                batch.end = packet.end();
            }
            (None, None) => {
                batch = Some(Batch {
                    bytes: start..stop,
                    messages: count,
                    packets: 1,
                    end: packet.end(),
                });
            }
        }
        next = Some(packet.end());
    }
    batch.map_or(Found::Nothing, |batch| Found::Packets(batch, session))
}

/// True if the packet opens an epoch that says that nothing valid stands between `next` and it.
fn starts_epoch(packet: &Packet<'_>, next: u64) -> bool {
    let first = packet.messages().next();
    let start = first.and_then(|(_, frame)| frame.view::<EpochStart>());
    start.is_some_and(|start| start.valid_end.get() <= next)
}
