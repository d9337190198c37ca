//! What cannot be: each a clear error, and nothing written over.

use crate::testing::{CHANNEL, Stream, config, fill, read_all};
use crate::{JournalConfig, JournalError, JournalReader, JournalWriter, Prepare, Retention};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn refused(dir: &Path, config: JournalConfig) -> JournalError {
    let error = JournalWriter::open(dir, config).expect_err("it is refused");
    assert!(!error.to_string().contains('\n'), "one line: {error}");
    error
}

#[test]
fn a_directory_that_is_no_journal_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    assert!(matches!(
        refused(dir.path(), config()),
        JournalError::NotAJournal(_)
    ));
    assert!(matches!(
        JournalReader::open(dir.path()),
        Err(JournalError::NotAJournal(_))
    ));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert!(matches!(
        JournalReader::open(&dir.path().join("none")),
        Err(JournalError::Missing(_))
    ));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(
        JournalReader::open(empty.path()),
        Err(JournalError::Missing(_))
    ));
    // A file of that name.
    let file = dir.path().join("notes.txt");
    assert!(matches!(refused(&file, config()), JournalError::Io { .. }));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_second_writer_is_told_who_is_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let writer = JournalWriter::open(dir.path(), config()).unwrap();
    let error = refused(dir.path(), config());
    assert!(matches!(error, JournalError::Locked { holder: Some(pid), .. } if pid == std::process::id()));
    assert!(
        error
            .to_string()
            .contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    drop(writer);
    JournalWriter::open(dir.path(), config()).unwrap();
}

#[test]
fn other_settings_than_the_journal_was_made_with_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(JournalWriter::open(dir.path(), config()).unwrap());
    let others = [
        JournalConfig {
            channel: 8,
            ..config()
        },
        JournalConfig {
            segment_size: 1 << 17,
            ..config()
        },
        JournalConfig {
            max_packet: 1472,
            ..config()
        },
    ];
    for other in others {
        let error = refused(dir.path(), other);
        assert!(matches!(error, JournalError::Mismatch { .. }), "{error}");
    }
    let control = dir.path().join("control");
    let mut bytes = fs::read(&control).unwrap();
    bytes[8] = 2;
    fs::write(&control, &bytes).unwrap();
    let error = refused(dir.path(), config());
    assert!(
        matches!(
            error,
            JournalError::Format {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    assert!(matches!(
        JournalReader::open(dir.path()),
        Err(JournalError::Format { .. })
    ));
    for broken in [&bytes[..100], &[0; 4096]] {
        fs::write(&control, broken).unwrap();
        assert!(matches!(
            refused(dir.path(), config()),
            JournalError::NotAJournal(_)
        ));
    }
}

#[test]
fn settings_that_cannot_be_are_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let sizes = [0, 4096, 65535, 65536 + 64, 1 << 35].map(|segment_size| JournalConfig {
        segment_size,
        ..config()
    });
    let limits = [0, 63, 1400, 8960].map(|max_packet| JournalConfig {
        max_packet,
        ..config()
    });
    for wrong in sizes.into_iter().chain(limits) {
        let error = refused(&path, wrong);
        assert!(matches!(error, JournalError::Config { .. }), "{error}");
        assert!(!path.exists());
    }
}

#[test]
fn a_packet_that_does_not_continue_the_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
    let mut stream = Stream::new(2);
    let written = fill(&mut writer, &mut stream, 10);
    let good = stream.clone().ticks(1, 0);
    let wrong = [
        written[9].clone(),
        Stream {
            next: stream.next + 1,
            ..stream
        }
        .ticks(1, 0),
        Stream { session: 1, ..stream }.ticks(1, 0),
        Stream { epoch: 2, ..stream }.ticks(1, 0),
        Stream { base: 2, ..stream }.ticks(1, 0),
        stream.clone().ticks(1, 1472),
        [good.clone(), vec![0; 64]].concat(),
        good[..60].to_vec(),
        Vec::new(),
    ];
    for packet in &wrong {
        let error = writer.append(packet).unwrap_err();
        assert!(matches!(error, JournalError::NotNext { .. }), "{error}");
    }
    writer.append(&good).unwrap();
    assert_eq!(read_all(&mut JournalReader::open(dir.path()).unwrap()).len(), 11);
}

