//! Snapshots: the books of a real journal, their files, and both ends of the dialogue, without sockets and with a clock of
//! the test's own.

mod common;

use common::{CHANNEL, Feed, Got, SECOND};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;
use twinline_book::Follower;
use twinline_book::snapshot::{Snapshot, decode, file};
use twinline_journal::{JournalReader, Retention};
use twinline_recovery::server::snapshot::{Keeper, Shelf, Step};
use twinline_recovery::server::{Quota, Store};
use twinline_recovery::{ClientConfig, ClientSession, Limits, ServerSession, SnapshotConfig, range};
use twinline_wire::field::{CompleteStatus, RejectCode};
use twinline_wire::recovery::SnapshotPart;
use twinline_wire::stream;

/// Books over a journal, their files, and a client of the service.
struct Bed {
    dir: TempDir,
    feed: Feed,
    shelf: Arc<Shelf>,
    keeper: Keeper,
    now: u64,
}

fn config(dir: &TempDir) -> SnapshotConfig {
    SnapshotConfig {
        every: Duration::from_secs(3600),
        ..SnapshotConfig::new(dir.path().join("snapshots"))
    }
}

impl Bed {
    fn new() -> Self {
        Self::with(Feed::keeping, |config| config)
    }

    fn with(
        feed: impl FnOnce(&std::path::Path) -> Feed,
        change: impl FnOnce(SnapshotConfig) -> SnapshotConfig,
    ) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let feed = feed(&dir.path().join("journal"));
        let config = change(config(&dir));
        let shelf = Shelf::new(&config);
        let keeper = Keeper::new(config, CHANNEL, Arc::clone(&shelf));
        let mut bed = Self {
            dir,
            feed,
            shelf,
            keeper,
            now: SECOND,
        };
        bed.keeper.attach(bed.reader());
        bed
    }

    fn reader(&self) -> JournalReader {
        JournalReader::open(&self.dir.path().join("journal")).expect("a journal")
    }

    /// Another service over the same files.
    fn restart(&mut self, change: impl FnOnce(SnapshotConfig) -> SnapshotConfig) {
        let config = change(config(&self.dir));
        self.shelf = Shelf::new(&config);
        // The old one lets go of the directory first.
        self.keeper = Keeper::new(config.clone(), CHANNEL, Arc::clone(&self.shelf));
        self.keeper = Keeper::new(config, CHANNEL, Arc::clone(&self.shelf));
        let reader = self.reader();
        self.keeper.attach(reader);
    }

    /// Lets the books do all that there is to do.
    fn keep(&mut self) {
        while self.keeper.step(self.now) != Step::Idle {}
    }

    /// The books as a reader of the whole journal has them.
    fn expected(&self, before: u64) -> u64 {
        let (mut reader, mut follower) = (self.reader(), Follower::new());
        while let Some(packet) = reader.next().expect("a journal") {
            let mut enters = follower.enter(packet.header(), |_, _| ());
            for (sequence, frame) in packet.messages() {
                if sequence >= before && packet.header().session.get() == self.feed.session {
                    enters = false;
                }
                if enters {
                    follower.message(sequence, &frame, |_, _| ());
                }
            }
        }
        follower.books().checksum()
    }

    fn store(&self) -> Store {
        let mut store = Store::new(Some(self.reader()), Quota::new(None, 0));
        store.snapshots = Some(Arc::clone(&self.shelf));
        store
    }

    fn files(&self) -> Vec<PathBuf> {
        file::list(&self.dir.path().join("snapshots")).expect("a directory")
    }

    fn count(
        &self,
        of: impl Fn(&twinline_recovery::server::snapshot::SnapshotStats) -> &std::sync::atomic::AtomicU64,
    ) -> u64 {
        of(self.shelf.stats()).load(Ordering::Relaxed)
    }
}

/// A client, and its side of the service.
struct Pair {
    client: ClientSession,
    server: ServerSession,
    store: Store,
    events: Vec<Got>,
}

impl Pair {
    fn new(bed: &Bed, limits: Limits) -> Self {
        let mut client = ClientSession::new(ClientConfig::new("test", CHANNEL)).expect("a short name");
        client.on_connected(0);
        let mut pair = Self {
            client,
            server: ServerSession::new(&limits, CHANNEL, 0),
            store: bed.store(),
            events: Vec::new(),
        };
        pair.settle(bed.now);
        assert!(pair.client.is_ready());
        pair.events.clear();
        pair
    }

