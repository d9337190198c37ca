//! The publisher's end: a source that an engine connects to.

use super::transport::{EngineAddress, Listener, Stream};
use super::{MAX_EVENT, POSITION_LEN, as_position, first_length, position};
use crate::source::{EventSink, Source, SourceError, SourceState, TypeCount};
use std::io::{self, ErrorKind, Read, Write};
use twinline_wire::header::{HEADER_LEN, MAX_PACKET_LEN};
use twinline_wire::session::EndOfSession;
use twinline_wire::{Frame, Message, MessageDef};

/// No frame is longer, in bytes.
const LONGEST_FRAME: usize = 64 << 10;
/// Bytes read ahead of the publisher.
const BUFFER: usize = 4 * LONGEST_FRAME;
/// A connection is looked for, and what is journalled is told, this often at most, in nanoseconds.
const LOOK_EVERY: u64 = 1_000_000;

/// A source that an engine in another process feeds.
///
/// Without an engine it is idle. What breaks the dialogue is an error and closes the connection: opened again it goes on
/// at its position, which the engine is told.
#[derive(Debug)]
pub struct EngineSource {
    source: u16,
    /// Most bytes of an event, its position included.
    most: usize,
    listener: Listener,
    /// Where it listens.
    address: EngineAddress,
    peer: Option<Peer>,
    /// Events consumed.
    position: u64,
    resumed_at: u64,
    /// Events that are journalled.
    committed: u64,
    looked: u64,
    /// The engine has said everything.
    ending: bool,
}

/// An engine that is connected.
#[derive(Debug)]
struct Peer {
    stream: Stream,
    buffer: Box<[u8]>,
    /// Bytes that are not consumed: `buffer[start..end]`.
    start: usize,
    end: usize,
    /// Bytes behind `start` that are whole frames of an event which is not whole yet.
    scanned: usize,
    /// What is still to be sent.
    out: Vec<u8>,
    /// What it was told last to be journalled.
    told: u64,
}

/// What stands at the beginning of what an engine sent.
enum Next {
    /// An event of so many bytes, its position included, which is this.
    Event { length: usize, position: u64 },
    /// Everything was said.
    End,
    /// Not a whole event yet.
    More,
}

