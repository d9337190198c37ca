//! The rule by which epochs are given out. Pure: a record and a request in, a record and a grant out.

use crate::Tail;
use serde::{Deserialize, Serialize};

/// A machine, and which start of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Names the machine.
    pub host: String,
    /// Changes when the machine is started.
    pub boot: String,
}

/// One epoch of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch, 1 or more.
    pub epoch: u32,
    /// The end (exclusive) of what older epochs validly published.
    pub valid_end: u64,
    /// The epoch's first sequence.
    pub base: u64,
}

/// What the store knows of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRecord {
    /// The newest session.
    pub session: u32,
    /// The session before it; 0: none is known.
    #[serde(default)]
    pub previous: u32,
    /// Its epochs, oldest first; never empty.
    pub epochs: Vec<EpochRecord>,
    /// Nobody has used this sequence or one beyond it.
    pub reserved_end: u64,
    /// Who acquired the newest epoch.
    pub holder: Holder,
    /// With which journal ([`JournalWriter::id`](crate::JournalWriter::id)).
    pub journal: u64,
    /// True if the session ended.
    pub ended: bool,
}

/// What a publisher asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// This session: the store's own to go on with it, or a higher one to start it. `None`: the store's own, or 1.
    pub session: Option<u32>,
    /// Where the asker's journal ends.
    pub tail: Option<Tail>,
    /// The asker's journal ([`JournalWriter::id`](crate::JournalWriter::id)): only with the journal of the last holder
    /// is the tail all that was published.
    pub journal: u64,
    /// The asker.
    pub holder: Holder,
    /// How many sequences to reserve, 1 or more.
    pub reserve: u64,
}

/// What older epochs put at or beyond `valid_end` is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The epoch that made it so.
    pub epoch: u32,
    /// The first void sequence.
    pub valid_end: u64,
}

/// The right to publish an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The channel.
    pub channel: u16,
    /// The session.
    pub session: u32,
    /// The epoch.
    pub epoch: u32,
    /// The end (exclusive) of what older epochs validly published: goes into EpochStart.
    pub valid_end: u64,
    /// The epoch's first sequence: EpochStart's own.
    pub base: u64,
    /// Sequences below this may be used; [`EpochStore::extend`](super::EpochStore::extend) moves it.
    pub reserved_end: u64,
    /// True if the asker's journal holds nothing of the session yet: it begins with this epoch.
    pub new_session: bool,
    /// The session before this one; 0: none is known.
    pub previous: u32,
    /// The journal's newest session must be cut to these first
    /// ([`JournalWriter::discard_from`](crate::JournalWriter::discard_from)), oldest epoch first.
    pub cuts: Vec<Cut>,
}

/// Why an epoch is not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Session numbers only grow.
    #[error("session {asked} is not above session {known}, which was the last: ask for {} or more", u64::from(*known) + 1)]
    SessionMustGrow {
        /// The session asked for.
        asked: u32,
        /// The newest session known.
        known: u32,
    },
    /// The session ended.
    #[error("session {session} has ended: start a new one by asking for session {} or more", u64::from(*session) + 1)]
    Ended {
        /// The session.
        session: u32,
    },
    /// The asker's journal does not hold the session.
    #[error(
        "session {session} was published before, but this journal holds nothing of it: name the journal that does \
         (or a replica of it), or start session {} or more", u64::from(*session) + 1
    )]
    EmptyJournal {
        /// The session.
        session: u32,
    },
    /// The journal has seen more than the store.
    #[error(
        "the journal holds session {session} epoch {epoch}, which the epoch store never gave out: name the epoch store \
         that did, or start session {} or more", u64::from(*session) + 1
    )]
    UnknownToStore {
        /// The journal's session.
        session: u32,
        /// The journal's epoch.
        epoch: u32,
    },
    /// Another publisher has acquired a newer epoch or session.
    #[error(
        "session {session} epoch {epoch} was deposed: another publisher holds session {by_session} epoch {by_epoch}"
    )]
    Deposed {
        /// The session of the grant.
        session: u32,
        /// The epoch of the grant.
        epoch: u32,
        /// The newest session.
        by_session: u32,
        /// The newest epoch.
        by_epoch: u32,
    },
    /// Numbers run out, or are zero where they cannot be.
    #[error("{0}")]
    Number(&'static str),
}

