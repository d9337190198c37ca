//! The real thing, to be measured: a publisher with its journal, the recovery service and a listener daemon with its own
//! journal and ring, as threads of this process. All that they make is in directories of their own and goes with them.

use super::error::BenchError;
use super::halt::{Halted, halt};
use super::hosts::{Hosts, LINES};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tempfile::TempDir;
use twinline_feed::lines::NetworkLines;
use twinline_feed::publisher::{self, Lines, Opened, Place, PublisherConfig};
use twinline_feed::run::{Idle, pin, unix_now};
use twinline_journal::epoch::Holder;
use twinline_journal::{JournalConfig, Prepare, Retention, SyncPolicy};
use twinline_line::{DEFAULT_RECEIVE_BUFFER, Io, LineAddress, ReceiverOptions, SenderOptions};
use twinline_listener::{
    ArbiterConfig, GapConfig, ListenError, Listener, ListenerConfig, Live, Report, RingPlace,
};
use twinline_namespaces::Namespace;
use twinline_recovery::server::StopHandle;
use twinline_recovery::{ClientConfig, Service, ServiceConfig, ServiceError};
use twinline_wire::header::DEFAULT_PACKET_LEN;

/// The channel of every benchmark.
pub const CHANNEL: u16 = 1;
/// Sequences reserved at a time: no benchmark waits for the epoch store.
const BLOCK: u64 = 1 << 24;

/// What a bed is made with.
#[derive(Clone, Debug)]
pub struct BedConfig {
    /// Where the journals are made, in directories of their own; `None`: the system's directory for such.
    pub dir: Option<PathBuf>,
    /// The interfaces of line A and line B.
    pub interfaces: [String; 2],
    /// Through what the lines go.
    pub io: Io,
    /// The publisher and the listener are on hosts of their own; `None`: on this one.
    pub hosts: Option<Arc<Hosts>>,
    /// When both journals are made durable.
    pub sync: SyncPolicy,
    /// Bytes of both journals' segments.
    pub segment_size: usize,
    /// Segments kept of both journals, the oldest is written again; `None`: all, each is new.
    pub segments: Option<usize>,
    /// While more waits, full packets go out several in one send.
    pub bursts: bool,
    /// Bytes that the listener asks for as each line's receive buffer.
    pub receive_buffer: usize,
    /// Bytes of records in the listener's ring.
    pub ring: Option<usize>,
    /// The cores of the publisher and the listener; `None`: wherever the system likes.
    pub cores: Option<[usize; 2]>,
}

impl Default for BedConfig {
    fn default() -> Self {
        Self {
            dir: None,
            interfaces: ["lo".into(), "lo".into()],
            io: Io::Socket,
            hosts: None,
            sync: SyncPolicy::None,
            segment_size: 64 << 20,
            segments: Some(4),
            bursts: true,
            receive_buffer: DEFAULT_RECEIVE_BUFFER,
            ring: None,
            cores: None,
        }
    }
}

impl BedConfig {
    /// Pins the calling thread to the publisher's (0) or the listener's (1) core. Threads that it starts later are bound to
    /// that core too: so this comes last, on a thread of its own.
    ///
    /// # Errors
    /// If there is no such core.
    pub fn pin(&self, which: usize) -> Result<(), BenchError> {
        match self.cores {
            Some(cores) => Ok(pin(cores[which])?),
            None => Ok(()),
        }
    }

    /// The same between two hosts.
    pub fn between(self, hosts: &Arc<Hosts>) -> Self {
        Self {
            interfaces: LINES.map(Into::into),
            hosts: Some(Arc::clone(hosts)),
            ..self
        }
    }

    /// Does `open` on the publisher's host: the sockets that it opens and the threads that it starts belong there.
    ///
    /// # Errors
    /// Its own.
    pub fn publishing<T: Send>(
        &self,
        open: impl FnOnce() -> Result<T, BenchError> + Send,
    ) -> Result<T, BenchError> {
        on(self.hosts.as_deref().map(Hosts::publisher), open)
    }

    /// Does `open` on the listener's host.
    ///
    /// # Errors
    /// Its own.
    pub fn listening<T: Send>(
        &self,
        open: impl FnOnce() -> Result<T, BenchError> + Send,
    ) -> Result<T, BenchError> {
        on(self.hosts.as_deref().map(Hosts::listener), open)
    }

    /// How a line is received.
    pub fn receiver(&self) -> ReceiverOptions {
        ReceiverOptions {
            receive_buffer: self.receive_buffer,
            io: self.io,
            ..ReceiverOptions::default()
        }
    }

