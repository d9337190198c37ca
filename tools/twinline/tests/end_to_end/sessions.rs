//! Sessions that follow each other, listeners that are away meanwhile, and what retention has removed when they are back.

use crate::bed::{Bed, Done, Process, free_tcp};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Publishes a session to its end.
fn session(bed: &Bed, number: u32, messages: u64, more: &[&str]) -> Done {
    publish_session(bed, number, messages, more).wait().expect(0)
}

fn publish_session(bed: &Bed, number: u32, messages: u64, more: &[&str]) -> Process {
    let (number, messages) = (number.to_string(), messages.to_string());
    let own = ["--session", &number, "--generate", &messages];
    let linger = ["--linger", "300ms"];
    let linger: &[&str] = if more.contains(&"--linger") { &[] } else { &linger };
    bed.publish(&[&own[..], linger, more].concat())
}

fn count(done: &Done, object: &str, name: &str) -> u64 {
    let value = &done.summary[object][name];
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{object}.{name}: {done:#?}"))
}

/// The notices of this name in a journal, in order: session and fields.
fn notices(bed: &Bed, journal: &str, name: &str) -> Vec<(u64, Value)> {
    let done = Process::start_with(
        &[
            "decode",
            &bed.text(journal),
            "--template",
            name,
            "--format",
            "jsonl",
        ],
        &[],
        false,
    );
    let done = done.wait().expect(0);
    let lines = done
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .map(|line| {
            (
                line["session"].as_u64().expect("a session"),
                line["fields"].clone(),
            )
        })
        .collect()
}

#[test]
fn a_listener_that_slept_through_sessions_gets_all_of_them_in_order() {
    let bed = Bed::new();
    let (_service, address) = bed.recover("127.0.0.1:0");
    let arguments = ["--recovery", &address];
    let listener = bed.listen("listener", &arguments);
    let first = publish_session(&bed, 1, 20_000, &["--rate", "40000"]);
    listener.wait_messages(2_000);
    drop(listener);
    first.wait().expect(0);
    // Numbers may leave some out, like the days of a weekend.
    session(&bed, 2, 3_000, &[]);
    session(&bed, 5, 3_000, &[]);
    let last = publish_session(&bed, 9, 20_000, &["--rate", "20000"]);
    last.wait_messages(2_000);
    let listener = bed.listen("listener", &arguments);
    last.wait().expect(0);
    let done = listener.wait().expect(0);
    assert_eq!(done.summary["position"]["session"], 9);
    assert_eq!(done.summary["sessions_missed"], 0);
    bed.assert_equal(&["listener"], 46_000);
}

#[test]
fn the_next_session_begins_while_the_old_one_is_still_being_filled() {
    let bed = Bed::new();
    let address = free_tcp();
    let impair = ["--impair", "both=2%,dup=1%,seed=5", "--recovery", &address];
    let listener = bed.listen("listener", &impair);
    session(&bed, 1, 5_000, &["--rate", "50000"]);
    let next = publish_session(&bed, 2, 20_000, &["--rate", "20000"]);
    next.wait_messages(3_000);
    // Only now can what both lines lost of session 1 be had.
    let (_service, _) = bed.recover(&address);
    next.wait().expect(0);
    let done = listener.wait().expect(0);
    assert_eq!(done.summary["position"]["session"], 2);
    assert!(done.summary["ahead"].as_u64() > Some(0), "{done:#?}");
    bed.assert_equal(&["listener"], 25_000);
}

#[test]
fn an_old_session_that_nobody_can_fill_is_lost_by_name_and_the_next_one_begins_at_one() {
    let bed = Bed::new();
    let nobody = free_tcp();
    let lossy = [
        "--impair",
        "both=3%,seed=9",
        "--recovery",
        &nobody,
        "--gap-timeout",
        "2s",
    ];
    let listener = bed.listen("listener", &lossy);
    session(&bed, 1, 5_000, &["--rate", "50000"]);
    session(&bed, 2, 5_000, &["--rate", "10000", "--linger", "4s"]);
    let done = listener.wait().expect(3);
    assert_eq!(done.summary["position"]["session"], 2);
    let (_, found) = bed.diff(&["listener"]);
    let of = &found["listeners"][0];
    assert_eq!(of["extra"]["messages"], 0, "{found:#}");
    assert!(of["missing"]["messages"].as_u64() > Some(0));
    let named: Vec<(u64, u64, u64)> = losses(&bed, "listener");
    for range in of["missing"]["ranges"].as_array().expect("ranges") {
        let (session, begin, end) = range_of(range);
        assert!(
            named
                .iter()
                .any(|&(of, from, to)| of == session && from <= begin && end <= to),
            "{range} is in no notice: {named:?}"
        );
    }
}

/// Session and sequences that a listener's notices call lost.
fn losses(bed: &Bed, journal: &str) -> Vec<(u64, u64, u64)> {
    notices(bed, journal, "Lost")
        .iter()
        .map(|(session, fields)| {
            let number = |name: &str| fields[name].as_u64().expect("a sequence");
            (*session, number("begin"), number("end"))
        })
        .collect()
}

fn range_of(range: &Value) -> (u64, u64, u64) {
    let number = |name: &str| range[name].as_u64().expect("a number");
    (number("session"), number("begin"), number("end"))
}

#[test]
fn a_session_that_follows_by_its_own_word_begins_without_asking_anyone() {
    let bed = Bed::new();
    let nobody = free_tcp();
    // Whoever has to ask goes on after ten minutes, and then names sessions 2 to 6.
    let mut arguments = bed.listen_arguments("listener", &["--recovery", &nobody, "--gap-timeout", "10m"]);
    arguments.retain(|argument| argument != "--until-end");
    let listener = Process::start(&arguments);
    listener.wait_ready();
    session(&bed, 1, 1_000, &[]);
    session(&bed, 7, 1_000, &[]);
    listener.wait_event("that session 7 is complete", |event| {
        let position = &event["position"];
        (position["session"] == 7 && position["ended"] == true).then_some(())
    });
    listener.terminate();
    let done = listener.wait().expect(0);
    assert_eq!(count(&done, "notices", "sessions_missed"), 0);
    bed.assert_equal(&["listener"], 2_000);
}

#[test]
fn with_the_publisher_and_recovery_gone_a_listener_gives_up_by_name() {
    let bed = Bed::new();
    let nobody = free_tcp();
    let lossy = [
        "--impair",
        "both=10%,seed=4",
        "--recovery",
        &nobody,
        "--gap-timeout",
        "500ms",
    ];
    let listener = bed.listen("listener", &lossy);
    // The end is heard of while gaps are open; when they are given up nobody says it again.
    session(&bed, 1, 3_000, &["--rate", "30000"]);
    let done = listener.wait().expect(3);
    assert_eq!(done.summary["position"]["ended"], true);
    let (_, found) = bed.diff(&["listener"]);
    let of = &found["listeners"][0];
    assert_eq!(of["missing"]["messages"], of["lost_announced"], "{found:#}");
}

/// Journal files in a directory.
fn segments(dir: &Path) -> usize {
    let names = fs::read_dir(dir).expect("a journal").flatten();
    names
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "seg"))
        .count()
}

