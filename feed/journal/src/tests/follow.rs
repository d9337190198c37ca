//! Reading while it is written: by threads, and by other processes.

use crate::testing::{Stream, config, fill};
use crate::{JournalConfig, JournalReader, JournalWriter, Prepare, SyncPolicy};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use twinline_wire::Message;

const PACKETS: usize = 20_000;

fn threaded() -> JournalConfig {
    JournalConfig {
        prepare: Prepare::Thread,
        sync: SyncPolicy::Every(Duration::from_millis(5)),
        ..config()
    }
}

/// Reads to the end of session 1 and checks every packet: checksum, order, content.
fn follow(dir: &Path, regions: bool) -> u64 {
    let mut reader = JournalReader::open(dir).unwrap();
    let mut next = 1;
    loop {
        let seen = next;
        if regions {
            if let Some(region) = reader.next_region(20_000).unwrap() {
                for packet in region.packets() {
                    next = check(packet.bytes(), next);
                }
            }
        } else if let Some(packet) = reader.next().unwrap() {
            next = check(packet.bytes(), next);
        }
        if next == seen {
            if reader
                .head()
                .unwrap()
                .is_some_and(|head| head.ended && head.next == next)
            {
                return next;
            }
            thread::yield_now();
        }
    }
}

fn check(bytes: &[u8], next: u64) -> u64 {
    let packet = twinline_wire::Packet::parse(bytes).unwrap();
    assert_eq!(packet.sequence(), next);
    packet.end()
}

fn start_follower(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "tests::follow::child_follows"])
        .env("JOURNAL_FOLLOW", dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The other process of the test below.
#[test]
fn child_follows() {
    if let Some(dir) = std::env::var_os("JOURNAL_FOLLOW") {
        println!("followed {}", follow(Path::new(&dir), false));
    }
}

#[test]
fn readers_in_threads_and_processes_follow_the_writer_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), threaded()).unwrap();
    let mut stream = Stream::new(1);
    let child = start_follower(dir.path());
    thread::scope(|scope| {
        let followers = [false, true].map(|regions| {
            let dir = dir.path();
            scope.spawn(move || follow(dir, regions))
        });
        fill(&mut writer, &mut stream, PACKETS);
        writer.append(&stream.end_of_session()).unwrap();
        for follower in followers {
            assert_eq!(follower.join().unwrap(), stream.next);
        }
    });
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("followed {}", stream.next)), "{text}");
}

#[test]
fn a_readers_location_is_the_writers_once_it_has_read_all_and_grows_with_every_packet() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
    let mut stream = Stream::new(1);
    let mut locations = Vec::new();
    let start = stream.epoch_start(1);
    writer.append(&start).unwrap();
    locations.push(writer.location());
    for _ in 0..200 {
        let packet = stream.message(&twinline_wire::market::PriceTick::NULL, 1024);
        writer.append(&packet).unwrap();
        locations.push(writer.location());
    }
    assert!(
        locations.is_sorted_by(|one, next| one < next),
        "over segments too"
    );
    let mut reader = JournalReader::open(dir.path()).unwrap();
    for location in locations {
        assert!(reader.next().unwrap().is_some());
        assert_eq!(reader.location(), Some(location));
    }
}
