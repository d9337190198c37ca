//! What is measured: a publisher on this thread, which between sends polls the ring; the listener daemon, as it is, on a thread
//! and a core of its own.

use super::load::{FULL, Feed, Sample, Send, What};
use super::measured::{Hearing, Times};
use crate::harness::bed::{Bed, BedConfig, CHANNEL, Listening, Serving};
use crate::harness::clock::Clock;
use crate::harness::error::BenchError;
use crate::harness::gaps::Gaps;
use crate::harness::halt::Halted;
use crate::harness::slice::{Slice, latencies};
use crate::harness::tie::{Tie, Ties};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};
use twinline_feed::lines::NetworkLines;
use twinline_feed::publisher::{Lines, Opened, Publisher, Reserver};
use twinline_feed::run::unix_now;
use twinline_feed::source::EventSink;
use twinline_listener::Report;
use twinline_ring::{Kind, Next, RingReader};
use twinline_wire::{Frame, Message};

/// What has not come after this is lost: recovery has had its time.
const PATIENCE: Duration = Duration::from_secs(15);

/// A slice of ours.
#[derive(Debug)]
pub(super) struct Measured {
    /// Publish call to delivery.
    pub(super) slice: Slice,
    /// Publish call to the ring's reader, from the intended time.
    pub(super) to_reader: Histogram<u64>,
    /// From when a record could be read to when it was.
    pub(super) hop: Histogram<u64>,
}

/// The publishing end: a publisher, and messages for it.
#[derive(Debug)]
pub(super) struct Sending<L: Lines> {
    pub(super) publisher: Publisher<L>,
    _reserver: Option<Reserver>,
    samples: [Sample; FULL],
}

impl<L: Lines> Sending<L> {
    pub(super) fn new(opened: Opened<L>) -> Self {
        Self {
            publisher: opened.publisher,
            _reserver: opened.reserver,
            samples: [Sample {
                source_time: 34_200_000_000_000.into(),
                paired_quantity: 1_200.into(),
                imbalance_quantity: 300.into(),
                instrument: 7.into(),
                ..Sample::NULL
            }; FULL],
        }
    }

    /// Publishes what is to be sent at once.
    #[inline]
    pub(super) fn publish(&mut self, feed: &Feed, what: What, now: u64) -> Result<(), BenchError> {
        match what {
            What::Samples(1) => self.publisher.publish(&self.samples[0], now)?,
            What::Samples(count) => self.publisher.publish_batch(&self.samples[..count], now)?,
            What::Event { begin, end } => {
                let position = self.publisher.position(1) + 1;
                self.publisher.event(now, |sink| {
                    let mut rest = feed.frames(begin, end);
                    while let Some((frame, behind)) = Frame::split(rest) {
                        sink.push_frame(&frame);
                        rest = behind;
                    }
                    sink.end_event(1, position);
                })?;
                self.publisher.flush(now)?;
            }
        }
        Ok(())
    }
}

/// Publisher, listener and a reader of its ring.
#[derive(Debug)]
pub(super) struct Ours {
    clock: Clock,
    sending: Sending<NetworkLines>,
    reader: RingReader,
    listening: Listening,
    _serving: Serving,
    _bed: Bed,
    sent: Vec<Times>,
    /// Of each send: its first sequence, and when the call returned.
    calls: Vec<(u64, u64)>,
    /// Of each send, in their order: the listener's time of delivery, and when the reader saw it.
    heard: Vec<(u64, u64)>,
}

impl Ours {
    /// Opens everything and sees the first packet through.
    pub(super) fn new(config: &BedConfig, clock: &Clock) -> Result<Self, BenchError> {
        let config = BedConfig {
            ring: Some(16 << 20),
            ..config.clone()
        };
        let bed = Bed::new(&config)?;
        let sending = Sending::new(bed.publisher(bed.senders()?)?);
        let serving = bed.serve()?;
        let listening = bed.listen(&serving, false)?;
        let ring = bed.ring().expect("a bed with a ring was made");
        let mut ours = Self {
            clock: clock.clone(),
            reader: RingReader::open(ring, CHANNEL, "bench")?,
            sending,
            listening,
            _serving: serving,
            _bed: bed,
            sent: Vec::new(),
            calls: Vec::new(),
            heard: Vec::new(),
        };
        ours.begin()?;
        Ok(ours)
    }

