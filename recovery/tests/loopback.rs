//! The real service and the real client over loopback, over a journal that is being written meanwhile.

mod common;

use common::{Answered, CHANNEL, Feed, Got};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use twinline_recovery::server::StopHandle;
use twinline_recovery::{
    ClientConfig, Limits, RecoveryClient, Service, ServiceConfig, ServiceError, Stats, range,
};
use twinline_wire::field::{CompleteStatus, LogoutReason, RejectCode};
use twinline_wire::recovery::{Login, PROTOCOL_VERSION, RangesRequest};
use twinline_wire::stream;

/// No test waits longer than this for anything; none asserts on how long it took.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service on a thread of its own.
struct Running {
    address: SocketAddr,
    stats: Arc<Stats>,
    stop: StopHandle,
    thread: Option<JoinHandle<Result<(), ServiceError>>>,
}

impl Running {
    fn start(config: ServiceConfig) -> Self {
        let service = Service::bind(config).expect("a free port");
        Self {
            address: service.local_addr(),
            stats: service.stats(),
            stop: service.stop_handle(),
            thread: Some(std::thread::spawn(|| service.run())),
        }
    }

    fn over(dir: &Path) -> Self {
        Self::start(config(dir))
    }

    fn stop(mut self) {
        self.stop.stop();
        let thread = self.thread.take().expect("it is stopped once");
        thread.join().expect("no panic").expect("no failure");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the service panicked");
        }
    }
}

/// The service counts after it has spoken, so a client may be here first.
fn eventually(what: &str, true_now: impl Fn() -> bool) {
    let start = Instant::now();
    while !true_now() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn config(dir: &Path) -> ServiceConfig {
    ServiceConfig::new(dir, CHANNEL, "127.0.0.1:0".parse().expect("an address"))
}

/// A client, and all that it was told.
struct Asking {
    client: RecoveryClient,
    events: Vec<(usize, Got)>,
}

impl Asking {
    fn new(addresses: &[SocketAddr]) -> Self {
        let client = RecoveryClient::new(&ClientConfig::new("test", CHANNEL), addresses).expect("a client");
        Self {
            client,
            events: Vec::new(),
        }
    }

    fn ready(addresses: &[SocketAddr]) -> Self {
        let mut asking = Self::new(addresses);
        asking.until("login", |asking| {
            (0..addresses.len()).all(|endpoint| asking.client.is_ready(endpoint))
        });
        asking
    }

    fn poll(&mut self) {
        let events = &mut self.events;
        self.client
            .poll(Duration::from_millis(20), &mut |endpoint, event| {
                events.push((endpoint, event.into()))
            })
            .expect("it can wait");
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(
                start.elapsed() < PATIENCE,
                "waited in vain for {what}; {} events",
                self.events.len()
            );
            self.poll();
        }
    }

    fn has(&self, wanted: &Got) -> bool {
        self.events.iter().any(|(_, event)| event == wanted)
    }

    fn ask(&mut self, request: u32, session: u32, begin: u64, end: u64) -> Answered {
        self.client
            .submit(0, request, session, &[range(begin, end)])
            .expect("ready");
        self.answer(request)
    }

    fn answer(&mut self, request: u32) -> Answered {
        let of = |asking: &Self| {
            let events: Vec<_> = asking.events.iter().map(|(_, event)| event.clone()).collect();
            Answered::of(request, &events)
        };
        self.until("an answer", |asking| {
            asking
                .events
                .iter()
                .any(|(_, event)| matches!(event, Got::Complete { request: of, .. } if *of == request))
        });
        let answered = of(self);
        self.events.clear();
        answered
    }
}

fn complete(had: &[(u64, u64)], refused: &[(u64, u64, RejectCode)]) -> Answered {
    Answered {
        had: had.to_vec(),
        refused: refused.to_vec(),
        status: Some(CompleteStatus::COMPLETE),
    }
}

/// Session 3 with 1..2 and then `messages` in packets of 50.
fn filled(dir: &Path, messages: u64) -> Feed {
    let mut feed = Feed::keeping(dir);
    feed.start_session(3);
    feed.publish((messages / 50) as usize, 50);
    feed
}

