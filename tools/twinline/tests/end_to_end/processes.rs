//! Publisher, recovery service and listeners as processes of their own: started in any order, stopped and restarted.

use crate::bed::{Bed, Process, free_tcp, quiet};
use serde_json::Value;

const IMPAIR: &str = "loss=2%,both=1%,dup=1%,reorder=1%,corrupt=0.2%,seed=3";
/// A second and a half of made-up order flow.
const SOURCE: [&str; 4] = ["--generate", "15000", "--rate", "10000"];
const MESSAGES: u64 = 15_000;

#[test]
fn a_listener_started_first_waits_and_gets_everything() {
    let bed = Bed::new();
    let address = free_tcp();
    let listener = bed.listen("listener", &["--recovery", &address, "--impair", IMPAIR]);
    let (_service, _) = bed.recover(&address);
    let publisher = bed.publish(&SOURCE);
    publisher.wait().expect(0);
    let done = listener.wait().expect(0);
    assert!(done.summary["gaps"]["filled"].as_u64() > Some(0), "{done:#?}");
    assert!(done.summary["delivered"]["recovery"].as_u64() > Some(0));
    bed.assert_equal(&["listener"], MESSAGES);
}

#[test]
fn a_listener_started_last_gets_everything() {
    let bed = Bed::new();
    let publisher = bed.publish(&SOURCE);
    publisher.wait_messages(2_000);
    let (_service, address) = bed.recover("127.0.0.1:0");
    let listener = bed.listen("listener", &["--recovery", &address, "--impair", IMPAIR]);
    publisher.wait().expect(0);
    listener.wait().expect(0);
    bed.assert_equal(&["listener"], MESSAGES);
}

#[test]
fn a_recovery_service_killed_and_restarted_half_way_is_used_again() {
    let _quiet = quiet();
    let bed = Bed::new();
    let (mut service, address) = bed.recover("127.0.0.1:0");
    let listeners =
        ["one", "two"].map(|name| bed.listen(name, &["--recovery", &address, "--impair", IMPAIR]));
    let publisher = bed.publish(&["--generate", "40000", "--rate", "10000"]);
    listeners[0].wait_event("that a gap was filled", filled);
    service.kill();
    service.wait();
    publisher.wait_messages(30_000);
    let (service, _) = bed.recover(&address);
    publisher.wait().expect(0);
    for listener in listeners {
        let done = listener.wait().expect(0);
        assert!(
            done.summary["recovery"]["failures"].as_u64() > Some(0),
            "{done:#?}"
        );
    }
    service.terminate();
    let second = service.wait().expect(0);
    assert!(
        second.summary["recovery"]["requests"].as_u64() > Some(0),
        "{second:#?}"
    );
    assert_eq!(second.summary["recovery"]["logins"], 2);
    bed.assert_equal(&["one", "two"], 40_000);
}

fn filled(event: &Value) -> Option<()> {
    (event["gaps"]["filled"].as_u64()? > 0).then_some(())
}

#[test]
fn what_is_stopped_by_a_signal_goes_on_with_the_same_command() {
    let bed = Bed::new();
    let (service, address) = bed.recover("127.0.0.1:0");
    let arguments = ["--recovery", &address, "--impair", IMPAIR];
    let source = ["--generate", "15000", "--rate", "15000"];
    let listener = bed.listen("listener", &arguments);
    let publisher = bed.publish(&source);
    publisher.wait_messages(6_000);
    listener.terminate();
    let half = listener.wait().expect(0);
    assert_eq!(half.summary["position"]["ended"], false);
    publisher.terminate();
    let first = publisher.wait().expect(0);
    assert_eq!(first.summary["complete"], false);
    let listener = bed.listen("listener", &arguments);
    let second = bed.publish(&source).wait().expect(0);
    assert_eq!(second.summary["complete"], true);
    let consumed = |summary: &Value| summary["source"]["messages"].as_u64().expect("a count");
    assert_eq!(consumed(&first.summary) + consumed(&second.summary), MESSAGES);
    let rest = listener.wait().expect(0);
    assert_eq!(rest.summary["position"]["epoch"], 2);
    service.terminate();
    service.wait().expect(0);
    bed.assert_equal(&["listener"], MESSAGES);
}

