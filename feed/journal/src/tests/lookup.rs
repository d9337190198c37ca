//! Finding every sequence, and what is said of those that are not there.

use crate::testing::{Stream, config, fill, read_all};
use crate::{Head, JournalConfig, JournalReader, JournalWriter, Location, Retention, Seek, SessionSpan};
use twinline_wire::session::{LineEvent, Lost};
use twinline_wire::{Message, U64};

#[test]
fn every_sequence_is_found_in_its_packet() {
    // Segments of one index block, and of sixteen.
    for segment_size in [1 << 16, 1 << 20] {
        find_every_sequence(JournalConfig {
            segment_size,
            ..config()
        });
    }
}

fn find_every_sequence(config: JournalConfig) {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), config).unwrap();
    let mut ends = Vec::new();
    for session in 1..=3 {
        let mut stream = Stream::new(session);
        fill(&mut writer, &mut stream, 300);
        ends.push(stream.next);
    }
    let mut reader = JournalReader::open(dir.path()).unwrap();
    for (session, &end) in (1..).zip(&ends) {
        for sequence in 1..end {
            assert_eq!(reader.seek(session, sequence).unwrap(), Seek::Found);
            let packet = reader.next().unwrap().unwrap();
            assert_eq!(packet.header().session.get(), session);
            assert!(
                (packet.sequence()..packet.end()).contains(&sequence),
                "{sequence}: {packet:?}"
            );
        }
        assert_eq!(reader.seek(session, end).unwrap(), Seek::NotYet);
        assert_eq!(reader.seek(session, end + 1000).unwrap(), Seek::NotYet);
        // From the end of a session it goes on with the next one.
        let next = reader
            .next()
            .unwrap()
            .map(|packet| (packet.header().session.get(), packet.sequence()));
        assert_eq!(next, (session < 3).then_some((session + 1, 1)));
        assert_eq!(reader.seek(session, 0).unwrap(), Seek::TooOld { oldest: 1 });
    }
    for session in [0, 4, u32::MAX] {
        assert_eq!(reader.seek(session, 5).unwrap(), Seek::UnknownSession);
        assert_eq!(reader.session(session).unwrap(), None);
    }
}

#[test]
fn a_sequence_that_an_epoch_leapt_over_is_found_at_the_epochs_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
    let mut stream = Stream::new(1);
    fill(&mut writer, &mut stream, 100);
    let valid_end = stream.next;
    writer.append(&stream.new_epoch(5000)).unwrap();
    let mut reader = JournalReader::open(dir.path()).unwrap();
    for sequence in [valid_end, valid_end + 1, 4999, 5000] {
        assert_eq!(reader.seek(1, sequence).unwrap(), Seek::Found);
        assert_eq!(reader.next().unwrap().unwrap().sequence(), 5000);
    }
    let span = reader.session(1).unwrap().unwrap();
    let expected = SessionSpan {
        oldest: 1,
        next: 5001,
        epoch: 2,
        epoch_base: 5000,
        ended: false,
        superseded: false,
    };
    assert_eq!(span, expected);
}

#[test]
fn in_a_listeners_journal_a_lost_sequence_is_found_at_its_notice() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
    let mut stream = Stream {
        next: 500,
        ..Stream::new(1)
    };
    writer.append(&stream.ticks(3, 0)).unwrap();
    let lost = Lost {
        begin: U64::new(503),
        end: U64::new(600),
        ..Lost::NULL
    };
    writer.append(&stream.notice(&lost, 600)).unwrap();
    writer.append(&stream.ticks(1, 0)).unwrap();
    writer.append(&stream.notice(&LineEvent::NULL, 601)).unwrap();
    let mut reader = JournalReader::open(dir.path()).unwrap();
    assert_eq!(reader.seek(1, 1).unwrap(), Seek::TooOld { oldest: 500 });
    for sequence in [503, 550, 599] {
        assert_eq!(reader.seek(1, sequence).unwrap(), Seek::Found);
        let (_, frame) = reader.next().unwrap().unwrap().messages().next().unwrap();
        assert_eq!(frame.view::<Lost>().unwrap().end.get(), 600, "{sequence}");
    }
    assert_eq!(reader.seek(1, 600).unwrap(), Seek::Found);
    assert_eq!(reader.next().unwrap().unwrap().sequence(), 600);
    // The event at the end is read, but sequence 601 is not there yet.
    assert_eq!(reader.seek(1, 601).unwrap(), Seek::NotYet);
    assert_eq!(reader.next().unwrap().unwrap().header().count.get(), 0);
    assert!(reader.next().unwrap().is_none());
    assert_eq!(reader.head().unwrap().unwrap().next, 601);
    assert_eq!(writer.tail().unwrap().next, 601);
}

