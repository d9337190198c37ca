//! The demo, with the real hour of market data, as the documentation shows it.

use crate::bed::{Done, PATIENCE, Process, quiet, real_hour};
use serde_json::Value;
use std::thread;
use std::time::{Duration, Instant};

const IMPAIR: &str = "loss=2%,both=0.5%,dup=1%,reorder=1%,seed=7";

/// Runs the demo of the real hour with so many arguments more, and asserts what goes for every pace.
fn real_demo(more: &[&str]) -> Option<Done> {
    let path = real_hour()?;
    let file = path.to_str().expect("UTF-8");
    let arguments = [
        &["demo", "--from", file, "--impair", IMPAIR, "--listeners", "3"],
        more,
    ]
    .concat();
    let done = Process::start(&arguments).wait().expect(0);
    let summary = &done.summary;
    assert_eq!(summary["equal"], true);
    assert_eq!(summary["source"]["messages"], 92_003);
    let by_type = summary["source"]["by_type"].as_object().expect("counts");
    let expected = [
        ("A", 44_256),
        ("D", 41_004),
        ("E", 4_067),
        ("H", 1),
        ("P", 2_201),
        ("R", 1),
        ("S", 4),
        ("X", 469),
    ];
    assert_eq!(by_type.len(), expected.len());
    for (kind, count) in expected {
        assert_eq!(by_type[kind], count, "{kind}");
    }
    assert_eq!(summary["diff"]["publisher"]["source_messages"], 92_003);
    assert!(summary["kernel_drops"].is_u64());
    let listeners = summary["listeners"].as_array().expect("listeners");
    assert_eq!(listeners.len(), 3);
    for listener in listeners {
        assert!(count(listener, "/gaps/filled") > 0, "{listener:#}");
        assert_eq!(count(listener, "/gaps/lost") + count(listener, "/loss/lost"), 0);
        assert_eq!(count(listener, "/messages"), count(summary, "/messages"));
    }
    Some(done)
}

fn count(value: &Value, pointer: &str) -> u64 {
    value
        .pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("no count at {pointer} in {value:#}"))
}

#[test]
fn ticks_of_many_symbols_reach_parked_listeners_and_what_that_cost_is_told() {
    let _quiet = quiet();
    let ticks = [
        "--ticks",
        "500",
        "--for",
        "2s",
        "--listeners",
        "8",
        "--idle",
        "park:2ms",
        "--impair",
        "none",
    ];
    let done = Process::start(&[&["demo"], &ticks[..]].concat()).wait().expect(0);
    assert_eq!(done.summary["equal"], true);
    assert_eq!(count(&done.summary, "/source/by_type/PriceTick"), 1_000);
    let busy = done.summary["machine_busy"].as_f64().expect("a share");
    assert!((0.0..=1.0).contains(&busy), "{busy}");
    for listener in done.summary["listeners"].as_array().expect("listeners") {
        assert_eq!(count(listener, "/loss/lost") + count(listener, "/gaps/opened"), 0);
        assert!(count(listener, "/usage/cpu_user_ns") + count(listener, "/usage/cpu_system_ns") > 0);
        assert!(count(listener, "/usage/memory_peak") > count(listener, "/usage/memory_anonymous"));
    }
}

#[test]
fn the_real_hour_as_fast_as_possible_arrives_complete() {
    let _quiet = quiet();
    real_demo(&["--pace", "max"]);
}

#[test]
fn the_real_hour_at_a_steady_rate_loses_on_each_line_what_the_impairer_took() {
    let _quiet = quiet();
    let Some(done) = real_demo(&["--rate", "20000"]) else {
        return;
    };
    assert_eq!(done.summary["kernel_drops"], 0, "{:#}", done.summary);
    for listener in done.summary["listeners"].as_array().expect("listeners") {
        for line in ["a", "b"] {
            assert_eq!(
                count(listener, &format!("/lines/{line}/lost")),
                count(listener, &format!("/impairer/{line}/missing")),
                "line {line} of {listener:#}"
            );
        }
        let lost_on_both = lost_on_both(listener);
        let recovered = count(listener, "/delivered/recovery");
        assert!(
            recovered <= 2 * lost_on_both,
            "{recovered} came from recovery, both lines lost {lost_on_both}: {listener:#}"
        );
    }
}

/// Messages that both lines lost: those that the impairer took from both at once, and those that it took from each by
/// chance.
fn lost_on_both(listener: &Value) -> u64 {
    let together = count(listener, "/impairer/a/lost_both/messages");
    let by_chance = |line: &str| {
        count(listener, &format!("/impairer/{line}/missing")) as f64 / count(listener, "/messages") as f64
    };
    together + (by_chance("a") * by_chance("b") * count(listener, "/messages") as f64) as u64
}

/// Processes whose parent this is.
fn children_of(parent: u32) -> Vec<u32> {
    let children =
        std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z')
    })
}

/// A demo that runs for long, with all its children.
fn long_demo(directory: &str) -> (Process, Vec<u32>) {
    let arguments = ["demo", "--for", "10m", "--rate", "1000", "--listeners", "2"];
    let demo = Process::start_with(&arguments, &[("TMPDIR", directory)], true);
    let deadline = Instant::now() + PATIENCE;
    while children_of(demo.id()).len() < 4 {
        assert!(Instant::now() < deadline, "the demo never has all its parts");
        thread::sleep(Duration::from_millis(20));
    }
    let children = children_of(demo.id());
    (demo, children)
}

fn assert_gone(children: &[u32]) {
    let deadline = Instant::now() + PATIENCE;
    while children.iter().any(|&child| runs(child)) {
        assert!(
            Instant::now() < deadline,
            "children of a demo that is over still run"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_demo_that_is_stopped_leaves_no_process_and_no_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let (demo, children) = long_demo(directory.path().to_str().expect("UTF-8"));
    demo.terminate();
    let done = demo.wait().expect(1);
    assert!(
        done.summary["error"]
            .as_str()
            .expect("an error")
            .contains("stopped"),
        "{done:#?}"
    );
    assert_gone(&children);
    assert_eq!(std::fs::read_dir(directory.path()).expect("read").count(), 0);
}

#[test]
fn a_demo_that_is_killed_leaves_no_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut demo, children) = long_demo(directory.path().to_str().expect("UTF-8"));
    demo.kill();
    demo.wait();
    assert_gone(&children);
}

#[test]
fn a_part_that_fails_ends_the_demo_with_its_last_words() {
    let directory = tempfile::tempdir().expect("a directory");
    let (demo, children) = long_demo(directory.path().to_str().expect("UTF-8"));
    let killed = rustix::process::Pid::from_raw(children[2].cast_signed()).expect("a process");
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).expect("it runs");
    let done = demo.wait().expect(4);
    let error = done.summary["error"].as_str().expect("an error");
    assert!(error.contains("failed") && error.contains("signal: 9"), "{error}");
    assert_gone(&children);
}

#[test]
fn two_demos_at_once_do_not_disturb_each_other() {
    let _quiet = quiet();
    let arguments = ["demo", "--for", "1s", "--rate", "3000", "--listeners", "1"];
    let demos = [(); 2].map(|()| Process::start(&arguments));
    for demo in demos {
        let done = demo.wait().expect(0);
        assert_eq!(done.summary["source"]["messages"], 3_000);
        let summary = &done.summary;
        for line in ["a", "b"] {
            let heard = count(summary, &format!("/listeners/0/lines/{line}/packets"));
            let sent = count(summary, &format!("/publisher/lines/{line}/packets"));
            assert!(heard <= sent, "the other demo's packets came too: {summary:#}");
        }
    }
}
