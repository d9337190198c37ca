//! Snapshots: there and back, and everything that is none.

mod support;

use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;
use support::{apply, everything, step};
use twinline_book::snapshot::{Place, Snapshot, SnapshotError, decode, encode, file};
use twinline_book::{Book, Books};

const PLACE: Place = Place {
    channel: 3,
    session: 20_260_102,
    epoch: 2,
    epoch_base: 400,
    sequence: 1234,
};
/// Bytes of the header, and where its checksum stands.
const HEADER: usize = 64;

/// Books with all that can stand in a snapshot.
fn books(steps: &[support::Step]) -> Books {
    let mut books = Books::new();
    everything(&mut books, 1 << 16 | 2);
    everything(&mut books, 2 << 16 | 9);
    for (time, step) in (1..).zip(steps) {
        apply(&mut books, step, time);
    }
    books
}

fn assert_equal(one: &Books, other: &Books) {
    assert_eq!(one.checksum(), other.checksum());
    assert_eq!(one.is_valid(), other.is_valid());
    let sums = |books: &Books| -> Vec<_> {
        books
            .sorted()
            .iter()
            .map(|book: &Book<'_>| {
                (
                    book.instrument(),
                    book.checksum(),
                    book.best(),
                    *book.tallies(),
                    book.traded(),
                )
            })
            .collect()
    };
    assert_eq!(sums(one), sums(other));
    let positions = |books: &Books| -> Vec<_> {
        books
            .sources()
            .iter()
            .map(|source| (source.source, source.position))
            .collect()
    };
    assert_eq!(positions(one), positions(other));
}

/// A checksum that fits, over bytes that somebody changed.
fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = !bytes[..HEADER - 4]
        .iter()
        .chain(&bytes[HEADER..])
        .fold(!0_u32, |sum, &byte| {
            (0..8).fold(sum ^ u32::from(byte), |sum, _| {
                sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 }
            })
        });
    bytes[HEADER - 4..HEADER].copy_from_slice(&sum.to_le_bytes());
    bytes
}

proptest! {
    #[test]
    fn what_comes_back_is_equal_goes_on_equally_and_is_written_the_same(
        steps in prop::collection::vec(step(), 0..200),
        later in prop::collection::vec(step(), 0..100),
        valid in any::<bool>(),
    ) {
        let mut before = books(&steps);
        if !valid {
            before.invalidate();
        }
        let bytes = encode(&before, &PLACE);
        let Snapshot { place, books: mut after } = decode(&bytes).expect("it was just written");
        prop_assert_eq!(place, PLACE);
        assert_equal(&before, &after);
        prop_assert_eq!(&encode(&after, &place), &bytes);
        for (time, step) in (500..).zip(&later) {
            prop_assert_eq!(apply(&mut before, step, time), apply(&mut after, step, time));
        }
        assert_equal(&before, &after);
    }

    #[test]
    fn any_changed_byte_is_refused_and_with_a_checksum_that_fits_nothing_is_taken_that_no_writer_makes(
        steps in prop::collection::vec(step(), 0..60),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let whole = encode(&books(&steps), &PLACE);
        let mut bytes = whole.clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(HEADER + cut.index(bytes.len() - HEADER));
            let length = bytes.len() as u64;
            bytes[32..40].copy_from_slice(&length.to_le_bytes());
        }
        if bytes != whole {
            prop_assert!(decode(&bytes).is_err());
        }
        let forged = with_checksum(bytes);
        if let Ok(taken) = decode(&forged) {
            prop_assert_eq!(encode(&taken.books, &taken.place), forged);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes).is_err());
        let mut headed = encode(&Books::new(), &PLACE)[..HEADER].to_vec();
        headed.extend(&bytes);
        let length = headed.len() as u64;
        headed[32..40].copy_from_slice(&length.to_le_bytes());
        headed[48] = 1;
        prop_assert!(decode(&with_checksum(headed)).is_err());
    }
}

#[test]
fn each_cut_and_each_extension_is_refused_for_what_it_is() {
    let whole = encode(&books(&[]), &PLACE);
    for cut in 0..whole.len() {
        assert_eq!(
            decode(&whole[..cut]).err(),
            Some(SnapshotError::Truncated),
            "cut at {cut}"
        );
    }
    let longer = [&whole[..], &[0]].concat();
    assert_eq!(decode(&longer).err(), Some(SnapshotError::Trailing));
    for (at, error) in [
        (0, SnapshotError::Magic),
        (4, SnapshotError::Version(0)),
        (whole.len() - 1, SnapshotError::Checksum),
        (HEADER - 1, SnapshotError::Checksum),
    ] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        assert_eq!(decode(&bytes).err(), Some(error));
    }
}

