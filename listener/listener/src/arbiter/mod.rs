//! The arbiter: packets of two lossy lines and of recovery go in, each message comes out once and in order.
//!
//! It keeps a position (session, next sequence), a [window](window) of packets that came early, the
//! [epochs](epochs) it knows, and what it [holds](hold) because one packet alone is not believed. What is missing is
//! never stored: it is everything between the position and the highest sequence known that is neither in the window nor
//! void. The [gap policy](crate::gaps) asks for that and, where nobody has it, declares it lost.

mod between;
mod delivery;
mod dropped;
mod epoch_change;
mod epochs;
mod heartbeats;
mod hold;
mod lane;
#[cfg(test)]
mod lane_tests;
mod missing;
pub mod ranges;
#[cfg(test)]
mod session_tests;
mod sessions;
mod silence;
mod skew;
mod state;
#[cfg(test)]
mod tests;
mod types;
mod upcoming;
mod window;

use crate::lines::{LineStats, LineTracker};
use crate::planted::{Bug, is_planted};
use between::Between;
pub use dropped::{DropCounts, Dropped};
use epochs::Epochs;
use hdrhistogram::Histogram;
use heartbeats::Heartbeat;
use hold::Hold;
use lane::Lane;
use ranges::{Span, Spans};
use skew::Skew;
pub use state::State;
use twinline_wire::Packet;
use twinline_wire::header::flags;
pub use types::{ArbiterConfig, ArbiterStats, Delivery, Notice, NoticeKind, Origin, Position, Sink, StartAt};
use upcoming::{Ahead, Upcoming};
use window::{Offer, Window};

/// The state machine. Time is passed in as nanoseconds of any clock that only grows.
#[derive(Debug)]
pub struct Arbiter {
    config: ArbiterConfig,
    lane: Lane,
    /// 0 before the first packet that is believed.
    session: u32,
    epoch: u32,
    base: u64,
    /// The newest epoch, and its base, before the one whose EpochStart delivery waits for.
    started: (u32, u64),
    next: u64,
    /// The end of what the stream has spoken of: behind it may be a hole, and then `next`.
    told: u64,
    /// The end of what was delivered in the session.
    delivered: u64,
    /// Epoch and base of the last message delivered in the session; those of the first epoch before any was.
    told_epoch: (u32, u64),
    ended: bool,
    /// Where the session ends by word of two heartbeats; 0: not known.
    end_at: u64,
    /// The end of what packets have shown to exist, unless delivery is beyond it: see [`highest`](Self::highest).
    shown: u64,
    /// The end of what believed heartbeats have shown to exist.
    announced: u64,
    /// The last heartbeat: the next one is believed as far as they agree.
    last_heartbeat: Option<Heartbeat>,
    epochs: Epochs,
    window: Window,
    hold: Hold,
    /// Void by word of a recovery service.
    closed: Spans,
    lost: Spans,
    /// A higher session that is believed, waiting for this one to be complete.
    upcoming: Option<Upcoming>,
    ahead: Ahead,
    between: Option<Between>,
    /// The session is done with, and another one waits: it has its turn once the packet in hand is done with.
    turn: bool,
    /// What comes now was kept ahead: the lines have counted it.
    playing: bool,
    /// What was delivered does not add up to the state: messages are lost or void, and no state replaced them since.
    incomplete: bool,
    /// A state that replaces this one stands at or beyond this.
    state_from: u64,
    /// Delivery stops before this sequence until a state comes; `u64::MAX`: it does not.
    stop: u64,
    /// The state that is told of when delivery comes to where it stands, which is `stop`.
    armed: Option<State>,
    /// Nothing is delivered before there is a state to begin with; what was before that is skipped.
    awaiting: bool,
    lines: [LineTracker; 2],
    skew: Skew,
    last_seen: [u64; 2],
    stalled: [bool; 2],
    stale: bool,
    stats: ArbiterStats,
    /// Every packet goes the whole way.
    #[cfg(test)]
    no_lane: bool,
}

