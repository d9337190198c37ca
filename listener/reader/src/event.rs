//! What a reader delivers: messages, and notices between them.

use crate::books::{Book, State};
use crate::source::{Head, Own};
use crate::{Market, Position};
use std::fmt;
use twinline_book::Change;
use twinline_ring::Origin;
use twinline_wire::session::{LineEvent, Lost, SessionEvent, SessionsMissed, StateReplaced, Void};
use twinline_wire::{EventFlags, Frame};

/// What a reader delivers.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A message.
    Message(Message<'a>),
    /// Something happened to the stream itself.
    Notice(Notice<'a>),
}

/// A message in its place.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// Its session.
    pub session: u32,
    /// Its epoch.
    pub epoch: u32,
    /// Its sequence.
    pub sequence: u64,
    /// When its packet was published, in nanoseconds since the Unix epoch.
    pub sending_time: u64,
    /// When the listener had it in its place in the stream, in nanoseconds since the Unix epoch. `None` of what comes from the
    /// journal: that does not say.
    pub receive_time: Option<u64>,
    /// Who brought it. `None` of what comes from the journal.
    pub origin: Option<Origin>,
    /// The best bid or offer that it changed, of a book that is kept.
    pub change: Option<Change>,
    /// The message as it stands on the wire.
    pub frame: Frame<'a>,
    state: &'a State,
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.frame.definition().map_or("Unknown", |def| def.name);
        write!(f, "{}:{}:{} {name}", self.session, self.epoch, self.sequence)
    }
}

impl<'a> Message<'a> {
    #[inline]
    pub(crate) fn new(
        head: &Head,
        sequence: u64,
        frame: Frame<'a>,
        change: Option<Change>,
        state: &'a State,
    ) -> Self {
        Self {
            session: head.session,
            epoch: head.epoch,
            sequence,
            sending_time: head.sending_time,
            receive_time: head.receive_time,
            origin: head.origin,
            change,
            frame,
            state,
        }
    }

    /// The message by its type.
    #[inline]
    pub fn market(&self) -> Market<'a> {
        Market::of(self.frame)
    }

    /// The instrument that it is about; with low 16 bits of 0 all of a source. `None` of what is about none.
    #[inline]
    pub fn instrument(&self) -> Option<u32> {
        self.frame.instrument()
    }

    /// The symbol of its instrument, once a definition named it.
    pub fn symbol(&self) -> Option<&'a str> {
        self.state.symbols.symbol(self.instrument()?)
    }

    /// The book of its instrument, if it is kept. It is whole only after the last message of an event.
    pub fn book(&self) -> Option<Book<'a>> {
        self.state.book(self.instrument()?)
    }

    /// True if a source event ends here: books are whole. Also of what belongs to no event.
    #[inline]
    pub fn ends_event(&self) -> bool {
        self.frame
            .event_flags()
            .is_none_or(|flags| flags.0 & EventFlags::END_OF_EVENT.0 != 0)
    }
}

/// A notice in its place.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// The place of the next message.
    pub position: Position,
    /// When the listener said it, in nanoseconds since the Unix epoch; `None` of what the reader says itself.
    pub time: Option<u64>,
    /// What happened.
    pub kind: NoticeKind<'a>,
}

