//! One writer and its readers, in turns.

use super::{CHANNEL, Source, check, config, create, drain};
use crate::{Kind, Next, Origin, Progress, RingReader, RingWriter};
use std::thread;
use std::time::Duration;
use twinline_wire::field::{LineName, LineState};
use twinline_wire::session::LineEvent;
use twinline_wire::{Message, OpenPacket, Packet, Stamp, flags};

#[test]
fn everything_is_read_once_in_order_over_many_rounds() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(create(dir.path()), 1);
    let mut reader = RingReader::open(dir.path(), CHANNEL, "test").unwrap();
    let mut next = 1;
    while source.writer.stats().written() < 100 * crate::MIN_CAPACITY as u64 {
        (0..10).for_each(|_| source.any());
        let (read, overruns) = drain(&mut reader);
        assert_eq!(overruns, 0);
        for range in read {
            assert_eq!(range.start, next);
            next = range.end;
        }
    }
    assert_eq!(next, source.next);
}

#[test]
fn a_reader_that_was_overrun_is_told_and_goes_on_near_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(create(dir.path()), 1);
    let mut reader = RingReader::open(dir.path(), CHANNEL, "test").unwrap();
    for round in 1..=200 {
        (0..200).for_each(|_| source.any());
        let (read, overruns) = drain(&mut reader);
        assert_eq!(overruns, 1, "round {round}");
        let last = read.last().expect("the newest place has something to read");
        assert_eq!(last.end, source.next);
        assert!(read.windows(2).all(|pair| pair[0].end == pair[1].start));
        let bytes: u64 = read.iter().map(|range| (range.end - range.start) * 39).sum();
        assert!(
            bytes <= 4096 + 1408,
            "at most a block and a packet are read again"
        );
    }
}

#[test]
fn who_attaches_late_knows_session_and_epoch_of_what_it_reads() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(create(dir.path()), 1);
    for _ in 0..500 {
        source.packet(1);
        let mut reader = RingReader::open(dir.path(), CHANNEL, "late").unwrap();
        let (read, _) = drain(&mut reader);
        assert_eq!(read.last().map(|range| range.end), Some(source.next));
    }
}

#[test]
fn only_the_new_messages_of_a_packet_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(create(dir.path()), 1);
    let mut scratch = vec![0; 1408];
    let mut open = OpenPacket::new();
    (1..=10).for_each(|sequence| assert!(open.push(&mut scratch, &super::tick(sequence))));
    let length = open.finish_whole(&mut scratch, source.stamp(), 1024);
    let packet = Packet::trusted_prefix(&scratch[..length]).unwrap();
    let mut reader = RingReader::open(dir.path(), CHANNEL, "test").unwrap();
    source
        .writer
        .messages(&packet, 3, 4, 1_000_501, Origin::Recovery, 64);
    let Next::Record(record) = reader.poll() else {
        panic!("nothing there");
    };
    assert_eq!((record.sequence, record.origin), (4, Origin::Recovery));
    assert_eq!((record.sending_time, record.receive_time), (1_000_001, 1_000_501));
    let messages: Vec<_> = record.messages().map(|(sequence, _)| sequence).collect();
    assert_eq!(
        messages,
        [4, 5, 6, 7],
        "neither what was read before, nor padding"
    );
}

#[test]
fn a_notice_stands_between_the_messages_with_its_place_in_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(create(dir.path()), 1);
    let mut reader = RingReader::open(dir.path(), CHANNEL, "test").unwrap();
    source.packet(2);
    let notice = LineEvent {
        time: 5.into(),
        line: LineName::B,
        state: LineState::STALLED,
    };
    let mut scratch = [0; 256];
    let mut open = OpenPacket::new();
    assert!(open.push(&mut scratch, &notice));
    let frame = &scratch[48..48 + LineEvent::FRAME_LEN];
    let stamp = Stamp {
        flags: flags::LOCAL,
        ..source.stamp()
    };
    source.writer.notice(&stamp, 77, 4711, frame);
    source.packet(1);
    let Next::Record(first) = reader.poll() else {
        panic!()
    };
    assert_eq!(check(&first), 1..3);
    let Next::Record(second) = reader.poll() else {
        panic!()
    };
    assert_eq!((second.kind, second.origin), (Kind::Notice, Origin::Listener));
    assert_eq!(
        (second.sequence, second.location, second.receive_time),
        (3, Some(4711), 77)
    );
    let (_, frame) = second.messages().next().unwrap();
    assert_eq!(*frame.view::<LineEvent>().unwrap(), notice);
    let Next::Record(third) = reader.poll() else {
        panic!()
    };
    assert_eq!(check(&third), 3..4);
}

