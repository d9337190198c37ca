//! The line thread allocates nothing once it runs, nor does fair release: counted by an allocator that counts.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};
use twinline_counting_allocator::{Counting, allocations, watched};
use twinline_feed::lines::NetworkLines;
use twinline_feed::publisher::{
    self, Burst, Line, Lines, Opened, Phase, Place, Publisher, PublisherConfig, Reserver,
};
use twinline_feed::run::{Idle, unix_now};
use twinline_journal::epoch::Holder;
use twinline_journal::{JournalConfig, JournalReader, Prepare, Retention, SyncPolicy};
use twinline_line::{LineAddress, SenderOptions};
use twinline_listener::arbiter::NoticeKind;
use twinline_listener::fair::{FairReport, Times};
use twinline_listener::{
    ArbiterConfig, Delivery, FairConfig, FairRelease, GapConfig, Listener, ListenerConfig, Live, Notice,
    Origin, Report, RingPlace, Sink,
};
use twinline_recovery::{ClientConfig, Service, ServiceConfig};
use twinline_ring::MIN_CAPACITY;
use twinline_wire::field::{EventFlags, LineName, LineState, Optional, Price};
use twinline_wire::header::flags;
use twinline_wire::market::PriceTick;
use twinline_wire::{Message, OpenPacket, Packet, Stamp};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Default)]
struct Count {
    messages: u64,
    notices: u64,
}

impl Sink for Count {
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        self.messages += u64::from(delivery.take);
    }

    fn notice(&mut self, _: &Notice) {
        self.notices += 1;
    }
}

#[test]
fn holding_and_releasing_allocates_nothing() {
    let mut buffer = vec![0; 1408];
    let mut fair = FairRelease::new(FairConfig {
        hold: 100_000,
        buffer: 1 << 20,
    });
    let (mut count, mut report) = (Count::default(), FairReport::default());
    let notice = Notice {
        session: 1,
        epoch: 1,
        epoch_base: 1,
        next: 1,
        kind: NoticeKind::Line(LineName::A, LineState::STALLED),
    };
    let before = allocations();
    for n in 0..200_000_u64 {
        // Bursts fill the buffer, pauses empty it; some are late.
        let time = 1_000_000_000 + n * 20 + n / 10_000 * 300_000;
        let now = Times {
            real: time,
            mono: time,
        };
        let mut open = OpenPacket::new();
        for _ in 0..=n % 20 {
            open.push(&mut buffer, &PriceTick::NULL);
        }
        let stamp = Stamp {
            session: 1,
            epoch: 1,
            epoch_base: 1,
            sequence: 1 + 20 * n,
            sending_time: time - n % 3 * 60_000,
            ..Stamp::default()
        };
        let length = open.finish_whole(&mut buffer, stamp, 0);
        let packet = Packet::trusted_prefix(&buffer[..length]).expect("a packet made here");
        let delivery = Delivery {
            packet,
            skip: 0,
            take: packet.header().count.get(),
            origin: Origin::LineA,
            waited: false,
        };
        fair.release(now, &mut count);
        fair.deliver(&delivery, now, &mut count);
        if n % 50 == 0 {
            fair.notice(&notice, now, &mut count);
            fair.fill(&mut report);
        }
    }
    assert_eq!(allocations() - before, 0);
    let stats = fair.stats();
    assert!(
        stats.on_time > 0 && stats.late > 0 && stats.early_full > 0,
        "all of it happened: {stats:?}"
    );
}

/// So long may anything take that must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of both journals' segments: the smallest.
const SEGMENT: usize = 64 << 10;

/// Two lines that lose some packets each, and some both; heartbeats come through.
struct Lossy(NetworkLines);

impl Lines for Lossy {
    fn send(&mut self, line: Line, burst: Burst<'_>) -> usize {
        let packet = burst
            .packets()
            .next()
            .and_then(|first| Packet::trusted_prefix(first).ok());
        let packet = packet.expect("a packet made here");
        let fate = packet.sequence().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32 & 63;
        let lost = match line {
            Line::A => fate < 8,
            Line::B => (4..12).contains(&fate),
        };
        if lost && packet.header().count.get() > 0 {
            return burst.count();
        }
        self.0.send(line, burst)
    }
}

fn journal_config() -> JournalConfig {
    JournalConfig {
        channel: 1,
        max_packet: 1408,
        segment_size: SEGMENT,
        sync: SyncPolicy::None,
        retention: Retention::default(),
        prepare: Prepare::Thread,
    }
}

