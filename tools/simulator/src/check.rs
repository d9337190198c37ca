//! The judge: is a listener's stream the journal's, and where it is not, does a notice name the difference exactly?

use crate::ledger::{Ledger, Session};
use crate::record::{Item, Stream};
use twinline_listener::arbiter::ranges::Span;
use twinline_wire::field::{LossReason, SessionState};

/// A loss that a listener declared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    pub(crate) session: u32,
    pub(crate) span: Span,
    pub(crate) reason: LossReason,
}

/// Sessions that a listener declared missed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missed {
    /// The session that it went on with.
    pub(crate) session: u32,
    pub(crate) begin: u32,
    pub(crate) end: u32,
    pub(crate) reason: LossReason,
}

/// What a stream was found to hold.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) messages: u64,
    pub(crate) lost: u64,
    pub(crate) void: u64,
    /// To be judged by whoever knows what was reachable when.
    pub(crate) losses: Vec<Loss>,
    pub(crate) missed: Vec<Missed>,
    /// Where the stream ends.
    pub(crate) session: u32,
    pub(crate) next: u64,
    pub(crate) closed: bool,
}

struct Judge<'a> {
    stream: &'a Stream,
    ledger: &'a Ledger,
    nothing: &'a Session,
    session: u32,
    /// The sequence that must come next, unless the journal has none there.
    next: u64,
    /// The session's end was delivered, or announced.
    closed: bool,
    /// Delivered, but not valid: a later notice must call them void.
    suspects: Vec<u64>,
    verdict: Verdict,
}

/// Goes through a stream from its beginning to its end.
///
/// # Errors
/// The first thing in it that is not as it must be.
pub(crate) fn judge(stream: &Stream, ledger: &Ledger) -> Result<Verdict, String> {
    let mut judge = Judge {
        stream,
        ledger,
        nothing: &Session::default(),
        session: 0,
        next: 1,
        closed: true,
        suspects: Vec::new(),
        verdict: Verdict::default(),
    };
    for (at, item) in stream.items.iter().enumerate() {
        judge.item(item).map_err(|what| {
            let near = &stream.items[at.saturating_sub(6)..=at];
            let near: Vec<String> = near.iter().map(|item| format!("{item:?}")).collect();
            format!(
                "item {at}: {what}; the stream there:\n    {}",
                near.join("\n    ")
            )
        })?;
    }
    judge.no_suspects()?;
    Ok(Verdict {
        session: judge.session,
        next: judge.next,
        closed: judge.closed,
        ..judge.verdict
    })
}

