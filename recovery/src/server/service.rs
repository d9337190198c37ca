//! The sockets and the clock around [`ServerSession`]s: one thread, non-blocking, any number of clients up to a limit,
//! each served for a turn. It may be started before the journal's directory exists, and waits for it.

use super::connection::{Connection, Turn};
use super::limits::{Limits, Quota};
use super::session::ServerSession;
use super::snapshot::{Keeper, KeeperThread, Shelf, SnapshotConfig};
use super::stats::Stats;
use super::store::{DEFAULT_TAILS, Store};
use super::tails::Tails;
use crate::{Mark, SharedMark, nanos};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use twinline_journal::{JournalError, JournalReader};
use twinline_wire::field::LogoutReason;

/// How often every client's time is looked at, and a missing journal looked for.
const TICK: Duration = Duration::from_millis(100);
/// Connections accepted before clients have their turn.
const ACCEPT_TURN: usize = 64;
/// Connections beyond the limit that are kept for a moment, to be told that there are too many.
const MAX_REFUSED: usize = 64;

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
/// The token of the first connection.
const FIRST: usize = 2;

/// What a service serves, where, and to how many.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// The journal's directory; it may not exist yet.
    pub journal: PathBuf,
    /// The channel that it is of.
    pub channel: u16,
    /// Where to listen.
    pub bind: SocketAddr,
    /// Clients connected at once.
    pub max_clients: usize,
    /// Messages a minute that all clients together are sent.
    pub messages_per_minute: Option<u32>,
    /// Tails open at once, of all clients together.
    pub max_tails: usize,
    /// While tails are open, the journal is looked at this often for what is new; in whole milliseconds, 0: all the time.
    pub tail_interval: Duration,
    /// What may be shown to all but replicas; `None`: whatever the journal holds.
    pub released: Option<Arc<SharedMark>>,
    /// What one client may cost.
    pub limits: Limits,
    /// How snapshots are made and served; `None`: not at all.
    pub snapshots: Option<SnapshotConfig>,
}

impl ServiceConfig {
    /// The defaults: 1,024 clients, 64 tails, default [`Limits`], no limit for all together, no snapshots.
    pub fn new(journal: impl Into<PathBuf>, channel: u16, bind: SocketAddr) -> Self {
        Self {
            journal: journal.into(),
            channel,
            bind,
            max_clients: 1024,
            messages_per_minute: None,
            max_tails: DEFAULT_TAILS,
            tail_interval: Duration::from_millis(1),
            released: None,
            limits: Limits::default(),
            snapshots: None,
        }
    }
}

/// Why a service cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {source}{}", advice(source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The operating system does not let us wait for sockets.
    #[error("cannot wait for the recovery service's sockets: {0}")]
    Poll(#[from] io::Error),
    /// What is in the directory cannot be served.
    #[error(transparent)]
    Journal(JournalError),
    /// The journal is another channel's.
    #[error("the journal in {} is of channel {found}, not {asked}: name the right directory or channel", journal.display())]
    Channel {
        /// The journal's directory.
        journal: PathBuf,
        /// Its channel.
        found: u16,
        /// The channel that was to be served.
        asked: u16,
    },
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => "; stop the program that has the port, or choose another port",
        ErrorKind::AddrNotAvailable => "; choose an address of this machine",
        ErrorKind::PermissionDenied => "; choose a port above 1023",
        _ => "",
    }
}

/// Ends [`Service::run`] from another thread.
#[derive(Clone, Debug)]
pub struct StopHandle {
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl StopHandle {
    /// Asks the service to say goodbye to its clients and return.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        // Were it to fail, the service would still see the flag at its next tick.
        let _ = self.waker.wake();
    }
}

/// The recovery service of one channel.
pub struct Service {
    config: ServiceConfig,
    address: SocketAddr,
    poll: Poll,
    listener: TcpListener,
    stop: StopHandle,
    stats: Arc<Stats>,
    start: Instant,
    store: Store,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    refused: usize,
    clients: usize,
    /// Connections that wait for a turn.
    queue: VecDeque<usize>,
    /// Connections may wait to be accepted; not looked at before this time.
    accept_at: Option<u64>,
    tick_at: u64,
    /// Tails are open, and have their turn at this time.
    tails_at: Option<u64>,
    /// Keeps the books while it is there.
    _books: Option<KeeperThread>,
}

