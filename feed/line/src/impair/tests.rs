use super::*;
use proptest::prelude::*;
use twinline_wire::market::PriceTick;
use twinline_wire::{Message, OpenPacket, Stamp};

/// A packet of `count` ticks (0: a heartbeat sent at `sequence`).
fn packet(sequence: u64, count: u16) -> Vec<u8> {
    let mut buffer = vec![0; 1408];
    let mut open = OpenPacket::new();
    for _ in 0..count {
        assert!(open.push(&mut buffer, &PriceTick::NULL));
    }
    let stamp = Stamp {
        channel: 1,
        session: 5,
        epoch: 2,
        epoch_base: 1,
        sequence,
        sending_time: sequence,
        ..Stamp::default()
    };
    let length = open.finish_whole(&mut buffer, stamp, 0);
    buffer.truncate(length);
    buffer
}

/// What a run delivered: line and bytes, in order.
type Delivered = Vec<(Line, Vec<u8>)>;

/// Pushes `packets` packets of three messages on both lines, a microsecond apart, and releases what is held.
fn run(spec: &str, packets: u64) -> (Impairer, Delivered) {
    let mut impairer = Impairer::new(spec.parse().unwrap());
    let mut delivered = Vec::new();
    let mut deliver = |line, bytes: &[u8]| delivered.push((line, bytes.to_vec()));
    for n in 0..packets {
        for line in Line::ALL {
            impairer.push(line, &packet(1 + 3 * n, 3), n * 1000, &mut deliver);
        }
        impairer.poll(n * 1000, &mut deliver);
    }
    impairer.poll(u64::MAX, &mut deliver);
    (impairer, delivered)
}

/// The sequences of the good packets that came on `line`, in order.
fn sequences(delivered: &Delivered, line: Line) -> Vec<u64> {
    let good = |bytes: &[u8]| Packet::parse(bytes).ok().map(|packet| packet.sequence());
    delivered
        .iter()
        .filter(|(on, _)| *on == line)
        .filter_map(|(_, bytes)| good(bytes))
        .collect()
}

#[test]
fn without_faults_everything_passes_in_order() {
    let (impairer, delivered) = run("seed=1", 100);
    for line in Line::ALL {
        let expected: Vec<u64> = (0..100).map(|n| 1 + 3 * n).collect();
        assert_eq!(sequences(&delivered, line), expected);
        let passed = Tally {
            packets: 100,
            messages: 300,
            heartbeats: 0,
        };
        assert_eq!(
            impairer.fates(line),
            LineFates {
                passed,
                ..LineFates::default()
            }
        );
    }
}

#[test]
fn every_fault_comes_about_as_often_as_it_is_asked_for() {
    let (impairer, _) = run("loss=2%,both=0.5%,dup=1%,reorder=3%,corrupt=0.1%,seed=7", 100_000);
    for line in Line::ALL {
        let fates = impairer.fates(line);
        for (tally, expected) in [
            (fates.lost, 2_000.0),
            (fates.lost_both, 500.0),
            (fates.duplicated, 1_000.0),
            (fates.reordered, 3_000.0),
            (fates.corrupted, 100.0),
        ] {
            let off = (tally.packets as f64 - expected).abs();
            assert!(off < 5.0 * f64::sqrt(expected), "{tally:?}, not about {expected}");
            assert_eq!(tally.messages, 3 * tally.packets);
        }
    }
    assert_ne!(impairer.fates(Line::A).lost, impairer.fates(Line::B).lost);
    assert_eq!(
        impairer.fates(Line::A).lost_both,
        impairer.fates(Line::B).lost_both
    );
}

#[test]
fn what_is_lost_on_both_lines_comes_on_neither() {
    let (impairer, delivered) = run("both=5%,seed=3", 2_000);
    let (a, b) = (sequences(&delivered, Line::A), sequences(&delivered, Line::B));
    assert_eq!(a, b);
    assert_eq!(2_000 - a.len() as u64, impairer.fates(Line::A).lost_both.packets);
    assert!(a.len() < 2_000);
}

#[test]
fn the_messages_that_do_not_arrive_on_a_line_are_those_counted_missing() {
    let (impairer, delivered) = run("loss=2%,both=0.5%,dup=1%,reorder=1%,corrupt=1%,seed=7", 20_000);
    for line in Line::ALL {
        let mut arrived = sequences(&delivered, line);
        arrived.sort_unstable();
        arrived.dedup();
        assert_eq!(60_000 - 3 * arrived.len() as u64, impairer.fates(line).missing());
    }
}

#[test]
fn the_same_seed_does_the_same_and_another_receiver_loses_other_packets() {
    let text = "loss=10%,both=1%,dup=5%,reorder=5%,corrupt=1%,seed=11";
    let (_, first) = run(text, 1_000);
    let (_, again) = run(text, 1_000);
    assert_eq!(first, again);
    let other = text.parse::<Spec>().unwrap().for_receiver(1);
    let (_, other) = run(&other.to_string(), 1_000);
    assert_ne!(first, other);
}

