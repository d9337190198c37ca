//! Where a session begins for a listener, where it ends, and what it takes until the next one has its turn.

use super::*;
use twinline_wire::field::LossReason;

/// An arbiter that goes on from a record of the session's first `next - 1` messages.
fn restarted(next: u64) -> Arbiter {
    let position = Position {
        session: 1,
        epoch: 1,
        epoch_base: 1,
        next,
        ended: false,
    };
    Arbiter::new(ArbiterConfig::default(), Some(position), 0)
}

#[test]
fn a_session_is_not_believed_from_one_packet() {
    let (mut arbiter, mut out) = (arbiter(), Out::default());
    arbiter.on_packet(A, &FIRST.start(1), 0, &mut out);
    arbiter.on_packet(A, &FIRST.start(1), 1, &mut out);
    assert_eq!(
        out,
        Out::default(),
        "the same packet on the same line says nothing new"
    );
    arbiter.on_packet(B, &FIRST.start(1), 2, &mut out);
    assert_eq!(out.sequences, [1]);
    assert_eq!(out.notices, [NoticeKind::Session(SessionState::STARTED)]);
}

#[test]
fn a_live_start_says_what_it_skips() {
    let config = ArbiterConfig {
        start: StartAt::Live,
        ..ArbiterConfig::default()
    };
    let (mut arbiter, mut out) = (Arbiter::new(config, None, 0), Out::default());
    arbiter.on_packet(A, &FIRST.ticks(500, 502), 0, &mut out);
    arbiter.on_packet(A, &FIRST.ticks(502, 503), 0, &mut out);
    assert_eq!(out.sequences, [500, 501, 502]);
    assert_eq!(
        out.notices,
        [NoticeKind::Lost(Span::new(1, 500), LossReason::SKIPPED)]
    );
}

#[test]
fn a_restart_goes_on_with_the_next_message() {
    let (mut arbiter, mut out) = (restarted(50), Out::default());
    arbiter.on_packet(A, &FIRST.ticks(45, 52), 0, &mut out);
    assert_eq!(out.sequences, [50, 51]);
}

#[test]
fn after_a_loss_from_the_beginning_a_restart_takes_whatever_epoch_comes() {
    let (mut arbiter, mut out) = (restarted(50), Out::default());
    let third = Make { epoch: 3, ..FIRST };
    for line in [A, B] {
        arbiter.on_packet(line, &third.ticks(50, 52), 0, &mut out);
    }
    assert_eq!(out.sequences, [50, 51]);
}

#[test]
fn a_session_whose_last_message_was_lost_ends_when_two_heartbeats_say_so() {
    let (mut arbiter, mut out) = started(10);
    arbiter.declare_lost(Span::new(10, 12), LossReason::TIMED_OUT, &mut out);
    let mut end = FIRST.heartbeat(12, 1);
    for (line, time) in [(A, 1), (A, 2)] {
        let stamp = Stamp {
            flags: twinline_wire::flags::END_OF_SESSION,
            sending_time: time,
            ..FIRST.stamp(12)
        };
        OpenPacket::new().finish_whole(&mut end, stamp, 0);
        assert!(!arbiter.position().ended);
        arbiter.on_packet(line, &end, time, &mut out);
    }
    assert_eq!(
        out.notices.last(),
        Some(&NoticeKind::Session(SessionState::ABANDONED))
    );
}

#[test]
fn one_forged_packet_of_the_next_session_does_not_say_how_long_it_is() {
    let next = Make {
        session: 2,
        epoch: 1,
        base: 1,
    };
    let (mut arbiter, mut out) = started(10);
    for line in [A, B] {
        arbiter.on_packet(line, &next.start(1), 0, &mut out);
    }
    arbiter.on_packet(A, &next.heartbeat(1 << 40, 1), 0, &mut out);
    arbiter.close_void(1, Span::new(10, u64::MAX), &mut out);
    assert_eq!(arbiter.position().session, 2);
    assert!(missing(&arbiter).is_empty());
}

#[test]
fn a_higher_session_waits_until_the_old_one_is_complete() {
    let next = Make {
        session: 2,
        epoch: 1,
        base: 1,
    };
    let (mut arbiter, mut out) = started(10);
    for line in [A, B] {
        arbiter.on_packet(line, &next.start(1), 0, &mut out);
    }
    assert!(arbiter.is_closing());
    assert_eq!(missing(&arbiter), [Span::new(10, u64::MAX)]);
    arbiter.on_packet(R, &FIRST.ticks(10, 20), 0, &mut out);
    arbiter.on_packet(R, &FIRST.end(20), 0, &mut out);
    arbiter.on_packet(A, &FIRST.ticks(10, 20), 0, &mut out);
    arbiter.on_packet(R, &next.start(1), 0, &mut out);
    assert_eq!(out.sequences, (1..21).chain(1..2).collect::<Vec<_>>());
    assert_eq!(arbiter.position().session, 2);
    assert_eq!(arbiter.stats().dropped[0].get(Dropped::OldSession), 1);
}

#[test]
fn what_waits_beyond_a_sessions_end_does_not_come_up_in_the_next_session() {
    let next = Make { session: 2, ..FIRST };
    let (mut arbiter, mut out) = started(10);
    for line in [A, B] {
        arbiter.on_packet(line, &next.start(1), 0, &mut out);
    }
    arbiter.on_packet(A, &FIRST.end(11), 0, &mut out);
    arbiter.on_packet(A, &FIRST.ticks(20, 22), 0, &mut out);
    assert_eq!(arbiter.waiting(), 3);
    arbiter.on_packet(R, &FIRST.ticks(10, 11), 0, &mut out);
    assert_eq!((arbiter.position().session, arbiter.waiting()), (2, 0));
    assert_eq!(out.sequences, (1..12).chain(1..2).collect::<Vec<_>>());
}

#[test]
fn a_session_that_ended_without_saying_so_is_abandoned_where_recovery_calls_the_rest_void() {
    let next = Make {
        session: 2,
        epoch: 1,
        base: 1,
    };
    let (mut arbiter, mut out) = started(10);
    for line in [A, B] {
        arbiter.on_packet(line, &next.start(1), 0, &mut out);
    }
    arbiter.close_void(1, Span::new(12, u64::MAX), &mut out);
    assert_eq!(missing(&arbiter), [Span::new(10, 12)]);
    arbiter.on_packet(R, &FIRST.ticks(10, 12), 0, &mut out);
    let states = [SessionState::ABANDONED, SessionState::STARTED];
    assert_eq!(out.notices, states.map(NoticeKind::Session));
    assert_eq!(arbiter.position().session, 2);
}