impl Service {
    /// Listens, and opens the journal if it is there. Clients are served by [`run`](Self::run).
    ///
    /// # Errors
    /// If the address cannot be listened at, or what is in the directory is not a journal of the channel.
    pub fn bind(config: ServiceConfig) -> Result<Self, ServiceError> {
        let bind_error = |source| ServiceError::Bind {
            address: config.bind,
            source,
        };
        let mut listener = TcpListener::bind(config.bind).map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let stop = StopHandle {
            stop: Arc::default(),
            waker: Arc::new(Waker::new(poll.registry(), WAKER)?),
        };
        let mut store = Store::new(None, Quota::new(config.messages_per_minute, 0));
        store.tails = Tails::new(config.max_tails);
        store.released = config.released.as_ref().map(|mark| mark.get());
        let mut service = Self {
            config,
            address,
            poll,
            listener,
            stop,
            stats: Arc::default(),
            start: Instant::now(),
            store,
            connections: Vec::new(),
            free: Vec::new(),
            refused: 0,
            clients: 0,
            queue: VecDeque::new(),
            accept_at: None,
            tick_at: 0,
            tails_at: None,
            _books: None,
        };
        service.keep_books()?;
        match service.open_journal() {
            Ok(()) | Err(ServiceError::Journal(JournalError::Missing(_))) => Ok(service),
            Err(error) => Err(error),
        }
    }

    /// Where it listens: the port that was given, if port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The tails that clients have open, for any thread.
    pub fn tails(&self) -> Arc<Tails> {
        Arc::clone(&self.store.tails)
    }

    /// The counters, for any thread.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Starts the books' thread, if snapshots are served.
    fn keep_books(&mut self) -> Result<(), ServiceError> {
        let Some(config) = &self.config.snapshots else {
            return Ok(());
        };
        let shelf = Shelf::new(config);
        let config = SnapshotConfig {
            released: self.config.released.clone(),
            ..config.clone()
        };
        let keeper = Keeper::new(config, self.config.channel, Arc::clone(&shelf));
        let (journal, waker) = (self.config.journal.clone(), Arc::clone(&self.stop.waker));
        self._books = Some(KeeperThread::start(keeper, journal, waker)?);
        self.store.snapshots = Some(shelf);
        Ok(())
    }

    /// The snapshots and their counters, if they are served.
    pub fn snapshots(&self) -> Option<Arc<Shelf>> {
        self.store.snapshots.clone()
    }