/// Epoch and base that a session begins with, unless a power cut took all of that epoch.
const FIRST_EPOCH: (u32, u64) = (1, 1);

impl Arbiter {
    /// An arbiter that goes on from `position`, or without one as `config.start` says.
    pub fn new(config: ArbiterConfig, position: Option<Position>, now: u64) -> Self {
        let mut arbiter = Self {
            config,
            lane: Lane::CLOSED,
            session: 0,
            epoch: 0,
            base: 0,
            started: (0, 0),
            next: 1,
            told: 1,
            delivered: 1,
            told_epoch: FIRST_EPOCH,
            ended: false,
            end_at: 0,
            shown: 1,
            announced: 1,
            last_heartbeat: None,
            epochs: Epochs::new(),
            window: Window::new(config.window, config.max_packet),
            hold: Hold::new(config.leap, config.patience, config.max_packet),
            closed: Spans::with_capacity(256),
            lost: Spans::with_capacity(256),
            upcoming: None,
            ahead: Ahead::new(config.window, config.max_packet),
            between: None,
            turn: false,
            playing: false,
            incomplete: false,
            state_from: 1,
            stop: u64::MAX,
            armed: None,
            awaiting: false,
            lines: [LineTracker::new(), LineTracker::new()],
            skew: Skew::new(),
            last_seen: [now; 2],
            stalled: [false; 2],
            stale: false,
            stats: ArbiterStats::default(),
            #[cfg(test)]
            no_lane: false,
        };
        if let Some(position) = position {
            arbiter.session = position.session;
            arbiter.epoch = position.epoch;
            arbiter.base = position.epoch_base;
            arbiter.told_epoch = (position.epoch, position.epoch_base);
            if arbiter.base < position.next {
                arbiter.started = arbiter.told_epoch;
            }
            arbiter.next = position.next;
            arbiter.told = position.next;
            // There may be nothing but a loss, and then not even the epoch is known: its base may be that of a later one.
            arbiter.delivered = position.epoch_base.min(position.next);
            arbiter.ended = position.ended;
            arbiter.shown = position.next;
            arbiter.announced = position.next;
        }
        arbiter
    }

    /// A datagram arrived from `origin`.
    #[inline]
    pub fn on_packet(&mut self, origin: Origin, bytes: &[u8], now: u64, sink: &mut impl Sink) {
        match Packet::parse(bytes) {
            Ok(packet) => self.on_valid(origin, packet, now, sink),
            Err(error) => {
                self.count_datagram(origin, bytes.len());
                self.drop_packet(origin, error.into());
            }
        }
    }

    /// A packet that is checked already.
    #[inline]
    pub fn on_valid(&mut self, origin: Origin, packet: Packet<'_>, now: u64, sink: &mut impl Sink) {
        if !self.take_lane(origin, &packet, now, sink) {
            self.close_lane();
            self.on_any(origin, packet, now, sink);
            self.open_lane();
        }
    }

    /// The whole way.
    #[inline(never)]
    fn on_any(&mut self, origin: Origin, packet: Packet<'_>, now: u64, sink: &mut impl Sink) {
        self.count_datagram(origin, packet.bytes().len());
        let header = packet.header();
        if header.channel.get() != self.config.channel {
            return self.drop_packet(origin, Dropped::Channel);
        }
        if header.flags & (flags::LOCAL | flags::SEGMENT_END) != 0 {
            return self.drop_packet(origin, Dropped::Local);
        }
        if let Some(line) = line_index(origin) {
            self.last_seen[line] = now;
            let session = header.session.get();
            if !header.is_heartbeat() && session >= self.session {
                self.skew.packet(line, (session, packet.sequence()), now);
            }
            if self.stalled[line] || self.stale {
                self.line_is_back(line, sink);
            }
        }
        self.hear(origin, packet, now, sink);
        if self.turn {
            self.take_turn(sink);
        }
    }

