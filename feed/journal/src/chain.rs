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
mod tests {
    use super::*;
    use crate::testing::{CHANNEL, Stream};
    use twinline_wire::session::LineEvent;
    use twinline_wire::{U32, U64};

    fn next(chain: Option<&Chain>, start: bool, packet: &[u8]) -> Result<Chain, Broken> {
        follow_packet(chain, start, CHANNEL, &Packet::parse(packet).unwrap())
    }

    /// A chain behind sequences 1..10 of session 1, and the stream there.
    fn at_ten() -> (Chain, Stream) {
        let mut stream = Stream::new(1);
        let first = next(None, true, &stream.epoch_start(1)).unwrap();
        let chain = next(Some(&first), false, &stream.ticks(8, 0)).unwrap();
        assert_eq!(chain.tail.next, 10);
        (chain, stream)
    }

    #[test]
    fn the_next_sequence_of_the_same_epoch_continues() {
        let (chain, stream) = at_ten();
        assert_eq!(
            next(Some(&chain), false, &stream.clone().ticks(2, 0))
                .unwrap()
                .tail
                .next,
            12
        );
        for wrong in [1, 9, 11] {
            let mut stream = Stream {
                next: wrong,
                ..stream
            };
            assert_eq!(
                next(Some(&chain), false, &stream.ticks(2, 0)),
                Err("its sequence is not the next one")
            );
        }
        let mut other = Stream { base: 2, ..stream };
        assert_eq!(
            next(Some(&chain), false, &other.ticks(1, 0)),
            Err("its epoch's base changed")
        );
        let packet = stream.clone().ticks(1, 0);
        let packet = Packet::parse(&packet).unwrap();
        let other = follow_packet(Some(&chain), false, CHANNEL + 1, &packet);
        assert_eq!(other, Err("a packet of another channel"));
    }

    #[test]
    fn an_epoch_starts_at_its_base_with_the_valid_end_where_the_journal_stands() {
        let (chain, stream) = at_ten();
        for base in [10, 11, 5000] {
            let after = next(Some(&chain), false, &stream.clone().new_epoch(base)).unwrap();
            assert_eq!(
                (after.tail.epoch, after.tail.epoch_base, after.tail.next),
                (2, base, base + 1)
            );
        }
        let wrong = [
            Stream {
                epoch: 2,
                base: 10,
                ..stream
            }
            .ticks(1, 0),
            Stream {
                epoch: 2,
                base: 20,
                next: 20,
                ..stream
            }
            .epoch_start(9),
            Stream {
                epoch: 2,
                base: 20,
                next: 20,
                ..stream
            }
            .epoch_start(11),
            Stream {
                epoch: 2,
                base: 9,
                next: 9,
                ..stream
            }
            .epoch_start(10),
            Stream {
                epoch: 2,
                base: 10,
                next: 20,
                ..stream
            }
            .epoch_start(10),
        ];
        for packet in wrong {
            assert!(next(Some(&chain), false, &packet).is_err());
        }
        let (mut lower, mut lower_stream) = (chain, stream);
        (lower.tail.epoch, lower_stream.epoch) = (3, 2);
        assert_eq!(
            next(Some(&lower), false, &lower_stream.ticks(1, 0)),
            Err("its epoch is over")
        );
    }

    #[test]
    fn a_session_begins_a_segment_and_only_grows() {
        let (chain, _) = at_ten();
        let mut stream = Stream::new(2);
        let packet = stream.epoch_start(1);
        assert_eq!(next(Some(&chain), true, &packet).unwrap().tail.session, 2);
        assert_eq!(
            next(Some(&chain), false, &packet),
            Err("a session must begin a segment")
        );
        assert_eq!(next(None, false, &packet), Err("a session must begin a segment"));
        let second = next(None, true, &packet).unwrap();
        let old = Stream::new(1).ticks(1, 0);
        assert_eq!(next(Some(&second), true, &old), Err("its session is over"));
    }

    #[test]
    fn behind_a_void_range_the_epoch_that_made_it_so_begins() {
        let (chain, stream) = at_ten();
        let void = Void {
            begin: U64::new(7),
            end: U64::new(10),
            epoch: U32::new(2),
        };
        let after = next(Some(&chain), false, &stream.clone().notice(&void, 10)).unwrap();
        assert_eq!((after.tail.next, after.loose), (10, true));
        let mut new = Stream {
            epoch: 2,
            base: 70,
            next: 70,
            ..stream
        };
        assert_eq!(
            next(Some(&after), false, &new.epoch_start(7)).unwrap().tail.next,
            71
        );
    }