/// The next epoch for `request`, given what the store knows of the channel. The record must be durable before the grant
/// is used.
///
/// - The last holder's own journal, on the same start of the same machine: a kill. All that was published stands in the
///   journal, so the epoch goes on right behind it.
/// - Anything else (a power cut, a takeover): what was sent last is not known. What the journal holds stands; the epoch
///   begins where nobody has published, at the end of the reservation.
/// - A new session begins at sequence 1.
///
/// # Errors
/// If none may be given.
pub fn decide(
    channel: u16,
    record: Option<&ChannelRecord>,
    request: &Request,
) -> Result<(ChannelRecord, Grant), Refusal> {
    if request.reserve == 0 {
        return Err(Refusal::Number("at least one sequence must be reserved"));
    }
    let cuts = cuts(record, request.tail);
    match session(record, request)? {
        Start::New(session) => {
            let held = request.tail.map_or(0, |tail| tail.session);
            // What the last holder's own journal does not hold was taken by a power cut: it is in no stream.
            let previous = match record {
                Some(record) if record.journal != request.journal => held.max(record.session),
                _ => held,
            };
            grant(channel, None, (session, previous), request, (1, 1), cuts)
        }
        Start::GoOn(record) => {
            let go_on = go_on(record, request, &cuts);
            let session = (record.session, record.previous);
            grant(channel, Some(record), session, request, go_on, cuts)
        }
    }
}

/// Which session an epoch is given in.
enum Start<'a> {
    New(u32),
    GoOn(&'a ChannelRecord),
}

fn session<'a>(record: Option<&'a ChannelRecord>, request: &Request) -> Result<Start<'a>, Refusal> {
    let held = request.tail.map_or(0, |tail| tail.session);
    let Some(record) = record else {
        let asked = request.session.unwrap_or(1);
        return match request.tail {
            // Nobody knows what was published of it.
            Some(tail) if request.session.is_none_or(|asked| asked == tail.session) => {
                Err(Refusal::UnknownToStore {
                    session: tail.session,
                    epoch: tail.epoch,
                })
            }
            _ => must_grow(asked, held).map(Start::New),
        };
    };
    match request.session {
        Some(asked) if asked != record.session => {
            return must_grow(asked, record.session.max(held)).map(Start::New);
        }
        _ => {}
    }
    let session = record.session;
    let newest = record.epochs.last().map_or(0, |epoch| epoch.epoch);
    match request.tail {
        Some(tail) if (tail.session, tail.epoch) > (session, newest) => Err(Refusal::UnknownToStore {
            session: tail.session,
            epoch: tail.epoch,
        }),
        Some(tail) if tail.session == session && tail.ended => Err(Refusal::Ended { session }),
        _ if record.ended => Err(Refusal::Ended { session }),
        // Killed between acquiring the session's first epoch and its first packet: the journal says itself that it
        // holds nothing.
        _ if held < session && record.journal != request.journal => Err(Refusal::EmptyJournal { session }),
        _ => Ok(Start::GoOn(record)),
    }
}

fn must_grow(asked: u32, known: u32) -> Result<u32, Refusal> {
    match asked > known {
        true => Ok(asked),
        false => Err(Refusal::SessionMustGrow { asked, known }),
    }
}

