//! The publisher: source events in, packets of one ordered stream out, to the journal first and then to both lines.
//!
//! [`Publisher`] is a state machine: it owns the journal, is told the time, and sends through [`Lines`]. It stamps,
//! encodes straight into the journal's memory, commits, sends on line A, sends on line B: nothing goes out that cannot be
//! recovered. Threads, clocks and sockets are in [`run`](crate::run); [`open`](open()) puts it together with the epoch
//! store.

mod checkpoint;
mod config;
mod counters;
mod open;
mod packing;
mod reserve;
mod resume;

pub use config::{MIN_PACKET_LIMIT, OpenError, PublishError, PublisherConfig};
pub use counters::{Counter, Counters};
pub use open::{Opened, Place, open, open_without_thread};
pub use packing::Position;
pub use reserve::{DEFAULT_BLOCK, MIN_BLOCK, Reserve, Reserver};
pub use resume::{Resume, resume};
pub use twinline_line::Line;

use crate::source::EventSink;
use checkpoint::{Checkpoint, Progress};
use config::nanos;
use packing::{FlagsOf, Packing};
use std::sync::Arc;
use twinline_journal::epoch::Grant;
use twinline_journal::{JournalError, JournalWriter, Tail, failpoint};
use twinline_wire::field::{Optional, Text};
use twinline_wire::header::{HEADER_LEN, flags};
use twinline_wire::session::{EndOfSession, EpochStart, SessionStart};
use twinline_wire::{Message, OpenPacket, Stamp, U32, U64};

/// How often the control thread is told what is published, in nanoseconds.
const LEAVE_EVERY: u64 = 100_000_000;

/// Where packets go after the journal: two sockets, or a simulated network.
pub trait Lines {
    /// Sends `packet` on `line`, behind everything sent on it before; false if the line did not take it. It must not
    /// wait: what a line does not take, recovery has.
    fn send(&mut self, line: Line, packet: &[u8]) -> bool;
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
/// use twinline_feed::publisher::{self, Line, Lines, Opened, Phase, Place, PublisherConfig};
/// use twinline_journal::{JournalConfig, epoch::Holder};
/// use twinline_wire::field::{EventFlags, Optional, Price};
/// use twinline_wire::market::PriceTick;
///
/// # struct Nowhere;
/// # impl Lines for Nowhere {
/// #     fn send(&mut self, _: Line, _: &[u8]) -> bool { true }
/// # }
/// # let lines = Nowhere; // `SocketLines` in production
/// # let dir = tempfile::tempdir()?;
/// fn now() -> u64 {
///     SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
/// }
///
/// let place = Place {
///     journal: dir.path().join("journal"),
///     journal_config: JournalConfig::new(1),
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
pub struct Publisher<L> {
    config: PublisherConfig,
    journal: JournalWriter,
    lines: L,
    /// Header of the next packet; its sequence is that of the open packet's first message.
    stamp: Stamp,
    phase: Phase,
    valid_end: u64,
    new_session: bool,
    packing: Packing,
    /// The first error of the current event: the rest of the event is ignored.
    error: Option<PublishError>,
    reserve: Arc<Reserve>,
    /// Sequences that must be left before an event is taken: it can never run out half way.
    margin: u64,
    /// Source events in the session, those of earlier runs too.
    source_messages: u64,
    counters: Arc<Counters>,
    progress: Arc<Progress>,
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
        let mut publisher = Self::with(config, stamp, journal, resume, lines, now)?;
        publisher.valid_end = grant.valid_end;
        publisher.new_session = grant.new_session;
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
        Ok(Self {
            margin: 2 * packing.most_messages() + 2,
            reserve: Arc::new(Reserve::new(stamp.sequence, stamp.sequence)),
            packing,
            config,
            journal,
            lines,
            stamp,
            phase: Phase::LeadIn,
            valid_end: stamp.sequence,
            new_session: false,
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
            )),
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
    pub fn position(&self, source: u16) -> u64 {
        self.positions()
            .find(|at| at.source == source)
            .map_or(0, |at| at.position)
    }

