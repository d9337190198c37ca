//! What the benchmarks of recovery stand on: a publisher whose packets can be kept from the lines, its recovery service, a
//! listener, all real, on loopback in one directory.

use super::Result;
use crate::fair;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use twinline_feed::lines::SocketLines;
use twinline_feed::publisher::{
    self, Line, Lines, Opened, Phase, Place, PublishError, Publisher, PublisherConfig, Reserver,
};
use twinline_feed::run::{Idle, pin, unix_now};
use twinline_journal::epoch::Holder;
use twinline_journal::{JournalConfig, JournalReader, Prepare, Retention, SyncPolicy};
use twinline_line::{LineAddress, ReceiverOptions, SenderOptions};
use twinline_listener::{
    ArbiterConfig, GapConfig, ListenError, Listener, ListenerConfig, Live, Report, RingPlace,
};
use twinline_recovery::server::StopHandle;
use twinline_recovery::{ClientConfig, Service, ServiceConfig, ServiceError};
use twinline_ring::RingReader;
use twinline_wire::field::{EventFlags, Optional, Price};
use twinline_wire::market::PriceTick;

pub(crate) const CHANNEL: u16 = 1;
pub(crate) const SESSION: u32 = 1;

/// How long anything that must happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The publisher's, the service's and the clients' core.
pub(crate) const CORE: usize = 0;
/// The core of the listener, and of whoever stands in for it.
pub(crate) const LISTENER_CORE: usize = 1;

/// Runs `work` on a thread of its own on `core`, with all threads that it starts; anywhere if there is no such core.
pub(crate) fn on_core<T: Send>(core: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("at work".into());
        let thread = builder.spawn_scoped(scope, || {
            let _ = pin(core);
            work()
        })?;
        thread.join().map_err(|_| "a thread of the benchmark panicked")?
    })
}

/// A directory and two lines on loopback.
pub(crate) struct Bed {
    dir: TempDir,
    lines: [LineAddress; 2],
    /// Hold the lines' ports.
    _ports: Option<[UdpSocket; 2]>,
}

impl Bed {
    /// Lines on loopback.
    pub(crate) fn new() -> Result<Self> {
        let (lines, ports) = fair::lines()?;
        Ok(Self {
            _ports: Some(ports),
            ..Self::on(lines)?
        })
    }