/// Valid ends that epochs put on record which the journal has not seen the start of, where it holds more.
fn cuts(record: Option<&ChannelRecord>, tail: Option<Tail>) -> Vec<Cut> {
    let (Some(record), Some(tail)) = (record, tail) else {
        return Vec::new();
    };
    let unseen = record.epochs.iter().filter(|epoch| epoch.epoch > tail.epoch);
    let mut end = tail.next;
    let mut cuts = Vec::new();
    for epoch in unseen.filter(|_| tail.session == record.session) {
        if epoch.valid_end < end {
            end = epoch.valid_end;
            cuts.push(Cut {
                epoch: epoch.epoch,
                valid_end: end,
            });
        }
    }
    cuts
}

/// Valid end and base of the next epoch of a session that goes on.
fn go_on(record: &ChannelRecord, request: &Request, cuts: &[Cut]) -> (u64, u64) {
    let tail = request.tail.filter(|tail| tail.session == record.session);
    let held = tail.map_or(1, |tail| tail.next);
    let valid_end = cuts.iter().map(|cut| cut.valid_end).fold(held, u64::min);
    // An epoch that was given out and never began has kept everything below its base for others.
    let kept = record
        .epochs
        .iter()
        .map(|epoch| epoch.base)
        .fold(valid_end, u64::max);
    let killed = record.holder == request.holder && record.journal == request.journal;
    let base = match killed {
        true => kept,
        false => kept.max(record.reserved_end).max(held),
    };
    (valid_end, base)
}

fn grant(
    channel: u16,
    record: Option<&ChannelRecord>,
    (session, previous): (u32, u32),
    request: &Request,
    (valid_end, base): (u64, u64),
    cuts: Vec<Cut>,
) -> Result<(ChannelRecord, Grant), Refusal> {
    let mut epochs = record.map(|record| record.epochs.clone()).unwrap_or_default();
    let last = epochs.last().map_or(0, |epoch| epoch.epoch);
    let epoch = last
        .checked_add(1)
        .ok_or(Refusal::Number("the session has no more epoch numbers"))?;
    epochs.push(EpochRecord {
        epoch,
        valid_end,
        base,
    });
    let reserved_end = base
        .checked_add(request.reserve)
        .filter(|&end| end < u64::MAX)
        .ok_or(Refusal::Number("the session has no more sequences"))?
        .max(record.map_or(0, |record| record.reserved_end));
    let record_after = ChannelRecord {
        session,
        previous,
        epochs,
        reserved_end,
        holder: request.holder.clone(),
        journal: request.journal,
        ended: false,
    };
    let grant = Grant {
        channel,
        session,
        epoch,
        valid_end,
        base,
        reserved_end,
        new_session: request.tail.is_none_or(|tail| tail.session < session),
        previous,
        cuts,
    };
    Ok((record_after, grant))
}

/// The record, if `grant` is the newest that was given.
fn held<'a>(record: Option<&'a ChannelRecord>, grant: &Grant) -> Result<&'a ChannelRecord, Refusal> {
    let newest = record.and_then(|record| Some((record.session, record.epochs.last()?.epoch)));
    match (record, newest) {
        (Some(record), Some(newest)) if newest == (grant.session, grant.epoch) => Ok(record),
        (_, newest) => {
            let (by_session, by_epoch) = newest.unwrap_or_default();
            Err(Refusal::Deposed {
                session: grant.session,
                epoch: grant.epoch,
                by_session,
                by_epoch,
            })
        }
    }
}

/// The record with sequences below `new_end` reserved for the holder of `grant`. A reservation never shrinks.
///
/// # Errors
/// [`Refusal::Deposed`].
pub fn extend(record: Option<&ChannelRecord>, grant: &Grant, new_end: u64) -> Result<ChannelRecord, Refusal> {
    let mut record = held(record, grant)?.clone();
    record.reserved_end = record.reserved_end.max(new_end);
    Ok(record)
}

/// The record with the session of `grant` ended.
///
/// # Errors
/// [`Refusal::Deposed`].
pub fn end_session(record: Option<&ChannelRecord>, grant: &Grant) -> Result<ChannelRecord, Refusal> {
    let mut record = held(record, grant)?.clone();
    record.ended = true;
    Ok(record)
}
