//! Both state machines against each other, without sockets and with a clock of the test's own, over a real journal.

mod common;

use common::pair::{Pair, store};
use common::{Answered, CHANNEL, Feed, Got, SECOND};
use std::time::Duration;
use tempfile::TempDir;
use twinline_journal::{JournalReader, Retention};
use twinline_recovery::server::{Quota, Store};
use twinline_recovery::{ClientConfig, ClientSession, Limits, Range, ServerSession, range};
use twinline_wire::field::{CompleteStatus, LogoutReason, RejectCode};
use twinline_wire::recovery::{Login, PROTOCOL_VERSION, SnapshotRequest, StreamHeartbeat};
use twinline_wire::stream;

fn answered(had: &[(u64, u64)], refused: &[(u64, u64, RejectCode)], status: CompleteStatus) -> Answered {
    Answered {
        had: had.to_vec(),
        refused: refused.to_vec(),
        status: Some(status),
    }
}

const COMPLETE: CompleteStatus = CompleteStatus::COMPLETE;
const PARTIAL: CompleteStatus = CompleteStatus::PARTIAL;

/// Session 3 with packets 1..2, 2..12, 12..22 … 92..102.
fn simple(dir: &TempDir) -> Feed {
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    feed.publish(10, 10);
    feed
}

#[test]
fn a_login_says_how_far_the_journal_is() {
    let dir = TempDir::new().expect("a directory");
    let _feed = simple(&dir);
    let mut pair = Pair::new(Limits::default(), store(&dir));
    pair.settle();
    assert_eq!(
        pair.events,
        [Got::Accepted {
            session: 3,
            oldest: 1,
            next: 102
        }]
    );
}

#[test]
fn every_range_comes_as_whole_packets_in_the_order_asked() {
    let dir = TempDir::new().expect("a directory");
    let _feed = simple(&dir);
    let mut pair = Pair::over(&dir, Limits::default());
    let all = pair.ask(1, 3, &[range(1, 102)]);
    assert_eq!(all, answered(&[(1, 102)], &[], COMPLETE));
    let some = pair.ask(2, 3, &[range(50, 51), range(5, 13), range(102, 103)]);
    let refused = (102, 103, RejectCode::NOT_YET_PUBLISHED);
    assert_eq!(some, answered(&[(42, 52), (2, 22)], &[refused], COMPLETE));
}

#[test]
fn answers_are_the_same_however_the_bytes_are_cut() {
    let dir = TempDir::new().expect("a directory");
    let _feed = simple(&dir);
    for piece in [1, 7, 64, 1000] {
        let mut pair = Pair::over(&dir, Limits::default());
        pair.piece = piece;
        let ranges = [range(1, 40), range(0, 5), range(90, 200)];
        let expected = [
            (0, 5, RejectCode::MALFORMED),
            (102, 200, RejectCode::NOT_YET_PUBLISHED),
        ];
        assert_eq!(
            pair.ask(1, 3, &ranges),
            answered(&[(1, 42), (82, 102)], &expected, COMPLETE)
        );
    }
}

#[test]
fn several_requests_are_open_at_once_and_answered_in_order() {
    let dir = TempDir::new().expect("a directory");
    let _feed = simple(&dir);
    let mut pair = Pair::over(&dir, Limits::default());
    for request in 1..=16 {
        let begin = u64::from(request) * 5;
        pair.client
            .request(request, 3, &[range(begin, begin + 5)], 0)
            .expect("allowed");
    }
    assert!(
        pair.client.request(17, 3, &[range(1, 2)], 0).is_err(),
        "more than the service allows"
    );
    assert!(
        pair.client.request(16, 3, &[range(1, 2)], 0).is_err(),
        "still open"
    );
    pair.settle();
    let completed: Vec<u32> = pair
        .events
        .iter()
        .filter_map(|event| match event {
            Got::Complete { request, .. } => Some(*request),
            _ => None,
        })
        .collect();
    assert_eq!(completed, (1..=16).collect::<Vec<_>>());
    assert!(pair.client.open_requests().is_empty());
}

