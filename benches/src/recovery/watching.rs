//! A listener, as whoever reads its ring sees it.

use super::feed::{Feed, PATIENCE, Way};
use crate::harness::bed::{Bed, CHANNEL, Listening, Serving};
use crate::harness::error::BenchError;
use std::thread;
use std::time::{Duration, Instant};
use twinline_feed::run::unix_now;
use twinline_listener::Report;
use twinline_ring::{Next, Record, RingReader};

/// A listener, connected to recovery, and a reader of its ring.
pub(super) struct Watching {
    pub(super) listening: Listening,
    ring: RingReader,
}

impl Watching {
    /// In a bed with a ring. The listener's thread and those beside it start on no core but their own.
    pub(super) fn open(bed: &Bed, service: &Serving) -> Result<Self, BenchError> {
        let listening = bed.listen(service, false)?;
        let none = || BenchError::Broken("a bed without a ring".into());
        let mut watching = Self {
            ring: RingReader::open(bed.ring().ok_or_else(none)?, CHANNEL, "bench")?,
            listening,
        };
        watching.wait_for("the listener connects to recovery", |report| {
            report.recovery_connected == 1
        })?;
        Ok(watching)
    }

    /// Waits until its counters say so.
    fn wait_for(&mut self, what: &str, done: impl Fn(&Report) -> bool) -> Result<(), BenchError> {
        let until = Instant::now() + PATIENCE;
        while !done(&self.listening.live().report()) {
            if let Some(trouble) = self.listening.trouble() {
                return Err(trouble);
            }
            if Instant::now() > until {
                return Err(BenchError::Broken(format!("waited in vain: {what}")));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// A message on both lines, and waits until it and all before it are delivered.
    pub(super) fn catch_up(&mut self, feed: &mut Feed) -> Result<(), BenchError> {
        feed.publish(1, Way::Both, unix_now())?;
        let next = feed.next();
        self.wait_for("everything is delivered", |report| report.position.next >= next)
    }

    /// What is in the ring since this was called last.
    pub(super) fn records(&mut self, mut take: impl FnMut(&Record<'_>)) -> Result<(), BenchError> {
        loop {
            match self.ring.poll() {
                Next::Record(record) => take(&record),
                Next::Empty => return Ok(()),
                Next::Overrun => return Err(BenchError::Broken("the ring is too small".into())),
            }
        }
    }
}