/// Sessions of a journal, with the oldest sequence of each.
fn held(bed: &Bed, journal: &str) -> Vec<(u64, u64)> {
    let done = Process::start(&["journal", "info", &bed.text(journal)])
        .wait()
        .expect(0);
    let sessions = done.summary["journal"]["sessions"]
        .as_array()
        .expect("sessions")
        .clone();
    let number = |of: &Value, name: &str| of[name].as_u64().expect("a number");
    sessions
        .iter()
        .map(|of| (number(of, "session"), number(of, "oldest")))
        .collect()
}

#[test]
fn what_retention_has_removed_is_named_and_the_listener_goes_on() {
    let bed = Bed::new();
    let (_service, address) = bed.recover("127.0.0.1:0");
    let arguments = ["--recovery", &address];
    let small = ["--keep-segments", "2"];
    // One that is always there says what there was.
    let full = Process::start(&bed.listen_arguments("full", &arguments)[..]);
    full.wait_ready();
    let away = bed.listen("away", &arguments);
    let first = publish_session(&bed, 1, 60_000, &[&small[..], &["--rate", "60000"]].concat());
    away.wait_messages(1_000);
    drop(away);
    first.wait().expect(0);
    full.wait().expect(0);
    assert!(held(&bed, "publisher")[0].1 > 1, "retention removed something");
    let mut full = Vec::new();
    for number in [2, 3, 6] {
        full.push(bed.listen("full", &arguments));
        let rate = if number == 6 { "60000" } else { "40000" };
        let publisher = publish_session(&bed, number, 40_000, &[&small[..], &["--rate", rate]].concat());
        let listener = if number == 6 {
            publisher.wait_messages(25_000);
            Some(bed.listen("away", &arguments))
        } else {
            None
        };
        publisher.wait().expect(0);
        if let Some(listener) = listener {
            let done = listener.wait().expect(3);
            assert_eq!(done.summary["position"]["session"], 6);
            assert_eq!(done.summary["position"]["ended"], true);
        }
        full.pop().expect("just started").wait();
    }
    let missed = notices(&bed, "away", "SessionsMissed");
    let lost = losses(&bed, "away");
    let done = Process::start(&["diff", &bed.text("full"), &bed.text("away")])
        .wait()
        .expect(5);
    let of = &done.summary["listeners"][0];
    for what in ["extra", "different"] {
        assert_eq!(of[what]["messages"], 0, "{:#}", done.summary);
    }
    assert_eq!(of["disorder"], 0);
    for range in of["missing"]["ranges"].as_array().expect("ranges") {
        let (session, begin, end) = range_of(range);
        let by_sequence = lost
            .iter()
            .any(|&(of, from, to)| of == session && from <= begin && end <= to);
        let as_a_whole = missed.iter().any(|(_, fields)| {
            let number = |name: &str| fields[name].as_u64().expect("a session");
            (number("begin")..number("end")).contains(&session)
        });
        assert!(by_sequence || as_a_whole, "{range}: {lost:?} {missed:?}");
    }
    assert!(!missed.is_empty() && !lost.is_empty(), "{lost:?} {missed:?}");
    assert!(missed.iter().all(|(_, fields)| fields["reason"] == "TooOld"));
    assert_eq!(
        Process::start(&["journal", "verify", &bed.text("publisher")])
            .wait()
            .code(),
        0
    );
}

