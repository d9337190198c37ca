//! From a directory and an epoch store to a publisher: recover the journal, acquire an epoch, cut what is void, read back
//! where the sources are to be resumed.

use super::checkpoint::Checkpoint;
use super::resume::{Resume, resume};
use super::{Lines, OpenError, Publisher, PublisherConfig, Reserver};
use std::path::PathBuf;
use twinline_journal::epoch::{EpochRecord, EpochStore, Grant, Holder, Request};
use twinline_journal::{JournalConfig, JournalWriter, Tail};

/// Where a publisher's journal and epoch store are, and who it is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The journal's directory; created if there is none.
    pub journal: PathBuf,
    /// How the journal is written; its channel is the publisher's.
    pub journal_config: JournalConfig,
    /// The epoch store's file, outside of the journal's directory.
    pub store: PathBuf,
    /// The session: that of the store to go on with it, a higher one to start it; `None`: the store's newest, or 1.
    pub session: Option<u32>,
    /// This machine in its present start.
    pub holder: Holder,
    /// Sequences to reserve at a time.
    pub block: u64,
}

/// The epoch that a publisher holds, and the store that granted it.
pub type HeldEpoch = (EpochStore, Grant);

/// A publisher, ready to be ticked.
#[derive(Debug)]
pub struct Opened<L: Lines> {
    /// The publisher. In [`Phase::LeadIn`](super::Phase::LeadIn), or in [`Phase::Ending`](super::Phase::Ending) if the
    /// session is complete in the journal already: then there is nothing to publish.
    pub publisher: Publisher<L>,
    /// The control thread that reserves sequences; `None` if the session is complete.
    pub reserver: Option<Reserver>,
}

/// Opens a channel's publisher: recovers the journal, acquires the next epoch, starts the control thread.
///
/// # Errors
/// See [`OpenError`].
pub fn open<L: Lines>(
    config: PublisherConfig,
    place: &Place,
    lines: L,
    now: u64,
) -> Result<Opened<L>, OpenError> {
    let (publisher, epoch) = open_without_thread(config, place, lines, now)?;
    let reserver = match epoch {
        Some((store, grant)) => {
            let reserver = Reserver::start(store, grant, &publisher, place);
            Some(reserver.map_err(OpenError::Thread)?)
        }
        None => None,
    };
    Ok(Opened { publisher, reserver })
}

/// [`open`](open()) without the control thread: the caller extends the reservation in the store that is returned with
/// the grant, and ends the session in it. `None` if the session is complete.
///
/// # Errors
/// See [`OpenError`].
pub fn open_without_thread<L: Lines>(
    config: PublisherConfig,
    place: &Place,
    lines: L,
    now: u64,
) -> Result<(Publisher<L>, Option<HeldEpoch>), OpenError> {
    config.check(place.journal_config.max_packet)?;
    let channel = place.journal_config.channel;
    let mut journal = JournalWriter::open(&place.journal, place.journal_config.clone())?;
    let store = EpochStore::open(&place.store)?;
    if let Some(tail) = complete(place, &journal, &store)? {
        let resume = resume(&place.journal, tail.session, tail.next)?;
        let publisher = Publisher::ended(config, channel, &tail, journal, &resume, lines, now)?;
        return Ok((publisher, None));
    }
    let request = Request {
        session: place.session,
        tail: journal.tail(),
        journal: journal.id(),
        holder: place.holder.clone(),
        reserve: place.block.max(super::MIN_BLOCK),
    };
    let grant = store.acquire(channel, &request)?;
    cut(&mut journal, &grant)?;
    let resume = if grant.new_session {
        Resume::default()
    } else {
        resume(&place.journal, grant.session, grant.valid_end)?
    };
    let checkpoint = Checkpoint {
        session: grant.session,
        next: grant.valid_end,
        resume: resume.clone(),
    };
    checkpoint.write(&place.journal)?;
    let publisher = Publisher::new(config, &grant, journal, &resume, lines, now)?;
    Ok((publisher, Some((store, grant))))
}

/// The tail, if the session asked for is the journal's and is complete: nobody has acquired an epoch after its last
/// message. Makes good what a crash between that message and the store's record of it left out.
fn complete(place: &Place, journal: &JournalWriter, store: &EpochStore) -> Result<Option<Tail>, OpenError> {
    let channel = place.journal_config.channel;
    let Some(tail) = journal.tail().filter(|tail| tail.ended) else {
        return Ok(None);
    };
    let Some(record) = store.channel(channel)? else {
        return Ok(None);
    };
    let newest = record.epochs.last().map(|epoch| epoch.epoch);
    let asked = place.session.unwrap_or(record.session);
    if asked != tail.session || record.session != tail.session || newest != Some(tail.epoch) {
        return Ok(None);
    }
    if !record.ended
        && let Some(&EpochRecord {
            epoch,
            valid_end,
            base,
        }) = record.epochs.last()
    {
        store.end_session(&Grant {
            channel,
            session: record.session,
            epoch,
            valid_end,
            base,
            reserved_end: record.reserved_end,
            new_session: false,
            previous: record.previous,
            cuts: Vec::new(),
        })?;
    }
    Ok(Some(tail))
}

/// Discards what cuts recorded in the store made void.
fn cut(journal: &mut JournalWriter, grant: &Grant) -> Result<(), OpenError> {
    for cut in &grant.cuts {
        let void = journal
            .tail()
            .is_some_and(|tail| tail.epoch < cut.epoch && tail.next > cut.valid_end);
        if void {
            journal.discard_from(cut.valid_end)?;
        }
    }
    Ok(())
}
