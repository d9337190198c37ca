//! States in place of what the stream adds up to: where they are told of, when they are asked for, and for how long delivery
//! waits.

use super::*;
use crate::join::{StateConfig, StateFailure, StatePolicy, StateRequest};
use twinline_wire::field::LossReason;

const MS: u64 = 1_000_000;

fn state(epoch: u32, epoch_base: u64, sequence: u64) -> State {
    State {
        session: 1,
        epoch,
        epoch_base,
        sequence,
        file: sequence,
    }
}

fn policy(services: usize) -> StatePolicy {
    StatePolicy::new(StateConfig {
        services,
        hold: 1_000 * MS,
        slow: 500 * MS,
        retry: 10 * MS,
        refresh_bytes: None,
        refresh_age: None,
    })
}

/// Lets the policy look; the service that it wants a connection to.
fn tick(policy: &mut StatePolicy, arbiter: &mut Arbiter, now: u64, out: &mut Out) -> Option<(u32, usize)> {
    let mut wanted = None;
    policy.tick(arbiter, 0, now, out, |connect| {
        wanted = Some((connect.id, connect.service))
    });
    wanted
}

/// Lets the policy look and gives it its connection; the request.
fn ask(policy: &mut StatePolicy, arbiter: &mut Arbiter, now: u64, out: &mut Out) -> StateRequest {
    let (id, _) = tick(policy, arbiter, now, out).expect("it wants a state");
    policy.on_connected(id, arbiter, now).expect("it still wants it")
}

/// An arbiter that has lost 10..20 and delivered up to 30.
fn after_a_loss() -> (Arbiter, Out) {
    let (mut arbiter, mut out) = started(10);
    arbiter.on_packet(A, &FIRST.ticks(20, 30), 0, &mut out);
    arbiter.declare_lost(Span::new(10, 20), LossReason::TIMED_OUT, &mut out);
    assert!(arbiter.wants_state());
    out.notices.clear();
    out.sequences.clear();
    (arbiter, out)
}

#[test]
fn a_state_is_told_of_exactly_where_it_stands_and_everything_before_is_delivered() {
    let (mut arbiter, mut out) = after_a_loss();
    let at_least = arbiter.stop_for_state(0);
    assert_eq!(at_least, 30);
    arbiter.on_packet(A, &FIRST.ticks(30, 40), 0, &mut out);
    arbiter.on_packet(B, &FIRST.ticks(40, 50), 0, &mut out);
    assert_eq!(
        out.sequences, [0u64; 0],
        "delivery waits where the state must reach at least"
    );
    assert!(missing(&arbiter).is_empty() && !arbiter.is_missing_something());

    // It stands in the middle of a packet.
    let state = state(1, 1, 44);
    assert!(arbiter.replace_state(state, &mut out));
    assert_eq!(out.sequences, (30..50).collect::<Vec<_>>());
    assert_eq!(out.notices, [NoticeKind::StateReplaced(state)]);
    assert!(!arbiter.wants_state() && !arbiter.is_held() && !arbiter.has_state());
}

#[test]
fn delivery_goes_on_to_a_state_that_is_ahead_and_fills_gaps_on_the_way() {
    let (mut arbiter, mut out) = after_a_loss();
    arbiter.stop_for_state(0);
    let ahead = state(1, 1, 45);
    assert!(arbiter.replace_state(ahead, &mut out));
    assert!(arbiter.has_state());
    arbiter.on_packet(A, &FIRST.ticks(30, 40), 0, &mut out);
    assert_eq!(out.notices, []);
    arbiter.on_packet(A, &FIRST.ticks(42, 60), 0, &mut out);
    assert_eq!(missing(&arbiter), [Span::new(40, 42)]);
    arbiter.on_packet(R, &FIRST.ticks(40, 42), 0, &mut out);
    assert_eq!(out.sequences, (30..60).collect::<Vec<_>>());
    assert_eq!(out.notices, [NoticeKind::StateReplaced(ahead)]);
}

