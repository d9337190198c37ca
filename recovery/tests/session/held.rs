//! What is said of sequences and sessions that are not held: void, too old, unknown, not published yet.

use crate::common::pair::{Pair, store};
use crate::common::{Feed, Got, SECOND};
use crate::{COMPLETE, answered, simple};
use tempfile::TempDir;
use twinline_journal::Retention;
use twinline_recovery::{Limits, range};
use twinline_wire::field::RejectCode;

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