/// A publisher on this thread, and what its calls have allocated so far.
struct Feed<'d> {
    dir: &'d Path,
    lines: [LineAddress; 2],
    session: u32,
    publisher: Option<(Publisher<Lossy>, Reserver)>,
    allocated: u64,
}

impl Feed<'_> {
    /// Opens it, over its journal if it was there before, and publishes the first packet of the epoch.
    fn open(&mut self) {
        let place = Place {
            journal: self.dir.join("publisher"),
            journal_config: journal_config(),
            store: self.dir.join("epochs.json"),
            session: Some(self.session),
            holder: Holder {
                host: "test".into(),
                boot: "test".into(),
            },
            block: publisher::DEFAULT_BLOCK,
        };
        let config = PublisherConfig {
            lead_in: Duration::from_millis(100),
            linger: Duration::from_millis(100),
            ..PublisherConfig::default()
        };
        let lines =
            NetworkLines::open(&self.lines[0], &self.lines[1], [SenderOptions::default(); 2]).unwrap();
        let Opened {
            publisher, reserver, ..
        } = publisher::open(config, &place, Lossy(lines), unix_now()).unwrap();
        self.publisher = Some((publisher, reserver.expect("the session is not complete")));
        self.tick_until("it is live", |publisher| publisher.phase() == Phase::Live);
    }

    /// Dies without ending its session: what opens its journal next begins a new epoch.
    fn drop(&mut self) {
        self.publisher = None;
    }

    /// Lets it do something, counted.
    fn counted<T>(&mut self, action: impl FnOnce(&mut Publisher<Lossy>) -> T) -> T {
        let (publisher, _) = self.publisher.as_mut().expect("it is open");
        let before = allocations();
        let done = action(publisher);
        self.allocated += allocations() - before;
        done
    }

    fn tick_until(&mut self, what: &str, mut done: impl FnMut(&Publisher<Lossy>) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            self.counted(|publisher| publisher.tick(unix_now()).unwrap());
            if done(&self.publisher.as_ref().expect("it is open").0) {
                return;
            }
            assert!(Instant::now() < until, "{what}: not in {PATIENCE:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Publishes for some segments: single packets, and now and then a burst.
    fn publish(&mut self, live: &Live) {
        let tick = PriceTick {
            source_time: 1.into(),
            price: Price::new(101_250_000_000),
            quantity: Optional::some(300),
            instrument: 7.into(),
            flags: EventFlags::default(),
        };
        let ticks = [tick; 200];
        for turn in 0..1000 {
            let count = if turn % 50 == 0 { 200 } else { 1 + turn % 20 };
            self.counted(|publisher| publisher.publish_batch(&ticks[..count], unix_now()).unwrap());
            if turn % 5 == 0 {
                thread::sleep(Duration::from_micros(200));
            }
        }
        self.tick_until_delivered(live);
    }

    /// Until the listener has all that is published.
    fn tick_until_delivered(&mut self, live: &Live) {
        let (session, mut last) = (self.session, Instant::now());
        self.tick_until("everything is delivered", |publisher| {
            if last.elapsed() < Duration::from_millis(20) {
                return false;
            }
            last = Instant::now();
            let position = live.report().position;
            (position.session, position.next) == (session, publisher.next_sequence())
        });
    }

    /// Ends the session and says so to the lines for a while.
    fn end_session(&mut self, live: &Live) {
        self.counted(|publisher| publisher.end_session(unix_now()).unwrap());
        self.tick_until_delivered(live);
        self.tick_until("it is done", |publisher| publisher.phase() == Phase::Done);
        let (_, reserver) = self.publisher.take().expect("it is open");
        reserver.end_session().unwrap();
        self.session += 1;
    }
}

/// Groups and ports of its own for each test of each process.
fn lines(test: u8) -> [LineAddress; 2] {
    let port = 40_000 + (std::process::id() % 2_000) as u16 * 10 + u16::from(test);
    [format!("239.77.8.1:{port}@lo"), format!("239.77.8.2:{port}@lo")].map(|text| text.parse().unwrap())
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

/// Publisher and listener through loss, a new epoch, the session's end and the next one's begin: what the publisher's calls and
/// the line thread have allocated, and the listener's report.
fn run(dir: &Path, test: u8, recovery: &[SocketAddr], fair: Option<FairConfig>) -> ([u64; 2], Report) {
    let lines = lines(test);
    let config = ListenerConfig {
        lines: lines.clone(),
        receiver: Default::default(),
        recovery: recovery.to_vec(),
        client: ClientConfig::new("test", 1),
        journal: dir.join("listener"),
        journal_config: journal_config(),
        ring: Some(RingPlace {
            dir: dir.join("rings"),
            capacity: MIN_CAPACITY,
        }),
        arbiter: ArbiterConfig::default(),
        gaps: GapConfig::default(),
        fair,
        impair: None,
        cpu: None,
        idle: Idle::Park(Duration::from_micros(100)),
        until_end: false,
    };
    let listener = Listener::open(&config).unwrap();
    let (live, stop) = (listener.live(), Arc::new(AtomicBool::new(false)));
    let (say, said) = channel();
    let stopped = Arc::clone(&stop);
    let thread = thread::spawn(move || {
        say.send(watched()).unwrap();
        listener.run(&stopped).unwrap()
    });
    let count = said.recv().unwrap();
    let until = Instant::now() + PATIENCE;
    while live.turns() == 0 {
        assert!(Instant::now() < until, "the line thread does not turn");
        thread::sleep(Duration::from_millis(1));
    }
    let before = count.load(Ordering::Relaxed);
    let mut feed = Feed {
        dir,
        lines,
        session: 1,
        publisher: None,
        allocated: 0,
    };
    feed.open();
    feed.publish(&live);
    feed.drop();
    feed.open();
    feed.publish(&live);
    feed.end_session(&live);
    feed.open();
    feed.publish(&live);
    let allocated = count.load(Ordering::Relaxed) - before;
    stop.store(true, Ordering::Relaxed);
    ([feed.allocated, allocated], thread.join().unwrap())
}

/// Asserts that what was to be gone through was.
fn assert_happened(dir: &Path, report: &Report) {
    for line in report.lines {
        assert!(line.lost > 100 && line.delivered > 1000, "{report:?}");
    }
    assert_eq!(report.notices.epoch_started, 1, "{report:?}");
    assert_eq!(
        (report.notices.session_started, report.notices.session_ended),
        (2, 1)
    );
    assert!(report.bytes > 8 * SEGMENT as u64 && report.bytes > 8 * MIN_CAPACITY as u64);
    for journal in ["publisher", "listener"] {
        let files = std::fs::read_dir(dir.join(journal)).unwrap().flatten();
        let segments = files.filter(|file| file.path().extension().is_some_and(|end| end == "seg"));
        assert!(segments.count() > 8, "{journal}");
    }
}

/// Every message of a journal: session, epoch, sequence, bytes. Notices are left out.
fn messages(dir: &Path) -> Vec<(u32, u32, u64, Vec<u8>)> {
    let mut reader = JournalReader::open(dir).unwrap();
    let mut all = Vec::new();
    while let Some(packet) = reader.next().unwrap() {
        let header = packet.header();
        if header.flags & flags::LOCAL == 0 {
            let (session, epoch) = (header.session.get(), header.epoch.get());
            let messages = packet.messages();
            all.extend(messages.map(|(sequence, frame)| (session, epoch, sequence, frame.bytes().to_vec())));
        }
    }
    all
}

#[test]
fn publisher_and_line_thread_allocate_nothing_through_loss_fills_epochs_sessions_and_segments() {
    let dir = tempfile::tempdir().unwrap();
    let (address, stop_service) = serve(dir.path());
    let (allocated, report) = run(dir.path(), 0, &[address], None);
    stop_service();
    assert_happened(dir.path(), &report);
    assert!(
        report.gaps.filled > 20 && report.arbiter.delivered[2] > 200 && !report.is_incomplete(),
        "{report:?}"
    );
    assert!(messages(&dir.path().join("listener")) == messages(&dir.path().join("publisher")));
    assert_eq!(allocated, [0, 0]);
}

#[test]
fn with_fair_release_and_without_recovery_they_allocate_nothing_either() {
    let dir = tempfile::tempdir().unwrap();
    let fair = FairConfig {
        hold: 20_000_000,
        buffer: 1 << 20,
    };
    let (allocated, report) = run(dir.path(), 1, &[], Some(fair));
    assert_happened(dir.path(), &report);
    assert!(report.notices.lost > 20 && report.is_incomplete(), "{report:?}");
    let of = report.fair.as_ref().expect("messages are held");
    assert_eq!(
        of.stats.on_time + of.stats.late + of.stats.early(),
        report.messages(),
        "all went through it"
    );
    assert_eq!(allocated, [0, 0]);
}
