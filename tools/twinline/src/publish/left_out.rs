//! Channels of an open session that a publisher would leave out: their symbols would have no journal to go on in.

use crate::exit::Failure;
use crate::journal::journals;
use std::path::Path;
use twinline_journal::JournalReader;

/// The newest session of a journal.
#[derive(Clone, Copy)]
struct Newest {
    session: u32,
    ended: bool,
}

fn newest(dir: &Path) -> Option<Newest> {
    // What cannot be read is no journal, or its own publisher's concern.
    let mut reader = JournalReader::open(dir).ok()?;
    let session = reader.head().ok()??.session;
    let ended = reader.session(session).ok()??.ended;
    Some(Newest { session, ended })
}

/// That `channels`, which go into journals within `dir`, are all that the session has there: `session`, or without one
/// the newest of these journals.
///
/// # Errors
/// If another channel's journal holds the session and it is not complete there.
pub(super) fn check(dir: &Path, channels: &[u16], session: Option<u32>) -> Result<(), Failure> {
    // A single channel has no directory of its own.
    if channels.len() == 1 {
        return Ok(());
    }
    let mut left_out = Vec::new();
    let mut going_on = session;
    for (number, journal) in journals(dir)? {
        let (Some(number), Some(newest)) = (number, newest(&journal)) else {
            continue;
        };
        if !channels.contains(&number) {
            left_out.push((number, newest));
        } else if session.is_none() {
            going_on = going_on.max(Some(newest.session));
        }
    }
    let is_open = |newest: &Newest| !newest.ended && going_on.is_none_or(|session| session == newest.session);
    match left_out.into_iter().find(|(_, newest)| is_open(newest)) {
        None => Ok(()),
        Some((number, Newest { session, .. })) => Err(Failure::usage(format!(
            "session {session} is open on channel {number} too, which is left out: its symbols would have no journal to go \
             on in; publish all channels that {} has, or start a new session with --session {}",
            dir.display(),
            session.saturating_add(1)
        ))),
    }
}
