//! Publishers that are killed, lose power, are taken over or come back to a complete session: what is published in the end
//! is what an uninterrupted run publishes, and no sequence ever names two messages.

#[path = "../common/mod.rs"]
mod common;
mod kills;
mod power_cuts;
mod sessions;

use common::*;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::AtomicBool;
use twinline_feed::publisher::{
    Burst, Line, Lines, Opened, Phase, PublishError, Publisher, open, open_without_thread,
};
use twinline_feed::run::{RunConfig, RunEnd, RunError, run, unix_now};
use twinline_feed::source::{EventSink, Source, SourceState};
use twinline_journal::epoch::EpochStore;
use twinline_wire::session::{EndOfSession, EpochStart};
use twinline_wire::{Message, Packet};

const TOTAL: u64 = 3000;

/// What an uninterrupted run publishes: the source's messages, framed, in order.
fn uninterrupted() -> Vec<Vec<u8>> {
    expected(TOTAL)
}

fn events_with_messages() -> u64 {
    (0..TOTAL).filter(|&n| messages_of(n) > 0).count() as u64
}

/// Lines that write what they are given to a file: it outlives the process.
struct ToFile(File);

impl Lines for ToFile {
    fn send(&mut self, line: Line, burst: Burst<'_>) -> usize {
        let mut write = |packet: &[u8]| {
            let mut record = vec![line.index() as u8];
            record.extend_from_slice(packet);
            self.0.write_all(&record).is_ok()
        };
        burst.packets().filter(|packet| write(packet)).count()
    }
}

/// Not a test of its own: the process that the tests below kill.
#[test]
fn child() {
    let Some(dir) = std::env::var_os("TWINLINE_TEST_DIR").map(PathBuf::from) else {
        return;
    };
    let boot = std::env::var("TWINLINE_TEST_BOOT").unwrap();
    let sent = OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("sent"))
        .unwrap();
    let opened = open(at_once(), &place(&dir, &boot), ToFile(sent), unix_now());
    let Opened {
        mut publisher,
        reserver,
    } = opened.unwrap();
    let mut source = TestSource::new(TOTAL, 8);
    let end = run(
        &mut publisher,
        reserver,
        &mut source,
        &RunConfig::default(),
        &AtomicBool::new(false),
    );
    assert_eq!(end.unwrap(), RunEnd::Complete);
}

fn run_child(dir: &Path, boot: &str, failpoint: Option<String>) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["child", "--exact", "--nocapture"])
        .env("TWINLINE_TEST_DIR", dir)
        .env("TWINLINE_TEST_BOOT", boot);
    if let Some(failpoint) = failpoint {
        command.env("TWINLINE_FAILPOINT", failpoint);
    }
    let output = command.output().unwrap();
    let status = output.status;
    assert!(
        status.success() || status.signal() == Some(libc_sigabrt()),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    status
}

fn libc_sigabrt() -> i32 {
    6
}

/// Everything sent, by line, in order.
fn sent(dir: &Path) -> [Vec<Vec<u8>>; 2] {
    let bytes = fs::read(dir.join("sent")).unwrap();
    let mut lines = [Vec::new(), Vec::new()];
    let mut rest = &bytes[..];
    while let Some((&line, after)) = rest.split_first() {
        let packet = Packet::parse_prefix(after).expect("whole packets were sent");
        lines[usize::from(line)].push(packet.bytes().to_vec());
        rest = &after[packet.bytes().len()..];
    }
    lines
}