    #[test]
    fn a_session_that_is_lost_without_an_end_or_abandoned_has_ended_where_it_stood() {
        let (chain, stream) = at_ten();
        let lost = Lost {
            begin: U64::new(10),
            end: U64::new(u64::MAX),
            ..Lost::NULL
        };
        let after = next(Some(&chain), false, &stream.clone().notice(&lost, 10)).unwrap();
        assert_eq!((after.tail.next, after.tail.ended), (10, true));
        let abandoned = SessionEvent {
            state: SessionState::ABANDONED,
            ..SessionEvent::NULL
        };
        let packet = stream.clone().notice(&abandoned, 10);
        for before in [&after, &chain] {
            let end = next(Some(before), false, &packet).unwrap();
            assert_eq!((end.tail.next, end.tail.ended), (10, true));
            assert!(pass(before, &Packet::parse(&packet).unwrap()).tail.ended);
        }
    }

    #[test]
    fn a_state_is_incomplete_from_a_loss_until_another_replaces_it() {
        let (chain, stream) = at_ten();
        assert!(!chain.incomplete);
        let lost = Lost {
            begin: U64::new(10),
            end: U64::new(20),
            ..Lost::NULL
        };
        let after = next(Some(&chain), false, &stream.clone().notice(&lost, 20)).unwrap();
        assert!(after.incomplete);
        let mut behind = Stream { next: 20, ..stream };
        let after = next(Some(&after), false, &behind.ticks(5, 0)).unwrap();
        assert!(after.incomplete, "what comes behind a loss does not mend it");
        let replaced = StateReplaced {
            sequence: U64::new(25),
            ..StateReplaced::NULL
        };
        let after = next(Some(&after), false, &behind.clone().notice(&replaced, 25)).unwrap();
        assert!(!after.incomplete);
        let again = next(Some(&after), false, &behind.notice(&lost, 25)).unwrap();
        assert!(again.incomplete);
        let mut session = Stream::new(2);
        let fresh = next(Some(&again), true, &session.epoch_start(1)).unwrap();
        assert!(!fresh.incomplete, "a new session begins whole");
    }

    #[test]
    fn a_listeners_notices_move_the_sequence() {
        let (chain, stream) = at_ten();
        let lost = Lost {
            begin: U64::new(10),
            end: U64::new(50),
            ..Lost::NULL
        };
        let void = Void {
            begin: U64::new(10),
            end: U64::new(50),
            epoch: U32::new(2),
        };
        let replaced = StateReplaced {
            sequence: U64::new(50),
            ..StateReplaced::NULL
        };
        let moved = [
            stream.clone().notice(&lost, 50),
            stream.clone().notice(&void, 50),
            stream.clone().notice(&replaced, 50),
            // The notice may also stand where the stream goes on.
            Stream { next: 50, ..stream }.notice(&lost, 50),
        ];
        for packet in moved {
            let after = next(Some(&chain), false, &packet).unwrap();
            assert_eq!((after.tail.next, after.loose), (50, true));
            // The EpochStart may have been among what is missing.
            let mut new = Stream {
                epoch: 3,
                base: 40,
                next: 50,
                ..stream
            };
            let again = next(Some(&after), false, &new.ticks(1, 0)).unwrap();
            assert_eq!((again.tail.epoch, again.tail.next, again.loose), (3, 51, false));
            // Or it comes yet, with whatever valid end made the range void.
            let mut new = Stream {
                epoch: 2,
                base: 70,
                next: 70,
                ..stream
            };
            assert_eq!(
                next(Some(&after), false, &new.epoch_start(7)).unwrap().tail.next,
                71
            );
            let mut gap = Stream { next: 51, ..stream };
            assert!(next(Some(&after), false, &gap.ticks(1, 0)).is_err());
        }
        let event = stream.clone().notice(&LineEvent::NULL, 10);
        let after = next(Some(&chain), false, &event).unwrap();
        assert_eq!((after.tail.next, after.loose), (10, false));
        for wrong in [9, 11] {
            let event = Stream {
                next: wrong,
                ..stream
            }
            .notice(&LineEvent::NULL, wrong);
            assert_eq!(
                next(Some(&chain), false, &event),
                Err("a notice at another sequence")
            );
        }
    }

    #[test]
    fn heartbeats_and_end_marks_are_not_journalled() {
        let (chain, stream) = at_ten();
        let mut bytes = [0; 64];
        for flags in [0, flags::END_OF_SESSION, flags::SEGMENT_END] {
            let open = twinline_wire::OpenPacket::new();
            let length = open.finish_whole(&mut bytes, stream.stamp(flags), 0);
            assert!(next(Some(&chain), false, &bytes[..length]).is_err());
        }
    }

    #[test]
    fn the_end_of_a_session_is_seen_behind_notices_too() {
        let (chain, mut stream) = at_ten();
        let ended = next(Some(&chain), false, &stream.end_of_session()).unwrap();
        assert!(ended.tail.ended);
        let after = next(Some(&ended), false, &stream.notice(&LineEvent::NULL, 11)).unwrap();
        assert!(after.tail.ended);
    }
}
