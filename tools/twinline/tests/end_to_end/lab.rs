//! The lab: each scenario with three servers, and that it leaves nothing behind whatever ends it. Needs root.

use crate::bed::{Done, PATIENCE, Process, namespaces_are_possible, quiet};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SERVERS: usize = 3;

/// Runs a scenario for three seconds; `None` where there can be no namespaces. All that it expects must have come.
fn scenario(name: &str, more: &[&str]) -> Option<Done> {
    if !namespaces_are_possible() {
        return None;
    }
    let _quiet = quiet();
    let arguments = [&["lab", name, "--messages", "6000", "--rate", "2000"], more].concat();
    let done = Process::start(&arguments).wait().expect(0);
    let summary = &done.summary;
    assert_eq!(summary["equal"], true, "{summary:#}");
    assert_eq!(summary["diff"]["publisher"]["source_messages"], 6_000);
    for check in summary["checks"].as_array().expect("checks") {
        assert_eq!(check["holds"], true, "{check:#}");
    }
    assert_eq!(summary["servers"].as_array().expect("servers").len(), SERVERS);
    Some(done)
}

/// A count in the last run of each server's listener.
fn each_server<'a>(done: &'a Done, pointer: &'a str) -> impl Iterator<Item = u64> + 'a {
    let servers = done.summary["servers"].as_array().expect("servers");
    servers.iter().map(move |runs| {
        let last = runs.as_array().and_then(|runs| runs.last()).expect("a run");
        count(last, pointer)
    })
}

fn count(value: &Value, pointer: &str) -> u64 {
    let found = value.pointer(pointer).and_then(Value::as_u64);
    found.unwrap_or_else(|| panic!("no count at {pointer} in {value:#}"))
}

#[test]
fn packets_that_are_lost_or_late_on_each_line_leave_every_stream_whole() {
    let Some(done) = scenario("steady", &["--loss", "2%", "--late", "2%", "--io", "socket"]) else {
        return;
    };
    for pointer in ["/lines/a/lost", "/lines/b/lost", "/lines/a/late", "/lines/b/late"] {
        assert!(each_server(&done, pointer).all(|count| count > 0), "{pointer}");
    }
    let spread = &done.summary["spread"];
    let published = count(&done.summary, "/messages");
    let measured = count(spread, "/first_to_last_ns/count");
    assert!(
        measured + count(spread, "/not_measured") <= published && measured > published / 2,
        "{spread:#}"
    );
    let [p50, max] = ["p50", "max"].map(|name| count(&spread["first_to_last_ns"], &format!("/{name}")));
    assert!(0 < p50 && p50 <= max, "{spread:#}");
}

#[test]
fn when_line_a_dies_every_server_has_the_rest_from_line_b() {
    let Some(done) = scenario("line-a-dies", &[]) else {
        return;
    };
    let published = count(&done.summary, "/messages");
    assert!(each_server(&done, "/lines/a/received").all(|count| 0 < count && count < published * 9 / 10));
    assert!(each_server(&done, "/lines/b/received").all(|count| count == published));
    assert!(each_server(&done, "/notices/line_stalled").all(|count| count > 0));
}

#[test]
fn what_both_lines_lose_in_bursts_comes_from_recovery() {
    let Some(done) = scenario("burst-loss", &[]) else {
        return;
    };
    assert!(each_server(&done, "/delivered/recovery").all(|count| count > 0));
    assert!(count(&done.summary, "/network_dropped/0") > 0 && count(&done.summary, "/network_dropped/1") > 0);
}

#[test]
fn gaps_wait_for_a_recovery_service_that_was_killed() {
    let Some(done) = scenario("recovery-dies", &[]) else {
        return;
    };
    assert!(each_server(&done, "/recovery/failures").all(|count| count > 0));
    assert!(each_server(&done, "/gaps/filled").all(|count| count >= 3));
    let services = done.summary["recovery_service"].as_array().expect("its runs");
    assert_eq!(services.len(), 2);
    assert!(count(&services[1], "/recovery/requests") > 0);
}

#[test]
fn a_server_with_narrow_links_catches_up_and_holds_up_nobody() {
    let Some(done) = scenario("slow-server", &[]) else {
        return;
    };
    let recovered: Vec<u64> = each_server(&done, "/delivered/recovery").collect();
    assert!(recovered[0] > 0);
    let lost: Vec<u64> = each_server(&done, "/lines/a/lost").collect();
    assert!(lost[1..].iter().all(|other| *other <= lost[0] / 10), "{lost:?}");
}

#[test]
fn junk_on_both_lines_is_counted_and_dropped() {
    let Some(done) = scenario("flood", &[]) else {
        return;
    };
    assert!(count(&done.summary, "/junk") > 1_000);
    for server in done.summary["servers"].as_array().expect("servers") {
        let dropped = server[0]["lines"]["a"]["dropped"].as_object().expect("reasons");
        assert!(dropped.len() >= 2, "noise, and what looks like ours: {dropped:?}");
    }
}

#[test]
fn servers_restarted_one_after_the_other_go_on_where_they_stopped() {
    let Some(done) = scenario("rolling-restart", &[]) else {
        return;
    };
    for (index, runs) in done.summary["servers"]
        .as_array()
        .expect("servers")
        .iter()
        .enumerate()
    {
        let [first, second] = [&runs[0], &runs[1]];
        assert!(second["position"]["ended"] == true && second["messages"].as_u64() > Some(0));
        // Every second one is killed, and says nothing at its end.
        assert_eq!(first["exit_code"].is_null(), index % 2 == 1, "{first:#}");
    }
}

