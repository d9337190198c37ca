//! Publishers that are killed, lose power, are taken over or come back to a complete session: what is published in the end
//! is what an uninterrupted run publishes, and no sequence ever names two messages.

mod common;

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

#[test]
fn an_uninterrupted_run_publishes_what_its_source_says() {
    let dir = tempfile::tempdir().unwrap();
    assert!(run_child(dir.path(), "boot", None).success());
    check(dir.path(), &uninterrupted(), true);
}

#[test]
fn killed_before_the_commit_it_goes_on_as_if_nothing_happened() {
    kill_at("publisher.stamp", &["boot"]);
}

#[test]
fn killed_after_the_commit_it_goes_on_as_if_nothing_happened() {
    kill_at("publisher.after_commit", &["boot"]);
}

#[test]
fn killed_between_the_lines_it_goes_on_as_if_nothing_happened() {
    kill_at("publisher.between_lines", &["boot"]);
}

#[test]
fn killed_after_sending_it_goes_on_as_if_nothing_happened() {
    kill_at("publisher.after_send", &["boot"]);
}

#[test]
fn after_a_boot_it_goes_on_behind_everything_that_may_have_been_sent() {
    kill_at("publisher.between_lines", &["first", "second", "third"]);
    // Killed and booted before the session's first packet, too.
    kill_at("publisher.stamp", &["first", "second", "third"]);
}

#[test]
fn killed_in_the_journal_it_goes_on_as_if_nothing_happened() {
    for failpoint in ["journal.commit.before", "journal.commit.after"] {
        kill_at(failpoint, &["boot"]);
    }
}

#[test]
fn killed_while_the_segment_switches_it_goes_on_as_if_nothing_happened() {
    for failpoint in ["journal.switch.before_end", "journal.switch.after_end"] {
        let dir = tempfile::tempdir().unwrap();
        for count in [1, 2, 1] {
            let status = run_child(dir.path(), "boot", Some(format!("{failpoint}:{count}")));
            assert!(!status.success(), "{failpoint}:{count}");
        }
        assert!(run_child(dir.path(), "boot", None).success());
        check(dir.path(), &uninterrupted(), true);
    }
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

#[test]
fn a_full_disk_ends_the_run_after_what_was_committed_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=400k none '{}' && exec '{}' child_with_little_room --exact --nocapture",
        dir.path().display(),
        std::env::current_exe().unwrap().display()
    );
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", &script])
        .env("TWINLINE_TEST_LITTLE_ROOM", dir.path())
        .output();
    let Ok(output) = output else {
        return; // no unshare here
    };
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if complained.contains("unshare:") || complained.contains("mount:") {
        eprintln!("not tested, mounting is not permitted here: {complained}");
        return;
    }
    assert!(output.status.success(), "{said}{complained}");
    assert!(said.contains("no room"), "{said}");
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

/// What a power cut leaves of `live`, of which `synced` is durable: pages in between are kept, lost, zeroed or garbled.
fn power_cut(synced: &Path, live: &Path, to: &Path, seed: u64) {
    copy(live, to);
    let mut random = seed;
    let mut next = || {
        random = mix(random);
        random
    };
    for entry in fs::read_dir(live.join("journal")).unwrap() {
        let entry = entry.unwrap();
        let durable = synced.join("journal").join(entry.file_name());
        let cut = to.join("journal").join(entry.file_name());
        if entry
            .path()
            .extension()
            .is_none_or(|extension| extension != "seg")
        {
            if durable.exists() && entry.file_name() != "resume.json" {
                fs::copy(durable, cut).unwrap();
            }
            continue;
        }
        let mut bytes = fs::read(entry.path()).unwrap();
        let old = fs::read(&durable).unwrap_or_else(|_| vec![0; bytes.len()]);
        if !durable.exists() && next() % 2 == 0 {
            fs::remove_file(cut).unwrap();
            continue;
        }
        let mode = next() % 4;
        for (page, old) in bytes.chunks_mut(512).zip(old.chunks(512)) {
            if page == old || next() % 8 != 0 && mode != 0 {
                continue;
            }
            match mode {
                0 => page.copy_from_slice(old),
                1 => page.iter_mut().zip(old).for_each(|(new, old)| {
                    if *new != *old {
                        *new = 0;
                    }
                }),
                2 => {
                    let at = (0..page.len())
                        .filter(|&at| page[at] != old[at])
                        .nth(next() as usize % 3);
                    if let Some(at) = at {
                        page[at] ^= 1 << (next() % 8);
                    }
                }
                _ => page[256..].copy_from_slice(&old[256..]),
            }
        }
        fs::write(cut, bytes).unwrap();
    }
}

