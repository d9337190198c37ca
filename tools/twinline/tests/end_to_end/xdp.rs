//! The daemons over AF_XDP, between hosts in network namespaces: every pair of transports, full rings, and a listener that is
//! killed again and again while others use the same interface. Needs root.

use crate::bed::{Bed, Process, TWINLINE, namespaces_are_possible, quiet, run_plain};
use crate::system_calls::{CLOCK, calls_of, others, strace_is_there, without_waits};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use twinline_namespaces::{Namespace, Networks};

/// The publisher's host.
const PUBLISHING: usize = 1;

/// A bed on two networks with so many hosts; `None` where that cannot be.
fn hosts(count: usize) -> Option<(Bed, Networks)> {
    if !namespaces_are_possible() {
        return None;
    }
    let mut bed = Bed::new();
    bed.lines = ["239.77.9.1:17001@line-a".into(), "239.77.9.2:17002@line-b".into()];
    let mut networks = Networks::new(&["line-a", "line-b"]).expect("root, and ip");
    networks.grow(count).expect("root, and ip");
    Some((bed, networks))
}

/// The recovery service on the publisher's host, ready, and its address.
fn service(bed: &Bed, networks: &Networks) -> (Process, String) {
    let address = format!("{}:17010", networks.address(1, PUBLISHING));
    let arguments = [
        "recover",
        "--journal",
        &bed.text("publisher"),
        "--listen",
        &address,
    ];
    let service = Process::start_in(networks.host(PUBLISHING), &arguments);
    service.wait_ready();
    (service, address)
}

/// What attached a program to an interface of a host: what `ip` shows of it.
fn program(host: &Namespace, interface: &str) -> Option<String> {
    let shown = host
        .command("ip")
        .args(["link", "show", "dev", interface])
        .output()
        .expect("ip runs");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    shown
        .lines()
        .find(|line| line.contains("prog/xdp"))
        .map(|line| line.trim().to_owned())
}

#[test]
fn every_pair_of_transports_delivers_the_same_stream_and_a_listener_may_have_one_of_each() {
    let Some((mut bed, networks)) = hosts(6) else {
        return;
    };
    let _quiet = quiet();
    let ways: [(&str, &[&str], [&str; 2]); 5] = [
        ("socket", &["--io", "socket"], ["socket", "socket"]),
        ("native", &["--io", "xdp", "--xdp-mode", "native"], ["xdp", "xdp"]),
        (
            "generic",
            &["--io", "xdp", "--xdp-mode", "generic"],
            ["xdp", "xdp"],
        ),
        ("mixed", &["--io", "xdp,socket"], ["xdp", "socket"]),
        ("auto", &["--io", "auto"], ["xdp", "xdp"]),
    ];
    for publishing in ["socket", "xdp"] {
        let (service, recovery) = service(&bed, &networks);
        let listeners: Vec<Process> = ways
            .iter()
            .zip(2..)
            .map(|((name, io, _), host)| {
                let impair = ["--recovery", &recovery, "--impair", "loss=1%,both=0.2%,seed=5"];
                let arguments = bed.listen_arguments(name, &[io, &impair[..]].concat());
                let listener = Process::start_in(networks.host(host), &arguments);
                listener.wait_ready();
                listener
            })
            .collect();
        let source = ["--generate", "30000", "--rate", "20000", "--io", publishing];
        let publisher = Process::start_in(
            networks.host(PUBLISHING),
            &bed.publish_arguments("publisher", &source),
        );
        let done = publisher.wait().expect(0);
        assert_eq!(done.summary["lines"]["a"]["io"], publishing);
        for (listener, (name, _, io)) in listeners.into_iter().zip(ways) {
            let done = listener.wait().expect(0);
            let lines = &done.summary["lines"];
            assert_eq!([&lines["a"]["io"], &lines["b"]["io"]], io, "{name}");
            assert!(
                done.summary["gaps"]["filled"].as_u64() > Some(0),
                "{name}: both lines lost some"
            );
        }
        service.terminate();
        service.wait().expect(0);
        bed.assert_equal(&ways.map(|(name, ..)| name), 30_000);
        let lines = bed.lines.clone();
        bed = Bed::new();
        bed.lines = lines;
    }
    for host in 2..=6 {
        assert_eq!(
            program(networks.host(host), "line-a"),
            None,
            "gone with its listener"
        );
    }
}

