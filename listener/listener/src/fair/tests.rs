//! What goes in comes out, in order, at its moment.

use super::*;
use proptest::prelude::*;
use twinline_wire::field::{LineName, LineState};
use twinline_wire::market::PriceTick;
use twinline_wire::{Message, OpenPacket, Stamp};

const HOLD: u64 = 1_000;
const CONFIG: FairConfig = FairConfig {
    hold: HOLD,
    buffer: MIN_BUFFER,
};

/// A packet of `count` ticks.
fn packet(sequence: u64, count: u16, sent: u64) -> Vec<u8> {
    let mut buffer = vec![0; 1408];
    let mut open = OpenPacket::new();
    for _ in 0..count {
        assert!(open.push(&mut buffer, &PriceTick::NULL));
    }
    let stamp = Stamp {
        channel: 1,
        session: 5,
        epoch: 1,
        epoch_base: 1,
        sequence,
        sending_time: sent,
        ..Stamp::default()
    };
    let length = open.finish_whole(&mut buffer, stamp, 0);
    buffer.truncate(length);
    buffer
}

fn delivery(bytes: &[u8], skip: u16, take: u16) -> Delivery<'_> {
    Delivery {
        packet: Packet::parse(bytes).unwrap(),
        skip,
        take,
        origin: Origin::LineB,
        waited: false,
    }
}

fn notice(next: u64) -> Notice {
    Notice {
        session: 5,
        epoch: 1,
        epoch_base: 1,
        next,
        kind: NoticeKind::Line(LineName::A, LineState::STALLED),
    }
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    /// First sequence, messages, sending time.
    Messages(u64, u16, u64),
    Notice(u64),
}

#[derive(Default)]
struct Out(Vec<Item>);

impl Sink for Out {
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        assert_eq!(delivery.origin, Origin::LineB);
        let sent = delivery.packet.header().sending_time.get();
        assert!(Packet::parse(delivery.packet.bytes()).is_ok());
        self.0.push(Item::Messages(delivery.begin(), delivery.take, sent));
    }

    fn notice(&mut self, notice: &Notice) {
        self.0.push(Item::Notice(notice.next));
    }
}

fn at(time: u64) -> Times {
    Times {
        real: time,
        mono: time,
    }
}

#[test]
fn a_message_is_released_at_its_moment_and_not_before() {
    let (mut fair, mut out) = (FairRelease::new(CONFIG), Out::default());
    let bytes = packet(7, 3, 5_000);
    fair.deliver(&delivery(&bytes, 1, 2), at(5_100), &mut out);
    assert_eq!(fair.wait(at(5_100)), Some(900));
    assert!(!fair.release(at(5_999), &mut out) && out.0.is_empty());
    assert!(fair.release(at(6_040), &mut out));
    assert_eq!(out.0, [Item::Messages(8, 2, 5_000)]);
    let mut report = FairReport::default();
    fair.fill(&mut report);
    assert_eq!(
        (
            report.stats.on_time,
            report.overshoot.len(),
            report.overshoot.max()
        ),
        (2, 2, 40)
    );
    assert_eq!(
        (fair.wait(at(9_000)), report.held_packets, report.held_bytes),
        (None, 0, 0)
    );
}

#[test]
fn what_comes_past_its_moment_goes_out_at_once_and_how_late_it_was_is_counted() {
    let (mut fair, mut out) = (FairRelease::new(CONFIG), Out::default());
    fair.deliver(&delivery(&packet(1, 2, 5_000), 0, 2), at(6_000), &mut out);
    fair.deliver(&delivery(&packet(3, 3, 5_000), 0, 3), at(6_100), &mut out);
    assert_eq!(out.0, [Item::Messages(1, 2, 5_000), Item::Messages(3, 3, 5_000)]);
    let mut report = FairReport::default();
    fair.fill(&mut report);
    assert_eq!(
        (report.stats.on_time, report.stats.late, report.stats.early()),
        (2, 3, 0)
    );
    assert_eq!((report.lateness.len(), report.lateness.max()), (3, 100));
}

