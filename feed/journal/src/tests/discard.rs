//! A void tail is discarded: in new files, and every reader finds its place again or is told.

use crate::testing::{Stream, config, fill, read_all};
use crate::{JournalConfig, JournalError, JournalReader, JournalWriter, Prepare, Seek};
use std::path::Path;
use std::process::Command;

const PACKETS: usize = 200;

/// The sequence after packet `number` (from 0) of what `fill` makes: one message, then three a packet.
fn end_of(number: usize) -> u64 {
    2 + 3 * number as u64
}

#[test]
fn any_packets_end_can_be_cut_at() {
    for prepare in [Prepare::Inline, Prepare::Thread] {
        // 64 packets a segment: in the middle of one, at its first and last packets, everything.
        for keep in [199, 198, 193, 192, 191, 190, 130, 128, 127, 64, 63, 10, 1] {
            let dir = tempfile::tempdir_in("/dev/shm").unwrap();
            let config = JournalConfig { prepare, ..config() };
            let mut writer = JournalWriter::open(dir.path(), config.clone()).unwrap();
            let mut stream = Stream::new(1);
            let mut written = fill(&mut writer, &mut stream, PACKETS);
            let cut = end_of(keep - 1);
            assert_eq!(writer.discard_from(cut).unwrap(), stream.next - cut);
            assert_eq!(writer.tail().unwrap().next, cut);
            assert_eq!(writer.discard_from(cut).unwrap(), 0);
            written.truncate(keep);
            let mut reader = JournalReader::open(dir.path()).unwrap();
            assert_eq!(read_all(&mut reader), written, "{keep} packets are kept");
            assert_eq!(reader.seek(1, cut).unwrap(), Seek::NotYet);
            stream.next = cut;
            let start = stream.new_epoch(5000);
            writer.append(&start).unwrap();
            written.push(start);
            written.extend(fill(&mut writer, &mut stream, PACKETS));
            drop(writer);
            JournalWriter::open(dir.path(), config).unwrap();
            reader.seek_oldest().unwrap();
            assert_eq!(read_all(&mut reader), written);
            assert_eq!(crate::verify(dir.path()).unwrap().broken, None);
        }
    }
}

#[test]
fn a_session_that_begins_with_a_later_epoch_can_be_cut_at_what_that_epoch_cut() {
    // A power cut took all that the session had, and the next one took it again.
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
    let mut first = Stream::new(1);
    let written = fill(&mut writer, &mut first, 100);
    let mut second = Stream {
        epoch: 2,
        base: 5000,
        next: 5000,
        ..Stream::new(2)
    };
    writer.append(&second.epoch_start(1)).unwrap();
    fill(&mut writer, &mut second, 100);
    assert_eq!(writer.discard_from(1).unwrap(), second.next - 5000);
    assert_eq!(writer.tail().unwrap().next, first.next);
    let mut reader = JournalReader::open(dir.path()).unwrap();
    assert_eq!(read_all(&mut reader), written);
}

#[test]
fn all_of_a_session_can_be_cut_and_the_one_before_stays() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
    let (mut first, mut second) = (Stream::new(1), Stream::new(2));
    let written = fill(&mut writer, &mut first, 100);
    fill(&mut writer, &mut second, 100);
    let mut reader = JournalReader::open(dir.path()).unwrap();
    assert_eq!(read_all(&mut reader).len(), 200);
    assert_eq!(writer.discard_from(1).unwrap(), second.next - 1);
    assert_eq!(
        (writer.tail().unwrap().session, writer.tail().unwrap().next),
        (1, first.next)
    );
    let error = reader.next().unwrap_err();
    assert!(
        matches!(
            error,
            JournalError::Discarded {
                session: 2,
                next: 1,
                ..
            }
        ),
        "{error}"
    );
    let mut second = Stream::new(2);
    second.epoch = 2;
    let again = fill(&mut writer, &mut second, 10);
    assert_eq!(read_all(&mut reader), again);
    reader.seek_oldest().unwrap();
    assert_eq!(read_all(&mut reader), [written, again].concat());
}

