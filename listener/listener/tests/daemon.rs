//! Publisher, recovery service and listeners, each in threads of this process, on loopback: what goes in comes out at
//! every listener, whatever its lines lose.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use twinline_feed::lines::NetworkLines;
use twinline_feed::publisher::{self, Opened, Place, PublisherConfig};
use twinline_feed::run::{Idle, RunConfig, RunEnd, run, unix_now};
use twinline_feed::source::generator::{Generator, GeneratorConfig, Profile};
use twinline_feed::source::pace::Pace;
use twinline_journal::epoch::Holder;
use twinline_journal::{JournalConfig, JournalReader, Prepare, Retention, SyncPolicy};
use twinline_line::{Line, LineAddress, SenderOptions};
use twinline_listener::arbiter::{Dropped, StartAt};
use twinline_listener::{
    ArbiterConfig, FairConfig, GapConfig, ListenError, Listener, ListenerConfig, Report, RingPlace,
};
use twinline_recovery::{ClientConfig, Service, ServiceConfig};
use twinline_ring::{Kind, Liveness, MIN_CAPACITY, Next, RingReader};
use twinline_wire::header::flags;

const IDLE: Idle = Idle::Park(Duration::from_micros(100));

/// Ports and groups of its own for each test of each process.
fn lines() -> [LineAddress; 2] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let port = 21_000 + (std::process::id() % 1_900) as u16 * 10 + NEXT.fetch_add(1, Ordering::Relaxed);
    [format!("239.77.3.1:{port}@lo"), format!("239.77.3.2:{port}@lo")].map(|text| text.parse().unwrap())
}

fn journal_config() -> JournalConfig {
    JournalConfig {
        channel: 1,
        max_packet: 1408,
        segment_size: 1 << 20,
        sync: SyncPolicy::None,
        retention: Retention::default(),
        prepare: Prepare::Thread,
    }
}

fn publish(dir: &Path, lines: &[LineAddress; 2], messages: u64, rate: u64) -> JoinHandle<()> {
    let place = Place {
        journal: dir.join("publisher"),
        journal_config: journal_config(),
        store: dir.join("epochs.json"),
        session: None,
        holder: Holder {
            host: "test".into(),
            boot: "test".into(),
        },
        block: publisher::DEFAULT_BLOCK,
    };
    let lines = NetworkLines::open(&lines[0], &lines[1], [SenderOptions::default(); 2]).unwrap();
    thread::spawn(move || {
        let config = PublisherConfig {
            linger: Duration::from_secs(2),
            ..PublisherConfig::default()
        };
        let Opened {
            mut publisher,
            reserver,
            ..
        } = publisher::open(config, &place, lines, unix_now()).unwrap();
        let mut source = Generator::new(GeneratorConfig {
            source: 1,
            seed: 7,
            symbols: NonZeroU16::new(10).unwrap(),
            messages: Some(messages),
            profile: Profile::ORDERS,
            pace: Pace::PerSecond(rate.try_into().unwrap()),
        });
        let config = RunConfig {
            idle: IDLE,
            ..RunConfig::default()
        };
        let end = run(
            &mut publisher,
            reserver,
            &mut source,
            &config,
            &AtomicBool::new(false),
        )
        .unwrap();
        assert_eq!(end, RunEnd::Complete);
    })
}

fn serve(dir: &Path) -> (SocketAddr, impl FnOnce()) {
    let config = ServiceConfig::new(dir.join("publisher"), 1, "127.0.0.1:0".parse().unwrap());
    let service = Service::bind(config).unwrap();
    let (address, stop) = (service.local_addr(), service.stop_handle());
    let thread = thread::spawn(move || service.run().unwrap());
    (address, move || {
        stop.stop();
        thread.join().unwrap();
    })
}

fn config(dir: &Path, name: &str, lines: &[LineAddress; 2], recovery: &[SocketAddr]) -> ListenerConfig {
    ListenerConfig {
        lines: lines.clone(),
        receiver: Default::default(),
        recovery: recovery.to_vec(),
        client: ClientConfig::new(name, 1),
        journal: dir.join(name),
        journal_config: journal_config(),
        ring: None,
        arbiter: ArbiterConfig::default(),
        gaps: GapConfig::default(),
        fair: None,
        impair: None,
        cpu: None,
        idle: IDLE,
        until_end: true,
    }
}

