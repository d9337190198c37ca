//! Snapshots of many live orders, served while a publisher goes as fast as it can: what they cost the publisher, and whoever
//! has a gap filled meanwhile.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use twinline_feed::lines::NetworkLines;
use twinline_feed::publisher::{self, Opened, Place, PublisherConfig};
use twinline_feed::run::{Idle, RunConfig, run, unix_now};
use twinline_feed::source::{EventSink, Source, SourceError, SourceState, TypeCount};
use twinline_journal::epoch::Holder;
use twinline_journal::{JournalConfig, JournalReader, Prepare, Retention, SyncPolicy};
use twinline_line::SenderOptions;
use twinline_recovery::{
    ClientConfig, ClientEvent, RecoveryClient, Service, ServiceConfig, SnapshotConfig, range,
};
use twinline_wire::Message;
use twinline_wire::field::{Price, Side};
use twinline_wire::market::{AddOrder, DeleteOrder};

/// What goes wrong here is the machine's doing.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What the service does besides filling gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Off,
    /// It keeps the books.
    Books,
    /// It keeps the books and serves a snapshot a second.
    Serving,
    /// It keeps the books and serves snapshots, one right after the other.
    Flood,
}

/// What was measured in one mode.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Messages that the publisher committed and sent in a second.
    pub rate: f64,
    /// Times from asking for a range to having all of it, in order.
    pub fills: Vec<Duration>,
    /// Snapshots that came meanwhile.
    pub snapshots: u64,
    /// Bytes of one.
    pub snapshot_bytes: u64,
    /// The longest time that making one took.
    pub made_in: Duration,
    /// Live orders in the books.
    pub live_orders: u64,
}

impl Measured {
    /// The time within which so many of a thousand gaps were filled.
    pub fn fill(&self, of_thousand: usize) -> Duration {
        let at = self.fills.len() * of_thousand / 1000;
        let at = at.min(self.fills.len().saturating_sub(1));
        self.fills.get(at).copied().unwrap_or_default()
    }
}

/// Adds so many orders, then has one leave for each that enters.
struct Crowd {
    live: u64,
    next: u64,
}

const INSTRUMENTS: u64 = 1_000;

fn instrument(order: u64) -> u32 {
    1 << 16 | (1 + order % INSTRUMENTS) as u32
}

impl Source for Crowd {
    fn id(&self) -> u16 {
        1
    }

    fn position(&self) -> u64 {
        self.next
    }

    fn resume(&mut self, position: u64) -> Result<(), SourceError> {
        self.next = position;
        Ok(())
    }

    fn poll(&mut self, _: u64, sink: &mut impl EventSink) -> Result<SourceState, SourceError> {
        let order = self.next;
        self.next += 1;
        if let Some(old) = order.checked_sub(self.live) {
            sink.push(&DeleteOrder {
                order_id: old.into(),
                instrument: instrument(old).into(),
                ..DeleteOrder::NULL
            });
        }
        sink.push(&AddOrder {
            order_id: order.into(),
            price: Price::new(1_000_000_000 + (order / INSTRUMENTS % 200) as i64 * 10_000_000),
            quantity: 100.into(),
            instrument: instrument(order).into(),
            side: if order.is_multiple_of(2) {
                Side::BUY
            } else {
                Side::SELL
            },
            ..AddOrder::NULL
        });
        sink.end_event(1, self.next);
        Ok(SourceState::Ready)
    }

    fn counts(&self) -> Vec<TypeCount> {
        Vec::new()
    }
}

/// Publishes in `dir` until so many orders live, then measures for `span`.
///
/// # Errors
/// If files or sockets cannot be had.
pub fn measure(dir: &Path, mode: Mode, live: u64, span: Duration) -> Result<Measured, Failed> {
    let stop = AtomicBool::new(false);
    let journal = dir.join("publisher");
    thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(dir, live, &stop));
        let measured = (|| {
            let mut reader = loop {
                match JournalReader::open(&journal) {
                    Ok(reader) => break reader,
                    Err(_) if !publisher.is_finished() => thread::sleep(Duration::from_millis(5)),
                    Err(error) => return Err(error.into()),
                }
            };
            let mut config = ServiceConfig::new(&journal, 1, SocketAddr::from(([127, 0, 0, 1], 0)));
            if mode != Mode::Off {
                config.snapshots = Some(SnapshotConfig::new(dir.join("snapshots")));
            }
            let service = Service::bind(config)?;
            let (address, ender, shelf) = (service.local_addr(), service.stop_handle(), service.snapshots());
            let serving = scope.spawn(move || service.run());
            let result = (|| {
                // All orders are in, and the books have caught up.
                loop {
                    let head = reader.head()?.map_or(0, |head| head.next);
                    let stats = shelf.as_ref().map(|shelf| shelf.stats());
                    let orders = stats.map_or(live, |stats| stats.live_orders.load(Ordering::Relaxed));
                    if head > live + live / 2 && orders >= live * 99 / 100 {
                        break;
                    }
                    thread::sleep(Duration::from_millis(20));
                }
                let measuring = AtomicBool::new(true);
                let snapshots = AtomicU64::new(0);
                thread::scope(|inner| {
                    let pause = match mode {
                        Mode::Off | Mode::Books => None,
                        Mode::Serving => Some(Duration::from_secs(1)),
                        Mode::Flood => Some(Duration::ZERO),
                    };
                    if let Some(pause) = pause {
                        let (measuring, snapshots) = (&measuring, &snapshots);
                        inner.spawn(move || take_snapshots(address, pause, measuring, snapshots));
                    }
                    let filler = inner.spawn(|| fill_gaps(address, &journal, &measuring));
                    let begin = reader.head()?.map_or(0, |head| head.next);
                    let start = Instant::now();
                    thread::sleep(span);
                    let end = reader.head()?.map_or(0, |head| head.next);
                    let elapsed = start.elapsed().as_secs_f64();
                    measuring.store(false, Ordering::Relaxed);
                    let fills = filler.join().map_err(|_| "the client panicked")??;
                    let stats = shelf.as_ref().map(|shelf| shelf.stats());
                    let get = |of: fn(&twinline_recovery::server::snapshot::SnapshotStats) -> &AtomicU64| {
                        stats.map_or(0, |stats| of(stats).load(Ordering::Relaxed))
                    };
                    Ok::<_, Failed>(Measured {
                        rate: (end - begin) as f64 / elapsed,
                        fills,
                        snapshots: snapshots.load(Ordering::Relaxed),
                        snapshot_bytes: get(|stats| &stats.bytes),
                        made_in: Duration::from_nanos(get(|stats| &stats.made_in_max)),
                        live_orders: get(|stats| &stats.live_orders),
                    })
                })
            })();
            ender.stop();
            serving.join().map_err(|_| "the service panicked")??;
            result
        })();
        stop.store(true, Ordering::Relaxed);
        publisher.join().map_err(|_| "the publisher panicked")??;
        measured
    })
}

