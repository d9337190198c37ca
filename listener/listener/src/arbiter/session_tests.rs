//! Sessions and epochs that follow each other, with gaps open in the ones before.

use super::tests::*;
use super::*;
use crate::gaps::{GapConfig, GapPolicy, Refusal};
use twinline_wire::field::{LossReason, RejectCode, SessionState};
use twinline_wire::session::{EpochStart, SessionStart};
use twinline_wire::{Message, Optional};

const TIMEOUT: u64 = 10_000_000_000;

fn of(session: u32) -> Make {
    Make { session, ..FIRST }
}

impl Make {
    /// The session's second message.
    fn follows(self, previous: u32) -> Vec<u8> {
        let start = SessionStart {
            previous: Optional::some(previous),
            ..SessionStart::NULL
        };
        let mut buffer = vec![0; 1408];
        let mut open = OpenPacket::new();
        let epoch = EpochStart {
            valid_end: 1.into(),
            epoch: self.epoch.into(),
        };
        assert!(open.push(&mut buffer, &epoch) && open.push(&mut buffer, &start));
        let length = open.finish_whole(&mut buffer, self.stamp(self.base), 0);
        buffer.truncate(length);
        buffer
    }

    fn ending(self, next: u64, time: u64) -> Vec<u8> {
        let mut buffer = vec![0; 64];
        let stamp = Stamp {
            sending_time: time,
            flags: flags::END_OF_SESSION,
            ..self.stamp(next)
        };
        let length = OpenPacket::new().finish_whole(&mut buffer, stamp, 0);
        buffer.truncate(length);
        buffer
    }
}

use twinline_wire::packet::{OpenPacket, Stamp};

fn both(arbiter: &mut Arbiter, packet: &[u8], out: &mut Out) {
    for line in [A, B] {
        arbiter.on_packet(line, packet, 0, out);
    }
}

/// Session 1, delivered to its end (at 11).
fn ended() -> (Arbiter, Out) {
    let (mut arbiter, mut out) = started(10);
    arbiter.on_packet(A, &FIRST.end(10), 0, &mut out);
    assert!(arbiter.position().ended);
    (out.sequences, out.notices) = Default::default();
    (arbiter, out)
}

/// Asks what is due; session, ranges and number of the one request that must come.
fn asked(policy: &mut GapPolicy, arbiter: &mut Arbiter, now: u64, out: &mut Out) -> (u32, usize, u32) {
    let mut requests = Vec::new();
    policy.tick(arbiter, now, out, |request| requests.push(*request));
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(requests[0].ranges(), [Span::new(1, u64::MAX)]);
    (requests[0].session, requests[0].service, requests[0].id)
}

fn not_held(code: RejectCode, next_session: u32) -> Refusal {
    Refusal {
        span: Span::new(1, u64::MAX),
        code,
        retry_after: 0,
        next_session: Some(next_session),
    }
}

fn missed(begin: u32, end: u32, reason: LossReason) -> NoticeKind {
    NoticeKind::SessionsMissed { begin, end, reason }
}

#[test]
fn the_next_sessions_packets_wait_while_the_old_one_is_completed() {
    let (mut arbiter, mut out) = started(10);
    arbiter.on_packet(A, &FIRST.ticks(14, 16), 0, &mut out);
    both(&mut arbiter, &of(2).start(1), &mut out);
    for begin in (2..302).step_by(3) {
        both(&mut arbiter, &of(2).ticks(begin, begin + 3), &mut out);
    }
    assert_eq!(arbiter.position().session, 1);
    assert_eq!(
        (arbiter.stats().ahead, arbiter.stats().ahead_peak),
        (64, 64),
        "a window full of them, and no more"
    );
    assert_eq!(arbiter.stats().dropped[0].get(Dropped::NextSession), 37);
    arbiter.on_packet(R, &FIRST.ticks(10, 14), 0, &mut out);
    arbiter.on_packet(R, &FIRST.end(16), 0, &mut out);
    assert_eq!(out.sequences, (1..17).chain(1..191).collect::<Vec<_>>());
    assert_eq!((arbiter.position().session, arbiter.waiting()), (2, 0));
    // Both lines brought all of it, kept or not.
    arbiter.on_packet(R, &of(2).ticks(191, 302), 0, &mut out);
    for stats in arbiter.line_stats() {
        assert_eq!(
            (stats.duplicate, stats.lost - lost_in_first(&stats)),
            (0, 0),
            "{stats:?}"
        );
    }
}

