//! Recovery: services, and the virtual TCP connections of listeners to them.
//!
//! The protocol's two state machines are the real ones, over real journal readers. The first service reads the publisher's
//! journal, on the publisher's machine; a second one reads copies of it, made now and then, so it lags behind, and it
//! outlives the publisher's machine.

use crate::books::ServiceBooks;
use crate::faults::{Counts, Fault, MS, RecoveryPlan};
use crate::publisher::CHANNEL;
use crate::rng::Rng;
use crate::sessions::Held;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use twinline_journal::JournalReader;
use twinline_recovery::server::{Quota, Store};
use twinline_recovery::{ClientConfig, ClientEvent, ClientSession, Limits, Mark, ServerSession};

/// Most bytes under way in one direction of a connection: what sockets would buffer.
const IN_FLIGHT: usize = 32 << 10;

/// A recovery service.
pub(crate) struct Service {
    plan: RecoveryPlan,
    rng: Rng,
    limits: Limits,
    store: Store,
    books: ServiceBooks,
    /// It was killed, and starts again then.
    back_at: u64,
    killed: bool,
    /// Where its copies go; `None`: it reads the publisher's journal itself.
    copies: Option<PathBuf>,
    copy: u32,
    refusing_until: u64,
    /// Its machine is down.
    pub(crate) down: bool,
    /// It is gone for a long time.
    pub(crate) out: bool,
    calm: bool,
    /// What it held when.
    pub(crate) held: Held,
}

impl Service {
    pub(crate) fn new(seed: u64, number: usize, plan: RecoveryPlan, dir: &Path, now: u64) -> Self {
        let limits = Limits {
            max_ranges: plan.max_ranges,
            max_requests: 4,
            max_messages: plan.max_messages,
            max_data: 16 << 10,
            idle_timeout: Duration::from_secs(1000),
            heartbeat: Duration::from_millis(100),
            retry_unpublished: Duration::from_millis(2),
            ..Limits::default()
        };
        let books = ServiceBooks::new(dir.join(format!("snapshots-{number}")));
        let mut store = Store::new(None, Quota::new(None, now));
        store.snapshots = Some(books.shelf.clone());
        Self {
            plan,
            rng: Rng::mixed(&[seed, number as u64, 0x5e4]),
            limits,
            store,
            books,
            back_at: 0,
            killed: false,
            copies: (plan.copy_every > 0).then(|| dir.join(format!("copy-{number}"))),
            copy: 0,
            refusing_until: 0,
            down: false,
            out: false,
            calm: false,
            held: Held::default(),
        }
    }

    /// True if it reads the publisher's own files.
    pub(crate) fn is_local(&self) -> bool {
        self.copies.is_none()
    }