    fn settle(&mut self, now: u64) {
        loop {
            let sent = self.server.on_bytes(self.client.output());
            self.client.consumed(sent);
            let output = self.server.poll_output(now, &mut self.store);
            let bytes = [output.head, output.packets, output.control].concat();
            let events = &mut self.events;
            self.client
                .on_bytes(&bytes, now, &mut |event| events.push(event.into()));
            self.server.consumed(bytes.len(), now);
            if sent + bytes.len() == 0 {
                return;
            }
        }
    }

    fn ask(&mut self, bed: &mut Bed, session: u32, at_least: u64) {
        self.events.clear();
        self.client
            .request_snapshot(5, session, at_least, bed.now)
            .expect("it is ready");
        self.settle(bed.now);
        bed.keep();
        self.settle(bed.now);
    }

    /// The snapshot that came.
    fn snapshot(&self) -> Snapshot {
        let mut all = Vec::new();
        for event in &self.events {
            if let Got::Part { offset, bytes, .. } = event {
                assert_eq!(*offset, all.len() as u64, "parts come in order");
                all.extend_from_slice(bytes);
            }
        }
        decode(&all).expect("a snapshot")
    }

    /// Why none came.
    fn refused(&self) -> RejectCode {
        match &self.events[..] {
            [
                Got::Reject { request: 5, code, .. },
                Got::Complete { request: 5, .. },
            ] => *code,
            other => panic!("not refused: {other:?}"),
        }
    }
}

#[test]
fn a_snapshot_is_the_state_below_its_sequence_and_comes_in_parts() {
    let mut bed = Bed::new();
    bed.feed.start_session(3);
    bed.feed.orders(400, 20);
    bed.keep();
    let limits = Limits {
        max_data: 20_000,
        ..Limits::default()
    };
    let mut pair = Pair::new(&bed, limits);
    pair.ask(&mut bed, 3, 0);
    let snapshot = pair.snapshot();
    assert_eq!(snapshot.place.sequence, bed.feed.next);
    assert_eq!(snapshot.books.checksum(), bed.expected(bed.feed.next));
    assert_eq!(snapshot.books.live_orders(), 8_000);
    let parts = pair
        .events
        .iter()
        .filter(|event| matches!(event, Got::Part { .. }));
    assert!(parts.count() > 5);
    assert!(matches!(
        pair.events.last(),
        Some(Got::Complete {
            request: 5,
            status: CompleteStatus::COMPLETE
        })
    ));

    // It stays the same while the journal grows, and is made anew once it is too far behind.
    bed.feed.orders(10, 20);
    pair.ask(&mut bed, 3, 0);
    assert_eq!(pair.snapshot().place, snapshot.place);
    let end = bed.feed.next;
    pair.ask(&mut bed, 3, end);
    let newer = pair.snapshot();
    assert_eq!(newer.place.sequence, bed.feed.next);
    assert_eq!(newer.books.checksum(), bed.expected(bed.feed.next));
    assert_eq!(bed.count(|stats| &stats.made), 2);
    assert_eq!(bed.count(|stats| &stats.served), 3);
}

#[test]
fn many_clients_share_one_snapshot_and_cost_no_more_memory_for_it() {
    let mut bed = Bed::with(Feed::keeping, |config| SnapshotConfig {
        max_transfers: 20,
        ..config
    });
    bed.feed.start_session(3);
    bed.feed.orders(400, 20);
    bed.keep();
    let mut pairs: Vec<Pair> = (0..20).map(|_| Pair::new(&bed, Limits::default())).collect();
    let before = pairs[0].server.memory();
    for pair in &mut pairs {
        pair.client.request_snapshot(5, 3, 0, bed.now).expect("ready");
        let sent = pair.server.on_bytes(pair.client.output());
        pair.client.consumed(sent);
        // They wait, or have a part to send and send nothing of it.
        assert!(
            pair.server
                .poll_output(bed.now, &mut pair.store)
                .packets
                .is_empty()
        );
    }
    bed.keep();
    for pair in &mut pairs {
        assert!(
            !pair
                .server
                .poll_output(bed.now, &mut pair.store)
                .packets
                .is_empty()
        );
        assert_eq!(pair.server.memory(), before);
    }
    assert_eq!(bed.count(|stats| &stats.made), 1);
    assert_eq!(bed.count(|stats| &stats.transfers), 20);

    // There is no room for one more, until one is through.
    let mut late = Pair::new(&bed, Limits::default());
    late.ask(&mut bed, 3, 0);
    assert_eq!(late.refused(), RejectCode::OVER_LIMITS);
    pairs[0].settle(bed.now);
    assert_eq!(pairs[0].snapshot().books.live_orders(), 8_000);
    late.ask(&mut bed, 3, 0);
    assert_eq!(late.snapshot().books.live_orders(), 8_000);
    drop(pairs);
    assert_eq!(
        bed.count(|stats| &stats.transfers),
        0,
        "who leaves gives the place back"
    );
}