#[test]
fn a_journal_is_fetched_whole_while_it_is_being_written() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = filled(dir.path(), 0);
    let service = Running::over(dir.path());
    const END: u64 = 200_000;
    let writer = std::thread::spawn(move || {
        while feed.next < END {
            feed.publish(20, 50);
            std::thread::sleep(Duration::from_micros(500));
        }
        feed
    });
    let mut asking = Asking::ready(&[service.address]);
    let (mut next, mut request, mut waits) = (1, 0, 0);
    while next < END {
        request += 1;
        let answered = asking.ask(request, 3, next, END);
        for (begin, end) in answered.had {
            assert!(begin <= next, "a hole from {next} to {begin}");
            next = next.max(end);
        }
        for (begin, end, code) in answered.refused {
            assert_eq!((begin, end, code), (next, END, RejectCode::NOT_YET_PUBLISHED));
            waits += 1;
        }
    }
    writer.join().expect("the writer ends");
    assert!(
        request > 1 && waits > 0,
        "the reader was never ahead of the writer"
    );
    assert_eq!(
        service.stats.connections.load(Ordering::Relaxed),
        1,
        "one connection for all requests"
    );
    eventually("the count of messages", || {
        service.stats.messages.load(Ordering::Relaxed) >= END - 1
    });
    service.stop();
}

#[test]
fn sessions_epochs_and_every_reject_cross_the_wire() {
    let dir = TempDir::new().expect("a directory");
    let mut feed = filled(dir.path(), 1000);
    feed.end_session();
    feed.start_session(4);
    feed.publish(2, 10);
    feed.start_epoch(100);
    feed.publish(1, 10);
    let service = Running::over(dir.path());
    let mut asking = Asking::ready(&[service.address]);
    assert!(asking.has(&Got::Accepted {
        session: 4,
        oldest: 1,
        next: 111
    }));
    assert_eq!(
        asking.ask(1, 3, 1, 1010),
        complete(&[(1, 1003)], &[(1003, 1010, RejectCode::VOID)])
    );
    let refused = [
        (22, 100, RejectCode::VOID),
        (111, 120, RejectCode::NOT_YET_PUBLISHED),
    ];
    assert_eq!(
        asking.ask(2, 4, 1, 120),
        complete(&[(1, 22), (100, 111)], &refused)
    );
    assert_eq!(
        asking.ask(3, 2, 1, 9),
        complete(&[], &[(1, 9, RejectCode::TOO_OLD)])
    );
    assert_eq!(
        asking.ask(5, 5, 1, 9),
        complete(&[], &[(1, 9, RejectCode::UNKNOWN_SESSION)])
    );
    assert_eq!(
        asking.ask(4, 4, 9, 9),
        complete(&[], &[(9, 9, RejectCode::MALFORMED)])
    );
    for code in [
        RejectCode::VOID,
        RejectCode::NOT_YET_PUBLISHED,
        RejectCode::UNKNOWN_SESSION,
        RejectCode::MALFORMED,
    ] {
        eventually("the count of rejects", || service.stats.rejects(code) > 0);
    }
    service.stop();
}

#[test]
fn a_service_started_before_its_journal_waits_for_it() {
    let parent = TempDir::new().expect("a directory");
    let dir = parent.path().join("later");
    let service = Running::over(&dir);
    let mut asking = Asking::ready(&[service.address]);
    assert!(asking.has(&Got::Accepted {
        session: 0,
        oldest: 0,
        next: 0
    }));
    assert_eq!(
        asking.ask(1, 3, 1, 9),
        complete(&[], &[(1, 9, RejectCode::UNKNOWN_SESSION)])
    );
    assert!(service.stats.last_journal_error().is_some());
    let feed = filled(&dir, 100);
    asking.until("a heartbeat that knows the session", |asking| {
        asking.has(&Got::Heartbeat {
            session: 3,
            next: feed.next,
        })
    });
    assert_eq!(asking.ask(2, 3, 1, 52), complete(&[(1, 52)], &[]));
    assert_eq!(service.stats.last_journal_error(), None);
    service.stop();
}

#[test]
fn a_service_that_died_is_used_again_when_it_is_back() {
    let dir = TempDir::new().expect("a directory");
    let _feed = filled(dir.path(), 1000);
    let service = Running::over(dir.path());
    let address = service.address;
    let mut asking = Asking::ready(&[address]);
    assert_eq!(asking.ask(1, 3, 1, 2), complete(&[(1, 2)], &[]));
    service.stop();
    asking.until("goodbye", |asking| !asking.client.is_ready(0));
    assert!(asking.has(&Got::Logout(LogoutReason::STOPPING)));
    assert!(asking.client.submit(0, 2, 3, &[range(1, 2)]).is_err());
    asking.until("a failed attempt", |asking| {
        asking.has(&Got::Closed("unreachable"))
    });
    let service = Running::start(ServiceConfig {
        bind: address,
        ..config(dir.path())
    });
    asking.until("login", |asking| asking.client.is_ready(0));
    assert_eq!(asking.ask(2, 3, 1, 2), complete(&[(1, 2)], &[]));
    service.stop();
}