    /// No more faults; it also stops lagging, as far as the next copy goes.
    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
        self.refusing_until = 0;
    }

    /// Lets go of the journal: its files are about to change under it, or its machine dies.
    pub(crate) fn detach(&mut self, now: u64) {
        if let Some(mut journal) = self.store.journal.take()
            && self.plan.retention
        {
            self.held.look(&mut journal, true, now);
        }
        self.restart();
    }

    /// What it had in memory is gone.
    fn restart(&mut self) {
        self.books.restart();
        self.store.snapshots = Some(self.books.shelf.clone());
    }

    /// A step of 1 ms: opens the journal if it was not there, makes a new copy when it is time.
    /// Nobody reads a journal between a power cut and its recovery (`spoilt`).
    pub(crate) fn step(
        &mut self,
        journal: &Path,
        spoilt: bool,
        now: u64,
        counts: &mut Counts,
    ) -> Result<(), String> {
        if !self.calm && self.rng.chance(self.plan.refuse) {
            counts.hit(Fault::Refused);
            self.refusing_until = now + self.rng.range(5, 100) * MS;
        }
        self.killed = now < self.back_at;
        if !self.calm && !self.killed && self.rng.chance(self.plan.kill) {
            counts.hit(Fault::ServiceKill);
            self.restart();
            (self.killed, self.back_at) = (true, now + self.rng.range(5, 40) * MS);
        }
        // Nobody reads the publisher's files while they are spoilt; copies are whole.
        if spoilt {
            return Ok(());
        }
        let mut is_fresh = false;
        let failed = |error: io::Error| format!("cannot copy the journal: {error}");
        match &self.copies {
            None if self.store.journal.is_none() && !self.down => {
                self.store.journal = JournalReader::open(journal).ok()
            }
            Some(copies)
                if self.rng.one_in(u64::from(self.plan.copy_every)) || self.store.journal.is_none() =>
            {
                if !journal.is_dir() {
                    return Ok(());
                }
                let fresh = copies.with_extension(self.copy.to_string());
                // Answers under way may still be read from the copy before the last.
                let stale = copies.with_extension(self.copy.wrapping_sub(2).to_string());
                self.copy += 1;
                copy_journal(journal, &fresh).map_err(failed)?;
                self.store.journal = JournalReader::open(&fresh).ok();
                self.books.detach();
                if stale.is_dir() {
                    fs::remove_dir_all(&stale).map_err(failed)?;
                }
                counts.hit(Fault::Lag);
                is_fresh = true;
                if let Some(journal) = &mut self.store.journal {
                    self.held.copied(journal, now);
                }
            }
            _ => {}
        }
        if let Some(journal) = &mut self.store.journal
            && self.plan.retention
            && self.held.look(journal, is_fresh, now)
            && self.copies.is_none()
        {
            counts.hit(Fault::Retired);
        }
        if !self.down
            && !self.killed
            && let Some(journal) = &self.store.journal
        {
            self.books.step(journal.dir(), now);
        }
        Ok(())
    }

    /// It serves up to there: a replica's service.
    pub(crate) fn release(&mut self, mark: Mark) {
        self.store.released = Some(mark);
    }

    /// The next bytes for a client whose connection takes all of them.
    pub(crate) fn output(&mut self, server: &mut ServerSession, now: u64) -> Vec<u8> {
        let output = server.poll_output(now, &mut self.store);
        let bytes = [output.head, output.packets, output.control].concat();
        server.consumed(bytes.len(), now);
        bytes
    }

    /// How far its journal goes.
    pub(crate) fn head(&mut self) -> Option<(u32, u64)> {
        let head = self.store.journal.as_mut()?.head().ok()??;
        Some((head.session, head.next))
    }

    fn is_gone(&self) -> bool {
        self.down || self.out || self.killed
    }

    fn accepts(&self, now: u64) -> bool {
        !self.is_gone() && now >= self.refusing_until
    }

    pub(crate) fn session(&self, now: u64) -> ServerSession {
        ServerSession::new(&self.limits, CHANNEL, now)
    }
}