#[test]
fn a_request_ahead_of_the_books_waits_for_them_and_not_for_ever() {
    let mut bed = Bed::new();
    bed.feed.start_session(3);
    bed.feed.orders(1, 20);
    bed.keep();
    let mut pair = Pair::new(&bed, Limits::default());
    let wanted = bed.feed.next + 20;
    pair.ask(&mut bed, 3, wanted);
    assert_eq!(pair.events, [], "it waits");
    bed.feed.orders(1, 20);
    bed.keep();
    pair.settle(bed.now);
    assert_eq!(pair.snapshot().place.sequence, wanted);

    pair.ask(&mut bed, 3, wanted + 1);
    assert_eq!(pair.events, []);
    bed.now += 3 * SECOND;
    pair.settle(bed.now);
    let refused: Vec<Got> = pair
        .events
        .iter()
        .filter(|event| !matches!(event, Got::Heartbeat { .. }))
        .cloned()
        .collect();
    assert!(
        matches!(
            refused[..],
            [
                Got::Reject {
                    code: RejectCode::NOT_YET_PUBLISHED,
                    retry: 1..,
                    ..
                },
                Got::Complete { .. }
            ]
        ),
        "{refused:?}"
    );
}

#[test]
fn gap_fill_and_a_snapshot_take_turns_on_one_connection() {
    let mut bed = Bed::new();
    bed.feed.start_session(3);
    bed.feed.orders(400, 20);
    bed.keep();
    let limits = Limits {
        max_data: 9_000,
        ..Limits::default()
    };
    let mut pair = Pair::new(&bed, limits);
    pair.client.request_snapshot(5, 3, 0, bed.now).expect("ready");
    pair.settle(bed.now);
    bed.keep();
    pair.client
        .request(6, 3, &[range(2, 1_000)], bed.now)
        .expect("ready");
    pair.settle(bed.now);
    let at = |wanted: fn(&Got) -> bool| {
        let found = |event: &Got| wanted(event);
        let first = pair.events.iter().position(found).expect("it came");
        (first, pair.events.iter().rposition(found).expect("it came"))
    };
    let parts = at(|event| matches!(event, Got::Part { .. }));
    let packets = at(|event| matches!(event, Got::Packet { .. }));
    assert!(
        parts.0 < packets.1 && packets.0 < parts.1,
        "{parts:?} {packets:?}"
    );
    assert!(
        packets.1 < parts.1,
        "the short answer does not wait for the long one"
    );
    assert_eq!(pair.snapshot().books.checksum(), bed.expected(bed.feed.next));
}

#[test]
fn a_service_that_starts_again_goes_on_from_its_newest_file() {
    let every = |config| SnapshotConfig {
        every_messages: 1_000,
        ..config
    };
    let mut bed = Bed::with(Feed::keeping, every);
    bed.feed.start_session(3);
    for _ in 0..100 {
        bed.feed.orders(5, 20);
        bed.keep();
    }
    let files = bed.files();
    assert_eq!(files.len(), 3, "old ones are removed");
    bed.feed.orders(5, 20);
    bed.restart(every);
    bed.keep();
    assert!(bed.count(|stats| &stats.started_at) > 9_000);
    assert!(
        bed.count(|stats| &stats.read) < 1_200,
        "only what is behind the file is read"
    );
    assert_eq!(
        bed.keeper.follower().books().checksum(),
        bed.expected(bed.feed.next)
    );

    // A file that is damaged, one that is torn, one that is another's: the next older one.
    let mut bytes = fs::read(&files[2]).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&files[2], &bytes).expect("written");
    bytes.truncate(middle);
    fs::write(&files[1], &bytes).expect("written");
    bed.restart(every);
    bed.keep();
    assert_eq!(bed.count(|stats| &stats.bad_files), 2);
    let (.., older) = file::parse_name(
        files[0]
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name"),
    )
    .expect("a name");
    assert_eq!(bed.count(|stats| &stats.started_at), older);
    assert_eq!(
        bed.keeper.follower().books().checksum(),
        bed.expected(bed.feed.next)
    );

    for file in bed.files() {
        fs::write(file, b"no snapshot").expect("written");
    }
    bed.restart(every);
    bed.keep();
    assert_eq!(
        bed.count(|stats| &stats.started_at),
        0,
        "then from the session's beginning"
    );
    assert_eq!(
        bed.keeper.follower().books().checksum(),
        bed.expected(bed.feed.next)
    );
    assert!(bed.shelf.stats().last_trouble().is_some());
}