fn listen(config: ListenerConfig) -> JoinHandle<Result<Report, ListenError>> {
    let listener = Listener::open(&config).unwrap();
    thread::spawn(move || {
        let stop = Arc::new(AtomicBool::new(false));
        let patience = {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let until = Instant::now() + Duration::from_secs(60);
                while Instant::now() < until && !stop.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(20));
                }
                stop.store(true, Ordering::Relaxed);
            })
        };
        let report = listener.run(&stop);
        stop.store(true, Ordering::Relaxed);
        patience.join().unwrap();
        report
    })
}

/// Every message of a journal: session, epoch, sequence, bytes. Notices are left out.
fn messages(dir: &Path) -> Vec<(u32, u32, u64, Vec<u8>)> {
    let mut reader = JournalReader::open(dir).unwrap();
    let mut all = Vec::new();
    while let Some(packet) = reader.next().unwrap() {
        let header = packet.header();
        if header.flags & flags::LOCAL == 0 {
            let of = (header.session.get(), header.epoch.get());
            all.extend(
                packet
                    .messages()
                    .map(|(sequence, frame)| (of.0, of.1, sequence, frame.bytes().to_vec())),
            );
        }
    }
    all
}

#[test]
fn bursts_are_taken_as_one_and_delivered_packet_by_packet() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines();
    let (address, stop_service) = serve(dir.path());
    let listener = listen(config(dir.path(), "listener", &lines, &[address]));
    publish(dir.path(), &lines, 100_000, 50_000_000).join().unwrap();
    let report = listener.join().unwrap().unwrap();
    stop_service();
    assert!(messages(&dir.path().join("listener")) == messages(&dir.path().join("publisher")));
    for line in Line::ALL.map(Line::index) {
        let socket = report.sockets[line];
        assert!(socket.bursts > 0 && socket.received > socket.bursts, "{socket:?}");
        if socket.kernel_drops == 0 {
            assert_eq!(report.lines[line].packets, socket.received);
            assert_eq!(report.lines[line].lost, 0);
        }
    }
}

#[test]
fn impaired_listeners_have_the_publishers_stream() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines();
    let (address, stop_service) = serve(dir.path());
    let listeners: Vec<_> = (0..2)
        .map(|index| {
            let mut config = config(dir.path(), &format!("listener-{index}"), &lines, &[address]);
            let spec = "loss=4%,both=1%,dup=2%,reorder=3%,corrupt=0.5%,seed=3";
            config.impair = Some(
                spec.parse::<twinline_line::impair::Spec>()
                    .unwrap()
                    .for_receiver(index),
            );
            listen(config)
        })
        .collect();
    publish(dir.path(), &lines, 20_000, 20_000).join().unwrap();
    let expected = messages(&dir.path().join("publisher"));
    assert!(expected.len() > 20_000);
    for (index, listener) in listeners.into_iter().enumerate() {
        let report = listener.join().unwrap().unwrap();
        assert!(report.position.ended, "{report:?}");
        let got = messages(&dir.path().join(format!("listener-{index}")));
        assert!(got == expected, "listener {index} differs: {report:?}");
        assert_eq!(report.messages(), expected.len() as u64);
        assert!(
            report.gaps.filled > 0 && report.arbiter.delivered[2] > 0,
            "{report:?}"
        );
        assert!(report.dropped()[0].get(Dropped::Checksum) > 0);
        assert!(!report.is_incomplete());
        let fates = report.impairer.unwrap();
        for line in Line::ALL {
            if report.sockets[line.index()].kernel_drops == 0 {
                assert_eq!(
                    report.lines[line.index()].lost,
                    fates[line.index()].missing(),
                    "line {line}: {report:?}"
                );
            }
        }
    }
    stop_service();
}

#[test]
fn a_restarted_listener_goes_on_with_the_next_message() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines();
    let (address, stop_service) = serve(dir.path());
    let listener = Listener::open(&config(dir.path(), "listener", &lines, &[address])).unwrap();
    let (live, stop) = (listener.live(), Arc::new(AtomicBool::new(false)));
    let of_thread = Arc::clone(&stop);
    let first = thread::spawn(move || listener.run(&of_thread));
    let publisher = publish(dir.path(), &lines, 10_000, 10_000);
    while live.report().messages() < 2_000 {
        thread::sleep(Duration::from_millis(5));
    }
    stop.store(true, Ordering::Relaxed);
    let before = first.join().unwrap().unwrap();
    let listener = Listener::open(&config(dir.path(), "listener", &lines, &[address])).unwrap();
    assert_eq!(listener.position(), before.position);
    drop(listener);
    let after = listen(config(dir.path(), "listener", &lines, &[address]))
        .join()
        .unwrap()
        .unwrap();
    publisher.join().unwrap();
    let expected = messages(&dir.path().join("publisher"));
    assert!(messages(&dir.path().join("listener")) == expected, "{after:?}");
    assert_eq!(before.messages() + after.messages(), expected.len() as u64);
    stop_service();
}

