//! From a journal to its books.

use super::changes::Changes;
use crate::exit::Failure;
use crate::progress::Progress;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use twinline_book::snapshot::{Snapshot, file};
use twinline_book::{Book, Books, Cause, Follower, Told, Wanted};
use twinline_journal::{JournalError, JournalReader, Seek};
use twinline_wire::{Packet, flags};

/// Where to stop, and what is found where on the way.
pub(super) struct Stop<'a> {
    /// The session to follow; without one the newest.
    pub(super) session: Option<u32>,
    /// The sequence to stop before.
    pub(super) before: Option<u64>,
    /// Stop now.
    pub(super) stop: &'a AtomicBool,
    /// Where snapshots are that the journal names.
    pub(super) snapshots: &'a Path,
}

/// A stream that was followed.
pub(super) struct Followed {
    pub(super) follower: Follower,
    pub(super) messages: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Followed {
    /// A state without a stream.
    pub(super) fn still(follower: Follower) -> Self {
        Self {
            follower,
            messages: 0,
            packets: 0,
            bytes: 0,
        }
    }
}

/// Follows the journal in `dir`. Changes of the books that are `shown` are written to `changes`.
pub(super) fn journal(
    dir: &Path,
    from: Option<Snapshot>,
    stop: &Stop<'_>,
    shown: impl Fn(&Book<'_>) -> bool,
    mut changes: Option<&mut Changes>,
    progress: &mut Progress,
) -> Result<Followed, Failure> {
    let mut reader = JournalReader::open(dir)?;
    let channel = reader.channel();
    let newest = reader.head()?.map(|head| head.session);
    let session = stop
        .session
        .or(from.as_ref().map(|snapshot| snapshot.place.session));
    let session = session.or(newest).unwrap_or(0);
    let begin = from.as_ref().map_or(1, |snapshot| snapshot.place.sequence);
    if let Some(snapshot) = &from {
        check_start(snapshot, session, channel, stop.before)?;
    }
    go_to(&mut reader, session, begin)?;
    let mut followed = Followed::still(from.map_or_else(Follower::new, Follower::from_snapshot));
    loop {
        if stop.stop.load(Ordering::Relaxed) {
            return Err(Failure::error("stopped before the end"));
        }
        let packet = match reader.next() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            Err(error @ (JournalError::Behind { .. } | JournalError::Discarded { .. })) => {
                progress.warn(format!("{}: {error}", dir.display()));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if packet.header().session.get() != session {
            continue;
        }
        let (wanted, more) = take(&mut followed, &packet, stop.before, |books, told| match told {
            Told::Change { sequence, change } => {
                if let Some(changes) = changes.as_deref_mut()
                    && let Some(book) = books.book(change.instrument)
                    && shown(&book)
                {
                    changes.write(sequence, &change, &book, channel);
                }
            }
            Told::Invalid { begin, end, cause } => {
                progress.warn(format!("{}: {}", dir.display(), invalid(begin, end, cause)));
            }
            Told::Session { .. } | Told::Wanted(_) => {}
        });
        if let Some(wanted) = wanted {
            replace(&mut followed.follower, &wanted, stop.snapshots, progress);
        }
        let read_on = changes.as_deref_mut().is_none_or(Changes::is_wanted);
        if !more || !read_on {
            return Ok(followed);
        }
    }
    if let Some(before) = stop.before
        && followed.follower.place().sequence < before
    {
        progress.warn(format!(
            "{}: it ends at {}, before the sequence asked for",
            dir.display(),
            followed.follower.place().sequence
        ));
    }
    Ok(followed)
}

/// A snapshot to begin with must be of the stream, and not behind where to stop.
fn check_start(snapshot: &Snapshot, session: u32, channel: u16, before: Option<u64>) -> Result<(), Failure> {
    let place = &snapshot.place;
    if (place.session, place.channel) != (session, channel) {
        return Err(Failure::usage(format!(
            "the snapshot is of channel {}, session {}, not of channel {channel}, session {session}",
            place.channel, place.session
        )));
    }
    match before {
        Some(before) if before < place.sequence => Err(Failure::usage(format!(
            "the snapshot stands at {}, behind {before}: take an older one",
            place.sequence
        ))),
        _ => Ok(()),
    }
}

/// Goes to where to begin reading: before `sequence`, so that notices there are not passed over.
fn go_to(reader: &mut JournalReader, session: u32, sequence: u64) -> Result<(), Failure> {
    match reader.seek(session, sequence)? {
        Seek::Found | Seek::NotYet => {}
        // The follower sees that something is missing.
        Seek::TooOld { .. } | Seek::UnknownSession => reader.seek_oldest()?,
    }
    Ok(())
}

/// Applies a packet up to the sequence to stop before. Returns the snapshot that it asks for, and whether there is more
/// to read.
fn take(
    followed: &mut Followed,
    packet: &Packet<'_>,
    before: Option<u64>,
    mut tell: impl FnMut(&Books, Told),
) -> (Option<Wanted>, bool) {
    let before = before.unwrap_or(u64::MAX);
    if packet.sequence() >= before {
        return (None, false);
    }
    let mut wanted = None;
    let mut told = |books: &Books, told: Told| match told {
        Told::Wanted(snapshot) => wanted = Some(snapshot),
        told => tell(books, told),
    };
    followed.packets += 1;
    followed.bytes += packet.bytes().len() as u64;
    let follower = &mut followed.follower;
    if follower.enter(packet.header(), &mut told) {
        for (sequence, frame) in packet.messages() {
            if packet.header().flags & flags::LOCAL != 0 {
                follower.notice(&frame, &mut told);
            } else if sequence < before {
                follower.message(sequence, &frame, &mut told);
                followed.messages += 1;
            }
        }
    }
    let more = followed.follower.place().sequence < before;
    (wanted, more)
}

/// The state becomes that of the snapshot that the journal names, if it can be read.
fn replace(follower: &mut Follower, wanted: &Wanted, snapshots: &Path, progress: &mut Progress) {
    let path = snapshots.join(file::name(wanted.session, wanted.epoch, wanted.sequence));
    let replaced = file::read(&path)
        .map_err(|error| error.to_string())
        .and_then(|snapshot| follower.replace(snapshot).map_err(|error| error.to_string()));
    if let Err(error) = replaced {
        progress.warn(format!(
            "the journal names a snapshot at {}, but the books stay invalid: {error}",
            wanted.sequence
        ));
    }
}

fn invalid(begin: u64, end: u64, cause: Cause) -> String {
    let range = match end {
        u64::MAX => format!("sequences from {begin} on"),
        _ => format!("sequences {begin}..{end}"),
    };
    let cause = match cause {
        Cause::Lost => "are lost",
        Cause::Void => "are void and were applied",
        Cause::Missing => "are not in the journal",
    };
    format!("{range} {cause}: the books are invalid")
}