/// Checks a finished session: the journal's chain of epochs, what was sent, the end, the source messages.
fn check(dir: &Path, expected: &[Vec<u8>], same_boot: bool) {
    let journal = dir.join("journal");
    let packets = packets(&journal, 1);
    let held = messages(&packets);
    let mut next = 1;
    let mut epoch = 0;
    for bytes in &packets {
        let packet = Packet::parse(bytes).unwrap();
        let header = packet.header();
        if header.epoch.get() != epoch {
            assert!(header.epoch.get() > epoch);
            epoch = header.epoch.get();
            let (_, first) = packet.messages().next().unwrap();
            let start = first
                .view::<EpochStart>()
                .expect("an epoch opens with EpochStart");
            assert_eq!((start.epoch.get(), start.valid_end.get()), (epoch, next));
            assert_eq!(header.epoch_base.get(), packet.sequence());
            assert!(packet.sequence() >= next);
            assert!(!same_boot || packet.sequence() == next, "no leap after a kill");
        } else {
            assert_eq!(packet.sequence(), next);
        }
        next = packet.end();
    }
    let last = packets.last().map(|bytes| Packet::parse(bytes).unwrap()).unwrap();
    let (_, end) = last.messages().last().unwrap();
    let end = end.view::<EndOfSession>().expect("the session ended");
    assert_eq!(end.source_messages.get(), events_with_messages());
    if same_boot {
        for line in sent(dir) {
            for (sequence, message) in messages(&line) {
                assert_eq!(
                    held.get(&sequence),
                    Some(&message),
                    "what is sent can be recovered"
                );
            }
            heartbeats_never_overtake(&line);
        }
    }
    assert!(source_messages(&journal, 1) == expected, "source messages differ");
    let store = EpochStore::open(&dir.join("epochs.json")).unwrap();
    assert!(store.channel(CHANNEL).unwrap().unwrap().ended);
}

/// On its line a heartbeat names what comes next in its epoch.
fn heartbeats_never_overtake(line: &[Vec<u8>]) {
    let mut next = BTreeMap::new();
    for bytes in line {
        let packet = Packet::parse(bytes).unwrap();
        let epoch = packet.header().epoch.get();
        let due = *next.get(&epoch).unwrap_or(&packet.header().epoch_base.get());
        assert_eq!(packet.sequence(), due);
        next.insert(epoch, packet.end());
    }
}

/// Kills the publisher at `failpoint` again and again, each time later, then lets it finish.
fn kill_at(failpoint: &str, boots: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let counts = [1, 2, 1, 5, 40, 3, 100];
    let mut killed = 0;
    for (count, boot) in counts.into_iter().zip(boots.iter().cycle()) {
        let status = run_child(dir.path(), boot, Some(format!("{failpoint}:{count}")));
        killed += u32::from(!status.success());
    }
    assert!(killed >= 4, "{failpoint} was hit {killed} times");
    assert!(run_child(dir.path(), boots[0], None).success());
    check(dir.path(), &uninterrupted(), boots.len() == 1);
}

/// Not a test of its own: a publisher in a directory with little room.
#[test]
fn child_with_little_room() {
    let Some(dir) = std::env::var_os("TWINLINE_TEST_LITTLE_ROOM").map(PathBuf::from) else {
        return;
    };
    let lines = Recorded::default();
    let place = place(&dir, "boot");
    let Opened {
        mut publisher,
        reserver,
    } = open(at_once(), &place, lines.clone(), unix_now()).unwrap();
    let mut source = TestSource::new(u64::MAX, 8);
    let stop = AtomicBool::new(false);
    let end = run(
        &mut publisher,
        reserver,
        &mut source,
        &RunConfig::default(),
        &stop,
    );
    let Err(RunError::Publish(PublishError::Journal(error))) = end else {
        panic!("{end:?}");
    };
    assert_eq!(publisher.phase(), Phase::Failed);
    assert!(matches!(
        publisher.publish(&tick(1), 1),
        Err(PublishError::Stopped)
    ));
    let held = packets(&place.journal, 1);
    let sent = lines.take(Line::A);
    let sent: Vec<_> = sent
        .into_iter()
        .filter(|bytes| !Packet::parse(bytes).unwrap().header().is_heartbeat())
        .collect();
    assert!(held.len() > 50 && held == sent, "what was committed was sent");
    println!("no room: {error}");
}

/// Publishes events from where `source` stands up to `until`, flushing now and then.
fn publish<L: Lines>(publisher: &mut Publisher<L>, source: &mut TestSource, until: u64) {
    source.total = until;
    loop {
        let state = publisher.event(1, |sink| source.poll(0, sink)).unwrap().unwrap();
        if state != SourceState::Ready {
            publisher.flush(1).unwrap();
        }
        if state == SourceState::End {
            return;
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