    /// The counters, to be read from any thread.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
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

    /// Lets `fill` put source events into the open packet, through a sink; what does not fit goes on to the next packet.
    /// A packet that is full is sent, the last one only by [`flush`](Self::flush). An event that `fill` does not end is
    /// dropped. During the lead-in this ends it.
    ///
    /// # Errors
    /// [`PublishError::EventTooLarge`] and [`PublishError::NotMarketData`]: that event is not published, all others are.
    /// Any other: see there.
    #[inline]
    pub fn event<R>(
        &mut self,
        now: u64,
        fill: impl FnOnce(&mut Sink<'_, L>) -> R,
    ) -> Result<R, PublishError> {
        if self.phase != Phase::Live {
            self.go_live(now)?;
        }
        self.check_reserve()?;
        let result = fill(&mut Sink { publisher: self, now });
        self.packing.drop_event();
        match self.error.take() {
            None => Ok(result),
            Some(error) => Err(error),
        }
    }

    /// Publishes one market message, a source event of its own, at once. Its position is the number of messages
    /// published like this in the session: after a restart, [`position`](Self::position) of the configured source says
    /// how many are safe.
    ///
    /// # Errors
    /// If it was not published; see [`PublishError`].
    #[inline]
    pub fn publish<M: Message>(&mut self, message: &M, now: u64) -> Result<(), PublishError> {
        self.publish_batch(core::slice::from_ref(message), now)
    }

    /// Publishes market messages, each a source event of its own, in as few packets as they fit, at once.
    ///
    /// # Errors
    /// If not all were published: [`position`](Self::position) says how many; see [`PublishError`].
    pub fn publish_batch<M: Message>(&mut self, messages: &[M], now: u64) -> Result<(), PublishError> {
        let source = self.config.source;
        let mut position = self.position(source);
        for message in messages {
            position += 1;
            self.event(now, |sink| {
                sink.push(message);
                sink.end_event(source, position);
            })?;
        }
        self.flush(now)
    }

    /// Sends what the open packet holds, if anything.
    ///
    /// # Errors
    /// If it cannot; see [`PublishError`].
    #[inline]
    pub fn flush(&mut self, now: u64) -> Result<(), PublishError> {
        if self.packing.is_empty() {
            return Ok(());
        }
        let end = self.stamp.sequence + self.packing.sequences();
        self.check_end(end)?;
        let slot = slot(&mut self.journal, &mut self.phase)?;
        let (packet, events) = self.packing.close(slot);
        self.commit(packet, now)?;
        self.source_messages += events;
        self.counters.source_messages.add(events);
        if now.abs_diff(self.left) >= LEAVE_EVERY {
            self.leave_progress(now);
        }
        Ok(())
    }

    /// Tells the control thread what is published. Exact here only: no whole event waits in the open packet.
    #[cold]
    fn leave_progress(&mut self, now: u64) {
        let positions = self.packing.positions();
        if self
            .progress
            .leave(self.stamp.sequence, self.source_messages, positions)
        {
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

    /// Stamp, checksum, commit, send A, send B.
    #[inline]
    fn commit(&mut self, packet: OpenPacket, now: u64) -> Result<(), PublishError> {
        self.stamp.sending_time = now;
        let slot = slot(&mut self.journal, &mut self.phase)?;
        let length = packet.finish(slot, self.stamp, 0);
        failpoint::hit("publisher.stamp");
        let bytes = self.journal.commit(length, self.stamp.flags);
        failpoint::hit("publisher.after_commit");
        self.stamp.sequence += u64::from(packet.count());
        self.reserve.set_next(self.stamp.sequence);
        let a = self.lines.send(Line::A, bytes);
        failpoint::hit("publisher.between_lines");
        let b = self.lines.send(Line::B, bytes);
        failpoint::hit("publisher.after_send");
        self.sent = Some(now);
        self.counters.packets.add(1);
        self.counters.messages.add(u64::from(packet.count()));
        self.counters.bytes.add(length as u64);
        self.count_failures(a, b);
        Ok(())
    }

    fn count_failures(&self, a: bool, b: bool) {
        for (failures, taken) in self.counters.send_failures.iter().zip([a, b]) {
            if !taken {
                failures.add(1);
            }
        }
    }

    /// One message of the current event.
    #[inline]
    fn push<M: Message>(&mut self, message: &M, now: u64) {
        if self.error.is_some() {
            return;
        }
        if let Err(error) = self.try_push(message, now) {
            self.error = Some(error);
        }
    }

    #[inline]
    fn try_push<M: Message>(&mut self, message: &M, now: u64) -> Result<(), PublishError> {
        if FlagsOf::<M>::AT.is_none() {
            return Err(PublishError::NotMarketData { name: M::DEF.name });
        }
        let slot = slot(&mut self.journal, &mut self.phase)?;
        if self.packing.push(slot, message) {
            return Ok(());
        }
        self.move_event(now)?;
        let slot = self::slot(&mut self.journal, &mut self.phase)?;
        if self.packing.push(slot, message) {
            return Ok(());
        }
        Err(self.too_large())
    }

    /// The current event is complete.
    #[inline]
    fn end_event(&mut self, source: u16, position: u64, now: u64) {
        if self.error.is_some() {
            return;
        }
        if let Err(error) = self.try_end_event(source, position, now) {
            self.error = Some(error);
        }
    }

    #[inline]
    fn try_end_event(&mut self, source: u16, position: u64, now: u64) -> Result<(), PublishError> {
        let slot = slot(&mut self.journal, &mut self.phase)?;
        if self.packing.end_event(slot, source, position) {
            return Ok(());
        }
        self.move_event(now)?;
        let slot = self::slot(&mut self.journal, &mut self.phase)?;
        if self.packing.end_event(slot, source, position) {
            return Ok(());
        }
        Err(self.too_large())
    }

    /// Sends the open packet without the current event, which moves to the next packet.
    #[cold]
    fn move_event(&mut self, now: u64) -> Result<(), PublishError> {
        if self.packing.is_empty() {
            return Err(self.too_large());
        }
        self.packing.set_aside(slot(&mut self.journal, &mut self.phase)?);
        self.flush(now)?;
        self.packing.bring_back(slot(&mut self.journal, &mut self.phase)?);
        Ok(())
    }

    fn too_large(&self) -> PublishError {
        self.counters.events_too_large.add(1);
        PublishError::EventTooLarge {
            limit: self.config.packet_limit - HEADER_LEN - packing::POSITION_LEN,
        }
    }

    /// Ends the lead-in, if that is what goes on: from here on events are taken.
    #[cold]
    fn go_live(&mut self, now: u64) -> Result<(), PublishError> {
        match self.phase {
            Phase::Live => Ok(()),
            Phase::Failed => Err(PublishError::Stopped),
            Phase::Ending | Phase::Done => Err(PublishError::Ended {
                session: self.stamp.session,
            }),
            Phase::LeadIn => self.open_epoch(now),
        }
    }

    /// The first packet of the epoch: EpochStart, and in a new session SessionStart.
    fn open_epoch(&mut self, now: u64) -> Result<(), PublishError> {
        self.check_end(self.stamp.sequence + 2)?;
        if self.sent.is_none() {
            self.heartbeat(now);
        }
        if self.new_session {
            self.journal
                .start_session()
                .map_err(|error| failed(&mut self.phase, error))?;
            self.new_session = false;
            let start = SessionStart {
                trading_date: self.config.trading_date.map_or(Optional::NONE, Optional::some),
                source_time_origin: self
                    .config
                    .source_time_origin
                    .map_or(Optional::NONE, Optional::some),
                publisher: Text::new(self.config.name.as_bytes()),
            };
            self.first_packet(Some(&start), now)?;
        } else {
            self.first_packet(None, now)?;
        }
        self.phase = Phase::Live;
        Ok(())
    }

    fn first_packet(&mut self, session: Option<&SessionStart>, now: u64) -> Result<(), PublishError> {
        let epoch = EpochStart {
            valid_end: U64::new(self.valid_end),
            epoch: U32::new(self.stamp.epoch),
        };
        let slot = slot(&mut self.journal, &mut self.phase)?;
        let mut packet = OpenPacket::new();
        packet.push(slot, &epoch);
        if let Some(session) = session {
            packet.push(slot, session);
        }
        self.commit(packet, now)
    }

    /// Does what is due at `now`: heartbeats, the end of the lead-in, the end of the linger time. Call it every few
    /// milliseconds while nothing is published.
    ///
    /// # Errors
    /// If the first packet cannot be published.
    #[inline]
    pub fn tick(&mut self, now: u64) -> Result<(), PublishError> {
        let interval = match self.phase {
            Phase::Live => self.config.heartbeat_interval,
            Phase::LeadIn | Phase::Ending => self.config.announce_interval,
            Phase::Done | Phase::Failed => return Ok(()),
        };
        let due = match &mut self.sent {
            Some(sent) => elapsed(sent, now) >= nanos(interval),
            None => true,
        };
        if due {
            self.heartbeat(now);
        }
        match self.phase {
            Phase::LeadIn if elapsed(&mut self.since, now) >= nanos(self.config.lead_in) => {
                self.open_epoch(now)
            }
            Phase::Ending if elapsed(&mut self.since, now) >= nanos(self.config.linger) => {
                self.phase = Phase::Done;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A packet without messages, not journalled: what comes next on this line.
    fn heartbeat(&mut self, now: u64) {
        self.stamp.sending_time = now;
        let mut packet = [0; HEADER_LEN];
        OpenPacket::new().finish_whole(&mut packet, self.stamp, 0);
        let a = self.lines.send(Line::A, &packet);
        let b = self.lines.send(Line::B, &packet);
        self.sent = Some(now);
        self.counters.heartbeats.add(1);
        self.count_failures(a, b);
    }

    /// Sends what is open and then the session's last message. From here on [`tick`](Self::tick) sends the heartbeats
    /// that say so. The caller then tells the epoch store ([`Reserver::end_session`]).
    ///
    /// # Errors
    /// If it cannot; see [`PublishError`].
    pub fn end_session(&mut self, now: u64) -> Result<(), PublishError> {
        self.go_live(now)?;
        self.flush(now)?;
        self.check_end(self.stamp.sequence + 1)?;
        let end = EndOfSession {
            source_messages: U64::new(self.source_messages),
        };
        let mut packet = OpenPacket::new();
        packet.push(slot(&mut self.journal, &mut self.phase)?, &end);
        self.commit(packet, now)?;
        self.stamp.flags = flags::END_OF_SESSION;
        self.phase = Phase::Ending;
        self.since = now;
        Ok(())
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

/// Nanoseconds from `since` to `now`. Where the clock was set back, counting begins again.
fn elapsed(since: &mut u64, now: u64) -> u64 {
    if now < *since {
        *since = now;
    }
    now - *since
}

/// What source events are put into; lent by [`Publisher::event`].
#[derive(Debug)]
pub struct Sink<'p, L> {
    publisher: &'p mut Publisher<L>,
    now: u64,
}

impl<L: Lines> EventSink for Sink<'_, L> {
    #[inline]
    fn push<M: Message>(&mut self, message: &M) {
        self.publisher.push(message, self.now);
    }

    #[inline]
    fn end_event(&mut self, source: u16, position: u64) {
        self.publisher.end_event(source, position, self.now);
    }
}