#[test]
fn a_hole_that_an_epoch_left_is_void_and_nothing_else_is() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = simple(&dir);
    feed.start_epoch(500);
    feed.publish(3, 10);
    let mut pair = Pair::over(&dir, Limits::default());
    let across = pair.ask(1, 3, &[range(95, 520)]);
    assert_eq!(
        across,
        answered(
            &[(92, 102), (500, 521)],
            &[(102, 500, RejectCode::VOID)],
            COMPLETE
        )
    );
    let inside = pair.ask(2, 3, &[range(200, 300), range(499, 501)]);
    let refused = [(200, 300, RejectCode::VOID), (499, 500, RejectCode::VOID)];
    assert_eq!(inside, answered(&[(500, 501)], &refused, COMPLETE));
    let beyond = pair.ask(3, 3, &[range(530, 540)]);
    assert_eq!(
        beyond,
        answered(
            &[(521, 531)],
            &[(531, 540, RejectCode::NOT_YET_PUBLISHED)],
            COMPLETE
        )
    );
}

#[test]
fn what_stood_before_a_sessions_first_epoch_that_a_power_cut_left_is_void() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::open(dir.path(), 64 << 10, Retention::default());
    // The first epoch was never durable: the journal begins with the second.
    (feed.session, feed.next) = (3, 1);
    feed.start_epoch(500);
    feed.publish(1, 10);
    let mut pair = Pair::over(&dir, Limits::default());
    let all = pair.ask(1, 3, &[range(1, 505)]);
    assert_eq!(
        all,
        answered(&[(500, 511)], &[(1, 500, RejectCode::VOID)], COMPLETE)
    );
}

#[test]
fn what_was_served_once_and_then_cut_off_is_void() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = simple(&dir);
    let mut pair = Pair::over(&dir, Limits::default());
    let refused = (102, 110, RejectCode::NOT_YET_PUBLISHED);
    assert_eq!(
        pair.ask(1, 3, &[range(1, 110)]),
        answered(&[(1, 102)], &[refused], COMPLETE)
    );
    assert_eq!(feed.writer.discard_from(52).expect("between packets"), 50);
    feed.next = 52;
    let refused = (52, 110, RejectCode::NOT_YET_PUBLISHED);
    assert_eq!(
        pair.ask(2, 3, &[range(1, 110)]),
        answered(&[(1, 52)], &[refused], COMPLETE)
    );
    feed.start_epoch(105);
    let refused = (52, 105, RejectCode::VOID);
    assert_eq!(
        pair.ask(3, 3, &[range(1, 106)]),
        answered(&[(1, 52), (105, 106)], &[refused], COMPLETE)
    );
    pair.now += SECOND;
    pair.settle();
    assert_eq!(
        pair.events.last(),
        Some(&Got::Heartbeat {
            session: 3,
            next: 106
        })
    );
}

#[test]
fn what_stands_behind_a_hole_in_a_long_journal_is_found() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = simple(&dir);
    for base in [500, 5000, 10_000] {
        feed.start_epoch(base);
        feed.publish(300, 10);
    }
    let limits = Limits {
        max_data: 10_000,
        ..Limits::default()
    };
    let mut pair = Pair::over(&dir, limits);
    let had = [(1, 102), (500, 3501), (5000, 8001), (10_000, 13_001)];
    let refused = [
        (102, 500, RejectCode::VOID),
        (3501, 5000, RejectCode::VOID),
        (8001, 10_000, RejectCode::VOID),
    ];
    assert_eq!(
        pair.ask(1, 3, &[range(1, 13_001)]),
        answered(&had, &refused, COMPLETE)
    );
    // A range that ends inside a region, and the next that begins where it ended.
    let pieces: Vec<_> = (51..350).map(|ten| range(ten * 10, ten * 10 + 10)).collect();
    for (id, pieces) in pieces.chunks(64).enumerate() {
        let id = u32::try_from(id).expect("few") + 2;
        let some = pair.ask(id, 3, pieces);
        assert!(some.refused.is_empty(), "{some:?}");
    }
}

#[test]
fn a_hole_that_a_listener_declared_lost_is_not_kept_and_never_void() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = simple(&dir);
    feed.lose(152);
    feed.publish(1, 10);
    feed.lose(170);
    feed.start_epoch(200);
    let mut pair = Pair::over(&dir, Limits::default());
    let refused = [
        (102, 152, RejectCode::TOO_OLD),
        (162, 170, RejectCode::TOO_OLD),
        (170, 200, RejectCode::VOID),
    ];
    let had = [(2, 102), (152, 162), (200, 201)];
    assert_eq!(
        pair.ask(1, 3, &[range(2, 201)]),
        answered(&had, &refused, COMPLETE)
    );
    let inside = (110, 120, RejectCode::TOO_OLD);
    assert_eq!(
        pair.ask(2, 3, &[range(110, 120)]),
        answered(&[], &[inside], COMPLETE)
    );
}