#[test]
fn a_later_packet_whose_moment_is_before_waits_for_those_before_it() {
    let (mut fair, mut out) = (FairRelease::new(CONFIG), Out::default());
    fair.deliver(&delivery(&packet(1, 1, 5_000), 0, 1), at(5_100), &mut out);
    fair.deliver(&delivery(&packet(2, 1, 4_500), 0, 1), at(5_100), &mut out);
    fair.deliver(&delivery(&packet(3, 1, 1_000), 0, 1), at(5_100), &mut out);
    assert!(!fair.release(at(5_900), &mut out));
    assert!(fair.release(at(6_000), &mut out));
    assert_eq!(
        out.0,
        [
            Item::Messages(1, 1, 5_000),
            Item::Messages(2, 1, 4_500),
            Item::Messages(3, 1, 1_000)
        ]
    );
    assert_eq!((fair.stats().on_time, fair.stats().late), (2, 1));
}

#[test]
fn a_notice_goes_out_with_what_stands_before_it() {
    let (mut fair, mut out) = (FairRelease::new(CONFIG), Out::default());
    fair.notice(&notice(1), at(5_000), &mut out);
    assert_eq!(out.0, [Item::Notice(1)], "nothing stands before it");
    fair.deliver(&delivery(&packet(1, 1, 5_000), 0, 1), at(5_100), &mut out);
    fair.notice(&notice(2), at(5_100), &mut out);
    fair.notice(&notice(3), at(5_100), &mut out);
    fair.deliver(&delivery(&packet(2, 1, 5_050), 0, 1), at(5_100), &mut out);
    fair.notice(&notice(4), at(5_100), &mut out);
    fair.release(at(6_000), &mut out);
    assert_eq!(
        out.0[1..],
        [Item::Messages(1, 1, 5_000), Item::Notice(2), Item::Notice(3)]
    );
    fair.release(at(6_050), &mut out);
    assert_eq!(out.0[4..], [Item::Messages(2, 1, 5_050), Item::Notice(4)]);
}

#[test]
fn with_the_buffer_full_the_oldest_goes_out_early_and_is_counted() {
    let (mut fair, mut out) = (FairRelease::new(CONFIG), Out::default());
    let long = packet(1, 20, 5_000);
    let fit = (MIN_BUFFER / long.len()) as u64;
    for n in 0..fit + 3 {
        let bytes = packet(1 + 20 * n, 20, 5_000);
        fair.deliver(&delivery(&bytes, 0, 20), at(5_000), &mut out);
    }
    assert!(out.0.len() >= 3, "{fit} fit");
    assert_eq!(fair.stats().early_full, 20 * out.0.len() as u64);
    fair.release(at(6_000), &mut out);
    let sequences: Vec<u64> = out.0.iter().map(first).collect();
    assert_eq!(sequences, (0..fit + 3).map(|n| 1 + 20 * n).collect::<Vec<_>>());
    let FairStats {
        on_time,
        late,
        early_full,
        early_limit,
    } = *fair.stats();
    assert_eq!((on_time + early_full, late, early_limit), (20 * (fit + 3), 0, 0));
}

