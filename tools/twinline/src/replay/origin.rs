//! Where messages are got from: a journal, or recovery services. Both give whole packets in order, the very bytes that
//! went out on the lines, and say of what they cannot give why.

use super::recovery::Recovery;
use super::wanted::{Range, uncovered};
use crate::exit::Failure;
use crate::journal::journals;
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use twinline_journal::{JournalError, JournalReader, Seek};
use twinline_wire::field::RejectCode;
use twinline_wire::session::EpochStart;
use twinline_wire::{Packet, flags};

/// Messages that could not be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Missing {
    #[serde(flatten)]
    pub(super) range: Range,
    /// True if these sequences name no message: an epoch cut them off, or the session ended before them. No loss.
    pub(super) void: bool,
    pub(super) reason: String,
    /// What a recovery service gave as the reason.
    #[serde(skip)]
    pub(super) code: Option<RejectCode>,
}

/// What is known of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) session: u32,
    pub(super) oldest: u64,
    /// The sequence after the last.
    pub(super) next: u64,
}

/// Takes packets in order; breaks if no more are wanted.
pub(super) type Take<'a> = dyn FnMut(&Packet<'_>) -> Result<ControlFlow<()>, Failure> + 'a;

/// Where packets come from.
pub(super) enum Origin {
    Journal(Journal),
    Recovery(Recovery),
}

impl Origin {
    /// The channel.
    pub(super) fn channel(&self) -> u16 {
        match self {
            Self::Journal(journal) => journal.reader.channel(),
            Self::Recovery(recovery) => recovery.channel(),
        }
    }

    /// What there is of `session`, or of the newest one.
    pub(super) fn span(&mut self, session: Option<u32>) -> Result<Span, Failure> {
        match self {
            Self::Journal(journal) => journal.span(session),
            Self::Recovery(recovery) => recovery.span(session),
        }
    }

    /// Gives the packets that hold messages of `range`, and says what is missing.
    pub(super) fn fetch(&mut self, range: Range, take: &mut Take<'_>) -> Result<Vec<Missing>, Failure> {
        match self {
            Self::Journal(journal) => journal.fetch(range, take),
            Self::Recovery(recovery) => recovery.fetch(range, take),
        }
    }

    /// Sequence and sending time of the first packet that holds a message of `range`.
    fn first(&mut self, range: Range) -> Result<Option<(u64, u64)>, Failure> {
        // A step at a time: what stands at the beginning may be void, and is then some messages long.
        let mut step = 1;
        let mut at = range;
        loop {
            at.end = range.end.min(at.begin.saturating_add(step));
            let mut found = None;
            self.fetch(at, &mut |packet| {
                found = Some((packet.sequence(), packet.header().sending_time.get()));
                Ok(ControlFlow::Break(()))
            })?;
            if found.is_some() || at.end == range.end {
                return Ok(found);
            }
            at.begin = at.end;
            step = (step * 16).min(1 << 16);
        }
    }

    /// The first sequence of `span` whose packet was sent at `time` or later, found by halving; the span's end if there
    /// is none. Sending times grow within a session, but for a clock that was set back.
    pub(super) fn sequence_at(&mut self, span: Span, time: u64) -> Result<u64, Failure> {
        let (mut low, mut high) = (span.oldest, span.next);
        while low < high {
            let middle = low + (high - low) / 2;
            let rest = Range {
                session: span.session,
                begin: middle,
                end: high,
            };
            match self.first(rest)? {
                Some((sequence, sent)) if sent < time => low = sequence.max(middle) + 1,
                // The packet may begin before the middle: then it is the whole of it.
                Some((sequence, _)) => high = sequence.min(middle),
                None => high = middle,
            }
        }
        Ok(low)
    }

    /// Sending time of the first packet of `span`.
    pub(super) fn begin_time(&mut self, span: Span) -> Result<Option<u64>, Failure> {
        let whole = Range {
            session: span.session,
            begin: span.oldest,
            end: span.next,
        };
        Ok(self.first(whole)?.map(|(_, time)| time))
    }
}

/// A journal, a publisher's or a listener's.
pub(super) struct Journal {
    path: PathBuf,
    reader: JournalReader,
}