impl EngineSource {
    /// Listens at `address`, as source number `source`, for a publisher of packets of at most `packet_limit` bytes: what
    /// does not fit one breaks the dialogue here, and never gets to the publisher.
    ///
    /// # Errors
    /// If the address cannot be listened at.
    pub fn listen(address: &EngineAddress, source: u16, packet_limit: usize) -> Result<Self, SourceError> {
        let bound = Listener::bind(address).and_then(|listener| {
            let address = listener.address()?;
            Ok((listener, address))
        });
        let (listener, address) = bound.map_err(|cause| SourceError::Listen {
            address: address.clone(),
            cause,
        })?;
        Ok(Self {
            source,
            most: packet_limit.saturating_sub(HEADER_LEN).min(MAX_EVENT),
            listener,
            address,
            peer: None,
            position: 0,
            resumed_at: 0,
            committed: 0,
            looked: 0,
            ending: false,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> &EngineAddress {
        &self.address
    }

    /// Takes a connection if there is none; another one is closed at once.
    #[cold]
    fn look(&mut self) {
        while let Ok(knock) = self.listener.accept() {
            if self.peer.is_some() {
                continue;
            }
            let Ok(stream) = knock.open() else { continue };
            self.peer = Some(Peer {
                stream,
                buffer: vec![0; BUFFER].into(),
                start: 0,
                end: 0,
                scanned: 0,
                out: position(self.source, self.position),
                told: 0,
            });
        }
    }

    /// Tells the engine what is journalled.
    fn tell(&mut self) {
        let Some(peer) = &mut self.peer else { return };
        if self.committed > peer.told && peer.out.is_empty() {
            peer.told = self.committed;
            peer.out = position(self.source, self.committed);
        }
        if !peer.send() {
            self.peer = None;
        }
    }

    /// The dialogue is broken: the connection is closed.
    #[cold]
    fn broken(&mut self, reason: String) -> SourceError {
        self.peer = None;
        SourceError::Peer {
            address: self.address.clone(),
            events: self.position,
            reason,
        }
    }
}

impl Peer {
    /// Sends what is to be sent, as far as the socket takes it; false if the connection is over.
    fn send(&mut self) -> bool {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(0) => return false,
                Ok(sent) => drop(self.out.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Reads more; false if nothing came. An error: the connection is over.
    fn receive(&mut self) -> io::Result<bool> {
        if self.start > 0 && self.end > BUFFER - LONGEST_FRAME {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        match self.stream.read(&mut self.buffer[self.end..]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.end += read;
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What comes next, of `source` and at most `most` bytes long. The error says what is wrong with what was sent.
    fn next(&mut self, source: u16, most: usize) -> Result<Next, String> {
        loop {
            let held = &self.buffer[self.start..self.end];
            let rest = &held[self.scanned..];
            if self.scanned + POSITION_LEN > most {
                return Err(format!(
                    "an event of more than {most} bytes, its position included: no packet holds it; raise the packet \
                     size (up to {MAX_PACKET_LEN}), or say it in several events"
                ));
            }
            let Some(length) = first_length(rest) else {
                return Ok(Next::More);
            };
            let Some((frame, _)) = Frame::split(&rest[..length]) else {
                return Err("bytes that are no framed message".into());
            };
            if let Some((of, position)) = as_position(&frame) {
                if of != source {
                    return Err(format!("the position of source {of}; this is source {source}"));
                }
                let length = self.scanned + length;
                self.scanned = 0;
                return Ok(Next::Event { length, position });
            }
            if frame.template() == EndOfSession::TEMPLATE && self.scanned == 0 {
                return Ok(Next::End);
            }
            let known = frame.definition();
            let name = known.map_or("a message of another schema", |known| known.name);
            match known.and_then(MessageDef::flags_offset) {
                Some(at) if at < frame.block().len() => {}
                Some(_) => {
                    return Err(format!(
                        "{name} of {} bytes, which is cut off",
                        frame.block().len()
                    ));
                }
                None => return Err(format!("{name}, which is no market message")),
            }
            self.scanned += length;
        }
    }
}

impl Source for EngineSource {
    fn id(&self) -> u16 {
        self.source
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn resume(&mut self, position: u64) -> Result<(), SourceError> {
        self.position = position;
        self.resumed_at = position;
        self.committed = position;
        Ok(())
    }

    fn poll(&mut self, now: u64, sink: &mut impl EventSink) -> Result<SourceState, SourceError> {
        if now >= self.looked + LOOK_EVERY || self.looked == 0 {
            self.looked = now.max(1);
            self.look();
            self.tell();
        }
        let idle = Ok(SourceState::Idle {
            until: now + LOOK_EVERY,
        });
        let Some(peer) = &mut self.peer else {
            return idle;
        };
        if self.ending {
            // Its last event is told to be safe before this is the end.
            let done = peer.told >= self.position && peer.out.is_empty();
            return if done { Ok(SourceState::End) } else { idle };
        }
        let next = peer.next(self.source, self.most);
        match next {
            Ok(Next::Event { length, position }) => {
                let event = &peer.buffer[peer.start..peer.start + length];
                peer.start += length;
                // Said again after a restart of either side.
                if position <= self.position {
                    return Ok(SourceState::Ready);
                }
                if position != self.position + 1 {
                    let reason = format!(
                        "event {position} behind event {}: those between are missing",
                        self.position
                    );
                    return Err(self.broken(reason));
                }
                let mut rest = event;
                while let Some((frame, after)) = Frame::split(rest) {
                    if as_position(&frame).is_none() {
                        sink.push_frame(&frame);
                    }
                    rest = after;
                }
                self.position = position;
                sink.end_event(self.source, position);
                Ok(SourceState::Ready)
            }
            Ok(Next::End) => {
                self.ending = true;
                idle
            }
            Ok(Next::More) => match peer.receive() {
                Ok(true) => Ok(SourceState::Ready),
                Ok(false) => idle,
                // The engine went away; it, or its successor, comes again.
                Err(_) => {
                    self.peer = None;
                    idle
                }
            },
            Err(reason) => Err(self.broken(reason)),
        }
    }

    fn counts(&self) -> Vec<TypeCount> {
        let messages = self.position - self.resumed_at;
        crate::source::published(&["event"], &[(messages, self.resumed_at)])
    }

    fn acknowledge(&mut self, position: u64) {
        self.committed = position;
    }
}