#[test]
fn beyond_the_end_of_a_session_everything_is_void() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = simple(&dir);
    feed.end_session();
    let mut pair = Pair::over(&dir, Limits::default());
    let ended = pair.ask(1, 3, &[range(102, 110)]);
    assert_eq!(
        ended,
        answered(&[(102, 103)], &[(103, 110, RejectCode::VOID)], COMPLETE)
    );
    feed.start_session(5);
    feed.publish(1, 10);
    feed.start_session(6);
    let superseded = pair.ask(2, 5, &[range(1, 20)]);
    assert_eq!(
        superseded,
        answered(&[(1, 12)], &[(12, 20, RejectCode::VOID)], COMPLETE)
    );
    let old = pair.ask(3, 3, &[range(1, 200)]);
    assert_eq!(
        old,
        answered(&[(1, 103)], &[(103, 200, RejectCode::VOID)], COMPLETE)
    );
}

#[test]
fn a_session_that_may_still_come_is_unknown_and_asked_for_again() {
    let dir = TempDir::new().expect("a directory");
    let _feed = simple(&dir);
    let mut pair = Pair::over(&dir, Limits::default());
    pair.ask(1, 4, &[range(1, 10)]);
    assert_eq!(
        pair.events[0],
        Got::Reject {
            request: 1,
            begin: 1,
            end: 10,
            code: RejectCode::UNKNOWN_SESSION,
            retry: 100,
            next_session: None,
        }
    );
}

/// How all of a session that is not held is refused.
fn refused_session(pair: &mut Pair, request: u32, session: u32) -> (RejectCode, Option<u32>) {
    pair.ask(request, session, &[range(1, u64::MAX)]);
    match pair.events.iter().rev().nth(1) {
        Some(&Got::Reject {
            begin: 1,
            end: u64::MAX,
            code,
            retry: 0,
            next_session,
            ..
        }) => (code, next_session),
        other => panic!("session {session} is not refused as a whole: {other:?}"),
    }
}

#[test]
fn a_session_that_is_not_held_is_void_only_if_the_next_ones_start_says_so() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::open(dir.path(), 1 << 20, Retention::default());
    feed.start_session_after(3, 1);
    feed.end_session();
    feed.start_session_after(7, 3);
    feed.publish(2, 10);
    // Taken up again here, or a listener's journal: what was published in between this journal does not know.
    feed.start_session_after(12, 10);
    feed.start_session(15);
    let mut pair = Pair::over(&dir, Limits::default());
    let (void, too_old) = (RejectCode::VOID, RejectCode::TOO_OLD);
    let expected = [
        (1, too_old, 3),
        (2, void, 3),
        (4, void, 7),
        (6, void, 7),
        (8, too_old, 12),
        (10, too_old, 12),
        (11, void, 12),
        (13, too_old, 15),
    ];
    for (request, (session, code, next)) in (1..).zip(expected) {
        assert_eq!(
            refused_session(&mut pair, request, session),
            (code, Some(next)),
            "session {session}"
        );
    }
}

#[test]
fn a_session_that_begins_with_a_later_epoch_or_a_notice_still_names_the_one_before() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::open(dir.path(), 1 << 20, Retention::default());
    feed.start_session(3);
    // A power cut took all of session 7's first epoch.
    feed.begin_late(7, 4097, 3);
    let mut pair = Pair::over(&dir, Limits::default());
    assert_eq!(refused_session(&mut pair, 1, 5), (RejectCode::VOID, Some(7)));
    let dir = TempDir::new().expect("a directory");
    let mut feed = Feed::open(dir.path(), 1 << 20, Retention::default());
    feed.start_session(3);
    feed.begin_with_notice(7, 3);
    let mut pair = Pair::over(&dir, Limits::default());
    assert_eq!(refused_session(&mut pair, 1, 5), (RejectCode::VOID, Some(7)));
}

