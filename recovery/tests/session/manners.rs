//! Logins, heartbeats, and how long each end is patient with the other.

use crate::common::pair::{Pair, store};
use crate::common::{CHANNEL, Got, SECOND};
use crate::raw::{login, replies, request};
use crate::{COMPLETE, answered, simple};
use std::time::Duration;
use tempfile::TempDir;
use twinline_journal::JournalReader;
use twinline_recovery::server::{Quota, Store};
use twinline_recovery::{ClientConfig, ClientSession, Limits, ServerSession, range};
use twinline_wire::field::{LogoutReason, RejectCode};
use twinline_wire::recovery::{PROTOCOL_VERSION, SnapshotRequest};
use twinline_wire::stream;

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
