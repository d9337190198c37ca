//! Tails: from a place through the journal into what comes, over epochs and sessions, for readers and replicas.

mod common;

use common::pair::Pair;
use common::{Feed, Got, SECOND};
use tempfile::TempDir;
use twinline_journal::Retention;
use twinline_recovery::server::Tails;
use twinline_recovery::{Limits, Mark, SharedMark, range};
use twinline_wire::field::{CompleteStatus, LogoutReason, RejectCode, TailKind};
use twinline_wire::recovery::{Acknowledge, TailRequest};
use twinline_wire::stream;

const TAIL: u32 = 9;

/// A client over the journal in `dir` that has asked for a tail, and what it got so far.
fn tail(dir: &TempDir, session: u32, next: u64, kind: TailKind) -> Pair {
    let mut pair = Pair::over(dir, Limits::default());
    ask(&mut pair, session, next, kind);
    pair
}

fn ask(pair: &mut Pair, session: u32, next: u64, kind: TailKind) {
    let now = pair.now;
    pair.client
        .tail(TAIL, Mark::new(session, next), kind, now)
        .expect("it is ready");
    pair.settle();
}

/// The packets that came since this was called last: session, begin, end.
fn packets(pair: &mut Pair) -> Vec<(u32, u64, u64)> {
    pair.settle();
    let events = std::mem::take(&mut pair.events);
    let packet = |event: &Got| match *event {
        Got::Packet {
            request: TAIL,
            session,
            begin,
            end,
        } => Some((session, begin, end)),
        _ => None,
    };
    events.iter().filter_map(packet).collect()
}

fn has(pair: &Pair, wanted: &Got) -> bool {
    pair.events.contains(wanted)
}

#[test]
fn a_tail_comes_through_the_journal_and_goes_on_live() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    feed.publish(3, 10);
    let mut pair = tail(&dir, 3, 12, TailKind::READER);
    assert!(has(&pair, &Got::CaughtUp));
    assert_eq!(packets(&mut pair), [(3, 12, 22), (3, 22, 32)]);
    for round in 0..50 {
        feed.publish(1, 2);
        let begin = 32 + 2 * round;
        assert_eq!(packets(&mut pair), [(3, begin, begin + 2)]);
    }
    assert!(!has(&pair, &Got::CaughtUp), "said once");
}

#[test]
fn a_tail_that_begins_inside_of_a_packet_gets_the_whole_packet() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    feed.publish(2, 10);
    let mut pair = tail(&dir, 3, 5, TailKind::READER);
    assert_eq!(packets(&mut pair), [(3, 2, 12), (3, 12, 22)]);
}

#[test]
fn from_the_oldest_means_every_session_that_is_kept() {
    let dir = TempDir::new().expect("a directory");
    let mut pair = tail(dir_with_two_sessions(&dir), 0, 0, TailKind::READER);
    assert_eq!(
        packets(&mut pair),
        [(3, 1, 2), (3, 2, 4), (3, 4, 5), (7, 1, 2), (7, 2, 4)]
    );
}

fn dir_with_two_sessions(dir: &TempDir) -> &TempDir {
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    feed.publish(1, 2);
    feed.end_session();
    feed.start_session(7);
    feed.publish(1, 2);
    dir
}

#[test]
fn a_tail_goes_on_into_the_following_sessions_ended_or_not() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    let mut pair = tail(&dir, 3, 1, TailKind::READER);
    feed.publish(1, 1);
    feed.end_session();
    assert_eq!(packets(&mut pair), [(3, 1, 2), (3, 2, 3), (3, 3, 4)]);
    feed.start_session(4);
    feed.publish(1, 1);
    assert_eq!(packets(&mut pair), [(4, 1, 2), (4, 2, 3)]);
    // Given up without an end.
    feed.start_session(9);
    assert_eq!(packets(&mut pair), [(9, 1, 2)]);
}

#[test]
fn a_start_that_is_not_published_yet_waits_for_it() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::keeping(dir.path());
    let mut early = tail(&dir, 4, 1, TailKind::READER);
    assert_eq!(packets(&mut early), []);
    feed.start_session(3);
    feed.publish(1, 10);
    assert_eq!(
        packets(&mut early),
        [],
        "an older session is none of its business"
    );
    let mut ahead = tail(&dir, 3, 30, TailKind::READER);
    assert_eq!(packets(&mut ahead), []);
    feed.publish(2, 10);
    assert_eq!(packets(&mut ahead), [(3, 22, 32)]);
    feed.start_session(6);
    assert_eq!(packets(&mut early), [(6, 1, 2)]);
    assert_eq!(packets(&mut ahead), [(6, 1, 2)]);
}

