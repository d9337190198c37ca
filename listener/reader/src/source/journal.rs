//! The journal as a source: read on from, brought back to where the stream stands, and what it does not hold any more.

use super::{Found, From, Head, Own, Source};
use crate::{Position, ReadError, WriterState};
use twinline_journal::{JournalError, Seek};
use twinline_wire::header::HEADER_LEN;

impl Source {
    /// Looks in the journal.
    #[inline]
    pub(super) fn look_in_journal(&mut self) -> Result<Found, ReadError> {
        let head = match self.journal.next() {
            Ok(Some(packet)) => {
                self.copy.clear();
                self.copy.extend_from_slice(&packet.bytes()[HEADER_LEN..]);
                Head::of_packet(packet.header())
            }
            Ok(None) => return self.end_of_journal(),
            Err(JournalError::Behind { session, oldest }) => {
                self.go_on_at(session, oldest);
                return Ok(Found::Again);
            }
            Err(JournalError::Discarded { session, next, read }) => {
                let (begin, end) = (next, read);
                self.say(Own::Discarded { session, begin, end });
                return Ok(Found::Again);
            }
            Err(error) => return Err(error.into()),
        };
        let location = self.journal.location().map(|location| location.to_bits());
        Ok(self.take(Head { location, ..head }))
    }

    /// The journal is read to its end: on to the ring, or to the next listener's.
    #[cold]
    fn end_of_journal(&mut self) -> Result<Found, ReadError> {
        if !self.joins {
            return Ok(Found::Nothing);
        }
        let Some(live) = &mut self.live else {
            return Ok(Found::Nothing);
        };
        if !live.is_gone() {
            live.unjoin();
            self.from = From::Ring;
            return Ok(Found::Again);
        }
        match live.find_successor()? {
            None => Ok(Found::Nothing),
            Some(journal) => {
                self.journal = journal;
                self.near = None;
                self.journal.seek_head()?;
                let end = self.journal.location().map_or(0, |location| location.to_bits());
                if end < self.seen {
                    // Another journal, or one that a power cut shortened: what it says is said anew.
                    self.seen = 0;
                }
                self.seek_own()?;
                self.say(Own::Writer(WriterState::Alive));
                Ok(Found::Again)
            }
        }
    }

    /// The last message's place: notices between that and the next message are not passed over there.
    fn last(&self) -> (u32, u64) {
        let Position {
            session, sequence, ..
        } = self.position;
        (session, sequence.saturating_sub(1).max(1))
    }

    /// Brings the journal to what was had last: without a search, if it still holds the place that is known of that.
    pub(super) fn go_back(&mut self) -> Result<(), ReadError> {
        let (session, sequence) = self.last();
        if let Some(near) = self.near
            && self.journal.go_to(near, session, sequence)?
        {
            self.from = From::Journal;
            return Ok(());
        }
        self.seek_own()
    }

    /// Brings the journal to what was had last. What it no longer holds of what follows is missed.
    pub(super) fn seek_own(&mut self) -> Result<(), ReadError> {
        self.from = From::Journal;
        self.skipped_from = None;
        let own = self.position;
        if own.session == 0 {
            return Ok(self.journal.seek_oldest()?);
        }
        let last = self.last();
        let mut wanted = last;
        loop {
            match self.journal.seek(wanted.0, wanted.1)? {
                Seek::Found | Seek::NotYet => break,
                Seek::TooOld { oldest } => wanted = (wanted.0, oldest),
                Seek::UnknownSession => match self.oldest_from(wanted.0)? {
                    Some(oldest) => wanted = oldest,
                    None => return Ok(self.journal.seek_head()?),
                },
            }
        }
        // Before a session's first message there is no last one; that it is looked for there means nothing.
        if wanted != last && (wanted.0 > own.session || wanted.1 >= own.sequence) {
            self.go_on_at(wanted.0, wanted.1);
        }
        Ok(())
    }

    /// The oldest that is held of the first session from `session` on.
    pub(crate) fn oldest_from(&mut self, session: u32) -> Result<Option<(u32, u64)>, ReadError> {
        let Some(session) = self.journal.session_from(session)? else {
            return Ok(None);
        };
        let span = self.journal.session(session)?;
        Ok(span.map(|span| (session, span.oldest)))
    }

    /// The journal does not hold what comes next, but goes on here.
    #[cold]
    pub(crate) fn go_on_at(&mut self, session: u32, sequence: u64) {
        let own = self.position;
        if own.session == 0 || session < own.session {
            return;
        }
        let sequence = match session == own.session {
            true => sequence.max(own.sequence),
            false => sequence,
        };
        self.missed(own, session, sequence);
        (self.position.session, self.position.sequence) = (session, sequence);
    }
}
