//! Fair release: each message is released so long after it was sent, and what was not is counted and said.

use crate::bed::{Bed, Done, Process, run_plain};
use serde_json::Value;

/// Enough for the clock to be judged while they come.
const SOURCE: [&str; 6] = ["--generate", "12000", "--rate", "3000", "--linger", "2s"];
const MESSAGES: u64 = 12_000;

/// On time, late, early; every message delivered is one of them.
#[track_caller]
fn counters(done: &Done) -> [u64; 3] {
    let fair = &done.summary["fair"];
    let counts = ["on_time", "late", "early"].map(|name| fair[name].as_u64().expect("a count"));
    assert_eq!(counts.iter().sum::<u64>(), done.summary["messages"], "{fair:#}");
    assert_eq!(fair["lateness_ns"]["count"], counts[1]);
    assert_eq!(fair["overshoot_ns"]["count"], counts[0]);
    assert_eq!(fair["held_packets"], 0);
    counts
}

/// The states of the clock that a listener's stream tells of.
fn clock_events(bed: &Bed, listener: &str) -> Vec<String> {
    let journal = bed.text(listener);
    let shown = run_plain(&[
        "decode",
        &journal,
        "--template",
        "ClockEvent",
        "--format",
        "jsonl",
    ])
    .expect(0);
    let event = |line| serde_json::from_str::<Value>(line).expect("JSON");
    let state = |event: Value| event["fields"]["state"].as_str().expect("a name").to_string();
    shown.stdout.lines().map(event).map(state).collect()
}

#[test]
fn with_a_hold_shorter_than_the_way_nearly_all_is_late_and_the_stream_says_so() {
    let bed = Bed::new();
    let (_service, address) = bed.recover("127.0.0.1:0");
    let far = [
        "--recovery",
        &address,
        "--impair",
        "delay=30ms",
        "--fair-hold",
        "1ms",
    ];
    let far = bed.listen("far", &far);
    let plain = bed.listen("plain", &["--recovery", &address]);
    bed.publish(&SOURCE).wait().expect(0);
    let far = far.wait().expect(0);
    let [on_time, late, early] = counters(&far);
    // What recovery brings does not go through the impairer, but takes longer than the hold all the same.
    assert!(on_time + early < late / 100, "{far:#?}");
    assert!(
        far.summary["notices"]["clock_implausible"].as_u64() >= Some(1),
        "{far:#?}"
    );
    assert_eq!(clock_events(&bed, "far")[0], "Ahead");
    assert!(
        far.stderr
            .iter()
            .any(|line| line.contains("the hold is too short")),
        "{far:#?}"
    );
    // A packet may come after the line thread has looked at its clock, so delays are a little less than asked for.
    assert!(far.summary["fair"]["lateness_ns"]["max"].as_u64() >= Some(20_000_000));
    assert!(
        far.summary["fair"]["clock"]["offset_ns"].as_i64() >= Some(20_000_000),
        "{far:#?}"
    );
    let plain = plain.wait().expect(0);
    assert_eq!(plain.summary["fair"], Value::Null);
    assert!(clock_events(&bed, "plain").is_empty());
    bed.assert_equal(&["far", "plain"], MESSAGES);
}

#[test]
fn with_a_long_hold_listeners_behind_different_ways_have_the_publishers_stream() {
    let bed = Bed::new();
    let (_service, address) = bed.recover("127.0.0.1:0");
    let names = ["near", "middle", "far"];
    let listeners = ["0ms", "5ms", "20ms"].map(|delay| format!("loss=2%,both=0.5%,delay={delay},seed=3"));
    let listeners: Vec<Process> = names
        .iter()
        .zip(&listeners)
        .map(|(name, spec)| {
            bed.listen(
                name,
                &["--recovery", &address, "--impair", spec, "--fair-hold", "250ms"],
            )
        })
        .collect();
    bed.publish(&SOURCE).wait().expect(0);
    for listener in listeners {
        let done = listener.wait().expect(0);
        let [on_time, _, early] = counters(&done);
        assert!(on_time > 0 && early == 0, "{done:#?}");
        assert!(
            done.summary["latency_ns"]["p50"].as_u64() >= Some(240_000_000),
            "{done:#?}"
        );
    }
    bed.assert_equal(&names, MESSAGES);
}

