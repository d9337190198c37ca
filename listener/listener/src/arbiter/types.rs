//! What goes into an arbiter and what comes out.

use super::DropCounts;
use super::State;
use super::ranges::Span;
use twinline_line::Line;
use twinline_wire::Packet;
use twinline_wire::field::{ClockState, LineName, LineState, LossReason, SessionState};
use twinline_wire::header::DEFAULT_PACKET_LEN;

/// Where a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Line A.
    LineA = 0,
    /// Line B.
    LineB = 1,
    /// A recovery service.
    Recovery = 2,
}

impl From<Line> for Origin {
    fn from(line: Line) -> Self {
        match line {
            Line::A => Self::LineA,
            Line::B => Self::LineB,
        }
    }
}

impl From<Origin> for twinline_ring::Origin {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::LineA => Self::LineA,
            Origin::LineB => Self::LineB,
            Origin::Recovery => Self::Recovery,
        }
    }
}

/// Something that is delivered: messages `skip..skip + take` of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The packet, whole.
    pub packet: Packet<'a>,
    /// Messages of it that were delivered before, or are below the position.
    pub skip: u16,
    /// Messages of it that are delivered now.
    pub take: u16,
    /// Who brought it.
    pub origin: Origin,
    /// It was here before its turn: that it comes now says nothing about how long it was on its way.
    pub waited: bool,
}

impl Delivery<'_> {
    /// Sequence of the first message delivered now.
    pub fn begin(&self) -> u64 {
        self.packet.sequence() + u64::from(self.skip)
    }

    /// The sequence after the last message delivered now.
    pub fn end(&self) -> u64 {
        self.begin() + u64::from(self.take)
    }
}

/// What the stream says besides the messages. Stands at [`next`](Self::next).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Session.
    pub session: u32,
    /// Epoch.
    pub epoch: u32,
    /// First sequence of the epoch.
    pub epoch_base: u64,
    /// Where the notice stands: the end of what the stream has spoken of. The next message may be behind a hole.
    pub next: u64,
    /// What it says.
    pub kind: NoticeKind,
}

/// What a notice says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// These sequences will not be delivered; the state is invalid from here on.
    Lost(Span, LossReason),
    /// These sequences were delivered and are void by this epoch; the state is invalid from here on.
    Void(Span, u32),
    /// A line stalls, comes back, or both are silent.
    Line(LineName, LineState),
    /// A session or an epoch starts, or a session ends.
    Session(SessionState),
    /// Sessions with these numbers, if there were any, will not be delivered; the state is invalid from here on.
    SessionsMissed {
        /// First session that is missing.
        begin: u32,
        /// First session that is not.
        end: u32,
        /// Why.
        reason: LossReason,
    },
    /// The state before the next message is that of a snapshot.
    StateReplaced(State),
    /// The clock that messages are released by becomes implausible, or plausible again.
    Clock {
        /// What.
        state: ClockState,
        /// Lowest receive time minus sending time of the last ten seconds, in nanoseconds; `None`: nothing came.
        offset: Option<i64>,
    },
}

/// Takes what the arbiter delivers.
pub trait Sink {
    /// Messages, in order.
    fn deliver(&mut self, delivery: &Delivery<'_>);
    /// A notice, in its place between the messages.
    fn notice(&mut self, notice: &Notice);
}

/// Where a listener without a position starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the first message of the session; what was before is recovered.
    Beginning,
    /// At the first packet believed; what was before is announced as skipped.
    Live,
    /// At this sequence.
    Sequence(u64),
    /// At the newest state that a recovery service has; what was before is announced as skipped.
    Snapshot,
}

/// A position to go on from: what the own journal ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Session.
    pub session: u32,
    /// Epoch of the last message.
    pub epoch: u32,
    /// That epoch's first sequence.
    pub epoch_base: u64,
    /// The sequence that comes next.
    pub next: u64,
    /// The session's end was delivered.
    pub ended: bool,
}

/// Settings of an [`Arbiter`].
#[derive(Clone, Copy, Debug)]
pub struct ArbiterConfig {
    /// The channel; packets of others are dropped.
    pub channel: u16,
    /// Longest packet in bytes.
    pub max_packet: usize,
    /// Early packets that can wait.
    pub window: usize,
    /// A packet or heartbeat this many sequences ahead is not believed alone.
    pub leap: u64,
    /// How long an unbelieved packet waits for another that agrees, in nanoseconds.
    pub patience: u64,
    /// A line is stalled after this silence, in nanoseconds.
    pub stall: u64,
    /// Where to start without a position.
    pub start: StartAt,
}

impl Default for ArbiterConfig {
    fn default() -> Self {
        Self {
            channel: 1,
            max_packet: DEFAULT_PACKET_LEN,
            window: 4096,
            leap: 65_536,
            patience: 1_000_000_000,
            stall: 500_000_000,
            start: StartAt::Beginning,
        }
    }
}

/// Counters of an arbiter, in messages unless said otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct ArbiterStats {
    /// Delivered, by [`Origin`].
    pub delivered: [u64; 3],
    /// Packets that delivered at least one message.
    pub packets: u64,
    /// Declared lost.
    pub lost: u64,
    /// Delivered and void afterwards.
    pub void: u64,
    /// Arrived after they were declared lost; not delivered.
    pub after_loss: u64,
    /// Arrived again from recovery after they were delivered.
    pub recovered_again: u64,
    /// Packets dropped, by origin and reason.
    pub dropped: [DropCounts; 3],
    /// States that were replaced.
    pub states: u64,
    /// Most packets that waited in the window at once.
    pub window_peak: usize,
    /// Packets of the next session that waited while the one before was being completed.
    pub ahead: u64,
    /// Most of them that waited at once.
    pub ahead_peak: usize,
    /// Session numbers declared missed.
    pub sessions_missed: u64,
}
