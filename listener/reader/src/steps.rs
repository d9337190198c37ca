//! Finding the next event or batch: what a [`Reader`] does with each record of its source.
//!
//! Finding and showing are two steps, as what is shown is borrowed from the reader: finding changes it, and says in a few
//! numbers where what was found stands until the next is looked for.

use crate::batch::Events;
use crate::source::{Head, Own, Step};
use crate::{
    Batch, Event, Message, Messages, Missed, Notice, NoticeKind, Position, ReadError, Reader, WriterState,
};
use twinline_book::Change;
use twinline_journal::{JournalError, Seek};
use twinline_wire::market::InstrumentDefinition;
use twinline_wire::session::EpochStart;
use twinline_wire::{Frame, Message as _};

/// An event that was found.
#[derive(Clone, Copy)]
pub(crate) enum Shown {
    Message {
        place: Place,
        sequence: u64,
        at: usize,
        change: Option<Change>,
    },
    Notice,
    Own(Own),
    /// A snapshot cannot be used.
    Unusable,
}

/// A batch that was found.
#[derive(Clone, Copy)]
pub(crate) enum ShownBatch {
    Messages(Span),
    Other(Shown),
}

/// Whose bytes something stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The source's current record.
    Record,
    /// An event that came in parts.
    Half,
}

/// Messages that stand together.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    place: Place,
    begin: usize,
    end: usize,
    sequence: u64,
}

/// What comes behind a record.
enum Over {
    /// A record of messages.
    Messages,
    /// What is not to be shown.
    Hidden,
    Shown(Shown),
    Nothing,
}

const STANDS: &str = "what was found stands there until the next is looked for";

impl Reader {
    /// Finds the next event, and does to the books what it says.
    #[inline]
    pub(crate) fn step(&mut self) -> Result<Option<Shown>, ReadError> {
        loop {
            if !self.half.is_empty()
                && let Some(shown) = self.step_in_half()
            {
                return Ok(Some(shown));
            }
            if let Some(shown) = self.step_in_record() {
                return Ok(Some(shown));
            }
            match self.step_over()? {
                Over::Messages | Over::Hidden => {}
                Over::Shown(shown) => return Ok(Some(shown)),
                Over::Nothing => return Ok(None),
            }
        }
    }

    /// The next message of the current record that is to be shown.
    #[inline]
    fn step_in_record(&mut self) -> Option<Shown> {
        let (mut at, mut sequence) = self.source.rest()?;
        let mut shown = None;
        let frames = self.source.frames();
        let mut rest = frames.get(at..).unwrap_or_default();
        while let Some((frame, behind)) = Frame::split(rest) {
            let change = self.state.message(sequence, &frame);
            let hidden = self.hidden_below.is_some()
                && hides(&mut self.hidden_below, self.source.head.session, sequence);
            if !hidden && self.state.filter.wants(&frame) {
                shown = Some(Shown::Message {
                    place: Place::Record,
                    sequence,
                    at,
                    change,
                });
            }
            at += frame.bytes().len();
            sequence = sequence.saturating_add(1);
            rest = behind;
            if shown.is_some() {
                break;
            }
        }
        let more = Frame::split(rest).is_some();
        self.source.take_to(at, sequence, more);
        shown
    }

    /// The messages of an event that a batch is waiting for, one by one.
    #[cold]
    fn step_in_half(&mut self) -> Option<Shown> {
        while let Some((frame, _)) = Frame::split(self.half.frames()) {
            let (sequence, at, length) = (self.half.begin, self.half.done(), frame.bytes().len());
            let change = self.state.message(sequence, &frame);
            let wanted = self.state.filter.wants(&frame);
            self.half.take(length, 1);
            if wanted {
                return Some(Shown::Message {
                    place: Place::Half,
                    sequence,
                    at,
                    change,
                });
            }
        }
        None
    }

    /// Finds the next batch, and does to the books what it says.
    #[inline]
    pub(crate) fn step_batch(&mut self) -> Result<Option<ShownBatch>, ReadError> {
        loop {
            if let Some((at, sequence)) = self.source.rest() {
                let span = self.take_events(at, sequence);
                if let Some(span) = self.apply(span) {
                    return Ok(Some(ShownBatch::Messages(span)));
                }
            }
            if self.half.is_too_long() {
                return Ok(Some(ShownBatch::Other(Shown::Own(self.give_half_up()))));
            }
            match self.step_over()? {
                Over::Messages | Over::Hidden => {}
                Over::Shown(shown) => return Ok(Some(ShownBatch::Other(shown))),
                Over::Nothing => return Ok(None),
            }
        }
    }