/// Of session 1 line A lacks 10..14 and 16, line B all but the first message.
fn lost_in_first(stats: &LineStats) -> u64 {
    17 - 1 - (stats.received - 301)
}

#[test]
fn the_old_sessions_loss_is_declared_before_the_next_one_begins() {
    let (mut arbiter, mut out) = started(10);
    let mut policy = policy(1);
    arbiter.on_packet(A, &FIRST.ticks(14, 16), 0, &mut out);
    both(&mut arbiter, &of(2).follows(1), &mut out);
    tick(&mut policy, &mut arbiter, 0, &mut out);
    let requests = tick(&mut policy, &mut arbiter, GapConfig::default().reorder, &mut out);
    assert_eq!(requests[0].2, [Span::new(10, 14), Span::new(16, u64::MAX)]);
    arbiter.on_packet(R, &FIRST.end(16), 0, &mut out);
    tick(&mut policy, &mut arbiter, 2 * TIMEOUT, &mut out);
    tick(&mut policy, &mut arbiter, 4 * TIMEOUT, &mut out);
    assert_eq!(
        out.notices,
        [
            NoticeKind::Lost(Span::new(10, 14), LossReason::TIMED_OUT),
            NoticeKind::Session(SessionState::ENDED),
            NoticeKind::Session(SessionState::STARTED),
        ]
    );
    assert_eq!(out.sequences[9..], [14, 15, 16, 1, 2]);
}

#[test]
fn one_forged_packet_that_waits_for_the_next_session_does_not_say_how_far_it_is() {
    let (mut arbiter, mut out) = started(10);
    both(&mut arbiter, &of(2).follows(1), &mut out);
    arbiter.on_packet(A, &of(2).ticks(1 << 40, (1 << 40) + 1), 0, &mut out);
    arbiter.on_packet(A, &of(2).ticks(3, 5), 0, &mut out);
    arbiter.on_packet(A, &FIRST.end(10), 0, &mut out);
    assert_eq!((arbiter.position().session, arbiter.position().next), (2, 5));
    assert_eq!(missing(&arbiter), []);
}

#[test]
fn of_two_higher_sessions_the_nearer_one_comes_next_and_keeps_its_packets() {
    let (mut arbiter, mut out) = started(10);
    both(&mut arbiter, &of(9).ticks(70, 72), &mut out);
    both(&mut arbiter, &of(2).follows(1), &mut out);
    both(&mut arbiter, &of(9).ticks(72, 74), &mut out);
    arbiter.on_packet(A, &FIRST.end(10), 0, &mut out);
    assert_eq!((arbiter.position().session, arbiter.position().next), (2, 3));
}

#[test]
fn a_session_begins_at_once_where_its_start_says_that_it_follows() {
    let (mut arbiter, mut out) = ended();
    both(&mut arbiter, &of(4).heartbeat(1, 7), &mut out);
    assert!(!arbiter.is_missing_something(), "in the lead-in nobody is asked");
    both(&mut arbiter, &of(4).follows(1), &mut out);
    assert_eq!((arbiter.position().session, arbiter.position().next), (4, 3));
    assert_eq!(out.notices, [NoticeKind::Session(SessionState::STARTED)]);
}

