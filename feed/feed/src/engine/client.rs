//! The engine's end: says events, keeps those that are not journalled yet, and says them again after a lost connection.

use super::transport::{EngineAddress, Stream};
use super::{MAX_EVENT, as_position, first_length, framed};
use crate::source::EventSink;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};
use twinline_wire::message::FRAME_HEADER_LEN;
use twinline_wire::session::{EndOfSession, SourcePosition};
use twinline_wire::{EventFlags, Frame, Message, U16, U64};

/// Between two attempts to connect.
const AGAIN: Duration = Duration::from_millis(20);
/// Between two looks at a publisher that takes or says nothing.
const SHORTLY: Duration = Duration::from_micros(200);
/// Bytes that are gathered before they are sent; [`EngineClient::flush`] sends them at once.
const GATHER: usize = 16 << 10;

/// Why an engine cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No publisher answers.
    #[error(
        "no publisher answers at {address} for {patience:?} ({cause}): start it, check the address, or stop the engine \
         that is connected to it already"
    )]
    Unreachable {
        /// Where.
        address: EngineAddress,
        /// For how long.
        patience: Duration,
        /// What the last attempt said.
        cause: io::Error,
    },
    /// The publisher wants events that are not kept any more.
    #[error(
        "the publisher at {address} goes on behind event {wanted}, but events up to {forgotten} were journalled and \
         forgotten: its journal was lost or replaced; start the engine anew"
    )]
    Forgotten {
        /// Where.
        address: EngineAddress,
        /// Its position.
        wanted: u64,
        /// The last event that is not kept.
        forgotten: u64,
    },
    /// The publisher is further than the engine.
    #[error(
        "the publisher at {address} has event {has} already, the engine said only {said}: it must go on behind the \
         position that it is given when it connects"
    )]
    Ahead {
        /// Where.
        address: EngineAddress,
        /// Its position.
        has: u64,
        /// The engine's last event.
        said: u64,
    },
    /// The publisher does not take an event.
    #[error(
        "the publisher at {address} closes the connection each time that event {event} comes, for {patience:?}: its \
         warnings say why"
    )]
    Refused {
        /// Where.
        address: EngineAddress,
        /// The event.
        event: u64,
        /// For how long.
        patience: Duration,
    },
    /// It speaks otherwise.
    #[error("{address} does not speak as a publisher does: is it another service?")]
    NotAPublisher {
        /// Where.
        address: EngineAddress,
    },
    /// An event is too long.
    #[error("an event of {length} bytes: at most {MAX_EVENT} are allowed")]
    TooLong {
        /// Its length.
        length: usize,
    },
}

/// A connection to a publisher that is made again when it is lost.
///
/// An engine that starts goes on behind [`resume_at`](Self::resume_at): events up to there are journalled. While it runs,
/// the client keeps what is not journalled, so the publisher may be restarted at any time.
#[derive(Debug)]
pub struct EngineClient {
    address: EngineAddress,
    patience: Duration,
    stream: Stream,
    source: u16,
    resume_at: u64,
    /// The last event said.
    position: u64,
    acknowledged: u64,
    /// Events that are not journalled yet, from `acknowledged + 1` on.
    kept: VecDeque<Vec<u8>>,
    /// Emptied buffers of events, to be used again.
    spare: Vec<Vec<u8>>,
    /// The event that is being said.
    open: Vec<u8>,
    /// Where the flags of its last message are.
    flags_at: Option<usize>,
    /// Bytes that are not sent yet.
    out: Vec<u8>,
    input: Vec<u8>,
    /// The position that publishers gave at the last connections while more was said already, and since when.
    stuck: Option<(u64, Instant)>,
    /// What went wrong where it could not be told.
    failed: Option<EngineError>,
}