impl Journal {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let numbers: Vec<_> = journals(path)?.iter().filter_map(|(number, _)| *number).collect();
        if let Some(first) = numbers.first() {
            return Err(Failure::usage(format!(
                "{path} holds the journals of {} channels: name one of them, as in {path}/channel-{first}",
                numbers.len(),
                path = path.display()
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            reader: JournalReader::open(path)?,
        })
    }

    fn span(&mut self, session: Option<u32>) -> Result<Span, Failure> {
        let path = self.path.display();
        let session = match session {
            Some(session) => session,
            None => match self.reader.head()? {
                Some(head) => head.session,
                None => {
                    return Err(Failure::error(format!(
                        "{path} is empty: nothing was published into it yet"
                    )));
                }
            },
        };
        let Some(held) = self.reader.session(session)? else {
            return Err(Failure::error(format!(
                "{path} holds nothing of session {session}: `twinline journal info {path}` lists its sessions"
            )));
        };
        Ok(Span {
            session,
            oldest: held.oldest,
            next: held.next,
        })
    }

    fn fetch(&mut self, range: Range, take: &mut Take<'_>) -> Result<Vec<Missing>, Failure> {
        let (mut held, mut missing) = (Vec::new(), Vec::new());
        let gone = |range: Range, reason: &str| Missing {
            range,
            void: false,
            reason: reason.into(),
            code: None,
        };
        let mut void = Vec::new();
        let mut rest = range;
        loop {
            match self.reader.seek(range.session, rest.begin)? {
                Seek::Found => break,
                Seek::NotYet => {
                    let span = self.reader.session(range.session)?;
                    missing.push(match span.is_some_and(|span| span.ended) {
                        true => Missing::void(rest),
                        false => gone(rest, "not published yet"),
                    });
                    return Ok(missing);
                }
                Seek::UnknownSession => {
                    return Ok(vec![gone(range, "the journal has nothing of this session")]);
                }
                Seek::TooOld { oldest } if oldest >= range.end => {
                    return Ok(vec![gone(range, "no longer in the journal")]);
                }
                Seek::TooOld { oldest } => {
                    rest.begin = oldest;
                    let end = oldest;
                    missing.push(gone(Range { end, ..range }, "no longer in the journal"));
                    held.push((range.begin, oldest));
                }
            }
        }
        loop {
            match self.reader.next() {
                Ok(Some(packet)) => {
                    let header = packet.header();
                    if header.session.get() != range.session {
                        break;
                    }
                    if packet.sequence() >= range.end {
                        void.extend(cut_off(&packet));
                        break;
                    }
                    // Notices are the listener's own, and mark the end of a file.
                    if header.flags & (flags::LOCAL | flags::SEGMENT_END) != 0 || packet.end() <= rest.begin {
                        continue;
                    }
                    held.push((packet.sequence(), packet.end()));
                    void.extend(cut_off(&packet));
                    if take(&packet)?.is_break() {
                        return Ok(missing);
                    }
                    if packet.end() >= range.end {
                        break;
                    }
                }
                Ok(None) => break,
                Err(JournalError::Behind { .. }) => self.reader.seek_oldest()?,
                Err(error) => return Err(error.into()),
            }
        }
        let span = self.reader.session(range.session)?;
        if let Some(span) = span.filter(|span| span.ended) {
            void.push((span.next, u64::MAX));
        }
        let open = uncovered(&[range], held.iter().copied());
        let lost = uncovered(&open, void.iter().copied());
        let next = span.map_or(0, |span| span.next);
        missing.extend(lost.iter().map(|lost| match lost.begin < next {
            true => gone(*lost, "lost before it was written: the journal goes on behind it"),
            false => gone(*lost, "not published yet"),
        }));
        let voids = uncovered(&open, lost.iter().map(|lost| (lost.begin, lost.end)));
        missing.extend(voids.into_iter().map(Missing::void));
        missing.sort_by_key(|missing| missing.range);
        Ok(missing)
    }
}

impl Missing {
    /// Sequences that name no message.
    pub(super) fn void(range: Range) -> Self {
        Self {
            range,
            void: true,
            reason: "void: an epoch cut it off, or the session ended before it; no loss".into(),
            code: Some(RejectCode::VOID),
        }
    }
}

/// What a packet that opens an epoch says to be void.
fn cut_off(packet: &Packet<'_>) -> Option<(u64, u64)> {
    let (_, first) = packet.messages().next()?;
    let start = first.view::<EpochStart>()?;
    Some((start.valid_end.get(), packet.sequence()))
}
