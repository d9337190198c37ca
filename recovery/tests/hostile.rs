//! Whatever comes from the other side: no panic, no memory that grows with it, and nobody else is disturbed.

mod common;

use common::{Answered, CHANNEL, Feed, Got, SECOND, check_content};
use proptest::collection::vec;
use proptest::prelude::*;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use twinline_journal::JournalReader;
use twinline_recovery::server::{Quota, Store};
use twinline_recovery::{
    ClientConfig, ClientEvent, ClientSession, Limits, Range, RecoveryClient, ServerSession, Service,
    ServiceConfig, range,
};
use twinline_wire::recovery::{
    Acknowledge, Login, Logout, PROTOCOL_VERSION, RangesRequest, StreamHeartbeat, TailRequest,
};
use twinline_wire::stream;

fn journal(dir: &TempDir) -> JournalReader {
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    feed.publish(50, 20);
    feed.start_epoch(5000);
    feed.publish(50, 20);
    JournalReader::open(dir.path()).expect("a journal")
}

/// A conversation of a client that knows the protocol, from a seed.
fn conversation(seed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut frame = [0; 2048];
    let login = Login {
        protocol_version: PROTOCOL_VERSION.into(),
        channel: CHANNEL.into(),
    };
    let length = stream::put_with_data(&mut frame, &login, &[b"name", b"token"]).expect("room");
    bytes.extend_from_slice(&frame[..length]);
    for (index, &byte) in seed.iter().enumerate() {
        let id = u32::try_from(index).expect("a short seed") + 1;
        let begin = u64::from(byte) * 25;
        let length = match byte % 8 {
            0 => {
                let zero = StreamHeartbeat {
                    session: 0.into(),
                    epoch: 0.into(),
                    epoch_base: 0.into(),
                    next: 0.into(),
                };
                stream::put_with_data(&mut frame, &zero, &[])
            }
            1 => {
                let kind = twinline_wire::field::TailKind::READER;
                let tail = TailRequest {
                    request_id: id.into(),
                    session: 3.into(),
                    sequence: 1.into(),
                    kind,
                };
                stream::put_with_data(&mut frame, &tail, &[])
            }
            2 if byte > 250 => {
                let logout = Logout {
                    reason: twinline_wire::field::LogoutReason::DONE,
                };
                stream::put_with_data(&mut frame, &logout, &[b""])
            }
            3 if byte > 250 => {
                let ack = Acknowledge {
                    request_id: id.into(),
                    session: 3.into(),
                    epoch: 1.into(),
                    sequence: 1.into(),
                };
                stream::put_with_data(&mut frame, &ack, &[])
            }
            _ => {
                let request = RangesRequest {
                    request_id: id.into(),
                    session: 3.into(),
                };
                let ranges = [
                    range(begin, begin + 300),
                    range(begin + 7, begin),
                    range(1, u64::MAX),
                ];
                stream::put_with_ranges(&mut frame, &request, &ranges[..usize::from(byte % 4)])
            }
        };
        bytes.extend_from_slice(&frame[..length.expect("room")]);
    }
    bytes
}

