//! The sockets and the clock around [`ClientSession`]: one kept connection to each of several services, made again
//! when it is lost. It decides nothing: which service is asked for what is up to the caller.

use super::event::{ClientConfig, ClientEvent, CloseReason, RequestError};
use super::session::ClientSession;
use crate::{MAX_NAME_LEN, MAX_TOKEN_LEN, Mark, Range, nanos};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use twinline_wire::field::TailKind;

/// The wait before a lost connection is made again; doubled at each failure in a row.
const BACK_OFF: Duration = Duration::from_millis(50);
/// The longest wait before a connection is tried again.
const BACK_OFF_LIMIT: Duration = Duration::from_secs(2);
/// An attempt to connect is given up after this.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// Bytes read from one service before another has its turn.
const TURN: usize = 4 << 20;
/// The waker's token; services have theirs from 0.
const WAKER: Token = Token(usize::MAX);

/// Why a client could not be made, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The name is too long.
    #[error("the client's name has {0} bytes, at most {MAX_NAME_LEN} are allowed: choose a shorter one")]
    NameTooLong(usize),
    /// The token is too long.
    #[error("the token has {0} bytes, at most {MAX_TOKEN_LEN} are allowed")]
    TokenTooLong(usize),
    /// The operating system does not let us wait for sockets.
    #[error("cannot wait for sockets of recovery services: {0}")]
    Poll(#[from] io::Error),
}

/// Why [`RecoveryClient::submit`] did not send a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// There is no service of this index.
    #[error("there is no recovery service {0}")]
    NoEndpoint(usize),
    /// The session with that service does not take it.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// Connections to recovery services, kept open. One thread owns it and calls [`poll`](Self::poll) over and over.
pub struct RecoveryClient {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    start: Instant,
    endpoints: Vec<Endpoint>,
}

/// One service.
struct Endpoint {
    address: SocketAddr,
    session: ClientSession,
    link: Link,
    back_off: Duration,
    /// There may be bytes to read.
    readable: bool,
}

enum Link {
    /// Not connected; tried again at this time.
    Down { retry_at: u64 },
    /// Being connected; given up at this time.
    Connecting { stream: TcpStream, give_up_at: u64 },
    /// Connected.
    Up(TcpStream),
}

