//! `replay`: parts of the stream again, from a journal and from a recovery service, shown, recorded, captured and sent.

use crate::bed::{Bed, Process, free_tcp, run_plain};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

/// A published session of so many made-up messages, several packets to the millisecond.
fn published(messages: &str) -> Bed {
    let bed = Bed::new();
    let source = ["--generate", messages, "--linger", "1ms"];
    bed.publish(&source).wait().expect(0);
    bed
}

fn replay(arguments: &[&str]) -> crate::bed::Done {
    let all: Vec<&str> = [&["replay"], arguments].concat();
    Process::start(&all).wait()
}

/// The next sequence of a bed's publisher.
fn next(bed: &Bed) -> u64 {
    let done = run_plain(&["journal", "info", &bed.text("publisher"), "--json"]).expect(0);
    let info: Value = serde_json::from_str(&done.stdout).expect("JSON");
    info["journal"]["sessions"][0]["next"]
        .as_u64()
        .expect("a session")
}

#[test]
fn a_range_from_a_journal_and_from_a_recovery_service_is_the_same_bytes() {
    let bed = published("30000");
    let (_service, address) = bed.recover("127.0.0.1:0");
    let publisher = bed.text("publisher");
    for (number, range) in ["1..2", "100..101", "777..5003", "20000..", "1.."]
        .iter()
        .enumerate()
    {
        let [one, other] = ["journal", "recovery"].map(|from| bed.text(&format!("{from}-{number}.pcapng")));
        let had = replay(&["--journal", &publisher, "--sequence", range, "--pcapng", &one]).expect(0);
        let asked = replay(&["--recovery", &address, "--sequence", range, "--pcapng", &other]).expect(0);
        assert_eq!(had.summary["messages"], asked.summary["messages"]);
        assert_eq!(
            fs::read(one).expect("written"),
            fs::read(other).expect("written"),
            "{range}"
        );
    }
}

#[test]
fn exactly_the_messages_asked_for_are_shown() {
    let bed = published("5000");
    let publisher = bed.text("publisher");
    let ranges = [
        "--sequence",
        "10..13",
        "--sequence",
        "12..15",
        "--sequence",
        "4000..4001",
    ];
    let done = run_plain(&[&["replay", "--journal", &publisher], &ranges[..]].concat()).expect(0);
    let sequences: Vec<u64> = done
        .stdout
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["sequence"]
                .as_u64()
                .expect("a number")
        })
        .collect();
    assert_eq!(sequences, [10, 11, 12, 13, 14, 4000]);
}

#[test]
fn what_is_recorded_is_a_journal_of_that_part() {
    let bed = published("20000");
    let (publisher, part) = (bed.text("publisher"), bed.text("part"));
    let ranges = ["--sequence", "500..900", "--sequence", "3000..3500"];
    replay(&[&["--journal", &publisher, "--record", &part], &ranges[..]].concat()).expect(0);
    let verified = run_plain(&["journal", "verify", &part]).expect(0);
    assert!(verified.stdout.contains("no break") || verified.code() == 0);
    // Everything that it holds is in the publisher's, and what it has not lies outside of what was asked for.
    let found = Process::start(&["diff", &publisher, &part])
        .wait()
        .expect(5)
        .summary;
    let found = &found["listeners"][0];
    assert_eq!(
        (&found["extra"]["messages"], &found["different"]["messages"]),
        (&json!(0), &json!(0))
    );
    // The first difference is told decoded: the publisher has it, the part has not.
    assert!(found["first"]["publisher"]["fields"].is_object(), "{found}");
    assert!(found["first"]["listener"].is_null(), "{found}");
    for range in found["missing"]["ranges"].as_array().expect("a list") {
        let (begin, end) = (
            range["begin"].as_u64().expect("it"),
            range["end"].as_u64().expect("it"),
        );
        assert!(
            end <= 500 || begin >= 900 && end <= 3000 || begin >= 3500,
            "{range}"
        );
    }
    let again = replay(&["--journal", &publisher, "--record", &part]).expect(1);
    assert!(
        again.summary["error"]
            .as_str()
            .expect("it says why")
            .contains("is not empty")
    );
}