#[test]
fn a_session_that_is_not_kept_and_not_to_come_is_unknown() {
    let dir = TempDir::new().expect("a directory");
    dir_with_two_sessions(&dir);
    let pair = tail(&dir, 5, 1, TailKind::READER);
    let rejected = Got::Reject {
        request: TAIL,
        begin: 1,
        end: u64::MAX,
        code: RejectCode::UNKNOWN_SESSION,
        retry: 0,
        next_session: None,
    };
    assert!(has(&pair, &rejected), "{:?}", pair.events);
    let completed = Got::Complete {
        request: TAIL,
        status: CompleteStatus::COMPLETE,
    };
    assert!(has(&pair, &completed));
}

#[test]
fn over_a_cut_the_client_gets_the_epoch_start_whatever_it_had() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    feed.publish(9, 10);
    // One that had all of it, live, and one that comes back with it later.
    let mut live = tail(&dir, 3, 1, TailKind::REPLICA);
    assert_eq!(packets(&mut live).len(), 10);
    feed.writer.discard_from(62).expect("a packet begins there");
    feed.next = 62;
    assert_eq!(packets(&mut live), [], "nothing new");
    feed.start_epoch(5000);
    feed.publish(1, 10);
    let expected = [(3, 5000, 5001), (3, 5001, 5011)];
    assert_eq!(packets(&mut live), expected);
    let mut back = tail(&dir, 3, 82, TailKind::REPLICA);
    assert_eq!(packets(&mut back), expected);
    // One that was behind the cut gets what is valid before it.
    let mut behind = tail(&dir, 3, 42, TailKind::READER);
    let valid = [(3, 42, 52), (3, 52, 62), (3, 5000, 5001), (3, 5001, 5011)];
    assert_eq!(packets(&mut behind), valid);
}

#[test]
fn a_place_that_leaves_retention_is_too_old_and_the_oldest_is_named() {
    let dir = TempDir::new().expect("a directory");
    let keep = Retention {
        segments: Some(2),
        ..Retention::default()
    };
    let mut feed = Feed::open(dir.path(), 64 << 10, keep);
    feed.start_session(3);
    feed.publish(1, 10);
    let mut pair = tail(&dir, 3, 1, TailKind::READER);
    assert_eq!(packets(&mut pair), [(3, 1, 2), (3, 2, 12)]);
    feed.publish(2000, 40);
    pair.settle();
    let oldest = pair.events.iter().find_map(|event| match *event {
        Got::Reject {
            request: TAIL,
            begin,
            end,
            code: RejectCode::TOO_OLD,
            retry: 0,
            ..
        } => Some((begin, end)),
        _ => None,
    });
    let (begin, oldest) = oldest.unwrap_or_else(|| panic!("{:?}", pair.events));
    // What it had mapped it still got.
    assert!(12 <= begin && begin < oldest, "{begin} {oldest}");
    pair.events.clear();
    // And from there on it can have it again, on the same connection.
    ask(&mut pair, 3, oldest, TailKind::READER);
    let first = packets(&mut pair)[0];
    assert_eq!((first.0, first.1), (3, oldest));
}

#[test]
fn a_hole_that_no_epoch_start_explains_ends_the_tail() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    feed.publish(1, 10);
    let mut pair = tail(&dir, 3, 1, TailKind::READER);
    // A listener's journal, with what that one lost.
    feed.lose(20);
    feed.publish(1, 10);
    pair.settle();
    let rejected = Got::Reject {
        request: TAIL,
        begin: 12,
        end: 20,
        code: RejectCode::TOO_OLD,
        retry: 0,
        next_session: None,
    };
    assert!(has(&pair, &rejected), "{:?}", pair.events);
}

#[test]
fn ranges_are_answered_beside_a_tail() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    feed.publish(9, 10);
    let mut pair = tail(&dir, 3, 90, TailKind::READER);
    let answered = pair.ask(1, 3, &[range(5, 30)]);
    assert_eq!(answered.had, [(2, 32)]);
    assert_eq!(answered.status, Some(CompleteStatus::COMPLETE));
    pair.events.clear();
    feed.publish(1, 10);
    assert_eq!(packets(&mut pair), [(3, 92, 102)]);
}

#[test]
fn readers_get_what_is_released_and_replicas_all_and_the_mark() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    feed.publish(5, 10);
    let mark = SharedMark::default();
    mark.set(Mark::new(3, 22));
    let [mut reader, mut replica] = [TailKind::READER, TailKind::REPLICA].map(|kind| {
        let mut pair = Pair::over(&dir, Limits::default());
        pair.store.released = Some(mark.get());
        ask(&mut pair, 3, 1, kind);
        pair
    });
    let told = Got::Heartbeat { session: 3, next: 22 };
    assert!(has(&replica, &told), "{:?}", replica.events);
    assert_eq!(packets(&mut reader), [(3, 1, 2), (3, 2, 12), (3, 12, 22)]);
    assert_eq!(packets(&mut replica).len(), 6);
    // Ranges and heads end there too.
    let answered = reader.ask(1, 3, &[range(10, 30)]);
    assert_eq!(answered.had, [(2, 22)]);
    assert_eq!(answered.refused, [(22, 30, RejectCode::NOT_YET_PUBLISHED)]);
    for pair in [&mut reader, &mut replica] {
        pair.store.released = Some(Mark::new(3, 42));
        pair.events.clear();
        pair.settle();
    }
    assert!(has(&replica, &Got::Heartbeat { session: 3, next: 42 }));
    assert_eq!(packets(&mut reader), [(3, 22, 32), (3, 32, 42)]);
    assert_eq!(packets(&mut replica), []);
}