    #[inline]
    fn count_datagram(&mut self, origin: Origin, bytes: usize) {
        if let Some(line) = line_index(origin) {
            self.lines[line].datagram(bytes);
        }
    }

    /// A packet that may count: at once, or with another that agrees.
    #[inline]
    fn hear(&mut self, origin: Origin, packet: Packet<'_>, now: u64, sink: &mut impl Sink) {
        let believed = origin == Origin::Recovery || !self.is_surprising(&packet);
        if !believed {
            if !self.hold.confirms(&packet, origin, now) {
                return self.drop_packet(origin, Dropped::Unconfirmed);
            }
            self.believe_held(&packet, now, sink);
        }
        self.accept(origin, packet, now, sink);
    }

    /// True if one packet is not enough to believe this.
    #[inline]
    fn is_surprising(&self, packet: &Packet<'_>) -> bool {
        let header = packet.header();
        let (session, epoch) = (header.session.get(), header.epoch.get());
        if session != self.session {
            let known = self
                .upcoming
                .is_some_and(|up| up.session == session && up.epoch == epoch);
            return session > self.session && !known && !is_planted(Bug::SessionBelieved);
        }
        if header.is_heartbeat() && epoch == self.epoch && is_planted(Bug::HeartbeatBelieved) {
            return false;
        }
        epoch > self.epoch
            || packet.sequence()
                > self
                    .highest()
                    .max(self.announced)
                    .saturating_add(self.config.leap)
    }

    /// A packet confirmed what held ones say: they count now, the eldest first.
    #[cold]
    fn believe_held(&mut self, packet: &Packet<'_>, now: u64, sink: &mut impl Sink) {
        while let Some((bytes, origin)) = self.hold.take_agreeing(packet) {
            if let Ok(held) = Packet::trusted_prefix(&bytes) {
                self.accept(origin, held, now, sink);
            }
            self.hold.reuse(bytes);
        }
    }

    /// A packet that is believed: to its session, its epoch, its place.
    #[inline]
    fn accept(&mut self, origin: Origin, packet: Packet<'_>, now: u64, sink: &mut impl Sink) {
        let header = packet.header();
        if header.session.get() != self.session {
            return self.other_session(origin, packet, now, sink);
        }
        let epoch = header.epoch.get();
        if epoch != self.epoch || header.epoch_base.get() != self.base {
            if epoch > self.epoch {
                // The position may be beyond the base, where the EpochStart was lost; what was delivered may not.
                if header.epoch_base.get() < self.delivered {
                    return self.drop_packet(origin, Dropped::WrongEpoch);
                }
                self.enter_epoch(epoch, header.epoch_base.get());
            } else if epoch == self.epoch {
                return self.drop_packet(origin, Dropped::WrongEpoch);
            }
        }
        let limit = self.limit(epoch);
        if packet.sequence() >= limit && !(header.is_heartbeat() && packet.sequence() == limit) {
            return self.drop_packet(origin, Dropped::VoidEpoch);
        }
        if header.count.get() == 0 {
            return self.on_heartbeat(origin, &packet, limit, now, sink);
        }
        self.on_messages(origin, packet, limit, sink);
    }

