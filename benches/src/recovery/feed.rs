//! A publisher whose packets can be kept from the lines.

use crate::harness::bed::Bed;
use crate::harness::error::BenchError;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use twinline_feed::lines::NetworkLines;
use twinline_feed::publisher::{Burst, Line, Lines, Opened, Phase, PublishError, Publisher, Reserver};
use twinline_feed::run::unix_now;
use twinline_journal::JournalReader;
use twinline_wire::field::{EventFlags, Optional, Price};
use twinline_wire::header::align_up;
use twinline_wire::market::PriceTick;

/// The session of every benchmark.
pub(crate) const SESSION: u32 = 1;
/// How long anything that must happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The bytes of the packets in `journal` that hold the sequences `from..to`, as recovery sends them: each padded to a
/// multiple of 64.
pub(crate) fn bytes_of(journal: &Path, from: u64, to: u64) -> Result<Vec<u8>, BenchError> {
    let mut reader = JournalReader::open(journal)?;
    reader.seek(SESSION, from)?;
    let mut bytes = Vec::new();
    while let Some(packet) = reader.next()? {
        if packet.sequence() >= to {
            break;
        }
        bytes.extend_from_slice(packet.bytes());
        bytes.resize(align_up(bytes.len()), 0);
    }
    Ok(bytes)
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
    lines: NetworkLines,
}

impl Lines for GatedLines {
    fn send(&mut self, line: Line, burst: Burst<'_>) -> usize {
        let way = self.gate.way.load(Ordering::Relaxed);
        if way == Way::Neither as u8 || (way == Way::OnlyA as u8 && line == Line::B) {
            return burst.count();
        }
        self.gate.sent.store(unix_now(), Ordering::Relaxed);
        self.lines.send(line, burst)
    }
}

/// The publisher.
pub(crate) struct Feed {
    publisher: Publisher<GatedLines>,
    gate: Arc<Gate>,
    _reserver: Option<Reserver>,
}

impl Feed {
    /// Its first session has begun.
    pub(crate) fn open(bed: &Bed) -> Result<Self, BenchError> {
        let gate = Arc::new(Gate::default());
        let lines = GatedLines {
            gate: Arc::clone(&gate),
            lines: bed.senders()?,
        };
        let Opened {
            publisher, reserver, ..
        } = bed.publisher(lines)?;
        let mut feed = Self {
            publisher,
            gate,
            _reserver: reserver,
        };
        let until = Instant::now() + PATIENCE;
        while feed.publisher.phase() != Phase::Live {
            if Instant::now() > until {
                return Err(BenchError::Broken("the publisher does not begin".into()));
            }
            feed.publisher.tick(unix_now())?;
            thread::sleep(Duration::from_millis(1));
        }
        Ok(feed)
    }

    /// The sequence that comes next.
    pub(crate) fn next(&self) -> u64 {
        self.publisher.next_sequence()
    }

    /// Publishes so many ticks (64 at most) at once, on these lines, stamped with this time. Returns when the last packet
    /// was sent on the last of them.
    pub(crate) fn publish(&mut self, ticks: usize, way: Way, now: u64) -> Result<u64, PublishError> {
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
    pub(crate) fn fill(&mut self, messages: u64) -> Result<(), BenchError> {
        let end = self.next() + messages;
        let mut until = Instant::now() + PATIENCE;
        while self.next() < end {
            let before = self.next();
            let published = self.publish(64, Way::Neither, unix_now());
            if self.next() > before {
                until = Instant::now() + PATIENCE;
            }
            match published {
                Ok(_) => {}
                // The epoch store is slower than this: what was not taken is published again.
                Err(PublishError::OutOfReserve { .. }) if Instant::now() < until => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