#[test]
fn what_nobody_can_fill_is_announced_and_the_exit_code_says_so() {
    let bed = Bed::new();
    let listener = bed.listen(
        "listener",
        &["--impair", "both=5%,seed=2", "--gap-timeout", "200ms"],
    );
    bed.publish(&SOURCE).wait().expect(0);
    let done = listener.wait().expect(3);
    let lost = done.summary["loss"]["lost"].as_u64().expect("a count");
    assert!(lost > 0);
    let (equal, found) = bed.diff(&["listener"]);
    assert!(!equal);
    let listener = &found["listeners"][0];
    assert_eq!(listener["missing"]["messages"], lost, "{found:#}");
    assert_eq!(listener["lost_announced"], lost);
    assert_eq!(listener["extra"]["messages"], 0);
    assert_eq!(
        listener["first"]["sequence"],
        listener["missing"]["ranges"][0]["begin"]
    );
}

#[test]
fn print_gives_one_object_a_message_and_the_summary_last() {
    let bed = Bed::new();
    let (_service, address) = bed.recover("127.0.0.1:0");
    let listener = bed.listen(
        "listener",
        &["--recovery", &address, "--impair", IMPAIR, "--print"],
    );
    bed.publish(&["--generate", "2000", "--rate", "10000"])
        .wait()
        .expect(0);
    let done = listener.wait().expect(0);
    let objects: Vec<Value> = done
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("every line is JSON"))
        .collect();
    let (summary, printed) = objects.split_last().expect("there is a summary");
    let sequences: Vec<u64> = printed
        .iter()
        .filter(|object| object["type"] == "message")
        .map(|object| object["sequence"].as_u64().expect("a sequence"))
        .collect();
    assert_eq!(summary["messages"], sequences.len());
    assert!(sequences.iter().copied().eq(1..=sequences.len() as u64));
    let notices: Vec<&Value> = printed
        .iter()
        .filter(|object| object["type"] == "notice")
        .collect();
    assert_eq!(notices[0]["fields"]["state"], "Started");
    assert!(printed.iter().any(|object| object["name"] == "AddOrder"));
    assert_eq!(printed.last().expect("messages")["fields"]["state"], "Ended");
}

#[test]
fn a_listener_that_starts_at_a_sequence_has_what_follows() {
    let bed = Bed::new();
    let (_service, address) = bed.recover("127.0.0.1:0");
    let listener = bed.listen("listener", &["--recovery", &address, "--from", "5000"]);
    bed.publish(&SOURCE).wait().expect(0);
    listener.wait().expect(0);
    let (_, found) = bed.diff(&["listener"]);
    let missing = &found["listeners"][0]["missing"];
    assert_eq!(missing["ranges"].as_array().expect("ranges").len(), 1);
    assert_eq!(missing["ranges"][0]["end"], 5000);
}

#[test]
fn a_journal_is_described_and_checked() {
    let bed = Bed::new();
    bed.publish(&["--generate", "5000", "--linger", "1ms"])
        .wait()
        .expect(0);
    let journal = bed.text("publisher");
    let info = Process::start(&["journal", "info", &journal]).wait().expect(0);
    assert_eq!(info.summary["journal"]["sessions"][0]["ended"], true);
    let verified = Process::start(&["journal", "verify", &journal]).wait().expect(0);
    assert_eq!(verified.summary["messages"], info.summary["messages"]);

    let segment = bed.path("publisher/00000000000000000000.seg");
    let mut bytes = std::fs::read(&segment).expect("a segment");
    bytes[100_000] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    let broken = Process::start(&["journal", "verify", &journal]).wait().expect(5);
    let error = broken.summary["error"].as_str().expect("an error");
    assert!(error.contains("offset"), "{error}");
}

#[test]
fn a_listener_without_recovery_waits_for_the_first_message_of_a_session() {
    let bed = Bed::new();
    let listener = bed.listen("listener", &[]);
    bed.publish(&["--generate", "2000", "--rate", "10000", "--lead-in", "500ms"])
        .wait()
        .expect(0);
    listener.wait().expect(0);
    bed.assert_equal(&["listener"], 2_000);
}
