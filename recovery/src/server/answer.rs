//! What the journal has of a range: the next packets of it, or why its next sequences cannot be had.
//!
//! A hole between packets of a session is void only where an epoch start says so; any other hole (in the journal of a
//! listener that declared a loss) is something that is not kept here. Claiming "void" for it would lose messages
//! silently.

use std::ops;
use twinline_journal::{JournalError, JournalReader, Region, Seek};
use twinline_wire::Packet;
use twinline_wire::field::RejectCode;
use twinline_wire::header::{MAX_PACKET_LEN, align_up};
use twinline_wire::session::{EpochStart, SessionStart};

/// A range of a session, not empty, that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) session: u32,
    pub(super) begin: u64,
    pub(super) end: u64,
}

/// How much may be sent at once: at least one packet is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) messages: u64,
    pub(super) bytes: usize,
}

/// What can be said of the beginning of a range.
pub(super) enum Answer {
    /// These packets of the region hold it.
    Packets(Region, Batch),
    /// This part of it cannot be had.
    Refused(Refusal),
}

/// Whole packets in a region, without a hole between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// Where in the region they are.
    pub(super) bytes: ops::Range<usize>,
    pub(super) messages: u64,
    pub(super) packets: u64,
    /// The sequence after their last message.
    pub(super) end: u64,
}

/// The first part of a range cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// First sequence that this is not said of; beyond the begin of the range.
    pub(super) end: u64,
    pub(super) code: RejectCode,
    pub(super) reason: &'static str,
    /// Asking again is of use.
    pub(super) again: bool,
    /// Where nothing is held of the session: the next one of which something is.
    pub(super) next_session: Option<u32>,
}

/// A place in the journal, to go on from without a search.
pub(super) struct Cursor {
    reader: JournalReader,
    /// Session and sequence that the reader stands at; (0, 0) if that is not known.
    at: (u32, u64),
}

/// The first part of the answer to a range. The journal may grow, be cut and lose old segments at any moment, so
/// every look at it is taken as it is, and doubt is answered "ask again". `cursor` is the client's own; a search is made
/// (some system calls) unless the range goes on where it stands.
pub(super) fn answer(
    journal: &mut JournalReader,
    cursor: &mut Option<Cursor>,
    wanted: Wanted,
    room: Room,
) -> Result<Answer, JournalError> {
    let Wanted { session, begin, end } = wanted;
    if let Some(cursor) = cursor
        && cursor.at == (session, begin)
        && let Some(answer) = read_on(cursor, wanted, room)?
    {
        return Ok(answer);
    }
    let newest = journal.head()?;
    let Some(head) = newest.filter(|head| session <= head.session) else {
        return Ok(Answer::Refused(unknown_session(wanted, 0)));
    };
    // Without a search, for this is asked over and over.
    if session == head.session && begin >= head.next {
        return Ok(Answer::Refused(if head.ended {
            void(end)
        } else {
            unpublished(end)
        }));
    }
    let cursor = cursor.get_or_insert_with(|| Cursor {
        reader: journal.clone(),
        at: (0, 0),
    });
    match cursor.reader.seek(session, begin)? {
        Seek::Found => {
            if let Some(answer) = read_on(cursor, wanted, room)? {
                return Ok(answer);
            }
        }
        Seek::NotYet => {}
        Seek::TooOld { oldest } => {
            // Where a power cut took all that a session had published, it begins with a later epoch: what that cut off
            // is void, not too old.
            if cursor.reader.seek(session, oldest)? == Seek::Found
                && let Some(Answer::Refused(refusal)) = read_on(cursor, wanted, room)?
            {
                return Ok(Answer::Refused(refusal));
            }
            return Ok(Answer::Refused(too_old(end.min(oldest.max(begin + 1)))));
        }
        Seek::UnknownSession => return not_held(&mut cursor.reader, wanted).map(Answer::Refused),
    }
    // The session has nothing there, for now or for good.
    let over = match journal.session(session)? {
        Some(span) => begin >= span.next && (span.ended || span.superseded),
        None => return not_held(journal, wanted).map(Answer::Refused),
    };
    Ok(Answer::Refused(if over { void(end) } else { unpublished(end) }))
}

