//! Listeners that begin with a snapshot at any moment of a running publisher have, from there on, the books of one that was
//! there from the start.
//!
//! The publisher's journal is made by the real publisher, from the real hour where that is there. It then grows packet by
//! packet under a real recovery service's books, while listeners of the real state machines, on lossy lines, begin at two
//! hundred random moments.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use twinline_book::Follower;
use twinline_book::snapshot::{Snapshot, decode};
use twinline_feed::publisher::{self, Burst, Lines, Opened, Place, PublisherConfig};
use twinline_feed::run::{Idle, RunConfig, RunEnd, run, unix_now};
use twinline_feed::source::Source;
use twinline_feed::source::generator::{Generator, GeneratorConfig, Profile};
use twinline_feed::source::itch::ItchFile;
use twinline_feed::source::pace::Pace;
use twinline_journal::epoch::Holder;
use twinline_journal::{JournalConfig, JournalReader, JournalWriter, Prepare, Retention, SyncPolicy};
use twinline_line::Line;
use twinline_listener::arbiter::ranges::Span;
use twinline_listener::arbiter::{NoticeKind, StartAt};
use twinline_listener::gaps::Refusal;
use twinline_listener::join::{StateConfig, StateFailure};
use twinline_listener::{
    Arbiter, ArbiterConfig, Delivery, GapConfig, GapPolicy, Notice, Origin, Request, Sink, State, StatePolicy,
};
use twinline_recovery::server::snapshot::{Keeper, Shelf, Step};
use twinline_recovery::server::{Quota, Store};
use twinline_recovery::{
    ClientConfig, ClientEvent, ClientSession, Limits, Range, ServerSession, SnapshotConfig, range,
};
use twinline_wire::Packet;

/// Listeners that begin in the middle.
const JOINS: usize = 200;
/// Packets that the journal grows by at a step.
const STEP: usize = 4;
/// A step, in nanoseconds.
const TICK: u64 = 1_000_000;

struct NoLines;

impl Lines for NoLines {
    fn send(&mut self, _: Line, burst: Burst<'_>) -> usize {
        burst.count()
    }
}

fn journal_config() -> JournalConfig {
    JournalConfig {
        channel: 1,
        max_packet: 1408,
        segment_size: 1 << 20,
        sync: SyncPolicy::None,
        retention: Retention::default(),
        prepare: Prepare::Inline,
    }
}

/// The real hour, if this checkout stands beside it.
fn real_hour() -> Option<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join("shared/data/aapl-20120621-0930-1030.itch50.gz"))
        .find(|path| path.exists())
}

/// All packets of a published session.
fn packets(dir: &Path) -> Vec<Vec<u8>> {
    let place = Place {
        journal: dir.join("published"),
        journal_config: journal_config(),
        store: dir.join("epochs.json"),
        session: None,
        holder: Holder {
            host: "test".into(),
            boot: "test".into(),
        },
        block: publisher::DEFAULT_BLOCK,
    };
    let config = PublisherConfig {
        lead_in: Duration::ZERO,
        linger: Duration::ZERO,
        ..PublisherConfig::default()
    };
    let Opened {
        mut publisher,
        reserver,
        ..
    } = publisher::open(config, &place, NoLines, unix_now()).unwrap();
    fn publish<S: Source>(
        publisher: &mut publisher::Publisher<NoLines>,
        reserver: Option<publisher::Reserver>,
        mut source: S,
    ) {
        let config = RunConfig {
            idle: Idle::Yield,
            ..RunConfig::default()
        };
        let end = run(publisher, reserver, &mut source, &config, &AtomicBool::new(false)).unwrap();
        assert_eq!(end, RunEnd::Complete);
    }
    match real_hour() {
        Some(path) => publish(
            &mut publisher,
            reserver,
            ItchFile::open(&path, 1, Pace::Max).unwrap(),
        ),
        None => publish(
            &mut publisher,
            reserver,
            Generator::new(GeneratorConfig {
                source: 1,
                seed: 7,
                symbols: NonZeroU16::new(5).unwrap(),
                messages: Some(92_003),
                profile: Profile::ORDERS,
                pace: Pace::Max,
            }),
        ),
    }
    drop(publisher);
    let mut reader = JournalReader::open(&place.journal).unwrap();
    let mut packets = Vec::new();
    while let Some(packet) = reader.next().unwrap() {
        packets.push(packet.bytes().to_vec());
    }
    packets
}

/// Numbers that look random.
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
}

/// What a program behind a listener sees: the books, made from the stream.
#[derive(Default)]
struct Program {
    follower: Follower,
    /// The snapshot that was fetched last.
    snapshot: Option<Snapshot>,
    /// Where the books began with a snapshot.
    began: Option<u64>,
}

