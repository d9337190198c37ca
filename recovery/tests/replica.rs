//! A replica's state machine against services, without sockets and with a clock of the test's own, over real journals.

mod common;

use common::pair::store;
use common::{CHANNEL, Feed};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use twinline_journal::{JournalConfig, JournalReader, JournalWriter, Prepare, Retention, SyncPolicy};
use twinline_recovery::follow::{Action as Follow, Stuck};
use twinline_recovery::replica::{Action, Replica, ReplicaConfig};
use twinline_recovery::server::Store;
use twinline_recovery::{ClientConfig, ClientSession, Limits, Mark, ServerSession};
use twinline_wire::field::TailKind;

const MS: u64 = 1_000_000;

/// A service, and the replica's connection to it.
struct Upstream {
    client: ClientSession,
    server: ServerSession,
    store: Store,
    up: bool,
}

struct Bed {
    replica: Replica,
    upstreams: Vec<Upstream>,
    now: u64,
    warnings: Vec<String>,
}

fn open(dir: &Path, upstreams: usize) -> Replica {
    let config = JournalConfig {
        channel: CHANNEL,
        max_packet: 1408,
        segment_size: 1 << 20,
        sync: SyncPolicy::None,
        retention: Retention::default(),
        prepare: Prepare::Inline,
    };
    let journal = JournalWriter::open(dir, config).expect("a journal");
    let config = ReplicaConfig {
        sync_interval: Duration::from_millis(10),
        patience: Duration::from_millis(50),
    };
    Replica::open(dir, journal, upstreams, config).expect("a replica's journal")
}

impl Bed {
    fn new(dir: &Path, upstreams: &[&TempDir]) -> Self {
        let connect = |dir: &&TempDir| Upstream {
            client: ClientSession::new(ClientConfig::new("replica", CHANNEL)).expect("a short name"),
            server: ServerSession::new(&Limits::default(), CHANNEL, 0),
            store: store(dir),
            up: true,
        };
        let mut bed = Self {
            replica: open(dir, upstreams.len()),
            upstreams: upstreams.iter().map(connect).collect(),
            now: 0,
            warnings: Vec::new(),
        };
        bed.upstreams
            .iter_mut()
            .for_each(|upstream| upstream.client.on_connected(0));
        bed
    }

    /// A connection breaks, and is made again at once if the service is up.
    fn reset(&mut self, number: usize) {
        let (replica, now) = (&mut self.replica, self.now);
        let upstream = &mut self.upstreams[number];
        upstream.client.on_disconnected(&mut |event| {
            replica
                .on_event(number, &event, now)
                .expect("no journal is touched");
        });
        if upstream.up {
            upstream.server = ServerSession::new(&Limits::default(), CHANNEL, now);
            upstream.client.on_connected(now);
        }
    }

    /// So many milliseconds pass.
    fn run(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.now += MS;
            for number in 0..self.upstreams.len() {
                self.exchange(number);
            }
            self.replica.on_time(self.now).expect("it can sync");
            while let Some(action) = self.replica.next_action(self.now) {
                self.act(action);
            }
            self.warnings.extend(self.replica.take_warnings());
        }
    }

    fn exchange(&mut self, number: usize) {
        let (replica, now) = (&mut self.replica, self.now);
        let upstream = &mut self.upstreams[number];
        if !upstream.up {
            return;
        }
        upstream.client.on_time(now, &mut |_| {});
        loop {
            let sent = upstream.server.on_bytes(upstream.client.output());
            upstream.client.consumed(sent);
            let output = upstream.server.poll_output(now, &mut upstream.store);
            let bytes = [output.head, output.packets, output.control].concat();
            upstream.client.on_bytes(&bytes, now, &mut |event| {
                replica.on_event(number, &event, now).expect("it can write");
            });
            upstream.server.consumed(bytes.len(), now);
            if sent + bytes.len() == 0 {
                return;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Follow(Follow::Leave { service }) => self.reset(service),
            Action::Follow(Follow::Tail {
                service,
                request_id,
                from,
            }) => {
                let client = &mut self.upstreams[service].client;
                if client
                    .tail(request_id, from, TailKind::REPLICA, self.now)
                    .is_err()
                {
                    self.replica.not_asked(service, self.now);
                }
            }
            Action::Acknowledge { service, held, epoch } => {
                let client = &mut self.upstreams[service].client;
                client.acknowledge(held, epoch, self.now).expect("a tail is open");
            }
        }
    }

    fn at(&self) -> Mark {
        self.replica.follower().at()
    }
}

fn records(dir: &Path) -> Vec<Vec<u8>> {
    let mut reader = JournalReader::open(dir).expect("a journal");
    let mut records = Vec::new();
    while let Some(packet) = reader.next().expect("it is whole") {
        records.push(packet.bytes().to_vec());
    }
    records
}