#[test]
fn a_state_that_is_passed_or_of_something_void_is_not_told_of() {
    // Delivery is beyond it.
    let (mut arbiter, mut out) = after_a_loss();
    for useless in [
        state(1, 1, 29),
        State {
            session: 2,
            ..state(1, 1, 40)
        },
        state(1, 3, 40),
    ] {
        assert!(!arbiter.replace_state(useless, &mut out), "{useless:?}");
    }
    // Another loss is, before it comes to where it stands.
    assert!(arbiter.replace_state(state(1, 1, 35), &mut out));
    arbiter.on_packet(A, &FIRST.ticks(40, 50), 0, &mut out);
    arbiter.declare_lost(Span::new(30, 40), LossReason::TIMED_OUT, &mut out);
    assert!(arbiter.wants_state() && !arbiter.has_state());
    assert!(
        !arbiter.replace_state(state(1, 1, 39), &mut out),
        "nor one in the middle of a loss"
    );

    // An epoch cuts it off, before or after it is here.
    let second = Make {
        session: 1,
        epoch: 2,
        base: 100,
    };
    assert!(arbiter.replace_state(state(1, 1, 70), &mut out));
    arbiter.on_valid(R, Packet::parse(&second.start(60)).unwrap(), 0, &mut out);
    arbiter.on_valid(R, Packet::parse(&FIRST.ticks(50, 60)).unwrap(), 0, &mut out);
    arbiter.on_valid(R, Packet::parse(&second.ticks(101, 110)).unwrap(), 0, &mut out);
    assert_eq!(arbiter.position().next, 110);
    assert!(!arbiter.has_state());
    assert!(
        !out.notices
            .iter()
            .any(|notice| matches!(notice, NoticeKind::StateReplaced(_)))
    );
    let fresh = state(2, 100, 110);
    assert!(arbiter.replace_state(fresh, &mut out));
    assert_eq!(out.notices.last(), Some(&NoticeKind::StateReplaced(fresh)));
}

#[test]
fn after_a_void_only_a_state_of_the_new_epoch_beyond_its_base_counts() {
    let second = Make {
        session: 1,
        epoch: 2,
        base: 100,
    };
    let (mut arbiter, mut out) = started(30);
    arbiter.on_valid(R, Packet::parse(&second.start(20)).unwrap(), 0, &mut out);
    assert!(out.notices.contains(&NoticeKind::Void(Span::new(20, 30), 2)));
    assert!(arbiter.wants_state());
    assert_eq!(arbiter.stop_for_state(0), 101);
    for void in [state(1, 1, 25), state(1, 1, 101), state(1, 1, 150)] {
        assert!(!arbiter.replace_state(void, &mut out), "{void:?}");
    }
    assert!(arbiter.replace_state(state(2, 100, 101), &mut out));
    assert!(!arbiter.wants_state());
}

#[test]
fn a_listener_begins_with_a_state_and_says_what_it_skipped() {
    let config = ArbiterConfig {
        start: StartAt::Snapshot,
        window: 64,
        ..ArbiterConfig::default()
    };
    let (mut arbiter, mut out) = (Arbiter::new(config, None, 0), Out::default());
    let third = Make {
        session: 1,
        epoch: 3,
        base: 500,
    };
    arbiter.on_packet(A, &third.ticks(1_000, 1_010), 0, &mut out);
    arbiter.on_packet(B, &third.ticks(1_000, 1_010), 0, &mut out);
    arbiter.on_packet(A, &third.ticks(1_010, 1_020), 0, &mut out);
    assert_eq!(out, Out::default());
    assert!(missing(&arbiter).is_empty());
    assert_eq!(arbiter.stop_for_state(0), 0, "the newest will do");
    arbiter.go_on(&mut out);
    assert_eq!(out, Out::default(), "it goes on waiting");
    let begin = state(3, 500, 990);
    assert!(arbiter.replace_state(begin, &mut out));
    let skipped = NoticeKind::Lost(Span::new(1, 990), LossReason::SKIPPED);
    assert_eq!(out.notices, [skipped, NoticeKind::StateReplaced(begin)]);
    assert_eq!(missing(&arbiter), [Span::new(990, 1_000)]);
    arbiter.on_packet(R, &third.ticks(980, 1_001), 0, &mut out);
    assert_eq!(out.sequences, (990..1_020).collect::<Vec<_>>());
    assert_eq!(arbiter.stats().lost, 0);

    // What cuts into the state is void.
    let fourth = Make {
        session: 1,
        epoch: 4,
        base: 2_000,
    };
    arbiter.on_valid(R, Packet::parse(&fourth.start(900)).unwrap(), 0, &mut out);
    assert!(out.notices.contains(&NoticeKind::Void(Span::new(900, 1_020), 4)));
    assert!(arbiter.wants_state());
}