#[test]
fn what_a_power_cut_made_void_is_in_no_snapshot() {
    let every = |config| SnapshotConfig {
        every_messages: 100,
        keep: 10,
        ..config
    };
    let mut bed = Bed::with(Feed::keeping, every);
    bed.feed.start_session(3);
    bed.feed.orders(5, 20);
    bed.keep();
    let valid_end = bed.feed.next;
    bed.feed.orders(20, 20);
    bed.keep();
    let mut pair = Pair::new(&bed, Limits::default());
    pair.ask(&mut bed, 3, valid_end + 1);
    assert_eq!(pair.snapshot().place.epoch, 1);
    let void = bed.files().len();

    bed.feed.power_cut(valid_end, 2_000);
    bed.feed.orders(1, 20);
    bed.keep();
    assert_eq!(bed.count(|stats| &stats.went_back), 1);
    assert_eq!(
        bed.keeper.follower().books().checksum(),
        bed.expected(bed.feed.next)
    );
    pair.ask(&mut bed, 3, 0);
    let snapshot = pair.snapshot();
    assert_eq!(snapshot.place.epoch, 2, "nobody is sent the void one any more");
    assert_eq!(snapshot.books.checksum(), bed.expected(bed.feed.next));

    // Nor does a service begin with a void file, however far the journal has come by then.
    assert!(void > 1);
    bed.feed.orders(50, 20);
    bed.restart(every);
    bed.keep();
    assert_eq!(
        bed.keeper.follower().books().checksum(),
        bed.expected(bed.feed.next)
    );
    assert!(bed.keeper.follower().books().is_valid());
}

#[test]
fn a_service_whose_journal_lacks_the_sessions_beginning_serves_no_wrong_snapshot() {
    let retention = Retention {
        segments: Some(2),
        bytes: None,
        age: None,
    };
    let mut bed = Bed::with(|dir| Feed::open(dir, 1 << 16, retention), |config| config);
    bed.feed.start_session(3);
    bed.feed.orders(400, 20);
    bed.keep();
    let mut pair = Pair::new(&bed, Limits::default());
    pair.ask(&mut bed, 3, 0);
    assert_eq!(pair.refused(), RejectCode::NOT_SERVED);
    assert!(
        bed.shelf
            .stats()
            .last_trouble()
            .is_some_and(|trouble| trouble.contains("beginning"))
    );

    // The next session is whole.
    bed.feed.start_session(4);
    bed.feed.orders(10, 20);
    bed.keep();
    pair.ask(&mut bed, 4, 0);
    assert_eq!(pair.snapshot().books.live_orders(), 200);
    pair.ask(&mut bed, 3, 0);
    assert_eq!(pair.refused(), RejectCode::UNKNOWN_SESSION);

    // A file is gone on from as long as the journal goes on where it ends.
    bed.now += 4_000 * SECOND;
    bed.feed.orders(1, 20);
    bed.keep();
    assert_eq!(bed.files().len(), 1);
    let at = bed.feed.next;
    bed.feed.orders(100, 20);
    bed.restart(|config| config);
    bed.keep();
    assert_eq!(bed.count(|stats| &stats.started_at), at);
    bed.feed.orders(1_000, 20);
    bed.restart(|config| config);
    bed.keep();
    pair = Pair::new(&bed, Limits::default());
    pair.ask(&mut bed, 4, 0);
    assert_eq!(pair.refused(), RejectCode::NOT_SERVED);
}