#[test]
fn what_retention_removed_is_too_old() {
    let dir = TempDir::new().expect("a directory");
    let retention = Retention {
        segments: Some(2),
        bytes: None,
        age: None,
    };
    let mut feed = Feed::open(dir.path(), 64 << 10, retention);
    feed.start_session(3);
    feed.publish(1000, 40);
    let mut pair = Pair::new(Limits::default(), store(&dir));
    pair.settle();
    let Some(Got::Accepted { oldest, next, .. }) = pair.events.first().cloned() else {
        panic!("not let in: {:?}", pair.events);
    };
    assert!(oldest > 1, "retention removed something");
    let refused = (1, oldest, RejectCode::TOO_OLD);
    let all = pair.ask(1, 3, &[range(1, next)]);
    assert_eq!(all, answered(&[(oldest, next)], &[refused], COMPLETE));
    let old = pair.ask(2, 3, &[range(5, 9)]);
    assert_eq!(old, answered(&[], &[(5, 9, RejectCode::TOO_OLD)], COMPLETE));
}

#[test]
fn a_request_over_its_limit_is_answered_in_part_and_can_be_asked_again() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = simple(&dir);
    let limits = Limits {
        max_messages: 25,
        ..Limits::default()
    };
    let mut pair = Pair::over(&dir, limits);
    assert_eq!(
        pair.ask(1, 3, &[range(2, 102)]),
        answered(&[(2, 32)], &[], PARTIAL)
    );
    assert_eq!(
        pair.ask(2, 3, &[range(32, 40), range(90, 93)]),
        answered(&[(32, 42), (82, 102)], &[], COMPLETE)
    );
    let limits = Limits {
        max_bytes: 1,
        ..Limits::default()
    };
    let mut pair = Pair::over(&dir, limits);
    feed.publish(100, 10);
    let Answered { had, status, .. } = pair.ask(1, 3, &[range(2, 1102)]);
    assert_eq!((had[0].0, status), (2, Some(PARTIAL)));
}

#[test]
fn a_request_with_more_ranges_than_fit_is_refused_whole() {
    let dir = TempDir::new().expect("a directory");
    let _feed = simple(&dir);
    let limits = Limits {
        max_ranges: 2,
        max_requests: 2,
        ..Limits::default()
    };
    let mut server = ServerSession::new(&limits, CHANNEL, 0);
    let mut store = store(&dir);
    // Our own client would not send these.
    let mut bytes = login(PROTOCOL_VERSION, CHANNEL);
    bytes.extend(request(1, 3, &[range(1, 2), range(7, 9), range(4, 5)]));
    bytes.extend(request(2, 3, &[]));
    assert_eq!(server.on_bytes(&bytes), bytes.len());
    let events = replies(&mut server, &mut store);
    let code = RejectCode::OVER_LIMITS;
    assert_eq!(
        events[1],
        Got::Reject {
            request: 1,
            begin: 1,
            end: 9,
            code,
            retry: 0,
            next_session: None
        }
    );
    assert_eq!(
        events[2],
        Got::Complete {
            request: 1,
            status: COMPLETE
        }
    );
    assert_eq!(
        events[3],
        Got::Complete {
            request: 2,
            status: COMPLETE
        }
    );
}

#[test]
fn requests_beyond_those_allowed_at_once_are_told_to_come_later() {
    let dir = TempDir::new().expect("a directory");
    let _feed = simple(&dir);
    let limits = Limits {
        max_requests: 2,
        ..Limits::default()
    };
    let mut server = ServerSession::new(&limits, CHANNEL, 0);
    let mut bytes = login(PROTOCOL_VERSION, CHANNEL);
    for id in 1..=3 {
        bytes.extend(request(id, 3, &[range(1, 2)]));
    }
    server.on_bytes(&bytes);
    let events = replies(&mut server, &mut store(&dir));
    let code = RejectCode::OVER_LIMITS;
    assert!(
        events.contains(&Got::Reject {
            request: 3,
            begin: 1,
            end: 2,
            code,
            retry: 100,
            next_session: None
        }),
        "{events:?}"
    );
    assert_eq!(Answered::of(2, &events), answered(&[(1, 2)], &[], COMPLETE));
}

