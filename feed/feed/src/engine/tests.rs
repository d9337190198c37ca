//! Both ends of the dialogue over loopback: connections that are lost, positions, hostile bytes.

use super::*;
use crate::source::{Recorder, Source, SourceError, SourceState};
use proptest::prelude::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use twinline_wire::field::EventFlags;
use twinline_wire::market::PriceTick;
use twinline_wire::session::{EndOfSession, EpochStart};
use zerocopy::FromBytes;

const PATIENCE: Duration = Duration::from_secs(20);

fn socket() -> (EngineSocket, SocketAddr) {
    let socket = EngineSocket::listen("127.0.0.1:0".parse().unwrap(), 3).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A source with a clock of its own.
struct Driven {
    source: EngineSocket,
    sink: Recorder,
    start: Instant,
}

impl Driven {
    fn new(source: EngineSocket) -> Self {
        Self {
            source,
            sink: Recorder::default(),
            start: Instant::now(),
        }
    }

    fn poll(&mut self) -> Result<SourceState, SourceError> {
        let now = self.start.elapsed().as_nanos() as u64 + 1;
        self.source.poll(now, &mut self.sink)
    }

    /// Polls until `done`, an error or the end; journals all that comes at once if `commit`.
    fn until(&mut self, commit: bool, done: impl Fn(&Self) -> bool) -> Result<(), SourceError> {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "it takes for ever");
            match self.poll()? {
                SourceState::End => return Ok(()),
                SourceState::Idle { .. } => std::thread::sleep(Duration::from_micros(50)),
                SourceState::Ready => {}
            }
            if commit {
                self.source.acknowledge(self.source.position());
            }
        }
        Ok(())
    }

    /// Quantities of the ticks of all events.
    fn said(&self) -> Vec<u64> {
        let messages = self.sink.events.iter().flat_map(|event| &event.messages);
        messages
            .map(|(_, block)| PriceTick::ref_from_bytes(block).unwrap().source_time.get())
            .collect()
    }
}

fn tick(number: u64) -> PriceTick {
    PriceTick {
        source_time: number.into(),
        instrument: 1.into(),
        ..PriceTick::NULL
    }
}

/// Says events up to `last`, of as many ticks as their number leaves when divided by three, and one.
fn say(client: &mut EngineClient, last: u64) {
    while client.position() < last {
        let event = client.position() + 1;
        for _ in 0..=event % 3 {
            client.push(&tick(event));
        }
        client.end_event().unwrap();
    }
}

fn expected(last: u64) -> Vec<u64> {
    (1..=last)
        .flat_map(|event| (0..=event % 3).map(move |_| event))
        .collect()
}

#[test]
fn events_come_whole_in_order_and_marked_and_the_engine_hears_what_is_journalled() {
    let (source, address) = socket();
    let mut driven = Driven::new(source);
    let engine = std::thread::spawn(move || {
        let mut client = EngineClient::connect(address, PATIENCE).unwrap();
        assert_eq!(client.resume_at(), 0);
        say(&mut client, 5_000);
        client.finish().unwrap();
    });
    driven.until(true, |_| false).unwrap();
    engine.join().unwrap();
    assert_eq!(driven.said(), expected(5_000));
    assert_eq!(driven.source.counts()[0].messages, 5_000);
    for (event, position) in driven.sink.events.iter().zip(1..) {
        assert_eq!(event.position, position);
        let (_, last) = event.messages.last().unwrap();
        assert_eq!(
            last.last().unwrap() & EventFlags::END_OF_EVENT.0,
            EventFlags::END_OF_EVENT.0
        );
    }
}

#[test]
fn what_is_not_journalled_is_said_again_to_the_next_publisher_and_what_is_is_not() {
    let (source, address) = socket();
    let mut driven = Driven::new(source);
    let engine = std::thread::spawn(move || {
        let mut client = EngineClient::connect(address, PATIENCE).unwrap();
        say(&mut client, 1_000);
        client.flush().unwrap();
        // Until the first publisher has journalled 400 and is gone, and the second one has it all.
        client.finish().unwrap();
    });
    driven
        .until(false, |driven| driven.source.position() == 1_000)
        .unwrap();
    // It took all, journalled 400, and was killed.
    driven.source.acknowledge(400);
    let told = Instant::now();
    driven
        .until(false, |_| told.elapsed() > Duration::from_millis(20))
        .unwrap();
    drop(driven.source);
    let mut second = EngineSocket::listen(address, 3).unwrap();
    second.resume(400).unwrap();
    let mut second = Driven::new(second);
    second.until(true, |_| false).unwrap();
    engine.join().unwrap();
    assert_eq!(second.said(), expected(1_000)[expected(400).len()..]);
}

