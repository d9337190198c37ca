//! Both state machines of a connection against each other, without sockets and with a clock of the test's own.

use super::{Answered, CHANNEL, Got};
use tempfile::TempDir;
use twinline_journal::JournalReader;
use twinline_recovery::server::{Quota, Store};
use twinline_recovery::{ClientConfig, ClientSession, Limits, Range, ServerSession};

/// A client, a service and the wire between them.
pub(crate) struct Pair {
    pub(crate) client: ClientSession,
    pub(crate) server: ServerSession,
    pub(crate) store: Store,
    pub(crate) now: u64,
    pub(crate) events: Vec<Got>,
    /// Bytes that cross in one piece.
    pub(crate) piece: usize,
}

impl Pair {
    pub(crate) fn new(limits: Limits, store: Store) -> Self {
        let mut client = ClientSession::new(ClientConfig::new("test", CHANNEL)).expect("a short name");
        client.on_connected(0);
        let server = ServerSession::new(&limits, CHANNEL, 0);
        Self {
            client,
            server,
            store,
            now: 0,
            events: Vec::new(),
            piece: usize::MAX,
        }
    }

    pub(crate) fn over(dir: &TempDir, limits: Limits) -> Self {
        let mut pair = Self::new(limits, store(dir));
        pair.settle();
        assert!(pair.client.is_ready());
        pair.events.clear();
        pair
    }

    /// Moves bytes both ways until nothing moves.
    pub(crate) fn settle(&mut self) {
        loop {
            let bytes = self.client.output();
            let sent = self.server.on_bytes(&bytes[..bytes.len().min(self.piece)]);
            self.client.consumed(sent);
            let output = self.server.poll_output(self.now, &mut self.store);
            let mut bytes = [output.head, output.packets, output.control].concat();
            bytes.truncate(self.piece);
            let events = &mut self.events;
            self.client
                .on_bytes(&bytes, self.now, &mut |event| events.push(event.into()));
            self.server.consumed(bytes.len(), self.now);
            if sent + bytes.len() == 0 {
                return;
            }
        }
    }

    pub(crate) fn ask(&mut self, request: u32, session: u32, ranges: &[Range]) -> Answered {
        self.client
            .request(request, session, ranges, self.now)
            .expect("it is ready");
        self.settle();
        Answered::of(request, &self.events)
    }
}

pub(crate) fn store(dir: &TempDir) -> Store {
    Store::new(
        Some(JournalReader::open(dir.path()).expect("a journal")),
        Quota::new(None, 0),
    )
}