#[test]
fn a_time_range_holds_what_was_sent_within_it() {
    let bed = published("20000");
    let publisher = bed.text("publisher");
    let (_service, address) = bed.recover("127.0.0.1:0");
    let all = run_plain(&["decode", &publisher, "--format", "jsonl"]).expect(0);
    let all: Vec<(u64, u64)> = all
        .stdout
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).expect("JSON");
            (
                row["sequence"].as_u64().expect("it"),
                row["sending_time"].as_u64().expect("it"),
            )
        })
        .collect();
    let (from, to) = (all[all.len() / 3].1, all[all.len() / 2].1);
    let expected: Vec<u64> = all
        .iter()
        .filter(|(_, time)| (from..to).contains(time))
        .map(|(sequence, _)| *sequence)
        .collect();
    assert!(!expected.is_empty());
    let time = format!("{from}..{to}");
    for origin in [["--journal", &publisher], ["--recovery", &address]] {
        let done = run_plain(&[&["replay", "--time", &time], &origin[..]].concat()).expect(0);
        let sequences: Vec<u64> = done
            .stdout
            .lines()
            .map(|line| {
                serde_json::from_str::<Value>(line).expect("JSON")["sequence"]
                    .as_u64()
                    .expect("it")
            })
            .collect();
        assert_eq!(sequences, expected);
    }
}

#[test]
fn what_cannot_be_had_is_listed_with_the_reason() {
    let bed = Bed::new();
    // Killed: its session is open.
    let mut publisher = bed.publish(&["--generate", "3000", "--linger", "60s", "--rate", "1000"]);
    publisher.wait_messages(500);
    publisher.kill();
    drop(publisher);
    let publisher = bed.text("publisher");
    let (_service, address) = bed.recover("127.0.0.1:0");
    let end = next(&bed);
    let beyond = format!("{}..{}", end - 5, end + 7);
    for origin in [["--journal", &publisher], ["--recovery", &address]] {
        let done = replay(&[&["--sequence", &beyond], &origin[..]].concat()).expect(3);
        assert_eq!(done.summary["messages"], 5);
        let missing = &done.summary["missing"];
        assert_eq!(
            (&missing[0]["begin"], &missing[0]["end"]),
            (&json!(end), &json!(end + 7)),
            "{missing}"
        );
        assert_eq!(missing.as_array().map(Vec::len), Some(1), "{missing}");
        let reason = missing[0]["reason"].as_str().expect("a reason").to_lowercase();
        assert!(
            reason.contains("publishedyet")
                || reason.contains("published yet")
                || reason.contains("yetpublished"),
            "{reason}"
        );
    }
    // A complete session says for sure that nothing comes behind its end.
    bed.publish(&["--generate", "3000", "--linger", "1ms"])
        .wait()
        .expect(0);
    let end = next(&bed);
    let beyond = format!("{}..{}", end - 5, end + 70_000);
    let far_beyond = format!("{}..{}", end + 100_000, end + 100_007);
    let asked = [&beyond, &far_beyond]
        .map(|range| [["--journal", &publisher], ["--recovery", &address]].map(|origin| (range, origin)));
    for (range, origin) in asked.into_iter().flatten() {
        let done = replay(&[&["--sequence", range], &origin[..]].concat()).expect(0);
        assert_eq!(done.summary["missing"][0]["void"], true);
        assert_eq!(
            done.summary["missing"].as_array().map(Vec::len),
            Some(1),
            "{}",
            done.summary
        );
    }
    let done = replay(&["--recovery", &address, "--session", "9", "--sequence", "1..4"]).expect(3);
    assert!(
        done.summary["missing"][0]["reason"]
            .as_str()
            .expect("a reason")
            .contains("UnknownSession")
    );
    let done = replay(&["--journal", &publisher, "--session", "9", "--sequence", "1..4"]).expect(3);
    assert_eq!(done.summary["missing"][0]["end"], 4);
}

