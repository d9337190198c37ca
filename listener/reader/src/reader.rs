//! A channel's stream for one program.

use crate::batch::Half;
use crate::books::{Book, Stale, State};
use crate::filter::Filter;
use crate::source::{Live, Source};
use crate::symbols::{Chosen, Symbols};
use crate::{Batch, Event, Instruments, Options, Position, ReadError, Start, Wait, WriterState, snapshots};
use std::path::Path;
use std::time::{Duration, Instant};
use twinline_book::{Books, Change};
use twinline_journal::{JournalReader, Seek};
use twinline_ring::Progress;

/// The longest that a reader waits before it looks whether the listener still lives.
const NAP: Duration = Duration::from_millis(50);
/// Changes of best bids and offers that one packet can hold.
const CHANGES: usize = 1024;

/// Reads a channel's stream: a listener's, live, or what a journal holds.
#[derive(Debug)]
pub struct Reader {
    pub(crate) source: Source,
    pub(crate) state: State,
    wait: Wait,
    /// Symbols are known whatever is missed.
    pub(crate) learns: bool,
    /// Where delivery begins, while the books are still on their way there.
    pub(crate) hidden_below: Option<Position>,
    pub(crate) half: Half,
    /// Those of the batch that was delivered last.
    pub(crate) changes: Vec<(u64, Change)>,
    /// A snapshot could not be read, which is not told yet.
    pub(crate) unusable: bool,
}

impl Reader {
    /// Attaches to the listener on this host that writes the ring of `channel` in `dir`.
    ///
    /// With [`Start::Now`] and books or symbols, this reads the journal from its newest snapshot on before it returns; with
    /// [`Start::At`], the first poll does.
    ///
    /// # Errors
    /// No ring, one of another version, no permission; a journal that cannot be read; a position that no such journal can have.
    pub fn attach(dir: &Path, channel: u16, options: Options) -> Result<Self, ReadError> {
        let live = Live::open(dir, channel, &options.name)?;
        let journal = live.open_journal()?;
        Self::begin(journal, Some(live), options)
    }

    /// Reads the journal in `dir`, a listener's or a publisher's, to its end. What is written meanwhile is read too.
    ///
    /// # Errors
    /// As [`attach`](Self::attach), but for the ring.
    pub fn open_journal(dir: &Path, options: Options) -> Result<Self, ReadError> {
        Self::begin(JournalReader::open(dir)?, None, options)
    }

    fn begin(journal: JournalReader, live: Option<Live>, options: Options) -> Result<Self, ReadError> {
        let books = match options.books {
            Instruments::None => None,
            ref chosen => Some(Chosen::new(chosen)?),
        };
        let filter = Filter::new(Chosen::new(&options.instruments)?, options.templates.as_deref());
        let scans = books.is_some() || options.symbols;
        let state = State::new(journal.channel(), filter, books);
        let mut reader = Self {
            source: Source::new(journal, live, options.overrun),
            state,
            wait: options.wait,
            learns: options.symbols,
            hidden_below: None,
            half: Half::new(),
            changes: Vec::with_capacity(CHANGES),
            unusable: false,
        };
        match options.start {
            Start::Oldest => reader.source.journal_mut().seek_oldest()?,
            Start::Books => reader.begin_with_books()?,
            Start::Now if !scans => reader.source.begin_at_end()?,
            Start::Now => reader.begin_now()?,
            Start::At(position) => reader.begin_at(position, scans)?,
        }
        Ok(reader)
    }

    /// Begins with the newest session's newest snapshot.
    fn begin_with_books(&mut self) -> Result<(), ReadError> {
        // A clone's: what finds the head would keep its segment.
        match self.source.journal_mut().clone().head()? {
            None => Ok(()),
            Some(head) => self.begin_below(head.session, u64::MAX),
        }
    }

    /// The same, and all that the journal holds behind it is taken without being delivered.
    fn begin_now(&mut self) -> Result<(), ReadError> {
        self.begin_with_books()?;
        self.source.set_joins(false);
        self.hidden_below = Some(Position {
            session: u32::MAX,
            epoch: u32::MAX,
            sequence: u64::MAX,
        });
        while self.step()?.is_some() {}
        self.hidden_below = None;
        self.source.set_joins(true);
        Ok(())
    }

    /// Begins with the newest snapshot of `session` that stands at or before `sequence`, or else with the session's oldest
    /// message.
    fn begin_below(&mut self, session: u32, sequence: u64) -> Result<(), ReadError> {
        let journal = self.source.journal_mut();
        let snapshot = snapshots::newest_named(journal, session, sequence)?;
        let begin = match &snapshot {
            Some(snapshot) => Position {
                session,
                epoch: snapshot.place.epoch,
                sequence: snapshot.place.sequence,
            },
            None => Position {
                session,
                epoch: 0,
                sequence: journal.session(session)?.map_or(1, |span| span.oldest),
            },
        };
        if !matches!(journal.seek(session, begin.sequence)?, Seek::Found | Seek::NotYet) {
            journal.seek_oldest()?;
        }
        self.source.begin_at(begin);
        if let Some(snapshot) = snapshot {
            self.state.begin(snapshot);
        }
        Ok(())
    }

