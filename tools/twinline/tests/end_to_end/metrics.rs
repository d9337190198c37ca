//! Metrics and health of all daemons, and the table and the alert rules that name the metrics.

use crate::bed::{Bed, PATIENCE, Process, free_tcp};
use crate::scrape::{self, Page};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use twinline_ring::RingReader;

const METRICS: [&str; 2] = ["--metrics", "127.0.0.1:0"];

/// A file of the repository.
fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A row of the table in docs/metrics.md.
#[derive(Debug)]
struct Row {
    kind: String,
    labels: BTreeSet<String>,
    /// `all`, or the daemons; a condition in brackets behind them.
    served_by: String,
    meaning: String,
}

impl Row {
    /// True if this daemon serves it, once the conditions are there that a test makes.
    fn is_served_by(&self, daemon: &str) -> bool {
        let (daemons, condition) = self.served_by.split_once(" (").unwrap_or((&self.served_by, ""));
        condition != "reserved)" && daemons.split(", ").any(|of| of == daemon || of == "all")
    }
}

fn table() -> BTreeMap<String, Row> {
    let text = file("docs/metrics.md");
    let rows = text.lines().filter(|line| {
        ["| `twinline_", "| `process_"]
            .iter()
            .any(|begin| line.starts_with(begin))
    });
    let mut table = BTreeMap::new();
    for line in rows {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, served_by, meaning] = cells[..] else {
            panic!("five cells: {line}");
        };
        let labels = labels.split(", ").filter(|label| !label.is_empty());
        let row = Row {
            kind: kind.into(),
            labels: labels.map(|label| label.trim_matches('`').into()).collect(),
            served_by: served_by.into(),
            meaning: meaning.into(),
        };
        let twice = table.insert(name.trim_matches('`').to_string(), row);
        assert!(twice.is_none(), "{name} is in the table twice");
    }
    assert!(table.len() > 100, "the table is there");
    table
}

/// A daemon's page against the table, in both directions.
fn hold_to_table(daemon: &str, page: &Page, table: &BTreeMap<String, Row>) {
    for (name, family) in &page.families {
        let row = table.get(name).unwrap_or_else(|| {
            panic!(
                "{daemon} serves {name}, which is not in docs/metrics.md: {}",
                family.help
            )
        });
        assert!(
            row.is_served_by(daemon),
            "{daemon} serves {name}: the table says {}",
            row.served_by
        );
        assert_eq!(family.kind, row.kind, "{name}");
        assert_eq!(family.label_names(), row.labels, "{name}");
        assert_eq!(family.help, row.meaning, "{name}");
    }
    for (name, row) in table.iter().filter(|(_, row)| row.is_served_by(daemon)) {
        assert!(
            page.families.contains_key(name),
            "{daemon} does not serve {name}: {row:?}"
        );
    }
}

