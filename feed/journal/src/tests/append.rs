//! Writing, and reading it back.

use crate::testing::{Stream, config, fill, read_all};
use crate::{JournalConfig, JournalReader, JournalWriter, Prepare, SyncPolicy};
use twinline_wire::market::PriceTick;

#[test]
fn what_was_written_is_read_across_many_segments_and_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (mut stream, mut written) = (Stream::new(1), Vec::new());
    for round in 0..3 {
        let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
        assert_eq!(writer.recovered().created, round == 0);
        written.extend(fill(&mut writer, &mut stream, 200));
        let tail = writer.tail().unwrap();
        assert_eq!((tail.session, tail.next, tail.ended), (1, stream.next, false));
        let mut reader = JournalReader::open(dir.path()).unwrap();
        assert_eq!(read_all(&mut reader), written);
    }
}

#[test]
fn the_helper_thread_makes_the_same_journal() {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig {
        prepare: Prepare::Thread,
        sync: SyncPolicy::Every(std::time::Duration::from_millis(1)),
        ..config()
    };
    let mut writer = JournalWriter::open(dir.path(), config).unwrap();
    let mut stream = Stream::new(1);
    let mut reader = JournalReader::open(dir.path()).unwrap();
    let written = fill(&mut writer, &mut stream, 1000);
    assert_eq!(read_all(&mut reader), written);
}

#[test]
fn a_packet_is_encoded_in_its_slot_and_seen_once_it_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
    let mut reader = JournalReader::open(dir.path()).unwrap();
    let mut stream = Stream::new(1);
    for packet in 0..500 {
        if stream.next == 1 {
            writer.start_session().unwrap();
        }
        let slot = writer.slot().unwrap();
        assert_eq!((slot.len(), &slot[..4]), (1408, &[0; 4][..]));
        let mut open = twinline_wire::OpenPacket::new();
        while open.push(slot, &<PriceTick as twinline_wire::Message>::NULL) && open.count() <= packet % 20 {}
        let length = open.finish(slot, stream.stamp(0), 0);
        assert!(reader.next().unwrap().is_none());
        // Asked again, the slot is the same and still holds it.
        assert_ne!(writer.slot().unwrap()[44..48], [0; 4]);
        let begin = writer.location();
        writer.commit(length, 0);
        if packet % 3 == 0 {
            writer.make_ready();
        }
        let read = reader.next().unwrap().unwrap();
        assert_eq!(read.bytes(), writer.written(begin, length));
        twinline_wire::Packet::parse(read.bytes()).unwrap();
        stream.next = read.end();
        if packet % 100 == 99 {
            stream = Stream::new(stream.session + 1);
        }
    }
}
