//! The gap policy over the arbiter: what it asks for, whom, and when it declares a loss.

use super::*;
use twinline_wire::field::LossReason;

/// A gap from 10 up to `end` that line A has shown at time 0, and a policy of so many services that has seen it.
fn gap_to(end: u64, services: usize) -> (Arbiter, GapPolicy, Out) {
    let (mut arbiter, mut out) = started(10);
    let mut policy = policy(services);
    arbiter.on_packet(A, &FIRST.ticks(end, end + 2), 0, &mut out);
    assert!(tick(&mut policy, &mut arbiter, 0, &mut out).is_empty());
    (arbiter, policy, out)
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
    let (mut arbiter, mut policy, mut out) = gap_to(12, 2);
    let late = GapConfig::default().reorder;
    assert_eq!(tick(&mut policy, &mut arbiter, late, &mut out)[0].1, 0);
    let later = late + GapConfig::default().slow + 1;
    assert_eq!(tick(&mut policy, &mut arbiter, later, &mut out)[0].1, 1);
    policy.on_disconnected(1);
    assert_eq!(tick(&mut policy, &mut arbiter, later + 1, &mut out)[0].1, 0);
}

#[test]
fn services_are_asked_in_turn_when_all_have_failed() {
    let (mut arbiter, mut policy, mut out) = gap_to(12, 2);
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
fn loss_is_declared_when_every_service_says_too_old() {
    let (mut arbiter, mut policy, mut out) = gap_to(14, 2);
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
    let (mut arbiter, mut policy, mut out) = gap_to(16, 1);
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
    let (mut arbiter, mut policy, mut out) = gap_to(14, 1);
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

#[test]
fn what_a_line_may_still_bring_is_neither_asked_for_nor_lost_as_long_as_it_has_something() {
    let reorder = GapConfig::default().reorder;
    for services in [1, 0] {
        let (mut arbiter, mut out) = started(10);
        let mut policy = policy(services);
        arbiter.on_packet(A, &FIRST.ticks(12, 14), 0, &mut out);
        policy.on_drained([0, 0]);
        let mut acts = |policy: &mut GapPolicy, now: u64| {
            let asked = tick(policy, &mut arbiter, now, &mut out).len();
            asked + out.notices.len()
        };
        assert_eq!(acts(&mut policy, 0), 0);
        assert_eq!(acts(&mut policy, 2 * reorder), 0, "B has not been empty since");
        policy.on_drained([0, reorder - 1]);
        assert_eq!(
            acts(&mut policy, 3 * reorder),
            0,
            "the reorder time was not over then"
        );
        // A has passed it: what it still has does not matter.
        policy.on_drained([0, reorder]);
        assert_eq!(acts(&mut policy, 4 * reorder), 1);
    }
}

#[test]
fn a_line_that_always_has_something_does_not_keep_recovery_off_for_long() {
    let (mut arbiter, mut out) = started(10);
    let mut policy = policy(1);
    arbiter.on_packet(A, &FIRST.ticks(12, 14), 0, &mut out);
    policy.on_drained([0, 0]);
    let reorder = GapConfig::default().reorder;
    assert!(tick(&mut policy, &mut arbiter, 0, &mut out).is_empty());
    assert!(tick(&mut policy, &mut arbiter, 49 * reorder, &mut out).is_empty());
    assert_eq!(tick(&mut policy, &mut arbiter, 50 * reorder, &mut out).len(), 1);
}

#[test]
fn an_end_that_did_not_fit_the_window_is_asked_for_until_a_service_that_lags_has_it() {
    let (mut arbiter, mut out) = started(10);
    let mut policy = policy(1);
    // Everything from 10 on was lost on both lines, then the window is full before the end comes; no heartbeat ever does.
    for begin in (1_000..1_200).step_by(2) {
        arbiter.on_packet(A, &FIRST.ticks(begin, begin + 2), 0, &mut out);
    }
    arbiter.on_packet(A, &FIRST.end(1_200), 0, &mut out);
    let gaps = [Span::new(10, 1_000), Span::new(1_128, 1_201)];
    assert_eq!(missing(&arbiter), gaps);
    let (code, span) = (RejectCode::NOT_YET_PUBLISHED, Span::new(10, 1_201));
    tick(&mut policy, &mut arbiter, 0, &mut out);
    let mut now = GapConfig::default().reorder;
    for id in 1..=5 {
        assert_eq!(
            tick(&mut policy, &mut arbiter, now, &mut out),
            [(id, 0, gaps.to_vec())]
        );
        policy.on_reject(id, refusal(span, code, 1_000), &mut arbiter, now, &mut out);
        policy.on_complete(id);
        assert!(tick(&mut policy, &mut arbiter, now + 999, &mut out).is_empty());
        now += 1_000;
    }
    assert_eq!(policy.stats().withdrawn, 0, "packets have shown that it exists");
    for begin in (10..1_200).step_by(10) {
        arbiter.on_packet(R, &FIRST.ticks(begin, begin + 10), now, &mut out);
    }
    assert_eq!(missing(&arbiter), [Span::new(1_200, 1_201)]);
    let requests = tick(&mut policy, &mut arbiter, now, &mut out);
    assert_eq!(requests, [(6, 0, vec![Span::new(1_200, 1_201)])]);
    arbiter.on_packet(R, &FIRST.end(1_200), now, &mut out);
    assert!(arbiter.position().ended);
    assert_eq!(out.sequences, (1..=1_200).collect::<Vec<_>>());
}

#[test]
fn a_tail_that_was_withdrawn_since_every_service_lagged_is_asked_for_once_one_says_that_it_is_there() {
    let (mut arbiter, mut out) = started(10);
    let mut policy = policy(2);
    // The publisher's last words, in one heartbeat on both lines: nothing comes from it any more.
    for line in [A, B] {
        arbiter.on_packet(line, &FIRST.heartbeat(12, 1), 0, &mut out);
    }
    let (code, span) = (RejectCode::NOT_YET_PUBLISHED, Span::new(10, 12));
    tick(&mut policy, &mut arbiter, 0, &mut out);
    for service in 0..2 {
        let now = GapConfig::default().reorder + service as u64;
        let requests = tick(&mut policy, &mut arbiter, now, &mut out);
        assert_eq!((requests[0].1, &requests[0].2[..]), (service, &[span][..]));
        policy.on_reject(requests[0].0, refusal(span, code, 0), &mut arbiter, now, &mut out);
        policy.on_complete(requests[0].0);
    }
    let now = 2 * GapConfig::default().reorder;
    assert!(tick(&mut policy, &mut arbiter, now, &mut out).is_empty());
    assert_eq!((policy.stats().withdrawn, policy.open_gaps()), (1, 0));
    arbiter.on_service_head(1, 1, 1, 12, &mut out);
    tick(&mut policy, &mut arbiter, now, &mut out);
    let now = now + GapConfig::default().reorder;
    let requests = tick(&mut policy, &mut arbiter, now, &mut out);
    assert_eq!(requests[0].2, [span]);
    arbiter.on_packet(R, &FIRST.ticks(10, 11), now, &mut out);
    arbiter.on_packet(R, &FIRST.end(11), now, &mut out);
    assert!(arbiter.position().ended && out.sequences.last() == Some(&11));
}