#[test]
#[should_panic(expected = "does not continue the journal")]
fn committing_what_does_not_continue_the_journal_panics() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
    let mut stream = Stream::new(1);
    let packet = fill(&mut writer, &mut stream, 3).pop().unwrap();
    writer.slot().unwrap()[4..packet.len()].copy_from_slice(&packet[4..]);
    writer.commit(packet.len(), 0);
}

/// A small tmpfs, unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(dir: &Path, size: &str) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", size, "tmpfs"])
            .arg(dir)
            .stderr(Stdio::null())
            .status();
        let mounted = mounted.is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("skipped: it needs the right to mount a tmpfs");
        }
        mounted.then(|| Self(dir.to_owned()))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let status = Command::new("mount")
            .args(["-o", &options])
            .arg(&self.0)
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_an_error_and_the_journal_goes_on_when_there_is_room() {
    for prepare in [Prepare::Inline, Prepare::Thread] {
        let dir = tempfile::tempdir().unwrap();
        let Some(mount) = Mount::new(dir.path(), "size=1m") else {
            return;
        };
        let config = JournalConfig { prepare, ..config() };
        let path = dir.path().join("journal");
        let mut writer = JournalWriter::open(&path, config.clone()).unwrap();
        let mut stream = Stream::new(1);
        let mut written = fill(&mut writer, &mut stream, 1);
        let (error, kept) = loop {
            let before = stream;
            let packet = stream.ticks(3, 1000);
            match writer.append(&packet) {
                Ok(_) => written.push(packet),
                Err(error) => break (error, (before, packet)),
            }
        };
        assert!(
            matches!(error, JournalError::DiskFull { needed: 65536, .. }),
            "{error}"
        );
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(written.len() > 500);
        // Nothing is lost, and it stays an error while it is full.
        assert!(matches!(
            writer.append(&kept.1),
            Err(JournalError::DiskFull { .. })
        ));
        let mut reader = JournalReader::open(&path).unwrap();
        assert_eq!(read_all(&mut reader), written);
        mount.remount("size=2m");
        writer.append(&kept.1).unwrap();
        written.push(kept.1);
        written.extend(fill(&mut writer, &mut stream, 100));
        drop(writer);
        JournalWriter::open(&path, config).unwrap();
        reader.seek_oldest().unwrap();
        assert_eq!(read_all(&mut reader), written);
    }
}

#[test]
fn with_retention_a_small_disk_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_mount) = Mount::new(dir.path(), "size=1m") else {
        return;
    };
    let retention = Retention {
        segments: Some(4),
        ..Retention::default()
    };
    let config = JournalConfig {
        retention,
        ..config()
    };
    let mut writer = JournalWriter::open(&dir.path().join("journal"), config).unwrap();
    fill(&mut writer, &mut Stream::new(1), 5000);
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_but_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(dir.path(), "size=2m") else {
        return;
    };
    let path = dir.path().join("journal");
    let mut writer = JournalWriter::open(&path, config()).unwrap();
    let written = fill(&mut writer, &mut Stream::new(1), 100);
    // Every mapping for writing must be gone before it can be made read-only.
    drop(writer);
    mount.remount("ro");
    assert!(matches!(refused(&path, config()), JournalError::ReadOnly(_)));
    let other = dir.path().join("other");
    assert!(matches!(refused(&other, config()), JournalError::ReadOnly(_)));
    assert_eq!(read_all(&mut JournalReader::open(&path).unwrap()), written);
    assert_eq!(crate::info(&path).unwrap().channel, CHANNEL);
}