#[test]
fn a_count_that_the_bytes_do_not_hold_costs_no_memory() {
    let whole = encode(&books(&[]), &PLACE);
    // Orders, instruments, sources: each as large as it can be.
    for (at, size) in [(40, 8), (48, 4), (52, 4)] {
        let mut bytes = whole.clone();
        bytes[at..at + size].fill(0xff);
        let refused = decode(&with_checksum(bytes));
        assert!(
            matches!(refused.err(), Some(SnapshotError::Malformed(_))),
            "field at {at}"
        );
    }
}

#[test]
fn a_count_that_nobody_reaches_is_refused_so_that_counting_on_cannot_overflow() {
    let whole = encode(&books(&[]), &PLACE);
    let mut bytes = whole.clone();
    let last = bytes.len() - 8;
    bytes[last..].fill(0xff);
    let refused = decode(&with_checksum(bytes));
    assert!(matches!(refused.err(), Some(SnapshotError::Malformed(_))));
}

/// A directory, with the snapshots of these sequences in it.
fn directory(sequences: &[u64]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |&sequence| {
        let place = Place { sequence, ..PLACE };
        file::write(dir.path(), &place, &encode(&books(&[]), &place)).expect("it can be written")
    };
    let paths = sequences.iter().map(write).collect();
    (dir, paths)
}

#[test]
fn the_newest_file_that_holds_together_is_taken_and_the_others_are_told() {
    let (dir, paths) = directory(&[9, 1000, 70, 3000, 2000]);
    fs::write(&paths[3], b"TWBK, torn").expect("written");
    fs::rename(
        &paths[4],
        dir.path().join(file::name(PLACE.session, PLACE.epoch, 2500)),
    )
    .expect("renamed");
    fs::write(dir.path().join("notes.txt"), b"somebody else's").expect("written");
    fs::write(dir.path().join("snapshot-1-1-1.twb"), b"not our way to write it").expect("written");
    let newest = file::newest(dir.path(), |_, _, _| true).expect("it can be read");
    let (path, snapshot) = newest.snapshot.expect("there is one");
    assert_eq!((path, snapshot.place.sequence), (paths[1].clone(), 1000));
    let told: Vec<String> = newest.skipped.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("cut off") && told[1].contains("another place"),
        "{told:?}"
    );
    let below = file::newest(dir.path(), |_, _, sequence| sequence < 1000).expect("it can be read");
    assert_eq!(below.snapshot.map(|found| found.1.place.sequence), Some(70));
    assert!(
        file::newest(dir.path(), |session, _, _| session == 1)
            .expect("read")
            .snapshot
            .is_none()
    );
}

#[test]
fn old_files_are_pruned_and_what_killed_writers_left() {
    let (dir, paths) = directory(&[1, 2, 3, 4, 5]);
    fs::write(&paths[3], b"torn").expect("written");
    let left = dir.path().join(file::name(1, 1, 1) + ".new");
    fs::write(&left, b"half").expect("written");
    fs::write(dir.path().join("notes.new"), b"somebody else's").expect("written");
    assert_eq!(file::prune(dir.path(), 2).expect("it can be"), 3);
    let kept = [&paths[2], &paths[3], &paths[4]];
    assert_eq!(file::list(dir.path()).expect("read"), kept.map(Clone::clone));
    assert!(!left.exists() && dir.path().join("notes.new").exists());
}

#[test]
fn a_name_is_parsed_only_as_it_is_written() {
    let name = file::name(20_260_102, 2, 1234);
    assert_eq!(name, "snapshot-0020260102-0000000002-00000000000000001234.twb");
    assert_eq!(file::parse_name(&name), Some((20_260_102, 2, 1234)));
    for wrong in [
        "snapshot-1-2-3.twb",
        "snapshot-0020260102-0000000002.twb",
        "",
        "snapshot-.twb",
    ] {
        assert_eq!(file::parse_name(wrong), None, "{wrong}");
    }
    assert_eq!(file::parse_name(&(name + ".new")), None);
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_that_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let in_the_way = dir.path().join("file");
    fs::write(&in_the_way, b"").expect("written");
    let error = file::write(&in_the_way, &PLACE, b"").expect_err("it is a file");
    assert!(error.to_string().contains("file"), "{error}");
    assert!(file::newest(&dir.path().join("none"), |_, _, _| true).is_err());
}