#[test]
fn the_gaps_of_a_listener_without_recovery_are_got_from_its_notices_and_from_diff() {
    let bed = Bed::new();
    let listening = [
        "--impair",
        "loss=5%,both=3%,seed=3",
        "--gap-timeout",
        "50ms",
        "--print",
    ];
    let listener = bed.listen("listener", &listening);
    bed.publish(&["--generate", "20000", "--rate", "40000", "--linger", "500ms"])
        .wait()
        .expect(0);
    let heard = listener.wait().expect(3);
    let lost = heard.summary["loss"]["lost"].as_u64().expect("a loss");
    assert!(lost > 0);
    // All that it printed, the figures at the end too.
    let notices = bed.text("printed");
    fs::write(&notices, &heard.stdout).expect("written");
    let publisher = bed.text("publisher");
    let done = replay(&[
        "--journal",
        &publisher,
        "--gaps",
        &notices,
        "--pcapng",
        &bed.text("gaps.pcapng"),
    ])
    .expect(0);
    assert_eq!(done.summary["messages"], lost);
    // The same from what diff says of the two journals.
    let compared = run_plain(&["diff", &publisher, &bed.text("listener")]).expect(5);
    let line = compared
        .stdout
        .lines()
        .find_map(|line| line.trim().strip_prefix("missing "));
    let (_, ranges) = line
        .and_then(|line| line.split_once(": "))
        .expect("missing ranges");
    fs::write(bed.path("ranges"), ranges).expect("written");
    let done = replay(&[
        "--journal",
        &publisher,
        "--gaps",
        &bed.text("ranges"),
        "--pcapng",
        &bed.text("more.pcapng"),
    ])
    .expect(0);
    assert_eq!(done.summary["messages"], lost);
}

#[test]
fn larger_packets_than_the_usual_are_recorded_once_they_are_said_to_be_so_large() {
    let bed = Bed::new();
    bed.publish(&["--generate", "2000", "--packet-size", "8896", "--linger", "1ms"])
        .wait()
        .expect(0);
    let (publisher, part) = (bed.text("publisher"), bed.text("part"));
    let done = replay(&["--journal", &publisher, "--record", &part]).expect(1);
    let error = done.summary["error"].as_str().expect("it says why");
    assert!(error.contains("--packet-size 8896"), "{error}");
    fs::remove_dir_all(&part).expect("it is there");
    replay(&[
        "--journal",
        &publisher,
        "--record",
        &part,
        "--packet-size",
        "8896",
    ])
    .expect(0);
    run_plain(&["diff", &publisher, &part]).expect(0);
}

#[test]
fn what_a_listener_prints_for_people_is_a_list_of_gaps_as_it_is() {
    let bed = Bed::new();
    let more = [
        "--impair",
        "both=3%,seed=3",
        "--gap-timeout",
        "50ms",
        "--print",
        "--progress",
        "json",
    ];
    let listener = Process::start_with(&bed.listen_arguments("listener", &more), &[], false);
    listener.wait_ready();
    bed.publish(&["--generate", "5000", "--rate", "40000", "--linger", "500ms"])
        .wait()
        .expect(0);
    let heard = listener.wait().expect(3);
    for line in heard.stdout.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("an object a line");
    }
    let said = heard.stderr.join("\n");
    assert!(said.contains("listen: loss or void announced"), "{said}");
    let notices = bed.text("printed");
    fs::write(&notices, &heard.stdout).expect("written");
    let publisher = bed.text("publisher");
    let done = replay(&[
        "--journal",
        &publisher,
        "--gaps",
        &notices,
        "--pcapng",
        &bed.text("out"),
    ])
    .expect(0);
    assert!(done.summary["messages"].as_u64() > Some(0), "{done:?}");
}

#[test]
fn a_listener_takes_what_is_sent_onto_lines() {
    let bed = published("20000");
    let publisher = bed.text("publisher");
    let [a, b] = bed.lines.clone();
    let listener = bed.listen("listener", &[]);
    let lines = ["--line-a", &a, "--line-b", &b];
    let done = replay(
        &[
            &["--journal", &publisher, "--send", "--rate", "100000"],
            &lines[..],
        ]
        .concat(),
    )
    .expect(0);
    assert_eq!(done.summary["missing"], json!([]));
    listener.wait().expect(0);
    bed.assert_equal(&["listener"], 20_000);
}

