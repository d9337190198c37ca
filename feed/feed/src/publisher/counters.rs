//! What a publisher has done, readable from other threads while it runs.

use super::Phase;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A count that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The count now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Takes over a count that is kept elsewhere. Only one thread may do so.
    #[inline]
    pub(super) fn set(&self, count: u64) {
        self.0.store(count, Relaxed);
    }

    /// Adds `more`. Only one thread may do so: this is a load and a store, no locked instruction.
    #[inline]
    pub(super) fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }
}

/// A publisher's counters, since it was opened.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages published: market, session, epoch and position messages.
    pub messages: Counter,
    /// Source messages (events) published: those that put at least one message into the stream.
    pub source_messages: Counter,
    /// Packets journalled and sent, heartbeats not counted.
    pub packets: Counter,
    /// Bytes of those packets, each counted once.
    pub bytes: Counter,
    /// Heartbeats sent, each counted once for both lines.
    pub heartbeats: Counter,
    /// Packets and heartbeats that a line did not take, line A and line B. Recovery has the packets.
    pub send_failures: [Counter; 2],
    /// Source messages that were refused because they do not fit a packet.
    pub events_too_large: Counter,
    /// Times that publishing was tried and no sequences were reserved.
    pub reserve_stalls: Counter,
    /// Checkpoints that could not be written: the next start reads more of the journal.
    pub checkpoint_failures: Counter,
    /// Turns of the publishing thread: it works while they grow.
    pub turns: Counter,
    /// The [`Phase`](super::Phase) at the last turn, as its number.
    pub(super) phase: Counter,
}

impl Counters {
    /// What the publisher was doing at its last turn; `None` before the first one.
    pub fn phase(&self) -> Option<Phase> {
        let phase = self.phase.get();
        let all = [
            Phase::LeadIn,
            Phase::Live,
            Phase::Ending,
            Phase::Done,
            Phase::Failed,
        ];
        all.into_iter()
            .find(|of| self.turns.get() > 0 && *of as u64 == phase)
    }
}
