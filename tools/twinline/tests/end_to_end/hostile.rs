//! Hostile traffic: random, truncated and mutated packets from other senders, at line speed, for ten seconds.

use crate::bed::{Bed, quiet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use twinline_journal::JournalReader;

const LENGTH: Duration = Duration::from_secs(10);

/// A small generator of random numbers (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.next() as u8);
    }
}

/// Real packets of the publisher's journal, to be mutated.
fn real_packets(bed: &Bed) -> Vec<Vec<u8>> {
    let mut reader = JournalReader::open(&bed.path("publisher")).expect("a journal");
    let mut packets = Vec::new();
    while let Some(packet) = reader.next().expect("readable") {
        packets.push(packet.bytes().to_vec());
        if packets.len() == 200 {
            break;
        }
    }
    packets
}

/// One hostile datagram: random, cut, longer, or with bits flipped. A checksum that is right by chance is one in 2^32.
fn hostile(random: &mut Random, packets: &[Vec<u8>], out: &mut Vec<u8>) {
    out.clear();
    let packet = &packets[random.below(packets.len())];
    match random.below(5) {
        0 => {
            out.resize(random.below(2_000), 0);
            random.fill(out);
        }
        1 => out.extend_from_slice(&packet[..random.below(packet.len())]),
        2 => {
            out.extend_from_slice(packet);
            out.resize(packet.len() + 1 + random.below(100), 7);
        }
        3 => {
            // The first bytes are right: it gets as far as a hostile packet can.
            out.extend_from_slice(&packet[..8]);
            out.resize(48 + random.below(1_300), 0);
            random.fill(&mut out[8..]);
        }
        _ => {
            out.extend_from_slice(packet);
            for _ in 0..=random.below(4) {
                let bit = random.below(out.len() * 8);
                out[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}

fn attack_lines(groups: &[(Ipv4Addr, u16); 2], packets: &[Vec<u8>], stop: &AtomicBool) -> u64 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let interface = rustix::net::sockopt::set_ip_multicast_if(&socket, &Ipv4Addr::LOCALHOST);
    interface.expect("loopback is an interface");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut datagram = Vec::new();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        hostile(&mut random, packets, &mut datagram);
        let (group, port) = groups[random.below(2)];
        if socket.send_to(&datagram, SocketAddrV4::new(group, port)).is_ok() {
            sent += 1;
        }
    }
    sent
}

fn attack_service(address: &str, packets: &[Vec<u8>], stop: &AtomicBool) -> u64 {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut bytes = Vec::new();
    let mut connections = 0;
    let mut answer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address) else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        connections += 1;
        stream
            .set_read_timeout(Some(Duration::from_millis(2)))
            .expect("an option");
        for _ in 0..=random.below(4) {
            hostile(&mut random, packets, &mut bytes);
            if random.below(2) == 0 && bytes.len() > 12 {
                // A frame whose header is right: length, then block length, template and schema as the protocol has them.
                let length = (bytes.len() as u32).to_le_bytes();
                bytes[..4].copy_from_slice(&length);
                bytes[4..6].copy_from_slice(&(random.below(64) as u16).to_le_bytes());
                bytes[6..8].copy_from_slice(&(100 + random.below(13) as u16).to_le_bytes());
                bytes[8..10].copy_from_slice(&twinline_wire::SCHEMA_ID.to_le_bytes());
            }
            if stream.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = stream.read(&mut answer);
    }
    connections
}

#[test]
fn hostile_traffic_changes_nothing() {
    let _quiet = quiet();
    let bed = Bed::new();
    let (service, address) = bed.recover("127.0.0.1:0");
    let impair = ["--impair", "loss=1%,both=0.5%,seed=5", "--gap-timeout", "60s"];
    let listener = bed.listen("listener", &[&["--recovery", &address], &impair[..]].concat());
    let publisher = bed.publish(&["--generate", "24000", "--rate", "2000"]);
    publisher.wait_messages(1_000);
    let packets = real_packets(&bed);
    let (stop, datagrams, connections) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| datagrams.store(attack_lines(&bed.groups, &packets, &stop), Ordering::Relaxed));
        scope.spawn(|| connections.store(attack_service(&address, &packets, &stop), Ordering::Relaxed));
        let end = Instant::now() + LENGTH;
        while Instant::now() < end {
            thread::sleep(Duration::from_millis(50));
        }
        stop.store(true, Ordering::Relaxed);
    });
    publisher.wait().expect(0);
    let done = listener.wait().expect(0);
    service.terminate();
    let served = service.wait().expect(0);
    bed.assert_equal(&["listener"], 24_000);

    let (datagrams, connections) = (datagrams.into_inner(), connections.into_inner());
    assert!(
        datagrams > 100_000 && connections > 100,
        "{datagrams} datagrams, {connections} connections"
    );
    // Whatever of it the kernel let through was dropped and counted by its reason.
    let dropped = |line: &str| -> u64 {
        let reasons = done.summary["lines"][line]["dropped"]
            .as_object()
            .expect("counts");
        assert!(reasons.len() >= 5, "{reasons:?}");
        reasons.values().filter_map(serde_json::Value::as_u64).sum()
    };
    assert!(dropped("a") + dropped("b") > 1_000, "{:#}", done.summary);
    assert!(
        served.summary["recovery"]["malformed"].as_u64() > Some(0),
        "{:#}",
        served.summary
    );
}