#[test]
fn a_burst_beyond_what_the_frames_hold_is_counted_and_comes_through_recovery() {
    let Some((bed, networks)) = hosts(2) else { return };
    let _quiet = quiet();
    let (service, recovery) = service(&bed, &networks);
    // It sleeps longer than its few frames last at this rate.
    let slow = [
        "--io",
        "xdp",
        "--receive-buffer",
        "128KiB",
        "--idle",
        "park:20ms",
        "--recovery",
        &recovery,
    ];
    let listener = Process::start_in(networks.host(2), &bed.listen_arguments("slow", &slow));
    listener.wait_ready();
    let source = ["--generate", "60000", "--rate", "30000", "--io", "xdp"];
    let publisher = Process::start_in(
        networks.host(PUBLISHING),
        &bed.publish_arguments("publisher", &source),
    );
    publisher.wait().expect(0);
    let done = listener.wait().expect(0);
    let line = &done.summary["lines"]["a"];
    assert!(line["kernel_drops"].as_u64() > Some(100), "{:#}", done.summary);
    assert!(
        done.summary["delivered"]["recovery"].as_u64() > Some(100),
        "{:#}",
        done.summary
    );
    service.terminate();
    service.wait().expect(0);
    bed.assert_equal(&["slow"], 60_000);
}

/// A TCP connection to a host on line A's interface, on which questions are asked and answered until dropped.
struct Conversation {
    over: AtomicBool,
    rounds: AtomicU64,
}

impl Conversation {
    /// Waits for so many more rounds.
    fn goes_on(&self) {
        let (start, before) = (Instant::now(), self.rounds.load(Ordering::Relaxed));
        while self.rounds.load(Ordering::Relaxed) < before + 20 {
            assert!(start.elapsed() < Duration::from_secs(10), "it has stopped");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn run(&self, networks: &Networks, host: usize) {
        let address = (networks.address(0, host), 18_080);
        let listening = networks
            .host(host)
            .within(|| TcpListener::bind(address).unwrap())
            .unwrap();
        let mut asking = networks
            .host(PUBLISHING)
            .within(|| TcpStream::connect(address).unwrap())
            .unwrap();
        let (mut answering, _) = listening.accept().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut question = [0; 8];
                while answering.read_exact(&mut question).is_ok() {
                    answering.write_all(&question).unwrap();
                }
            });
            while !self.over.load(Ordering::Relaxed) {
                let round = self.rounds.load(Ordering::Relaxed).to_le_bytes();
                asking.write_all(&round).unwrap();
                let mut answer = [0; 8];
                asking.read_exact(&mut answer).unwrap();
                assert_eq!(answer, round);
                self.rounds.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
            drop(asking);
        });
    }
}

/// Ends the conversation when the test ends, however it does.
struct Ends<'c>(&'c Conversation);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_listener_killed_twenty_times_leaves_no_program_disturbs_nobody_and_goes_on_where_it_was() {
    const LISTENING: usize = 2;
    let Some((bed, networks)) = hosts(2) else { return };
    let _quiet = quiet();
    let (service, recovery) = service(&bed, &networks);
    let arguments = bed.listen_arguments("killed", &["--io", "xdp", "--recovery", &recovery]);
    let host = networks.host(LISTENING);
    let source = ["--generate", "100000", "--rate", "10000", "--io", "xdp"];
    let publisher = Process::start_in(
        networks.host(PUBLISHING),
        &bed.publish_arguments("publisher", &source),
    );
    let talk = Conversation {
        over: AtomicBool::new(false),
        rounds: AtomicU64::new(0),
    };
    thread::scope(|scope| {
        let talking = scope.spawn(|| talk.run(&networks, LISTENING));
        let ends = Ends(&talk);
        for kill in 0..20 {
            let mut listener = Process::start_in(host, &arguments);
            listener.wait_ready();
            let program = program(host, "line-a").expect("it is attached");
            assert!(program.contains("tlef4d0901"), "{program}");
            listener.wait_messages(1);
            talk.goes_on();
            listener.kill();
            drop(listener);
            assert!(
                self::program(host, "line-a").is_none(),
                "kill {kill}: the program is gone"
            );
            talk.goes_on();
        }
        drop(ends);
        talking.join().unwrap();
    });
    let last = Process::start_in(host, &arguments);
    publisher.wait().expect(0);
    last.wait().expect(0);
    service.terminate();
    service.wait().expect(0);
    bed.assert_equal(&["killed"], 100_000);
}

