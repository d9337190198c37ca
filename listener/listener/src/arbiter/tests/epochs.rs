//! Epochs of one session: what a new one makes void, and the start that says so.

use super::*;
use twinline_wire::field::LossReason;

const SECOND: Make = Make {
    session: 1,
    epoch: 2,
    base: 100,
};

#[test]
fn a_new_epoch_cuts_what_the_old_one_put_beyond_its_valid_end() {
    let (mut arbiter, mut out) = started(10);
    arbiter.on_packet(A, &FIRST.ticks(12, 30), 0, &mut out);
    arbiter.on_packet(A, &SECOND.heartbeat(101, 1), 0, &mut out);
    arbiter.on_packet(B, &SECOND.heartbeat(101, 2), 0, &mut out);
    arbiter.on_packet(A, &FIRST.ticks(10, 12), 0, &mut out);
    assert_eq!(
        out.sequences.len(),
        9,
        "nothing is delivered before the EpochStart is here"
    );
    arbiter.on_packet(R, &SECOND.start(20), 0, &mut out);
    arbiter.on_packet(A, &FIRST.ticks(20, 30), 0, &mut out);
    assert_eq!(out.sequences, (1..20).chain(100..101).collect::<Vec<_>>());
    assert_eq!(arbiter.stats().dropped[0].get(Dropped::VoidEpoch), 1);
    arbiter.on_packet(A, &SECOND.ticks(101, 103), 0, &mut out);
    assert_eq!(arbiter.position().next, 103);
    assert!(missing(&arbiter).is_empty());
}

#[test]
fn what_was_delivered_and_is_void_is_said() {
    let (mut arbiter, mut out) = started(30);
    arbiter.on_packet(A, &SECOND.start(20), 0, &mut out);
    arbiter.on_packet(B, &SECOND.start(20), 0, &mut out);
    assert_eq!(
        out.notices,
        [
            NoticeKind::Void(Span::new(20, 30), 2),
            NoticeKind::Session(SessionState::EPOCH_STARTED)
        ]
    );
    assert_eq!(out.sequences, (1..30).chain(100..101).collect::<Vec<_>>());
}

#[test]
fn while_an_epochs_start_is_awaited_nothing_else_is_asked_for() {
    let (mut arbiter, mut out) = started(10);
    for line in [A, B] {
        arbiter.on_packet(line, &SECOND.heartbeat(100, 1), 0, &mut out);
    }
    assert!(missing(&arbiter).is_empty(), "it is announced, not published");
    arbiter.on_packet(A, &SECOND.ticks(101, 103), 0, &mut out);
    assert_eq!(missing(&arbiter), [Span::new(100, 101)]);
    arbiter.on_packet(R, &SECOND.start(12), 0, &mut out);
    assert_eq!(missing(&arbiter), [Span::new(10, 12)]);
    arbiter.on_packet(R, &FIRST.ticks(10, 12), 0, &mut out);
    assert_eq!(out.sequences, (1..12).chain(100..103).collect::<Vec<_>>());
}

#[test]
fn an_epoch_start_that_nobody_has_is_lost_with_everything_before_it() {
    let (mut arbiter, mut out) = started(10);
    for line in [A, B] {
        arbiter.on_packet(line, &SECOND.ticks(101, 103), 0, &mut out);
    }
    arbiter.declare_lost(Span::new(100, 101), LossReason::TOO_OLD, &mut out);
    assert_eq!(
        out.notices,
        [NoticeKind::Lost(Span::new(10, 101), LossReason::TOO_OLD)]
    );
    assert_eq!(out.sequences, (1..10).chain(101..103).collect::<Vec<_>>());
}

#[test]
fn an_epoch_that_began_in_a_loss_is_entered_behind_it() {
    let (mut arbiter, mut out) = started(10);
    arbiter.declare_lost(Span::new(10, 102), LossReason::TIMED_OUT, &mut out);
    for line in [A, B] {
        arbiter.on_packet(line, &SECOND.ticks(102, 104), 0, &mut out);
    }
    assert_eq!(out.sequences, (1..10).chain(102..104).collect::<Vec<_>>());
}

#[test]
fn a_restarted_listener_takes_nothing_of_an_older_epoch_beyond_the_base_of_its_own() {
    let position = Position {
        session: 1,
        epoch: 2,
        epoch_base: 100,
        next: 105,
        ended: false,
    };
    let (mut arbiter, mut out) = (arbiter(), Out::default());
    arbiter = Arbiter::new(arbiter.config, Some(position), 0);
    arbiter.on_packet(A, &FIRST.ticks(105, 107), 0, &mut out);
    assert!(out.sequences.is_empty());
    assert_eq!(arbiter.stats().dropped[0].get(Dropped::VoidEpoch), 1);
}

#[test]
fn what_a_service_calls_void_is_passed_only_with_the_start_that_says_why() {
    let (mut arbiter, mut out) = started(10);
    arbiter.on_packet(A, &FIRST.ticks(12, 14), 0, &mut out);
    arbiter.close_void(1, Span::new(10, 12), &mut out);
    assert!(missing(&arbiter).is_empty(), "not asked for again");
    assert_eq!(
        out.sequences,
        (1..10).collect::<Vec<_>>(),
        "12 and 13 are void too"
    );
    arbiter.on_packet(R, &SECOND.start(10), 0, &mut out);
    assert_eq!(out.sequences, (1..10).chain(100..101).collect::<Vec<_>>());
}

#[test]
fn a_passed_hole_is_not_called_void_when_the_epoch_that_left_it_is() {
    let (mut arbiter, mut out) = started(10);
    arbiter.on_packet(A, &FIRST.ticks(11, 12), 0, &mut out);
    arbiter.on_packet(R, &SECOND.start(10), 0, &mut out);
    let third = Make {
        session: 1,
        epoch: 3,
        base: 200,
    };
    out.notices.clear();
    arbiter.on_packet(R, &third.start(10), 0, &mut out);
    assert_eq!(out.notices[0], NoticeKind::Void(Span::new(10, 101), 3));
    out.notices.clear();
    let fourth = Make {
        session: 1,
        epoch: 4,
        base: 300,
    };
    arbiter.on_packet(R, &fourth.start(201), 0, &mut out);
    assert_eq!(out.notices, [NoticeKind::Session(SessionState::EPOCH_STARTED)]);
}

#[test]
fn an_old_epochs_late_fill_from_below_the_cut_is_still_good() {
    let second = Make {
        session: 1,
        epoch: 2,
        base: 15,
    };
    let (mut arbiter, mut out) = started(10);
    for line in [A, B] {
        arbiter.on_packet(line, &second.start(15), 0, &mut out);
    }
    assert_eq!(missing(&arbiter), [Span::new(10, 15)]);
    arbiter.on_packet(B, &FIRST.ticks(10, 15), 0, &mut out);
    assert_eq!(out.sequences, (1..16).collect::<Vec<_>>());
}
