//! Several channels: one listener and one recovery process for all of them.

use crate::bed::{Bed, Process, quiet, run_plain};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};
use twinline_line::random::Random;

const CHANNELS: u16 = 3;

/// The first of three ports in a row that are free just now.
fn three_ports() -> u16 {
    (0..100)
        .find_map(|_| {
            let first = TcpListener::bind("127.0.0.1:0").ok()?;
            let port = first.local_addr().ok()?.port();
            let next =
                (1..CHANNELS).map(|more| TcpListener::bind(("127.0.0.1", port.checked_add(more)?)).ok());
            next.collect::<Option<Vec<_>>>().map(|_| port)
        })
        .expect("three ports in a row")
}

/// Lines A and B of the channel that comes so many after the first, by the rule that `--help` tells.
fn lines(bed: &Bed, after: u16) -> [String; 2] {
    bed.groups.map(|(group, port)| {
        let [one, two, three, four] = group.octets();
        format!(
            "{one}.{two}.{}.{four}:{}@127.0.0.1",
            three + after as u8,
            port + 10 * after
        )
    })
}

/// A bed whose groups leave room for the channels.
fn roomy_bed() -> Bed {
    (0..1000)
        .map(|_| Bed::new())
        .find(|bed| {
            bed.groups
                .iter()
                .all(|(group, port)| group.octets()[2] < 250 && *port < 65_000)
        })
        .expect("one of them has room")
}

/// The publisher of one channel, into that channel's journal.
fn publisher(bed: &Bed, after: u16, more: &[&str]) -> Process {
    let [a, b] = lines(bed, after);
    let channel = (after + 1).to_string();
    let of_channel = ["--line-a", &a, "--line-b", &b, "--channel", &channel];
    let journal = format!("publisher/channel-{channel}");
    let mut arguments = bed.publish_arguments(&journal, &[]);
    // The bed's own lines are those of the first channel.
    let at = arguments.iter().position(|arg| arg == "--line-a").expect("lines");
    arguments.drain(at..at + 4);
    arguments.extend(of_channel.iter().chain(more).map(ToString::to_string));
    Process::start(&arguments)
}

