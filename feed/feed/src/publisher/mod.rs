//! The publisher: source events in, packets of one ordered stream out, to the journal first and then to both lines.
//!
//! [`Publisher`] is a state machine: it owns the journal, is told the time, and sends through [`Lines`]. It stamps,
//! encodes straight into the journal's memory, commits, sends on line A, sends on line B: nothing goes out that cannot be
//! recovered. While more waits, full packets go out several in one send. Threads, clocks and sockets are in
//! [`run`](crate::run); [`open`](open()) puts it together with the epoch store.

mod checkpoint;
mod config;
mod counters;
mod event;
mod open;
mod packing;
mod reserve;
mod resume;
mod sending;
mod session;
mod single;

pub use config::{MIN_PACKET_LIMIT, OpenError, PublishError, PublisherConfig};
pub use counters::{Counter, Counters};
pub use event::Sink;
pub use open::{HeldEpoch, Opened, Place, open, open_without_thread};
pub use packing::Position;
pub use reserve::{DEFAULT_BLOCK, MIN_BLOCK, Reserve, Reserver};
pub use resume::{Resume, resume};
pub use twinline_line::{Burst, Line};

use checkpoint::{Checkpoint, Progress};
use packing::Packing;
use sending::{After, Unsent};
use std::collections::HashSet;
use std::sync::Arc;
use twinline_journal::epoch::Grant;
use twinline_journal::{JournalError, JournalWatch, JournalWriter, Tail};
use twinline_wire::Stamp;
use twinline_wire::flags;

/// How often the control thread is told what is published, in nanoseconds.
const LEAVE_EVERY: u64 = 100_000_000;

/// Instruments that a channel can name without allocating while it runs.
const INSTRUMENTS: usize = 1 << 14;

/// Where packets go after the journal: two sockets, or a simulated network.
pub trait Lines {
    /// Sends the packets of `burst` on `line`, behind everything sent on it before; returns how many of them the line took.
    /// It must not wait, but for a limit of the line's rate: what a line does not take, recovery has.
    fn send(&mut self, line: Line, burst: Burst<'_>) -> usize;
}

/// What a publisher is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Heartbeats announce the session and epoch; the first packet follows.
    LeadIn,
    /// Publishing.
    Live,
    /// The session has ended; heartbeats say so.
    Ending,
    /// The session has ended and the heartbeats are over. Nothing more is sent.
    Done,
    /// It stopped because of an error. Nothing more is sent.
    Failed,
}

/// One channel's publisher.
///
/// A venue that links us publishes in process, from its own thread:
///
/// ```
/// use std::time::{Duration, SystemTime, UNIX_EPOCH};
/// use twinline_feed::publisher::{self, Burst, Line, Lines, Opened, Phase, Place, PublisherConfig};
/// use twinline_journal::epoch::Holder;
/// use twinline_journal::{JournalConfig, Prepare, Retention, SyncPolicy};
/// use twinline_wire::field::{EventFlags, Optional, Price};
/// use twinline_wire::market::PriceTick;
///
/// # struct Nowhere;
/// # impl Lines for Nowhere {
/// #     fn send(&mut self, _: Line, burst: Burst<'_>) -> usize { burst.count() }
/// # }
/// # let lines = Nowhere; // `NetworkLines` in production
/// # let dir = tempfile::tempdir()?;
/// fn now() -> u64 {
///     SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
/// }
///
/// let place = Place {
///     journal: dir.path().join("journal"),
///     journal_config: JournalConfig {
///         channel: 1,
///         max_packet: 1408,
///         segment_size: 64 << 20,
///         sync: SyncPolicy::Every(Duration::from_millis(200)),
///         retention: Retention::default(),
///         prepare: Prepare::Thread,
///     },
///     store: dir.path().join("epochs.json"),
///     session: None, // go on with the newest one, or start the first
///     holder: Holder::this_machine()?,
///     block: publisher::DEFAULT_BLOCK,
/// };
/// let config = PublisherConfig { lead_in: Duration::ZERO, ..PublisherConfig::default() };
/// let Opened { mut publisher, reserver, .. } = publisher::open(config, &place, lines, now())?;
///
/// let mut tick = PriceTick {
///     source_time: 1.into(),
///     price: Price::new(101_250_000_000),
///     quantity: Optional::some(300),
///     instrument: 7.into(),
///     flags: EventFlags::default(),
/// };
/// publisher.publish(&tick, now())?;              // goes out at once, in a packet of its own
/// tick.price = Price::new(101_260_000_000);
/// publisher.publish_batch(&[tick; 100], now())?; // fills packets
/// publisher.tick(now())?;                        // every few milliseconds, also while idle: heartbeats
///
/// publisher.end_session(now())?;
/// assert_eq!(publisher.phase(), Phase::Ending);
/// if let Some(reserver) = reserver {
///     reserver.end_session()?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Publisher<L: Lines> {
    config: PublisherConfig,
    journal: JournalWriter,
    lines: L,
    /// Header of the next packet; its sequence is that of the open packet's first message.
    stamp: Stamp,
    phase: Phase,
    valid_end: u64,
    new_session: bool,
    /// The session before this one; 0: none is known.
    previous: u32,
    packing: Packing,
    /// What is committed and not sent yet.
    unsent: Unsent,
    /// The first error of the current event: the rest of the event is ignored.
    error: Option<PublishError>,
    reserve: Arc<Reserve>,
    /// Sequences that must be left before an event is taken: it can never run out half way.
    margin: u64,
    /// Source events in the session, those of earlier runs too.
    source_messages: u64,
    counters: Arc<Counters>,
    progress: Arc<Progress>,
    /// Instruments named on this channel.
    instruments: HashSet<u32>,
    /// Those of them that progress does not hold yet.
    named: Vec<u32>,
    /// When progress was last left for the control thread.
    left: u64,
    /// When the phase began.
    since: u64,
    /// When something was last sent; `None`: nothing yet.
    sent: Option<u64>,
}

