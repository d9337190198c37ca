//! Replicas as processes: killed at random, following each other, serving listeners, and healing a publisher that lost
//! the end of its journal.

use crate::bed::{Bed, Process, free_tcp, run_plain};
use serde_json::Value;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// A replica into the journal `name`, ready.
fn replica(bed: &Bed, name: &str, upstreams: &str, listen: &str) -> Process {
    let journal = bed.text(name);
    let replica = Process::start(&[
        "replica",
        "--upstream",
        upstreams,
        "--journal",
        &journal,
        "--listen",
        listen,
        "--segment-size",
        "1MiB",
        "--sync",
        "20ms",
        "--patience",
        "300ms",
    ]);
    replica.wait_ready();
    replica
}

/// Waits until a replica holds everything of an ended session, durably.
fn wait_whole(replica: &Process) -> Value {
    replica.wait_event("that it holds the whole session", |event| {
        let place = &event["position"];
        let whole = place["ended"] == true && event["replica"]["durable"]["next"] == place["next"];
        (event["event"] == "progress" && whole).then(|| event.clone())
    })
}

/// Every packet of a journal, byte for byte: the capture that `replay` makes of it.
fn records(bed: &Bed, name: &str) -> Vec<u8> {
    let out = bed.text(&format!("{name}.pcapng"));
    run_plain(&["replay", "--journal", &bed.text(name), "--pcapng", &out]);
    fs::read(out).expect("written")
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[test]
fn replicas_equal_the_publisher_however_all_of_them_were_killed() {
    let bed = Bed::new();
    let (_service, address) = bed.recover("127.0.0.1:0");
    let ports = [free_tcp(), free_tcp()];
    // The second follows the first where it can.
    let upstreams = [address.clone(), format!("{},{address}", ports[0])];
    let start = |at: usize| replica(&bed, ["one", "two"][at], &upstreams[at], &ports[at]);
    let mut replicas = [start(0), start(1)];
    let record = bed.text("followed");
    let both = format!("{},{}", ports[1], ports[0]);
    let follower = Process::start(&[
        "tail",
        &both,
        "--from",
        "start",
        "--record",
        &record,
        "--until-end",
        "--patience",
        "300ms",
    ]);
    let source = ["--generate", "60000", "--rate", "30000", "--linger", "1ms"];
    let mut random = Random(88172645463325252);
    for round in 0..12 {
        let mut publisher = bed.publish(&source);
        thread::sleep(Duration::from_millis(30 + random.below(150)));
        let at = round % 2;
        replicas[at].kill();
        publisher.kill();
        drop(publisher);
        replicas[at] = start(at);
    }
    bed.publish(&source).wait().expect(0);
    for replica in &replicas {
        let said = wait_whole(replica);
        assert_eq!(said["replica"]["contradictions"], 0, "{said:#}");
    }
    follower.wait().expect(0);
    bed.assert_equal(&["one", "two", "followed"], 60_000);
    let published = records(&bed, "publisher");
    for name in ["one", "two", "followed"] {
        assert!(records(&bed, name) == published, "{name}: record by record");
    }
}

#[test]
fn a_listener_recovers_from_a_replica_alone() {
    let bed = Bed::new();
    let (_service, address) = bed.recover("127.0.0.1:0");
    let port = free_tcp();
    let _replica = replica(&bed, "one", &address, &port);
    let listener = bed.listen(
        "listener",
        &["--recovery", &port, "--impair", "loss=3%,both=2%,seed=9"],
    );
    bed.publish(&["--generate", "30000", "--rate", "20000", "--linger", "500ms"])
        .wait()
        .expect(0);
    let done = listener.wait().expect(0).summary;
    assert!(done["gaps"]["filled"].as_u64() > Some(0), "{done:#}");
    bed.assert_equal(&["listener"], 30_000);
}

fn copy(bed: &Bed, from: &str, to: &str) {
    let copied = Command::new("cp")
        .args(["-r", &bed.text(from), &bed.text(to)])
        .status();
    assert!(copied.expect("cp").success());
}

/// Publishes a part, keeps a copy of the journal, publishes more of it than `one`, and is killed; then the journal is that
/// older copy: what a power cut leaves of it, or another machine has.
fn lose_the_end(bed: &Bed, source: &[&str]) {
    let publisher = bed.publish(source);
    publisher.wait_messages(1_000);
    publisher.terminate();
    publisher.wait().expect(0);
    copy(bed, "publisher", "older");
    let mut publisher = bed.publish(source);
    publisher.wait_messages(2_000);
    publisher.kill();
    drop(publisher);
}

#[test]
fn a_publisher_that_lost_its_end_gets_it_back_from_a_replica_and_nothing_is_lost() {
    let bed = Bed::new();
    let (service, address) = bed.recover("127.0.0.1:0");
    let port = free_tcp();
    let follower = replica(&bed, "one", &address, &port);
    let source = ["--generate", "20000", "--rate", "4000", "--linger", "1ms"];
    lose_the_end(&bed, &source);
    // The replica has all of it by now.
    let (held, _) = bed.diff(&["one"]);
    let held = held || {
        thread::sleep(Duration::from_millis(500));
        bed.diff(&["one"]).0
    };
    assert!(held, "the replica caught up");
    drop(service);
    fs::remove_dir_all(bed.path("publisher")).expect("it was there");
    fs::rename(bed.path("older"), bed.path("publisher")).expect("it was copied");
    let (_service, _) = bed.recover(&address);
    let healing = [&source[..], &["--replica", &port]].concat();
    let done = bed.publish(&healing).wait().expect(0);
    let warnings = done.summary["warnings"].to_string();
    assert!(warnings.contains("were taken back from replicas"), "{warnings}");
    let said = wait_whole(&follower);
    assert_eq!(said["replica"]["discarded"], 0, "nothing was void: {said:#}");
    assert_eq!(said["replica"]["contradictions"], 0, "{said:#}");
    bed.assert_equal(&["one"], 20_000);
    assert!(records(&bed, "one") == records(&bed, "publisher"));
}

#[test]
fn without_a_replica_the_lost_end_is_void_and_replicas_discard_it() {
    let bed = Bed::new();
    let (service, address) = bed.recover("127.0.0.1:0");
    let follower = replica(&bed, "one", &address, "127.0.0.1:0");
    let source = ["--generate", "20000", "--rate", "4000", "--linger", "1ms"];
    lose_the_end(&bed, &source);
    thread::sleep(Duration::from_millis(300));
    drop(service);
    fs::remove_dir_all(bed.path("publisher")).expect("it was there");
    fs::rename(bed.path("older"), bed.path("publisher")).expect("it was copied");
    let (_service, _) = bed.recover(&address);
    let gone = free_tcp();
    let asking = [&source[..], &["--replica", &gone, "--replica-patience", "200ms"]].concat();
    let done = bed.publish(&asking).wait().expect(0);
    let warnings = done.summary["warnings"].to_string();
    assert!(
        warnings.contains(&gone) && warnings.contains("did not help"),
        "{warnings}"
    );
    let said = wait_whole(&follower);
    assert!(said["replica"]["discarded"].as_u64() > Some(0), "{said:#}");
    assert_eq!(said["replica"]["contradictions"], 0, "{said:#}");
    bed.assert_equal(&["one"], 20_000);
    assert!(records(&bed, "one") == records(&bed, "publisher"));
}

#[test]
fn an_upstream_that_contradicts_a_replica_is_not_followed() {
    let bed = Bed::new();
    let (_service, address) = bed.recover("127.0.0.1:0");
    bed.publish(&["--generate", "2000", "--linger", "1ms"])
        .wait()
        .expect(0);
    let follower = replica(&bed, "one", &address, "127.0.0.1:0");
    wait_whole(&follower);
    drop(follower);
    // Another stream of the same session at the same place.
    let other = Bed::new();
    other
        .publish(&["--generate", "2500", "--linger", "1ms"])
        .wait()
        .expect(0);
    let (_other_service, false_address) = other.recover("127.0.0.1:0");
    let before = records(&bed, "one");
    let follower = replica(&bed, "one", &false_address, "127.0.0.1:0");
    let done = follower.wait().expect(5).summary;
    assert!(done["warnings"].to_string().contains("CONTRADICTS"), "{done:#}");
    assert_eq!(done["replica"]["contradictions"], 1);
    assert!(records(&bed, "one") == before, "nothing of it was taken");
}

#[test]
fn a_replica_that_was_away_for_too_long_stops_or_begins_anew_as_it_is_told() {
    let bed = Bed::new();
    let (_service, address) = bed.recover("127.0.0.1:0");
    let source = ["--generate", "400000", "--keep-segments", "2", "--linger", "1ms"];
    let follower = replica(&bed, "one", &address, "127.0.0.1:0");
    let mut publisher = bed.publish(&[&source[..], &["--rate", "20000"]].concat());
    follower.wait_messages(1_000);
    drop(follower);
    publisher.kill();
    drop(publisher);
    bed.publish(&source).wait().expect(0);
    let done = replica(&bed, "one", &address, "127.0.0.1:0")
        .wait()
        .expect(1)
        .summary;
    let error = done["error"].as_str().unwrap_or_default();
    assert!(error.contains("--start-anew"), "{done:#}");
    let journal = bed.text("one");
    let follower = Process::start(&[
        "replica",
        "--upstream",
        &address,
        "--journal",
        &journal,
        "--listen",
        "127.0.0.1:0",
        "--start-anew",
        "--segment-size",
        "1MiB",
    ]);
    wait_whole(&follower);
    follower.terminate();
    follower.wait().expect(0);
    assert!(bed.path("one.old-1").is_dir(), "the old journal is kept");
    run_plain(&["journal", "verify", &journal]).expect(0);
}
