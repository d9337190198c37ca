//! How rings are found, refused, replaced.

use super::{CHANNEL, Source, config, create, drain};
use crate::layout::{CAPACITY_AT, CHANNEL_AT, MAGIC_AT, MAX_RECORD_AT, STATE_AT, VERSION_AT};
use crate::{Liveness, RingError, RingReader, RingWriter};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

fn open(dir: &Path) -> Result<RingReader, RingError> {
    RingReader::open(dir, CHANNEL, "test")
}

fn ring(dir: &Path) -> std::path::PathBuf {
    dir.join("channel-7.ring")
}

/// Overwrites a word of the control page from outside.
fn spoil(dir: &Path, at: usize, value: u64) {
    let file = OpenOptions::new().write(true).open(ring(dir)).unwrap();
    file.write_all_at(&value.to_ne_bytes(), 8 * at as u64).unwrap();
}

#[test]
fn where_no_listener_ran_the_error_says_how_to_start_one() {
    let dir = tempfile::tempdir().unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, RingError::NoRing { channel: CHANNEL, .. }));
    assert!(error.to_string().contains("--ring"), "{error}");
}

#[test]
fn a_ring_of_another_layout_is_refused_with_who_wrote_it() {
    let dir = tempfile::tempdir().unwrap();
    let _writer = create(dir.path());
    spoil(dir.path(), VERSION_AT, 99);
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, RingError::Version { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("twinline 0."), "{error}");
}

#[test]
fn a_file_that_is_no_whole_ring_is_refused() {
    let (made, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let _writer = create(made.path());
    let whole = fs::read(ring(made.path())).unwrap();
    let with = |at: usize, value: u64| {
        let mut bytes = whole.clone();
        bytes[8 * at..8 * at + 8].copy_from_slice(&value.to_ne_bytes());
        bytes
    };
    let longer = [&whole[..], &[0; 4096]].concat();
    let spoiled = [
        (Vec::new(), "shorter"),
        (whole[..whole.len() / 2].to_vec(), "length"),
        (longer, "length"),
        (with(STATE_AT, 0), "never finished"),
        (with(MAGIC_AT, 7), "does not begin"),
        (with(CAPACITY_AT, 12_345), "length"),
        (with(CHANNEL_AT, 8), "channel"),
        (with(MAX_RECORD_AT, 1 << 40), "record"),
    ];
    for (bytes, reason) in spoiled {
        fs::write(ring(dir.path()), bytes).unwrap();
        let error = open(dir.path()).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, RingError::NotARing { .. }) && text.contains(reason),
            "{text}"
        );
    }
    // A listener that starts makes a whole one in its place.
    let _writer = create(dir.path());
    assert!(open(dir.path()).is_ok());
}

#[test]
fn a_second_writer_is_refused_with_the_process_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = create(dir.path());
    let error = RingWriter::create(dir.path(), &config(dir.path())).unwrap_err();
    assert!(
        matches!(error, RingError::Busy { process, .. } if process == u64::from(std::process::id())),
        "{error}"
    );
    drop(first);
    create(dir.path());
}

#[test]
fn a_ring_that_is_closed_says_so_and_can_be_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(create(dir.path()), 1);
    let mut reader = open(dir.path()).unwrap();
    assert_eq!(reader.liveness(), Liveness::Alive);
    source.packet(5);
    drop(source);
    assert_eq!(reader.liveness(), Liveness::Closed);
    assert_eq!(drain(&mut reader).0, vec![1..6]);
    assert!(matches!(open(dir.path()), Err(RingError::NoRing { .. })));
}

#[test]
fn the_journal_that_the_ring_names_is_an_absolute_path() {
    let dir = tempfile::tempdir().unwrap();
    let _writer = create(dir.path());
    assert_eq!(open(dir.path()).unwrap().journal(), dir.path().join("journal"));
    let other = tempfile::tempdir().unwrap();
    let relative = crate::RingConfig {
        journal: "some/journal".into(),
        ..config(other.path())
    };
    let _writer = RingWriter::create(other.path(), &relative).unwrap();
    let here = std::env::current_dir().unwrap();
    assert_eq!(open(other.path()).unwrap().journal(), here.join("some/journal"));
}

#[test]
fn a_full_file_system_is_an_error_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let config = crate::RingConfig {
        capacity: 1 << 50,
        ..config(dir.path())
    };
    let error = RingWriter::create(dir.path(), &config).unwrap_err();
    // Larger than a file may be is another error than larger than the room left; neither leaves a file behind.
    assert!(
        matches!(error, RingError::NoSpace { .. } | RingError::Io { .. }),
        "{error}"
    );
    assert!(!dir.path().join("channel-7.ring.new").exists());
    drop(create(dir.path()));
}
