//! What the stream adds up to: symbols, and the books of chosen instruments, with what is known of how far they can be trusted.

use crate::filter::Filter;
use crate::source::Head;
use crate::symbols::{Chosen, Symbols};
use std::ops::Deref;
use std::path::Path;
use twinline_book::snapshot::{Snapshot, file};
use twinline_book::{Books, Change, Follower, Told, Wanted};
use twinline_ring::{Kind, Origin};
use twinline_wire::field::LineState;
use twinline_wire::header::{PacketHeader, flags};
use twinline_wire::market::InstrumentDefinition;
use twinline_wire::session::{LineEvent, StateReplaced};
use twinline_wire::{Frame, Message};

/// Why what is shown may be older than what happens on the venue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// Both lines are silent.
    pub lines: bool,
    /// The listener is silent or gone.
    pub writer: bool,
    /// This reader is behind the listener.
    pub behind: bool,
}

impl Stale {
    /// True for any reason.
    pub fn is_stale(&self) -> bool {
        self.lines || self.writer || self.behind
    }
}

/// A look at an instrument's book: what [`twinline_book::Book`] shows, and whether it is stale.
#[derive(Clone, Copy, Debug)]
pub struct Book<'a> {
    book: twinline_book::Book<'a>,
    stale: Stale,
}

impl Book<'_> {
    /// Why it may be older than what happens on the venue.
    pub fn stale(&self) -> Stale {
        self.stale
    }

    /// True if it may be older than what happens on the venue.
    pub fn is_stale(&self) -> bool {
        self.stale.is_stale()
    }
}

impl<'a> Deref for Book<'a> {
    type Target = twinline_book::Book<'a>;

    fn deref(&self) -> &Self::Target {
        &self.book
    }
}

/// Books that are kept.
#[derive(Debug)]
struct Kept {
    follower: Follower,
    chosen: Chosen,
    /// False while the record's messages are of something older than the books.
    counts: bool,
}

/// Everything that follows from the stream so far.
#[derive(Debug)]
pub(crate) struct State {
    session: u32,
    pub(crate) symbols: Symbols,
    pub(crate) filter: Filter,
    kept: Option<Kept>,
    pub(crate) stale: Stale,
    /// Notices were missed: whether lines are silent is not known.
    lines_unsure: bool,
    channel: u16,
    /// Why the last snapshot could not be used.
    pub(crate) trouble: String,
}

impl State {
    /// The state before the first message. Without `books` none are kept.
    pub(crate) fn new(channel: u16, filter: Filter, books: Option<Chosen>) -> Self {
        Self {
            session: 0,
            symbols: Symbols::default(),
            filter,
            kept: books.map(|chosen| Kept {
                follower: Follower::new(),
                chosen,
                counts: true,
            }),
            stale: Stale::default(),
            lines_unsure: false,
            channel,
            trouble: String::new(),
        }
    }

