//! Listeners that begin with a snapshot, or go on from one, with real processes: from there on their books are those of the
//! publisher.

use crate::bed::{Bed, Done, Process, free_tcp, quiet, real_hour, run_plain};
use serde_json::Value;
use std::fs;
use std::thread;
use std::time::Duration;

/// So long a run leaves time for everything that happens in the middle of it.
const SOURCE: [&str; 6] = ["--generate", "120000", "--rate", "40000", "--linger", "2s"];
const MESSAGES: u64 = 120_000;

/// The books of a journal before a sequence, or at its end.
fn books(bed: &Bed, journal: &str, at: Option<u64>) -> Value {
    let journal = bed.text(journal);
    let mut arguments = vec!["book".to_string(), journal];
    if let Some(at) = at {
        arguments.extend(["--at".into(), at.to_string()]);
    }
    let done = Process::start(&arguments).wait().expect(0);
    done.summary["channels"][0].clone()
}

/// The listener's books are valid, and at its end and at sequences in between the publisher's.
fn assert_same_books(bed: &Bed, listener: &str) {
    let (ours, theirs) = (books(bed, listener, None), books(bed, "publisher", None));
    assert_eq!(ours["valid"], true, "{listener}");
    assert_eq!(ours["checksum"], theirs["checksum"], "{listener}");
    let end = ours["position"]["next"].as_u64().expect("a sequence");
    let began = replaced(bed, listener).last().copied().unwrap_or(1);
    for part in 1..4 {
        let at = began + (end - began) * part / 4;
        let (ours, theirs) = (books(bed, listener, Some(at)), books(bed, "publisher", Some(at)));
        assert_eq!(ours["checksum"], theirs["checksum"], "{listener} at {at}");
    }
}

/// Where the states stand that the listener's journal says replaced its own.
fn replaced(bed: &Bed, listener: &str) -> Vec<u64> {
    let journal = bed.text(listener);
    let shown = run_plain(&[
        "decode",
        &journal,
        "--template",
        "StateReplaced",
        "--format",
        "jsonl",
    ]);
    let lines = shown
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines
        .filter_map(|notice| notice["fields"]["sequence"].as_u64())
        .collect()
}

/// The snapshot files in a directory.
fn files(bed: &Bed, dir: &str) -> Vec<String> {
    let names = fs::read_dir(bed.path(dir)).expect("a directory");
    let names = names.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    let mut names: Vec<String> = names.filter(|name| name.contains(".twb")).collect();
    names.sort();
    names
}

/// A recovery service that writes files often, ready.
fn recover(bed: &Bed, listen: &str, more: &[&str]) -> (Process, String) {
    let journal = bed.text("publisher");
    let mut arguments = vec![
        "recover",
        "--journal",
        &journal,
        "--listen",
        listen,
        "--snapshot-messages",
        "20000",
    ];
    arguments.extend(more);
    let service = Process::start(&arguments);
    let address = service.wait_ready().expect("a service says where it listens");
    (service, address)
}

#[test]
fn a_dozen_listeners_that_join_in_the_middle_have_the_publishers_books() {
    let _quiet = quiet();
    let bed = Bed::new();
    let (source, messages) = match real_hour() {
        Some(path) => (vec!["--from".to_string(), path.display().to_string()], 92_003),
        None => (vec!["--generate".into(), "92003".into()], 92_003),
    };
    let mut source: Vec<&str> = source.iter().map(String::as_str).collect();
    source.extend(["--rate", "20000", "--linger", "2s"]);
    let (service, address) = recover(&bed, "127.0.0.1:0", &[]);
    let there = bed.listen("there", &["--recovery", &address]);
    let publisher = bed.publish(&source);
    let names: Vec<String> = (0..12).map(|number| format!("joiner-{number}")).collect();
    let mut joiners = Vec::new();
    for name in &names {
        thread::sleep(Duration::from_millis(200));
        let arguments = bed.listen_arguments(
            name,
            &[
                "--recovery",
                &address,
                "--from",
                "snapshot",
                "--impair",
                "loss=2%,both=0.5%,seed=3",
            ],
        );
        joiners.push(Process::start(&arguments));
    }
    publisher.wait().expect(0);
    there.wait().expect(0);
    for (name, joiner) in names.iter().zip(joiners) {
        let done = joiner.wait().expect(0);
        assert_eq!(done.summary["notices"]["state_replaced"], 1, "{done:#?}");
        assert_eq!(done.summary["loss"]["lost"], 0, "what was skipped is no loss");
        assert_same_books(&bed, name);
        assert_eq!(files(&bed, name).len(), 1);
    }
    bed.assert_equal(&["there"], messages);
    // What a listener skipped it says, and nothing else is missing.
    let (equal, found) = bed.diff(&["joiner-11"]);
    assert!(!equal);
    let listener = &found["listeners"][0];
    assert_eq!(
        listener["missing"]["ranges"][0]["end"],
        replaced(&bed, "joiner-11")[0]
    );
    assert_eq!(listener["missing_silently"], 0, "{found:#}");
    assert_eq!(
        listener["states_replaced"][0]["sequence"],
        replaced(&bed, "joiner-11")[0]
    );
    service.terminate();
    let done = service.wait().expect(0);
    assert_eq!(done.summary["snapshots"]["served"], 12, "{done:#?}");
}

