//! Which packet may follow which. Pure; used by the writer, by recovery after a crash, and by `verify`.

use crate::Tail;
use twinline_wire::header::{HEADER_LEN, PacketHeader, flags};
use twinline_wire::field::SessionState;
use twinline_wire::session::{EndOfSession, EpochStart, Lost, SessionEvent, StateReplaced, Void};
use twinline_wire::{Frame, Message, Packet};

/// Where a journal stands after a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// What everyone sees of it.
    pub(crate) tail: Tail,
    /// True after a notice that sequences are missing: the EpochStart of the next packet's epoch may be among them.
    pub(crate) loose: bool,
}

/// A packet that cannot follow, and why.
pub(crate) type Broken = &'static str;

/// Where the sequence goes on after a notice that stands at `next`.
pub(crate) fn after_notice(frame: Option<Frame<'_>>, next: u64) -> u64 {
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

/// True if the last message of `packet` is EndOfSession.
pub(crate) fn ends_session(packet: &Packet<'_>) -> bool {
    let last = packet.messages().last();
    last.is_some_and(|(_, frame)| frame.template() == EndOfSession::TEMPLATE)
}

/// True for the notice that a session ended without its last message. `bytes`: a whole packet.
fn abandons(bytes: &[u8]) -> bool {
    let event = first_frame(bytes).and_then(|frame| frame.view::<SessionEvent>().map(|event| event.state));
    event == Some(SessionState::ABANDONED)
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
#[inline]
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
    Chain { tail, loose: notice }
}

/// The chain after a packet read alone, as by a reader that starts in the middle.
pub(crate) fn after(packet: &Packet<'_>) -> Chain {
    let notice = packet.header().flags & flags::LOCAL != 0;
    let mut chain = begin(packet.header(), notice, packet.bytes());
    chain.tail.ended = ends_session(packet);
    chain
}

/// The chain after a packet of the same session that is known to follow.
pub(crate) fn pass(before: &Chain, packet: &Packet<'_>) -> Chain {
    let mut chain = after(packet);
    if packet.header().flags & flags::LOCAL != 0 {
        let next = after_notice(first_frame(packet.bytes()), before.tail.next);
        let ended = before.tail.ended || abandons(packet.bytes());
        chain.tail = Tail {
            next,
            ended,
            ..before.tail
        };
    }
    chain
}

#[inline]
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