#[test]
fn an_engine_that_starts_again_goes_on_where_the_journal_is_and_repeats_are_dropped() {
    let (source, address) = socket();
    let mut driven = Driven::new(source);
    for last in [100, 250] {
        let engine = std::thread::spawn(move || {
            let mut client = EngineClient::connect(address, PATIENCE).unwrap();
            let resume = client.resume_at();
            say(&mut client, last);
            client.flush().unwrap();
            resume
        });
        driven
            .until(true, |driven| driven.source.position() == last)
            .unwrap();
        assert_eq!(engine.join().unwrap(), if last == 100 { 0 } else { 100 });
    }
    // An engine that knows no better says the same again.
    let mut stream = greeted(&mut driven, address);
    let mut bytes = Vec::new();
    for event in 240..=252 {
        framed(&mut bytes, &tick(event));
        bytes.extend(position(3, event));
    }
    stream.write_all(&bytes).unwrap();
    driven
        .until(true, |driven| driven.source.position() == 252)
        .unwrap();
    assert_eq!(driven.sink.events.len(), 252);
}

/// A connection that the source has greeted.
fn greeted(driven: &mut Driven, address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut room = [0; POSITION_LEN];
    while stream.read(&mut room).is_err() {
        assert!(Instant::now() < deadline);
        driven.poll().unwrap();
    }
    stream
}

/// The error of a source that is sent this.
fn sent(bytes: &[u8]) -> (String, u64) {
    let (source, address) = socket();
    let mut driven = Driven::new(source);
    let mut stream = greeted(&mut driven, address);
    stream.write_all(bytes).unwrap();
    let error = driven.until(true, |_| false).unwrap_err();
    (error.to_string(), driven.source.position())
}

#[test]
fn what_breaks_the_dialogue_is_named_and_what_came_before_is_kept() {
    let event = |number: u64| {
        let mut bytes = Vec::new();
        framed(&mut bytes, &tick(number));
        bytes.extend(position(3, number));
        bytes
    };
    let mut other = Vec::new();
    framed(&mut other, &EpochStart::NULL);
    let endless: Vec<u8> = (0..3_000)
        .flat_map(|_| event(1)[..PriceTick::FRAME_LEN].to_vec())
        .collect();
    for (bytes, named) in [
        (event(2), "those between are missing"),
        (position(9, 1), "the position of source 9"),
        (other, "EpochStart, which is no market message"),
        (vec![0; 40], "no framed message"),
        (
            b"GET / HTTP/1.1\r\n\r\n".repeat(2000),
            "a message of another schema",
        ),
        (endless, "an event of more than 65536 bytes"),
    ] {
        let (error, position) = sent(&[&bytes[..]].concat());
        assert!(error.contains(named) && position == 0, "{error}");
        if bytes != event(2) {
            let (error, position) = sent(&[event(1), bytes].concat());
            assert!(error.contains(named) && position == 1, "{error}");
        }
    }
}

#[test]
fn a_second_engine_is_turned_away_while_the_first_is_there() {
    let (source, address) = socket();
    let mut driven = Driven::new(source);
    let _first = greeted(&mut driven, address);
    let mut second = TcpStream::connect(address).unwrap();
    let at = Instant::now();
    driven
        .until(true, |_| at.elapsed() > Duration::from_millis(20))
        .unwrap();
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(second.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn an_engine_is_told_what_is_wrong() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = EngineClient::connect(nobody, Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, EngineError::Unreachable { .. }), "{error}");
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        other
            .accept()
            .unwrap()
            .0
            .write_all(b"220 smtp ready\r\n")
            .unwrap()
    });
    let error = EngineClient::connect(address, Duration::from_secs(5)).unwrap_err();
    assert!(
        matches!(
            error,
            EngineError::NotAPublisher { .. } | EngineError::Unreachable { .. }
        ),
        "{error}"
    );
    serving.join().unwrap();
    let (source, address) = socket();
    let mut driven = Driven::new(source);
    let engine = std::thread::spawn(move || {
        let mut client = EngineClient::connect(address, PATIENCE).unwrap();
        for _ in 0..2_000 {
            client.push(&tick(1));
        }
        client.end_event().unwrap_err()
    });
    driven.until(true, |_| engine.is_finished()).unwrap();
    assert!(matches!(engine.join().unwrap(), EngineError::TooLong { .. }));
    let mut end = Vec::new();
    framed(&mut end, &EndOfSession::NULL);
    assert_eq!(end.len(), EndOfSession::FRAME_LEN);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (source, address) = socket();
        let mut driven = Driven::new(source);
        let mut stream = greeted(&mut driven, address);
        stream.write_all(&bytes).unwrap();
        drop(stream);
        for _ in 0..20 {
            if driven.poll().is_err() {
                break;
            }
        }
    }
}
