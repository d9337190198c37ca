//! What the arbiter delivers, packet by packet.

mod states;

use super::*;
use crate::gaps::{GapConfig, GapPolicy, Refusal};
use proptest::prelude::*;
use twinline_wire::field::{LineName, LineState, LossReason, RejectCode};
use twinline_wire::market::PriceTick;
use twinline_wire::packet::{OpenPacket, Stamp};

pub(super) const A: Origin = Origin::LineA;
pub(super) const B: Origin = Origin::LineB;
pub(super) const R: Origin = Origin::Recovery;

/// What came out, in order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Out {
    pub(super) sequences: Vec<u64>,
    pub(super) notices: Vec<NoticeKind>,
}

impl Sink for Out {
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        assert!(delivery.take > 0);
        assert!(
            usize::from(delivery.skip) + usize::from(delivery.take) <= delivery.packet.messages().count()
        );
        self.sequences.extend(delivery.begin()..delivery.end());
    }

    fn notice(&mut self, notice: &Notice) {
        self.notices.push(notice.kind);
    }
}

#[derive(Clone, Copy)]
pub(super) struct Make {
    pub(super) session: u32,
    pub(super) epoch: u32,
    pub(super) base: u64,
}

pub(super) const FIRST: Make = Make {
    session: 1,
    epoch: 1,
    base: 1,
};

impl Make {
    pub(super) fn stamp(self, sequence: u64) -> Stamp {
        Stamp {
            channel: 1,
            session: self.session,
            epoch: self.epoch,
            epoch_base: self.base,
            sequence,
            sending_time: sequence,
            ..Stamp::default()
        }
    }

    pub(super) fn ticks(self, begin: u64, end: u64) -> Vec<u8> {
        let mut buffer = vec![0; 8896];
        let mut open = OpenPacket::new();
        (begin..end).for_each(|_| assert!(open.push(&mut buffer, &PriceTick::NULL)));
        let length = open.finish_whole(&mut buffer, self.stamp(begin), 0);
        buffer.truncate(length);
        buffer
    }

    pub(super) fn one(self, sequence: u64, message: &impl Message) -> Vec<u8> {
        let mut buffer = vec![0; 1408];
        let mut open = OpenPacket::new();
        assert!(open.push(&mut buffer, message));
        let length = open.finish_whole(&mut buffer, self.stamp(sequence), 0);
        buffer.truncate(length);
        buffer
    }

    pub(super) fn start(self, valid_end: u64) -> Vec<u8> {
        self.one(
            self.base,
            &EpochStart {
                valid_end: valid_end.into(),
                epoch: self.epoch.into(),
            },
        )
    }

    pub(super) fn end(self, sequence: u64) -> Vec<u8> {
        self.one(
            sequence,
            &EndOfSession {
                source_messages: 0.into(),
            },
        )
    }

    pub(super) fn heartbeat(self, next: u64, time: u64) -> Vec<u8> {
        self.padded(next, time, 0)
    }

    /// A heartbeat of at least so many bytes.
    pub(super) fn padded(self, next: u64, time: u64, padded: usize) -> Vec<u8> {
        let mut buffer = vec![0; 256];
        let stamp = Stamp {
            sending_time: time,
            ..self.stamp(next)
        };
        let length = OpenPacket::new().finish_whole(&mut buffer, stamp, padded);
        buffer.truncate(length);
        buffer
    }
}

pub(super) fn arbiter() -> Arbiter {
    Arbiter::new(
        ArbiterConfig {
            max_packet: 8896,
            window: 64,
            ..ArbiterConfig::default()
        },
        None,
        0,
    )
}

/// An arbiter that has delivered the session's first `next - 1` messages.
pub(super) fn started(next: u64) -> (Arbiter, Out) {
    let (mut arbiter, mut out) = (arbiter(), Out::default());
    arbiter.on_packet(A, &FIRST.start(1), 0, &mut out);
    arbiter.on_packet(B, &FIRST.start(1), 0, &mut out);
    arbiter.on_packet(A, &FIRST.ticks(2, next), 0, &mut out);
    assert_eq!(out.sequences, (1..next).collect::<Vec<_>>());
    out.notices.clear();
    (arbiter, out)
}