/// What the reader comes upon; `None` if that is the end of the journal or of the session.
fn read_on(cursor: &mut Cursor, wanted: Wanted, room: Room) -> Result<Option<Answer>, JournalError> {
    cursor.at = (0, 0);
    // Each message may have a packet of its own: a small range looks at no more of the journal than it can need.
    let messages = usize::try_from(wanted.end - wanted.begin).unwrap_or(usize::MAX);
    let bytes = room.bytes.min(messages.saturating_mul(MAX_PACKET_LEN));
    loop {
        let region = match cursor.reader.next_region(bytes) {
            Ok(Some(region)) => region,
            // Cut or recycled under our hands: the next look sees what there is now.
            Ok(None) | Err(JournalError::Behind { .. } | JournalError::Discarded { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match walk(&region, wanted, room.messages) {
            Walk::Packets(batch) => {
                if batch.end == region.end() {
                    cursor.at = (wanted.session, batch.end);
                }
                return Ok(Some(Answer::Packets(region, batch)));
            }
            Walk::Refused(refusal) => return Ok(Some(Answer::Refused(refusal))),
            Walk::Foreign => return Ok(None),
            Walk::Nothing => {}
        }
    }
}

fn too_old(end: u64) -> Refusal {
    Refusal {
        end,
        code: RejectCode::TOO_OLD,
        reason: "no longer kept",
        again: false,
        next_session: None,
    }
}

fn void(end: u64) -> Refusal {
    Refusal {
        end,
        code: RejectCode::VOID,
        reason: "void: these sequences name no message",
        again: false,
        next_session: None,
    }
}

pub(super) fn unpublished(end: u64) -> Refusal {
    Refusal {
        end,
        code: RejectCode::NOT_YET_PUBLISHED,
        reason: "not published yet",
        again: true,
        next_session: None,
    }
}

/// That the session asked for is not known, where this is the newest one. A newer one may still come.
pub(super) fn unknown_session(wanted: Wanted, newest: u32) -> Refusal {
    Refusal {
        end: wanted.end,
        code: RejectCode::UNKNOWN_SESSION,
        reason: "this session is not known here",
        again: wanted.session > newest,
        next_session: None,
    }
}

/// Nothing is held of the session, which is not the newest. It never was only where the next one says so: a hole in the
/// numbers proves nothing in a journal that was taken up again on another machine, or by a listener.
fn not_held(journal: &mut JournalReader, wanted: Wanted) -> Result<Refusal, JournalError> {
    let next_session = match wanted.session.checked_add(1) {
        Some(above) => journal.session_from(above)?,
        None => None,
    };
    let Some(next) = next_session else {
        // The journal was cut while it was looked at.
        return Ok(unknown_session(wanted, 0));
    };
    let known = session_before(journal, next)?.is_some_and(|before| before < wanted.session);
    let refusal = match known {
        true => Refusal {
            reason: "no such session was published",
            ..void(wanted.end)
        },
        false => Refusal {
            reason: "nothing is kept of this session",
            ..too_old(wanted.end)
        },
    };
    Ok(Refusal {
        next_session,
        ..refusal
    })
}

/// The session before `session`, if its start is held and names one.
fn session_before(journal: &mut JournalReader, session: u32) -> Result<Option<u32>, JournalError> {
    if let Seek::TooOld { oldest } = journal.seek(session, 1)? {
        journal.seek(session, oldest)?;
    }
    let region = match journal.next_region(2 * MAX_PACKET_LEN) {
        Ok(region) => region,
        Err(JournalError::Behind { .. } | JournalError::Discarded { .. }) => None,
        Err(error) => return Err(error),
    };
    let mut rest = region.as_deref().unwrap_or_default();
    while let Ok(packet) = Packet::trusted_prefix(rest) {
        let mut frames = packet.messages();
        let start = frames.find_map(|(_, frame)| frame.view::<SessionStart>());
        match start {
            _ if packet.header().session.get() != session => break,
            Some(start) => return Ok(start.previous.get().map(|previous| previous.get())),
            None => rest = rest.get(align_up(packet.bytes().len())..).unwrap_or_default(),
        }
    }
    Ok(None)
}

/// What a region has of a range.
#[derive(Debug, PartialEq, Eq)]
enum Walk {
    Packets(Batch),
    Refused(Refusal),
    /// Nothing but notices, and packets before it.
    Nothing,
    /// Another session's packets.
    Foreign,
}

/// Takes packets from a region, up to the end of the range, so many messages, a hole, or a listener's notice.
fn walk(region: &[u8], wanted: Wanted, messages: u64) -> Walk {
    let mut batch: Option<Batch> = None;
    let mut at = 0;
    while let Ok(packet) = Packet::trusted_prefix(region.get(at..).unwrap_or_default()) {
        let header = packet.header();
        let start = at;
        let stop = start + packet.bytes().len();
        at = align_up(stop);
        let foreign = header.session.get() != wanted.session;
        // A listener's notice has no messages; it is never sent on.
        let usable = !foreign && header.count.get() > 0;
        let count = u64::from(header.count.get());
        match &mut batch {
            Some(batch) => {
                let follows = usable && packet.sequence() == batch.end;
                if !follows || batch.end >= wanted.end || batch.messages >= messages {
                    break;
                }
                batch.bytes.end = stop;
                batch.messages += count;
                batch.packets += 1;
                batch.end = packet.end();
            }
            None if foreign => return Walk::Foreign,
            None if !usable || packet.end() <= wanted.begin => {}
            None if packet.sequence() > wanted.begin => return Walk::Refused(hole(&packet, wanted)),
            None => {
                batch = Some(Batch {
                    bytes: start..stop,
                    messages: count,
                    packets: 1,
                    end: packet.end(),
                });
            }
        }
    }
    batch.map_or(Walk::Nothing, Walk::Packets)
}

/// Why there is nothing before this packet.
fn hole(packet: &Packet<'_>, wanted: Wanted) -> Refusal {
    let end = wanted.end.min(packet.sequence());
    let epoch = packet
        .messages()
        .next()
        .and_then(|(_, frame)| frame.view::<EpochStart>());
    match epoch.map(|epoch| epoch.valid_end.get()) {
        Some(valid_end) if valid_end <= wanted.begin => void(end),
        valid_end => Refusal {
            reason: "not in this journal",
            ..too_old(valid_end.map_or(end, |valid_end| end.min(valid_end)))
        },
    }
}