#[test]
fn a_listener_that_was_away_too_long_says_what_is_lost_and_goes_on_from_a_snapshot() {
    let _quiet = quiet();
    let bed = Bed::new();
    let (_service, address) = recover(&bed, "127.0.0.1:0", &[]);
    let listener = bed.listen("listener", &["--recovery", &address]);
    let publisher = bed.publish(&[&SOURCE[..], &["--keep-segments", "2"]].concat());
    listener.wait_messages(10_000);
    listener.terminate();
    listener.wait().expect(0);
    publisher.wait_messages(100_000);
    let done = bed.listen("listener", &["--recovery", &address]).wait().expect(3);
    assert!(done.summary["loss"]["lost"].as_u64() > Some(20_000), "{done:#?}");
    assert_eq!(done.summary["notices"]["state_replaced"], 1, "{done:#?}");
    publisher.wait().expect(0);
    assert_same_books_at_the_end(&bed, "listener");
}

/// The publisher's journal does not hold its beginning any more: its books are those of the service's newest snapshot and
/// what follows it.
fn assert_same_books_at_the_end(bed: &Bed, listener: &str) {
    let snapshots = files(bed, "publisher.snapshots");
    let newest = bed
        .path("publisher.snapshots")
        .join(snapshots.last().expect("a file"));
    let (publisher, newest) = (bed.text("publisher"), newest.display().to_string());
    let theirs = Process::start(&["book", &publisher, "--from", &newest])
        .wait()
        .expect(0);
    let ours = books(bed, listener, None);
    assert_eq!(ours["valid"], true);
    assert_eq!(ours["checksum"], theirs.summary["channels"][0]["checksum"]);
    assert_eq!(ours["position"], theirs.summary["channels"][0]["position"]);
}

#[test]
fn a_listener_with_a_declared_loss_goes_on_from_a_snapshot() {
    let _quiet = quiet();
    let bed = Bed::new();
    let address = free_tcp();
    let listener = bed.listen(
        "listener",
        &[
            "--recovery",
            &address,
            "--impair",
            "both=1%,seed=5",
            "--gap-timeout",
            "200ms",
        ],
    );
    let publisher = bed.publish(&SOURCE);
    listener.wait_event("that something is lost", |event| {
        (event["event"] == "progress" && event["loss"]["lost"].as_u64()? > 0).then_some(())
    });
    let (_service, _) = recover(&bed, &address, &[]);
    let done = listener.wait().expect(3);
    assert!(
        done.summary["notices"]["state_replaced"].as_u64() > Some(0),
        "{done:#?}"
    );
    publisher.wait().expect(0);
    assert_same_books(&bed, "listener");
    assert!(files(&bed, "listener").len() <= 2, "old files are removed");
}

/// A listener that is to begin with a snapshot is aborted at a failpoint, and started again.
fn abort_at(failpoint: &str) {
    let _quiet = quiet();
    let bed = Bed::new();
    let (_service, address) = recover(&bed, "127.0.0.1:0", &[]);
    let publisher = bed.publish(&SOURCE);
    publisher.wait_messages(30_000);
    let arguments = bed.listen_arguments("listener", &["--recovery", &address, "--from", "snapshot"]);
    let aborted = Process::start_with(&arguments, &[("TWINLINE_FAILPOINT", failpoint)], true).wait();
    assert_eq!(aborted.code(), -6, "the failpoint is passed: {aborted:#?}");
    Process::start(&arguments).wait().expect(0);
    publisher.wait().expect(0);
    assert_same_books(&bed, "listener");
    let named = replaced(&bed, "listener");
    let files = files(&bed, "listener");
    assert_eq!(
        files.len(),
        named.len(),
        "what the journal does not name is gone: {files:?} {named:?}"
    );
}