fn publish(dir: &Path, live: u64, stop: &AtomicBool) -> Result<(), Failed> {
    let place = Place {
        journal: dir.join("publisher"),
        journal_config: JournalConfig {
            channel: 1,
            max_packet: 1408,
            segment_size: 64 << 20,
            sync: SyncPolicy::None,
            retention: Retention {
                segments: Some(16),
                ..Retention::default()
            },
            prepare: Prepare::Thread,
        },
        store: dir.join("epochs.json"),
        session: None,
        holder: Holder {
            host: "bench".into(),
            boot: "bench".into(),
        },
        block: publisher::DEFAULT_BLOCK,
    };
    let (a, b) = ("239.77.9.1:29771@lo".parse()?, "239.77.9.2:29772@lo".parse()?);
    let lines = NetworkLines::open(&a, &b, [SenderOptions::default(); 2])?;
    let config = PublisherConfig {
        lead_in: Duration::ZERO,
        linger: Duration::ZERO,
        ..PublisherConfig::default()
    };
    let Opened {
        mut publisher,
        reserver,
        ..
    } = publisher::open(config, &place, lines, unix_now())?;
    let run_config = RunConfig {
        idle: Idle::Spin,
        ..RunConfig::default()
    };
    run(
        &mut publisher,
        reserver,
        &mut Crowd { live, next: 0 },
        &run_config,
        stop,
    )?;
    Ok(())
}

/// Asks for a hundred messages near the head, over and over; how long each took.
fn fill_gaps(address: SocketAddr, journal: &Path, measuring: &AtomicBool) -> Result<Vec<Duration>, Failed> {
    let mut client = RecoveryClient::new(&ClientConfig::new("gaps", 1), &[address])?;
    let mut reader = JournalReader::open(journal)?;
    let mut times = Vec::new();
    for id in 1.. {
        while !client.is_ready(0) {
            client.poll(Duration::from_millis(5), &mut |_, _| ())?;
        }
        if !measuring.load(Ordering::Relaxed) {
            break;
        }
        let Some(head) = reader.head()? else { continue };
        let begin = head.next.saturating_sub(2_000).max(1);
        let start = Instant::now();
        client.submit(0, id, head.session, &[range(begin, begin + 100)])?;
        let mut done = false;
        while !done {
            client.poll(Duration::from_millis(5), &mut |_, event| {
                done |= matches!(event, ClientEvent::Complete { .. } | ClientEvent::Closed { .. });
            })?;
        }
        times.push(start.elapsed());
        thread::sleep(Duration::from_millis(1));
    }
    times.sort_unstable();
    Ok(times)
}

/// Takes one snapshot after the other, each so long after the one before was begun.
fn take_snapshots(
    address: SocketAddr,
    pause: Duration,
    measuring: &AtomicBool,
    taken: &AtomicU64,
) -> Result<(), Failed> {
    let mut client = RecoveryClient::new(&ClientConfig::new("snapshots", 1), &[address])?;
    for id in 1.. {
        while !client.is_ready(0) && measuring.load(Ordering::Relaxed) {
            client.poll(Duration::from_millis(5), &mut |_, _| ())?;
        }
        if !measuring.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        client.request_snapshot(0, id, 1, 0)?;
        let (mut done, mut whole) = (false, false);
        while !done && measuring.load(Ordering::Relaxed) {
            client.poll(Duration::from_millis(5), &mut |_, event| match event {
                ClientEvent::SnapshotPart {
                    total, offset, bytes, ..
                } => {
                    whole = offset + bytes.len() as u64 == total;
                }
                ClientEvent::Complete { .. } | ClientEvent::Closed { .. } => done = true,
                _ => {}
            })?;
        }
        taken.fetch_add(u64::from(whole && done), Ordering::Relaxed);
        thread::sleep(pause.saturating_sub(began.elapsed()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Mode, measure};
    use std::time::Duration;

    #[test]
    fn each_mode_is_measured() {
        for mode in [Mode::Off, Mode::Books, Mode::Flood] {
            let dir = tempfile::tempdir().expect("a directory");
            let measured =
                measure(dir.path(), mode, 2_000, Duration::from_millis(500)).expect("sockets and files");
            assert!(measured.rate > 0.0 && !measured.fills.is_empty(), "{mode:?}");
            assert_eq!(measured.snapshots > 0, mode == Mode::Flood);
        }
    }
}
