//! The writer is killed at each of its critical points: nothing committed is lost, nothing else appears.

use crate::testing::{Stream, config, fill, read_all};
use crate::{JournalConfig, JournalReader, JournalWriter, Prepare, Retention, SyncPolicy};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn retained(prepare: Prepare) -> JournalConfig {
    JournalConfig {
        retention: Retention {
            segments: Some(6),
            ..Retention::default()
        },
        prepare,
        sync: match prepare {
            Prepare::Thread => SyncPolicy::Every(Duration::from_millis(1)),
            Prepare::Inline => SyncPolicy::EveryPacket,
        },
        ..config()
    }
}

fn prepare(name: &str) -> Prepare {
    match name {
        "thread" => Prepare::Thread,
        _ => Prepare::Inline,
    }
}

/// The stream where the journal stands.
fn stream_of(writer: &JournalWriter) -> Stream {
    writer.tail().map_or(Stream::new(1), |tail| Stream {
        session: tail.session,
        epoch: tail.epoch,
        base: tail.epoch_base,
        next: tail.next,
    })
}

/// The process that is killed: goes on with the journal.
#[test]
fn child_writes() {
    let Some(plan) = std::env::var_os("JOURNAL_CRASH") else {
        return;
    };
    let plan = plan.into_string().unwrap();
    let (mode, dir) = plan.split_once(':').unwrap();
    let mut writer = JournalWriter::open(Path::new(dir), retained(prepare(mode))).unwrap();
    let mut stream = stream_of(&writer);
    // Which sequences are published is the same in every run.
    while stream.next < 1_500 {
        fill(&mut writer, &mut stream, 1);
    }
}

fn run(dir: &Path, mode: &str, failpoint: &str) -> bool {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::crash::child_writes"])
        .env("JOURNAL_CRASH", format!("{mode}:{}", dir.to_str().unwrap()))
        .env("TWINLINE_FAILPOINT", failpoint)
        .output()
        .unwrap()
        .status
        .success()
}

/// Kills a writer at the failpoint, several times, and compares with a run that was not interrupted.
fn kill_at(failpoint: &str, mode: &str, hits: &[u32]) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    for hit in hits {
        assert!(
            !run(dir.path(), mode, &format!("{failpoint}:{hit}")),
            "{failpoint}:{hit} was not met"
        );
        // Readers work on what the dead writer left, before any other has opened it.
        let mut reader = JournalReader::open(dir.path()).unwrap();
        let left = read_all(&mut reader);
        let head = reader.head().unwrap();
        let writer = JournalWriter::open(dir.path(), retained(Prepare::Inline)).unwrap();
        assert_eq!(writer.tail().map(|tail| tail.next), head.map(|head| head.next));
        assert_eq!(writer.recovered().torn_segments, 0);
        assert_eq!(reader.next().unwrap().map(|packet| packet.sequence()), None);
        reader.seek_oldest().unwrap();
        assert_eq!(read_all(&mut reader), left);
    }
    assert!(run(dir.path(), mode, "none:1"));
    let (mut next, mut reader) = (0, JournalReader::open(dir.path()).unwrap());
    for packet in read_all(&mut reader) {
        let packet = twinline_wire::Packet::parse(&packet).unwrap();
        assert!(next == 0 || packet.sequence() == next);
        next = packet.end();
    }
    assert!((1_500..1_503).contains(&next), "{next}");
    let report = crate::verify(dir.path()).unwrap();
    assert_eq!((report.broken, report.torn), (None, None));
}

#[test]
fn killed_before_a_commit() {
    kill_at("journal.commit.before", "inline", &[1, 2, 100, 64, 65]);
}

#[test]
fn killed_after_a_commit() {
    kill_at("journal.commit.after", "inline", &[1, 2, 100, 64, 65]);
}

#[test]
fn killed_before_an_end_mark() {
    kill_at("journal.switch.before_end", "inline", &[1, 1, 2]);
    kill_at("journal.switch.before_end", "thread", &[1, 1, 2]);
}

#[test]
fn killed_after_an_end_mark() {
    kill_at("journal.switch.after_end", "inline", &[1, 1, 2]);
    kill_at("journal.switch.after_end", "thread", &[1, 1, 2]);
}

#[test]
fn killed_between_syncing_and_recording_it() {
    kill_at("journal.sync.between", "inline", &[1, 7, 64]);
    // Once: a short run may be over, but for the last sync, before the thread comes to sync.
    kill_at("journal.sync.between", "thread", &[1]);
}