fn copy_journal(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Bytes under way in one direction.
#[derive(Debug, Default)]
struct Pipe {
    chunks: VecDeque<(u64, Vec<u8>)>,
    in_flight: usize,
}

impl Pipe {
    fn room(&self) -> usize {
        IN_FLIGHT - self.in_flight.min(IN_FLIGHT)
    }

    fn push(&mut self, at: u64, bytes: Vec<u8>) {
        self.in_flight += bytes.len();
        self.chunks.push_back((at, bytes));
    }

    fn pop(&mut self, now: u64) -> Option<Vec<u8>> {
        if self.chunks.front()?.0 > now {
            return None;
        }
        let (_, bytes) = self.chunks.pop_front()?;
        self.in_flight -= bytes.len();
        Some(bytes)
    }

    fn unpop(&mut self, bytes: Vec<u8>, now: u64) {
        self.in_flight += bytes.len();
        self.chunks.push_front((now, bytes));
    }
}

enum Link {
    Down { retry_at: u64 },
    Up(Box<Established>),
}

struct Established {
    server: ServerSession,
    up: Pipe,
    down: Pipe,
    stalled_until: u64,
    polled: u64,
    /// There may be something to answer.
    busy: bool,
}

/// A listener's connection to one service, and its client.
pub(crate) struct Connection {
    pub(crate) client: ClientSession,
    link: Link,
    rng: Rng,
}

impl Connection {
    pub(crate) fn new(seed: u64, listener: usize, service: usize, now: u64) -> Self {
        let mut config = ClientConfig::new("listener", CHANNEL);
        config.max_frame = 64 << 10;
        config.heartbeat = Duration::from_millis(200);
        config.silence = Duration::from_millis(400);
        Self {
            client: ClientSession::new(config).expect("the name is short"),
            link: Link::Down { retry_at: now },
            rng: Rng::mixed(&[seed, listener as u64, service as u64, 0xc0]),
        }
    }

    /// True while bytes move.
    pub(crate) fn is_healthy(&self, now: u64) -> bool {
        matches!(&self.link, Link::Up(link) if now >= link.stalled_until) && self.client.is_ready()
    }

    /// The connection breaks: the listener's machine, the service's, or the wire between them.
    pub(crate) fn break_off(&mut self, now: u64, on_event: &mut impl FnMut(ClientEvent<'_>)) {
        if matches!(self.link, Link::Up(_)) {
            self.link = Link::Down {
                retry_at: now + 5 * MS,
            };
            self.client.on_disconnected(on_event);
        }
    }

    /// A step of 1 ms.
    pub(crate) fn step(
        &mut self,
        service: &mut Service,
        now: u64,
        counts: &mut Counts,
        on_event: &mut impl FnMut(ClientEvent<'_>),
    ) {
        if let Link::Down { retry_at } = self.link {
            if now < retry_at {
                return;
            }
            if !service.accepts(now) {
                self.link = Link::Down {
                    retry_at: now + 5 * MS,
                };
                return;
            }
            self.link = Link::Up(Box::new(Established {
                server: service.session(now),
                up: Pipe::default(),
                down: Pipe::default(),
                stalled_until: 0,
                polled: 0,
                busy: true,
            }));
            self.client.on_connected(now);
        }
        let cut = !service.calm && self.rng.chance(service.plan.cut);
        if cut {
            counts.hit(Fault::Cut);
        }
        if cut || service.is_gone() {
            return self.break_off(now, on_event);
        }
        let Link::Up(link) = &mut self.link else { return };
        if service.calm {
            link.stalled_until = 0;
        } else if now >= link.stalled_until && self.rng.chance(service.plan.stall) {
            counts.hit(Fault::Stall);
            link.stalled_until = now + self.rng.range(5, 200) * MS;
        }
        link.move_bytes(&mut self.client, service, now, &mut self.rng, on_event);
        self.client.on_time(now, on_event);
        if link.server.is_over() || !self.client.is_connected() {
            self.break_off(now, on_event);
        }
    }
}

impl Established {
    fn move_bytes(
        &mut self,
        client: &mut ClientSession,
        service: &mut Service,
        now: u64,
        rng: &mut Rng,
        on_event: &mut impl FnMut(ClientEvent<'_>),
    ) {
        let latency = service.plan.latency;
        let pending = client.output().len().min(self.up.room());
        if pending > 0 {
            // Streams are cut anywhere.
            let pending = 1 + rng.below(pending as u64) as usize;
            self.up.push(now + latency, client.output()[..pending].to_vec());
            client.consumed(pending);
        }
        if now < self.stalled_until {
            return;
        }
        while let Some(bytes) = self.up.pop(now) {
            self.busy = true;
            let taken = self.server.on_bytes(&bytes);
            if taken < bytes.len() {
                self.up.unpop(bytes[taken..].to_vec(), now);
                break;
            }
        }
        if self.busy || self.server.is_following() || now >= self.polled + 20 * MS {
            self.poll_server(service, now, latency);
        }
        while let Some(bytes) = self.down.pop(now) {
            client.on_bytes(&bytes, now, on_event);
        }
    }

    fn poll_server(&mut self, service: &mut Service, now: u64, latency: u64) {
        self.polled = now;
        self.server.on_time(now);
        loop {
            let room = self.down.room();
            let output = self.server.poll_output(now, &mut service.store);
            if output.is_empty() || room == 0 {
                self.busy = !output.is_empty();
                return;
            }
            let mut bytes = [output.head, output.packets, output.control].concat();
            bytes.truncate(room);
            let count = bytes.len();
            self.down.push(now + latency, bytes);
            self.server.consumed(count, now);
        }
    }
}