    /// The whole events in the rest of the record. What is none yet is kept until its rest comes.
    #[inline]
    fn take_events(&mut self, at: usize, sequence: u64) -> Span {
        let frames = &self.source.frames()[at..];
        let head = &self.source.head;
        if !self.half.is_empty() {
            let all = Events::find(frames).all;
            self.half
                .keep(head, &frames[..all.0], sequence, sequence.saturating_add(all.1));
            self.source
                .take_to(at + all.0, sequence.saturating_add(all.1), false);
            let (begin, sequence) = (self.half.done(), self.half.begin);
            let whole = Events::find(self.half.frames()).whole;
            self.half.take(whole.0, whole.1);
            return Span {
                place: Place::Half,
                begin,
                end: begin + whole.0,
                sequence,
            };
        }
        let Events { whole, all } = Events::find(frames);
        if whole != all {
            let begin = sequence.saturating_add(whole.1);
            let end = sequence.saturating_add(all.1);
            self.half.keep(head, &frames[whole.0..all.0], begin, end);
        }
        self.source
            .take_to(at + all.0, sequence.saturating_add(all.1), false);
        Span {
            place: Place::Record,
            begin: at,
            end: at + whole.0,
            sequence,
        }
    }

    /// Does to the books what the messages say. Returns those that are to be shown, if there are any.
    #[inline]
    fn apply(&mut self, mut span: Span) -> Option<Span> {
        self.changes.clear();
        let bytes = match span.place {
            Place::Record => self.source.frames(),
            Place::Half => self.half.bytes(),
        };
        let (mut wanted, mut sequence) = (false, span.sequence);
        let mut rest = &bytes[span.begin..span.end];
        while let Some((frame, behind)) = Frame::split(rest) {
            rest = behind;
            let change = self.state.message(sequence, &frame);
            if self.hidden_below.is_some()
                && hides(&mut self.hidden_below, self.source.head.session, sequence)
            {
                (span.begin, span.sequence) = (span.end - rest.len(), sequence + 1);
            } else {
                wanted |= self.state.filter.wants(&frame);
                self.changes.extend(change.map(|change| (sequence, change)));
            }
            sequence = sequence.saturating_add(1);
        }
        wanted.then_some(span)
    }

    /// Goes on to the next record, or finds something that is none of messages.
    #[inline]
    fn step_over(&mut self) -> Result<Over, ReadError> {
        if self.unusable {
            self.unusable = false;
            return Ok(Over::Shown(Shown::Unusable));
        }
        let step = self.source.advance()?;
        self.state.stale.behind = self.source.is_behind();
        if !self.half.is_empty() && self.breaks_half(step) {
            return Ok(Over::Shown(Shown::Own(self.give_half_up())));
        }
        if step == Step::Messages
            && self.hidden_below.is_some()
            && let Some(void) = self.void_before_begin()
        {
            self.source.put_back();
            return Ok(Over::Shown(Shown::Own(void)));
        }
        Ok(match step {
            Step::Messages => {
                self.state.enter(&self.source.head);
                Over::Messages
            }
            Step::Notice => self.take_notice(),
            Step::Own(own) => self.take_own(own)?,
            Step::Nothing => Over::Nothing,
        })
    }

    /// True if what comes shows that the rest of a half event does not. It comes once more then.
    #[cold]
    fn breaks_half(&mut self, step: Step) -> bool {
        match step {
            Step::Nothing => false,
            Step::Messages => {
                let breaks = !self.half.goes_on_with(&self.source.head);
                if breaks {
                    self.source.put_back();
                }
                breaks
            }
            Step::Notice => {
                let frame = self.source.frame(0);
                let breaks = frame.is_some_and(|frame| NoticeKind::of(frame).breaks_event());
                if breaks {
                    self.source.put_back();
                }
                breaks
            }
            Step::Own(own) => {
                let breaks = NoticeKind::from(own).breaks_event();
                if breaks {
                    self.source.unsay(own);
                }
                breaks
            }
        }
    }

    #[cold]
    fn give_half_up(&mut self) -> Own {
        let (begin, end) = self.half.clear();
        self.state.invalidate();
        Own::HalfEvent { begin, end }
    }

    /// Delivery is to begin beyond what the epoch that begins here leaves standing.
    #[cold]
    fn void_before_begin(&mut self) -> Option<Own> {
        let below = self.hidden_below.as_mut()?;
        let (session, epoch) = (self.source.head.session, self.source.head.epoch);
        if session != below.session || epoch <= below.epoch {
            return None;
        }
        let begin = self.source.frame(0)?.view::<EpochStart>()?.valid_end.get();
        below.epoch = epoch;
        let end = below.sequence;
        (begin < end).then_some(Own::Void { begin, end, epoch })
    }

    /// The current record is a notice.
    #[cold]
    fn take_notice(&mut self) -> Over {
        let (head, next) = (self.source.head, self.source.position().sequence);
        if let Some(frame) = self.source.frame(0) {
            self.unusable |= self.state.notice(&head, &frame, next, self.source.dir());
        }
        self.source.take_notice();
        match hides(&mut self.hidden_below, head.session, head.sequence) {
            true => Over::Hidden,
            false => Over::Shown(Shown::Notice),
        }
    }