    /// What ends [`run`](Self::run), for any thread.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Serves until it is stopped.
    ///
    /// # Errors
    /// If the operating system does not let us wait, or the journal that appears is another channel's. Failures of
    /// clients and of reading the journal are counted, and it goes on.
    pub fn run(mut self) -> Result<(), ServiceError> {
        let mut events = Events::with_capacity(256);
        while !self.stop.stop.load(Ordering::Acquire) {
            let wait = if self.queue.is_empty() {
                let due = self.tails_at.unwrap_or(u64::MAX).min(self.tick_at);
                Duration::from_nanos(due.saturating_sub(self.now()))
            } else {
                Duration::ZERO
            };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept_at = Some(0),
                    WAKER => self.wake_for_snapshot(),
                    Token(token) => {
                        let readable = event.is_readable() || event.is_read_closed() || event.is_error();
                        self.wake(token - FIRST, readable, event.is_writable());
                    }
                }
            }
            self.stats.turns.fetch_add(1, Ordering::Relaxed);
            let now = self.now();
            self.accept(now);
            if now >= self.tick_at {
                self.tick(now)?;
            }
            self.store.released = self.config.released.as_ref().map(|mark| mark.get());
            self.follow(now);
            for _ in 0..self.queue.len() {
                if let Some(index) = self.queue.pop_front() {
                    self.turn(index, now);
                }
            }
            if let Some(error) = self.store.take_error() {
                self.stats.journal_failed(&error);
            }
        }
        let now = self.now();
        for connection in self.connections.iter_mut().flatten() {
            connection.stop(now);
        }
        Ok(())
    }

    fn now(&self) -> u64 {
        nanos(self.start.elapsed())
    }

    /// Gives each tail a turn when it is time to look for what is new.
    fn follow(&mut self, now: u64) {
        if self.store.tails.is_empty() {
            self.tails_at = None;
            return;
        }
        if self.tails_at.is_some_and(|at| now < at) {
            return;
        }
        let due = self.tails_at.is_some();
        for index in (0..self.connections.len()).filter(|_| due) {
            if let Some(connection) = &self.connections[index]
                && connection.session.is_following()
            {
                self.wake(index, false, false);
            }
        }
        self.tails_at = Some(now + nanos(self.config.tail_interval));
    }

    fn tick(&mut self, now: u64) -> Result<(), ServiceError> {
        self.tick_at = now + nanos(TICK);
        if self.store.journal.is_none() {
            match self.open_journal() {
                Err(ServiceError::Journal(error)) => self.stats.journal_failed(&error),
                result => {
                    result?;
                    self.stats.journal_found();
                }
            }
        }
        self.store.keep_up();
        self.stats.set_head(Mark::from(self.store.head()));
        for index in 0..self.connections.len() {
            self.wake(index, false, false);
        }
        Ok(())
    }

    fn open_journal(&mut self) -> Result<(), ServiceError> {
        let journal = JournalReader::open(&self.config.journal).map_err(ServiceError::Journal)?;
        if journal.channel() != self.config.channel {
            return Err(ServiceError::Channel {
                journal: self.config.journal.clone(),
                found: journal.channel(),
                asked: self.config.channel,
            });
        }
        self.store.journal = Some(journal);
        Ok(())
    }

    /// A snapshot was made: those that wait for one have their turn.
    fn wake_for_snapshot(&mut self) {
        for index in 0..self.connections.len() {
            let waits = |connection: &Connection| connection.session.has_snapshot();
            if self.connections[index].as_ref().is_some_and(waits) {
                self.wake(index, false, false);
            }
        }
    }

    /// Puts a connection into the queue for a turn.
    fn wake(&mut self, index: usize, readable: bool, writable: bool) {
        let Some(Some(connection)) = self.connections.get_mut(index) else {
            return;
        };
        connection.readable |= readable;
        connection.writable |= writable;
        if !connection.queued {
            connection.queued = true;
            self.queue.push_back(index);
        }
    }

    fn turn(&mut self, index: usize, now: u64) {
        let Some(Some(connection)) = self.connections.get_mut(index) else {
            return;
        };
        connection.queued = false;
        let turn = connection.turn(now, &mut self.store);
        self.stats.add(&connection.session.take_counters());
        match turn {
            Turn::Wait => {}
            Turn::Again => self.wake(index, false, false),
            Turn::Close => self.close(index),
        }
    }

    fn close(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::take) else {
            return;
        };
        if connection.refused {
            self.refused -= 1;
        } else {
            self.clients -= 1;
            self.stats.clients.store(self.clients as u64, Ordering::Relaxed);
        }
        self.free.push(index);
    }

    /// Accepts what waits, up to a turn's share.
    fn accept(&mut self, now: u64) {
        if self.accept_at.is_none_or(|at| now < at) {
            return;
        }
        for _ in 0..ACCEPT_TURN {
            match self.listener.accept() {
                Ok((stream, _)) => self.add(stream, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.accept_at = None;
                    return;
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted | ErrorKind::Interrupted
                    ) => {}
                Err(_) => {
                    // No file descriptors or no memory: those who wait may get some when others leave.
                    self.stats.accept_errors.fetch_add(1, Ordering::Relaxed);
                    self.accept_at = Some(now + nanos(TICK));
                    return;
                }
            }
        }
    }

    fn add(&mut self, mut stream: TcpStream, now: u64) {
        self.stats.connections.fetch_add(1, Ordering::Relaxed);
        let full = self.clients >= self.config.max_clients;
        if full {
            self.stats.refused.fetch_add(1, Ordering::Relaxed);
            if self.refused >= MAX_REFUSED {
                return;
            }
        }
        // Answers are written whole; nothing is gained by waiting for more.
        let _ = stream.set_nodelay(true);
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self
            .poll
            .registry()
            .register(&mut stream, Token(FIRST + index), interest)
            .is_err()
        {
            self.stats.accept_errors.fetch_add(1, Ordering::Relaxed);
            self.free.push(index);
            return;
        }
        let session = ServerSession::new(&self.config.limits, self.config.channel, now);
        let mut connection = Connection::new(stream, session);
        if full {
            connection.session.log_out(LogoutReason::FULL, "too many clients");
            connection.refused = true;
            self.refused += 1;
        } else {
            self.clients += 1;
            self.stats.clients.store(self.clients as u64, Ordering::Relaxed);
        }
        self.connections[index] = Some(connection);
        self.wake(index, false, false);
    }
}