#[test]
fn quotas_of_a_client_and_of_the_service_refuse_for_a_while() {
    let dir = TempDir::new().expect("a directory");
    let _feed = simple(&dir);
    let limits = Limits {
        messages_per_minute: Some(60),
        ..Limits::default()
    };
    let mut pair = Pair::over(&dir, limits);
    let first = pair.ask(1, 3, &[range(2, 102), range(2, 3)]);
    let refused = [
        (62, 102, RejectCode::OVER_LIMITS),
        (2, 3, RejectCode::OVER_LIMITS),
    ];
    assert_eq!(first, answered(&[(2, 62)], &refused, COMPLETE));
    pair.now += 10 * SECOND;
    assert_eq!(
        pair.ask(2, 3, &[range(62, 72)]),
        answered(&[(62, 72)], &[], COMPLETE)
    );

    let mut pair = Pair::over(&dir, Limits::default());
    pair.store.total = Quota::new(Some(10), 0);
    let first = pair.ask(1, 3, &[range(2, 22)]);
    assert_eq!(
        first,
        answered(&[(2, 12)], &[(12, 22, RejectCode::OVER_LIMITS)], COMPLETE)
    );
    assert!(
        matches!(pair.events[1], Got::Reject { retry: 6000, .. }),
        "a message each six seconds"
    );
}

#[test]
fn whoever_does_not_log_in_properly_is_refused_and_told_why() {
    let cases = [
        (
            login(PROTOCOL_VERSION + 1, CHANNEL),
            RejectCode::NOT_SERVED,
            LogoutReason::REFUSED,
        ),
        (
            login(PROTOCOL_VERSION, CHANNEL + 1),
            RejectCode::NOT_SERVED,
            LogoutReason::REFUSED,
        ),
        (
            request(1, 3, &[range(1, 2)]),
            RejectCode::MALFORMED,
            LogoutReason::PROTOCOL_ERROR,
        ),
        (
            vec![0xff; 64],
            RejectCode::MALFORMED,
            LogoutReason::PROTOCOL_ERROR,
        ),
    ];
    for (bytes, code, reason) in cases {
        let mut server = ServerSession::new(&Limits::default(), CHANNEL, 0);
        server.on_bytes(&bytes);
        let mut store = Store::new(None, Quota::new(None, 0));
        let events = replies(&mut server, &mut store);
        assert_eq!(
            events,
            [
                Got::Reject {
                    request: 0,
                    begin: 0,
                    end: 0,
                    code,
                    retry: 0,
                    next_session: None
                },
                Got::Logout(reason)
            ]
        );
        assert!(server.is_over());
        assert_eq!(server.cut(), Some(reason));
    }
}

#[test]
fn snapshots_are_refused_and_the_connection_goes_on() {
    let mut server = ServerSession::new(&Limits::default(), CHANNEL, 0);
    let mut bytes = login(PROTOCOL_VERSION, CHANNEL);
    let snapshot = SnapshotRequest {
        request_id: 1.into(),
        session: 3.into(),
        at_least: 9.into(),
    };
    let mut frame = [0; 64];
    let length = stream::put_with_data(&mut frame, &snapshot, &[]).expect("room");
    bytes.extend_from_slice(&frame[..length]);
    server.on_bytes(&bytes);
    let events = replies(&mut server, &mut Store::new(None, Quota::new(None, 0)));
    assert!(
        matches!(
            events[1],
            Got::Reject {
                request: 1,
                code: RejectCode::NOT_SERVED,
                ..
            }
        ),
        "{events:?}"
    );
    assert!(!server.is_over());
}

#[test]
fn without_a_journal_sessions_are_unknown_until_there_is_one() {
    let dir = TempDir::new().expect("a directory");
    let mut pair = Pair::new(Limits::default(), Store::new(None, Quota::new(None, 0)));
    pair.settle();
    assert_eq!(
        pair.events,
        [Got::Accepted {
            session: 0,
            oldest: 0,
            next: 0
        }]
    );
    let refused = (1, 9, RejectCode::UNKNOWN_SESSION);
    assert_eq!(
        pair.ask(1, 3, &[range(1, 9)]),
        answered(&[], &[refused], COMPLETE)
    );
    let _feed = simple(&dir);
    pair.store.journal = Some(JournalReader::open(dir.path()).expect("it is there now"));
    assert_eq!(pair.ask(2, 3, &[range(1, 2)]), answered(&[(1, 2)], &[], COMPLETE));
}

