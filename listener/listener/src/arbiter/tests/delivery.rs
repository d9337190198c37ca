//! What lines bring of one session: late, early, twice, in any packing; and what a line is believed when it speaks of more
//! than it brings.

use super::*;
use proptest::prelude::*;
use twinline_wire::field::{LineName, LineState};

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
fn heartbeats_that_agree_too_late_are_not_believed() {
    let (mut arbiter, mut out) = started(10);
    let late = ArbiterConfig::default().patience + 1;
    arbiter.on_packet(A, &FIRST.heartbeat(5000, 1), 0, &mut out);
    arbiter.on_packet(A, &FIRST.heartbeat(5000, 2), late, &mut out);
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