impl Sink for Program {
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        self.follower.enter(delivery.packet.header(), |_, _| ());
        let messages = delivery.packet.messages();
        for (sequence, frame) in messages
            .skip(usize::from(delivery.skip))
            .take(usize::from(delivery.take))
        {
            self.follower.message(sequence, &frame, |_, _| ());
        }
    }

    fn notice(&mut self, notice: &Notice) {
        if let NoticeKind::StateReplaced(state) = notice.kind {
            let snapshot = self.snapshot.take().expect("it was fetched");
            assert_eq!(snapshot.place.sequence, state.sequence);
            self.follower = Follower::from_snapshot(snapshot);
            self.began = Some(state.sequence);
        }
    }
}

/// A listener, its connection, and the program behind it.
struct Joiner {
    begins: usize,
    arbiter: Arbiter,
    gaps: GapPolicy,
    states: StatePolicy,
    client: ClientSession,
    server: ServerSession,
    program: Program,
    requests: VecDeque<Request>,
    /// The state that a connection is wanted for.
    wanted: Option<u32>,
    /// The state that is asked for, and what came of it.
    asked: Option<u32>,
    bytes: Vec<u8>,
    checked: usize,
}

impl Joiner {
    fn new(begins: usize, start: StartAt) -> Self {
        let config = ArbiterConfig {
            start,
            ..ArbiterConfig::default()
        };
        let limits = Limits {
            max_data: 16 << 10,
            ..Limits::default()
        };
        let mut client = ClientSession::new(ClientConfig::new("joiner", 1)).unwrap();
        client.on_connected(0);
        Self {
            begins,
            arbiter: Arbiter::new(config, None, 0),
            gaps: GapPolicy::new(GapConfig {
                services: 1,
                ..GapConfig::default()
            }),
            states: StatePolicy::new(StateConfig::new(1, &Retention::default(), 1 << 20)),
            client,
            server: ServerSession::new(&limits, 1, 0),
            program: Program::default(),
            requests: VecDeque::new(),
            wanted: None,
            asked: None,
            bytes: Vec::new(),
            checked: 0,
        }
    }

    /// A line brings a packet.
    fn hear(&mut self, origin: Origin, packet: &[u8], now: u64) {
        self.arbiter.on_packet(origin, packet, now, &mut self.program);
    }

    /// Moves a few frames of recovery, and lets the policies look.
    fn step(&mut self, store: &mut Store, now: u64) {
        let requests = &mut self.requests;
        self.gaps
            .tick(&mut self.arbiter, now, &mut self.program, |request| {
                requests.push_back(*request)
            });
        let wanted = &mut self.wanted;
        self.states
            .tick(&mut self.arbiter, 0, now, &mut self.program, |connect| {
                *wanted = Some(connect.id)
            });
        if self.client.is_ready()
            && let Some(id) = self.wanted.take()
            && let Some(request) = self.states.on_connected(id, &mut self.arbiter, now)
        {
            let sent = self
                .client
                .request_snapshot(1_000_000 + id, request.session, request.at_least, now);
            self.asked = sent.is_ok().then_some(id);
            self.bytes.clear();
            if sent.is_err() {
                self.states.on_failed(
                    id,
                    StateFailure::Unreachable,
                    &mut self.arbiter,
                    now,
                    &mut self.program,
                );
            }
        }
        for request in self.requests.drain(..) {
            let ranges: Vec<Range> = request
                .ranges()
                .iter()
                .map(|span| range(span.begin, span.end))
                .collect();
            if self
                .client
                .request(request.id, request.session, &ranges, now)
                .is_err()
            {
                self.gaps.on_complete(request.id);
            }
        }
        for _ in 0..8 {
            let sent = self.server.on_bytes(self.client.output());
            self.client.consumed(sent);
            let output = self.server.poll_output(now, store);
            let bytes = [output.head, output.packets, output.control].concat();
            self.server.consumed(bytes.len(), now);
            self.take(&bytes, now);
        }
    }

    fn take(&mut self, bytes: &[u8], now: u64) {
        let (arbiter, gaps, states) = (&mut self.arbiter, &mut self.gaps, &mut self.states);
        let (program, asked, snapshot) = (&mut self.program, &mut self.asked, &mut self.bytes);
        self.client.on_bytes(bytes, now, &mut |event| match event {
            ClientEvent::Accepted { .. } => gaps.on_connected(0),
            ClientEvent::Packet { request_id, packet } => {
                gaps.on_progress(request_id, now);
                arbiter.on_valid(Origin::Recovery, packet, now, program);
            }
            ClientEvent::SnapshotPart { bytes, .. } => {
                states.on_progress(now);
                snapshot.extend_from_slice(bytes);
            }
            ClientEvent::Complete { request_id, .. } if request_id < 1_000_000 => {
                gaps.on_complete(request_id)
            }
            ClientEvent::Complete { .. } => {
                if let Some(id) = asked.take() {
                    let came = decode(snapshot).expect("a snapshot");
                    let place = came.place;
                    program.snapshot = Some(came);
                    let state = State {
                        session: place.session,
                        epoch: place.epoch,
                        epoch_base: place.epoch_base,
                        sequence: place.sequence,
                        file: place.sequence,
                    };
                    states.on_state(id, state, arbiter, 0, now, program);
                }
            }
            ClientEvent::Reject {
                request_id,
                begin,
                end,
                code,
                retry_after_ms,
                next_session,
                ..
            } => {
                let retry_after = u64::from(retry_after_ms) * 1_000_000;
                if request_id < 1_000_000 {
                    let refusal = Refusal {
                        span: Span::new(begin, end),
                        code,
                        retry_after,
                        next_session,
                    };
                    gaps.on_reject(request_id, refusal, arbiter, now, program);
                } else if let Some(id) = asked.take() {
                    states.on_failed(
                        id,
                        StateFailure::Refused { code, retry_after },
                        arbiter,
                        now,
                        program,
                    );
                }
            }
            ClientEvent::Heartbeat {
                session,
                epoch,
                epoch_base,
                next,
            } => arbiter.on_service_head(session, epoch, epoch_base, next, program),
            other => panic!("a service that works says {other:?}"),
        });
    }

