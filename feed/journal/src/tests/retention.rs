//! Old segments go, and whoever still reads them is not harmed.

use crate::testing::{CHANNEL, Stream, config, fill, read_all};
use crate::{JournalConfig, JournalError, JournalReader, JournalWriter, Retention, Seek, files};
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

fn keep(segments: usize) -> JournalConfig {
    JournalConfig {
        retention: Retention {
            segments: Some(segments),
            ..Retention::default()
        },
        ..config()
    }
}

fn inodes(dir: &Path) -> HashSet<u64> {
    let indexes = files::segments(dir).unwrap();
    let inode = |index| std::fs::metadata(files::segment_path(dir, index)).unwrap().ino();
    indexes.into_iter().map(inode).collect()
}

#[test]
fn old_segments_are_used_again_and_readers_never_see_what_they_held() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), keep(3)).unwrap();
    let mut stream = Stream::new(1);
    fill(&mut writer, &mut stream, 400);
    let before = inodes(dir.path());
    fill(&mut writer, &mut stream, 1000);
    assert_eq!(inodes(dir.path()), before, "the same files, under new names");
    let mut reader = JournalReader::open(dir.path()).unwrap();
    let head = reader.head().unwrap().unwrap();
    assert!(head.oldest > 3 && head.next == stream.next);
    assert_eq!(reader.seek(1, 3).unwrap(), Seek::TooOld { oldest: head.oldest });
    let mut next = head.oldest;
    for packet in read_all(&mut reader) {
        let packet = twinline_wire::Packet::parse(&packet).unwrap();
        assert_eq!(packet.sequence(), next);
        next = packet.end();
    }
    assert_eq!(next, stream.next);
    // A segment that is used again and has nothing in it yet.
    writer.start_session().unwrap();
    assert_eq!(reader.next().unwrap().map(|packet| packet.sequence()), None);
    let mut fresh = JournalReader::open(dir.path()).unwrap();
    assert_eq!(fresh.head().unwrap().unwrap().next, stream.next);
    assert_eq!(fresh.seek(1, stream.next).unwrap(), Seek::NotYet);
    drop(writer);
    let writer = JournalWriter::open(dir.path(), keep(3)).unwrap();
    assert_eq!(writer.tail().unwrap().next, stream.next);
    assert!(crate::verify(dir.path()).unwrap().broken.is_none());
}

#[test]
fn a_slow_reader_keeps_what_it_has_mapped_and_is_told_where_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), keep(2)).unwrap();
    let mut stream = Stream::new(1);
    let mut written = fill(&mut writer, &mut stream, 50);
    let mut slow = JournalReader::open(dir.path()).unwrap();
    assert_eq!(slow.next().unwrap().unwrap().bytes(), written[0]);
    let region = slow.clone().next_region(1 << 20).unwrap().unwrap();
    written.extend(fill(&mut writer, &mut stream, 2000));

    let mut read = 1;
    let error = loop {
        match slow.next() {
            Ok(Some(packet)) => {
                assert_eq!(packet.bytes(), written[read]);
                read += 1;
            }
            Ok(None) => panic!("the reader is not at the head"),
            Err(error) => break error,
        }
    };
    assert!(
        (50..200).contains(&read),
        "the whole segment that it had mapped, not {read} packets"
    );
    let oldest = slow.head().unwrap().unwrap().oldest;
    assert!(
        matches!(error, JournalError::Behind { session: 1, oldest: at } if at == oldest),
        "{error}"
    );
    assert_eq!(slow.next().unwrap().unwrap().sequence(), oldest);
    let held: Vec<_> = region.packets().map(|packet| packet.bytes().to_vec()).collect();
    assert_eq!(held, written[1..50], "a region outlives retention");
}

#[test]
fn bytes_and_age_limit_too() {
    let limits = [
        Retention {
            bytes: Some(4 << 16),
            ..Retention::default()
        },
        Retention {
            // A packet's sending time is a millisecond times its sequence; a segment holds about 190 sequences.
            age: Some(Duration::from_millis(600)),
            ..Retention::default()
        },
    ];
    for retention in limits {
        let dir = tempfile::tempdir().unwrap();
        let config = JournalConfig {
            retention,
            ..config()
        };
        let mut writer = JournalWriter::open(dir.path(), config).unwrap();
        let mut stream = Stream::new(1);
        fill(&mut writer, &mut stream, 3000);
        let segments = files::segments(dir.path()).unwrap().len();
        assert!(
            (4..=6).contains(&segments),
            "{segments} segments for {retention:?}"
        );
    }
}

/// Segments left of 3,000 packets, about 190 sequences, so 190 ms, in each; as many would be there as without limits: 47.
fn segments_left(retention: Retention) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig {
        retention,
        ..config()
    };
    let mut writer = JournalWriter::open(dir.path(), config).unwrap();
    fill(&mut writer, &mut Stream::new(1), 3000);
    files::segments(dir.path()).unwrap().len()
}

#[test]
fn what_is_younger_than_the_time_to_keep_stays_whatever_room_it_takes() {
    let two_seconds = Some(Duration::from_secs(2));
    let few = Retention {
        segments: Some(2),
        bytes: Some(2 << 16),
        age: two_seconds,
    };
    assert!((11..=13).contains(&segments_left(few)));
    // What is older may stay as long as there is room.
    let many = Retention {
        segments: Some(30),
        bytes: None,
        age: two_seconds,
    };
    assert!((30..=31).contains(&segments_left(many)));
}

#[test]
fn retention_goes_over_sessions_and_the_oldest_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), keep(3)).unwrap();
    for session in 1..=8 {
        if session > 1 {
            writer.start_session().unwrap();
        }
        let mut stream = Stream::new(session);
        fill(&mut writer, &mut stream, 10);
        writer.append(&stream.end_of_session()).unwrap();
    }
    let mut reader = JournalReader::open(dir.path()).unwrap();
    let first = reader.session_from(0).unwrap().unwrap();
    assert!((5..=6).contains(&first), "{first}");
    for session in 1..=8 {
        let from = reader.session_from(session).unwrap();
        assert_eq!(from, Some(session.max(first)));
        let expected = if session < first {
            Seek::UnknownSession
        } else {
            Seek::Found
        };
        assert_eq!(reader.seek(session, 1).unwrap(), expected);
        assert_eq!(reader.session(session).unwrap().is_some(), session >= first);
    }
    assert_eq!(reader.session_from(9).unwrap(), None);
}

#[test]
fn without_limits_everything_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
    fill(&mut writer, &mut Stream::new(1), 1000);
    let info = crate::info(dir.path()).unwrap();
    assert_eq!((info.channel, info.sessions[0].oldest), (CHANNEL, 1));
    assert!(info.segments >= 15 && info.locked && info.holder == Some(std::process::id()));
    drop(writer);
    assert!(!crate::info(dir.path()).unwrap().locked);
}