#[test]
fn a_listener_killed_while_a_snapshot_comes_begins_with_another() {
    abort_at("state.part:1");
}

#[test]
fn a_listener_killed_before_the_snapshot_has_its_name_begins_with_another() {
    abort_at("state.written:1");
}

#[test]
fn a_listener_killed_before_its_journal_names_the_snapshot_begins_with_another() {
    abort_at("state.renamed:1");
}

#[test]
fn a_listener_killed_when_its_journal_names_the_snapshot_goes_on_from_it() {
    abort_at("state.named:1");
}

#[test]
fn when_a_service_dies_in_the_middle_of_a_snapshot_the_next_one_is_asked() {
    let _quiet = quiet();
    let bed = Bed::new();
    let address = free_tcp();
    let journal = bed.text("publisher");
    let dying = [
        "recover",
        "--journal",
        &journal,
        "--listen",
        &address,
        "--snapshots",
        &bed.text("dying"),
    ];
    let dying = Process::start_with(&dying, &[("TWINLINE_FAILPOINT", "recovery.part:1")], true);
    dying.wait_ready();
    let publisher = bed.publish(&SOURCE);
    let (_service, second) = recover(&bed, "127.0.0.1:0", &[]);
    publisher.wait_messages(30_000);
    let listener = bed.listen(
        "listener",
        &[
            "--recovery",
            &address,
            "--recovery",
            &second,
            "--from",
            "snapshot",
        ],
    );
    assert_eq!(dying.wait().code(), -6);
    let done = listener.wait().expect(0);
    assert_eq!(done.summary["notices"]["state_replaced"], 1);
    assert!(
        done.summary["snapshots"]["failed"].as_u64() > Some(0),
        "{done:#?}"
    );
    publisher.wait().expect(0);
    assert_same_books(&bed, "listener");
}

#[test]
fn a_service_starts_from_its_newest_file_that_is_whole() {
    let _quiet = quiet();
    let bed = Bed::new();
    let (mut service, address) = recover(&bed, "127.0.0.1:0", &[]);
    let publisher = bed.publish(&SOURCE);
    publisher.wait_messages(100_000);
    service.kill();
    service.wait();
    let newest = files(&bed, "publisher.snapshots").pop().expect("files");
    let path = bed.path("publisher.snapshots").join(newest);
    let mut bytes = fs::read(&path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&path, bytes).expect("written");
    let (service, _) = recover(&bed, &address, &[]);
    let done = bed
        .listen("listener", &["--recovery", &address, "--from", "snapshot"])
        .wait()
        .expect(0);
    assert_eq!(done.summary["notices"]["state_replaced"], 1);
    publisher.wait().expect(0);
    assert_same_books(&bed, "listener");
    service.terminate();
    let Done { summary, .. } = service.wait().expect(0);
    let counts = &summary["snapshots"];
    assert_eq!(counts["bad_files"], 1, "{summary:#}");
    let (began, read) = (counts["started_at"].as_u64(), counts["messages_read"].as_u64());
    assert!(began > Some(20_000) && read < Some(MESSAGES), "{summary:#}");
    assert!(
        summary["last_snapshot_trouble"]
            .as_str()
            .is_some_and(|text| text.contains(".twb"))
    );
}

#[test]
fn a_listener_whose_journal_is_short_keeps_a_snapshot_that_it_goes_on_from() {
    let _quiet = quiet();
    let bed = Bed::new();
    let (_service, address) = recover(&bed, "127.0.0.1:0", &[]);
    let listener = bed.listen("listener", &["--recovery", &address, "--keep-segments", "4"]);
    let publisher = bed.publish(&SOURCE);
    let done = listener.wait().expect(0);
    publisher.wait().expect(0);
    assert!(
        done.summary["snapshots"]["refreshes"].as_u64() > Some(1),
        "{done:#?}"
    );
    assert_eq!(done.summary["loss"]["lost"], 0);
    let files = files(&bed, "listener");
    let newest = bed.path("listener").join(files.last().expect("a file"));
    // What a program does that attaches now: the newest file, and the journal behind it.
    let (journal, newest) = (bed.text("listener"), newest.display().to_string());
    let ours = Process::start(&["book", &journal, "--from", &newest])
        .wait()
        .expect(0);
    let theirs = books(&bed, "publisher", None);
    assert_eq!(ours.summary["channels"][0]["valid"], true);
    assert_eq!(ours.summary["channels"][0]["checksum"], theirs["checksum"]);
}
