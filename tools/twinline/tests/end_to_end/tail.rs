//! `twinline tail`: a stream over TCP, shown or recorded, over services that come and go.

use crate::bed::{Bed, PATIENCE, Process, run_plain};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};
use twinline_wire::field::TailKind;
use twinline_wire::recovery::{Login, PROTOCOL_VERSION, TailRequest};
use twinline_wire::stream;

/// A tail's arguments.
fn tail(address: &str, more: &[&str]) -> Process {
    Process::start(&[&["tail", address], more].concat())
}

#[test]
fn a_recorded_tail_equals_the_publishers_journal_whatever_was_killed() {
    let bed = Bed::new();
    let (mut first, one) = bed.recover("127.0.0.1:0");
    let (mut second, other) = bed.recover("127.0.0.1:0");
    let both = format!("{one},{other}");
    let record = bed.text("followed");
    let arguments = [
        "--from",
        "start",
        "--record",
        &record,
        "--until-end",
        "--patience",
        "200ms",
    ];
    let follow = || tail(&both, &arguments);
    let mut follower = follow();
    let publisher = bed.publish(&["--generate", "30000", "--rate", "10000", "--linger", "1ms"]);
    // Whoever serves is killed and started again, and whoever follows too.
    follower.wait_messages(2_000);
    first.kill();
    follower.wait_messages(8_000);
    second.kill();
    let (_first, _) = bed.recover(&one);
    follower.wait_messages(14_000);
    follower.kill();
    drop(follower);
    let follower = follow();
    publisher.wait().expect(0);
    let done = follower.wait().expect(0).summary;
    assert_eq!(done["position"]["ended"], true, "{done:#}");
    assert_eq!(done["contradictions"], 0);
    bed.assert_equal(&["followed"], 30_000);
    // And once more it has nothing to add.
    let again = follow().wait().expect(0).summary;
    assert_eq!(again["packets"], 0, "{again:#}");
}

/// The sequences that a run of `tail` showed.
fn shown(stdout: &str) -> Vec<u64> {
    let rows = stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    rows.filter_map(|row| row["sequence"].as_u64()).collect()
}

#[test]
fn a_tail_shows_what_is_asked_for_and_ends_where_it_is_told_to() {
    let bed = Bed::new();
    bed.publish(&["--generate", "3000", "--linger", "1ms"])
        .wait()
        .expect(0);
    let (_service, address) = bed.recover("127.0.0.1:0");
    let show = |more: &[&str]| {
        let done = run_plain(&[&["tail", &address, "--format", "jsonl"], more].concat()).expect(0);
        shown(&done.stdout)
    };
    let all = show(&["--from", "start", "--until-end"]);
    assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>());
    let part = show(&[
        "--from",
        "100",
        "--to",
        "120",
        "--session",
        "1",
        "--sequence",
        "100..120",
    ]);
    assert_eq!(part, (100..120).collect::<Vec<_>>());
    assert_eq!(show(&["--from", "start", "--limit", "7"]).len(), 7);
    let symbols = show(&["--from", "start", "--until-end", "--template", "EndOfSession"]);
    assert_eq!(symbols, [all.len() as u64]);
}

#[test]
fn a_live_tail_begins_with_what_comes_next_and_waits_for_its_service() {
    let bed = Bed::new();
    let address = crate::bed::free_tcp();
    let follower = Process::start(&[
        "tail", &address, "--from", "live", "--count", "500", "--format", "jsonl",
    ]);
    thread::sleep(Duration::from_millis(100));
    let (_service, _) = bed.recover(&address);
    let publisher = bed.publish(&["--generate", "100000", "--rate", "5000"]);
    let done = follower.wait().expect(0);
    let sequences = shown(&done.stdout);
    assert!(sequences.len() >= 500);
    assert!(
        sequences.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "without a gap or a repeat"
    );
    drop(publisher);
}

