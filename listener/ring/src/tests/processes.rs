//! Writers and readers in processes of their own, some of which are killed.

use super::{CHANNEL, Source, check, create, mix};
use crate::{Liveness, Next, RingReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Starts a test of this file as a process of its own.
fn start(test: &str, dir: &Path, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("tests::processes::{test}")])
        .env("RING_DIR", dir)
        .env("RING_ROLE", role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What [`start`] told this process; nothing in an ordinary test run.
fn told() -> Option<(std::path::PathBuf, String)> {
    Some((
        std::env::var_os("RING_DIR")?.into(),
        std::env::var("RING_ROLE").ok()?,
    ))
}

/// Reads until the ring is closed. Every record is checked; a hole needs an overrun.
#[test]
fn child_reads() {
    let Some((dir, role)) = told() else { return };
    let mut reader = RingReader::open(&dir, CHANNEL, &role).unwrap();
    let (mut next, mut overruns, mut records, mut was_overrun) = (0, 0_u64, 0_u64, true);
    let mut closed = false;
    loop {
        match reader.poll() {
            Next::Record(record) => {
                let range = check(&record);
                assert!(range.start == next || was_overrun, "a hole without an overrun");
                (next, was_overrun) = (range.end, false);
                records += 1;
                if role == "slow" && mix(records).is_multiple_of(64) {
                    thread::sleep(Duration::from_millis(2));
                }
            }
            Next::Overrun => (overruns, was_overrun) = (overruns + 1, true),
            Next::Empty => match role.as_str() {
                _ if closed => break,
                _ if reader.liveness() == Liveness::Closed => closed = true,
                "sleeper" => reader.wait(Duration::from_secs(1)),
                _ => thread::yield_now(),
            },
        }
    }
    println!("read next={next} overruns={overruns} records={records}");
}

#[test]
fn readers_in_other_processes_see_nothing_torn_over_a_thousand_rounds() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(create(dir.path()), 1);
    let stats = source.writer.stats();
    let readers: Vec<_> = ["fast", "slow", "sleeper"]
        .map(|role| (role, start("child_reads", dir.path(), role)))
        .into();
    for _ in 0..10_000 {
        if stats.readers().len() == readers.len() {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(stats.readers().len(), readers.len(), "they attach");
    while stats.written() < 1_100 * crate::MIN_CAPACITY as u64 {
        source.any();
        if mix(source.next).is_multiple_of(256) {
            thread::yield_now();
        }
    }
    let next = source.next;
    drop(source);
    let mut overruns = 0;
    for (role, reader) in readers {
        let output = reader.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{role}: {text}");
        assert!(
            text.contains(&format!("next={next} ")),
            "{role} came to the end: {text}"
        );
        let counted = text.split("overruns=").nth(1).unwrap().split(' ').next().unwrap();
        overruns += counted.parse::<u64>().unwrap();
    }
    assert!(overruns > 0, "somebody was overrun");
}

/// Writes until it is killed.
#[test]
fn child_writes() {
    let Some((dir, role)) = told() else { return };
    let mut source = Source::new(create(&dir), role.parse().unwrap());
    loop {
        source.any();
        source.writer.beat();
        if mix(source.next).is_multiple_of(16) {
            thread::yield_now();
        }
    }
}

#[test]
fn a_writer_that_is_killed_is_seen_dead_and_its_successor_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut reader: Option<RingReader> = None;
    let mut next = 1;
    for round in 0..25 {
        let mut writer = start("child_writes", dir.path(), &next.to_string());
        // The one before is dead, and says so before or after it is marked as replaced.
        if let Some(reader) = &mut reader {
            let known = loop {
                match reader.liveness() {
                    Liveness::Alive => thread::sleep(Duration::from_millis(1)),
                    known => break known,
                }
            };
            assert!(matches!(known, Liveness::Dead | Liveness::Replaced), "{known:?}");
        }
        let mut attached = loop {
            match RingReader::open(dir.path(), CHANNEL, "test") {
                Ok(reader) => {
                    // The file may still be the old one's.
                    let mut reader = reader;
                    thread::sleep(Duration::from_millis(2));
                    if !matches!(reader.liveness(), Liveness::Dead | Liveness::Replaced) {
                        break reader;
                    }
                }
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        };
        let wanted = 200 + mix(round) % 3_000;
        let mut records = 0;
        while records < wanted {
            if let Next::Record(record) = attached.poll() {
                next = check(&record).end;
                records += 1;
            }
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        // What was committed is whole; what was being written is not seen.
        loop {
            match attached.poll() {
                Next::Record(record) => next = check(&record).end,
                Next::Overrun => {}
                Next::Empty => break,
            }
        }
        reader = Some(attached);
    }
    let mut reader = reader.unwrap();
    while reader.liveness() != Liveness::Dead {
        thread::sleep(Duration::from_millis(1));
    }
    // Its last writer gone, the ring can be had again.
    drop(create(dir.path()));
    assert_eq!(reader.liveness(), Liveness::Replaced);
}