#[test]
fn journals_that_are_to_stay_are_where_the_summary_says() {
    if !namespaces_are_possible() {
        return;
    }
    let _quiet = quiet();
    let temporary = tempfile::tempdir().expect("a directory");
    let environment = [("TMPDIR", temporary.path().to_str().expect("UTF-8"))];
    let arguments = ["lab", "--messages", "500", "--servers", "1", "--keep"];
    let done = Process::start_with(&arguments, &environment, true)
        .wait()
        .expect(0);
    let journals = Path::new(done.summary["journals"].as_str().expect("a path"));
    assert!(journals.starts_with(temporary.path()));
    assert!(journals.join("publisher").is_dir() && journals.join("server-1").is_dir());
}

#[test]
fn a_run_longer_than_a_day_is_refused() {
    let arguments = ["lab", "--messages", "18446744073709551615", "--rate", "1"];
    let done = Process::start(&arguments).wait().expect(2);
    let error = done.summary["error"].as_str().expect("an error");
    assert!(error.contains("take more than 24 hours"), "{error}");
}

#[test]
fn a_run_too_short_for_its_scenario_is_refused() {
    let arguments = ["lab", "line-a-dies", "--messages", "1000", "--rate", "1000"];
    let done = Process::start(&arguments).wait().expect(2);
    let error = done.summary["error"].as_str().expect("an error");
    assert!(
        error.contains("1000 messages at 1000 a second take 1.00 s"),
        "{error}"
    );
}

#[test]
fn every_scenario_is_listed_with_what_it_does_and_what_is_expected() {
    let done = Process::start(&["lab", "--list"]).wait().expect(0);
    let scenarios = done.summary["scenarios"].as_array().expect("scenarios");
    let names: Vec<&str> = scenarios.iter().filter_map(|of| of["name"].as_str()).collect();
    assert_eq!(
        names,
        [
            "steady",
            "line-a-dies",
            "burst-loss",
            "recovery-dies",
            "slow-server",
            "flood",
            "rolling-restart"
        ]
    );
    let told = |of: &Value| of["does"].is_string() && of["expects"].is_string();
    assert!(scenarios.iter().all(told));
}

/// A running lab, and all that it has made.
struct Running {
    process: Process,
    temporary: TempDir,
    children: Vec<u32>,
    rings: PathBuf,
}

impl Running {
    /// One that publishes.
    fn start() -> Self {
        let temporary = tempfile::tempdir().expect("a directory");
        let environment = [("TMPDIR", temporary.path().to_str().expect("UTF-8"))];
        let arguments = ["lab", "--messages", "100000", "--rate", "1000"];
        let process = Process::start_with(&arguments, &environment, true);
        process.wait_messages(500);
        let children = children(process.id());
        let rings = children
            .iter()
            .find_map(|child| ring(*child))
            .expect("a listener has a ring");
        let running = Self {
            process,
            temporary,
            children,
            rings,
        };
        // Publisher, recovery service, three listeners, and what waits for the lab's end.
        assert_eq!(running.children.len(), 6);
        assert_eq!(running.namespaces(), 7);
        assert!(running.rings.exists() && running.journals() == 1);
        running
    }

    fn namespaces(&self) -> usize {
        let prefix = format!("twinline-{}-", self.process.id());
        names("/run/netns")
            .filter(|name| name.starts_with(&prefix))
            .count()
    }

    fn journals(&self) -> usize {
        names(self.temporary.path()).count()
    }

    /// Asserts that nothing of it is left, soon.
    fn assert_gone(&self) {
        let deadline = Instant::now() + PATIENCE;
        let is_gone = || {
            self.namespaces() == 0
                && self.journals() == 0
                && !self.rings.exists()
                && self.children.iter().all(|child| !is_running(*child))
        };
        while !is_gone() {
            assert!(
                Instant::now() < deadline,
                "left: {} namespaces, {} journals, rings {}, processes {:?}",
                self.namespaces(),
                self.journals(),
                self.rings.exists(),
                self.children.iter().filter(|child| is_running(**child))
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn names(dir: impl AsRef<Path>) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// The processes that one has started and that run.
fn children(parent: u32) -> Vec<u32> {
    let processes = names("/proc").filter_map(|name| name.parse().ok());
    processes
        .filter(|process| status(*process, "PPid:") == Some(parent.to_string()))
        .collect()
}

fn is_running(process: u32) -> bool {
    status(process, "State:").is_some_and(|state| !state.starts_with('Z'))
}

fn status(process: u32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().into())
}

/// The directory of all rings, by the arguments of a listener.
fn ring(process: u32) -> Option<PathBuf> {
    let arguments = fs::read_to_string(format!("/proc/{process}/cmdline")).ok()?;
    let ring = arguments
        .split('\0')
        .skip_while(|argument| *argument != "--ring")
        .nth(1)?;
    Some(Path::new(ring).parent()?.to_owned())
}

#[test]
fn a_lab_killed_with_9_leaves_nothing() {
    if !namespaces_are_possible() {
        return;
    }
    let _quiet = quiet();
    let mut running = Running::start();
    running.process.kill();
    running.assert_gone();
}

#[test]
fn a_lab_that_is_interrupted_says_so_and_leaves_nothing() {
    if !namespaces_are_possible() {
        return;
    }
    let _quiet = quiet();
    let mut running = Running::start();
    running.process.signal(Signal::INT);
    let deadline = Instant::now() + PATIENCE;
    while running.process.is_running() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    running.assert_gone();
    let done = running.process.wait().expect(1);
    let error = done.summary["error"].as_str().expect("an error");
    assert!(error.contains("stopped before the end"), "{error}");
}