    /// In a sentence: what the lines go over.
    pub fn say_lines(&self) -> String {
        let [a, b] = &self.interfaces;
        match (&self.hosts, self.io) {
            (None, _) => format!("Lines on {a} and {b}."),
            (Some(_), Io::Xdp) => {
                "Lines through AF_XDP, programs native, in copy mode; publisher and listener each in a network namespace, a \
                 veth pair between them for each line."
                    .into()
            }
            (Some(_), _) => "Lines through sockets between two network namespaces, a veth pair for each line.".into(),
        }
    }

    /// In a sentence: where the threads run.
    pub fn say_cores(&self) -> String {
        match self.cores {
            Some([publisher, listener]) => {
                format!("The publisher's thread has core {publisher}, the listener's core {listener}.")
            }
            None => "The threads are not pinned: the system moves them as it likes.".into(),
        }
    }

    /// Where the journals' directories are made.
    pub fn journals_dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// In a sentence: how the journals are written.
    pub fn say_journals(&self) -> String {
        let sync = match self.sync {
            SyncPolicy::None => "are made durable when the kernel likes".into(),
            SyncPolicy::Every(time) => format!("are made durable every {} ms", time.as_millis()),
            SyncPolicy::EveryPacket => "are made durable packet by packet".into(),
        };
        let segments = match self.segments {
            Some(_) => "segments are written again (recycled)",
            None => "each segment is a new file",
        };
        let (dir, size) = (self.journals_dir(), self.segment_size >> 20);
        format!(
            "Both journals, in {}, {sync}; {segments}, of {size} MiB.",
            dir.display()
        )
    }
}

fn on<T: Send>(
    host: Option<&Namespace>,
    open: impl FnOnce() -> Result<T, BenchError> + Send,
) -> Result<T, BenchError> {
    match host {
        Some(host) => host.within(open)?,
        None => open(),
    }
}

/// Directories and lines for a publisher, a recovery service and a listener.
#[derive(Debug)]
pub struct Bed {
    config: BedConfig,
    journals: TempDir,
    ring: Option<TempDir>,
    lines: [LineAddress; 2],
    /// Sessions that began.
    sessions: AtomicU32,
}