#[test]
fn a_listener_that_comes_after_the_publisher_has_gone_gets_everything_from_recovery() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines();
    publish(dir.path(), &lines, 5_000, 100_000).join().unwrap();
    let (address, stop_service) = serve(dir.path());
    let report = listen(config(dir.path(), "late", &lines, &[address]))
        .join()
        .unwrap()
        .unwrap();
    let expected = messages(&dir.path().join("publisher"));
    assert!(messages(&dir.path().join("late")) == expected, "{report:?}");
    assert_eq!(report.arbiter.delivered, [0, 0, expected.len() as u64]);
    stop_service();
}

#[test]
fn without_recovery_a_gap_is_announced_and_the_stream_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines();
    let mut config = config(dir.path(), "alone", &lines, &[]);
    config.impair = Some("both=2%,seed=1".parse().unwrap());
    // The first packet may be lost as well: do not wait for its end.
    config.arbiter.start = StartAt::Beginning;
    let listener = listen(config);
    publish(dir.path(), &lines, 5_000, 20_000).join().unwrap();
    let report = listener.join().unwrap().unwrap();
    assert!(report.position.ended && report.is_incomplete(), "{report:?}");
    let expected = messages(&dir.path().join("publisher"));
    let got = messages(&dir.path().join("alone"));
    assert_eq!(got.len() as u64 + report.arbiter.lost, expected.len() as u64);
    assert!(got.iter().all(|message| expected.contains(message)));
}

/// Reads a journal as a local program does, until `stop`: each packet and the time at which it could be seen.
fn watch(dir: &Path, stop: Arc<AtomicBool>) -> JoinHandle<Vec<(u64, u64)>> {
    let mut reader = JournalReader::open(dir).unwrap();
    thread::spawn(move || {
        let mut seen = Vec::new();
        loop {
            let last = stop.load(Ordering::Relaxed);
            while let Some(packet) = reader.next().unwrap() {
                if packet.header().flags & flags::LOCAL == 0 {
                    seen.push((packet.header().sending_time.get(), unix_now()));
                }
            }
            if last {
                return seen;
            }
            thread::sleep(Duration::from_micros(50));
        }
    })
}

fn fair(hold: Duration) -> Option<FairConfig> {
    Some(FairConfig {
        hold: hold.as_nanos() as u64,
        buffer: 16 << 20,
    })
}

#[test]
fn with_fair_release_no_program_sees_a_message_before_its_moment_and_every_one_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines();
    let (address, stop_service) = serve(dir.path());
    let hold = Duration::from_millis(20);
    let mut config = config(dir.path(), "fair", &lines, &[address]);
    config.fair = fair(hold);
    config.impair = Some(
        "loss=2%,both=0.5%,dup=1%,reorder=1%,delay=2ms,jitter=1ms,seed=5"
            .parse()
            .unwrap(),
    );
    let listener = listen(config);
    let stop = Arc::new(AtomicBool::new(false));
    let seen = watch(&dir.path().join("fair"), Arc::clone(&stop));
    publish(dir.path(), &lines, 10_000, 10_000).join().unwrap();
    let report = listener.join().unwrap().unwrap();
    stop.store(true, Ordering::Relaxed);
    let early: Vec<_> = seen
        .join()
        .unwrap()
        .into_iter()
        .filter(|(sent, at)| *at < sent + hold.as_nanos() as u64)
        .collect();
    let of = report.fair.as_ref().unwrap();
    assert_eq!((early.len(), of.stats.early()), (0, 0), "{early:?}");
    let expected = messages(&dir.path().join("publisher"));
    assert!(messages(&dir.path().join("fair")) == expected, "{report:?}");
    assert_eq!(of.stats.on_time + of.stats.late, report.messages());
    assert!(of.stats.on_time > 0 && of.held_packets == 0, "{of:?}");
    assert_eq!(
        (of.overshoot.len(), of.lateness.len()),
        (of.stats.on_time, of.stats.late)
    );
    stop_service();
}