#[test]
fn what_is_no_longer_kept_is_said_with_the_oldest_that_is() {
    let bed = Bed::new();
    let keep = ["--keep-segments", "2", "--linger", "1ms"];
    bed.publish(&[&["--generate", "200000"], &keep[..]].concat())
        .wait()
        .expect(0);
    let (_service, address) = bed.recover("127.0.0.1:0");
    let done = run_plain(&["tail", &address, "--from", "5", "--format", "jsonl"]).expect(3);
    let error = done.stderr.join(" ");
    assert!(error.contains("--from "), "{error}");
    let oldest: String = error
        .rsplit_once("--from ")
        .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect())
        .expect("it names one");
    let done = run_plain(&[
        "tail", &address, "--from", &oldest, "--limit", "3", "--format", "jsonl",
    ])
    .expect(0);
    assert_eq!(shown(&done.stdout)[0].to_string(), oldest);
}

/// A client that asks for everything and reads nothing.
fn sleeper(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let mut frame = [0; 256];
    let login = Login {
        protocol_version: PROTOCOL_VERSION.into(),
        channel: 1.into(),
    };
    let length = stream::put_with_data(&mut frame, &login, &[b"sleeper", b""]).expect("room");
    stream.write_all(&frame[..length]).expect("it takes that");
    let request = TailRequest {
        request_id: 1.into(),
        session: 0.into(),
        sequence: 0.into(),
        kind: TailKind::READER,
    };
    let length = stream::put_with_data(&mut frame, &request, &[]).expect("room");
    stream.write_all(&frame[..length]).expect("it takes that");
    stream
}

#[test]
fn a_slow_tail_is_cut_with_its_reason_while_others_go_on() {
    let bed = Bed::new();
    let publisher = bed.publish(&["--generate", "400000", "--rate", "200000", "--linger", "1ms"]);
    publisher.wait_messages(1_000);
    let journal = bed.text("publisher");
    let service = Process::start(&[
        "recover",
        "--journal",
        &journal,
        "--listen",
        "127.0.0.1:0",
        "--slow-timeout",
        "300ms",
    ]);
    let address = service.wait_ready().expect("it says where");
    let mut asleep = sleeper(&address);
    let record = bed.text("followed");
    let follower = tail(&address, &["--from", "start", "--record", &record, "--until-end"]);
    publisher.wait().expect(0);
    follower.wait().expect(0);
    bed.assert_equal(&["followed"], 400_000);
    // 400,000 messages are more than sockets hold: it was cut, and the service says why.
    service.wait_event("that it cut a client for being slow", |event| {
        (event["recovery"]["cut Slow"].as_u64()? >= 1).then_some(())
    });
    let deadline = Instant::now() + PATIENCE;
    let mut bytes = [0; 1 << 16];
    while !matches!(asleep.read(&mut bytes), Ok(0) | Err(_)) {
        assert!(Instant::now() < deadline, "its connection is over");
    }
    service.terminate();
    let done = service.wait().expect(0).summary;
    assert_eq!(done["recovery"]["cut Slow"], 1, "{done:#}");
}

#[test]
fn gaps_are_filled_beside_many_tails() {
    let bed = Bed::new();
    let (service, address) = bed.recover("127.0.0.1:0");
    let listener = bed.listen(
        "listener",
        &["--recovery", &address, "--impair", "loss=3%,both=2%,seed=3"],
    );
    let names: Vec<String> = (0..4).map(|number| format!("tail-{number}")).collect();
    let tails: Vec<Process> = names
        .iter()
        .map(|name| {
            tail(
                &address,
                &["--from", "start", "--record", &bed.text(name), "--until-end"],
            )
        })
        .collect();
    bed.publish(&["--generate", "60000", "--rate", "30000", "--linger", "500ms"])
        .wait()
        .expect(0);
    let listened = listener.wait().expect(0).summary;
    assert!(listened["gaps"]["filled"].as_u64() > Some(0), "{listened:#}");
    for tail in tails {
        tail.wait().expect(0);
    }
    let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
    all.push("listener");
    bed.assert_equal(&all, 60_000);
    service.terminate();
    let done = service.wait().expect(0).summary;
    let open: BTreeSet<&str> = done["tails"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tail| tail["client"].as_str())
        .collect();
    assert!(open.is_empty(), "all have left: {done:#}");
    assert_eq!(done["recovery"]["tails"], 4);
}