impl RecoveryClient {
    /// A client of the services at these addresses. The first [`poll`](Self::poll) begins to connect.
    ///
    /// # Errors
    /// If name or token are too long, or the system has no more file descriptors.
    pub fn new(config: &ClientConfig, addresses: &[SocketAddr]) -> Result<Self, ClientError> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let endpoints = addresses
            .iter()
            .map(|&address| {
                Ok(Endpoint {
                    address,
                    session: ClientSession::new(config.clone())?,
                    link: Link::Down { retry_at: 0 },
                    back_off: BACK_OFF,
                    readable: false,
                })
            })
            .collect::<Result<_, ClientError>>()?;
        Ok(Self {
            poll,
            events: Events::with_capacity(64),
            waker,
            start: Instant::now(),
            endpoints,
        })
    }

    /// Ends a [`poll`](Self::poll) that waits, from any thread: for the thread that finds the gaps.
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// True while requests can be made to this service.
    pub fn is_ready(&self, endpoint: usize) -> bool {
        self.endpoints
            .get(endpoint)
            .is_some_and(|endpoint| endpoint.session.is_ready())
    }

    /// Asks a service for ranges of a session; sent at once. `request_id` is any number but 0 that is not open there.
    ///
    /// # Errors
    /// Why it was not sent.
    pub fn submit(
        &mut self,
        endpoint: usize,
        request_id: u32,
        session: u32,
        ranges: &[Range],
    ) -> Result<(), SubmitError> {
        let now = self.now();
        let endpoint = self.endpoint(endpoint)?;
        endpoint.session.request(request_id, session, ranges, now)?;
        // A connection that fails here is found lost by the next poll.
        let _ = endpoint.write();
        Ok(())
    }

    /// Asks a service for everything from a place on, for ever; sent at once. See [`ClientSession::tail`].
    ///
    /// # Errors
    /// Why it was not sent.
    pub fn tail(
        &mut self,
        endpoint: usize,
        request_id: u32,
        from: Mark,
        kind: TailKind,
    ) -> Result<(), SubmitError> {
        let now = self.now();
        let endpoint = self.endpoint(endpoint)?;
        endpoint.session.tail(request_id, from, kind, now)?;
        // A connection that fails here is found lost by the next poll.
        let _ = endpoint.write();
        Ok(())
    }

    /// Tells a service what a replica holds durably. See [`ClientSession::acknowledge`].
    ///
    /// # Errors
    /// Why it was not sent.
    pub fn acknowledge(&mut self, endpoint: usize, held: Mark, epoch: u32) -> Result<(), SubmitError> {
        let now = self.now();
        let endpoint = self.endpoint(endpoint)?;
        endpoint.session.acknowledge(held, epoch, now)?;
        let _ = endpoint.write();
        Ok(())
    }

    /// Asks a service for a snapshot; see [`ClientSession::request_snapshot`].
    ///
    /// # Errors
    /// Why it was not sent.
    pub fn request_snapshot(
        &mut self,
        endpoint: usize,
        request_id: u32,
        session: u32,
        at_least: u64,
    ) -> Result<(), SubmitError> {
        let now = self.now();
        let endpoint = self.endpoint(endpoint)?;
        endpoint
            .session
            .request_snapshot(request_id, session, at_least, now)?;
        let _ = endpoint.write();
        Ok(())
    }

    /// Ends the connection to a service, with all that is open on it. It is made again after a while.
    pub fn leave(&mut self, endpoint: usize) {
        let now = self.now();
        if let Some(endpoint) = self.endpoints.get_mut(endpoint)
            && matches!(endpoint.link, Link::Up(_))
        {
            endpoint.session.log_out();
            // It is over anyway.
            let _ = endpoint.write();
            endpoint.down(now);
        }
    }

    fn endpoint(&mut self, endpoint: usize) -> Result<&mut Endpoint, SubmitError> {
        self.endpoints
            .get_mut(endpoint)
            .ok_or(SubmitError::NoEndpoint(endpoint))
    }

    /// Waits up to `timeout` for something to happen, and tells what did, with the index of the service.
    ///
    /// # Errors
    /// If the operating system does not let us wait. Failures of services are events.
    pub fn poll(
        &mut self,
        timeout: Duration,
        on_event: &mut impl FnMut(usize, ClientEvent<'_>),
    ) -> Result<(), ClientError> {
        let patience = self.patience(timeout);
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let now = self.now();
        for event in &self.events {
            if let Some(endpoint) = self.endpoints.get_mut(event.token().0) {
                endpoint.readable = true;
            }
        }
        for (index, endpoint) in self.endpoints.iter_mut().enumerate() {
            endpoint.turn(Token(index), &self.poll, now, &mut |event| on_event(index, event));
        }
        Ok(())
    }

    /// Closes all connections in order: what is queued is sent as far as the sockets take it at once.
    pub fn close(mut self) {
        for endpoint in &mut self.endpoints {
            endpoint.session.log_out();
            // It is over anyway.
            let _ = endpoint.write();
            if let Link::Up(stream) = &endpoint.link {
                let _ = stream.shutdown(Shutdown::Write);
            }
        }
    }

    /// How long to wait for sockets, so that nothing due is late.
    fn patience(&self, timeout: Duration) -> Duration {
        let now = self.now();
        let due = self.endpoints.iter().map(|endpoint| match &endpoint.link {
            _ if endpoint.readable => now,
            Link::Down { retry_at } => *retry_at,
            Link::Connecting { give_up_at, .. } => *give_up_at,
            Link::Up(_) => endpoint.session.deadline(),
        });
        due.min().map_or(timeout, |at| {
            timeout.min(Duration::from_nanos(at.saturating_sub(now)))
        })
    }

    fn now(&self) -> u64 {
        nanos(self.start.elapsed())
    }
}

