//! Which packet may follow which. Pure; used by the writer, by recovery after a crash, and by `verify`.

use crate::Tail;
use twinline_wire::field::SessionState;
use twinline_wire::header::{HEADER_LEN, PacketHeader, flags};
use twinline_wire::session::{EndOfSession, EpochStart, Lost, SessionEvent, StateReplaced, Void};
use twinline_wire::{Frame, Message, Packet};

/// Where a journal stands after a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// What everyone sees of it.
    pub(crate) tail: Tail,
    /// True after a notice that sequences are missing: the EpochStart of the next packet's epoch may be among them.
    pub(crate) loose: bool,
    /// True after a notice that messages are lost or void, until one that the state was replaced: what the session's messages
    /// add up to is not its state.
    pub(crate) incomplete: bool,
}

impl Chain {
    /// The short way of what nearly every packet is: the next messages of the same epoch. True if it is, and then it simply
    /// [follows](follow), and [`go_on`](Self::go_on) says how the chain is after it.
    #[inline]
    pub(crate) fn goes_on(&self, header: &PacketHeader, packet_flags: u8) -> bool {
        let sequence = header.sequence.get();
        packet_flags & (flags::LOCAL | flags::SEGMENT_END) == 0
            && header.count.get() > 0
            && header.session.get() == self.tail.session
            && header.epoch.get() == self.tail.epoch
            && header.epoch_base.get() == self.tail.epoch_base
            && sequence == self.tail.next
            && sequence >= self.tail.epoch_base
    }

    /// Moves behind messages up to `end` that [go on](Self::goes_on).
    #[inline]
    pub(crate) fn go_on(&mut self, end: u64) {
        self.tail.next = end;
        self.tail.ended = false;
        self.loose = false;
    }
}

/// A packet that cannot follow, and why.
pub(crate) type Broken = &'static str;

/// Where the sequence goes on after a listener's notice that stands at `next`: behind what is lost or void, or at the state
/// that replaced what was before.
pub fn after_notice(frame: Option<Frame<'_>>, next: u64) -> u64 {
    let Some(frame) = frame else { return next };
    let moved = match frame.template() {
        Lost::TEMPLATE => frame.view::<Lost>().map(|notice| notice.end.get()),
        Void::TEMPLATE => frame.view::<Void>().map(|notice| notice.end.get()),
        StateReplaced::TEMPLATE => frame.view::<StateReplaced>().map(|notice| notice.sequence.get()),
        _ => None,
    };
    // A session whose end nobody knows is lost without an end: the record stays where it is.
    next.max(moved.filter(|&end| end != u64::MAX).unwrap_or(next))
}

/// Whether the state is incomplete after a notice, if it was `before`.
fn incomplete_after(frame: Option<Frame<'_>>, before: bool) -> bool {
    match frame.map(|frame| frame.template()) {
        Some(Lost::TEMPLATE | Void::TEMPLATE) => true,
        Some(StateReplaced::TEMPLATE) => false,
        _ => before,
    }
}

/// True if the last message of `packet` is EndOfSession.
pub(crate) fn ends_session(packet: &Packet<'_>) -> bool {
    let last = packet.messages().last();
    last.is_some_and(|(_, frame)| frame.template() == EndOfSession::TEMPLATE)
}

/// True for the notices that a session ended without its last message. `bytes`: a whole packet. A loss without an end is
/// one of them: a listener that dies before it says more does not take the session up again.
fn abandons(bytes: &[u8]) -> bool {
    let Some(frame) = first_frame(bytes) else {
        return false;
    };
    let event = frame.view::<SessionEvent>();
    let lost = frame.view::<Lost>();
    event.is_some_and(|event| event.state == SessionState::ABANDONED)
        || lost.is_some_and(|lost| lost.end.get() == u64::MAX)
}

/// The first frame of a packet's bytes.
fn first_frame(packet: &[u8]) -> Option<Frame<'_>> {
    Some(Frame::split(packet.get(HEADER_LEN..)?)?.0)
}

/// The chain after the packet `bytes`, of which the first four may not be written yet: `header` has its header with
/// `flags` (which stand there) given apart. `start`: it would open a segment. `ended` is not decided here, as that takes
/// a walk through the packet; it is what it was after a notice and `false` after messages.
///
/// # Errors
/// Why it cannot follow.
pub(crate) fn follow(
    before: Option<&Chain>,
    start: bool,
    header: &PacketHeader,
    packet_flags: u8,
    bytes: &[u8],
) -> Result<Chain, Broken> {
    let count = header.count.get();
    let notice = packet_flags & flags::LOCAL != 0;
    if packet_flags & flags::SEGMENT_END != 0 {
        return Err("an end mark where a packet should be");
    }
    if notice != (count == 0) {
        return Err("a heartbeat, or a notice with messages");
    }
    if header.session.get() == 0 || header.epoch.get() == 0 || header.sequence.get() == 0 {
        return Err("session, epoch or sequence is zero");
    }
    if !notice && header.sequence.get() < header.epoch_base.get() {
        return Err("its sequence is below its epoch's base");
    }
    match before {
        Some(before) if header.session.get() < before.tail.session => Err("its session is over"),
        Some(before) if header.session.get() == before.tail.session => {
            continue_session(before, header, notice, bytes)
        }
        _ if !start => Err("a session must begin a segment"),
        _ => Ok(begin(header, notice, bytes)),
    }
}

