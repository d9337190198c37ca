//! Follows a whole stream: a listener's journal or a publisher's, packet by packet, with notices, epochs and sessions.

use crate::snapshot::{Place, Snapshot};
use crate::{Books, Change};
use twinline_wire::field::SessionState;
use twinline_wire::header::{PacketHeader, flags};
use twinline_wire::session::{EndOfSession, EpochStart, Lost, SessionEvent, StateReplaced, Void};
use twinline_wire::{Frame, Message, Packet};

/// What a follower has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The message `sequence` changed a best bid or offer.
    Change {
        /// The message.
        sequence: u64,
        /// What changed.
        change: Change,
    },
    /// A session began: the books are empty.
    Session {
        /// Its number.
        session: u32,
    },
    /// The books are not to be trusted from here on.
    Invalid {
        /// First sequence that is missing, or should not have been applied.
        begin: u64,
        /// First sequence behind those; `u64::MAX` if nobody knows.
        end: u64,
        /// Why.
        cause: Cause,
    },
    /// The state is now that of a snapshot: give it to [`Follower::replace`] before the next message.
    Wanted(Wanted),
}

/// Why books became invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The listener declared messages lost.
    Lost,
    /// Messages that were applied are void.
    Void,
    /// Messages are not in what the follower was given.
    Missing,
}

/// A snapshot that the stream names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its session.
    pub session: u32,
    /// Its epoch.
    pub epoch: u32,
    /// It holds all valid messages below this sequence.
    pub sequence: u64,
    /// The number that the notice gives its file.
    pub file: u64,
}

/// Why a snapshot cannot replace the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaceError {
    /// Another channel or session.
    #[error(
        "it is of channel {channel}, session {session}, not of the one that is followed; take one that is"
    )]
    Elsewhere {
        /// The snapshot's channel.
        channel: u16,
        /// The snapshot's session.
        session: u32,
    },
    /// What lies between was read already.
    #[error(
        "it holds the messages below {snapshot}, but those below {next} are read already; take a newer one"
    )]
    Old {
        /// Where the snapshot stands.
        snapshot: u64,
        /// Where the follower stands.
        next: u64,
    },
    /// A later epoch has begun, which may have made void what is in it.
    #[error("it is of epoch {snapshot}, and epoch {epoch} has begun; take one of that")]
    OldEpoch {
        /// The snapshot's.
        snapshot: u32,
        /// The follower's.
        epoch: u32,
    },
}

/// Applies a stream to books and keeps track of where it stands.
///
/// It goes on whatever comes; where the stream says that something is missing or void, or where that follows from the
/// sequences and epochs themselves, the books become invalid until [`replace`](Self::replace).
#[derive(Clone, Debug, Default)]
pub struct Follower {
    books: Books,
    /// Session 0: nothing came yet.
    place: Place,
    ended: bool,
    skipped: u64,
}

impl Follower {
    /// A follower that takes the first session that comes from its beginning on.
    pub fn new() -> Self {
        Self::default()
    }

    /// A follower that goes on behind a snapshot.
    pub fn from_snapshot(snapshot: Snapshot) -> Self {
        Self {
            books: snapshot.books,
            place: snapshot.place,
            ..Self::default()
        }
    }

    /// The books.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Where it stands; before the first packet session 0.
    pub fn place(&self) -> Place {
        self.place
    }

    /// True if the session is complete, or was given up.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Messages that were not applied, as they were applied before, or are of an older session or epoch.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Takes a packet.
    pub fn packet(&mut self, packet: &Packet<'_>, mut told: impl FnMut(&Books, Told)) {
        if !self.enter(packet.header(), &mut told) {
            return;
        }
        for (sequence, frame) in packet.messages() {
            match packet.header().flags & flags::LOCAL {
                0 => self.message(sequence, &frame, &mut told),
                _ => self.notice(&frame, &mut told),
            }
        }
    }

    /// Looks at the header of the packet that the next messages stand in. False if none of them counts.
    pub fn enter(&mut self, header: &PacketHeader, mut told: impl FnMut(&Books, Told)) -> bool {
        let (session, epoch) = (header.session.get(), header.epoch.get());
        if header.is_heartbeat() || header.flags & flags::SEGMENT_END != 0 {
            return false;
        }
        if session > self.place.session {
            *self = Self {
                place: Place {
                    channel: header.channel.get(),
                    session,
                    epoch: 0,
                    epoch_base: 0,
                    sequence: 1,
                },
                skipped: self.skipped,
                ..Self::default()
            };
            told(&self.books, Told::Session { session });
        }
        let local = header.flags & flags::LOCAL != 0;
        let old = session < self.place.session || (epoch < self.place.epoch && !local);
        if old || header.channel.get() != self.place.channel {
            self.skipped += u64::from(header.count.get());
            return false;
        }
        if epoch > self.place.epoch && !local {
            self.new_epoch(header, &mut told);
        }
        true
    }