#[test]
fn with_too_many_notices_behind_a_packet_it_goes_out_early_and_they_stay_in_place() {
    let (mut fair, mut out) = (FairRelease::new(CONFIG), Out::default());
    fair.deliver(&delivery(&packet(1, 1, 5_000), 0, 1), at(5_000), &mut out);
    for n in 0..=NOTICES as u64 {
        assert!(out.0.is_empty());
        fair.notice(&notice(2 + n), at(5_000), &mut out);
    }
    assert_eq!((out.0.len(), fair.stats().early_full), (NOTICES + 2, 1));
    assert!(out.0.windows(2).all(|two| first(&two[0]) < first(&two[1])));
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_longer_than_twice_the_hold() {
    let (mut fair, mut out) = (FairRelease::new(CONFIG), Out::default());
    fair.deliver(&delivery(&packet(1, 4, 50_000), 0, 4), at(50_100), &mut out);
    let set_back = |mono| Times { real: 10_000, mono };
    assert_eq!(fair.wait(set_back(50_200)), Some(1_900));
    assert!(!fair.release(set_back(52_099), &mut out));
    assert!(fair.release(set_back(52_100), &mut out));
    assert_eq!((fair.stats().early_limit, fair.stats().early()), (4, 4));
}

#[test]
fn a_held_notice_that_names_a_snapshot_is_known_until_it_is_out() {
    let (mut fair, mut out) = (FairRelease::new(CONFIG), Out::default());
    fair.deliver(&delivery(&packet(1, 1, 5_000), 0, 1), at(5_000), &mut out);
    fair.notice(&notice(2), at(5_000), &mut out);
    assert!(!fair.holds_state());
    let state = crate::arbiter::State {
        session: 5,
        epoch: 1,
        epoch_base: 1,
        sequence: 2,
        file: 2,
    };
    let named = Notice {
        kind: NoticeKind::StateReplaced(state),
        ..notice(2)
    };
    fair.notice(&named, at(5_000), &mut out);
    assert!(fair.holds_state());
    fair.release(at(6_000), &mut out);
    assert!(!fair.holds_state() && out.0.len() == 3);
}

fn first(item: &Item) -> u64 {
    match item {
        Item::Messages(sequence, ..) => *sequence,
        Item::Notice(next) => *next,
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Messages in the packet, skipped of them, and how long ago it was sent; below zero: in time to come.
    Deliver(u16, u16, i64),
    Notice,
    /// Time passes.
    Pass(u64),
    /// The real-time clock is set by so much.
    Set(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..25_u16, 0..3_u16, -300..3_000_i64).prop_map(|(count, skip, ago)| Step::Deliver(count, skip.min(count - 1), ago)),
        2 => Just(Step::Notice),
        4 => (0..800_u64).prop_map(Step::Pass),
        1 => (-5_000..5_000_i64).prop_map(Step::Set),
    ];
    proptest::collection::vec(step, 0..400)
}

proptest! {
    #[test]
    fn order_stays_everything_comes_out_nothing_before_its_moment_unless_counted_and_the_counters_add_up(
        steps in steps(),
        hold in 1..2_000_u64,
    ) {
        let mut fair = FairRelease::new(FairConfig { hold, buffer: MIN_BUFFER });
        let (mut out, mut went_in, mut next) = (Out::default(), Vec::new(), 1);
        let mut now = at(1_000_000);
        let (mut seen, mut early) = (0, 0);
        let mut check = |fair: &FairRelease, out: &Out, now: Times| {
            for item in &out.0[seen..] {
                if let Item::Messages(_, take, sent) = item && now.real < sent + hold {
                    early += u64::from(*take);
                }
            }
            seen = out.0.len();
            // Those late when they came and then overtaken by a clock set back are no early ones.
            let counted = fair.stats().early();
            prop_assert!(early >= counted && early <= counted + fair.stats().late, "{early} {:?}", fair.stats());
            Ok(())
        };
        for step in steps {
            match step {
                Step::Deliver(count, skip, ago) => {
                    let sent = now.real.saturating_add_signed(-ago);
                    let bytes = packet(next, count, sent);
                    next += u64::from(count);
                    let take = count - skip;
                    went_in.push(Item::Messages(next - u64::from(take), take, sent));
                    fair.deliver(&delivery(&bytes, skip, take), now, &mut out);
                }
                Step::Notice => {
                    went_in.push(Item::Notice(next));
                    fair.notice(&notice(next), now, &mut out);
                }
                Step::Pass(time) => {
                    now = Times { real: now.real + time, mono: now.mono + time };
                    fair.release(now, &mut out);
                    prop_assert!(fair.wait(now) != Some(0));
                }
                Step::Set(by) => now.real = now.real.saturating_add_signed(by),
            }
            check(&fair, &out, now)?;
        }
        now = Times { real: now.real, mono: now.mono + 2 * hold };
        fair.release(now, &mut out);
        check(&fair, &out, now)?;
        prop_assert_eq!(&out.0, &went_in);
        let messages: u64 = went_in.iter().map(|item| match item {
            Item::Messages(_, take, _) => u64::from(*take),
            Item::Notice(_) => 0,
        }).sum();
        let FairStats { on_time, late, .. } = *fair.stats();
        prop_assert_eq!(on_time + late + fair.stats().early(), messages);
        prop_assert_eq!(fair.wait(now), None);
        let mut report = FairReport::default();
        fair.fill(&mut report);
        prop_assert_eq!((report.lateness.len(), report.overshoot.len()), (late, on_time));
    }
}
