//! One service as a client sees it: login, requests, and the answers as events. No I/O and no clock: the shell (or a
//! simulator) moves the bytes and passes the time, in nanoseconds of any clock that only grows.
//!
//! What the service sends is checked like what comes from a line: every packet's checksum and content. A packet that
//! fails is reported and left out; a stream that does not hold together ends the connection.

use super::ClientError;
use super::event::{ClientConfig, ClientEvent, CloseReason, RequestError};
use super::snapshot::Incoming;
use crate::buffer::{FrameBuffer, Outbox};
use crate::{MAX_NAME_LEN, MAX_TOKEN_LEN, Range, nanos};
use twinline_wire::field::{CompleteStatus, LogoutReason};
use twinline_wire::header::{PacketHeader, align_up, flags};
use twinline_wire::recovery::{
    Data, Login, LoginAccepted, Logout, PROTOCOL_VERSION, RangesRequest, Reject, RequestComplete,
    SnapshotPart, SnapshotRequest, StreamHeartbeat,
};
use twinline_wire::stream::{GroupHeader, STREAM_HEADER_LEN, StreamError, StreamFrame};
use twinline_wire::{Message, Packet, PacketError, View};

/// Bytes of the buffer for what is to be sent: the login, and requests that the socket did not take yet.
const OUTBOX_LEN: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Disconnected,
    LoggingIn,
    Ready,
}

/// The state machine of one service's client. Memory: two fixed buffers.
pub struct ClientSession {
    input: FrameBuffer,
    pub(super) dialogue: Dialogue,
}

/// Everything but the input buffer, so that a frame in it can be handled while it is borrowed.
pub(super) struct Dialogue {
    config: ClientConfig,
    pub(super) state: State,
    pub(super) outbox: Outbox,
    pub(super) open: Vec<u32>,
    /// The tail's number, if one is open.
    pub(super) tail: Option<u32>,
    snapshot: Option<Incoming>,
    max_ranges: usize,
    max_requests: usize,
    last_received: u64,
    pub(super) last_sent: u64,
}