    pub(crate) fn book(&self, instrument: u32) -> Option<Book<'_>> {
        let kept = self.kept.as_ref()?;
        let wanted = kept.chosen.contains(instrument);
        let book = kept.follower.books().book(instrument).filter(|_| wanted)?;
        let stale = self.stale;
        Some(Book { book, stale })
    }

    pub(crate) fn books(&self) -> impl Iterator<Item = Book<'_>> {
        let stale = self.stale;
        let kept = self.kept.iter();
        kept.flat_map(|kept| kept.follower.books().iter().map(|book| (book, &kept.chosen)))
            .filter(|(book, chosen)| chosen.contains(book.instrument()))
            .map(move |(book, _)| Book { book, stale })
    }

    /// The follower's own books.
    pub(crate) fn all_books(&self) -> Option<&Books> {
        Some(self.kept.as_ref()?.follower.books())
    }

    /// Begins behind a snapshot.
    pub(crate) fn begin(&mut self, snapshot: Snapshot) {
        self.session = snapshot.place.session;
        self.symbols.learn_all(&snapshot.books);
        self.filter.instruments.learn_all(&self.symbols);
        if let Some(kept) = &mut self.kept {
            kept.chosen.learn_all(&self.symbols);
            kept.follower = Follower::from_snapshot(snapshot);
            kept.forget_others();
        }
    }

    /// A record of messages begins.
    #[inline]
    pub(crate) fn enter(&mut self, head: &Head) {
        self.enter_session(head.session);
        if self.lines_unsure && matches!(head.origin, Some(Origin::LineA | Origin::LineB)) {
            (self.lines_unsure, self.stale.lines) = (false, false);
        }
        if let Some(kept) = &mut self.kept {
            let place = kept.follower.place();
            kept.counts = true;
            if (place.session, place.epoch) != (head.session, head.epoch) {
                kept.enter(head, self.channel);
            }
        }
    }

    /// What comes is of this session.
    #[inline]
    pub(crate) fn enter_session(&mut self, session: u32) {
        if session != self.session {
            self.new_session(session);
        }
    }

    #[cold]
    fn new_session(&mut self, session: u32) {
        self.session = session;
        self.symbols.clear();
        self.filter.instruments.clear();
        if let Some(kept) = &mut self.kept {
            kept.chosen.clear();
        }
    }

    /// Takes a message of the record that was entered.
    #[inline]
    pub(crate) fn message(&mut self, sequence: u64, frame: &Frame<'_>) -> Option<Change> {
        if frame.template() == InstrumentDefinition::TEMPLATE {
            self.learn(frame);
        }
        let kept = self.kept.as_mut().filter(|kept| kept.counts)?;
        let mut changed = None;
        let told = |_: &Books, told: Told| {
            if let Told::Change { change, .. } = told {
                changed = Some(change);
            }
        };
        let wanted = match (&kept.chosen, frame.instrument()) {
            (Chosen::All, _) | (_, None) => true,
            (chosen, Some(number)) => number & 0xffff == 0 || chosen.contains(number),
        };
        match wanted {
            true => kept.follower.message(sequence, frame, told),
            false => drop(kept.follower.pass(sequence, frame, told)),
        }
        changed
    }

    #[cold]
    pub(crate) fn learn(&mut self, frame: &Frame<'_>) {
        if let Some(definition) = frame.view::<InstrumentDefinition>() {
            self.symbols.learn(&definition);
            self.filter.instruments.learn(&definition);
            if let Some(kept) = &mut self.kept {
                kept.chosen.learn(&definition);
            }
        }
    }

    /// Takes a listener's notice. `next` is the next message's sequence before it; snapshots are in `dir`. True if a snapshot was
    /// to be read and cannot be used.
    #[cold]
    pub(crate) fn notice(&mut self, head: &Head, frame: &Frame<'_>, next: u64, dir: &Path) -> bool {
        self.enter(head);
        if let Some(event) = frame.view::<LineEvent>() {
            match event.state {
                LineState::STALE => self.stale.lines = true,
                LineState::RESUMED => self.stale.lines = false,
                _ => {}
            }
        }
        let mut wanted = None;
        if let Some(kept) = self.kept.as_mut().filter(|kept| kept.counts) {
            kept.follower.notice(frame, |_, told| {
                if let Told::Wanted(snapshot) = told {
                    wanted = Some(snapshot);
                }
            });
        } else if let Some(replaced) = frame.view::<StateReplaced>()
            && self.kept.is_none()
            && replaced.sequence.get() > next
        {
            // Definitions may be among what does not come.
            wanted = Some(Wanted {
                session: head.session,
                epoch: replaced.epoch.get(),
                sequence: replaced.sequence.get(),
                file: replaced.file.get(),
            });
        }
        match wanted {
            Some(wanted) => !self.replace(&wanted, dir),
            None => false,
        }
    }

    /// The state is that of a snapshot from here on. False if it cannot be used.
    fn replace(&mut self, wanted: &Wanted, dir: &Path) -> bool {
        let name = file::name(wanted.session, wanted.epoch, wanted.sequence);
        let replaced = file::read(&dir.join(name))
            .map_err(|error| error.to_string())
            .and_then(|snapshot| {
                self.symbols.learn_all(&snapshot.books);
                self.filter.instruments.learn_all(&self.symbols);
                let Some(kept) = &mut self.kept else { return Ok(()) };
                kept.chosen.learn_all(&self.symbols);
                kept.follower
                    .replace(snapshot)
                    .map_err(|error| error.to_string())?;
                kept.forget_others();
                Ok(())
            });
        match replaced {
            Ok(()) => true,
            Err(trouble) => {
                self.trouble = trouble;
                false
            }
        }
    }

    /// Messages did not come, or notices that might have said what is not to be trusted.
    #[cold]
    pub(crate) fn invalidate(&mut self) {
        self.lines_unsure = true;
        if let Some(kept) = &mut self.kept {
            kept.follower.books_mut().invalidate();
        }
    }
}

impl Kept {
    #[cold]
    fn enter(&mut self, head: &Head, channel: u16) {
        let header = PacketHeader {
            flags: match head.kind {
                Kind::Messages => 0,
                Kind::Notice => flags::LOCAL,
            },
            channel: channel.into(),
            count: u16::from(head.kind == Kind::Messages).into(),
            session: head.session.into(),
            epoch: head.epoch.into(),
            sequence: head.sequence.into(),
            epoch_base: head.epoch_base.into(),
            ..PacketHeader::default()
        };
        self.counts = self.follower.enter(&header, |_, _| {});
    }

    /// A snapshot has all instruments; those that nobody asked for would stay as they were in it.
    fn forget_others(&mut self) {
        if let Chosen::All = self.chosen {
            return;
        }
        let books = self.follower.books_mut();
        let numbers: Vec<u32> = books.iter().map(|book| book.instrument()).collect();
        for number in numbers
            .into_iter()
            .filter(|&number| !self.chosen.contains(number))
        {
            books.forget(number);
        }
    }
}