#[test]
fn a_reordered_packet_comes_after_one_to_four_later_ones() {
    let (impairer, delivered) = run("reorder=1%,seed=2", 20_000);
    let mut seen_distances = [false; 5];
    let came = sequences(&delivered, Line::A);
    for (at, &sequence) in came.iter().enumerate() {
        let before = came[at.saturating_sub(16)..at].iter();
        let overtaken_by = before.filter(|&&earlier| earlier > sequence).count();
        if overtaken_by > 0 && overtaken_by <= 4 {
            seen_distances[overtaken_by] = true;
        }
    }
    assert_eq!(came.len(), 20_000);
    assert!(impairer.fates(Line::A).reordered.packets > 100);
    assert_eq!(seen_distances, [false, true, true, true, true]);
}

#[test]
fn a_packet_that_nothing_follows_is_released_after_five_milliseconds() {
    let mut impairer = Impairer::new("reorder=100%".parse().unwrap());
    let mut came = 0;
    impairer.push(Line::A, &packet(1, 3), 1_000, &mut |_, _| panic!("it is held"));
    impairer.poll(5_000_999, &mut |_, _| panic!("it is still held"));
    impairer.poll(5_001_000, &mut |line, _| {
        assert_eq!(line, Line::A);
        came += 1;
    });
    impairer.poll(u64::MAX, &mut |_, _| panic!("it came already"));
    assert_eq!((came, impairer.fates(Line::A).reordered.messages), (1, 3));
}

#[test]
fn with_all_slots_taken_packets_pass() {
    let mut impairer = Impairer::new("reorder=100%".parse().unwrap());
    let mut came = Vec::new();
    for n in 0..SLOTS as u64 + 1 {
        impairer.push(Line::B, &packet(1 + n, 1), 0, &mut |_, bytes| {
            came.push(Packet::parse(bytes).unwrap().sequence());
        });
    }
    let fates = impairer.fates(Line::B);
    assert_eq!((fates.reordered.packets, fates.passed.packets), (SLOTS as u64, 1));
    assert_eq!(
        came[0],
        SLOTS as u64 + 1,
        "the one that passes goes before those it overtook"
    );
}

#[test]
fn heartbeats_are_counted_apart_and_repeats_of_one_do_not_share_a_fate() {
    let mut impairer = Impairer::new("both=50%,seed=4".parse().unwrap());
    for time in 0..100 {
        let mut bytes = vec![0; 48];
        let stamp = Stamp {
            session: 1,
            epoch: 1,
            epoch_base: 1,
            sequence: 10,
            sending_time: time,
            ..Stamp::default()
        };
        OpenPacket::new().finish_whole(&mut bytes, stamp, 0);
        impairer.push(Line::A, &bytes, time, &mut |_, _| {});
    }
    let fates = impairer.fates(Line::A);
    assert_eq!(fates.lost_both.heartbeats + fates.passed.heartbeats, 100);
    assert!((20..80).contains(&fates.lost_both.heartbeats), "{fates:?}");
    assert_eq!((fates.lost_both.packets, fates.missing()), (0, 0));
}

#[test]
fn a_corrupted_copy_differs_in_one_bit_and_is_no_packet() {
    let original = packet(1, 3);
    let mut impairer = Impairer::new("corrupt=100%".parse().unwrap());
    for now in 0..500 {
        impairer.push(Line::A, &original, now, &mut |_, bytes| {
            let flipped: u32 = bytes
                .iter()
                .zip(&original)
                .map(|(a, b)| (a ^ b).count_ones())
                .sum();
            assert_eq!((bytes.len(), flipped), (original.len(), 1));
            assert!(Packet::parse(bytes).is_err());
        });
    }
    assert_eq!(impairer.fates(Line::A).missing(), 1_500);
}

proptest! {
    #[test]
    fn foreign_bytes_pass_as_they_are(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let mut impairer = Impairer::new("loss=100%".parse().unwrap());
        let mut came = Vec::new();
        impairer.push(Line::A, &bytes, 0, &mut |_, bytes| came.push(bytes.to_vec()));
        prop_assert_eq!(came, vec![bytes]);
        prop_assert_eq!(impairer.fates(Line::A), LineFates { foreign: 1, ..LineFates::default() });
    }
}

#[test]
fn faults_of_one_line_spare_the_other_and_what_both_lose_is_lost_on_both() {
    let (impairer, _) = run(
        "loss=20%,corrupt=5%,dup=5%,reorder=5%,both=2%,line=a,seed=7",
        5_000,
    );
    let [a, b] = Line::ALL.map(|line| impairer.fates(line));
    assert!(a.lost.packets > 500 && a.corrupted.packets > 100 && a.duplicated.packets > 100);
    let none = Tally::default();
    assert_eq!(
        (b.lost, b.corrupted, b.duplicated, b.reordered),
        (none, none, none, none)
    );
    assert!(b.lost_both.packets > 0);
    assert_eq!(a.lost_both, b.lost_both);
    // Line A meets the same as it does where line B is not spared.
    let (both, _) = run("loss=20%,corrupt=5%,dup=5%,reorder=5%,both=2%,seed=7", 5_000);
    assert_eq!(both.fates(Line::A), a);
}