impl EngineClient {
    /// Connects to the publisher at `address`, which may not be there yet: it is tried for `patience`, now and whenever
    /// the connection is lost.
    ///
    /// # Errors
    /// If no publisher answers.
    pub fn connect(address: EngineAddress, patience: Duration) -> Result<Self, EngineError> {
        let (stream, input, (source, position)) = dial(&address, patience)?;
        Ok(Self {
            address,
            patience,
            stream,
            source,
            resume_at: position,
            position,
            acknowledged: position,
            kept: VecDeque::new(),
            spare: Vec::new(),
            open: Vec::new(),
            flags_at: None,
            out: Vec::with_capacity(2 * GATHER),
            input,
            stuck: None,
            failed: None,
        })
    }

    /// The event behind which the engine is to go on: all up to this one are journalled. 0: none.
    pub fn resume_at(&self) -> u64 {
        self.resume_at
    }

    /// The last event that is journalled.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The last event that was said.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// A message of the current event.
    pub fn push<M: Message>(&mut self, message: &M) {
        self.flags_at = M::DEF
            .flags_offset()
            .map(|at| self.open.len() + FRAME_HEADER_LEN + at);
        framed(&mut self.open, message);
    }

    /// The event is complete. It is sent when enough is gathered, or with [`flush`](Self::flush).
    ///
    /// # Errors
    /// If it is too long, or the connection was lost and cannot be made again.
    pub fn end_event(&mut self) -> Result<(), EngineError> {
        if let Some(flags) = self.flags_at.take().and_then(|at| self.open.get_mut(at)) {
            *flags |= EventFlags::END_OF_EVENT.0;
        }
        let end = SourcePosition {
            position: U64::new(self.position + 1),
            source: U16::new(self.source),
        };
        framed(&mut self.open, &end);
        if self.open.len() > MAX_EVENT {
            let length = self.open.len();
            self.open.clear();
            return Err(EngineError::TooLong { length });
        }
        self.position += 1;
        self.out.extend_from_slice(&self.open);
        let next = self.spare.pop().unwrap_or_default();
        self.kept.push_back(std::mem::replace(&mut self.open, next));
        if self.out.len() >= GATHER {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends what is gathered, and hears what is journalled.
    ///
    /// # Errors
    /// If the connection was lost and cannot be made again.
    pub fn flush(&mut self) -> Result<(), EngineError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        while self.send().and_then(|()| self.hear()).is_err() {
            self.reconnect()?;
        }
        Ok(())
    }

    /// Says that nothing more comes, and waits until everything is journalled.
    ///
    /// # Errors
    /// If the connection was lost and cannot be made again, or the publisher does not take the rest.
    pub fn finish(mut self) -> Result<(), EngineError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut deadline = Instant::now() + self.patience;
        let mut last = self.acknowledged;
        self.say_end();
        loop {
            if self.send().and_then(|()| self.hear()).is_err() {
                if self.acknowledged == self.position {
                    return Ok(());
                }
                self.reconnect()?;
                self.say_end();
            }
            if self.acknowledged == self.position {
                return Ok(());
            }
            if self.acknowledged > last {
                (last, deadline) = (self.acknowledged, Instant::now() + self.patience);
            } else if Instant::now() > deadline {
                return Err(EngineError::Unreachable {
                    address: self.address.clone(),
                    patience: self.patience,
                    cause: ErrorKind::TimedOut.into(),
                });
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn say_end(&mut self) {
        let end = EndOfSession {
            source_messages: U64::new(self.position),
        };
        framed(&mut self.out, &end);
    }

    /// Sends all that is gathered. The publisher may make us wait: then what it says is heard meanwhile.
    fn send(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(more) => sent += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.hear()?;
                    thread::sleep(SHORTLY);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        Ok(())
    }

    /// Takes what the publisher has said, without waiting for more.
    fn hear(&mut self) -> io::Result<()> {
        let mut room = [0; 1024];
        // What was said before the connection ended counts.
        let ended = loop {
            match self.stream.read(&mut room) {
                Ok(0) => break Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.input.extend_from_slice(&room[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let mut at = 0;
        while let Some(length) = first_length(&self.input[at..]) {
            let frame = Frame::split(&self.input[at..at + length]);
            let Some((_, position)) = frame.and_then(|(frame, _)| as_position(&frame)) else {
                return Err(ErrorKind::InvalidData.into());
            };
            at += length;
            self.forget(position);
        }
        self.input.drain(..at);
        ended
    }

    /// Events up to `position` are journalled.
    fn forget(&mut self, position: u64) {
        while self.acknowledged < position
            && let Some(mut event) = self.kept.pop_front()
        {
            self.acknowledged += 1;
            event.clear();
            if self.spare.len() < 1024 {
                self.spare.push(event);
            }
        }
    }

    /// Connects again, and says again what the publisher has not.
    fn reconnect(&mut self) -> Result<(), EngineError> {
        let (stream, input, (source, position)) = dial(&self.address, self.patience)?;
        // On an error the lost connection stays: nothing is said to a publisher that does not fit.
        if position < self.acknowledged {
            return Err(EngineError::Forgotten {
                address: self.address.clone(),
                wanted: position,
                forgotten: self.acknowledged,
            });
        }
        if position > self.position {
            return Err(EngineError::Ahead {
                address: self.address.clone(),
                has: position,
                said: self.position,
            });
        }
        match self.stuck {
            Some((at, since)) if at == position => {
                if since.elapsed() > self.patience {
                    return Err(EngineError::Refused {
                        address: self.address.clone(),
                        event: position + 1,
                        patience: self.patience,
                    });
                }
            }
            _ => self.stuck = (position < self.position).then(|| (position, Instant::now())),
        }
        (self.stream, self.input, self.source) = (stream, input, source);
        // It may have taken, and not journalled yet, more than it acknowledged: that is not said again, but kept.
        let taken = (position - self.acknowledged) as usize;
        self.out.clear();
        for event in self.kept.iter().skip(taken) {
            self.out.extend_from_slice(event);
        }
        Ok(())
    }
}

/// A market message source can say its events straight to the publisher.
impl EventSink for EngineClient {
    fn push<M: Message>(&mut self, message: &M) {
        Self::push(self, message);
    }

    fn push_frame(&mut self, frame: &Frame<'_>) {
        self.flags_at = None;
        self.open.extend_from_slice(frame.bytes());
    }

    fn end_event(&mut self, _source: u16, _position: u64) {
        // An error shows at the next flush.
        if let Err(error) = Self::end_event(self) {
            self.failed.get_or_insert(error);
        }
    }
}

/// A connected stream, what came behind the greeting, and the publisher's source number and position.
type Dialled = (Stream, Vec<u8>, (u16, u64));

/// Connects, again and again, until a publisher greets.
fn dial(address: &EngineAddress, patience: Duration) -> Result<Dialled, EngineError> {
    let deadline = Instant::now() + patience;
    loop {
        let cause = match greeted(address, deadline) {
            Ok(dialled) => return Ok(dialled),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(EngineError::NotAPublisher {
                    address: address.clone(),
                });
            }
            Err(error) => error,
        };
        if Instant::now() >= deadline {
            return Err(EngineError::Unreachable {
                address: address.clone(),
                patience,
                cause,
            });
        }
        thread::sleep(AGAIN);
    }
}

fn greeted(address: &EngineAddress, deadline: Instant) -> io::Result<Dialled> {
    let left = deadline.saturating_duration_since(Instant::now()).max(AGAIN);
    let mut stream = Stream::connect(address, left)?;
    let mut input = Vec::new();
    let mut room = [0; 256];
    loop {
        if let Some(length) = first_length(&input) {
            let frame = Frame::split(&input[..length]).and_then(|(frame, _)| as_position(&frame));
            let greeting = frame.ok_or(ErrorKind::InvalidData)?;
            input.drain(..length);
            return Ok((stream, input, greeting));
        }
        match stream.read(&mut room) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => input.extend_from_slice(&room[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(SHORTLY);
            }
            Err(error) => return Err(error),
        }
    }
}
