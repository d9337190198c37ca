//! Several channels: one listener and one recovery process for all of them.

use crate::bed::{Bed, Process, run_plain};
use std::net::TcpListener;

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