#[test]
fn what_af_xdp_cannot_have_is_refused_with_the_reason_and_the_remedy() {
    let Some((bed, networks)) = hosts(2) else { return };
    let host = networks.host(2);
    let first = Process::start_in(host, &bed.listen_arguments("first", &["--io", "xdp"]));
    first.wait_ready();
    let second = Process::start_in(host, &bed.listen_arguments("second", &["--io", "xdp"]));
    let done = second.wait();
    assert_ne!(done.code(), 0);
    let said = done.stderr.join("\n");
    assert!(
        said.contains("another listener") && said.contains("ring"),
        "{said}"
    );
    assert!(
        !bed.path("second").exists(),
        "where a line is wrong no journal is made"
    );
    first.terminate();
    first.wait();
    let journal = bed.text("nowhere");
    let done = run_plain(&[
        "publish",
        "--generate",
        "10",
        "--io",
        "xdp",
        "--journal",
        &journal,
    ]);
    let said = done.stderr.join("\n");
    assert!(
        said.contains("loopback") && said.contains("--io socket"),
        "{said}"
    );
    assert_ne!(done.code(), 0);
}

/// Starts a daemon on a host under strace, which writes what each thread calls to files whose names begin with `name`.
fn traced(bed: &Bed, host: &Namespace, name: &str, arguments: &[String]) -> Child {
    host.command("strace")
        .args(["-f", "-ff", "-qq", "-o", &bed.text(name), TWINLINE])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(bed.path(&format!("said-by-{name}"))).expect("the bed's directory"))
        .stderr(std::fs::File::create(bed.path(&format!("warned-by-{name}"))).expect("the bed's directory"))
        .spawn()
        .expect("strace starts")
}

/// More than there can be before the first packet, and behind the last one, on both lines.
const HEARTBEATS: usize = 1_000;

#[test]
fn sending_is_one_call_a_packet_and_receiving_is_none() {
    let Some((bed, networks)) = hosts(2) else { return };
    if !strace_is_there() {
        return;
    }
    let _quiet = quiet();
    let usual = ["--io", "xdp", "--idle", "spin", "--segment-size", "256KiB"];
    let arguments = bed.listen_arguments("listener", &usual);
    let mut listener = traced(&bed, networks.host(2), "trace-listener", &arguments);
    let source = ["--generate", "10000", "--rate", "10000", "--lead-in", "3s"];
    let arguments = bed.publish_arguments("publisher", &[&usual[..], &source].concat());
    let mut publisher = traced(&bed, networks.host(PUBLISHING), "trace-publisher", &arguments);
    assert!(publisher.wait().expect("it is ours").success());
    let ended = listener.wait().expect("it is ours");
    let said = std::fs::read_to_string(bed.path("said-by-trace-listener")).unwrap_or_default();
    let warned = std::fs::read_to_string(bed.path("warned-by-trace-listener")).unwrap_or_default();
    assert!(ended.success(), "{ended:?} {said} {warned}");
    bed.assert_equal(&["listener"], 10_000);

    let dir = bed.path("");
    let calls = calls_of(&dir, "trace-publisher", "PR_SET_NAME, \"publisher\"");
    // Before the first packet and behind the last one only heartbeats go out, and the thread sleeps in between.
    let sends: Vec<usize> = (0..calls.len())
        .filter(|&at| calls[at].starts_with("sendto("))
        .collect();
    let (first, last) = (sends[HEARTBEATS], sends[sends.len() - HEARTBEATS]);
    let calls = without_waits(calls[first..last].to_vec(), &[], 100);
    assert!(calls.len() > 500, "{}", calls.len());
    assert_eq!(others(&calls, &["sendto", CLOCK]).first(), None);

    let calls = calls_of(&dir, "trace-listener", "PR_SET_NAME, \"lines 1\"");
    let receives = calls
        .iter()
        .filter(|call| call.starts_with("recv") || call.starts_with("poll"));
    assert_eq!(receives.count(), 0);
    // What is left is its beginning and its end: thousands of packets came in between.
    let calls = without_waits(calls, &[], 100);
    let rest = others(&calls, &[CLOCK]);
    assert!(rest.len() < 100, "{}, the first: {:?}", rest.len(), &rest[..10]);
}