/// The chain after a packet that follows nothing of its session.
fn begin(header: &PacketHeader, notice: bool, bytes: &[u8]) -> Chain {
    let next = match notice {
        true => after_notice(first_frame(bytes), header.sequence.get()),
        false => header.end(),
    };
    let tail = Tail {
        session: header.session.get(),
        epoch: header.epoch.get(),
        epoch_base: header.epoch_base.get(),
        next,
        ended: false,
    };
    Chain {
        tail,
        loose: notice,
        incomplete: notice && incomplete_after(first_frame(bytes), false),
    }
}

/// The chain after a packet read alone, as by a reader that starts in the middle: of a notice it knows no more than that says.
pub(crate) fn after(packet: &Packet<'_>) -> Chain {
    let notice = packet.header().flags & flags::LOCAL != 0;
    let mut chain = begin(packet.header(), notice, packet.bytes());
    chain.tail.ended = match notice {
        true => abandons(packet.bytes()),
        false => ends_session(packet),
    };
    chain
}

/// The chain after a packet of the same session that is known to follow.
pub(crate) fn pass(before: &Chain, packet: &Packet<'_>) -> Chain {
    let mut chain = after(packet);
    if packet.header().flags & flags::LOCAL != 0 {
        let next = after_notice(first_frame(packet.bytes()), before.tail.next);
        let ended = before.tail.ended || abandons(packet.bytes());
        chain.incomplete = incomplete_after(first_frame(packet.bytes()), before.incomplete);
        chain.tail = Tail {
            next,
            ended,
            ..before.tail
        };
    } else {
        chain.incomplete = before.incomplete;
    }
    chain
}

fn continue_session(
    before: &Chain,
    header: &PacketHeader,
    notice: bool,
    bytes: &[u8],
) -> Result<Chain, Broken> {
    let mut chain = *before;
    let sequence = header.sequence.get();
    let next = before.tail.next;
    if notice {
        chain.tail.next = after_notice(first_frame(bytes), next);
        let void = first_frame(bytes).is_some_and(|frame| frame.template() == Void::TEMPLATE);
        chain.loose |= void || chain.tail.next != next;
        chain.incomplete = incomplete_after(first_frame(bytes), before.incomplete);
        chain.tail.ended |= abandons(bytes);
        if sequence < next || sequence > chain.tail.next {
            return Err("a notice at another sequence");
        }
        return Ok(chain);
    }
    let epoch = header.epoch.get();
    if epoch < before.tail.epoch {
        return Err("its epoch is over");
    }
    let same_epoch = epoch == before.tail.epoch && header.epoch_base.get() == before.tail.epoch_base;
    if !(sequence == next && (same_epoch || before.loose)) {
        starts_epoch(before, header, bytes)?;
    }
    chain.tail = Tail {
        session: before.tail.session,
        epoch,
        epoch_base: header.epoch_base.get(),
        next: header.end(),
        ended: false,
    };
    chain.loose = false;
    Ok(chain)
}

/// Checks that a packet that does not simply continue starts a new epoch.
#[cold]
fn starts_epoch(before: &Chain, header: &PacketHeader, bytes: &[u8]) -> Result<(), Broken> {
    if header.epoch.get() == before.tail.epoch {
        return Err(if header.epoch_base.get() == before.tail.epoch_base {
            "its sequence is not the next one"
        } else {
            "its epoch's base changed"
        });
    }
    let start = first_frame(bytes).and_then(|frame| frame.view::<EpochStart>());
    let Some(start) = start else {
        return Err("a new epoch without EpochStart");
    };
    let (sequence, next) = (header.sequence.get(), before.tail.next);
    if sequence != header.epoch_base.get() || start.epoch.get() != header.epoch.get() {
        return Err("an EpochStart that is not at its epoch's base");
    }
    // A listener that had gone beyond the valid end has said so with a notice.
    if sequence < next || !(start.valid_end.get() == next || before.loose) {
        return Err("an EpochStart whose valid end is not where the journal stands");
    }
    Ok(())
}

/// [`follow`] for a packet that is complete in memory, with `ended` decided.
pub(crate) fn follow_packet(
    before: Option<&Chain>,
    start: bool,
    channel: u16,
    packet: &Packet<'_>,
) -> Result<Chain, Broken> {
    let header = packet.header();
    if header.channel.get() != channel {
        return Err("a packet of another channel");
    }
    let mut chain = follow(before, start, header, header.flags, packet.bytes())?;
    if header.flags & flags::LOCAL == 0 {
        chain.tail.ended = ends_session(packet);
    }
    Ok(chain)
}

#[cfg(test)]
mod tests;