/// Asks again and again until the answer is this one; returns its text.
#[track_caller]
fn wait_answer(address: &str, path: &str, status: u16, contains: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = scrape::get(address, path);
        if answer.0 == status && answer.1.contains(contains) {
            return answer.1;
        }
        assert!(
            Instant::now() < deadline,
            "{path} is never {status} {contains:?}: {answer:?}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// A listener that stays when the session ends.
fn stay(bed: &Bed, name: &str, more: &[&str]) -> Process {
    let mut arguments = bed.listen_arguments(name, &METRICS);
    arguments.retain(|argument| argument != "--until-end");
    arguments.extend(more.iter().map(ToString::to_string));
    Process::start(&arguments)
}

/// The page of a daemon; of one that serves tails, once somebody has one; of a listener, once its two
/// readers are seen and its clock was looked at.
fn wait_followed(daemon: &str, address: &str) -> Page {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page = scrape::metrics(address);
        let followed = match daemon {
            "recover" | "replica" => page.families.contains_key("twinline_service_tail_lag_messages"),
            "listen" => {
                page.value("twinline_ring_readers", &[]) == 2.0
                    && page.families.contains_key("twinline_clock_offset_seconds")
            }
            _ => true,
        };
        if followed {
            return page;
        }
        assert!(Instant::now() < deadline, "nobody follows {daemon}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn every_metric_of_every_daemon_is_in_the_table_and_every_row_is_served() {
    let bed = Bed::new();
    let (publisher_journal, replica_journal) = (bed.text("publisher"), bed.text("replica"));
    let recover = Process::start(
        &[
            &[
                "recover",
                "--journal",
                &publisher_journal,
                "--listen",
                "127.0.0.1:0",
            ][..],
            &METRICS,
        ]
        .concat(),
    );
    let service = recover.wait_ready().expect("a service says where it listens");
    let recover_at = recover.wait_metrics();
    let reasons = wait_answer(&recover_at, "/readyz", 503, "not ready: channel 1: ");
    assert!(reasons.contains(&publisher_journal), "{reasons}");
    let replica = Process::start(
        &[
            &[
                "replica",
                "--upstream",
                &service,
                "--journal",
                &replica_journal,
                "--listen",
            ][..],
            &[&free_tcp(), "--segment-size", "1MiB", "--sync", "20ms"],
            &METRICS,
        ]
        .concat(),
    );
    let replica_at = replica.wait_metrics();
    wait_answer(&replica_at, "/readyz", 503, "not ready: channel 1: ");
    let replicated = replica.wait_ready().expect("a replica says where it listens");
    let record = bed.text("followed");
    let tail = Process::start(&["tail", &replicated, "--from", "start", "--record", &record]);
    let rings = bed.text("rings");
    let local = ["--ring", &rings, "--ring-size", "64KiB", "--fair-hold", "1ms"];
    let impaired = ["--recovery", &service, "--impair", "loss=5%,both=1%,seed=3"];
    let listener = stay(&bed, "one", &[&impaired[..], &local].concat());
    let listener_at = listener.wait_metrics();
    // Two of one name in one process, which the page must tell apart.
    let readers = [(); 2].map(|()| RingReader::open(&bed.path("rings"), 1, "test").expect("a ring"));
    wait_answer(&listener_at, "/readyz", 503, "it waits for a session");
    let source = ["--generate", "1000000", "--rate", "2000", "--lead-in", "2s"];
    let publisher = bed.publish(&[&source[..], &METRICS].concat());
    let publisher_at = publisher.wait_metrics();
    wait_answer(&publisher_at, "/readyz", 503, "it announces the session");
    let daemons = [
        ("publish", &publisher_at),
        ("recover", &recover_at),
        ("listen", &listener_at),
        ("replica", &replica_at),
    ];
    let table = table();
    for (daemon, address) in daemons {
        wait_answer(address, "/readyz", 200, "ready\n");
        assert_eq!(
            scrape::get(address, "/healthz"),
            (200, "healthy\n".into()),
            "{daemon}"
        );
        let page = wait_followed(daemon, address);
        hold_to_table(daemon, &page, &table);
        scrape::promtool(address);
        assert_eq!(page.value("twinline_build_info", &[("daemon", daemon)]), 1.0);
        let of = [("channel", "1")];
        assert_eq!(page.value("twinline_ready", &of), 1.0, "{daemon}");
        assert_eq!(page.value("twinline_session", &of), 1.0, "{daemon}");
        let turns = page.value("twinline_turns_total", &of);
        let deadline = Instant::now() + PATIENCE;
        while scrape::metrics(address).value("twinline_turns_total", &of) == turns {
            assert!(Instant::now() < deadline, "{daemon} turns over");
        }
        let (status, text) = scrape::get(address, "/");
        assert_eq!((status, text.contains("/readyz")), (404, true), "{daemon}");
    }
    let (_, json) = scrape::get(&recover_at, "/readyz?format=json");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (&json["ready"], &json["reasons"]),
        (&true.into(), &serde_json::json!([]))
    );
    let page = scrape::metrics(&recover_at);
    let behind = [("client", "replica"), ("kind", "replica")];
    assert!(page.value("twinline_service_tail_lag_messages", &behind) < 1e6);
    assert_eq!(page.value("twinline_service_tails", &[("kind", "replica")]), 1.0);
    assert!(scrape::metrics(&listener_at).value("twinline_gap_fill_seconds_count", &[]) > 0.0);
    let page = scrape::metrics(&listener_at);
    let lag = |reader| page.value("twinline_ring_reader_lag_bytes", &[("reader", reader)]);
    assert_eq!(lag("test"), lag("test #2"), "neither has read anything");
    assert!(page.value("twinline_ring_position_bytes_total", &[]) >= lag("test"));
    assert!(page.value("twinline_fair_on_time_messages_total", &[]) > 0.0);
    assert_eq!(page.value("twinline_clock_plausible", &[]), 1.0);
    drop(readers);
    for process in [publisher, tail, listener, replica, recover] {
        process.terminate();
        process.wait().expect(0);
    }
}

#[test]
fn the_pages_loss_on_line_a_is_the_impairers_and_readiness_follows_the_lines() {
    let bed = Bed::new();
    let (_recover, service) = bed.recover("127.0.0.1:0");
    let impair = [
        "--recovery",
        &service,
        "--impair",
        "loss=5%,corrupt=1%,line=a,seed=3",
    ];
    let listener = stay(&bed, "one", &impair);
    let at = listener.wait_metrics();
    wait_answer(&at, "/readyz", 503, "it waits for a session");
    let source = ["--generate", "30000", "--rate", "5000", "--linger", "1s"];
    let publisher = bed.publish(&source);
    wait_answer(&at, "/readyz", 200, "ready\n");
    publisher.signal(Signal::STOP);
    wait_answer(&at, "/readyz", 503, "not ready: channel 1: both lines are silent");
    assert_eq!(scrape::get(&at, "/healthz").0, 200, "it is well, only not ready");
    let page = scrape::metrics(&at);
    assert_eq!(page.value("twinline_stale", &[]), 1.0);
    assert_eq!(page.value("twinline_line_stalled", &[("line", "b")]), 1.0);
    publisher.signal(Signal::CONT);
    wait_answer(&at, "/readyz", 200, "ready\n");
    publisher.wait().expect(0);
    // The page is renewed ten times a second: the last heartbeats are to be on it.
    std::thread::sleep(Duration::from_millis(300));
    let deadline = Instant::now() + PATIENCE;
    let page = loop {
        let page = scrape::metrics(&at);
        if page.value("twinline_session_ended", &[]) == 1.0 {
            break page;
        }
        assert!(Instant::now() < deadline, "the session ends");
    };
    let on = |name: &str, line: &str| page.value(name, &[("line", line)]);
    for line in ["a", "b"] {
        assert_eq!(
            on("twinline_line_kernel_dropped_packets_total", line),
            0.0,
            "room enough"
        );
    }
    listener.terminate();
    let summary = listener.wait().expect(0).summary;
    let missing = summary["impairer"]["a"]["missing"].as_u64().expect("a count") as f64;
    assert!(missing > 500.0, "{missing}");
    assert_eq!(on("twinline_line_lost_messages", "a"), missing);
    assert_eq!(on("twinline_impaired_missing_messages_total", "a"), missing);
    assert_eq!(on("twinline_line_lost_messages", "b"), 0.0);
    assert_eq!(on("twinline_impaired_missing_messages_total", "b"), 0.0);
    let corrupted = summary["impairer"]["a"]["corrupted"]["packets"]
        .as_u64()
        .expect("a count") as f64;
    // A flipped bit is found by the checksum, unless it stands where something is looked at before that.
    let reasons = [
        "truncated",
        "magic",
        "version",
        "trailing",
        "checksum",
        "malformed",
    ];
    let dropped = reasons.map(|reason| {
        let labels = [("line", "a"), ("reason", reason)];
        page.value("twinline_line_dropped_packets_total", &labels)
    });
    let heartbeats = &summary["impairer"]["a"]["corrupted"]["heartbeats"];
    let heartbeats = heartbeats.as_u64().expect("a count") as f64;
    assert!(corrupted > 0.0);
    assert_eq!(dropped.iter().sum::<f64>(), corrupted + heartbeats);
    // What line A lost line B brought first; what neither lost was compared.
    let delivered = |origin| page.value("twinline_delivered_messages_total", &[("origin", origin)]);
    assert_eq!(
        delivered("a") + delivered("b") + delivered("recovery"),
        summary["messages"].as_f64().expect("a count")
    );
    assert!(delivered("b") >= missing);
    let compared = on("twinline_line_skew_seconds_count", "a") + on("twinline_line_skew_seconds_count", "b");
    assert!(compared > 0.0 && compared <= on("twinline_line_packets_total", "a"));
    assert_eq!(page.value("twinline_lost_messages_total", &[]), 0.0);
}

#[test]
fn an_address_that_is_taken_is_named_and_nothing_is_made() {
    let bed = Bed::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let listener = Process::start(&bed.listen_arguments("one", &["--metrics", &address])).wait();
    assert_ne!(listener.code(), 0);
    let error = listener.summary["error"].as_str().expect("an error").to_string();
    assert!(error.contains(&address) && error.contains("--metrics"), "{error}");
    assert!(!bed.path("one").exists());
}

/// The names of metrics in an expression: those that begin as ours do.
fn named(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|byte: char| !byte.is_ascii_alphanumeric() && byte != '_');
    words
        .filter(|word| word.starts_with("twinline_") || word.starts_with("process_"))
        .collect()
}

#[test]
fn every_metric_and_label_that_an_alert_rule_names_exists() {
    let (rules, table) = (file("alerts/twinline.rules.yml"), table());
    let mut alerts = Vec::new();
    let (mut expressions, mut current) = (BTreeMap::<String, String>::new(), String::new());
    let mut in_expression = false;
    for line in rules.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let text = line.trim();
        if let Some(name) = text.strip_prefix("- alert: ") {
            alerts.push((name.to_string(), BTreeSet::new()));
            current = name.into();
        }
        if let Some((key, value)) = text.trim_start_matches("- ").split_once(':').filter(|(key, _)| {
            [
                "alert",
                "expr",
                "for",
                "labels",
                "annotations",
                "severity",
                "summary",
                "description",
            ]
            .contains(key)
        }) {
            in_expression = key == "expr";
            if let Some((_, keys)) = alerts.last_mut() {
                keys.insert(key.to_string());
            }
            if in_expression {
                expressions.insert(
                    current.clone(),
                    value.trim_start_matches([' ', '|', '>', '-']).into(),
                );
            }
        } else if in_expression {
            expressions
                .entry(current.clone())
                .or_default()
                .push_str(&format!(" {text}"));
        }
    }
    assert!(alerts.len() >= 12, "{alerts:?}");
    for (alert, keys) in &alerts {
        for key in ["expr", "severity", "summary", "description"] {
            assert!(keys.contains(key), "{alert} has no {key}");
        }
    }
    assert_eq!(alerts.len(), expressions.len(), "each name is there once");
    for (alert, expression) in expressions {
        let names = named(&expression);
        let of_jobs = expression.contains("up{") || expression.contains("up ==");
        assert!(
            !names.is_empty() || of_jobs,
            "{alert} watches something: {expression}"
        );
        let mut labels: BTreeSet<&str> = BTreeSet::from(["job", "instance"]);
        for name in &names {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix));
            let row = match (table.get(*name), family.and_then(|family| table.get(family))) {
                (Some(row), _) if row.kind != "histogram" => row,
                (_, Some(row)) if row.kind == "histogram" => row,
                _ => panic!("{alert} names {name}, which is not in docs/metrics.md"),
            };
            assert!(
                row.kind != "counter" || expression.contains("increase(") || expression.contains("rate(")
            );
            labels.extend(row.labels.iter().map(String::as_str));
        }
        for matcher in expression.split('{').skip(1) {
            let (inside, _) = matcher.split_once('}').expect("a brace that closes");
            let label = inside.split(['=', '!', '~']).next().expect("a label").trim();
            assert!(
                labels.contains(label),
                "{alert} asks for label {label}: {expression}"
            );
        }
        // What a description shows must be a label of what it watches.
        let own = rules
            .split(&format!("- alert: {alert}\n"))
            .nth(1)
            .expect("it is there");
        let own = own.split("- alert:").next().unwrap_or_default();
        for shown in own.split("$labels.").skip(1) {
            let end = shown.find(|byte: char| !byte.is_ascii_alphanumeric() && byte != '_');
            let label = &shown[..end.unwrap_or(shown.len())];
            assert!(labels.contains(label), "{alert} shows label {label}");
        }
    }
}