#[test]
fn only_whole_packets_that_are_held_can_be_cut() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
    let mut stream = Stream {
        next: 100,
        ..Stream::new(1)
    };
    let mut written = fill(&mut writer, &mut stream, 10);
    let error = writer.discard_from(101).unwrap_err();
    assert!(
        matches!(
            error,
            JournalError::InsidePacket {
                begin: 100,
                end: 103,
                ..
            }
        ),
        "{error}"
    );
    let error = writer.discard_from(50).unwrap_err();
    assert!(
        matches!(
            error,
            JournalError::NotHeld {
                sequence: 50,
                oldest: 100
            }
        ),
        "{error}"
    );
    // Nothing was changed.
    written.extend(fill(&mut writer, &mut stream, 100));
    assert_eq!(read_all(&mut JournalReader::open(dir.path()).unwrap()), written);
}

#[test]
fn readers_before_the_cut_go_on_and_readers_behind_it_are_told() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
    let mut stream = Stream::new(1);
    let mut written = fill(&mut writer, &mut stream, PACKETS);
    let read = stream.next;
    // One reader after each number of packets, in this segment and others; clones share maps.
    let mut readers = Vec::new();
    let mut reader = JournalReader::open(dir.path()).unwrap();
    for number in 0..=PACKETS {
        readers.push((number, reader.clone()));
        reader.next().unwrap();
    }
    let mut at_head = JournalReader::open(dir.path()).unwrap();
    at_head.seek_head().unwrap();

    let keep = 150;
    let cut = end_of(keep - 1);
    writer.discard_from(cut).unwrap();
    written.truncate(keep);
    // One is told at once, the others after the next epoch has begun.
    let mut early = readers[PACKETS].1.clone();
    let error = early.next().unwrap_err();
    assert!(
        matches!(error, JournalError::Discarded { session: 1, next, read: at } if next == cut && at == read)
    );
    assert!(early.next().unwrap().is_none());
    stream.next = cut;
    let start = stream.new_epoch(5000);
    writer.append(&start).unwrap();
    let mut after = vec![start];
    after.extend(fill(&mut writer, &mut stream, 100));
    written.extend(after.iter().cloned());

    for (number, mut reader) in readers {
        if number > keep {
            let error = reader.next().unwrap_err();
            assert!(
                matches!(error, JournalError::Discarded { next, read, .. } if next == cut && read == end_of(number - 1)),
                "{number}: {error}"
            );
            assert_eq!(read_all(&mut reader), after, "{number}");
        } else {
            assert_eq!(read_all(&mut reader), written[number..], "{number}");
        }
    }
    assert_eq!(read_all(&mut early), after);
    assert_eq!(at_head.head().unwrap().unwrap().next, stream.next);
    assert_eq!(read_all(&mut at_head), after, "what came after the head");
}

#[test]
fn child_discards() {
    let Some(dir) = std::env::var_os("JOURNAL_DISCARD") else {
        return;
    };
    let mut writer = JournalWriter::open(Path::new(&dir), config()).unwrap();
    if writer.tail().is_none() {
        fill(&mut writer, &mut Stream::new(1), PACKETS);
    }
    writer.discard_from(end_of(99)).unwrap();
}

#[test]
fn killed_while_discarding_it_can_be_done_again() {
    for failpoint in ["begun:1", "removed:1", "rewritten:1"] {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let run = |failpoint: &str| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "tests::discard::child_discards"])
                .env("JOURNAL_DISCARD", dir.path())
                .env("TWINLINE_FAILPOINT", format!("journal.discard.{failpoint}"))
                .output()
                .unwrap()
                .status
                .success()
        };
        assert!(!run(failpoint));
        assert!(run("none:1"));
        let mut reader = JournalReader::open(dir.path()).unwrap();
        assert_eq!(read_all(&mut reader).len(), 100, "{failpoint}");
        assert_eq!(crate::verify(dir.path()).unwrap().broken, None);
    }
}
