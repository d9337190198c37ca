//! `twinline bench` measures what it says it does, and its page needs nothing else. What the figures are is not looked at.

use crate::bed::{Bed, Done, quiet, run_plain};
use serde_json::Value;
use std::fs;

fn report(arguments: &[&str]) -> Value {
    let done = run_plain(&[&["bench"], arguments, &["--brief", "--json"]].concat()).expect(0);
    done.summary["report"].clone()
}

#[track_caller]
fn said(done: &Done, text: &str) {
    assert!(
        done.stderr.iter().any(|line| line.contains(text)),
        "{text}: {done:#?}"
    );
}

/// The names of what a section has of a kind.
fn names<'r>(section: &'r Value, kind: &str) -> Vec<&'r str> {
    let all = section[kind].as_array().expect("a list");
    all.iter()
        .map(|one| one["name"].as_str().expect("a name"))
        .collect()
}

#[test]
fn latency_has_every_figure_of_every_mix_and_all_messages_arrive() {
    let _quiet = quiet();
    let mixes = ["--rate", "2k", "--size", "message,packet", "--burst", "8@5ms"];
    let report = report(&[&["latency"], &mixes[..]].concat());
    assert_eq!(report["brief"], true);
    let section = &report["sections"][0];
    let figures = names(section, "figures");
    for mix in [
        "65 B, 2000/s",
        "65 B, bursts of 8 every 5000 us",
        "full packets, 2000/s",
        "full packets, bursts of 8 every 5000 us",
    ] {
        for what in [
            "p50 to the floor",
            "p99 to the floor",
            "p50",
            "floor p50",
            "ring hop p50",
        ] {
            let name = format!("{mix}: {what}");
            assert!(figures.contains(&name.as_str()), "{name} of {figures:?}");
        }
        let whole = format!("{mix}: to delivery, no round dropped");
        let distributions = section["distributions"].as_array().expect("a list");
        let whole = distributions.iter().find(|all| all["name"] == whole.as_str());
        let count = whole.expect("it is there")["count"].as_u64().expect("a count");
        assert!(
            count > 0 && count.is_multiple_of(3),
            "three rounds of the same: {count}"
        );
    }
    let stages = section["stages"].as_array().expect("a list");
    assert_eq!(
        stages.len(),
        2 * 4,
        "the message's way and the publisher's time of each mix"
    );
    let parts = |of: &Value| of["parts"].as_array().expect("a list").len();
    assert_eq!(
        stages.iter().map(parts).collect::<Vec<_>>(),
        [7, 3, 7, 3, 7, 3, 7, 3]
    );
}

