//! Snapshots: the books of a real journal, their files, and both ends of the dialogue, without sockets and with a clock of
//! the test's own.

#[path = "../common/mod.rs"]
mod common;
mod keeping;
mod serving;

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