impl<L: Lines> Publisher<L> {
    /// A publisher of the epoch that `grant` grants, on a journal that was cut to it and holds what `resume` says.
    /// `now`: nanoseconds since the Unix epoch, here and everywhere. Nothing is sent yet; [`tick`](Self::tick) does.
    ///
    /// # Errors
    /// If the configuration cannot be.
    pub fn new(
        config: PublisherConfig,
        grant: &Grant,
        journal: JournalWriter,
        resume: &Resume,
        lines: L,
        now: u64,
    ) -> Result<Self, PublishError> {
        let stamp = Stamp {
            flags: 0,
            channel: grant.channel,
            session: grant.session,
            epoch: grant.epoch,
            epoch_base: grant.base,
            sequence: grant.base,
            sending_time: now,
        };
        // Not the grant's word: an earlier epoch of the session may have ended before its first packet.
        let held = journal.tail().is_some_and(|tail| tail.session == grant.session);
        let mut publisher = Self::with(config, stamp, journal, resume, lines, now)?;
        publisher.valid_end = grant.valid_end;
        publisher.new_session = !held;
        publisher.previous = grant.previous;
        publisher.reserve.extend(grant.reserved_end);
        Ok(publisher)
    }

    /// A publisher of a session that is complete in `journal`: it only says so, in heartbeats for the linger time.
    ///
    /// # Errors
    /// If the configuration cannot be.
    pub fn ended(
        config: PublisherConfig,
        channel: u16,
        tail: &Tail,
        journal: JournalWriter,
        resume: &Resume,
        lines: L,
        now: u64,
    ) -> Result<Self, PublishError> {
        let stamp = Stamp {
            flags: flags::END_OF_SESSION,
            channel,
            session: tail.session,
            epoch: tail.epoch,
            epoch_base: tail.epoch_base,
            sequence: tail.next,
            sending_time: now,
        };
        let mut publisher = Self::with(config, stamp, journal, resume, lines, now)?;
        publisher.phase = Phase::Ending;
        Ok(publisher)
    }

    fn with(
        config: PublisherConfig,
        stamp: Stamp,
        journal: JournalWriter,
        resume: &Resume,
        lines: L,
        now: u64,
    ) -> Result<Self, PublishError> {
        let packing = Packing::new(config.packet_limit, &resume.positions);
        let mut instruments = HashSet::with_capacity(INSTRUMENTS.max(resume.instruments.len()));
        instruments.extend(&resume.instruments);
        Ok(Self {
            margin: 2 * packing.most_messages() + 2,
            reserve: Arc::new(Reserve::new(stamp.sequence, stamp.sequence)),
            packing,
            unsent: Unsent::new(&config),
            config,
            journal,
            lines,
            stamp,
            phase: Phase::LeadIn,
            valid_end: stamp.sequence,
            new_session: false,
            previous: 0,
            error: None,
            source_messages: resume.source_messages,
            counters: Arc::default(),
            progress: Arc::new(Progress::new(
                Checkpoint {
                    session: stamp.session,
                    next: stamp.sequence,
                    resume: resume.clone(),
                },
                packing::SOURCES,
                INSTRUMENTS,
            )),
            instruments,
            named: Vec::with_capacity(INSTRUMENTS),
            left: now,
            since: now,
            sent: None,
        })
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The session.
    pub fn session(&self) -> u32 {
        self.stamp.session
    }

    /// The epoch.
    pub fn epoch(&self) -> u32 {
        self.stamp.epoch
    }

    /// The sequence that the next message published gets.
    pub fn next_sequence(&self) -> u64 {
        self.stamp.sequence
    }

    /// Source messages published in the session so far, by earlier runs too.
    pub fn source_messages(&self) -> u64 {
        self.source_messages
    }

    /// How far each source is published (right after opening: where to resume it).
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        self.packing.positions()
    }

    /// How far `source` is published; 0 if nothing of it is.
    #[inline]
    pub fn position(&self, source: u16) -> u64 {
        self.packing.position(source)
    }

    /// How far `source` is in the journal; what its last events said nothing about is not counted. 0 if nothing is.
    #[inline]
    pub fn committed(&self, source: u16) -> u64 {
        self.packing.closed(source)
    }