    /// The reader has something to say itself.
    #[cold]
    fn take_own(&mut self, own: Own) -> Result<Over, ReadError> {
        let shown = match own {
            Own::Missed(missed) => {
                self.state.invalidate();
                self.learn_missed(&missed)?;
                match self.still_missed(missed) {
                    None => return Ok(Over::Hidden),
                    Some(missed) => Own::Missed(missed),
                }
            }
            Own::Discarded { .. } | Own::Void { .. } => {
                self.state.invalidate();
                own
            }
            Own::Writer(state) => {
                self.state.stale.writer = state != WriterState::Alive;
                own
            }
            Own::Filling | Own::Filled { .. } | Own::HalfEvent { .. } => own,
        };
        Ok(Over::Shown(Shown::Own(shown)))
    }

    /// Who skips messages does not want them, but their definitions: without them symbols would be unknown, and a filter by
    /// symbol would hide what is asked for. They come from the journal, as far as it holds them.
    fn learn_missed(&mut self, missed: &Missed) -> Result<(), ReadError> {
        if !self.learns {
            return Ok(());
        }
        self.state.enter_session(missed.end_session);
        let begin = match missed.session == missed.end_session {
            true => missed.begin,
            false => 1,
        };
        let mut journal = self.source.journal_mut().clone();
        if journal.seek(missed.end_session, begin.max(1))? != Seek::Found {
            return Ok(());
        }
        loop {
            let packet = match journal.next() {
                Ok(Some(packet)) => packet,
                // Retention is faster: what it took is not known.
                Ok(None) | Err(JournalError::Behind { .. } | JournalError::Discarded { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            let (session, sequence) = (packet.header().session.get(), packet.sequence());
            if (session, sequence) >= (missed.end_session, missed.end) {
                break;
            }
            for (_, frame) in packet.messages() {
                if frame.template() == InstrumentDefinition::TEMPLATE {
                    self.state.learn(&frame);
                }
            }
        }
        Ok(())
    }

    /// What is missed of what is to be delivered.
    fn still_missed(&mut self, missed: Missed) -> Option<Missed> {
        let Some(below) = self.hidden_below else {
            return Some(missed);
        };
        if hides(&mut self.hidden_below, missed.end_session, missed.end) {
            return None;
        }
        let (session, begin) = (missed.session, missed.begin).max((below.session, below.sequence));
        Some(Missed {
            session,
            begin,
            ..missed
        })
    }
}

/// True if delivery begins only behind this message.
#[cold]
fn hides(below: &mut Option<Position>, session: u32, sequence: u64) -> bool {
    let hidden = below.is_some_and(|below| (session, sequence) < (below.session, below.sequence));
    if !hidden {
        *below = None;
    }
    hidden
}

/// The frame at a place.
#[inline]
fn split(bytes: &[u8], at: usize) -> Option<Frame<'_>> {
    Some(Frame::split(bytes.get(at..)?)?.0)
}

/// Showing what was found.
impl Reader {
    #[inline]
    pub(crate) fn show(&self, shown: Shown) -> Event<'_> {
        match shown {
            Shown::Message {
                place,
                sequence,
                at,
                change,
            } => {
                let (head, bytes) = self.bytes(place);
                let frame = split(bytes, at).expect(STANDS);
                Event::Message(Message::new(head, sequence, frame, change, &self.state))
            }
            other => Event::Notice(self.show_notice(other)),
        }
    }

    #[inline]
    pub(crate) fn show_batch(&self, shown: ShownBatch) -> Batch<'_> {
        match shown {
            ShownBatch::Messages(span) => {
                let (head, bytes) = self.bytes(span.place);
                let frames = &bytes[span.begin..span.end];
                Batch::Messages(Messages::new(
                    head,
                    span.sequence,
                    frames,
                    &self.changes,
                    &self.state,
                ))
            }
            ShownBatch::Other(other) => Batch::Notice(self.show_notice(other)),
        }
    }

    #[inline]
    fn bytes(&self, place: Place) -> (&Head, &[u8]) {
        match place {
            Place::Record => (&self.source.head, self.source.frames()),
            Place::Half => (self.half.head().expect(STANDS), self.half.bytes()),
        }
    }

    #[cold]
    fn show_notice(&self, shown: Shown) -> Notice<'_> {
        let (time, kind) = match shown {
            Shown::Own(own) => (None, NoticeKind::from(own)),
            Shown::Unusable => (None, NoticeKind::SnapshotUnusable(&self.state.trouble)),
            Shown::Notice | Shown::Message { .. } => {
                let frame = self.source.frame(0).expect(STANDS);
                (Some(self.source.head.sending_time), NoticeKind::of(frame))
            }
        };
        Notice {
            position: self.position(),
            time,
            kind,
        }
    }
}
