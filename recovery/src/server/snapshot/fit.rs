//! Whether a state belongs to a journal: that the journal goes on from it, and nothing of it is void.

use twinline_book::snapshot::Place;
use twinline_journal::{JournalError, JournalReader, Seek};
use twinline_wire::session::EpochStart;

/// What a packet of a journal says of its place.
struct Seen {
    session: u32,
    epoch: u32,
    begin: u64,
    end: u64,
    /// Where it opens an epoch: the end of what older ones validly published.
    valid_end: Option<u64>,
}

/// The next packet with messages.
fn next(reader: &mut JournalReader) -> Result<Option<Seen>, JournalError> {
    while let Some(packet) = reader.next()? {
        let header = packet.header();
        if header.count.get() == 0 {
            continue;
        }
        let start = packet
            .messages()
            .next()
            .and_then(|(_, frame)| Some(frame.view::<EpochStart>()?.valid_end.get()));
        return Ok(Some(Seen {
            session: header.session.get(),
            epoch: header.epoch.get(),
            begin: packet.sequence(),
            end: packet.end(),
            valid_end: start,
        }));
    }
    Ok(None)
}

/// True if the journal holds the last message of the state as it was, in the same epoch, or follows right behind it.
/// Whatever a later epoch cut off is not in a publisher's journal any more, and its place is taken by that epoch's packets.
/// Moves the reader to what comes behind the state.
pub(super) fn fits(reader: &mut JournalReader, place: &Place) -> Result<bool, JournalError> {
    let Some(last) = place.sequence.checked_sub(1).filter(|&last| last > 0) else {
        return Ok(false);
    };
    let fits = match reader.seek(place.session, last)? {
        Seek::Found => next(reader)?.is_some_and(|seen| {
            let holds = (seen.begin..seen.end).contains(&last);
            holds && (seen.session, seen.epoch) == (place.session, place.epoch)
        }),
        Seek::TooOld { oldest } if oldest == place.sequence => {
            reader.seek(place.session, place.sequence)? == Seek::Found
                && next(reader)?.is_some_and(|seen| {
                    let follows = (seen.session, seen.begin) == (place.session, place.sequence);
                    let same = seen.epoch == place.epoch && seen.valid_end.is_none();
                    let opens = seen.epoch > place.epoch && seen.valid_end == Some(place.sequence);
                    follows && (same || opens)
                })
        }
        Seek::TooOld { .. } | Seek::NotYet | Seek::UnknownSession => false,
    };
    Ok(fits
        && matches!(
            reader.seek(place.session, place.sequence)?,
            Seek::Found | Seek::NotYet
        ))
}

/// True if the journal holds the session from its beginning on. Moves the reader there.
pub(super) fn begins(reader: &mut JournalReader, session: u32) -> Result<bool, JournalError> {
    let Some(span) = reader.session(session)? else {
        return Ok(false);
    };
    if reader.seek(session, span.oldest)? != Seek::Found {
        return Ok(false);
    }
    // Where a power cut took all that a session had published, it begins with a later epoch.
    let begins = next(reader)?
        .is_some_and(|seen| seen.session == session && (seen.begin == 1 || seen.valid_end == Some(1)));
    Ok(begins && reader.seek(session, span.oldest)? == Seek::Found)
}