#[test]
fn the_next_session_is_delivered_from_its_beginning_without_any_state() {
    let (mut arbiter, mut out) = after_a_loss();
    arbiter.stop_for_state(0);
    arbiter.go_on(&mut out);
    arbiter.on_packet(A, &FIRST.end(30), 0, &mut out);
    assert!(!arbiter.wants_state(), "nothing comes in this session any more");
    let next = Make { session: 2, ..FIRST };
    arbiter.on_packet(A, &next.start(1), 0, &mut out);
    arbiter.on_packet(B, &next.start(1), 0, &mut out);
    arbiter.on_packet(A, &next.ticks(2, 5), 0, &mut out);
    assert_eq!(out.sequences, [30, 1, 2, 3, 4]);
    assert!(!arbiter.wants_state());
}

#[test]
fn a_listener_that_starts_again_with_an_incomplete_state_asks_for_one() {
    let position = Position {
        session: 1,
        epoch: 1,
        epoch_base: 1,
        next: 30,
        ended: false,
    };
    let mut arbiter = Arbiter::new(ArbiterConfig::default(), Some(position), 0);
    arbiter.resume_incomplete();
    let (mut policy, mut out) = (policy(1), Out::default());
    assert_eq!(ask(&mut policy, &mut arbiter, 0, &mut out).at_least, 30);
}

#[test]
fn one_service_after_the_other_is_asked_and_delivery_waits_only_while_one_is() {
    let (mut arbiter, mut out) = after_a_loss();
    let mut policy = policy(2);
    let (id, first) = tick(&mut policy, &mut arbiter, 0, &mut out).expect("a state is wanted");
    assert!(!arbiter.is_held(), "not while the connection is made");
    assert_eq!(
        tick(&mut policy, &mut arbiter, 1, &mut out),
        None,
        "one at a time"
    );
    let request = policy.on_connected(id, &mut arbiter, 1).expect("wanted");
    assert_eq!(request.at_least, 30);
    arbiter.on_packet(A, &FIRST.ticks(30, 40), 1, &mut out);
    assert_eq!(out.sequences, [0u64; 0]);

    policy.on_failed(id, StateFailure::Unreachable, &mut arbiter, 2, &mut out);
    assert_eq!(out.sequences, (30..40).collect::<Vec<_>>());
    let (id, second) = tick(&mut policy, &mut arbiter, 3, &mut out).expect("of the other");
    assert_ne!(first, second);
    let refused = StateFailure::Refused {
        code: RejectCode::NOT_SERVED,
        retry_after: 0,
    };
    policy.on_failed(id, refused, &mut arbiter, 4, &mut out);
    assert_eq!(tick(&mut policy, &mut arbiter, 5, &mut out), None, "both rest");
    let (id, third) = tick(&mut policy, &mut arbiter, 30 * MS, &mut out).expect("the first again");
    assert_eq!(third, first);

    // A state of an old request does not count; that of this one does.
    assert!(!policy.on_state(id - 1, state(1, 1, 40), &mut arbiter, 0, 30 * MS, &mut out));
    policy.on_connected(id, &mut arbiter, 30 * MS);
    assert!(policy.on_state(id, state(1, 1, 40), &mut arbiter, 0, 30 * MS, &mut out));
    assert_eq!(tick(&mut policy, &mut arbiter, 60_000 * MS, &mut out), None);
}

#[test]
fn a_state_that_does_not_come_holds_up_delivery_for_a_bounded_time() {
    let (mut arbiter, mut out) = after_a_loss();
    let mut policy = policy(1);
    let first = ask(&mut policy, &mut arbiter, 0, &mut out);
    arbiter.on_packet(A, &FIRST.ticks(30, 40), 0, &mut out);
    for now in (0..=1_000).step_by(100) {
        policy.on_progress(now * MS);
        tick(&mut policy, &mut arbiter, now * MS, &mut out);
        assert_eq!(out.sequences, [0u64; 0], "it comes, slowly");
    }
    tick(&mut policy, &mut arbiter, 1_001 * MS, &mut out);
    assert_eq!(out.sequences, (30..40).collect::<Vec<_>>());

    // It comes too late, and the next one has twice the time.
    assert!(!policy.on_state(first.id, state(1, 1, 35), &mut arbiter, 0, 1_002 * MS, &mut out));
    assert_eq!(policy.stats().late, 1);
    let begin = 1_100 * MS;
    let second = ask(&mut policy, &mut arbiter, begin, &mut out);
    assert_eq!(second.at_least, 40);
    arbiter.on_packet(A, &FIRST.ticks(40, 50), begin, &mut out);
    for step in (0..=2_000).step_by(100) {
        policy.on_progress(begin + step * MS);
        tick(&mut policy, &mut arbiter, begin + step * MS, &mut out);
    }
    assert!(arbiter.is_held());

    // A service that says nothing is given up.
    let silent = begin + 2_000 * MS + 501 * MS;
    tick(&mut policy, &mut arbiter, silent, &mut out);
    assert!(!arbiter.is_held());
    assert_eq!(policy.stats().failed, 1);
}