    /// On these lines.
    pub(crate) fn on(lines: [LineAddress; 2]) -> Result<Self> {
        Ok(Self {
            dir: tempfile::tempdir()?,
            lines,
            _ports: None,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The publisher's journal.
    pub(crate) fn journal(&self) -> PathBuf {
        self.path("publisher")
    }

    /// A publisher in its first session.
    pub(crate) fn publish(&self) -> Result<Feed> {
        let place = Place {
            journal: self.journal(),
            journal_config: journal_config(),
            store: self.path("epochs.json"),
            session: None,
            holder: Holder {
                host: "bench".into(),
                boot: "bench".into(),
            },
            block: publisher::DEFAULT_BLOCK,
        };
        let config = PublisherConfig {
            lead_in: Duration::ZERO,
            ..PublisherConfig::default()
        };
        let gate = Arc::new(Gate::default());
        let lines = GatedLines {
            gate: Arc::clone(&gate),
            lines: SocketLines::open(&self.lines[0], &self.lines[1], SenderOptions::default())?,
        };
        let Opened {
            publisher, reserver, ..
        } = publisher::open(config, &place, lines, unix_now())?;
        let mut feed = Feed {
            publisher,
            gate,
            _reserver: reserver,
        };
        feed.wait_live()?;
        Ok(feed)
    }

    /// The recovery service of the publisher's journal, running.
    pub(crate) fn serve(&self) -> Result<Serving> {
        let config = ServiceConfig::new(self.journal(), CHANNEL, (Ipv4Addr::LOCALHOST, 0).into());
        let service = Service::bind(config)?;
        let (address, stop) = (service.local_addr(), service.stop_handle());
        let thread = thread::Builder::new()
            .name("service".into())
            .spawn(move || service.run())?;
        Ok(Serving {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// A listener that goes on where the one before stopped, running and spinning on its core, and connected to
    /// `service`. The threads beside it stay on the core of the calling one.
    pub(crate) fn listen(&self, service: &Serving) -> Result<Listening> {
        let config = ListenerConfig {
            lines: self.lines.clone(),
            receiver: ReceiverOptions::default(),
            recovery: vec![service.address],
            client: ClientConfig::new("bench", CHANNEL),
            journal: self.path("listener"),
            journal_config: journal_config(),
            ring: Some(RingPlace {
                dir: self.dir.path().to_owned(),
                capacity: 32 << 20,
            }),
            arbiter: ArbiterConfig::default(),
            gaps: GapConfig::default(),
            fair: None,
            impair: None,
            cpu: Some(LISTENER_CORE),
            idle: Idle::Spin,
            until_end: false,
        };
        let listener = on_core(CORE, || Ok(Listener::open(&config)?))?;
        let ring = RingReader::open(self.dir.path(), CHANNEL, "bench")?;
        let (live, stop) = (listener.live(), Arc::new(AtomicBool::new(false)));
        let of_thread = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("listener".into())
            .spawn(move || run_listener(listener, &of_thread))?;
        let listening = Listening {
            ring,
            live,
            stop,
            thread: Some(thread),
        };
        listening.wait_for("the listener connects to recovery", |report| {
            report.recovery_connected == 1
        })?;
        Ok(listening)
    }
}

/// On its core, or anywhere where there is none.
fn run_listener(listener: Listener, stop: &AtomicBool) -> std::result::Result<Report, ListenError> {
    listener.run(stop)
}

fn journal_config() -> JournalConfig {
    JournalConfig {
        channel: CHANNEL,
        max_packet: 1408,
        segment_size: 64 << 20,
        sync: SyncPolicy::None,
        retention: Retention::default(),
        prepare: Prepare::Thread,
    }
}

/// Which lines a packet goes out on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// On both.
    Both = 0,
    /// On line A alone.
    OnlyA = 1,
    /// On neither: only recovery has it.
    Neither = 2,
}

/// What becomes of the publisher's packets.
#[derive(Debug, Default)]
struct Gate {
    way: AtomicU8,
    /// When the last packet was sent on the last of its lines, just before that.
    sent: AtomicU64,
}

/// The lines, behind a gate.
struct GatedLines {
    gate: Arc<Gate>,
    lines: SocketLines,
}

impl Lines for GatedLines {
    fn send(&mut self, line: Line, packet: &[u8]) -> bool {
        let way = self.gate.way.load(Ordering::Relaxed);
        if way == Way::Neither as u8 || (way == Way::OnlyA as u8 && line == Line::B) {
            return true;
        }
        self.gate.sent.store(unix_now(), Ordering::Relaxed);
        self.lines.send(line, packet)
    }
}

/// The publisher.
pub(crate) struct Feed {
    publisher: Publisher<GatedLines>,
    gate: Arc<Gate>,
    _reserver: Option<Reserver>,
}

impl Feed {
    fn wait_live(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.publisher.phase() != Phase::Live {
            if Instant::now() > until {
                return Err("the publisher does not begin".into());
            }
            self.publisher.tick(unix_now())?;
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The sequence that comes next.
    pub(crate) fn next(&self) -> u64 {
        self.publisher.next_sequence()
    }

    /// Publishes so many ticks at once, on these lines, stamped with this time. Returns when the last packet was sent on
    /// the last of them.
    pub(crate) fn publish(&mut self, ticks: usize, way: Way, now: u64) -> Result<u64> {
        self.gate.way.store(way as u8, Ordering::Relaxed);
        let tick = PriceTick {
            source_time: 1.into(),
            price: Price::new(101_250_000_000),
            quantity: Optional::some(300),
            instrument: 7.into(),
            flags: EventFlags::default(),
        };
        self.publisher.publish_batch(&[tick; 64][..ticks.min(64)], now)?;
        Ok(self.gate.sent.load(Ordering::Relaxed))
    }

    /// Fills the journal with whole packets until `messages` more are in it, past the lines.
    pub(crate) fn fill(&mut self, messages: u64) -> Result<()> {
        let end = self.next() + messages;
        let mut until = Instant::now() + PATIENCE;
        while self.next() < end {
            let before = self.next();
            let published = self.publish(64, Way::Neither, unix_now());
            if self.next() > before {
                until = Instant::now() + PATIENCE;
            }
            match published.map_err(|error| error.downcast::<PublishError>()) {
                Ok(_) => {}
                // The epoch store is slower than this: what was not taken is published again.
                Err(Ok(error))
                    if matches!(*error, PublishError::OutOfReserve { .. }) && Instant::now() < until =>
                {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(Ok(error)) => return Err(error),
                Err(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A recovery service; stopped when dropped.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    stop: StopHandle,
    thread: Option<JoinHandle<std::result::Result<(), ServiceError>>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A listener; stopped when dropped.
pub(crate) struct Listening {
    pub(crate) ring: RingReader,
    live: Live,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::result::Result<Report, ListenError>>>,
}

impl Listening {
    /// Waits until its counters say so.
    pub(crate) fn wait_for(&self, what: &str, done: impl Fn(&Report) -> bool) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !done(&self.live.report()) {
            if Instant::now() > until {
                return Err(format!("waited {PATIENCE:?} in vain: {what}").into());
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Waits until it has delivered all below `next`.
    pub(crate) fn wait_delivered(&self, next: u64) -> Result<()> {
        self.wait_for("everything is delivered", |report| report.position.next >= next)
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

/// The bytes of the packets in `journal` that hold the sequences `from..to`, as recovery sends them: each padded to a
/// multiple of 64.
pub(crate) fn bytes_of(journal: &Path, from: u64, to: u64) -> Result<Vec<u8>> {
    let mut reader = JournalReader::open(journal)?;
    reader.seek(SESSION, from)?;
    let mut bytes = Vec::new();
    while let Some(packet) = reader.next()? {
        if packet.sequence() >= to {
            break;
        }
        bytes.extend_from_slice(packet.bytes());
        bytes.resize(twinline_wire::header::align_up(bytes.len()), 0);
    }
    Ok(bytes)
}