#[test]
fn a_replica_becomes_equal_and_acknowledges_what_is_durable() {
    let (dir, own) = (TempDir::new().expect("one"), TempDir::new().expect("another"));
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    feed.publish(20, 5);
    feed.end_session();
    feed.start_session(4);
    let mut bed = Bed::new(own.path(), &[&dir]);
    bed.run(5);
    assert_eq!(bed.at(), Mark::new(4, 2));
    assert_eq!(bed.replica.released(), Mark::new(4, 2));
    feed.publish(3, 2);
    bed.run(30);
    assert_eq!(bed.replica.durable(), Mark::new(4, 8));
    let tails = bed.upstreams[0].store.tails.list();
    assert_eq!(tails[0].acknowledged, Some(Mark::new(4, 8)));
    assert_eq!(records(own.path()), records(dir.path()));
    // Started again it has nothing to fetch but its last packet.
    drop(bed);
    let mut bed = Bed::new(own.path(), &[&dir]);
    bed.run(5);
    assert_eq!(bed.replica.counters().packets, 0);
    assert_eq!(bed.replica.released(), Mark::new(4, 8));
}

#[test]
fn what_an_epoch_made_void_is_discarded_and_never_served_again() {
    let (dir, own) = (TempDir::new().expect("one"), TempDir::new().expect("another"));
    let mut feed = Feed::keeping(dir.path());
    feed.start_session(3);
    feed.publish(20, 5);
    let mut bed = Bed::new(own.path(), &[&dir]);
    bed.run(20);
    feed.writer.discard_from(52).expect("a packet begins there");
    feed.next = 52;
    bed.run(5);
    assert_eq!(bed.at(), Mark::new(3, 102), "nobody has said yet that it is void");
    feed.start_epoch(9000);
    bed.run(20);
    assert_eq!(bed.replica.counters().discarded, 50);
    assert_eq!(records(own.path()), records(dir.path()));
    assert_eq!(bed.replica.released(), Mark::new(3, 9001));
}

#[test]
fn it_changes_to_another_upstream_without_a_gap_or_a_repeat_and_not_backwards() {
    let dirs = [(); 3].map(|()| TempDir::new().expect("a directory"));
    let [one, two, own] = &dirs;
    // Both write the same bytes, the second one later.
    let mut feeds = [one, two].map(|dir| Feed::keeping(dir.path()));
    for feed in &mut feeds {
        feed.start_session(3);
        feed.publish(10, 5);
    }
    feeds[0].publish(10, 5);
    let mut bed = Bed::new(own.path(), &[one, two]);
    bed.run(20);
    assert_eq!(
        (bed.at(), bed.replica.follower().following()),
        (Mark::new(3, 102), Some(0))
    );
    bed.upstreams[0].up = false;
    bed.reset(0);
    bed.run(100);
    // The other is behind: it is waited for.
    assert_eq!(bed.at(), Mark::new(3, 102));
    feeds[1].publish(20, 5);
    bed.run(20);
    assert_eq!(
        (bed.at(), bed.replica.follower().following()),
        (Mark::new(3, 152), Some(1))
    );
    assert_eq!(records(own.path()), records(two.path()));
    assert_eq!(
        bed.replica.follower().counters().contradictions,
        0,
        "{:?}",
        bed.warnings
    );
}

#[test]
fn an_upstream_with_another_stream_is_never_followed_and_that_is_said() {
    let dirs = [(); 3].map(|()| TempDir::new().expect("a directory"));
    let [one, other, own] = &dirs;
    let mut feed = Feed::keeping(one.path());
    feed.start_session(3);
    feed.publish(10, 5);
    let mut bed = Bed::new(own.path(), &[one]);
    bed.run(20);
    drop(bed);
    let before = records(own.path());
    // The same session and epoch, packed otherwise.
    let mut feed = Feed::keeping(other.path());
    feed.start_session(3);
    feed.publish(30, 4);
    let mut bed = Bed::new(own.path(), &[other]);
    bed.run(100);
    assert_eq!(bed.replica.stuck(), Some(Stuck::Contradicted));
    assert!(
        bed.warnings.iter().any(|text| text.contains("CONTRADICTS")),
        "{:?}",
        bed.warnings
    );
    assert_eq!(records(own.path()), before);
}

#[test]
fn away_for_longer_than_retention_it_says_so_and_leaves_no_hole() {
    let (dir, own) = (TempDir::new().expect("one"), TempDir::new().expect("another"));
    let keep = Retention {
        segments: Some(2),
        ..Retention::default()
    };
    let mut feed = Feed::open(dir.path(), 64 << 10, keep);
    feed.start_session(3);
    feed.publish(10, 5);
    let mut bed = Bed::new(own.path(), &[&dir]);
    bed.run(20);
    drop(bed);
    feed.publish(3000, 40);
    let mut bed = Bed::new(own.path(), &[&dir]);
    bed.run(20);
    let stuck = bed.replica.stuck();
    assert!(
        matches!(stuck, Some(Stuck::TooOld { at, oldest: Some(oldest) }) if at == Mark::new(3, 52) && oldest > at),
        "{stuck:?}"
    );
}