#[test]
fn heartbeats_come_when_idle_and_when_asked_for() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = simple(&dir);
    let mut pair = Pair::over(&dir, Limits::default());
    pair.now += SECOND;
    pair.settle();
    assert_eq!(
        pair.events,
        [Got::Heartbeat {
            session: 3,
            next: 102
        }]
    );
    feed.publish(1, 1);
    pair.client.on_time(pair.now, &mut |event| panic!("{event:?}"));
    assert!(
        !pair.client.output().is_empty(),
        "the client says that it is there"
    );
    pair.settle();
    assert_eq!(
        pair.events[1..],
        [Got::Heartbeat {
            session: 3,
            next: 103
        }]
    );
}

#[test]
fn a_client_that_says_nothing_is_cut() {
    let limits = Limits {
        idle_timeout: Duration::from_secs(30),
        ..Limits::default()
    };
    let mut pair = Pair::new(limits, Store::new(None, Quota::new(None, 0)));
    pair.settle();
    // Bytes that make no frame do not count.
    for second in 1..=30 {
        assert!(!pair.server.is_over());
        pair.server.on_bytes(&[40][..usize::from(second == 1)]);
        pair.now = second * SECOND;
        pair.settle();
        pair.server.on_time(pair.now);
    }
    pair.settle();
    assert_eq!(pair.events.last(), Some(&Got::Logout(LogoutReason::IDLE)));
    assert!(pair.server.is_over());
}

#[test]
fn a_client_that_does_not_log_in_is_cut() {
    let mut server = ServerSession::new(&Limits::default(), CHANNEL, 0);
    server.on_time(5 * SECOND);
    let events = replies(&mut server, &mut Store::new(None, Quota::new(None, 0)));
    assert_eq!(events, [Got::Logout(LogoutReason::IDLE)]);
}

#[test]
fn a_client_that_does_not_read_is_cut_and_held_in_little_memory() {
    let dir = TempDir::new().expect("a directory");
    let _feed = simple(&dir);
    let limits = Limits::default();
    let mut server = ServerSession::new(&limits, CHANNEL, 0);
    let mut store = store(&dir);
    let memory = server.memory();
    server.on_bytes(&login(PROTOCOL_VERSION, CHANNEL));
    let mut offered = 0;
    for id in 1..100_000 {
        let ranges = [range(1, 50), range(200, 300), range(0, 0)];
        offered += server.on_bytes(&request(id, 3, &ranges));
        server.poll_output(SECOND, &mut store);
    }
    assert!(
        offered < 64 << 10,
        "{offered} bytes were taken from a client that reads nothing"
    );
    let ranges = usize::from(limits.max_requests) * usize::from(limits.max_ranges);
    assert!(
        server.memory() - memory < 2 * 16 * ranges,
        "{} bytes",
        server.memory()
    );
    server.on_time(10 * SECOND);
    assert!(!server.is_over());
    server.on_time(11 * SECOND);
    assert!(server.is_over());
    assert_eq!(server.cut(), Some(LogoutReason::SLOW));
}

#[test]
fn a_client_that_reads_drop_by_drop_is_cut_too() {
    let dir = TempDir::new().expect("a directory");
    let _feed = simple(&dir);
    let mut server = ServerSession::new(&Limits::default(), CHANNEL, 0);
    let mut store = store(&dir);
    let mut bytes = login(PROTOCOL_VERSION, CHANNEL);
    bytes.extend(request(1, 3, &[range(1, 102)]));
    server.on_bytes(&bytes);
    let control = server.poll_output(0, &mut store).len();
    server.consumed(control, 0);
    for second in 1..10 {
        assert!(!server.poll_output(second * SECOND, &mut store).packets.is_empty());
        server.consumed(1, second * SECOND);
        server.on_time(second * SECOND);
        assert!(!server.is_over());
    }
    server.on_time(11 * SECOND);
    assert_eq!(server.cut(), Some(LogoutReason::SLOW));
}

#[test]
fn a_client_gives_up_a_silent_service() {
    let mut client = ClientSession::new(ClientConfig::new("test", CHANNEL)).expect("a short name");
    client.on_connected(0);
    assert_eq!(client.deadline(), 5 * SECOND);
    client.on_time(5 * SECOND - 1, &mut |event| panic!("{event:?}"));
    let mut events: Vec<Got> = Vec::new();
    client.on_time(5 * SECOND, &mut |event| events.push(event.into()));
    client.on_disconnected(&mut |event| events.push(event.into()));
    assert_eq!(events, [Got::Closed("silent")], "it is told once");
    assert!(client.output().is_empty());
    assert!(client.request(1, 1, &[range(1, 2)], 0).is_err());
}