    #[inline]
    fn on_messages(&mut self, origin: Origin, packet: Packet<'_>, limit: u64, sink: &mut impl Sink) {
        let (begin, end) = (packet.sequence(), packet.end().min(limit));
        if let Some(line) = line_index(origin).filter(|_| !self.playing) {
            if self.lines[line].is_idle() {
                self.start_lines(begin);
            }
            self.lines[line].messages(begin, end);
        }
        if self.ended && end > self.next {
            return self.drop_packet(origin, Dropped::AfterEnd);
        }
        self.shown = self.shown.max(end);
        self.notice_epoch_start(&packet, sink);
        if end <= self.next {
            if is_planted(Bug::DuplicatePassed) && origin == Origin::LineB && self.may_deliver() {
                let (skip, take) = (0, (end - begin) as u16);
                sink.deliver(&Delivery {
                    packet,
                    skip,
                    take,
                    origin,
                    waited: false,
                });
            }
            return self.not_new(origin, begin, end);
        }
        // What reaches over a stop waits in the window, and is delivered in parts from there.
        if begin <= self.next && end <= self.stop && self.may_deliver() {
            self.deliver(&packet, end, origin, self.playing, sink);
            self.drain(sink);
            return;
        }
        match self.window.offer(&packet, origin) {
            Offer::Kept => self.stats.window_peak = self.stats.window_peak.max(self.window.len()),
            Offer::Duplicate => {}
            Offer::Full => {
                if is_planted(Bug::GapForgotten) {
                    self.closed.insert(Span::new(begin, end));
                }
                self.drop_packet(origin, Dropped::WindowFull);
            }
        }
        // The packet may stand behind a hole that its own EpochStart has just shown.
        self.drain(sink);
    }

    #[inline]
    fn not_new(&mut self, origin: Origin, begin: u64, end: u64) {
        if origin == Origin::Recovery {
            self.stats.recovered_again += end - begin;
        }
        if self.lost.as_slice().last().is_some_and(|lost| begin < lost.end) {
            let arrived = Span::new(begin, end);
            let overlap =
                |lost: &Span| Span::new(arrived.begin.max(lost.begin), arrived.end.min(lost.end)).len();
            self.stats.after_loss += self.lost.as_slice().iter().map(overlap).sum::<u64>();
        }
    }

    fn start_lines(&mut self, sequence: u64) {
        for line in &mut self.lines {
            line.start(sequence);
        }
    }

    /// A notice, which stands behind the last message delivered and is of its epoch.
    fn say(&mut self, kind: NoticeKind, sink: &mut impl Sink) {
        let (epoch, epoch_base) = self.told_epoch;
        sink.notice(&Notice {
            session: self.session,
            epoch,
            epoch_base,
            next: self.told,
            kind,
        });
    }

    #[cold]
    fn drop_packet(&mut self, origin: Origin, why: Dropped) {
        self.stats.dropped[origin as usize].add(why);
    }

    /// The position: what is delivered next.
    pub fn position(&self) -> Position {
        Position {
            session: self.session,
            epoch: self.epoch,
            epoch_base: self.base,
            next: self.next,
            ended: self.ended,
        }
    }

    /// The end of what packets have shown to exist in the session.
    pub fn highest(&self) -> u64 {
        self.shown.max(self.next)
    }

    /// The sequence after the last one that line `line` (0: A, 1: B) has brought or passed.
    pub fn line_high(&self, line: usize) -> u64 {
        self.lines[line].high()
    }

    /// The counters of line A and line B.
    pub fn line_stats(&self) -> [LineStats; 2] {
        [0, 1].map(|line| self.lines[line].stats(self.next, self.stats.delivered[line]))
    }

    /// The counters.
    pub fn stats(&self) -> &ArbiterStats {
        &self.stats
    }

    /// For line A and line B: how much later it brought a packet than the other line, in nanoseconds, of a sample.
    pub fn line_behind(&self) -> &[Histogram<u64>; 2] {
        self.skew.behind()
    }

    /// The end of what is known to exist in the session, by packets and heartbeats.
    pub fn known_end(&self) -> u64 {
        match self.ended {
            true => self.next,
            false => self.highest().max(self.announced),
        }
    }

    /// Early packets that wait in the window.
    pub fn window_len(&self) -> usize {
        self.window.len()
    }

    /// Packets held or waiting, for tests of bounded memory.
    pub fn waiting(&self) -> usize {
        self.window.len() + self.ahead.len() + self.hold.len()
    }
}

#[inline]
fn line_index(origin: Origin) -> Option<usize> {
    match origin {
        Origin::LineA => Some(0),
        Origin::LineB => Some(1),
        Origin::Recovery => None,
    }
}