#[test]
fn an_idle_tail_hears_how_far_is_released() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    let mut pair = tail(&dir, 3, 1, TailKind::READER);
    pair.events.clear();
    pair.now += SECOND;
    pair.settle();
    assert_eq!(pair.events, [Got::Heartbeat { session: 3, next: 2 }]);
}

#[test]
fn acknowledgements_are_noted_and_wrong_ones_end_the_connection() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    feed.publish(2, 10);
    let mut pair = tail(&dir, 3, 1, TailKind::REPLICA);
    pair.client
        .acknowledge(Mark::new(3, 12), 1, 0)
        .expect("a tail is open");
    pair.settle();
    let tails = pair.store.tails.list();
    assert_eq!(tails.len(), 1);
    assert_eq!(tails[0].client, "test");
    assert_eq!(tails[0].sent, Mark::new(3, 22));
    assert_eq!(tails[0].acknowledged, Some(Mark::new(3, 12)));

    // Beyond what was sent.
    pair.client
        .acknowledge(Mark::new(3, 23), 1, 0)
        .expect("the client does not check it");
    pair.settle();
    assert_eq!(
        pair.events.last(),
        Some(&Got::Logout(LogoutReason::PROTOCOL_ERROR))
    );
    assert_eq!(pair.store.tails.list(), [], "its place is free again");

    // A reader's.
    let mut pair = tail(&dir, 3, 1, TailKind::READER);
    pair.client
        .acknowledge(Mark::new(3, 12), 1, 0)
        .expect("a tail is open");
    pair.settle();
    assert_eq!(
        pair.events.last(),
        Some(&Got::Logout(LogoutReason::PROTOCOL_ERROR))
    );
}

/// What the service says to these bytes of a client that is logged in.
fn say(dir: &TempDir, frames: &[Vec<u8>]) -> Vec<Got> {
    let mut pair = Pair::over(dir, Limits::default());
    for frame in frames {
        assert_eq!(pair.server.on_bytes(frame), frame.len());
    }
    pair.settle();
    pair.events
}

fn request(request_id: u32, session: u32, sequence: u64, kind: u8) -> Vec<u8> {
    let mut frame = vec![0; 128];
    let request = TailRequest {
        request_id: request_id.into(),
        session: session.into(),
        sequence: sequence.into(),
        kind: TailKind(kind),
    };
    let length = stream::put_with_data(&mut frame, &request, &[]).expect("room");
    frame.truncate(length);
    frame
}

#[test]
fn wrong_uses_of_tails_end_the_connection() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    let mut acknowledge = vec![0; 128];
    let held = Acknowledge {
        request_id: 1.into(),
        session: 3.into(),
        epoch: 1.into(),
        sequence: 1.into(),
    };
    let length = stream::put_with_data(&mut acknowledge, &held, &[]).expect("room");
    acknowledge.truncate(length);
    let wrong = [
        vec![acknowledge],
        vec![request(1, 3, 1, 1), request(2, 3, 1, 1)],
        vec![request(0, 3, 1, 1)],
        vec![request(1, 3, 1, 3)],
    ];
    for frames in &wrong {
        let events = say(&dir, frames);
        let last = events.last();
        assert!(
            matches!(
                last,
                Some(Got::Logout(LogoutReason::PROTOCOL_ERROR) | Got::Closed("protocol"))
            ),
            "{events:?}"
        );
    }
}

#[test]
fn no_more_tails_than_allowed_are_open_and_a_place_is_given_back() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    let tails = Tails::new(1);
    let open = |tails: &std::sync::Arc<Tails>| {
        let mut pair = Pair::over(&dir, Limits::default());
        pair.store.tails = tails.clone();
        ask(&mut pair, 3, 1, TailKind::READER);
        pair
    };
    let first = open(&tails);
    let second = open(&tails);
    let refused = second.events.iter().any(|event| {
        matches!(
            event,
            Got::Reject {
                code: RejectCode::OVER_LIMITS,
                retry: 1..,
                ..
            }
        )
    });
    assert!(refused, "{:?}", second.events);
    drop(first);
    let mut third = open(&tails);
    assert_eq!(packets(&mut third), [(3, 1, 2)]);
}