pub(super) fn missing(arbiter: &Arbiter) -> Vec<Span> {
    let mut spans = Vec::with_capacity(64);
    arbiter.missing(&mut spans);
    spans
}

/// A part of a session that is held, refused.
pub(super) fn refusal(span: Span, code: RejectCode, retry_after: u64) -> Refusal {
    Refusal {
        span,
        code,
        retry_after,
        next_session: None,
    }
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
fn overlapping_packets_deliver_their_new_tail_once() {
    let (mut arbiter, mut out) = started(10);
    arbiter.on_packet(B, &FIRST.ticks(5, 15), 0, &mut out);
    arbiter.on_packet(A, &FIRST.ticks(12, 20), 0, &mut out);
    arbiter.on_packet(B, &FIRST.ticks(12, 20), 0, &mut out);
    assert_eq!(out.sequences, (1..20).collect::<Vec<_>>());
    assert_eq!(arbiter.stats().delivered, [1 + 8 + 5, 5, 0]);
}

#[test]
fn early_packets_wait_and_what_lies_between_is_missing() {
    let (mut arbiter, mut out) = started(10);
    arbiter.on_packet(A, &FIRST.ticks(20, 25), 0, &mut out);
    arbiter.on_packet(A, &FIRST.ticks(15, 18), 0, &mut out);
    assert_eq!(missing(&arbiter), [Span::new(10, 15), Span::new(18, 20)]);
    arbiter.on_packet(R, &FIRST.ticks(9, 16), 0, &mut out);
    arbiter.on_packet(R, &FIRST.ticks(17, 21), 0, &mut out);
    assert_eq!(out.sequences, (1..25).collect::<Vec<_>>());
    assert!(missing(&arbiter).is_empty());
}

#[test]
fn a_full_window_forgets_no_gap() {
    let (mut arbiter, mut out) = started(10);
    for begin in (11..11 + 2 * 100).step_by(2) {
        arbiter.on_packet(A, &FIRST.ticks(begin, begin + 1), 0, &mut out);
    }
    assert!(arbiter.stats().dropped[0].get(Dropped::WindowFull) > 0);
    for begin in (10..210).step_by(10) {
        arbiter.on_packet(R, &FIRST.ticks(begin, begin + 10), 0, &mut out);
    }
    assert_eq!(out.sequences, (1..210).collect::<Vec<_>>());
}

#[test]
fn a_heartbeat_shows_a_lost_tail_once_another_agrees() {
    let (mut arbiter, mut out) = started(10);
    arbiter.on_packet(A, &FIRST.heartbeat(5000, 1), 0, &mut out);
    assert!(
        missing(&arbiter).is_empty(),
        "one heartbeat alone may be a flipped bit"
    );
    arbiter.on_packet(A, &FIRST.heartbeat(12, 2), 0, &mut out);
    assert_eq!(missing(&arbiter), [Span::new(10, 12)]);
    assert!(arbiter.withdraw_announced());
    assert!(missing(&arbiter).is_empty());
}

#[test]
fn a_leap_beyond_the_window_is_held_until_another_packet_agrees() {
    let (mut arbiter, mut out) = started(10);
    arbiter.on_packet(A, &FIRST.ticks(1_000_000, 1_000_001), 0, &mut out);
    assert!(missing(&arbiter).is_empty());
    arbiter.on_packet(A, &FIRST.ticks(1_000_001, 1_000_002), 0, &mut out);
    assert_eq!(missing(&arbiter), [Span::new(10, 1_000_000)]);
}

#[test]
fn a_new_epoch_cuts_what_the_old_one_put_beyond_its_valid_end() {
    let second = Make {
        session: 1,
        epoch: 2,
        base: 100,
    };
    let (mut arbiter, mut out) = started(10);
    arbiter.on_packet(A, &FIRST.ticks(12, 30), 0, &mut out);
    arbiter.on_packet(A, &second.heartbeat(101, 1), 0, &mut out);
    arbiter.on_packet(B, &second.heartbeat(101, 2), 0, &mut out);
    arbiter.on_packet(A, &FIRST.ticks(10, 12), 0, &mut out);
    assert_eq!(
        out.sequences.len(),
        9,
        "nothing is delivered before the EpochStart is here"
    );
    arbiter.on_packet(R, &second.start(20), 0, &mut out);
    arbiter.on_packet(A, &FIRST.ticks(20, 30), 0, &mut out);
    assert_eq!(out.sequences, (1..20).chain(100..101).collect::<Vec<_>>());
    assert_eq!(arbiter.stats().dropped[0].get(Dropped::VoidEpoch), 1);
    arbiter.on_packet(A, &second.ticks(101, 103), 0, &mut out);
    assert_eq!(arbiter.position().next, 103);
    assert!(missing(&arbiter).is_empty());
}

#[test]
fn what_was_delivered_and_is_void_is_said() {
    let second = Make {
        session: 1,
        epoch: 2,
        base: 100,
    };
    let (mut arbiter, mut out) = started(30);
    arbiter.on_packet(A, &second.start(20), 0, &mut out);
    arbiter.on_packet(B, &second.start(20), 0, &mut out);
    assert_eq!(
        out.notices,
        [
            NoticeKind::Void(Span::new(20, 30), 2),
            NoticeKind::Session(SessionState::EPOCH_STARTED)
        ]
    );
    assert_eq!(out.sequences, (1..30).chain(100..101).collect::<Vec<_>>());
}

const SECOND: Make = Make {
    session: 1,
    epoch: 2,
    base: 100,
};

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
fn heartbeats_that_agree_too_late_are_not_believed() {
    let (mut arbiter, mut out) = started(10);
    let late = ArbiterConfig::default().patience + 1;
    arbiter.on_packet(A, &FIRST.heartbeat(5000, 1), 0, &mut out);
    arbiter.on_packet(A, &FIRST.heartbeat(5000, 2), late, &mut out);
    assert!(missing(&arbiter).is_empty());
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
fn services_are_asked_in_turn_when_all_have_failed() {
    let (mut arbiter, mut out) = started(10);
    let mut policy = policy(2);
    arbiter.on_packet(A, &FIRST.ticks(12, 14), 0, &mut out);
    tick(&mut policy, &mut arbiter, 0, &mut out);
    let mut asked = Vec::new();
    for id in 1..=4 {
        let now = GapConfig::default().reorder + u64::from(id);
        let requests = tick(&mut policy, &mut arbiter, now, &mut out);
        asked.push(requests[0].1);
        let span = Span::new(10, 12);
        policy.on_reject(
            id,
            refusal(span, RejectCode::INTERNAL, 0),
            &mut arbiter,
            now,
            &mut out,
        );
        policy.on_complete(id);
    }
    assert_eq!(
        asked.iter().filter(|&&service| service == 0).count(),
        2,
        "{asked:?}"
    );
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

#[test]
fn a_restart_goes_on_with_the_next_message() {
    let position = Position {
        session: 1,
        epoch: 1,
        epoch_base: 1,
        next: 50,
        ended: false,
    };
    let mut arbiter = Arbiter::new(ArbiterConfig::default(), Some(position), 0);
    let mut out = Out::default();
    arbiter.on_packet(A, &FIRST.ticks(45, 52), 0, &mut out);
    assert_eq!(out.sequences, [50, 51]);
}

#[test]
fn after_a_loss_from_the_beginning_a_restart_takes_whatever_epoch_comes() {
    let position = Position {
        session: 1,
        epoch: 1,
        epoch_base: 1,
        next: 50,
        ended: false,
    };
    let mut arbiter = Arbiter::new(ArbiterConfig::default(), Some(position), 0);
    let mut out = Out::default();
    let third = Make { epoch: 3, ..FIRST };
    for line in [A, B] {
        arbiter.on_packet(line, &third.ticks(50, 52), 0, &mut out);
    }
    assert_eq!(out.sequences, [50, 51]);
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
fn silence_is_said_and_so_is_its_end() {
    let (mut arbiter, mut out) = started(10);
    let late = ArbiterConfig::default().stall + 1;
    arbiter.on_packet(B, &FIRST.heartbeat(10, 1), late, &mut out);
    arbiter.tick(late, &mut out);
    arbiter.tick(2 * late + 1, &mut out);
    arbiter.on_packet(A, &FIRST.heartbeat(10, 2), 2 * late + 2, &mut out);
    assert_eq!(
        out.notices,
        [
            NoticeKind::Line(LineName::A, LineState::STALLED),
            NoticeKind::Line(LineName::BOTH, LineState::STALE),
            NoticeKind::Line(LineName::A, LineState::RESUMED),
        ]
    );
}

pub(super) fn policy(services: usize) -> GapPolicy {
    let mut policy = GapPolicy::new(GapConfig {
        services,
        ..GapConfig::default()
    });
    (0..services).for_each(|service| policy.on_connected(service));
    policy
}

/// Ticks the policy; the requests it makes, as (service, ranges).
pub(super) fn tick(
    policy: &mut GapPolicy,
    arbiter: &mut Arbiter,
    now: u64,
    out: &mut Out,
) -> Vec<(u32, usize, Vec<Span>)> {
    let mut requests = Vec::new();
    policy.tick(arbiter, now, out, |request| {
        requests.push((request.id, request.service, request.ranges().to_vec()))
    });
    requests
}

#[test]
fn all_due_gaps_go_into_one_request_and_a_young_gap_waits() {
    let (mut arbiter, mut out) = started(10);
    let mut policy = policy(1);
    arbiter.on_packet(A, &FIRST.ticks(12, 14), 0, &mut out);
    arbiter.on_packet(A, &FIRST.ticks(16, 18), 0, &mut out);
    assert!(
        tick(&mut policy, &mut arbiter, 0, &mut out).is_empty(),
        "line B may still bring it"
    );
    arbiter.on_packet(B, &FIRST.ticks(16, 18), 0, &mut out);
    let requests = tick(&mut policy, &mut arbiter, 1, &mut out);
    assert_eq!(requests, [(1, 0, vec![Span::new(10, 12), Span::new(14, 16)])]);
    assert!(
        tick(&mut policy, &mut arbiter, 2, &mut out).is_empty(),
        "asked for once"
    );
    policy.on_complete(1);
    assert_eq!(
        tick(&mut policy, &mut arbiter, 3, &mut out).len(),
        1,
        "a partial answer is followed up"
    );
}

#[test]
fn another_service_is_asked_when_the_first_is_slow_or_gone() {
    let (mut arbiter, mut out) = started(10);
    let mut policy = policy(2);
    arbiter.on_packet(A, &FIRST.ticks(12, 14), 0, &mut out);
    tick(&mut policy, &mut arbiter, 0, &mut out);
    let late = GapConfig::default().reorder;
    assert_eq!(tick(&mut policy, &mut arbiter, late, &mut out)[0].1, 0);
    let later = late + GapConfig::default().slow + 1;
    assert_eq!(tick(&mut policy, &mut arbiter, later, &mut out)[0].1, 1);
    policy.on_disconnected(1);
    assert_eq!(tick(&mut policy, &mut arbiter, later + 1, &mut out)[0].1, 0);
}

#[test]
fn loss_is_declared_when_every_service_says_too_old() {
    let (mut arbiter, mut out) = started(10);
    let mut policy = policy(2);
    arbiter.on_packet(A, &FIRST.ticks(14, 16), 0, &mut out);
    tick(&mut policy, &mut arbiter, 0, &mut out);
    for (round, service) in [0, 1].into_iter().enumerate() {
        let now = GapConfig::default().reorder + round as u64;
        let requests = tick(&mut policy, &mut arbiter, now, &mut out);
        assert_eq!(requests[0].1, service);
        let id = requests[0].0;
        policy.on_reject(
            id,
            refusal(Span::new(10, 12), RejectCode::TOO_OLD, 0),
            &mut arbiter,
            now,
            &mut out,
        );
        policy.on_complete(id);
    }
    tick(
        &mut policy,
        &mut arbiter,
        GapConfig::default().reorder + 3,
        &mut out,
    );
    assert_eq!(
        out.notices,
        [NoticeKind::Lost(Span::new(10, 12), LossReason::TOO_OLD)]
    );
    arbiter.on_packet(B, &FIRST.ticks(10, 12), 0, &mut out);
    arbiter.on_packet(B, &FIRST.ticks(12, 14), 0, &mut out);
    assert_eq!(out.sequences, (1..10).chain(12..16).collect::<Vec<_>>());
    assert_eq!(arbiter.stats().after_loss, 2);
    let stats = policy.stats();
    assert_eq!((stats.opened, stats.asked, stats.lost), (1, 1, 1));
    tick(
        &mut policy,
        &mut arbiter,
        GapConfig::default().reorder + 4,
        &mut out,
    );
    let stats = policy.stats();
    // The part that line B brought; what is lost is not filled.
    assert_eq!((stats.filled, stats.closed_by_lines), (1, 0));
    assert_eq!(policy.fill_times().len(), 1);
}

#[test]
fn the_time_to_fill_a_gap_counts_from_when_it_was_noticed_and_for_each_of_its_parts() {
    let (mut arbiter, mut out) = started(10);
    let mut policy = policy(1);
    arbiter.on_packet(A, &FIRST.ticks(16, 18), 0, &mut out);
    tick(&mut policy, &mut arbiter, 0, &mut out);
    let late = GapConfig::default().reorder;
    assert_eq!(tick(&mut policy, &mut arbiter, late, &mut out).len(), 1);
    arbiter.on_packet(Origin::Recovery, &FIRST.ticks(12, 14), 2 * late, &mut out);
    tick(&mut policy, &mut arbiter, 2 * late, &mut out);
    arbiter.on_packet(Origin::Recovery, &FIRST.ticks(10, 12), 3 * late, &mut out);
    tick(&mut policy, &mut arbiter, 3 * late, &mut out);
    arbiter.on_packet(Origin::Recovery, &FIRST.ticks(14, 16), 4 * late, &mut out);
    tick(&mut policy, &mut arbiter, 4 * late, &mut out);
    let stats = policy.stats();
    assert_eq!((stats.opened, stats.asked, stats.filled), (1, 1, 2));
    let times = policy.fill_times();
    assert!(times.min() > 2 * late && times.max() > 3 * late, "{times:?}");
}

#[test]
fn loss_is_declared_when_the_time_is_over_but_not_while_recovery_works() {
    let (mut arbiter, mut out) = started(10);
    let mut policy = policy(1);
    arbiter.on_packet(A, &FIRST.ticks(14, 16), 0, &mut out);
    tick(&mut policy, &mut arbiter, 0, &mut out);
    let timeout = GapConfig::default().timeout;
    arbiter.on_packet(R, &FIRST.ticks(10, 12), 0, &mut out);
    policy.on_progress(1, timeout);
    tick(&mut policy, &mut arbiter, timeout, &mut out);
    tick(&mut policy, &mut arbiter, timeout + 5, &mut out);
    assert!(out.notices.is_empty());
    tick(&mut policy, &mut arbiter, 2 * timeout + 1, &mut out);
    assert_eq!(
        out.notices,
        [NoticeKind::Lost(Span::new(12, 14), LossReason::TIMED_OUT)]
    );
}

#[test]
fn a_gap_that_only_heartbeats_spoke_of_is_withdrawn() {
    let (mut arbiter, mut out) = started(10);
    let mut policy = policy(1);
    for time in [1, 2] {
        arbiter.on_packet(A, &FIRST.heartbeat(4000, time), 0, &mut out);
    }
    tick(&mut policy, &mut arbiter, 0, &mut out);
    let now = GapConfig::default().reorder;
    let id = tick(&mut policy, &mut arbiter, now, &mut out)[0].0;
    let (code, span) = (RejectCode::NOT_YET_PUBLISHED, Span::new(10, 4000));
    policy.on_reject(id, refusal(span, code, 1000), &mut arbiter, now, &mut out);
    policy.on_complete(id);
    tick(&mut policy, &mut arbiter, now + 1, &mut out);
    assert_eq!((policy.stats().withdrawn, policy.open_gaps()), (1, 0));
    arbiter.on_packet(A, &FIRST.ticks(10, 11), 0, &mut out);
    assert_eq!(arbiter.position().next, 11);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Each line packs as it likes, loses, repeats and reorders; recovery sends what is missing, in any packing.
    #[test]
    fn whatever_the_lines_do_each_message_comes_once_and_in_order(
        sizes in prop::collection::vec((1u64..12, 1u64..12), 5..60),
        fates in prop::collection::vec((0u8..10, 0u8..10, 0usize..6), 60),
        window in 1usize..40,
    ) {
        let end = 10 + sizes.iter().map(|size| size.0).sum::<u64>();
        let config = ArbiterConfig { max_packet: 8896, window, ..ArbiterConfig::default() };
        let (mut arbiter, mut out) = (Arbiter::new(config, None, 0), Out::default());
        arbiter.on_packet(A, &FIRST.start(1), 0, &mut out);
        arbiter.on_packet(B, &FIRST.start(1), 0, &mut out);
        let mut wire: Vec<(usize, Origin, Vec<u8>)> = Vec::new();
        for (line, size) in [(A, 0), (B, 1)] {
            let mut at = 2;
            for (index, pair) in sizes.iter().cycle().enumerate() {
                if at >= end { break; }
                let step = if size == 0 { pair.0 } else { pair.1 }.min(end - at);
                let (fate_a, fate_b, delay) = fates[index % fates.len()];
                let fate = if line == A { fate_a } else { fate_b };
                if fate > 2 {
                    wire.push((index + if fate > 6 { delay } else { 0 }, line, FIRST.ticks(at, at + step)));
                }
                if fate == 9 {
                    wire.push((index + delay, line, FIRST.ticks(at, at + step)));
                }
                at += step;
            }
        }
        wire.sort_by_key(|packet| packet.0);
        for (_, line, packet) in &wire {
            arbiter.on_packet(*line, packet, 0, &mut out);
        }
        for time in [1, 2] {
            arbiter.on_packet(A, &FIRST.heartbeat(end, time), 0, &mut out);
        }
        for _ in 0..1000 {
            let Some(&span) = missing(&arbiter).first() else { break };
            let end = span.end.min(span.begin + 7);
            arbiter.on_packet(R, &FIRST.ticks(span.begin, end), 0, &mut out);
        }
        prop_assert_eq!(&out.sequences, &(1..end).collect::<Vec<_>>());
        prop_assert_eq!(arbiter.stats().delivered.iter().sum::<u64>(), end - 1);
        for stats in arbiter.line_stats() {
            prop_assert_eq!(stats.received + stats.lost, end - 1);
        }
    }

    #[test]
    fn any_bytes_on_a_line_do_no_harm(noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..30)) {
        let (mut arbiter, mut out) = started(10);
        for bytes in &noise {
            arbiter.on_packet(A, bytes, 0, &mut out);
        }
        arbiter.on_packet(A, &FIRST.ticks(10, 12), 0, &mut out);
        prop_assert_eq!(arbiter.position().next, 12);
    }
}
