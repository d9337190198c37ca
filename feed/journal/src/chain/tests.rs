//! Which packet may follow which.

use super::*;
use crate::testing::{CHANNEL, Stream};
use twinline_wire::session::LineEvent;
use twinline_wire::{U16, U32, U64};
use zerocopy::IntoBytes;

fn next(chain: Option<&Chain>, start: bool, packet: &[u8]) -> Result<Chain, Broken> {
    follow_packet(chain, start, CHANNEL, &Packet::parse(packet).unwrap())
}

/// An EpochStart of epoch 2 at sequence 70, whose valid end is 7, may follow.
fn assert_epoch_2_begins(after: &Chain, stream: Stream) {
    let mut new = Stream {
        epoch: 2,
        base: 70,
        next: 70,
        ..stream
    };
    let begun = next(Some(after), false, &new.epoch_start(7)).unwrap();
    assert_eq!(begun.tail.next, 71);
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
    assert_epoch_2_begins(&after, stream);
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
        assert_epoch_2_begins(&after, stream);
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

/// Headers that differ from that of the next packet in nothing, or in one field or two.
fn nearly_next(chain: &Chain) -> Vec<PacketHeader> {
    let next = PacketHeader {
        channel: U16::new(CHANNEL),
        count: U16::new(2),
        session: U32::new(chain.tail.session),
        epoch: U32::new(chain.tail.epoch),
        sequence: U64::new(chain.tail.next),
        epoch_base: U64::new(chain.tail.epoch_base),
        ..PacketHeader::default()
    };
    let changes: [fn(&mut PacketHeader); 11] = [
        |header| header.flags = flags::LOCAL,
        |header| header.flags = flags::SEGMENT_END,
        |header| header.flags = flags::END_OF_SESSION,
        |header| header.count = U16::new(0),
        |header| header.session += 1,
        |header| header.session -= 1,
        |header| header.epoch += 1,
        |header| header.epoch -= 1,
        |header| header.sequence += 1,
        |header| header.sequence -= 1,
        |header| header.epoch_base += 5,
    ];
    let mut headers = vec![next];
    for (at, first) in changes.iter().enumerate() {
        let mut once = next;
        first(&mut once);
        headers.push(once);
        for second in &changes[at + 1..] {
            let mut twice = once;
            second(&mut twice);
            headers.push(twice);
        }
    }
    headers
}

#[test]
fn the_short_way_takes_only_what_follows_and_leads_where_the_whole_one_does() {
    let (usual, _) = at_ten();
    let (mut loose, mut ended, mut below) = (usual, usual, usual);
    (loose.loose, ended.tail.ended) = (true, true);
    // Behind a notice a journal may stand below the base of its epoch.
    below.tail.epoch_base = 11;
    let mut short = 0;
    for chain in [usual, loose, ended, below] {
        for header in nearly_next(&chain).iter().filter(|header| header.sequence > 0) {
            if chain.goes_on(header, header.flags) {
                let mut after = chain;
                after.go_on(header.end());
                let whole = follow(Some(&chain), false, header, header.flags, header.as_bytes());
                assert_eq!(whole, Ok(after), "{header:?}");
                short += 1;
            }
        }
    }
    assert!(short >= 3, "the next packet takes it, but not below its base");
    assert!(
        nearly_next(&below)
            .iter()
            .all(|header| !below.goes_on(header, header.flags))
    );
}