    /// Compares the books with those of somebody who was there from the start.
    fn check(&mut self, truth: &BTreeMap<u64, u64>) {
        let next = self.program.follower.place().sequence;
        let (Some(began), Some(&checksum)) = (self.program.began, truth.get(&next)) else {
            return;
        };
        let books = self.program.follower.books();
        assert!(books.is_valid());
        assert_eq!(
            books.checksum(),
            checksum,
            "at {next}, of one that began at packet {} with the state at {began}",
            self.begins
        );
        self.checked += 1;
    }
}

#[test]
fn listeners_that_join_at_two_hundred_random_moments_have_the_books_of_one_that_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let packets = packets(dir.path());
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut joiners: Vec<Joiner> = (0..JOINS)
        .map(|_| Joiner::new(random.below(packets.len()), StartAt::Snapshot))
        .collect();

    let growing = dir.path().join("growing");
    let mut writer = JournalWriter::open(&growing, journal_config()).unwrap();
    let config = SnapshotConfig {
        every_messages: 20_000,
        max_behind: 300,
        max_transfers: JOINS,
        ..SnapshotConfig::new(dir.path().join("snapshots"))
    };
    let shelf = Shelf::new(&config);
    let mut keeper = Keeper::new(config, 1, Arc::clone(&shelf));
    keeper.attach(JournalReader::open(&growing).unwrap());
    let mut store = Store::new(Some(JournalReader::open(&growing).unwrap()), Quota::new(None, 0));
    store.snapshots = Some(Arc::clone(&shelf));

    // Whoever was there from the start, at the end of each packet.
    let (mut there, mut truth) = (Follower::new(), BTreeMap::new());
    let mut now = TICK;
    for (at, chunk) in packets.chunks(STEP).enumerate() {
        for (packet_at, bytes) in (at * STEP..).zip(chunk) {
            writer.append(bytes).unwrap();
            let packet = Packet::parse(bytes).unwrap();
            there.packet(&packet, |_, _| ());
            // A service's books are behind or ahead of what a listener hears.
            if random.below(10) == 0 {
                keeper.step(now);
            }
            for joiner in joiners.iter_mut().filter(|joiner| joiner.begins <= packet_at) {
                let lost = random.next();
                for (origin, lost) in [
                    (Origin::LineA, lost.is_multiple_of(10)),
                    (Origin::LineB, (lost / 10).is_multiple_of(10)),
                ] {
                    if !lost {
                        joiner.hear(origin, bytes, now);
                    }
                }
            }
        }
        truth.insert(there.place().sequence, there.books().checksum());
        for joiner in joiners
            .iter_mut()
            .filter(|joiner| joiner.begins < (at + 1) * STEP)
        {
            joiner.step(&mut store, now);
            joiner.check(&truth);
        }
        now += TICK;
    }
    // What is still missing comes.
    for _ in 0..5_000 {
        while keeper.step(now) != Step::Idle {}
        for joiner in joiners
            .iter_mut()
            .filter(|joiner| !joiner.arbiter.position().ended)
        {
            joiner.step(&mut store, now);
            joiner.check(&truth);
        }
        now += TICK;
    }

    for joiner in &joiners {
        let position = joiner.arbiter.position();
        assert!(position.ended, "{position:?} since packet {}", joiner.begins);
        assert_eq!(position.next, there.place().sequence);
        assert!(joiner.checked > 0);
    }
    let began = joiners.iter().filter_map(|joiner| joiner.program.began);
    let places: std::collections::BTreeSet<u64> = began.collect();
    let checked: usize = joiners.iter().map(|joiner| joiner.checked).sum();
    println!(
        "{} packets, {} snapshots made, {} different places to begin at, {checked} checksums compared",
        packets.len(),
        shelf.stats().made.load(Ordering::Relaxed),
        places.len()
    );
    assert!(
        places.len() > 50 && checked > 20 * JOINS,
        "{} places, {checked} checks",
        places.len()
    );
}