#[test]
fn a_listener_that_is_stopped_while_it_holds_messages_records_them_and_goes_on_behind_them() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines();
    let (address, stop_service) = serve(dir.path());
    let open = || {
        let mut config = config(dir.path(), "fair", &lines, &[address]);
        config.fair = fair(Duration::from_millis(300));
        Listener::open(&config).unwrap()
    };
    let publisher = publish(dir.path(), &lines, 10_000, 5_000);
    let (mut total, mut stops) = (0, 0);
    loop {
        let (listener, stop) = (open(), Arc::new(AtomicBool::new(false)));
        let (live, of_thread) = (listener.live(), Arc::clone(&stop));
        let running = thread::spawn(move || listener.run(&of_thread));
        let from = Instant::now();
        // Stopped while it holds something, or at the session's end by itself.
        while !running.is_finished() && live.report().fair.is_none_or(|fair| fair.held_packets == 0) {
            assert!(from.elapsed() < Duration::from_secs(60));
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
        let report = running.join().unwrap().unwrap();
        let of = report.fair.as_ref().unwrap();
        assert_eq!((of.held_packets, of.stats.early()), (0, 0), "{of:?}");
        assert_eq!(of.stats.on_time + of.stats.late, report.messages());
        total += report.messages();
        if report.position.ended {
            break;
        }
        stops += 1;
        let again = open();
        assert_eq!(again.position(), report.position);
    }
    publisher.join().unwrap();
    assert!(stops > 0);
    let expected = messages(&dir.path().join("publisher"));
    assert!(messages(&dir.path().join("fair")) == expected);
    assert_eq!(total, expected.len() as u64);
    stop_service();
}

/// A message or notice: session, sequence, whether it is a notice, bytes.
type Item = (u32, u64, bool, Vec<u8>);

/// All of a listener's journal, notices too.
fn recorded(dir: &Path) -> Vec<Item> {
    let mut reader = JournalReader::open(dir).unwrap();
    let mut all = Vec::new();
    while let Some(packet) = reader.next().unwrap() {
        let (session, local) = (
            packet.header().session.get(),
            packet.header().flags & flags::LOCAL != 0,
        );
        let messages = packet.messages();
        all.extend(messages.map(|(sequence, frame)| (session, sequence, local, frame.bytes().to_vec())));
    }
    all
}

#[test]
fn a_program_that_reads_the_ring_has_what_the_listeners_journal_has_notices_too() {
    let dir = tempfile::tempdir().unwrap();
    let lines = lines();
    let (address, stop_service) = serve(dir.path());
    let mut config = config(dir.path(), "listener", &lines, &[address]);
    config.impair = Some("loss=4%,both=1%,dup=2%,reorder=3%,seed=5".parse().unwrap());
    config.ring = Some(RingPlace {
        dir: dir.path().join("rings"),
        capacity: 64 * MIN_CAPACITY,
    });
    let listener = Listener::open(&config).unwrap();
    let live = listener.live();
    let mut reader = RingReader::open(&dir.path().join("rings"), 1, "test").unwrap();
    assert_eq!(reader.journal(), dir.path().join("listener"));
    let program = thread::spawn(move || {
        let mut read: Vec<Item> = Vec::new();
        let mut closed = false;
        loop {
            match reader.poll() {
                Next::Record(record) => {
                    let (session, notice) = (record.session, record.kind == Kind::Notice);
                    let messages = record.messages();
                    read.extend(messages.map(|(at, frame)| (session, at, notice, frame.bytes().to_vec())));
                }
                Next::Overrun => panic!("a ring that holds everything cannot overrun"),
                Next::Empty if closed => return read,
                Next::Empty => {
                    reader.wait(Duration::from_millis(100));
                    // What was written before it was closed is still to be read.
                    closed = reader.liveness() == Liveness::Closed;
                }
            }
        }
    });
    let running = thread::spawn(move || listener.run(&AtomicBool::new(false)));
    publish(dir.path(), &lines, 20_000, 20_000).join().unwrap();
    let report = running.join().unwrap().unwrap();
    let ring = live.report().ring.expect("it has a ring");
    assert!(
        ring.written > 0 && ring.capacity == 64 * MIN_CAPACITY as u64,
        "{ring:?}"
    );
    let read = program.join().unwrap();
    assert!(read.iter().any(|item| item.2), "a session's start is a notice");
    assert!(read == recorded(&dir.path().join("listener")), "{report:?}");
    stop_service();
}