#[test]
fn several_services_are_kept_apart_and_one_that_is_down_disturbs_none() {
    let (left, right) = (
        TempDir::new().expect("a directory"),
        TempDir::new().expect("a directory"),
    );
    let _feeds = (filled(left.path(), 1000), filled(right.path(), 500));
    let services = [Running::over(left.path()), Running::over(right.path())];
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("bound");
    let mut asking = Asking::new(&[services[0].address, nobody, services[1].address]);
    asking.until("login", |asking| {
        asking.client.is_ready(0) && asking.client.is_ready(2)
    });
    asking.client.submit(0, 1, 3, &[range(900, 1002)]).expect("ready");
    asking.client.submit(2, 1, 3, &[range(900, 1002)]).expect("ready");
    let of = |asking: &Asking, endpoint: usize| {
        let events: Vec<_> = asking
            .events
            .iter()
            .filter(|(of, _)| *of == endpoint)
            .map(|(_, event)| event.clone())
            .collect();
        Answered::of(1, &events)
    };
    asking.until("both answers", |asking| {
        of(asking, 0).status.is_some() && of(asking, 2).status.is_some()
    });
    assert_eq!(of(&asking, 0), complete(&[(852, 1002)], &[]));
    assert_eq!(
        of(&asking, 2),
        complete(&[], &[(900, 1002, RejectCode::NOT_YET_PUBLISHED)])
    );
    asking.until("a failed attempt", |asking| {
        asking.events.contains(&(1, Got::Closed("unreachable")))
    });
}