#[test]
fn a_packet_that_was_damaged_is_left_out_and_told() {
    let dir = TempDir::new().expect("a directory");
    let _feed = simple(&dir);
    let mut pair = Pair::over(&dir, Limits::default());
    pair.client
        .request(1, 3, &[range(1, 102)], 0)
        .expect("it is ready");
    let sent = pair.server.on_bytes(pair.client.output());
    pair.client.consumed(sent);
    let output = pair.server.poll_output(0, &mut pair.store);
    let mut bytes = [output.head, output.packets, output.control].concat();
    // The last message of packet 2..12: behind the head, the first packet's 128 bytes, and the second's header.
    let at = output.head.len() + 128 + 48 + 9 * 20 + 15;
    bytes[at] ^= 1;
    let mut events: Vec<Got> = Vec::new();
    pair.client
        .on_bytes(&bytes, 0, &mut |event| events.push(event.into()));
    assert_eq!(events.iter().filter(|event| **event == Got::BadPacket).count(), 1);
    assert_eq!(
        Answered::of(1, &events),
        answered(&[(1, 2), (12, 102)], &[], COMPLETE)
    );
}

fn login(version: u16, channel: u16) -> Vec<u8> {
    let login = Login {
        protocol_version: version.into(),
        channel: channel.into(),
    };
    let mut frame = [0; 128];
    let length = stream::put_with_data(&mut frame, &login, &[b"raw", b"token"]).expect("room");
    frame[..length].to_vec()
}

fn request(id: u32, session: u32, ranges: &[Range]) -> Vec<u8> {
    let request = twinline_wire::recovery::RangesRequest {
        request_id: id.into(),
        session: session.into(),
    };
    let mut frame = [0; 256];
    let length = stream::put_with_ranges(&mut frame, &request, ranges).expect("room");
    frame[..length].to_vec()
}

/// All that the server has to say, read by a client session that was told to expect anything.
fn replies(server: &mut ServerSession, store: &mut Store) -> Vec<Got> {
    let mut bytes = Vec::new();
    loop {
        let output = server.poll_output(0, store);
        let piece = [output.head, output.packets, output.control].concat();
        if piece.is_empty() {
            break;
        }
        server.consumed(piece.len(), 0);
        bytes.extend(piece);
    }
    let mut events = Vec::new();
    decode(&bytes, &mut events);
    events
}

/// Frames of a service as events, without a client session: it would refuse answers to what it did not ask.
fn decode(mut bytes: &[u8], events: &mut Vec<Got>) {
    use twinline_wire::recovery::{Data, LoginAccepted, Logout, Reject, RequestComplete};
    while let Some((frame, length)) = stream::StreamFrame::split(bytes, 1 << 20).expect("good frames") {
        bytes = &bytes[length..];
        if let Some(reject) = frame.view::<Reject>() {
            events.push(Got::Reject {
                request: reject.request_id.get(),
                begin: reject.begin.get(),
                end: reject.end.get(),
                code: reject.code,
                retry: reject.retry_after_ms.get(),
                next_session: reject.next_session.get().map(|session| session.get()),
            });
        } else if let Some(complete) = frame.view::<RequestComplete>() {
            events.push(Got::Complete {
                request: complete.request_id.get(),
                status: complete.status,
            });
        } else if let Some(logout) = frame.view::<Logout>() {
            events.push(Got::Logout(logout.reason));
        } else if let Some(accepted) = frame.view::<LoginAccepted>() {
            let (oldest, next) = (accepted.oldest.get(), accepted.next.get());
            events.push(Got::Accepted {
                session: accepted.session.get(),
                oldest,
                next,
            });
        } else if let Some(heartbeat) = frame.view::<StreamHeartbeat>() {
            events.push(Got::Heartbeat {
                session: heartbeat.session.get(),
                next: heartbeat.next.get(),
            });
        } else if let Some(data) = frame.view::<Data>() {
            let packet = frame.data().take().expect("data");
            let packet = twinline_wire::Packet::parse_prefix(packet).expect("a packet");
            events.push(Got::Packet {
                request: data.request_id.get(),
                session: packet.header().session.get(),
                begin: packet.sequence(),
                end: packet.end(),
            });
        }
    }
    assert!(bytes.is_empty(), "a whole number of frames");
}