#[test]
fn sessions_that_were_slept_through_are_recovered_one_by_one() {
    let (mut arbiter, mut out) = ended();
    let mut policy = policy(1);
    both(&mut arbiter, &of(6).follows(4), &mut out);
    assert_eq!(arbiter.position().session, 1);
    let (session, _, id) = asked(&mut policy, &mut arbiter, 0, &mut out);
    assert_eq!(session, 2);
    arbiter.on_packet(R, &of(2).follows(1), 0, &mut out);
    arbiter.on_packet(R, &of(2).end(3), 0, &mut out);
    policy.on_complete(id);
    // No service has to say that there was no session 3.
    let (session, _, id) = asked(&mut policy, &mut arbiter, 1, &mut out);
    assert_eq!(session, 3);
    policy.on_reject(id, not_held(RejectCode::VOID, 4), &mut arbiter, 1, &mut out);
    let (session, _, _) = asked(&mut policy, &mut arbiter, 2, &mut out);
    assert_eq!(session, 4);
    arbiter.on_packet(R, &of(4).follows(2), 0, &mut out);
    arbiter.on_packet(R, &of(4).end(3), 0, &mut out);
    assert_eq!((arbiter.position().session, arbiter.position().next), (6, 3));
    assert_eq!(out.sequences, [1, 2, 3, 1, 2, 3, 1, 2]);
    assert_eq!(arbiter.stats().sessions_missed, 0);
}

#[test]
fn a_session_that_was_announced_and_never_published_holds_nobody_up() {
    let (mut arbiter, mut out) = ended();
    let mut policy = policy(1);
    both(&mut arbiter, &of(5).heartbeat(1, 7), &mut out);
    arbiter.on_service_head(8, 1, 1, 40, &mut out);
    let (session, _, id) = asked(&mut policy, &mut arbiter, 0, &mut out);
    assert_eq!(session, 2);
    policy.on_reject(id, not_held(RejectCode::VOID, 8), &mut arbiter, 0, &mut out);
    let (session, _, _) = asked(&mut policy, &mut arbiter, 1, &mut out);
    assert_eq!(session, 8);
    arbiter.on_packet(R, &of(8).follows(1), 0, &mut out);
    assert_eq!(out.notices, [NoticeKind::Session(SessionState::STARTED)]);
    assert_eq!((arbiter.position().session, arbiter.position().next), (8, 3));
}

#[test]
fn sessions_that_no_service_has_are_named_in_the_next_one() {
    let (mut arbiter, mut out) = ended();
    let mut policy = policy(2);
    both(&mut arbiter, &of(9).follows(8), &mut out);
    let (session, first, id) = asked(&mut policy, &mut arbiter, 0, &mut out);
    assert_eq!(session, 2);
    policy.on_reject(id, not_held(RejectCode::TOO_OLD, 7), &mut arbiter, 0, &mut out);
    policy.on_complete(id);
    let (session, second, id) = asked(&mut policy, &mut arbiter, 1, &mut out);
    assert_eq!((session, second), (2, 1 - first));
    policy.on_reject(id, not_held(RejectCode::TOO_OLD, 5), &mut arbiter, 1, &mut out);
    policy.on_complete(id);
    // The nearest session that either has is the next one, of which its start is lost.
    let (session, _, id) = asked(&mut policy, &mut arbiter, 2, &mut out);
    assert_eq!(session, 5);
    arbiter.on_packet(R, &of(5).start(1), 0, &mut out);
    arbiter.on_packet(R, &of(5).end(2), 0, &mut out);
    policy.on_complete(id);
    assert_eq!(
        out.notices,
        [
            missed(2, 5, LossReason::TOO_OLD),
            NoticeKind::Session(SessionState::STARTED),
            NoticeKind::Session(SessionState::ENDED),
        ]
    );
    assert_eq!(
        (arbiter.wanted_session(), arbiter.stats().sessions_missed),
        (6, 3)
    );
}