impl Endpoint {
    /// Everything that can be done now without waiting.
    fn turn(&mut self, token: Token, poll: &Poll, now: u64, on_event: &mut impl FnMut(ClientEvent<'_>)) {
        match &self.link {
            Link::Down { retry_at } if *retry_at <= now => self.connect(token, poll, now, on_event),
            Link::Down { .. } => {}
            Link::Connecting { .. } => self.finish_connecting(now, on_event),
            Link::Up(_) => {}
        }
        if !matches!(self.link, Link::Up(_)) {
            self.readable = false;
            return;
        }
        let accepted_before = self.session.is_ready();
        let alive = self.read(now, on_event);
        self.session.on_time(now, on_event);
        if self.session.is_ready() && !accepted_before {
            self.back_off = BACK_OFF;
        }
        if alive.and_then(|()| self.write()).is_err() || !self.session.is_connected() {
            self.session.on_disconnected(on_event);
            self.down(now);
        }
    }

    fn connect(&mut self, token: Token, poll: &Poll, now: u64, on_event: &mut impl FnMut(ClientEvent<'_>)) {
        let connected = TcpStream::connect(self.address).and_then(|mut stream| {
            poll.registry()
                .register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => {
                self.link = Link::Connecting {
                    stream,
                    give_up_at: now + nanos(CONNECT_PATIENCE),
                };
            }
            Err(_) => self.unreachable(now, on_event),
        }
    }

    fn finish_connecting(&mut self, now: u64, on_event: &mut impl FnMut(ClientEvent<'_>)) {
        let Link::Connecting { stream, give_up_at } = &self.link else {
            return;
        };
        let failed = !matches!(stream.take_error(), Ok(None));
        match stream.peer_addr() {
            Ok(_) if !failed => {
                // Requests are small and wait for nothing.
                let _ = stream.set_nodelay(true);
                self.session.on_connected(now);
                let down = Link::Down { retry_at: 0 };
                if let Link::Connecting { stream, .. } = std::mem::replace(&mut self.link, down) {
                    self.link = Link::Up(stream);
                }
                self.readable = true;
            }
            Err(error) if error.kind() == ErrorKind::NotConnected && !failed && now < *give_up_at => {}
            _ => self.unreachable(now, on_event),
        }
    }

    fn unreachable(&mut self, now: u64, on_event: &mut impl FnMut(ClientEvent<'_>)) {
        self.down(now);
        on_event(ClientEvent::Closed {
            reason: CloseReason::Unreachable,
        });
    }

    /// Drops the connection (which also takes its socket out of the poll) and waits before the next.
    fn down(&mut self, now: u64) {
        self.link = Link::Down {
            retry_at: now + nanos(self.back_off),
        };
        self.back_off = (self.back_off * 2).min(BACK_OFF_LIMIT);
        self.readable = false;
    }

    /// Reads what there is, up to a turn's share. An error means that the connection is lost.
    fn read(&mut self, now: u64, on_event: &mut impl FnMut(ClientEvent<'_>)) -> io::Result<()> {
        let mut left = TURN;
        while self.readable && left > 0 && self.session.is_connected() {
            let Link::Up(stream) = &mut self.link else {
                return Ok(());
            };
            match stream.read(self.session.input_room()) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    left = left.saturating_sub(count);
                    self.session.on_read(count, now, on_event);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes what is queued, as far as the socket takes it; the poll says when it takes more.
    fn write(&mut self) -> io::Result<()> {
        let Link::Up(stream) = &mut self.link else {
            return Ok(());
        };
        while !self.session.output().is_empty() {
            match stream.write(self.session.output()) {
                Ok(count) => self.session.consumed(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