#[test]
fn a_session_that_has_ended_is_served_up_to_its_last_message_and_the_one_before_too() {
    let mut bed = Bed::new();
    bed.feed.start_session(3);
    bed.feed.orders(10, 20);
    bed.feed.end_session();
    bed.keep();
    let mut pair = Pair::new(&bed, Limits::default());
    pair.ask(&mut bed, 3, 0);
    let end = bed.feed.next;
    assert_eq!(
        pair.snapshot().place.sequence,
        end - 1,
        "EndOfSession is for the client to see"
    );
    pair.ask(&mut bed, 3, end);
    assert_eq!(pair.refused(), RejectCode::VOID);
    pair.ask(&mut bed, 9, 0);
    assert_eq!(pair.refused(), RejectCode::UNKNOWN_SESSION);

    bed.feed.start_session(4);
    bed.feed.orders(1, 20);
    bed.keep();
    pair.ask(&mut bed, 3, 5);
    assert_eq!(pair.snapshot().place.sequence, end - 1);
}

#[test]
fn two_services_do_not_write_into_one_directory() {
    let mut bed = Bed::with(Feed::keeping, |config| SnapshotConfig {
        every_messages: 10,
        ..config
    });
    let shelf = Shelf::new(&config(&bed.dir));
    let mut other = Keeper::new(
        SnapshotConfig {
            every_messages: 10,
            ..config(&bed.dir)
        },
        CHANNEL,
        Arc::clone(&shelf),
    );
    other.attach(bed.reader());
    bed.feed.start_session(3);
    bed.feed.orders(10, 20);
    bed.keep();
    while other.step(bed.now) != Step::Idle {}
    assert_eq!(bed.count(|stats| &stats.written), 1);
    assert_eq!(shelf.stats().written.load(Ordering::Relaxed), 0);
    assert!(
        shelf
            .stats()
            .last_trouble()
            .is_some_and(|trouble| trouble.contains("another service"))
    );
    assert_eq!(
        other.follower().books().checksum(),
        bed.expected(bed.feed.next),
        "it serves them all the same"
    );
}

/// A part as a hostile service could send it.
fn part(change: impl FnOnce(&mut SnapshotPart), bytes: &[u8]) -> Vec<u8> {
    let mut block = SnapshotPart {
        request_id: 5.into(),
        session: 3.into(),
        epoch: 1.into(),
        sequence: 100.into(),
        total_length: 1_000.into(),
        offset: 0.into(),
    };
    change(&mut block);
    let mut buffer = vec![0; 4096];
    let length = stream::put_with_data(&mut buffer, &block, &[bytes]).expect("there is room");
    buffer.truncate(length);
    buffer
}

#[test]
fn a_client_takes_only_the_next_part_of_the_snapshot_that_it_asked_for() {
    let bed = Bed::new();
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("another session", part(|part| part.session = 4.into(), &[0; 10])),
        ("too old", part(|part| part.sequence = 49.into(), &[0; 10])),
        (
            "longer than is taken",
            part(|part| part.total_length = u64::MAX.into(), &[0; 10]),
        ),
        (
            "not the first part",
            part(|part| part.offset = 10.into(), &[0; 10]),
        ),
        ("empty", part(|_| (), &[])),
        (
            "more than all",
            part(|part| part.total_length = 9.into(), &[0; 10]),
        ),
        (
            "of another request",
            part(|part| part.request_id = 6.into(), &[0; 10]),
        ),
        (
            "twice the same",
            [part(|_| (), &[0; 10]), part(|_| (), &[0; 10])].concat(),
        ),
        (
            "of another snapshot",
            [
                part(|_| (), &[0; 10]),
                part(
                    |part| (part.offset, part.sequence) = (10.into(), 101.into()),
                    &[0; 10],
                ),
            ]
            .concat(),
        ),
    ];
    for (what, bytes) in hostile {
        let mut pair = Pair::new(&bed, Limits::default());
        pair.client.request_snapshot(5, 3, 50, 0).expect("ready");
        let events = &mut pair.events;
        pair.client
            .on_bytes(&bytes, 0, &mut |event| events.push(event.into()));
        assert_eq!(pair.events.last(), Some(&Got::Closed("protocol")), "{what}");
    }
}