    /// Begins behind a position, or with what is held of what follows it.
    fn begin_at(&mut self, position: Position, scans: bool) -> Result<(), ReadError> {
        if position.session == 0 {
            return Ok(self.source.journal_mut().seek_oldest()?);
        }
        let journal = self.source.journal_mut();
        let held = match journal.seek(position.session, position.sequence.max(1))? {
            Seek::Found | Seek::NotYet => None,
            Seek::TooOld { oldest } => Some((position.session, oldest)),
            Seek::UnknownSession => match self.source.oldest_from(position.session)? {
                Some(oldest) => Some(oldest),
                None => {
                    let journal = self.source.dir().to_owned();
                    return Err(ReadError::UnknownSession { position, journal });
                }
            },
        };
        match held {
            None if scans => {
                self.begin_below(position.session, position.sequence)?;
                self.hidden_below = Some(position);
            }
            None => self.source.begin_at(position),
            Some((session, oldest)) => {
                self.source.journal_mut().seek(session, oldest)?;
                self.source.begin_at(position);
                self.source.go_on_at(session, oldest);
            }
        }
        Ok(())
    }

    /// The next event, if there is one now. `None` from a recorded journal: it is read to its end.
    ///
    /// # Errors
    /// If the journal, or a new listener's ring, cannot be read.
    #[inline]
    pub fn poll(&mut self) -> Result<Option<Event<'_>>, ReadError> {
        let shown = self.step()?;
        Ok(shown.map(|shown| self.show(shown)))
    }

    /// The next event, waited for as [`Options::wait`] says. `None` only from a recorded journal: it is read to its end.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    #[expect(clippy::should_implement_trait, reason = "it lends, and it can fail")]
    pub fn next(&mut self) -> Result<Option<Event<'_>>, ReadError> {
        let shown = self.until(None, Self::step)?;
        Ok(shown.map(|shown| self.show(shown)))
    }

    /// The same, waited for no longer than `at_most`.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn next_within(&mut self, at_most: Duration) -> Result<Option<Event<'_>>, ReadError> {
        let shown = self.until(Some(at_most), Self::step)?;
        Ok(shown.map(|shown| self.show(shown)))
    }

    /// The next batch, if there is one now. What is no whole event waits until it is one.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    #[inline]
    pub fn poll_batch(&mut self) -> Result<Option<Batch<'_>>, ReadError> {
        let shown = self.step_batch()?;
        Ok(shown.map(|shown| self.show_batch(shown)))
    }

    /// The next batch, waited for as [`Options::wait`] says. `None` only from a recorded journal: it is read to its end.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn next_batch(&mut self) -> Result<Option<Batch<'_>>, ReadError> {
        let shown = self.until(None, Self::step_batch)?;
        Ok(shown.map(|shown| self.show_batch(shown)))
    }

    /// The same, waited for no longer than `at_most`.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn next_batch_within(&mut self, at_most: Duration) -> Result<Option<Batch<'_>>, ReadError> {
        let shown = self.until(Some(at_most), Self::step_batch)?;
        Ok(shown.map(|shown| self.show_batch(shown)))
    }

    /// Does `step` until it finds something.
    #[inline]
    fn until<T>(
        &mut self,
        at_most: Option<Duration>,
        step: impl Fn(&mut Self) -> Result<Option<T>, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        let found = step(self)?;
        if found.is_some() || self.source.is_recorded() {
            return Ok(found);
        }
        let start = Instant::now();
        loop {
            let left = at_most.map_or(NAP, |at_most| at_most.saturating_sub(start.elapsed()));
            if left.is_zero() {
                return Ok(None);
            }
            match self.wait {
                Wait::Spin => std::hint::spin_loop(),
                Wait::Block => self.source.wait(left),
            }
            let found = step(self)?;
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Where this reader stands: everything before was delivered. Saved as text and given to [`Start::At`], the stream goes on
    /// with the next message, here or on another host.
    pub fn position(&self) -> Position {
        let source = self.source.position();
        match (self.half.is_empty(), self.half.head(), self.hidden_below) {
            (false, Some(head), _) => Position {
                session: head.session,
                epoch: head.epoch,
                sequence: self.half.begin,
            },
            (_, _, Some(below)) => below,
            _ => source,
        }
    }

    /// The symbols of the current session's instruments.
    pub fn symbols(&self) -> &Symbols {
        &self.state.symbols
    }

    /// The book of an instrument, if it is kept and any message was about it.
    pub fn book(&self, instrument: u32) -> Option<Book<'_>> {
        self.state.book(instrument)
    }

    /// All books that are kept, in no particular order.
    pub fn books(&self) -> impl Iterator<Item = Book<'_>> {
        self.state.books()
    }

    /// The books as a whole, for those who want checksums, sources' positions or snapshots; `None` if none are kept. Where
    /// [`Options::books`] names instruments, the others' are empty in it.
    pub fn all_books(&self) -> Option<&Books> {
        self.state.all_books()
    }

    /// Why what is shown may be older than what happens on the venue.
    pub fn stale(&self) -> Stale {
        self.state.stale
    }

    /// What is known of the listener; [`WriterState::Alive`] of a recorded journal.
    pub fn writer(&self) -> WriterState {
        self.source.writer()
    }

    /// How often this reader was overrun, and what it missed and had filled: what the listener shows of it.
    pub fn progress(&self) -> &Progress {
        self.source.progress()
    }

    /// The channel.
    pub fn channel(&self) -> u16 {
        self.source.channel()
    }

    /// The directory of the journal that the stream comes from or is filled from.
    pub fn journal(&self) -> &Path {
        self.source.dir()
    }
}