#[test]
fn what_a_killed_listener_held_comes_again_and_nothing_is_missing_or_twice() {
    let bed = Bed::new();
    let (_service, address) = bed.recover("127.0.0.1:0");
    let arguments = ["--recovery", &address, "--fair-hold", "400ms"];
    let mut listener = bed.listen("killed", &arguments);
    let publisher = bed.publish(&SOURCE);
    for messages in [1_000, 500, 1_000] {
        listener.wait_event("that it holds messages", |event| {
            let held = event["fair"]["held_packets"].as_u64()?;
            (held > 0 && event["messages"].as_u64()? >= messages).then_some(())
        });
        listener.kill();
        drop(listener);
        listener = bed.listen("killed", &arguments);
    }
    publisher.wait().expect(0);
    counters(&listener.wait().expect(0));
    bed.assert_equal(&["killed"], MESSAGES);
}

#[test]
fn what_the_buffer_does_not_hold_is_released_early_counted_and_warned_of() {
    let bed = Bed::new();
    let (_service, address) = bed.recover("127.0.0.1:0");
    let small = [
        "--recovery",
        &address,
        "--fair-hold",
        "1s",
        "--fair-buffer",
        "64KiB",
    ];
    let listener = bed.listen("small", &small);
    bed.publish(&SOURCE).wait().expect(0);
    let done = listener.wait().expect(0);
    let [_, _, early] = counters(&done);
    assert!(early > MESSAGES / 2, "{done:#?}");
    assert!(
        done.stderr.iter().any(|line| line.contains("--fair-buffer")),
        "{done:#?}"
    );
    bed.assert_equal(&["small"], MESSAGES);
}

#[test]
fn a_state_that_is_told_of_later_still_stands_where_it_stands() {
    let bed = Bed::new();
    let journal = bed.text("publisher");
    let service = [
        "recover",
        "--journal",
        &journal,
        "--listen",
        "127.0.0.1:0",
        "--snapshot-messages",
        "2000",
    ];
    let service = Process::start(&service);
    let address = service.wait_ready().expect("a service says where it listens");
    let publisher = bed.publish(&SOURCE);
    publisher.wait_messages(3_000);
    // A journal of few bytes is to be refreshed often: each time a state is told of, while the one before may be held.
    let joiner = bed.listen(
        "joiner",
        &[
            "--recovery",
            &address,
            "--from",
            "snapshot",
            "--fair-hold",
            "300ms",
            "--keep-bytes",
            "128KiB",
        ],
    );
    publisher.wait().expect(0);
    let done = joiner.wait().expect(0);
    counters(&done);
    let replaced = done.summary["notices"]["state_replaced"]
        .as_u64()
        .expect("a count");
    assert!(replaced >= 2, "{done:#?}");
    // The last one may be asked for when the session is over.
    let trouble = done.summary["last_snapshot_trouble"].as_str().unwrap_or_default();
    let failed = done.summary["snapshots"]["failed"].as_u64().expect("a count");
    assert!(
        failed == 0 || trouble.contains("the session has ended"),
        "{done:#?}"
    );
    let books = |journal: &str| {
        let done = Process::start(&["book", &bed.text(journal)]).wait().expect(0);
        done.summary["channels"][0].clone()
    };
    let (ours, theirs) = (books("joiner"), books("publisher"));
    assert_eq!(
        (&ours["valid"], &ours["checksum"]),
        (&Value::Bool(true), &theirs["checksum"])
    );
}

#[test]
fn a_hold_that_makes_no_sense_is_refused_with_what_does() {
    let bed = Bed::new();
    let listen =
        |more: &[&str]| run_plain(&[&["listen", "--journal", &bed.text("none")], more].concat()).expect(2);
    for (arguments, said) in [
        (&["--fair-hold", "0us"][..], "leave --fair-hold out"),
        (&["--fair-hold", "2s"], "at most 1.00 s"),
        (&["--fair-buffer", "1MiB"], "--fair-hold"),
        (
            &["--fair-hold", "1ms", "--fair-buffer", "1KiB"],
            "at least 64.0 KiB",
        ),
    ] {
        let done = listen(arguments);
        assert!(done.stderr.iter().any(|line| line.contains(said)), "{done:#?}");
    }
}