#[test]
fn times_that_a_short_record_cannot_say_are_right_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(create(dir.path()), 1);
    let mut reader = RingReader::open(dir.path(), CHANNEL, "test").unwrap();
    let mut scratch = vec![0; 256];
    // Clocks that run apart, a message recovered after ten seconds, one as late as a short record can say.
    let times = [
        (1_000, 1_001),
        (2_000, 1),
        (3_000, 10_000_003_000),
        (4_000, 4_000 + u64::from(u32::MAX)),
    ];
    for (sent, received) in times {
        let mut open = OpenPacket::new();
        assert!(open.push(&mut scratch, &super::tick(source.next)));
        let stamp = Stamp {
            sending_time: sent,
            ..source.stamp()
        };
        let length = open.finish_whole(&mut scratch, stamp, 0);
        let packet = Packet::trusted_prefix(&scratch[..length]).unwrap();
        source.writer.messages(&packet, 0, 1, received, Origin::LineA, 0);
        source.next += 1;
        let Next::Record(record) = reader.poll() else {
            panic!()
        };
        assert_eq!((record.sending_time, record.receive_time), (sent, received));
    }
}

#[test]
fn the_keeper_tells_who_reads_and_how_far_behind_and_forgets_nothing_of_who_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(create(dir.path()), 1);
    let stats = source.writer.stats();
    let mut fast = RingReader::open(dir.path(), CHANNEL, "fast").unwrap();
    let slow = RingReader::open(dir.path(), CHANNEL, &"slow ä".repeat(20)).unwrap();
    (0..100).for_each(|_| source.packet(3));
    drain(&mut fast);
    fast.report(&Progress {
        session: 3,
        next: 301,
        overruns: 2,
        missed: 5,
        filled: 7,
    });
    slow.report(&Progress {
        session: 3,
        next: 1,
        ..Progress::default()
    });
    let seen =
        until(|| Some(stats.readers()).filter(|readers| readers.iter().any(|r| r.progress.overruns == 2)));
    assert_eq!(seen.len(), 2);
    let fast_seen = seen.iter().find(|reader| reader.name == "fast").unwrap();
    assert_eq!((fast_seen.lag_bytes, fast_seen.lag_messages), (0, 0));
    assert_eq!(fast_seen.process, std::process::id());
    let slow_seen = seen
        .iter()
        .find(|reader| reader.name.starts_with("slow ä"))
        .unwrap();
    assert_eq!(
        (slow_seen.lag_bytes, slow_seen.lag_messages),
        (stats.written(), 300)
    );
    drop((fast, slow));
    until(|| stats.readers().is_empty().then_some(()));
    assert_eq!((stats.overruns(), stats.missed(), stats.filled()), (2, 5, 7));
    let pages = std::fs::read_dir(dir.path().join("channel-7.readers")).unwrap();
    assert_eq!(pages.count(), 0);
}

#[test]
fn a_reader_that_sleeps_is_woken_by_the_next_message() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(create(dir.path()), 1);
    let path = dir.path().to_owned();
    let sleeper = thread::spawn(move || {
        let mut reader = RingReader::open(&path, CHANNEL, "sleeper").unwrap();
        let mut next = 1;
        while next <= 200 {
            let (read, _) = drain(&mut reader);
            next = read.last().map_or(next, |range| range.end);
            // Much longer than the test may take: somebody has to wake it.
            reader.wait(Duration::from_secs(1000));
        }
    });
    let stats = source.writer.stats();
    until(|| (stats.readers().len() == 1).then_some(()));
    for _ in 0..200 {
        source.packet(1);
        thread::sleep(Duration::from_micros(700));
    }
    // The last wait is over when the ring closes.
    drop(source);
    sleeper.join().unwrap();
}

#[test]
fn a_name_or_a_size_that_cannot_be_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    for capacity in [0, 4096, 100_000] {
        let config = crate::RingConfig {
            capacity,
            ..config(dir.path())
        };
        let error = RingWriter::create(dir.path(), &config).unwrap_err().to_string();
        assert!(error.contains("power of two"), "{error}");
    }
}

/// What `look` gives, as soon as it gives something.
fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..20_000 {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("it does not come");
}

#[test]
fn nobody_sleeps_on_a_ring_that_is_closed() {
    for _ in 0..50 {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::new(create(dir.path()), 1);
        let mut reader = RingReader::open(dir.path(), CHANNEL, "sleeper").unwrap();
        // Much longer than the test may take; now before the ring is closed, now after.
        let sleeper = thread::spawn(move || reader.wait(Duration::from_secs(1000)));
        drop(source);
        sleeper.join().unwrap();
    }
}