    /// Opens the session, and waits until the listener has it.
    fn begin(&mut self) -> Result<(), BenchError> {
        let start = Instant::now();
        loop {
            self.sending.publisher.tick(unix_now())?;
            let next = self.sending.publisher.next_sequence();
            while let Next::Record(record) = self.reader.poll() {
                if record.kind == Kind::Messages
                    && record.messages().any(|(sequence, _)| sequence + 1 == next)
                {
                    return Ok(());
                }
            }
            if let Some(trouble) = self.listening.trouble() {
                return Err(trouble);
            }
            if start.elapsed() > PATIENCE {
                return Err(BenchError::Broken(
                    "the listener does not hear the publisher: see that multicast works on the interfaces"
                        .into(),
                ));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Halts the listener's thread until what is returned is dropped.
    pub(super) fn halt(&self) -> Result<Halted<'_>, BenchError> {
        self.listening.halt()
    }

    /// Publishes a slice and waits until all of it has been delivered and read.
    pub(super) fn slice(&mut self, feed: &Feed, sends: &[Send], lead: u64) -> Result<Measured, BenchError> {
        for memory in [&mut self.calls, &mut self.heard] {
            memory.clear();
            memory.reserve(sends.len());
        }
        self.sent.clear();
        self.sent.reserve(sends.len());
        self.sending.publisher.tick(unix_now())?;
        let tie = Tie::new(&self.clock);
        let start = self.clock.now() + lead;
        let mut gaps = Gaps::new(self.clock.now());
        for send in sends {
            let due = start + send.at;
            let began = loop {
                // Also where this thread is late: or the reader falls behind.
                self.read()?;
                let now = self.clock.now();
                gaps.look(now);
                if now >= due {
                    break now;
                }
            };
            let sequence = self.sending.publisher.next_sequence();
            self.sending.publish(feed, send.what, tie.unix(began))?;
            self.sent.push(Times { due, began });
            self.calls.push((sequence, self.clock.now()));
        }
        let waiting = Instant::now();
        while self.heard.len() < self.sent.len() {
            gaps.look(self.clock.now());
            self.read()?;
            if waiting.elapsed() > PATIENCE {
                if let Some(trouble) = self.listening.trouble() {
                    return Err(trouble);
                }
                let missing = self.sent.len() - self.heard.len();
                return Err(BenchError::Broken(format!(
                    "{missing} of {} packets were not delivered within {} s, neither line nor recovery brought them",
                    self.sent.len(),
                    PATIENCE.as_secs()
                )));
            }
        }
        let end = self.clock.now();
        let ties = Ties::close(tie, &self.clock);
        let slice = Hearing {
            sent: &self.sent,
            start,
            end,
            stolen: gaps.stolen(),
        }
        .slice(ties.as_ref(), |number| self.heard[number].0);
        let (mut to_reader, mut hop) = (latencies(), latencies());
        for ((times, call), heard) in self.sent.iter().zip(&self.calls).zip(&self.heard) {
            to_reader.saturating_record(heard.1.saturating_sub(times.due).max(1));
            if let Some(ties) = &ties {
                let readable = ties.clock(heard.0).max(call.1);
                hop.saturating_record(heard.1.saturating_sub(readable).max(1));
            }
        }
        Ok(Measured {
            slice,
            to_reader,
            hop,
        })
    }

    /// One look at the ring.
    #[inline]
    fn read(&mut self) -> Result<(), BenchError> {
        match self.reader.poll() {
            Next::Record(record) if record.kind == Kind::Messages => {
                let seen = self.clock.now();
                let (sequence, time) = (record.sequence, record.receive_time);
                // A packet may be delivered in parts: its first one counts. What this slice did not send is not of it.
                if let Some((first, _)) = self.calls.get(self.heard.len())
                    && *first == sequence
                {
                    self.heard.push((time, seen));
                }
                Ok(())
            }
            Next::Record(_) | Next::Empty => Ok(()),
            Next::Overrun => Err(BenchError::Broken(
                "the ring went round before it was read: this thread had no core for too long".into(),
            )),
        }
    }

    /// Ends the listener; what it counted.
    pub(super) fn finish(self) -> Result<Report, BenchError> {
        self.listening.finish(true)
    }
}