#[test]
fn notices_at_the_end_of_an_index_block_are_found_with_the_packet_behind_them() {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig {
        segment_size: 1 << 20,
        ..config()
    };
    let mut writer = JournalWriter::open(dir.path(), config).unwrap();
    let mut stream = Stream {
        next: 2,
        ..Stream::new(1)
    };
    // 63 packets of 1,024 bytes and 8 notices of 128 fill the first block.
    fill(&mut writer, &mut stream, 63);
    for _ in 0..8 {
        let notice = stream.notice(&LineEvent::NULL, stream.next);
        assert_eq!(notice.len().next_multiple_of(64), 128);
        writer.append(&notice).unwrap();
    }
    let sequence = stream.next;
    fill(&mut writer, &mut stream, 100);
    let mut reader = JournalReader::open(dir.path()).unwrap();
    assert_eq!(reader.seek(1, sequence).unwrap(), Seek::Found);
    for _ in 0..8 {
        assert_eq!(reader.next().unwrap().unwrap().header().count.get(), 0);
    }
    assert_eq!(reader.next().unwrap().unwrap().sequence(), sequence);
}

#[test]
fn the_head_follows_packets_segments_and_sessions() {
    for segment_size in [1 << 16, 1 << 20] {
        follow_head(JournalConfig {
            segment_size,
            ..config()
        });
    }
}

fn follow_head(config: JournalConfig) {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), config.clone()).unwrap();
    let mut reader = JournalReader::open(dir.path()).unwrap();
    assert_eq!(reader.head().unwrap(), None);
    for session in [1, 2, 5] {
        let mut stream = Stream::new(session);
        for packet in 0..100 {
            fill(&mut writer, &mut stream, 1 + packet % 7);
            let head = reader.head().unwrap().unwrap();
            assert_eq!(
                JournalReader::open(dir.path()).unwrap().head().unwrap().unwrap(),
                head
            );
            let expected = Head {
                session,
                epoch: 1,
                epoch_base: 1,
                next: stream.next,
                ended: false,
                oldest: 1,
            };
            assert_eq!(head, expected);
        }
        writer.append(&stream.end_of_session()).unwrap();
        assert!(writer.tail().unwrap().ended);
        assert!(reader.head().unwrap().unwrap().ended);
        writer
            .append(&stream.notice(&LineEvent::NULL, stream.next))
            .unwrap();
        assert!(
            writer.tail().unwrap().ended,
            "a notice after the end changes nothing"
        );
        assert!(reader.head().unwrap().unwrap().ended);
    }
    let span = reader.session(2).unwrap().unwrap();
    assert!(span.ended && span.superseded && span.oldest == 1);
    assert!(!reader.session(5).unwrap().unwrap().superseded);
    drop(writer);
    let writer = JournalWriter::open(dir.path(), config).unwrap();
    assert!(writer.tail().unwrap().ended, "known again after reopening");
}

