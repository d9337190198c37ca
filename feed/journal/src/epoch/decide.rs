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
    /// True if the session starts with this epoch.
    pub new_session: bool,
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
/// # Errors
/// If none may be given.
pub fn decide(
    _channel: u16,
    _record: Option<&ChannelRecord>,
    _request: &Request,
) -> Result<(ChannelRecord, Grant), Refusal> {
    unimplemented!()
}

/// The record with sequences below `new_end` reserved for the holder of `grant`.
///
/// # Errors
/// [`Refusal::Deposed`].
pub fn extend(
    _record: Option<&ChannelRecord>,
    _grant: &Grant,
    _new_end: u64,
) -> Result<ChannelRecord, Refusal> {
    unimplemented!()
}

/// The record with the session of `grant` ended.
///
/// # Errors
/// [`Refusal::Deposed`].
pub fn end_session(_record: Option<&ChannelRecord>, _grant: &Grant) -> Result<ChannelRecord, Refusal> {
    unimplemented!()
}