#[test]
fn the_time_that_delivery_waits_for_a_state_does_not_make_gaps_older() {
    let (mut arbiter, mut out) = after_a_loss();
    let mut gaps = GapPolicy::new(GapConfig {
        services: 1,
        timeout: 100 * MS,
        ..GapConfig::default()
    });
    gaps.on_connected(0);
    arbiter.on_packet(A, &FIRST.ticks(35, 40), 0, &mut out);
    gaps.tick(&mut arbiter, 0, &mut out, |_| ());
    arbiter.stop_for_state(0);
    for now in 1..500 {
        gaps.tick(&mut arbiter, now * MS, &mut out, |_| {
            panic!("nothing is asked for while it waits")
        });
    }
    arbiter.go_on(&mut out);
    for now in 500..599 {
        gaps.tick(&mut arbiter, now * MS, &mut out, |_| ());
    }
    assert_eq!(out.notices, []);
    gaps.tick(&mut arbiter, 700 * MS, &mut out, |_| ());
    assert_eq!(
        out.notices,
        [NoticeKind::Lost(Span::new(30, 35), LossReason::TIMED_OUT)]
    );
}

#[test]
fn where_no_service_has_a_state_to_begin_with_delivery_begins_at_the_beginning() {
    let config = ArbiterConfig {
        start: StartAt::Snapshot,
        ..ArbiterConfig::default()
    };
    let (mut arbiter, mut out) = (Arbiter::new(config, None, 0), Out::default());
    arbiter.on_service_head(1, 1, 1, 50, &mut out);
    arbiter.on_service_head(1, 1, 1, 50, &mut out);
    let mut policy = policy(2);
    let refused = StateFailure::Refused {
        code: RejectCode::NOT_SERVED,
        retry_after: 0,
    };
    for _ in 0..2 {
        assert!(arbiter.is_held());
        let request = ask(&mut policy, &mut arbiter, 0, &mut out);
        policy.on_failed(request.id, refused, &mut arbiter, 0, &mut out);
    }
    assert_eq!(policy.stats().begun_without, 1);
    assert_eq!(missing(&arbiter), [Span::new(1, 2)]);
    arbiter.on_valid(R, Packet::parse(&FIRST.start(1)).unwrap(), 0, &mut out);
    assert_eq!(missing(&arbiter), [Span::new(2, 50)]);
    assert!(
        !arbiter.wants_state(),
        "what is delivered from there on is the whole state"
    );
}

#[test]
fn a_new_state_is_asked_for_before_the_own_journal_forgets_what_follows_the_last() {
    let (mut arbiter, mut out) = started(10);
    let mut policy = StatePolicy::new(StateConfig {
        refresh_bytes: Some(1_000),
        refresh_age: Some(10_000 * MS),
        ..StateConfig::new(1, &twinline_journal::Retention::default(), 1 << 20)
    });
    let mut wanted = |policy: &mut StatePolicy, arbiter: &mut Arbiter, written: u64, now: u64| {
        let mut id = None;
        policy.tick(arbiter, written, now, &mut out, |connect| id = Some(connect.id));
        id
    };
    // It does not know what files from before are worth.
    let first = wanted(&mut policy, &mut arbiter, 0, 0).expect("one at the start");
    policy.on_connected(first, &mut arbiter, 0);
    assert!(policy.on_state(first, state(1, 1, 10), &mut arbiter, 0, 0, &mut Out::default()));
    assert_eq!(wanted(&mut policy, &mut arbiter, 999, 9_000 * MS), None);
    let second = wanted(&mut policy, &mut arbiter, 1_000, 9_000 * MS).expect("by bytes");
    policy.on_connected(second, &mut arbiter, 9_000 * MS);
    assert!(policy.on_state(
        second,
        state(1, 1, 10),
        &mut arbiter,
        1_000,
        9_000 * MS,
        &mut Out::default()
    ));
    assert_eq!(wanted(&mut policy, &mut arbiter, 1_999, 18_999 * MS), None);
    assert!(
        wanted(&mut policy, &mut arbiter, 1_999, 19_000 * MS).is_some(),
        "by age"
    );
    assert_eq!(policy.stats().refreshes, 3);
}
