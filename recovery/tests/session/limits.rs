//! What a client may ask for at once, and how the rest is refused.

use crate::common::pair::{Pair, store};
use crate::common::{Answered, CHANNEL, Got, SECOND};
use crate::raw::{login, replies, request};
use crate::{COMPLETE, PARTIAL, answered, simple};
use tempfile::TempDir;
use twinline_recovery::server::Quota;
use twinline_recovery::{Limits, ServerSession, range};
use twinline_wire::field::RejectCode;
use twinline_wire::recovery::PROTOCOL_VERSION;

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