#[test]
fn after_a_power_cut_the_source_messages_are_those_of_an_uninterrupted_run() {
    let expected = uninterrupted();
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..12 {
        let root = tempfile::tempdir().unwrap();
        let mut dir = root.path().join("0");
        fs::create_dir(&dir).unwrap();
        let lines = Recorded::default();
        let mut everything = Vec::new();
        let (mut durable, mut published) = (0, 0);
        for cut in 1..=4_u64 {
            let boot = format!("boot {cut}");
            let (mut publisher, _) =
                open_without_thread(at_once(), &place(&dir, &boot), lines.clone(), 1).unwrap();
            let mut source = TestSource::new(0, 8);
            source.next = publisher.position(SOURCE);
            let held = publisher.source_messages();
            assert!(held >= durable, "what was durable is still there");
            lost += u32::from(held < published);
            kept += u32::from(held > durable);
            let until = (source.next + mix(seed * 8 + cut) % 700).min(TOTAL);
            publish(&mut publisher, &mut source, until);
            publisher.journal().sync().unwrap();
            durable = publisher.source_messages();
            let synced = root.path().join(format!("{cut} synced"));
            copy(&dir, &synced);
            let until = (until + mix(seed * 8 + cut + 4) % 500).min(TOTAL);
            publish(&mut publisher, &mut source, until);
            published = publisher.source_messages();
            let after = root.path().join(format!("{cut}"));
            power_cut(&synced, &dir, &after, seed * 8 + cut);
            dir = after;
            everything.append(&mut lines.take(Line::A));
        }
        let (mut publisher, store) =
            open_without_thread(at_once(), &place(&dir, "last"), lines.clone(), 1).unwrap();
        let mut source = TestSource::new(0, 8);
        source.next = publisher.position(SOURCE);
        publish(&mut publisher, &mut source, TOTAL);
        publisher.end_session(1).unwrap();
        let (store, grant) = store.unwrap();
        store.end_session(&grant).unwrap();
        everything.append(&mut lines.take(Line::A));
        messages(&everything);
        check(&dir, &expected, false);
    }
    assert!(
        lost > 10 && kept > 10,
        "of 36 cuts {lost} lost something, {kept} kept more than was durable"
    );
}

#[test]
fn a_complete_session_is_only_announced_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path(), "boot");
    let lines = Recorded::default();
    let (mut publisher, store) = open_without_thread(at_once(), &place, lines.clone(), 1).unwrap();
    publisher.publish_batch(&[tick(1); 100], 1).unwrap();
    publisher.end_session(1).unwrap();
    // Killed before the store was told.
    drop((publisher, store));
    lines.take(Line::A);
    let Opened {
        mut publisher,
        reserver,
    } = open(at_once(), &place, lines.clone(), 5).unwrap();
    assert_eq!(publisher.phase(), Phase::Ending);
    assert_eq!(publisher.source_messages(), 100);
    let mut source = TestSource::new(10, 8);
    let stop = AtomicBool::new(false);
    let end = run(
        &mut publisher,
        reserver,
        &mut source,
        &RunConfig::default(),
        &stop,
    );
    assert_eq!(end.unwrap(), RunEnd::Complete);
    assert_eq!(source.position(), 0, "the source is not read");
    let sent = lines.take(Line::A);
    assert!(!sent.is_empty());
    for bytes in sent {
        let header = *Packet::parse(&bytes).unwrap().header();
        assert!(header.is_heartbeat() && header.flags == twinline_wire::flags::END_OF_SESSION);
    }
    drop(publisher);
    let store = EpochStore::open(&place.store).unwrap();
    assert!(store.channel(CHANNEL).unwrap().unwrap().ended);

    let next = twinline_feed::publisher::Place {
        session: Some(2),
        ..place.clone()
    };
    let (mut publisher, _) = open_without_thread(at_once(), &next, lines.clone(), 9).unwrap();
    assert_eq!(
        (
            publisher.session(),
            publisher.next_sequence(),
            publisher.position(0)
        ),
        (2, 1, 0)
    );
    publisher.publish(&tick(1), 9).unwrap();
    assert_eq!(source_messages(&place.journal, 2).len(), 1);
    assert_eq!(source_messages(&place.journal, 1).len(), 100);
}