#[test]
fn throughput_says_the_highest_rate_in_bursts_and_packet_by_packet_and_what_an_unlimited_publisher_does() {
    let _quiet = quiet();
    let report = report(&["throughput"]);
    let section = &report["sections"][0];
    let names = names(section, "figures");
    for name in ["bursts: highest rate", "packet by packet: highest rate"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let figures = section["figures"].as_array().expect("figures");
    let unlimited = figures
        .iter()
        .find(|figure| figure["name"] == "as fast as the publisher can: rate");
    let rate = unlimited
        .and_then(|figure| figure["value"].as_f64())
        .expect("a figure");
    assert!(rate > 0.0, "{rate}");
}

#[test]
fn through_af_xdp_each_benchmark_has_its_floors_beside_it_or_says_in_one_line_what_is_missing() {
    let _quiet = quiet();
    let runs: [(&str, &[&str]); 3] = [
        (
            "latency",
            &[
                "65 B, 50000/s: p50 to the AF_XDP floor",
                "65 B, 50000/s: p50 to the UDP floor",
                "messages delivered, lost",
            ],
        ),
        (
            "throughput",
            &[
                "AF_XDP: highest rate",
                "sockets, packet by packet: highest rate",
                "sockets, segmentation offload: highest rate",
                "as fast as the publisher can: AF_XDP to sockets, packet by packet",
                "as fast as the publisher can: AF_XDP to the barest AF_XDP sender and receiver",
                "as fast as the publisher can: sockets, packet by packet to the barest sockets",
            ],
        ),
        (
            "fanout",
            &[
                "3 listeners, first to last, p50",
                "3 listeners, first to last, p50 to bare receivers",
            ],
        ),
    ];
    for (which, figures) in runs {
        let report = report(&[which, "--io", "xdp"]);
        let section = &report["sections"][0];
        assert_eq!(section["name"], format!("{which}-xdp"));
        let skipped = section["not_measured"][0]
            .as_str()
            .is_some_and(|text| text.starts_with("Skipped: "));
        if skipped {
            assert!(std::env::var_os("CI").is_none(), "in CI this must run: {section}");
            assert!(names(section, "figures").is_empty());
            continue;
        }
        let all = names(section, "figures");
        for figure in figures {
            assert!(all.contains(figure), "{figure} of {all:?}");
        }
    }
}

#[test]
fn the_page_of_all_benchmarks_is_well_formed_and_needs_nothing_else() {
    let _quiet = quiet();
    let bed = Bed::new();
    let (page, histograms) = (bed.text("report.html"), bed.text("histograms"));
    let done = run_plain(&["bench", "all", "--brief", "--html", &page, "--hgrm", &histograms]).expect(0);
    assert!(
        done.stdout.contains("these figures mean nothing"),
        "{}",
        done.stdout
    );
    let text = fs::read_to_string(&page).expect("it was written");
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..roxmltree::ParsingOptions::default()
    };
    let page = roxmltree::Document::parse_with_options(&text, options).expect("well-formed");
    let headings = page.descendants().filter(|node| node.has_tag_name("h2"));
    let headings: Vec<_> = headings.filter_map(|node| node.attribute("id")).collect();
    for section in [
        "latency",
        "latency-xdp",
        "throughput",
        "throughput-xdp",
        "fanout-xdp",
        "micro",
    ] {
        assert!(headings.contains(&section), "{section} of {headings:?}");
    }
    let charts = page
        .descendants()
        .filter(|node| node.tag_name().name() == "svg")
        .count();
    assert!(charts > 0, "no chart is drawn");
    for node in page.descendants().filter(roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        assert!(
            !["script", "link", "img", "iframe"].contains(&name),
            "<{name}> takes something from elsewhere"
        );
        for attribute in node.attributes() {
            assert!(!attribute.value().contains("://"), "{name} {attribute:?}");
        }
    }
    assert!(
        !text.contains("url(") && !text.contains("@import"),
        "the style takes something from elsewhere"
    );
    let files = fs::read_dir(&histograms).expect("they were written");
    let mut files = files.map(|entry| entry.expect("an entry").path());
    let file = files.next().expect("a distribution");
    let histogram = fs::read_to_string(file).expect("text");
    assert!(
        histogram.contains("1/(1-Percentile)") && histogram.contains("#[Max"),
        "{histogram}"
    );
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_is() {
    for (arguments, named) in [
        (&["latency", "--burst", "0@1ms"][..], "32@1ms"),
        (&["latency", "--slice", "1s"], "100ms"),
        (&["latency", "--brief", "--check"], "--check"),
        (&["throughput", "--symbols", "0"], "--symbols"),
        (&["latency", "--io", "xdp", "--interface", "eth0"], "--interface"),
        (&["fanout", "--io", "auto"], "xdp"),
        (&["latency", "--cores", "0,0"], "two cores"),
    ] {
        let done = run_plain(&[&["bench"], arguments].concat()).expect(2);
        said(&done, named);
    }
    let nowhere = [
        "bench",
        "micro",
        "--brief",
        "--html",
        "/no/such/directory/report.html",
    ];
    let done = run_plain(&nowhere).expect(1);
    said(&done, "/no/such/directory/report.html");
    let interface = ["bench", "latency", "--brief", "--interface", "nosuch9"];
    let done = run_plain(&interface).expect(1);
    said(&done, "nosuch9");
    said(&done, "lo (127.0.0.1)");
}