#[test]
fn regions_hold_the_same_packets_and_never_cross_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
    let mut stream = Stream::new(1);
    let written = fill(&mut writer, &mut stream, 500);
    for max_bytes in [0, 1000, 1024, 1999, 2024, 10_000, usize::MAX / 2] {
        let mut reader = JournalReader::open(dir.path()).unwrap();
        let (mut read, mut next) = (Vec::new(), 1);
        while let Some(region) = reader.next_region(max_bytes).unwrap() {
            assert!(region.len() <= max_bytes.max(1000));
            assert_eq!(region.first(), (1, next));
            next = region.end();
            read.extend(region.packets().map(|packet| packet.bytes().to_vec()));
        }
        assert_eq!(next, stream.next);
        assert_eq!(read, written);
    }
    // Packets and regions can be mixed, and a region outlives everything.
    let mut reader = JournalReader::open(dir.path()).unwrap();
    reader.next().unwrap();
    let region = reader.next_region(5000).unwrap().unwrap();
    let mut clone = reader.clone();
    assert_eq!(read_all(&mut clone), read_all(&mut reader));
    drop((reader, clone, writer));
    assert_eq!(region.packets().next().unwrap().bytes(), written[1]);
}

#[test]
fn a_reader_at_the_head_sees_only_what_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
    let mut reader = JournalReader::open(dir.path()).unwrap();
    let mut stream = Stream::new(1);
    reader.seek_head().unwrap();
    let first = fill(&mut writer, &mut stream, 100);
    assert_eq!(
        read_all(&mut reader),
        first,
        "the head of an empty journal is its start"
    );
    reader.seek_oldest().unwrap();
    reader.seek_head().unwrap();
    assert!(reader.next().unwrap().is_none());
    let second = fill(&mut writer, &mut stream, 100);
    assert_eq!(read_all(&mut reader), second);
}

#[test]
fn a_place_that_was_named_is_gone_to_without_a_search_as_long_as_it_is_held_and_the_files_are_the_same() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let config = JournalConfig {
        retention: Retention {
            segments: Some(4),
            ..Retention::default()
        },
        ..config()
    };
    let mut writer = JournalWriter::open(dir.path(), config).unwrap();
    let mut stream = Stream::new(1);
    // Where the journal ended behind each packet, and the next message's sequence.
    let mut places = Vec::new();
    let mut write = |writer: &mut JournalWriter, stream: &mut Stream, packets: usize| {
        for _ in 0..packets {
            fill(writer, stream, 1);
            places.push((writer.location(), stream.next));
        }
        places.clone()
    };
    let places_before = write(&mut writer, &mut stream, 200);
    let mut reader = JournalReader::open(dir.path()).unwrap();
    let mut other = reader.clone();
    assert!(other.next().unwrap().is_some());
    let next = |reader: &mut JournalReader, at: usize, places: &[(Location, u64)]| {
        let (location, sequence) = places[at];
        let gone = reader.go_to(location, 1, sequence).unwrap();
        gone.then(|| reader.next().unwrap().map(|packet| packet.sequence()))
    };
    // 64 packets a segment: forth and back, within one and over several, its last packet's end, the journal's end.
    for at in [0, 5, 63, 64, 150, 127, 1, 198] {
        let wanted = places_before[at].1;
        assert_eq!(next(&mut reader, at, &places_before), Some(Some(wanted)), "{at}");
    }
    assert_eq!(next(&mut reader, 199, &places_before), Some(None));
    // A reader that shared its segment reads on where it was.
    assert_eq!(
        other.next().unwrap().map(|packet| packet.sequence()),
        Some(places_before[0].1)
    );
    let places = write(&mut writer, &mut stream, 200);
    assert_eq!(next(&mut reader, 0, &places), None, "retention has taken it");
    assert_eq!(
        reader.next().unwrap().map(|packet| packet.sequence()),
        Some(places[199].1),
        "nothing has changed"
    );
    let cut = places[390].1;
    writer.discard_from(cut).unwrap();
    assert_eq!(next(&mut reader, 300, &places), None, "files were replaced since");
    assert_eq!(reader.seek(1, places[300].1).unwrap(), Seek::Found);
    assert_eq!(next(&mut reader, 310, &places), Some(Some(places[310].1)));
}