impl Bed {
    /// Makes the directories.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn new(config: &BedConfig) -> Result<Self, BenchError> {
        let base = config.journals_dir();
        let make = |base: &Path| {
            let make = tempfile::Builder::new()
                .prefix("twinline-bench-")
                .tempdir_in(base);
            make.map_err(BenchError::io(format!("make a directory in {}", base.display())))
        };
        let ring = config.ring.map(|_| make(Path::new("/dev/shm"))).transpose()?;
        Ok(Self {
            journals: make(&base)?,
            ring,
            lines: [0, 1].map(|line| own_group(&config.interfaces[line], line as u8)),
            config: config.clone(),
            sessions: AtomicU32::new(0),
        })
    }

    /// What it was made with.
    pub fn config(&self) -> &BedConfig {
        &self.config
    }

    /// Lines A and B, groups that no other process of this machine uses.
    pub fn lines(&self) -> &[LineAddress; 2] {
        &self.lines
    }

    /// The publisher's ends of both lines.
    ///
    /// # Errors
    /// If they cannot be opened.
    pub fn senders(&self) -> Result<NetworkLines, BenchError> {
        let options = SenderOptions {
            segmentation: self.config.bursts,
            io: self.config.io,
            ..SenderOptions::default()
        };
        let [a, b] = &self.lines;
        self.config
            .publishing(|| Ok(NetworkLines::open(a, b, [options; 2])?))
    }

    /// Where the ring is.
    pub fn ring(&self) -> Option<&Path> {
        self.ring.as_ref().map(TempDir::path)
    }

    /// The publisher's journal.
    pub fn publisher_journal(&self) -> PathBuf {
        self.journals.path().join("publisher")
    }

    /// The listener's journal.
    pub fn listener_journal(&self) -> PathBuf {
        self.journals.path().join("listener")
    }

    /// How both journals are written.
    pub fn journal_config(&self) -> JournalConfig {
        JournalConfig {
            channel: CHANNEL,
            max_packet: DEFAULT_PACKET_LEN,
            segment_size: self.config.segment_size,
            sync: self.config.sync,
            retention: Retention {
                segments: self.config.segments,
                ..Retention::default()
            },
            prepare: Prepare::Thread,
        }
    }

    /// The publisher, that sends on `lines`, with a session of its own, without a lead-in. Sessions count from 1.
    ///
    /// # Errors
    /// If its journal cannot be made.
    pub fn publisher<L: Lines>(&self, lines: L) -> Result<Opened<L>, BenchError> {
        let place = Place {
            journal: self.publisher_journal(),
            journal_config: self.journal_config(),
            store: self.journals.path().join("epochs.json"),
            session: Some(self.sessions.fetch_add(1, Ordering::Relaxed) + 1),
            holder: Holder::this_machine().map_err(BenchError::io("tell this machine from others"))?,
            block: BLOCK,
        };
        let config = PublisherConfig {
            lead_in: Duration::ZERO,
            linger: Duration::from_millis(200),
            burst: if self.config.bursts { usize::MAX } else { 1 },
            ..PublisherConfig::default()
        };
        Ok(publisher::open(config, &place, lines, unix_now())?)
    }

    /// The recovery service, over the publisher's journal, which is there.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn serve(&self) -> Result<Serving, BenchError> {
        let host = self.config.hosts.as_deref();
        let any = SocketAddr::from((host.map_or(Ipv4Addr::LOCALHOST, Hosts::service), 0));
        let service = self.config.publishing(|| {
            Service::bind(ServiceConfig::new(self.publisher_journal(), CHANNEL, any))
                .map_err(BenchError::recovery)
        })?;
        let (address, stop) = (service.local_addr(), service.stop_handle());
        let thread = thread::Builder::new()
            .name("recovery".into())
            .spawn(move || service.run())
            .map_err(BenchError::io("start the recovery service's thread"))?;
        Ok(Serving {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// The listener daemon, as it is, spinning on its core. With `until_end` it returns once the session is complete.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn listen(&self, recovery: &Serving, until_end: bool) -> Result<Listening, BenchError> {
        let ring = self.ring().zip(self.config.ring);
        let config = ListenerConfig {
            lines: self.lines.clone(),
            receiver: [0, 1].map(|_| self.config.receiver()),
            recovery: vec![recovery.address],
            client: ClientConfig::new("bench", CHANNEL),
            journal: self.listener_journal(),
            journal_config: self.journal_config(),
            ring: ring.map(|(dir, capacity)| RingPlace {
                dir: dir.into(),
                capacity,
            }),
            arbiter: ArbiterConfig {
                // While the floor is measured nothing comes: no reason to say so in the stream.
                stall: u64::MAX,
                ..ArbiterConfig::default()
            },
            gaps: GapConfig::default(),
            fair: None,
            impair: None,
            cpu: self.config.cores.map(|cores| cores[1]),
            idle: Idle::Spin,
            until_end,
        };
        // With the thread that recovers.
        let listener = self.config.listening(|| Ok(Listener::open(&config)?))?;
        let (live, stop) = (listener.live(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("listener".into())
            .spawn(move || listener.run(&stopped))
            .map_err(BenchError::io("start the listener's thread"))?;
        Ok(Listening {
            live,
            stop,
            thread: Some(thread),
        })
    }
}

/// A group of 239.64.0.0/10 that no other process of this machine uses.
pub fn own_group(interface: &str, number: u8) -> LineAddress {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    static BEDS: AtomicU8 = AtomicU8::new(0);
    let bed = BEDS.fetch_add(1, Ordering::Relaxed) % 64;
    LineAddress {
        group: Ipv4Addr::new(239, 64 + bed, high, low),
        port: 29_000 + u16::from(number),
        interface: Some(interface.into()),
    }
}

/// A recovery service that runs; it stops where this is dropped.
#[derive(Debug)]
pub struct Serving {
    /// Where it listens.
    pub address: SocketAddr,
    stop: StopHandle,
    thread: Option<JoinHandle<Result<(), ServiceError>>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A listener that runs; it stops where this is dropped.
#[derive(Debug)]
pub struct Listening {
    live: Live,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Report, ListenError>>>,
}

impl Listening {
    /// Its counters, at most a tenth of a second old.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Halts its line thread until what is returned is dropped.
    ///
    /// # Errors
    /// If it has ended.
    pub fn halt(&self) -> Result<Halted<'_>, BenchError> {
        match &self.thread {
            Some(thread) => halt(thread),
            None => Err(BenchError::Broken("the listener has ended".into())),
        }
    }

    /// What ended it, if it has ended.
    pub fn trouble(&mut self) -> Option<BenchError> {
        let thread = self.thread.take_if(|thread| thread.is_finished())?;
        Some(match thread.join() {
            Ok(Err(error)) => error.into(),
            Ok(Ok(_)) => BenchError::Broken("the listener has ended before its time".into()),
            Err(_) => BenchError::Broken("the listener's thread panicked".into()),
        })
    }

    /// Waits until it returns; with `stop` it is told to.
    ///
    /// # Errors
    /// What ended it.
    pub fn finish(mut self, stop: bool) -> Result<Report, BenchError> {
        self.stop.store(stop, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return Err(BenchError::Broken("the listener has ended".into()));
        };
        let ended = thread.join();
        Ok(ended.map_err(|_| BenchError::Broken("the listener's thread panicked".into()))??)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