impl ClientSession {
    /// A session that is not connected yet.
    ///
    /// # Errors
    /// If the name or the token is longer than the protocol allows.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        if config.name.len() > MAX_NAME_LEN {
            return Err(ClientError::NameTooLong(config.name.len()));
        }
        if config.token.len() > MAX_TOKEN_LEN {
            return Err(ClientError::TokenTooLong(config.token.len()));
        }
        Ok(Self {
            input: FrameBuffer::new(config.max_frame),
            dialogue: Dialogue {
                config,
                state: State::Disconnected,
                outbox: Outbox::new(OUTBOX_LEN),
                open: Vec::new(),
                tail: None,
                snapshot: None,
                max_ranges: 0,
                max_requests: 0,
                last_received: 0,
                last_sent: 0,
            },
        })
    }

    /// A connection stands: logs in.
    pub fn on_connected(&mut self, now: u64) {
        self.input.clear();
        self.dialogue.connected(now);
    }

    /// The connection is lost, or could not be made: tells so once, unless that was told before.
    pub fn on_disconnected(&mut self, on_event: &mut impl FnMut(ClientEvent<'_>)) {
        if self.dialogue.state != State::Disconnected {
            self.dialogue.close(CloseReason::Disconnected, on_event);
        }
    }

    /// Bytes came. After a [`ClientEvent::Closed`] the rest of them is dropped.
    pub fn on_bytes(&mut self, mut bytes: &[u8], now: u64, on_event: &mut impl FnMut(ClientEvent<'_>)) {
        while !bytes.is_empty() && self.is_connected() {
            let taken = self.input.take_from(bytes);
            bytes = &bytes[taken..];
            self.handle_input(now, on_event);
        }
    }

    /// Where a socket may read into, in place of [`on_bytes`](Self::on_bytes); never empty.
    pub(crate) fn input_room(&mut self) -> &mut [u8] {
        self.input.room()
    }

    /// `count` bytes were read into [`input_room`](Self::input_room).
    pub(crate) fn on_read(&mut self, count: usize, now: u64, on_event: &mut impl FnMut(ClientEvent<'_>)) {
        self.input.filled(count);
        self.handle_input(now, on_event);
    }

    fn handle_input(&mut self, now: u64, on_event: &mut impl FnMut(ClientEvent<'_>)) {
        self.dialogue.last_received = now;
        while self.dialogue.state != State::Disconnected {
            let handled = match self.input.next_frame() {
                Ok(None) => return,
                Ok(Some(frame)) => self.dialogue.handle(frame, on_event),
                Err(error) => Err(error),
            };
            if let Err(error) = handled {
                self.dialogue.close(CloseReason::Protocol(error), on_event);
            }
        }
    }

    /// Asks for ranges of a session. `request_id` is any number but 0 that is not open.
    ///
    /// # Errors
    /// Why it was not sent. Nothing is changed then.
    pub fn request(
        &mut self,
        request_id: u32,
        session: u32,
        ranges: &[Range],
        now: u64,
    ) -> Result<(), RequestError> {
        self.dialogue.request(request_id, session, ranges, now)
    }

    /// Asks for a snapshot of a session that holds all valid messages below at least this sequence (0: the newest).
    /// `request_id` is any number but 0 that is not open. One at a time.
    ///
    /// # Errors
    /// Why it was not sent. Nothing is changed then.
    pub fn request_snapshot(
        &mut self,
        request_id: u32,
        session: u32,
        at_least: u64,
        now: u64,
    ) -> Result<(), RequestError> {
        self.dialogue.request_snapshot(request_id, session, at_least, now)
    }

    /// Says goodbye: the shell closes when [`output`](Self::output) is sent. Nothing more is told.
    pub fn log_out(&mut self) {
        let logout = Logout {
            reason: LogoutReason::DONE,
        };
        if self.is_connected() {
            self.dialogue.outbox.put(&logout, &[b""]);
            self.dialogue.state = State::Disconnected;
        }
    }

    /// Time passes: heartbeats, and the end of patience.
    pub fn on_time(&mut self, now: u64, on_event: &mut impl FnMut(ClientEvent<'_>)) {
        self.dialogue.on_time(now, on_event);
    }

    /// When [`on_time`](Self::on_time) has something to do; `u64::MAX` while not connected.
    pub fn deadline(&self) -> u64 {
        self.dialogue.deadline()
    }

    /// The bytes to be sent next.
    pub fn output(&self) -> &[u8] {
        self.dialogue.outbox.pending()
    }

    /// The first `count` bytes of [`output`](Self::output) were sent.
    pub fn consumed(&mut self, count: usize) {
        self.dialogue.outbox.consumed(count);
    }

    /// True from [`on_connected`](Self::on_connected) until the connection is over.
    pub fn is_connected(&self) -> bool {
        self.dialogue.state != State::Disconnected
    }

    /// True while requests can be made.
    pub fn is_ready(&self) -> bool {
        self.dialogue.state == State::Ready
    }

    /// Bytes of memory that it holds; a constant.
    pub fn memory(&self) -> usize {
        self.input.capacity() + self.dialogue.outbox.capacity()
    }

    /// The numbers of the requests that are not complete.
    pub fn open_requests(&self) -> &[u32] {
        &self.dialogue.open
    }
}

impl Dialogue {
    fn connected(&mut self, now: u64) {
        let login = Login {
            protocol_version: PROTOCOL_VERSION.into(),
            channel: self.config.channel.into(),
        };
        self.outbox.clear();
        self.open.clear();
        self.tail = None;
        self.snapshot = None;
        let put = self.outbox.put(
            &login,
            &[self.config.name.as_bytes(), self.config.token.as_bytes()],
        );
        debug_assert!(put, "name and token were checked to fit");
        self.state = State::LoggingIn;
        (self.last_received, self.last_sent) = (now, now);
    }

    fn close(&mut self, reason: CloseReason<'_>, on_event: &mut impl FnMut(ClientEvent<'_>)) {
        self.state = State::Disconnected;
        self.open.clear();
        self.tail = None;
        self.snapshot = None;
        self.outbox.clear();
        on_event(ClientEvent::Closed { reason });
    }

    fn request(
        &mut self,
        request_id: u32,
        session: u32,
        ranges: &[Range],
        now: u64,
    ) -> Result<(), RequestError> {
        if self.state != State::Ready {
            return Err(RequestError::NotReady);
        }
        if request_id == 0 || ranges.is_empty() || self.is_open(request_id) {
            return Err(RequestError::Invalid(request_id));
        }
        if ranges.len() > self.max_ranges {
            return Err(RequestError::TooManyRanges {
                asked: ranges.len(),
                allowed: self.max_ranges,
            });
        }
        let request = RangesRequest {
            request_id: request_id.into(),
            session: session.into(),
        };
        if self.open.len() >= self.max_requests || !self.outbox.put_ranges(&request, ranges) {
            return Err(RequestError::Busy(self.open.len()));
        }
        self.open.push(request_id);
        self.last_sent = now;
        Ok(())
    }

    /// True if the service may answer a request of this number.
    pub(super) fn is_open(&self, request_id: u32) -> bool {
        self.tail == Some(request_id) || self.open.contains(&request_id)
    }

    fn request_snapshot(
        &mut self,
        request_id: u32,
        session: u32,
        at_least: u64,
        now: u64,
    ) -> Result<(), RequestError> {
        if self.state != State::Ready {
            return Err(RequestError::NotReady);
        }
        if request_id == 0 || session == 0 || self.is_open(request_id) {
            return Err(RequestError::Invalid(request_id));
        }
        let request = SnapshotRequest {
            request_id: request_id.into(),
            session: session.into(),
            at_least: at_least.into(),
        };
        let free = self.snapshot.is_none() && self.open.len() < self.max_requests;
        if !free || !self.outbox.put(&request, &[]) {
            return Err(RequestError::Busy(self.open.len()));
        }
        self.open.push(request_id);
        self.snapshot = Some(Incoming::new(request_id, session, at_least));
        self.last_sent = now;
        Ok(())
    }

    fn on_time(&mut self, now: u64, on_event: &mut impl FnMut(ClientEvent<'_>)) {
        if self.state == State::Disconnected {
            return;
        }
        if now.saturating_sub(self.last_received) >= nanos(self.config.silence) {
            self.close(CloseReason::Silent, on_event);
            return;
        }
        if self.state == State::Ready && now.saturating_sub(self.last_sent) >= nanos(self.config.heartbeat) {
            let heartbeat = StreamHeartbeat {
                session: 0.into(),
                epoch: 0.into(),
                epoch_base: 0.into(),
                next: 0.into(),
            };
            // Without room there are bytes on their way that do the same.
            self.outbox.put(&heartbeat, &[]);
            self.last_sent = now;
        }
    }

    fn deadline(&self) -> u64 {
        let silent = self.last_received.saturating_add(nanos(self.config.silence));
        match self.state {
            State::Disconnected => u64::MAX,
            State::LoggingIn => silent,
            State::Ready => silent.min(self.last_sent.saturating_add(nanos(self.config.heartbeat))),
        }
    }

    /// One frame of the service.
    fn handle(
        &mut self,
        frame: StreamFrame<'_>,
        on_event: &mut impl FnMut(ClientEvent<'_>),
    ) -> Result<(), StreamError> {
        match frame.template() {
            Data::TEMPLATE => self.handle_data(frame, on_event)?,
            SnapshotPart::TEMPLATE => self.handle_part(frame, on_event)?,
            Reject::TEMPLATE => self.handle_reject(frame, on_event)?,
            RequestComplete::TEMPLATE => self.handle_complete(frame, on_event)?,
            StreamHeartbeat::TEMPLATE => {
                let heartbeat = expect::<StreamHeartbeat>(&frame)?;
                on_event(ClientEvent::Heartbeat {
                    session: heartbeat.session.get(),
                    epoch: heartbeat.epoch.get(),
                    epoch_base: heartbeat.epoch_base.get(),
                    next: heartbeat.next.get(),
                });
            }
            LoginAccepted::TEMPLATE => self.handle_accepted(frame, on_event)?,
            Logout::TEMPLATE => {
                let reason = expect::<Logout>(&frame)?.reason;
                let text = words(frame.data().take()?);
                self.close(CloseReason::Logout { reason, text }, on_event);
            }
            // A newer service may say more than this build knows.
            _ => {}
        }
        Ok(())
    }

    fn handle_accepted(
        &mut self,
        frame: StreamFrame<'_>,
        on_event: &mut impl FnMut(ClientEvent<'_>),
    ) -> Result<(), StreamError> {
        if self.state != State::LoggingIn {
            return Err(StreamError("a login was accepted that nobody sent"));
        }
        let accepted = expect::<LoginAccepted>(&frame)?;
        let fits = (OUTBOX_LEN - STREAM_HEADER_LEN - size_of::<RangesRequest>() - size_of::<GroupHeader>())
            / size_of::<Range>();
        self.max_ranges = usize::from(accepted.max_ranges.get()).min(fits);
        self.max_requests = usize::from(accepted.max_requests.get());
        self.state = State::Ready;
        on_event(ClientEvent::Accepted {
            session: accepted.session.get(),
            epoch: accepted.epoch.get(),
            epoch_base: accepted.epoch_base.get(),
            oldest: accepted.oldest.get(),
            next: accepted.next.get(),
            max_ranges: self.max_ranges,
            max_requests: self.max_requests,
        });
        Ok(())
    }

    fn handle_reject(
        &mut self,
        frame: StreamFrame<'_>,
        on_event: &mut impl FnMut(ClientEvent<'_>),
    ) -> Result<(), StreamError> {
        let reject = expect::<Reject>(&frame)?;
        let request_id = reject.request_id.get();
        if request_id != 0 && !self.is_open(request_id) {
            return Err(StreamError("an answer to a request that is not open"));
        }
        on_event(ClientEvent::Reject {
            request_id,
            session: reject.session.get(),
            begin: reject.begin.get(),
            end: reject.end.get(),
            code: reject.code,
            retry_after_ms: reject.retry_after_ms.get(),
            next_session: reject.next_session.get().map(|session| session.get()),
            reason: words(frame.data().take()?),
        });
        Ok(())
    }

    fn handle_complete(
        &mut self,
        frame: StreamFrame<'_>,
        on_event: &mut impl FnMut(ClientEvent<'_>),
    ) -> Result<(), StreamError> {
        let complete = expect::<RequestComplete>(&frame)?;
        let request_id = complete.request_id.get();
        if self.tail == Some(request_id) {
            if complete.status == CompleteStatus::CAUGHT_UP {
                on_event(ClientEvent::CaughtUp { request_id });
                return Ok(());
            }
            self.tail = None;
        } else if let Some(at) = self.open.iter().position(|&open| open == request_id) {
            self.open.swap_remove(at);
        } else {
            return Err(StreamError("an answer to a request that is not open"));
        }
        if let Some(snapshot) = self
            .snapshot
            .take_if(|snapshot| snapshot.request_id == request_id)
            && !snapshot.may_complete()
        {
            return Err(StreamError("a snapshot that ends before its end"));
        }
        on_event(ClientEvent::Complete {
            request_id,
            status: complete.status,
        });
        Ok(())
    }

    fn handle_part(
        &mut self,
        frame: StreamFrame<'_>,
        on_event: &mut impl FnMut(ClientEvent<'_>),
    ) -> Result<(), StreamError> {
        let part = expect::<SnapshotPart>(&frame)?;
        let bytes = frame.data().take()?;
        let request_id = part.request_id.get();
        let asked = self.snapshot.as_mut();
        let Some(snapshot) = asked.filter(|snapshot| snapshot.request_id == request_id) else {
            return Err(StreamError("an answer to a request that is not open"));
        };
        snapshot.take(&part, bytes.len() as u64, self.config.max_snapshot)?;
        on_event(ClientEvent::SnapshotPart {
            request_id,
            session: part.session.get(),
            epoch: part.epoch.get(),
            sequence: part.sequence.get(),
            total: part.total_length.get(),
            offset: part.offset.get(),
            bytes,
        });
        Ok(())
    }

    /// The packets of a data frame, each at a multiple of 64 bytes.
    fn handle_data(
        &mut self,
        frame: StreamFrame<'_>,
        on_event: &mut impl FnMut(ClientEvent<'_>),
    ) -> Result<(), StreamError> {
        let request_id = expect::<Data>(&frame)?.request_id.get();
        if !self.is_open(request_id) {
            return Err(StreamError("an answer to a request that is not open"));
        }
        let mut rest = frame.data().take()?;
        while !rest.is_empty() {
            let length = match check(rest) {
                Ok(packet) => {
                    on_event(ClientEvent::Packet { request_id, packet });
                    packet.bytes().len()
                }
                Err(error) => {
                    on_event(ClientEvent::BadPacket { request_id, error });
                    // Its length may still be right, and then so is what follows it.
                    Packet::trusted_prefix(rest).map_or(rest.len(), |packet| packet.bytes().len())
                }
            };
            rest = rest.get(align_up(length)..).unwrap_or_default();
        }
        Ok(())
    }
}

/// The packet at the start of `bytes`, if it is good and one that a service may send: with messages, of a publisher.
fn check(bytes: &[u8]) -> Result<Packet<'_>, PacketError> {
    let packet = Packet::parse_prefix(bytes)?;
    let PacketHeader { flags, count, .. } = packet.header();
    if count.get() == 0 || flags & (flags::LOCAL | flags::SEGMENT_END) != 0 {
        return Err(PacketError::Malformed);
    }
    Ok(packet)
}

/// The block of a frame as an `M`, which its template says it is.
fn expect<'a, M: Message>(frame: &StreamFrame<'a>) -> Result<View<'a, M>, StreamError> {
    frame
        .view::<M>()
        .ok_or(StreamError("not the message it was taken for"))
}

/// Text for people: as far as it is UTF-8.
fn words(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}