#[test]
fn an_open_gap_of_a_listener_is_closed_by_what_is_sent() {
    let bed = published("2000");
    let publisher = bed.text("publisher");
    let [a, b] = bed.lines.clone();
    let lines = ["--line-a", &a, "--line-b", &b];
    let send = |range: &str| {
        let send = [
            "--journal",
            &publisher,
            "--send",
            "--pace",
            "max",
            "--sequence",
            range,
        ];
        replay(&[&send[..], &lines].concat()).expect(0);
    };
    // A listener with nobody to wait for would give the gap up at once.
    let nobody = free_tcp();
    let listener = bed.listen("listener", &["--gap-timeout", "60s", "--recovery", &nobody]);
    send("1..1000");
    send("1500..1900");
    send("900..1600");
    send("1900..");
    listener.wait().expect(0);
    bed.assert_equal(&["listener"], 2_000);
}

#[test]
fn bad_input_is_named() {
    let bed = published("100");
    let publisher = bed.text("publisher");
    let nobody = free_tcp();
    let gaps = bed.text("gaps");
    fs::write(&gaps, "1..5\n7\n").expect("written");
    let several = bed.text("several");
    fs::create_dir_all(bed.path("several/channel-4")).expect("made");
    for (arguments, code, named) in [
        (
            vec!["--recovery", &nobody, "--patience", "300ms"],
            4,
            "cannot be reached",
        ),
        (vec!["--journal", "/nowhere/at/all"], 1, "/nowhere/at/all"),
        (
            vec!["--journal", &publisher, "--gaps", &gaps],
            2,
            "line 2 of the list of gaps",
        ),
        (
            vec!["--journal", &publisher, "--session", "7"],
            1,
            "nothing of session 7",
        ),
        (vec!["--journal", &several], 2, "several/channel-4"),
    ] {
        let done = replay(&arguments).expect(code);
        assert!(
            done.summary["error"]
                .as_str()
                .expect("it says why")
                .contains(named),
            "{done:?}"
        );
    }
    let done = run_plain(&["replay", "--journal", &publisher, "--sequence", "9..5"]).expect(2);
    assert!(
        done.stderr.join(" ").contains("not a range of sequences"),
        "{done:?}"
    );
}

#[test]
fn a_leap_of_an_epoch_is_void_and_what_stands_behind_it_is_had() {
    let bed = Bed::new();
    // A power cut takes more than the journal's end: what is left is a copy of some moments before.
    let source = ["--generate", "4000", "--rate", "2000", "--linger", "1ms"];
    let publisher = bed.publish(&source);
    publisher.wait_messages(1_000);
    publisher.terminate();
    publisher.wait().expect(0);
    let copied = Command::new("cp")
        .args(["-r", &bed.text("publisher"), &bed.text("copy")])
        .status();
    assert!(copied.expect("cp").success());
    let mut publisher = bed.publish(&source);
    publisher.wait_messages(1_000);
    publisher.kill();
    drop(publisher);
    fs::remove_dir_all(bed.path("publisher")).expect("it was there");
    fs::rename(bed.path("copy"), bed.path("publisher")).expect("it was copied");
    bed.publish(&source).wait().expect(0);
    let publisher = bed.text("publisher");
    let (_service, address) = bed.recover("127.0.0.1:0");
    let [one, other] = ["journal", "recovery"].map(|from| bed.text(&format!("{from}.pcapng")));
    let had = replay(&["--journal", &publisher, "--sequence", "1..", "--pcapng", &one])
        .expect(0)
        .summary;
    let asked = replay(&["--recovery", &address, "--sequence", "1..", "--pcapng", &other])
        .expect(0)
        .summary;
    assert_eq!(had["missing"].as_array().map(Vec::len), Some(1), "{had}");
    assert!(had["missing"][0]["end"].as_u64() > Some(1 << 20), "{had}");
    assert_eq!(had["missing"], asked["missing"]);
    assert_eq!(had["messages"], asked["messages"]);
    assert_eq!(fs::read(one).expect("written"), fs::read(other).expect("written"));
}