#[test]
fn of_a_session_of_which_only_a_part_is_kept_the_start_is_lost_by_name() {
    let (mut arbiter, mut out) = ended();
    let mut policy = policy(1);
    both(&mut arbiter, &of(3).follows(2), &mut out);
    let (session, _, id) = asked(&mut policy, &mut arbiter, 0, &mut out);
    assert_eq!(session, 2);
    let start = refusal(Span::new(1, 40), RejectCode::TOO_OLD, 0);
    policy.on_reject(id, start, &mut arbiter, 0, &mut out);
    arbiter.on_packet(R, &of(2).ticks(40, 50), 0, &mut out);
    arbiter.on_packet(R, &of(2).end(50), 0, &mut out);
    policy.on_complete(id);
    tick(&mut policy, &mut arbiter, 1, &mut out);
    let requests = tick(&mut policy, &mut arbiter, TIMEOUT / 2, &mut out);
    assert_eq!(requests[0].2[0], Span::new(2, 40));
    let start = refusal(Span::new(2, 40), RejectCode::TOO_OLD, 0);
    policy.on_reject(requests[0].0, start, &mut arbiter, TIMEOUT / 2, &mut out);
    tick(&mut policy, &mut arbiter, TIMEOUT / 2, &mut out);
    // First the EpochStart, without which nothing is known of its epoch.
    let lost = [Span::new(1, 2), Span::new(2, 40)];
    assert_eq!(
        out.notices[..2],
        lost.map(|lost| NoticeKind::Lost(lost, LossReason::TOO_OLD))
    );
    assert_eq!(out.sequences, (40..51).chain(1..3).collect::<Vec<_>>());
    assert_eq!(arbiter.stats().sessions_missed, 0);
}

#[test]
fn where_nobody_can_be_asked_the_sessions_between_are_named_after_the_time_out() {
    let (mut arbiter, mut out) = ended();
    let mut policy = GapPolicy::new(GapConfig {
        services: 1,
        ..GapConfig::default()
    });
    both(&mut arbiter, &of(4).ticks(7, 9), &mut out);
    assert_eq!(tick(&mut policy, &mut arbiter, 0, &mut out), []);
    assert_eq!(tick(&mut policy, &mut arbiter, TIMEOUT - 1, &mut out), []);
    assert_eq!(arbiter.position().session, 1);
    tick(&mut policy, &mut arbiter, TIMEOUT + 1, &mut out);
    assert_eq!(out.notices, [missed(2, 4, LossReason::TIMED_OUT)]);
    assert_eq!(arbiter.position().session, 4);
}

#[test]
fn without_a_service_the_numbers_between_are_named_soon_unless_the_start_is_there() {
    let (mut arbiter, mut out) = ended();
    let mut policy = policy(0);
    both(&mut arbiter, &of(4).ticks(3, 9), &mut out);
    tick(&mut policy, &mut arbiter, 0, &mut out);
    tick(&mut policy, &mut arbiter, 10_000_000, &mut out);
    assert_eq!(out.notices, [missed(2, 4, LossReason::TIMED_OUT)]);
}

#[test]
fn the_last_numbers_of_all_are_sessions_too() {
    let last = u32::MAX;
    let position = Position {
        session: last - 3,
        epoch: 1,
        epoch_base: 1,
        next: 5,
        ended: true,
    };
    let config = ArbiterConfig::default();
    let (mut arbiter, mut out) = (Arbiter::new(config, Some(position), 0), Out::default());
    let mut policy = policy(1);
    both(&mut arbiter, &of(last).follows(last - 1), &mut out);
    let (session, _, id) = asked(&mut policy, &mut arbiter, 0, &mut out);
    assert_eq!(session, last - 2);
    policy.on_reject(
        id,
        not_held(RejectCode::TOO_OLD, last - 1),
        &mut arbiter,
        0,
        &mut out,
    );
    asked(&mut policy, &mut arbiter, 1, &mut out);
    arbiter.on_packet(R, &of(last - 1).start(1), 0, &mut out);
    arbiter.on_packet(R, &of(last - 1).end(2), 0, &mut out);
    assert_eq!(arbiter.position().session, last);
    arbiter.on_packet(A, &of(last).end(3), 0, &mut out);
    assert!(arbiter.position().ended && !arbiter.is_missing_something());
}