#[test]
fn sixty_clients_get_the_same_range_while_one_never_reads() {
    let dir = TempDir::new().expect("a directory");
    const END: u64 = 50_002;
    let _feed = filled(dir.path(), 50_000);
    let limits = Limits {
        slow_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let service = Running::start(ServiceConfig {
        limits,
        ..config(dir.path())
    });
    let deaf = never_reading(service.address);
    let answered = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                // Ten clients a thread.
                let mut asking = Asking::ready(&[service.address; 10]);
                for endpoint in 0..10 {
                    asking
                        .client
                        .submit(endpoint, 1, 3, &[range(1, END)])
                        .expect("ready");
                }
                let done = |asking: &Asking, endpoint: usize| {
                    asking.events.contains(&(
                        endpoint,
                        Got::Complete {
                            request: 1,
                            status: CompleteStatus::COMPLETE,
                        },
                    ))
                };
                asking.until("all answers", |asking| {
                    (0..10).all(|endpoint| done(asking, endpoint))
                });
                for endpoint in 0..10 {
                    let events: Vec<_> = asking
                        .events
                        .iter()
                        .filter(|(of, _)| *of == endpoint)
                        .map(|(_, event)| event.clone())
                        .collect();
                    assert_eq!(Answered::of(1, &events), complete(&[(1, END)], &[]));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(answered.into_inner(), 60);
    eventually("the cut of the one that never reads", || {
        service.stats.cuts(LogoutReason::SLOW) == 1
    });
    drop(deaf);
    let mut asking = Asking::ready(&[service.address]);
    assert_eq!(asking.ask(1, 3, 1, 2), complete(&[(1, 2)], &[]));
    service.stop();
}

/// A client that asks for far more than sockets hold, and reads nothing.
fn never_reading(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let mut frame = [0; 4096];
    let login = Login {
        protocol_version: PROTOCOL_VERSION.into(),
        channel: CHANNEL.into(),
    };
    let length = stream::put_with_data(&mut frame, &login, &[b"deaf", b""]).expect("room");
    stream.write_all(&frame[..length]).expect("sent");
    for id in 1..=16u32 {
        let request = RangesRequest {
            request_id: id.into(),
            session: 3.into(),
        };
        let ranges = [range(1, 50_000); 20];
        let length = stream::put_with_ranges(&mut frame, &request, &ranges).expect("room");
        stream.write_all(&frame[..length]).expect("sent");
    }
    stream
}

#[test]
fn a_client_too_many_is_told_so_and_comes_in_when_there_is_room() {
    let dir = TempDir::new().expect("a directory");
    let _feed = filled(dir.path(), 50);
    let service = Running::start(ServiceConfig {
        max_clients: 2,
        ..config(dir.path())
    });
    let first = Asking::ready(&[service.address; 2]);
    let mut late = Asking::new(&[service.address]);
    late.until("being turned away", |late| {
        late.has(&Got::Logout(LogoutReason::FULL))
    });
    assert!(!late.client.is_ready(0));
    first.client.close();
    late.until("login", |late| late.client.is_ready(0));
    let refused = service.stats.refused.load(Ordering::Relaxed);
    assert!(refused > 0);
    eventually("the count of cuts", || {
        service.stats.cuts(LogoutReason::FULL) >= refused
    });
    service.stop();
}

#[test]
fn a_client_that_falls_silent_is_cut() {
    let dir = TempDir::new().expect("a directory");
    let _feed = filled(dir.path(), 50);
    let limits = Limits {
        idle_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let service = Running::start(ServiceConfig {
        limits,
        ..config(dir.path())
    });
    let mut stream = TcpStream::connect(service.address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let login = Login {
        protocol_version: PROTOCOL_VERSION.into(),
        channel: CHANNEL.into(),
    };
    let mut frame = [0; 128];
    let length = stream::put_with_data(&mut frame, &login, &[b"mute", b""]).expect("room");
    stream.write_all(&frame[..length]).expect("sent");
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).expect("the service closes");
    assert!(heard.windows(7).any(|words| words == b"nothing"), "it says why");
    eventually("the count of cuts", || {
        service.stats.cuts(LogoutReason::IDLE) == 1
    });
    service.stop();
}

#[test]
fn a_waiting_poll_is_ended_by_the_waker() {
    let client = RecoveryClient::new(&ClientConfig::new("test", CHANNEL), &[]);
    let mut client = client.expect("a client");
    let waker = client.waker();
    let polled = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&polled);
    let thread = std::thread::spawn(move || {
        client
            .poll(PATIENCE * 100, &mut |_, event| panic!("{event:?}"))
            .expect("it can wait");
        done.store(true, Ordering::Release);
    });
    waker.wake().expect("it can be woken");
    thread.join().expect("no panic");
    assert!(polled.load(Ordering::Acquire));
}

#[test]
fn what_cannot_be_served_is_an_error_of_one_line() {
    let dir = TempDir::new().expect("a directory");
    let _feed = filled(dir.path(), 50);
    let service = Running::over(dir.path());
    let taken = Service::bind(ServiceConfig {
        bind: service.address,
        ..config(dir.path())
    });
    let foreign = Service::bind(ServiceConfig {
        channel: CHANNEL + 1,
        ..config(dir.path())
    });
    let other = TempDir::new().expect("a directory");
    std::fs::write(other.path().join("notes.txt"), "mine").expect("written");
    let no_journal = Service::bind(config(other.path()));
    for (result, word) in [
        (taken, "port"),
        (foreign, "channel"),
        (no_journal, "not a journal"),
    ] {
        let Err(error) = result else {
            panic!("served: {word}")
        };
        let text = error.to_string();
        assert!(text.contains(word) && !text.contains('\n'), "{text}");
    }
    service.stop();
}

#[test]
fn a_service_lets_go_of_segments_that_retention_removed() {
    let dir = TempDir::new().expect("a directory");
    let retention = twinline_journal::Retention {
        segments: Some(2),
        bytes: None,
        age: None,
    };
    let mut feed = Feed::open(dir.path(), 64 << 10, retention);
    feed.start_session(3);
    feed.publish(10, 50);
    let service = Running::over(dir.path());
    let mut asking = Asking::ready(&[service.address]);
    assert_eq!(asking.ask(1, 3, 1, 400), complete(&[(1, 402)], &[]));
    feed.publish(500, 50);
    let next = feed.next;
    eventually("the old segments to go", || mapped_but_removed(dir.path()) == 0);
    let old = asking.ask(2, 3, 1, next);
    let [(1, oldest, RejectCode::TOO_OLD)] = old.refused[..] else {
        panic!("{old:?}");
    };
    assert_eq!(old.had, [(oldest, next)]);
    service.stop();
}

/// Files of this directory that were removed and are mapped still.
fn mapped_but_removed(dir: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
    let dir = dir.to_str().expect("plain");
    maps.lines()
        .filter(|line| line.contains(dir) && line.ends_with("(deleted)"))
        .count()
}