/// What happened to the stream.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum NoticeKind<'a> {
    /// Messages are lost for this listener; books are invalid.
    Lost(Lost),
    /// Messages that were delivered are void; books are invalid. The listener says so, or else the reader, where a position that
    /// it started from is beyond what a later epoch left standing.
    Void(Void),
    /// What is behind this is behind a snapshot, which the books, if they are kept, now are. What lies between the last message
    /// and the snapshot does not come.
    StateReplaced(StateReplaced),
    /// A line stalls or comes back, or both are silent.
    Line(LineEvent),
    /// A session or an epoch starts, or a session ends.
    Session(SessionEvent),
    /// Sessions are missed as a whole; books are invalid.
    SessionsMissed(SessionsMissed),
    /// A notice that this build does not know.
    Unknown(Frame<'a>),
    /// This reader was too slow for the ring. What it missed comes from the journal now, until [`Filled`](Self::Filled).
    Filling,
    /// The reader is in step with the ring again.
    Filled {
        /// Messages that came from the journal meanwhile.
        messages: u64,
    },
    /// This reader was too slow, and these messages will not come; books are invalid. Notices that stood among them are missed,
    /// too.
    Missed(Missed),
    /// The journal's writer cut off what was delivered already, as it was void; books are invalid. Of a publisher's or a
    /// replica's journal, never of a listener's.
    Discarded {
        /// The session.
        session: u32,
        /// First sequence that is void.
        begin: u64,
        /// First sequence that is not.
        end: u64,
    },
    /// Only with batches: the messages of an event whose rest did not come. They are in no batch, and in no book.
    HalfEvent {
        /// The first message.
        begin: u64,
        /// The sequence behind the last one that came.
        end: u64,
    },
    /// Something happened to the listener.
    Writer(WriterState),
    /// A snapshot that the stream names cannot be read: books stay invalid.
    SnapshotUnusable(&'a str),
}

impl<'a> NoticeKind<'a> {
    pub(crate) fn of(frame: Frame<'a>) -> Self {
        if let Some(notice) = frame.view::<Lost>() {
            Self::Lost(*notice)
        } else if let Some(notice) = frame.view::<Void>() {
            Self::Void(*notice)
        } else if let Some(notice) = frame.view::<StateReplaced>() {
            Self::StateReplaced(*notice)
        } else if let Some(notice) = frame.view::<LineEvent>() {
            Self::Line(*notice)
        } else if let Some(notice) = frame.view::<SessionEvent>() {
            Self::Session(*notice)
        } else if let Some(notice) = frame.view::<SessionsMissed>() {
            Self::SessionsMissed(*notice)
        } else {
            Self::Unknown(frame)
        }
    }

    /// True if an event that is not complete by now never will be.
    pub(crate) fn breaks_event(&self) -> bool {
        !matches!(
            self,
            Self::Line(_) | Self::Unknown(_) | Self::Filling | Self::Filled { .. } | Self::Writer(_)
        )
    }
}

impl From<Own> for NoticeKind<'_> {
    fn from(own: Own) -> Self {
        match own {
            Own::Filling => Self::Filling,
            Own::Filled { messages } => Self::Filled { messages },
            Own::Missed(missed) => Self::Missed(missed),
            Own::Discarded { session, begin, end } => Self::Discarded { session, begin, end },
            Own::Void { begin, end, epoch } => Self::Void(Void {
                begin: begin.into(),
                end: end.into(),
                epoch: epoch.into(),
            }),
            Own::HalfEvent { begin, end } => Self::HalfEvent { begin, end },
            Own::Writer(state) => Self::Writer(state),
        }
    }
}

/// Messages that will not come: all from `begin` of `session` on that stand before `end` of `end_session`, as far as there were
/// any. Mostly both are one session. With nothing between the two, only notices may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Session of the first.
    pub session: u32,
    /// Its sequence.
    pub begin: u64,
    /// The session that goes on behind what is missed.
    pub end_session: u32,
    /// The sequence that it goes on with.
    pub end: u64,
}

impl Missed {
    /// True if a message is among them.
    pub fn contains(&self, session: u32, sequence: u64) -> bool {
        (self.session, self.begin) <= (session, sequence)
            && (session, sequence) < (self.end_session, self.end)
    }

    /// How many sequences that are; `None` if another session begins among them.
    pub fn len(&self) -> Option<u64> {
        (self.session == self.end_session).then(|| self.end.saturating_sub(self.begin))
    }

    /// True if only notices may be missing.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}

/// What is known of the listener that writes the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterState {
    /// It goes on. As a notice: it is there again, and the stream goes on where it was.
    Alive,
    /// Its process lives, but has not turned for a second.
    Silent,
    /// It died. The reader goes on with the journal and waits for the next listener.
    Dead,
    /// It ended in good order. The reader goes on with the journal and waits for the next listener.
    Closed,
    /// The next listener has taken over, and the reader is on its way to it.
    Replaced,
}