#[test]
fn a_session_whose_beginning_is_gone_is_resumed_from_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut place = place(dir.path(), "boot");
    place.journal_config.retention.segments = Some(4);
    for run in 1..=8 {
        let (mut publisher, _) = open_without_thread(at_once(), &place, Recorded::default(), 1).unwrap();
        let mut source = TestSource::new(0, 8);
        source.next = publisher.position(SOURCE);
        assert_eq!(source.next, (run - 1) * 750);
        // Each run writes less than retention keeps, all of them together more.
        publish(&mut publisher, &mut source, run * 750);
        let events = (0..run * 750).filter(|&n| messages_of(n) > 0).count() as u64;
        assert_eq!(publisher.source_messages(), events);
    }
    let oldest = twinline_journal::info(&place.journal).unwrap();
    assert!(oldest.sessions[0].oldest > 1, "{oldest:?}");
}

#[test]
fn a_publisher_that_was_taken_over_stops() {
    let dir = tempfile::tempdir().unwrap();
    let first = place(dir.path(), "first");
    let lines = Recorded::default();
    let Opened {
        mut publisher,
        reserver,
    } = open(at_once(), &first, lines.clone(), unix_now()).unwrap();
    publisher.publish(&tick(1), unix_now()).unwrap();
    copy(&first.journal, &dir.path().join("replica"));
    let second = twinline_feed::publisher::Place {
        journal: dir.path().join("replica"),
        holder: holder("second"),
        ..first.clone()
    };
    let (successor, _) = open_without_thread(at_once(), &second, Recorded::default(), 1).unwrap();
    assert!(successor.next_sequence() > publisher.next_sequence());
    let mut source = TestSource::new(u64::MAX, 2);
    let stop = AtomicBool::new(false);
    let end = run(
        &mut publisher,
        reserver,
        &mut source,
        &RunConfig::default(),
        &stop,
    );
    assert!(
        matches!(end, Err(RunError::Publish(PublishError::Deposed { .. }))),
        "{end:?}"
    );
    let used = messages(&lines.take(Line::A)).into_keys().max().unwrap();
    assert!(
        used < successor.next_sequence(),
        "what it sent is below its successor's base"
    );
}

#[test]
fn told_to_stop_it_sends_what_it_has_and_leaves_the_session_open() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path(), "boot");
    /// Says to stop after some events.
    struct Stopping<'s>(TestSource, &'s AtomicBool);
    impl Source for Stopping<'_> {
        fn id(&self) -> u16 {
            self.0.id()
        }
        fn position(&self) -> u64 {
            self.0.position()
        }
        fn resume(&mut self, position: u64) -> Result<(), twinline_feed::source::SourceError> {
            self.0.resume(position)
        }
        fn poll(
            &mut self,
            now: u64,
            sink: &mut impl EventSink,
        ) -> Result<SourceState, twinline_feed::source::SourceError> {
            let state = self.0.poll(now, sink);
            if matches!(state, Ok(SourceState::Ready)) && self.0.next % 900 == 899 {
                self.1.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            state
        }
        fn counts(&self) -> Vec<twinline_feed::source::TypeCount> {
            Vec::new()
        }
    }
    let mut ends = Vec::new();
    for _ in 0..4 {
        let opened = open(at_once(), &place, Recorded::default(), unix_now()).unwrap();
        let Opened {
            mut publisher,
            reserver,
        } = opened;
        let stop = AtomicBool::new(false);
        let mut source = Stopping(TestSource::new(TOTAL, 8), &stop);
        ends.push(
            run(
                &mut publisher,
                reserver,
                &mut source,
                &RunConfig::default(),
                &stop,
            )
            .unwrap(),
        );
    }
    use RunEnd::{Complete, Stopped};
    assert_eq!(ends, [Stopped, Stopped, Stopped, Complete]);
    assert!(source_messages(&place.journal, 1) == uninterrupted());
    let all = messages(&packets(&place.journal, 1));
    let ends = all
        .values()
        .filter(|frame| frame[4..6] == EndOfSession::TEMPLATE.to_le_bytes());
    assert_eq!(ends.count(), 1);
}
