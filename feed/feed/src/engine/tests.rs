//! Both ends of the dialogue, over loopback and through shared memory: connections that are lost, positions, hostile bytes.

use super::transport::Stream;
use super::*;
use crate::source::{EventSink, Recorder, Source, SourceError, SourceState};
use proptest::prelude::*;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use twinline_wire::field::EventFlags;
use twinline_wire::market::PriceTick;
use twinline_wire::session::{EndOfSession, EpochStart};
use zerocopy::FromBytes;

const PATIENCE: Duration = Duration::from_secs(20);
/// The publisher's packet limit.
const PACKET: usize = 1408;

/// Where a publisher may listen: both ways that there are. The directory is to be kept.
fn places() -> (tempfile::TempDir, [EngineAddress; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let shared = EngineAddress::Shared(dir.path().join("engine"));
    (dir, [loopback(), shared])
}

fn loopback() -> EngineAddress {
    EngineAddress::Tcp("127.0.0.1:0".parse().unwrap())
}

fn listen(place: &EngineAddress) -> (EngineSource, EngineAddress) {
    let source = EngineSource::listen(place, 3, PACKET).unwrap();
    let address = source.address().clone();
    (source, address)
}

/// A source with a clock of its own.
struct Driven {
    source: EngineSource,
    sink: Recorder,
    start: Instant,
}

impl Driven {
    fn new(source: EngineSource) -> Self {
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
    let (_dir, places) = places();
    for place in &places {
        let (source, address) = listen(place);
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
}

#[test]
fn what_is_not_journalled_is_said_again_to_the_next_publisher_and_what_is_is_not() {
    let (_dir, places) = places();
    for place in &places {
        let (source, address) = listen(place);
        let mut driven = Driven::new(source);
        let to = address.clone();
        let engine = std::thread::spawn(move || {
            let mut client = EngineClient::connect(to, PATIENCE).unwrap();
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
        let mut second = EngineSource::listen(&address, 3, PACKET).unwrap();
        second.resume(400).unwrap();
        let mut second = Driven::new(second);
        second.until(true, |_| false).unwrap();
        engine.join().unwrap();
        assert_eq!(second.said(), expected(1_000)[expected(400).len()..]);
    }
}

#[test]
fn an_engine_that_starts_again_goes_on_where_the_journal_is_and_repeats_are_dropped() {
    let (_dir, places) = places();
    for place in &places {
        let (source, address) = listen(place);
        let mut driven = Driven::new(source);
        for last in [100, 250] {
            let to = address.clone();
            let engine = std::thread::spawn(move || {
                let mut client = EngineClient::connect(to, PATIENCE).unwrap();
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
        let mut stream = greeted(&mut driven, &address);
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
}

/// What a connection says first: the bytes, or that it is at its end.
fn first_words(address: &EngineAddress) -> std::io::Result<(Stream, usize)> {
    let mut stream = Stream::connect(address, PATIENCE)?;
    loop {
        match stream.read(&mut [0; POSITION_LEN]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return Ok((stream, read?)),
        }
    }
}

/// A connection that the source has greeted. It may have to see first that the one before is over.
fn greeted(driven: &mut Driven, address: &EngineAddress) -> Stream {
    let to = address.clone();
    let connecting = std::thread::spawn(move || {
        loop {
            if let Ok((stream, POSITION_LEN)) = first_words(&to) {
                return stream;
            }
        }
    });
    driven.until(false, |_| connecting.is_finished()).unwrap();
    connecting.join().unwrap()
}

/// The error of a source that is sent this.
fn sent(place: &EngineAddress, bytes: &[u8]) -> (String, u64) {
    let (source, address) = listen(place);
    let mut driven = Driven::new(source);
    let mut stream = greeted(&mut driven, &address);
    stream.write_all(bytes).unwrap();
    let error = driven.until(true, |_| false).unwrap_err();
    (error.to_string(), driven.source.position())
}

#[test]
fn what_breaks_the_dialogue_is_named_and_what_came_before_is_kept() {
    let (_dir, places) = places();
    for place in &places {
        let event = |number: u64| {
            let mut bytes = Vec::new();
            framed(&mut bytes, &tick(number));
            bytes.extend(position(3, number));
            bytes
        };
        let mut other = Vec::new();
        framed(&mut other, &EpochStart::NULL);
        // The block ends before the flags.
        let mut short = vec![18, 0, 8, 0];
        short.extend_from_slice(&event(1)[4..18]);
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
            (endless, "an event of more than 1360 bytes"),
            (short, "PriceTick of 8 bytes, which is cut off"),
        ] {
            let (error, position) = sent(place, &bytes);
            assert!(error.contains(named) && position == 0, "{error}");
            if bytes != event(2) {
                let (error, position) = sent(place, &[event(1), bytes].concat());
                assert!(error.contains(named) && position == 1, "{error}");
            }
        }
    }
}

#[test]
fn a_second_engine_is_turned_away_while_the_first_is_there() {
    let (_dir, places) = places();
    for place in &places {
        let (source, address) = listen(place);
        let mut driven = Driven::new(source);
        let _first = greeted(&mut driven, &address);
        let second = std::thread::spawn(move || first_words(&address).map(|(_, read)| read));
        driven.until(true, |_| second.is_finished()).unwrap();
        let heard = second.join().unwrap();
        let turned_away = matches!(&heard, Ok(0))
            || matches!(&heard, Err(error) if error.kind() == ErrorKind::UnexpectedEof);
        assert!(turned_away, "{heard:?}");
    }
}

#[test]
fn an_engine_is_told_what_is_wrong() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = EngineClient::connect(EngineAddress::Tcp(nobody), Duration::from_millis(50)).unwrap_err();
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
    let error = EngineClient::connect(EngineAddress::Tcp(address), Duration::from_secs(5)).unwrap_err();
    assert!(
        matches!(
            error,
            EngineError::NotAPublisher { .. } | EngineError::Unreachable { .. }
        ),
        "{error}"
    );
    serving.join().unwrap();
    let (source, address) = listen(&loopback());
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

#[test]
fn an_event_that_no_packet_holds_ends_the_engine_and_neither_it_nor_those_behind_it_are_forgotten() {
    let (source, address) = listen(&loopback());
    let mut driven = Driven::new(source);
    let engine = std::thread::spawn(move || {
        let mut client = EngineClient::connect(address, Duration::from_millis(300)).unwrap();
        say(&mut client, 10);
        (0..40).for_each(|_| client.push(&tick(11)));
        client.end_event().unwrap();
        loop {
            // An engine that goes on meanwhile does not fill its memory for ever.
            let next = client.position() + 1;
            say(&mut client, next);
            if let Err(error) = client.flush() {
                return error;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    while !engine.is_finished() {
        if let Err(error) = driven.until(true, |_| engine.is_finished()) {
            assert!(error.to_string().contains("no packet holds it"), "{error}");
        }
    }
    let error = engine.join().unwrap();
    assert!(matches!(error, EngineError::Refused { event: 11, .. }), "{error}");
    assert_eq!(driven.said(), expected(10));
}

#[test]
fn an_error_of_an_event_shows_at_the_next_flush_and_a_publisher_that_is_ahead_is_never_gone_on_with() {
    let (source, address) = listen(&loopback());
    let mut driven = Driven::new(source);
    let flushed = Arc::new(AtomicBool::new(false));
    let has_flushed = Arc::clone(&flushed);
    let engine = std::thread::spawn(move || {
        let mut client = EngineClient::connect(address, PATIENCE).unwrap();
        (0..2_000).for_each(|_| client.push(&tick(1)));
        EventSink::end_event(&mut client, 3, 1);
        assert!(matches!(client.flush(), Err(EngineError::TooLong { .. })));
        say(&mut client, 5);
        client.flush().unwrap();
        has_flushed.store(true, Ordering::Relaxed);
        // The connection is lost, and the next publisher has more than was ever said.
        let error = loop {
            match client.flush() {
                Ok(()) => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(error, EngineError::Ahead { has: 9, said: 5, .. }),
            "{error}"
        );
        say(&mut client, 8);
        client.flush().unwrap_err()
    });
    driven
        .until(true, |driven| {
            driven.source.position() == 5 && flushed.load(Ordering::Relaxed)
        })
        .unwrap();
    let address = driven.source.address().clone();
    drop(driven);
    let mut source = EngineSource::listen(&address, 3, PACKET).unwrap();
    source.resume(9).unwrap();
    let mut next = Driven::new(source);
    next.until(true, |_| engine.is_finished()).unwrap();
    let error = engine.join().unwrap();
    assert!(
        matches!(error, EngineError::Ahead { has: 9, said: 8, .. }),
        "{error}"
    );
}

#[test]
fn a_socket_that_a_killed_publisher_left_is_taken_over_and_one_in_use_or_another_file_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine");
    let place = EngineAddress::Shared(path.clone());
    // As kill -9 leaves it: the file without anybody who listens.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let (source, _) = listen(&place);
    let error = EngineSource::listen(&place, 4, PACKET).unwrap_err().to_string();
    assert!(
        error.contains("whether a publisher listens there already"),
        "{error}"
    );
    drop(source);
    assert!(!path.exists(), "who ends in order leaves nothing");
    std::fs::write(&path, "precious").unwrap();
    assert!(EngineSource::listen(&place, 3, PACKET).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_are_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (source, address) = listen(&loopback());
        let mut driven = Driven::new(source);
        let mut stream = greeted(&mut driven, &address);
        stream.write_all(&bytes).unwrap();
        drop(stream);
        for _ in 0..20 {
            if driven.poll().is_err() {
                break;
            }
        }
    }
}