#[test]
fn one_listener_and_one_recovery_process_serve_three_channels_and_nothing_is_lost() {
    let bed = roomy_bed();
    std::fs::create_dir(bed.path("publisher")).expect("a directory");
    let port = three_ports();
    let address = format!("127.0.0.1:{port}");
    let journal = bed.text("publisher");
    let recover = Process::start(&[
        "recover",
        "--channels",
        "3",
        "--journal",
        &journal,
        "--listen",
        &address,
    ]);
    let served = recover.wait_ready().expect("addresses");
    assert_eq!(
        served,
        (0..3)
            .map(|more| format!("127.0.0.1:{}", port + more))
            .collect::<Vec<_>>()
            .join(",")
    );
    let impair = "loss=3%,both=1%,reorder=1%,seed=5";
    let listening = ["--channels", "3", "--recovery", &address, "--impair", impair];
    let listener = bed.listen("listener", &listening);
    let publishers: Vec<Process> = (0..CHANNELS)
        .map(|after| {
            let messages = (10_000 * (after + 1)).to_string();
            publisher(
                &bed,
                after,
                &["--generate", &messages, "--rate", "30000", "--linger", "300ms"],
            )
        })
        .collect();
    for publisher in publishers {
        publisher.wait().expect(0);
    }
    let heard = listener.wait().expect(0).summary;
    let of_channel = heard["channels"].as_array().expect("channels");
    assert_eq!(of_channel.len(), 3);
    let sum: u64 = of_channel
        .iter()
        .map(|channel| channel["messages"].as_u64().expect("a count"))
        .sum();
    assert_eq!(heard["messages"], sum);
    for (number, channel) in (1..).zip(of_channel) {
        assert_eq!(channel["position"]["channel"], number);
        assert!(channel["gaps"]["filled"].as_u64() > Some(0), "{channel:#}");
        let [ours, theirs] =
            ["publisher", "listener"].map(|who| bed.text(&format!("{who}/channel-{number}")));
        run_plain(&["diff", &ours, &theirs]).expect(0);
    }
    recover.terminate();
    let served = recover.wait().expect(0).summary;
    assert_eq!(served["channels"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_channel_that_fails_ends_the_listener_and_is_named() {
    let bed = roomy_bed();
    // The second channel's journal cannot be made: a file stands in its place.
    std::fs::create_dir(bed.path("listener")).expect("a directory");
    std::fs::write(bed.path("listener/channel-2"), "in the way").expect("written");
    let done = Process::start(&bed.listen_arguments("listener", &["--channels", "3"]))
        .wait()
        .expect(1);
    assert!(
        done.summary["error"]
            .as_str()
            .expect("it says why")
            .contains("channel-2"),
        "{done:?}"
    );
}

#[test]
fn what_several_channels_print_stays_whole_and_names_its_channel() {
    let bed = roomy_bed();
    std::fs::create_dir(bed.path("publisher")).expect("a directory");
    let listener = bed.listen("listener", &["--channels", "3", "--print"]);
    let publishers: Vec<Process> = (0..CHANNELS)
        .map(|after| {
            publisher(
                &bed,
                after,
                &["--generate", "5000", "--rate", "50000", "--linger", "300ms"],
            )
        })
        .collect();
    for publisher in publishers {
        publisher.wait().expect(0);
    }
    let done = listener.wait();
    let mut messages = [0; 3];
    // The last line is the summary.
    let lines: Vec<&str> = done.stdout.lines().collect();
    for line in &lines[..lines.len() - 1] {
        let object: serde_json::Value = serde_json::from_str(line).expect("a whole line");
        if object["type"] == "message" {
            messages[object["channel"].as_u64().expect("it is named") as usize - 1] += 1;
        }
    }
    for (channel, count) in done.summary["channels"]
        .as_array()
        .expect("channels")
        .iter()
        .zip(messages)
    {
        assert_eq!(channel["messages"], count);
        assert!(count > 5_000, "{count}");
    }
}

/// Two sources on three channels: order flow of 40 symbols and ticks of 30, both bounded, at this many messages a second.
fn two_sources(messages: u64, rate: u64) -> [String; 4] {
    let orders = format!("orders={messages},symbols=40,seed=7,rate={rate}");
    let ticks = format!("ticks={messages},symbols=30,id=5,rate={rate}");
    ["--source".into(), orders, "--source".into(), ticks]
}

/// What a journal's channel has of a source, in order: each message's name and fields.
fn said(journal: &str, source: u64) -> Vec<String> {
    let done = run_plain(&["decode", journal, "--format", "jsonl"]).expect(0);
    let rows = done
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    rows.filter(|row| {
        row["fields"]["instrument"]
            .as_u64()
            .is_some_and(|number| number >> 16 == source)
    })
    .map(|row| format!("{} {}", row["name"], row["fields"]))
    .collect()
}

#[test]
fn two_sources_spread_over_three_channels_arrive_complete() {
    let bed = roomy_bed();
    let (port, journal) = (three_ports(), bed.text("publisher"));
    let address = format!("127.0.0.1:{port}");
    let recover = Process::start(&[
        "recover",
        "--channels",
        "3",
        "--journal",
        &journal,
        "--listen",
        &address,
    ]);
    recover.wait_ready();
    let listening = [
        "--channels",
        "3",
        "--recovery",
        &address,
        "--impair",
        "loss=3%,both=1%,seed=5",
    ];
    let listener = bed.listen("listener", &listening);
    let sources = two_sources(30_000, 30_000);
    let sources = sources.iter().map(String::as_str);
    let more: Vec<&str> = ["--channels", "3", "--linger", "300ms"]
        .into_iter()
        .chain(sources)
        .collect();
    let published = bed.publish(&more).wait().expect(0).summary;
    assert_eq!(published["sources"]["1"]["messages"], 30_000);
    assert_eq!(published["sources"]["5"]["messages"], 30_000);
    listener.wait().expect(0);
    let mut all = [0; 2];
    for channel in 1..=3 {
        let [ours, theirs] =
            ["publisher", "listener"].map(|who| bed.text(&format!("{who}/channel-{channel}")));
        run_plain(&["diff", &ours, &theirs]).expect(0);
        for (count, source) in all.iter_mut().zip([1, 5]) {
            let of_channel = said(&theirs, source).len();
            assert!(
                of_channel > 1_000,
                "channel {channel}, source {source}: {of_channel}"
            );
            *count += of_channel;
        }
    }
    let [ours, theirs] = ["publisher", "listener"].map(|who| bed.text(who));
    let compared = run_plain(&["diff", &ours, &theirs, "--json"]).expect(0).stdout;
    let compared: serde_json::Value = serde_json::from_str(&compared).expect("JSON");
    assert_eq!(compared["listeners"].as_array().map(Vec::len), Some(3));
    assert_eq!(compared["publisher"]["source_messages"], 60_004);
    assert_eq!(
        run_plain(&["journal", "verify", &ours])
            .expect(0)
            .stdout
            .lines()
            .count(),
        3
    );
    std::fs::remove_dir_all(bed.path("listener/channel-2")).expect("it was there");
    let done = run_plain(&["diff", &ours, &theirs]).expect(5);
    assert!(
        done.stderr[0].contains("has the channels 1, 2, 3") && done.stderr[0].contains("has 1, 3"),
        "{done:?}"
    );
    // What concerns no instrument alone, that the market opens, stands on each channel.
    assert_eq!(all, [30_002; 2]);
}

#[test]
fn whatever_is_killed_each_channel_has_what_an_uninterrupted_run_puts_there() {
    let _quiet = quiet();
    let seconds = std::env::var("TWINLINE_KILL_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(12);
    let bed = roomy_bed();
    let address = format!("127.0.0.1:{}", three_ports());
    let journal = bed.text("publisher");
    let recovering = [
        "recover",
        "--channels",
        "3",
        "--journal",
        &journal,
        "--listen",
        &address,
    ];
    let recover = || {
        let process = Process::start(&recovering);
        process.wait_ready();
        process
    };
    let heard = bed.listen_arguments(
        "listener",
        &["--channels", "3", "--recovery", &address, "--gap-timeout", "60s"],
    );
    let rate = 3_000;
    let sources = two_sources(rate * seconds, rate);
    let sources: Vec<&str> = ["--channels", "3", "--linger", "1s"]
        .into_iter()
        .chain(sources.iter().map(String::as_str))
        .collect();
    let published = bed.publish_arguments("publisher", &sources);
    let mut service = recover();
    let mut listener = Process::start(&heard);
    listener.wait_ready();
    let mut publisher = Process::start(&published);
    let mut random = Random::new(seconds);
    let mut kills = [0; 3];
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(150 + random.below(600)));
        let who = random.below(3) as usize;
        kills[who] += 1;
        match who {
            0 if publisher.is_running() => {
                publisher.kill();
                drop(publisher);
                publisher = Process::start(&published);
            }
            1 => {
                service.kill();
                drop(service);
                service = recover();
            }
            2 if listener.is_running() => {
                listener.kill();
                drop(listener);
                listener = Process::start(&heard);
            }
            _ => {}
        }
    }
    eprintln!(
        "killed: publisher {}, recovery {}, listener {} times",
        kills[0], kills[1], kills[2]
    );
    assert!(kills.iter().all(|count| *count > 0));
    publisher.wait().expect(0);
    listener.wait().expect(0);
    let calm = roomy_bed();
    let at_once = sources_at_once(&sources);
    let at_once: Vec<&str> = at_once.iter().map(String::as_str).collect();
    calm.publish(&at_once).wait().expect(0);
    for channel in 1..=3 {
        let name = |who: &str| format!("{who}/channel-{channel}");
        let [ours, theirs] = ["publisher", "listener"].map(|who| bed.text(&name(who)));
        run_plain(&["diff", &ours, &theirs]).expect(0);
        // How two sources interleave is not determined; what each says on a channel is.
        for source in [1, 5] {
            let (killed, whole) = (
                said(&theirs, source),
                said(&calm.text(&name("publisher")), source),
            );
            assert_eq!(killed.len(), whole.len(), "channel {channel}, source {source}");
            assert!(killed == whole, "channel {channel}, source {source}");
        }
    }
}

/// The same sources, as fast as they go.
fn sources_at_once(arguments: &[&str]) -> Vec<String> {
    arguments
        .iter()
        .map(|text| {
            text.split_once(",rate=")
                .map_or((*text).into(), |(before, _)| format!("{before},pace=max"))
        })
        .collect()
}

#[test]
fn all_channels_of_a_journal_are_followed_and_a_limit_counts_for_all_of_them() {
    let bed = roomy_bed();
    let journal = bed.text("publisher");
    let publish = |session: &str| {
        let more = ["--channels", "3", "--generate", "500", "--session", session];
        bed.publish(&[&more[..], &["--linger", "1ms"]].concat())
            .wait()
            .expect(0);
    };
    publish("1");
    let done = Process::start(&["decode", &journal, "--limit", "5"])
        .wait()
        .expect(0);
    assert_eq!(done.summary["shown"], 5, "{done:#?}");
    let shown = run_plain(&["decode", &journal, &journal, "--limit", "5", "--format", "jsonl"]).expect(0);
    assert_eq!(shown.stdout.lines().count(), 5, "{shown:#?}");
    run_plain(&["decode", &journal, "--limit", "0"]).expect(2);
    let follow = [
        "decode",
        &journal,
        "--follow",
        "--session",
        "2",
        "--template",
        "EndOfSession",
        "--limit",
        "3",
        "--format",
        "jsonl",
    ];
    let follow = Process::start(&follow);
    publish("2");
    let seen = follow.wait().expect(0);
    let mut channels: Vec<_> = seen
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["channel"].as_u64())
        .collect();
    channels.sort_unstable();
    assert_eq!(channels, [1, 2, 3], "{seen:#?}");
}

#[test]
fn a_channel_of_an_open_session_is_not_left_out() {
    let bed = roomy_bed();
    let started = |channels: &str, more: &[&str]| {
        let source = ["--generate", "30000", "--rate", "20000", "--linger", "1ms"];
        bed.publish(&[&source[..], &["--channels", channels], more].concat())
    };
    let publisher = started("3", &[]);
    publisher.wait_messages(5_000);
    publisher.terminate();
    publisher.wait().expect(0);
    for more in [&[][..], &["--session", "1"]] {
        let refused = started("2", more).wait().expect(2).summary;
        let error = refused["error"].as_str().expect("it says why");
        assert!(
            error.contains("session 1 is open on channel 3 too") && error.contains("--session 2"),
            "{error}"
        );
    }
    // Once it is complete there, or with a session of its own, fewer will do.
    started("3", &[]).wait().expect(0);
    started("2", &["--session", "2"]).wait().expect(0);
    started("2", &[]).wait().expect(0);
}

#[test]
fn a_line_that_brings_only_what_cannot_be_taken_is_told_of() {
    let bed = Bed::new();
    for (number, (flags, told)) in [
        (["--channel", "9"], "none of channel 9: check --channel"),
        (
            ["--packet-size", "192"],
            "give --packet-size as the publisher has it",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let listener = Process::start(&bed.listen_arguments(&format!("listener-{number}"), &flags));
        listener.wait_ready();
        let session = (number + 1).to_string();
        let source = ["--generate", "1000", "--linger", "100ms", "--session", &session];
        bed.publish(&source).wait().expect(0);
        listener.terminate();
        let done = listener.wait();
        let warnings = done.summary["warnings"].to_string();
        assert!(
            warnings.contains("line A") && warnings.contains(told),
            "{warnings}"
        );
    }
}