    /// The packet is of a later epoch, whose EpochStart will say what of the older ones stands. None of them had a message
    /// at or beyond its base that stands, whether that EpochStart comes or is lost.
    fn new_epoch(&mut self, header: &PacketHeader, told: &mut impl FnMut(&Books, Told)) {
        let (base, next) = (header.epoch_base.get(), self.place.sequence);
        if self.place.epoch != 0 && next > base && self.books.is_valid() {
            self.invalidate(base, next, Cause::Void, told);
        }
        self.place.epoch = header.epoch.get();
        self.place.epoch_base = base;
    }

    /// Takes the message `sequence` of the packet that was [entered](Self::enter) last.
    #[inline]
    pub fn message(&mut self, sequence: u64, frame: &Frame<'_>, mut told: impl FnMut(&Books, Told)) {
        if self.pass(sequence, frame, &mut told)
            && let Some(change) = self.books.apply(frame)
        {
            told(&self.books, Told::Change { sequence, change });
        }
    }

    /// The same for a message about an instrument whose book is not wanted: it counts, and changes no book. False if it did
    /// not count, as it was passed before.
    #[inline]
    pub fn pass(&mut self, sequence: u64, frame: &Frame<'_>, mut told: impl FnMut(&Books, Told)) -> bool {
        if sequence != self.place.sequence || frame.template() == EpochStart::TEMPLATE {
            if sequence < self.place.sequence {
                self.skipped += 1;
                return false;
            }
            self.leap(sequence, frame, &mut told);
        }
        self.place.sequence = sequence.saturating_add(1);
        self.ended = frame.template() == EndOfSession::TEMPLATE;
        true
    }

    /// The books, to make room in them, to forget some, or to say that they are not to be trusted.
    pub fn books_mut(&mut self) -> &mut Books {
        &mut self.books
    }

    /// A message that does not simply follow: an epoch starts, or some are missing.
    #[cold]
    fn leap(&mut self, sequence: u64, frame: &Frame<'_>, told: &mut impl FnMut(&Books, Told)) {
        let next = self.place.sequence;
        let start = frame.view::<EpochStart>();
        let start = start.filter(|start| start.epoch.get() == self.place.epoch);
        let Some(valid_end) = start.map(|start| start.valid_end.get()) else {
            if sequence > next {
                self.invalidate(next, sequence, Cause::Missing, told);
            }
            return;
        };
        // A listener that went beyond the valid end has said so with a notice before.
        if valid_end < next && self.books.is_valid() {
            self.invalidate(valid_end, next, Cause::Void, told);
        } else if valid_end > next {
            self.invalidate(next, valid_end, Cause::Missing, told);
        }
    }

    /// Takes a listener's notice.
    pub fn notice(&mut self, frame: &Frame<'_>, mut told: impl FnMut(&Books, Told)) {
        let next = self.place.sequence;
        if let Some(lost) = frame.view::<Lost>() {
            let end = lost.end.get();
            if end > next {
                self.invalidate(next, end, Cause::Lost, &mut told);
                self.go_to(end);
            }
        } else if let Some(void) = frame.view::<Void>() {
            // A state of that epoch, or a later one, has none of it.
            if void.epoch.get() > self.place.epoch && void.begin.get() < next {
                self.invalidate(void.begin.get(), void.end.get(), Cause::Void, &mut told);
            }
            self.go_to(void.end.get());
        } else if let Some(replaced) = frame.view::<StateReplaced>() {
            let (sequence, epoch) = (replaced.sequence.get(), replaced.epoch.get());
            let known = self.books.is_valid() && epoch <= self.place.epoch && sequence <= next;
            if !known {
                self.books.invalidate();
                self.go_to(sequence);
                let wanted = Wanted {
                    session: self.place.session,
                    epoch,
                    sequence,
                    file: replaced.file.get(),
                };
                told(&self.books, Told::Wanted(wanted));
            }
        } else if let Some(event) = frame.view::<SessionEvent>() {
            self.ended |= matches!(event.state, SessionState::ENDED | SessionState::ABANDONED);
        }
    }

    /// The stream goes on here. A session whose end nobody knows stays where it is.
    fn go_to(&mut self, sequence: u64) {
        if sequence != u64::MAX {
            self.place.sequence = self.place.sequence.max(sequence);
        }
    }

    fn invalidate(&mut self, begin: u64, end: u64, cause: Cause, told: &mut impl FnMut(&Books, Told)) {
        self.books.invalidate();
        told(&self.books, Told::Invalid { begin, end, cause });
    }

    /// The state is that of a snapshot from here on. One that is ahead is taken too: the messages up to it are skipped.
    ///
    /// # Errors
    /// If it is of another stream or behind what was read already. Nothing changes then.
    pub fn replace(&mut self, snapshot: Snapshot) -> Result<(), ReplaceError> {
        let (own, new) = (self.place, snapshot.place);
        if own.session != 0 && (new.channel, new.session) != (own.channel, own.session) {
            return Err(ReplaceError::Elsewhere {
                channel: new.channel,
                session: new.session,
            });
        }
        if new.epoch < own.epoch {
            return Err(ReplaceError::OldEpoch {
                snapshot: new.epoch,
                epoch: own.epoch,
            });
        }
        if new.sequence < own.sequence {
            return Err(ReplaceError::Old {
                snapshot: new.sequence,
                next: own.sequence,
            });
        }
        (self.books, self.place) = (snapshot.books, new);
        Ok(())
    }
}
