//! The publisher on real sockets: what two receivers hear is the journal, twice.

mod common;

use common::*;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use twinline_feed::lines::NetworkLines;
use twinline_feed::publisher::{Line, Opened, open};
use twinline_feed::run::{Idle, RunConfig, RunEnd, run, unix_now};
use twinline_line::{LineAddress, ReceiverOptions, SenderOptions, SocketReceiver};
use twinline_wire::Packet;

/// All packets with messages that `receiver` gets until the session's last one, or nothing came for long.
fn hear(receiver: &SocketReceiver, last: &[u8]) -> Vec<Vec<u8>> {
    let mut heard = Vec::new();
    let mut buffer = [0; 2048];
    let patience = Instant::now() + Duration::from_secs(10);
    while heard.last().is_none_or(|packet: &Vec<u8>| packet != last) && Instant::now() < patience {
        let Some(length) = receiver.recv(&mut buffer) else {
            continue;
        };
        let packet = Packet::parse(&buffer[..length]).expect("whole packets arrive");
        if !packet.header().is_heartbeat() {
            heard.push(packet.bytes().to_vec());
        }
    }
    heard
}

#[test]
fn both_lines_carry_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path(), "boot");
    // Numbers of their own for this process: others may test beside us.
    let port = 20_000 + (std::process::id() % 20_000) as u16;
    let addresses: [LineAddress; 2] =
        [format!("239.77.1.1:{port}@lo"), format!("239.77.1.2:{port}@lo")].map(|text| text.parse().unwrap());
    let receivers = addresses
        .each_ref()
        .map(|address| SocketReceiver::open(address, &ReceiverOptions::default()).unwrap());
    let lines = NetworkLines::open(&addresses[0], &addresses[1], [SenderOptions::default(); 2]).unwrap();
    let sending = lines.states();
    let opened = open(at_once(), &place, lines, unix_now()).unwrap();
    let Opened {
        mut publisher,
        reserver,
    } = opened;
    // Few enough for a receive buffer of the default size.
    let mut source = TestSource::new(300, 4);
    let config = RunConfig {
        idle: Idle::Park(Duration::from_micros(100)),
        ..RunConfig::default()
    };
    let end = run(
        &mut publisher,
        reserver,
        &mut source,
        &config,
        &AtomicBool::new(false),
    );
    assert_eq!(end.unwrap(), RunEnd::Complete);
    let journal = packets(&place.journal, 1);
    for line in [Line::A, Line::B] {
        assert!(
            hear(&receivers[line.index()], journal.last().unwrap()) == journal,
            "line {line}"
        );
        let counts = sending[line.index()].counts();
        let counters = publisher.counters();
        assert_eq!(counts.sent, counters.packets.get() + counters.heartbeats.get());
    }
}