impl<'a> Judge<'a> {
    fn truth(&self) -> &'a Session {
        self.ledger.sessions.get(&self.session).unwrap_or(self.nothing)
    }

    fn item(&mut self, item: &Item) -> Result<(), String> {
        match *item {
            Item::Lost(session, span, reason) => self.lost(session, span, reason),
            Item::Void(session, span, epoch) => self.void(session, span, epoch),
            Item::Session(session, state) => self.session_notice(session, state),
            Item::Missed(session, begin, end, reason) => self.missed(Missed {
                session,
                begin,
                end,
                reason,
            }),
            Item::Replaced(session, sequence, _) => {
                self.enter(session)?;
                if sequence != self.next {
                    return Err(format!("a state at {sequence} replaces that at {}", self.next));
                }
                Ok(())
            }
            Item::Message {
                session,
                epoch,
                sequence,
                at,
                length,
                end_of_session,
            } => {
                self.enter(session)?;
                if self.closed {
                    return Err(format!("sequence {sequence} after the end of session {session}"));
                }
                self.skip_to(sequence)?;
                let truth = self.truth();
                match truth.get(sequence) {
                    None => self.suspects.push(sequence),
                    Some(entry)
                        if entry.epoch == epoch && truth.bytes(entry) == self.stream.frame(at, length) => {}
                    Some(entry) => {
                        let (valid, bytes) = (entry.epoch, truth.bytes(entry));
                        let frame = self.stream.frame(at, length);
                        return Err(format!(
                            "sequence {sequence} of epoch {epoch} is not the journal's, of epoch {valid}: \
                             {frame:02x?}, not {bytes:02x?}"
                        ));
                    }
                }
                self.next = sequence + 1;
                self.closed = end_of_session;
                self.verdict.messages += 1;
                Ok(())
            }
        }
    }

    /// The next thing is of `session`.
    fn enter(&mut self, session: u32) -> Result<(), String> {
        if session == self.session {
            return Ok(());
        }
        if session < self.session {
            return Err(format!("session {session} after session {}", self.session));
        }
        self.go_over(session, 0, 0)
    }

    /// Leaves the session for `session`; those with numbers in `begin..end` are said to be missing.
    fn go_over(&mut self, session: u32, begin: u32, end: u32) -> Result<(), String> {
        self.leave_session()?;
        let between = self.ledger.sessions.range(self.session + 1..session);
        let silent = between
            .filter(|(number, between)| !between.entries.is_empty() && !(begin..end).contains(*number))
            .map(|(number, _)| number)
            .next();
        if let Some(number) = silent.filter(|_| self.session > 0) {
            return Err(format!(
                "session {number} is missing without a word between {} and {session}",
                self.session
            ));
        }
        (self.session, self.next, self.closed) = (session, 1, false);
        Ok(())
    }

    fn missed(&mut self, missed: Missed) -> Result<(), String> {
        let Missed {
            session, begin, end, ..
        } = missed;
        if session <= self.session || begin <= self.session || begin >= end || end > session {
            return Err(format!(
                "sessions {begin}..{end} are called missing between {} and {session}",
                self.session
            ));
        }
        self.verdict.missed.push(missed);
        self.go_over(session, begin, end)
    }

    /// The session is over in the stream: is it whole?
    fn leave_session(&mut self) -> Result<(), String> {
        if !self.closed {
            return Err(format!(
                "session {} is left without an end at {}",
                self.session, self.next
            ));
        }
        self.skip_to(u64::MAX)?;
        self.no_suspects()
    }

    /// Nothing valid may stand between here and `sequence`.
    fn skip_to(&mut self, sequence: u64) -> Result<(), String> {
        if sequence < self.next {
            return Err(format!("sequence {sequence} again: {} comes next", self.next));
        }
        match self.truth().first_in(self.next, sequence) {
            None => Ok(()),
            Some(entry) => Err(format!(
                "sequence {} is missing without a word (next is {sequence})",
                entry.sequence
            )),
        }
    }

    /// Everything that was delivered and is not valid must have been called void. If nothing of a session was left by a
    /// power cut, then there is nobody to say so, and its end must have been announced as lost.
    fn no_suspects(&mut self) -> Result<(), String> {
        let session = self.session;
        if self.truth().entries.is_empty() {
            self.suspects.clear();
        }
        match self.suspects.first() {
            None => Ok(()),
            Some(sequence) => Err(format!(
                "session {session} sequence {sequence} is not valid, was delivered and never called void"
            )),
        }
    }

    fn lost(&mut self, session: u32, span: Span, reason: LossReason) -> Result<(), String> {
        self.enter(session)?;
        if span.is_empty() || self.closed {
            return Err(format!("lost {span:?}: nothing, or after the end"));
        }
        let said = self.verdict.losses.last();
        if span.end == u64::MAX && said.is_some_and(|last| (last.session, last.span) == (session, span)) {
            // A power cut took the notice behind it, that the session is abandoned: both are said again.
            return Ok(());
        }
        self.skip_to(span.begin)?;
        let end = self.truth().end();
        if span.end != u64::MAX && span.end > end && end > 1 {
            return Err(format!("lost {span:?}, but the session ends at {end}"));
        }
        // Who lost an EpochStart cannot be told what it cut off; that the state is invalid, the loss itself says.
        let starts = self.truth().bases.values();
        if let Some(&base) = starts
            .filter(|&&base| (span.begin..span.end).contains(&base))
            .max()
        {
            self.suspects.retain(|&sequence| sequence >= base);
        }
        self.next = span.end;
        self.verdict.losses.push(Loss {
            session,
            span,
            reason,
        });
        // Without an end it is the session's last word, whether the listener lives to say so or not.
        self.closed = span.end == u64::MAX;
        if !self.closed {
            self.verdict.lost += span.len();
        }
        Ok(())
    }

    fn void(&mut self, session: u32, span: Span, epoch: u32) -> Result<(), String> {
        self.enter(session)?;
        if span.is_empty() || span.end != self.next {
            return Err(format!(
                "void {span:?} by epoch {epoch}, but {} comes next",
                self.next
            ));
        }
        if let Some(entry) = self.truth().first_in(span.begin, span.end) {
            return Err(format!("sequence {} is valid and called void", entry.sequence));
        }
        self.suspects
            .retain(|sequence| !(span.begin..span.end).contains(sequence));
        self.verdict.void += span.len();
        Ok(())
    }

    fn session_notice(&mut self, session: u32, state: SessionState) -> Result<(), String> {
        match state {
            SessionState::ENDED if !self.closed || session != self.session => {
                Err("an end is announced that was not delivered".into())
            }
            SessionState::ABANDONED => {
                self.enter(session)?;
                self.skip_to(u64::MAX)?;
                self.closed = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