/// Flips, overwrites, cuts out and repeats bytes.
fn mutate(bytes: &mut Vec<u8>, changes: &[(u16, u8, u8)]) {
    for &(at, kind, value) in changes {
        if bytes.is_empty() {
            return;
        }
        let at = usize::from(at) % bytes.len();
        match kind % 4 {
            0 => bytes[at] ^= 1 << (value % 8),
            1 => bytes[at] = value,
            2 => drop(bytes.drain(at..(at + usize::from(value)).min(bytes.len()))),
            _ => {
                let piece = bytes[at..(at + usize::from(value)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// Feeds a server session, reading of its answers what `reads` says; returns the most memory it held.
fn drive_server(server: &mut ServerSession, store: &mut Store, mut bytes: &[u8], reads: usize) -> usize {
    let mut memory = 0;
    let mut now = 0;
    for _ in 0..10_000 {
        now += SECOND / 100;
        let taken = server.on_bytes(&bytes[..bytes.len().min(100)]);
        bytes = &bytes[taken..];
        let pending = server.poll_output(now, store).len().min(reads);
        server.consumed(pending, now);
        server.on_time(now);
        memory = memory.max(server.memory());
        if server.is_over() || (bytes.is_empty() && pending == 0) {
            break;
        }
    }
    memory
}

/// What the limits allow one client, in bytes.
fn allowed(limits: &Limits) -> usize {
    let requests = usize::from(limits.max_requests);
    let ranges = requests * usize::from(limits.max_ranges) * size_of::<Range>();
    20_000 + 2 * (ranges + requests * 64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_server_session_survives_any_bytes(bytes in vec(any::<u8>(), 0..3000), reads in 1usize..5000) {
        let limits = Limits::default();
        let mut store = Store::new(None, Quota::new(None, 0));
        let mut server = ServerSession::new(&limits, CHANNEL, 0);
        prop_assert!(drive_server(&mut server, &mut store, &bytes, reads) <= allowed(&limits));
    }

    #[test]
    fn a_client_session_survives_any_bytes(bytes in vec(any::<u8>(), 0..3000), piece in 1usize..500) {
        let config = ClientConfig { max_frame: 4096, ..ClientConfig::new("test", CHANNEL) };
        let mut client = ClientSession::new(config).expect("a short name");
        let memory = client.memory();
        client.on_connected(0);
        let mut events: Vec<Got> = Vec::new();
        for piece in bytes.chunks(piece) {
            client.on_bytes(piece, 0, &mut |event| events.push(event.into()));
        }
        prop_assert_eq!(client.memory(), memory);
        let closed = events.iter().filter(|event| matches!(event, Got::Closed(_) | Got::Logout(_))).count();
        prop_assert!(closed <= 1);
    }
}

#[test]
fn both_sessions_survive_mutated_conversations() {
    let dir = TempDir::new().expect("a directory");
    let reader = journal(&dir);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 500,
        ..ProptestConfig::default()
    });
    let strategy = (
        vec(any::<u8>(), 0..40),
        vec(any::<(u16, u8, u8)>(), 0..6),
        1usize..10_000,
    );
    let result = runner.run(&strategy, |(seed, changes, reads)| {
        let limits = Limits {
            max_data: 4096,
            ..Limits::default()
        };
        let mut store = Store::new(Some(reader.clone()), Quota::new(Some(100_000), 0));
        let mut bytes = conversation(&seed);
        // What the service says to it as it was meant, mutated for the client.
        let mut server = ServerSession::new(&limits, CHANNEL, 0);
        let mut answers = answers(&mut server, &mut store, &bytes);
        mutate(&mut answers, &changes);
        drive_client(&answers, u32::try_from(seed.len()).expect("short"));
        mutate(&mut bytes, &changes);
        let mut server = ServerSession::new(&limits, CHANNEL, 0);
        prop_assert!(drive_server(&mut server, &mut store, &bytes, reads) <= allowed(&limits));
        Ok(())
    });
    result.expect("no bytes break a session");
}

fn answers(server: &mut ServerSession, store: &mut Store, mut bytes: &[u8]) -> Vec<u8> {
    let mut answers = Vec::new();
    while answers.len() < 200_000 {
        let taken = server.on_bytes(bytes);
        bytes = &bytes[taken..];
        let output = server.poll_output(0, store);
        let piece = [output.head, output.packets, output.control].concat();
        server.consumed(piece.len(), 0);
        answers.extend_from_slice(&piece);
        if piece.is_empty() && taken == 0 {
            break;
        }
    }
    answers
}

fn drive_client(answers: &[u8], requests: u32) {
    let mut client = ClientSession::new(ClientConfig::new("test", CHANNEL)).expect("a short name");
    let memory = client.memory();
    client.on_connected(0);
    for (index, piece) in answers.chunks(1000).enumerate() {
        // Packets that pass are checked to say what the journal says.
        client.on_bytes(piece, 0, &mut |event| {
            if let ClientEvent::Packet { packet, .. } = event {
                check_content(&packet);
            }
        });
        if index == 0 {
            for request in 1..=requests {
                let _ = client.request(request, 3, &[range(1, 2)], 0);
            }
        }
        client.consumed(client.output().len());
    }
    assert_eq!(client.memory(), memory);
}

/// A generator of numbers that look random, the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn a_service_under_attack_serves_its_clients() {
    let dir = TempDir::new().expect("a directory");
    let _reader = journal(&dir);
    let limits = Limits {
        login_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_secs(3),
        slow_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let bind = "127.0.0.1:0".parse().expect("an address");
    let service = Service::bind(ServiceConfig {
        limits,
        ..ServiceConfig::new(dir.path(), CHANNEL, bind)
    });
    let service = service.expect("a free port");
    let (address, stats, stop) = (service.local_addr(), service.stats(), service.stop_handle());
    let thread = std::thread::spawn(|| service.run());
    let before = anonymous_memory();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for attacker in 1..=3 {
            let over = &over;
            scope.spawn(move || attack(address, Numbers(0x9e37_79b9_7f4a_7c15 >> attacker), over));
        }
        let asked = std::panic::catch_unwind(|| ask_often(address, 300));
        over.store(true, Ordering::Release);
        assert!(
            asked.is_ok(),
            "the good client was not served: {:?}",
            asked.err().map(|_| &stats)
        );
    });
    assert!(
        stats.malformed.load(Ordering::Relaxed) > 0,
        "the attack was noticed"
    );
    assert!(stats.connections.load(Ordering::Relaxed) > 10);
    let grown = anonymous_memory().saturating_sub(before);
    assert!(grown < 48 << 20, "memory grew by {grown} bytes");
    stop.stop();
    thread.join().expect("no panic").expect("no failure");
}

/// Connects over and over: garbage, broken conversations, drips, silence, and closing in between.
fn attack(address: SocketAddr, mut numbers: Numbers, over: &AtomicBool) {
    let mut held: Vec<TcpStream> = Vec::new();
    while !over.load(Ordering::Acquire) {
        let Ok(mut stream) = TcpStream::connect(address) else {
            continue;
        };
        stream
            .set_write_timeout(Some(Duration::from_millis(20)))
            .expect("set");
        stream
            .set_read_timeout(Some(Duration::from_millis(1)))
            .expect("set");
        let kind = numbers.next() % 6;
        let seed = numbers.bytes(30);
        let mut bytes = match kind {
            0 => numbers.bytes(5000),
            _ => conversation(&seed),
        };
        if kind < 3 {
            let changes: Vec<_> = (0..3)
                .map(|_| (numbers.next() as u16, numbers.next() as u8, numbers.next() as u8))
                .collect();
            mutate(&mut bytes, &changes);
        }
        match kind {
            // A drip that never becomes a login.
            3 => bytes.truncate(9),
            // Asks for everything, many times.
            4 => bytes = bytes.repeat(20),
            _ => {}
        }
        // Failures are what is expected here.
        let _ = stream.write_all(&bytes);
        let mut some = [0; 1000];
        let _ = stream.read(&mut some);
        match numbers.next() % 3 {
            0 => held.push(stream),
            1 => {
                let _ = stream.shutdown(Shutdown::Write);
                held.push(stream);
            }
            _ => {}
        }
        if held.len() > 40 {
            held.drain(..20);
        }
    }
}

/// A client as it should be, that asks often and checks every answer.
fn ask_often(address: SocketAddr, times: u32) {
    let mut client = RecoveryClient::new(&ClientConfig::new("good", CHANNEL), &[address]).expect("a client");
    let mut events: Vec<Got> = Vec::new();
    let start = Instant::now();
    for request in 1..=times {
        while !client.is_ready(0) {
            client
                .poll(Duration::from_millis(20), &mut |_, _| {})
                .expect("it can wait");
            assert!(start.elapsed() < Duration::from_secs(60), "no login");
        }
        client.submit(0, request, 3, &[range(1, 6001)]).expect("ready");
        events.clear();
        while Answered::of(request, &events).status.is_none() {
            client
                .poll(Duration::from_millis(20), &mut |_, event| {
                    events.push(event.into())
                })
                .expect("it can wait");
            assert!(start.elapsed() < Duration::from_secs(60), "no answer: {events:?}");
        }
        assert_eq!(Answered::of(request, &events).had, [(1, 1002), (5000, 6001)]);
        assert!(client.is_ready(0), "it was cut: {events:?}");
    }
}

/// Bytes of memory of this process that are neither files nor shared.
fn anonymous_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .expect("Linux");
    let kib: usize = line
        .trim()
        .trim_end_matches(" kB")
        .trim()
        .parse()
        .expect("a number");
    kib * 1024
}