#[test]
fn publisher_and_listener_keep_what_their_flags_or_the_configuration_say() {
    let bed = Bed::new();
    let config = bed.text("twinline.toml");
    fs::write(
        &config,
        "[publish]\nkeep-bytes = \"3MiB\"\n[listen]\nkeep-segments = 2\n",
    )
    .expect("a file");
    let (_service, address) = bed.recover("127.0.0.1:0");
    let by_config = bed.listen("by-config", &["--recovery", &address, "--config", &config]);
    let by_age = bed.listen("by-age", &["--recovery", &address, "--keep-age", "1ms"]);
    // A time is a promise: nothing goes that is younger, however few files are asked for.
    let promised = ["--recovery", &address, "--keep-age", "1h", "--keep-segments", "2"];
    let promised = bed.listen("promised", &promised);
    session(&bed, 1, 120_000, &["--rate", "120000", "--config", &config]);
    for listener in [by_config, by_age, promised] {
        listener.wait().expect(0);
    }
    // Two files may be made ahead.
    let files = |name: &str| segments(&bed.path(name));
    assert!((3..=5).contains(&files("publisher")), "{}", files("publisher"));
    assert!((2..=4).contains(&files("by-config")), "{}", files("by-config"));
    assert!(files("by-age") <= 5, "{}", files("by-age"));
    assert!(files("promised") > 6, "{}", files("promised"));
    assert_eq!(held(&bed, "promised"), [(1, 1)]);
    for moved in ["publisher", "by-config", "by-age"] {
        assert!(held(&bed, moved)[0].1 > 1, "{moved}: {:?}", held(&bed, moved));
    }
}

#[test]
fn sequences_cross_two_to_the_thirty_second() {
    let bed = Bed::new();
    let (_service, address) = bed.recover("127.0.0.1:0");
    let lossy = [
        "--recovery",
        &address,
        "--impair",
        "loss=2%,both=1%,dup=1%,reorder=1%,seed=6",
    ];
    let listener = bed.listen("listener", &lossy);
    let source = ["--generate", "20000", "--rate", "20000"];
    let publisher = bed.publish(&source);
    publisher.wait_messages(3_000);
    drop(publisher);
    // As after a power cut of a publisher that had reserved sequences up to just below the border.
    let border = 1_u64 << 32;
    let store = bed.path("publisher.epochs");
    let mut record: Value = serde_json::from_slice(&fs::read(&store).expect("a store")).expect("JSON");
    change(&mut record, "reserved_end", &(border - 5_000).into());
    change(&mut record, "boot", &"an earlier one".into());
    fs::write(&store, record.to_string()).expect("a store");
    let publisher = bed.publish(&source).wait().expect(0);
    let next = publisher.summary["position"]["next"]
        .as_u64()
        .expect("a sequence");
    assert!(next > border + 5_000, "{next}");
    let done = listener.wait().expect(0);
    assert_eq!(done.summary["position"]["next"], next);
    assert!(count(&done, "gaps", "filled") > 0);
    for line in ["a", "b"] {
        let lost = done.summary["lines"][line]["lost"].as_u64().expect("a count");
        assert!(lost < 20_000, "a hole in the numbers is no loss: {done:#?}");
    }
    bed.assert_equal(&["listener"], 20_000);
    // Any part on either side, and over the border.
    for (begin, end) in [(border - 40, border + 40), (border + 3, border + 4)] {
        let part = format!("{begin}..{end}");
        for origin in [["--journal", &bed.text("listener")], ["--recovery", &address]] {
            let arguments = [&["replay", "--sequence", &part, "--format", "jsonl"], &origin[..]].concat();
            let done = Process::start_with(&arguments, &[], false).wait().expect(0);
            let sequences = done
                .stdout
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["sequence"].as_u64());
            let sequences: Vec<u64> = sequences.filter(|at| (begin..end).contains(at)).collect();
            assert_eq!(sequences, (begin..end).collect::<Vec<_>>(), "{origin:?}");
        }
    }
    for journal in ["publisher", "listener"] {
        Process::start(&["journal", "verify", &bed.text(journal)])
            .wait()
            .expect(0);
        Process::start(&["decode", "--stats", &bed.text(journal)])
            .wait()
            .expect(0);
    }
}

/// Sets every member of this name, at whatever depth.
fn change(json: &mut Value, name: &str, value: &Value) {
    match json {
        Value::Object(members) => {
            for (key, member) in members {
                if key == name {
                    *member = value.clone();
                } else {
                    change(member, name, value);
                }
            }
        }
        Value::Array(members) => members.iter_mut().for_each(|member| change(member, name, value)),
        _ => {}
    }
}