#[test]
fn an_end_that_heartbeats_spoke_of_before_the_loss_is_the_end_after_it() {
    let (mut arbiter, mut out) = started(10);
    for (line, time) in [(A, 1), (B, 2)] {
        arbiter.on_packet(line, &FIRST.ending(15, time), 0, &mut out);
    }
    assert_eq!(missing(&arbiter), [Span::new(10, 15)]);
    // The publisher is gone: no heartbeat comes again.
    arbiter.declare_lost(Span::new(10, 15), LossReason::TIMED_OUT, &mut out);
    assert!(arbiter.position().ended);
    assert_eq!(out.notices[1], NoticeKind::Session(SessionState::ABANDONED));
}

/// Epoch `epoch` at `base`, behind what is valid below `valid_end`.
fn epoch(arbiter: &mut Arbiter, out: &mut Out, epoch: u32, base: u64, valid_end: u64) -> Make {
    let make = Make {
        session: 1,
        epoch,
        base,
    };
    both(arbiter, &make.start(valid_end), out);
    make
}

#[test]
fn several_epochs_in_a_row_begin_while_gaps_of_the_first_are_open() {
    let (mut arbiter, mut out) = started(10);
    arbiter.on_packet(A, &FIRST.ticks(14, 16), 0, &mut out);
    epoch(&mut arbiter, &mut out, 2, 100, 15);
    let third = epoch(&mut arbiter, &mut out, 3, 101, 101);
    let fourth = epoch(&mut arbiter, &mut out, 4, 200, 110);
    arbiter.on_packet(A, &fourth.end(201), 0, &mut out);
    assert_eq!(missing(&arbiter), [Span::new(10, 14), Span::new(102, 110)]);
    arbiter.on_packet(R, &third.ticks(102, 115), 0, &mut out);
    arbiter.on_packet(R, &FIRST.ticks(10, 14), 0, &mut out);
    let whole = (1..15).chain(100..110).chain(200..202);
    assert_eq!(out.sequences, whole.collect::<Vec<_>>());
    assert!(arbiter.position().ended);
    assert_eq!(arbiter.stats().void, 0);
}

#[test]
fn an_epoch_may_change_at_the_sessions_start_and_directly_before_its_end() {
    let (mut arbiter, mut out) = (arbiter(), Out::default());
    // A power cut took the whole first epoch.
    epoch(&mut arbiter, &mut out, 2, 1001, 1);
    let last = epoch(&mut arbiter, &mut out, 3, 1002, 1002);
    arbiter.on_packet(B, &last.end(1003), 0, &mut out);
    assert_eq!(out.sequences, [1001, 1002, 1003]);
    assert!(arbiter.position().ended);
}

#[test]
fn sequences_and_epochs_go_on_beyond_two_to_the_thirty_second() {
    let (mut arbiter, mut out) = started(10);
    let base = (1 << 32) - 5;
    let far = epoch(&mut arbiter, &mut out, u32::MAX - 1, base, 10);
    arbiter.on_packet(A, &far.ticks(base + 1, base + 3), 0, &mut out);
    // Over the border in a packet that is partly new, in one that is early, and in a gap.
    arbiter.on_packet(B, &far.ticks(base + 1, base + 8), 0, &mut out);
    arbiter.on_packet(B, &far.ticks(base + 12, base + 20), 0, &mut out);
    assert_eq!(missing(&arbiter), [Span::new(base + 8, base + 12)]);
    arbiter.on_packet(R, &far.ticks(base, base + 14), 0, &mut out);
    let last = epoch(&mut arbiter, &mut out, u32::MAX, base + 30, base + 18);
    arbiter.on_packet(A, &last.end(base + 31), 0, &mut out);
    let whole = (1..10).chain(base..base + 20).chain(base + 30..base + 32);
    assert_eq!(out.sequences, whole.collect::<Vec<_>>());
    assert_eq!(
        out.notices[1],
        NoticeKind::Void(Span::new(base + 18, base + 20), u32::MAX)
    );
    assert!(arbiter.position().ended);
    for stats in arbiter.line_stats() {
        assert!(stats.lost < 40, "a hole in the numbers is no loss: {stats:?}");
    }
}