    /// The instruments that this channel named in the session, by earlier runs too.
    pub fn instruments(&self) -> impl Iterator<Item = u32> {
        self.instruments.iter().copied()
    }

    /// The counters, to be read from any thread.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// The journal as other threads may watch it.
    pub fn watch_journal(&self) -> JournalWatch {
        self.journal.watch()
    }

    /// The reservation, for the thread that extends it.
    pub fn reserve(&self) -> Arc<Reserve> {
        Arc::clone(&self.reserve)
    }

    /// Says that sequences below `end` are durably reserved.
    pub fn extend_reservation(&self, end: u64) {
        self.reserve.extend(end);
    }

    /// The lines, to read their counters.
    pub fn lines(&self) -> &L {
        &self.lines
    }

    /// The journal, to sync it.
    pub fn journal(&mut self) -> &mut JournalWriter {
        &mut self.journal
    }

    /// Fails unless enough sequences are reserved for whatever the next source event holds.
    ///
    /// # Errors
    /// [`PublishError::OutOfReserve`] (it may succeed later), [`PublishError::Deposed`].
    #[inline]
    pub fn check_reserve(&self) -> Result<(), PublishError> {
        let used = self.stamp.sequence + self.packing.sequences();
        if used + self.margin <= self.reserve.end() {
            return Ok(());
        }
        Err(self.reserve_error())
    }

    #[cold]
    fn reserve_error(&self) -> PublishError {
        let next = self.stamp.sequence;
        if self.reserve.is_deposed() {
            return PublishError::Deposed {
                channel: self.stamp.channel,
                session: self.stamp.session,
                epoch: self.stamp.epoch,
                next,
            };
        }
        self.counters.reserve_stalls.add(1);
        let trouble = self.reserve.trouble();
        PublishError::OutOfReserve {
            next,
            end: self.reserve.end(),
            trouble: trouble.unwrap_or_else(|| "the epoch store has not answered yet".into()),
        }
    }

    /// Sends everything that was published: the packets that wait, and what the open packet holds.
    ///
    /// # Errors
    /// If it cannot; see [`PublishError`].
    #[inline]
    pub fn flush(&mut self, now: u64) -> Result<(), PublishError> {
        if self.packing.is_empty() {
            self.send_unsent(now);
            return Ok(());
        }
        self.close(now, After::Nothing)
    }

    /// [`flush`](Self::flush), and publishes how far sources got that said nothing on this channel since: where they are
    /// resumed moves on with them. For channels that share sources; not more often than it is worth a packet.
    ///
    /// # Errors
    /// If it cannot; see [`PublishError`].
    pub fn record_positions(&mut self, now: u64) -> Result<(), PublishError> {
        self.flush(now)?;
        while self.packing.list_silent() {
            self.close(now, After::Nothing)?;
        }
        Ok(())
    }

    /// Closes the open packet and sends it, or leaves it to be sent with what comes `after`. After an error nothing is left
    /// unsent.
    #[inline]
    fn close(&mut self, now: u64, after: After) -> Result<(), PublishError> {
        let closed = self.try_close(now, after);
        if closed.is_err() {
            self.send_unsent(now);
        }
        closed
    }

    #[inline]
    fn try_close(&mut self, now: u64, after: After) -> Result<(), PublishError> {
        let end = self.stamp.sequence + self.packing.sequences();
        self.check_end(end)?;
        let mut events = 0;
        self.commit(now, after, |packing, slot| {
            let (packet, closed) = packing.close(slot);
            events = closed;
            packet
        })?;
        self.count_events(events, now);
        Ok(())
    }

    /// So many whole source events were published.
    #[inline]
    fn count_events(&mut self, events: u64, now: u64) {
        self.source_messages += events;
        self.counters.source_messages.add(events);
        if now.abs_diff(self.left) >= LEAVE_EVERY {
            self.leave_progress(now);
        }
    }

    /// Tells the control thread what is published. Exact here only: no whole event waits in the open packet.
    #[cold]
    fn leave_progress(&mut self, now: u64) {
        let positions = self.packing.positions();
        if self
            .progress
            .leave(self.stamp.sequence, self.source_messages, positions, &self.named)
        {
            self.named.clear();
            self.left = now;
        }
    }

    /// Fails unless sequences up to `end` are reserved: the last guard, whatever came before.
    #[inline]
    fn check_end(&self, end: u64) -> Result<(), PublishError> {
        match self.phase {
            Phase::Failed => Err(PublishError::Stopped),
            _ if end > self.reserve.end() => Err(self.reserve_error()),
            _ => Ok(()),
        }
    }
}

/// The journal's next slot. If there is none the publisher stops: what it has not committed it will read again.
#[inline]
fn slot<'j>(journal: &'j mut JournalWriter, phase: &mut Phase) -> Result<&'j mut [u8], PublishError> {
    journal.slot().map_err(|error| failed(phase, error))
}

#[cold]
fn failed(phase: &mut Phase, error: JournalError) -> PublishError {
    *phase = Phase::Failed;
    PublishError::Journal(error)
}
