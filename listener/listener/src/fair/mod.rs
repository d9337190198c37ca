//! Fair release: what the arbiter delivers is held until `sending time + hold` by the host's real-time clock, so that
//! all servers whose clocks are synchronised act on a message at the same moment.
//!
//! A state machine without I/O between the arbiter and the own journal: deliveries, notices and the time go in, and come
//! out of it in the same order. What comes past its moment goes out at once and is counted as late. Nothing is lost here
//! and nothing waits for ever: where the buffer is full the oldest goes out early, and so does what was held for twice the
//! hold, as then the clock is wrong. Nothing is allocated after it is made. The [`clock`] is watched beside it.

pub mod clock;
mod kernel;
#[cfg(test)]
mod tests;

use crate::arbiter::{Delivery, Notice, NoticeKind, Origin, Sink};
use crate::record::latency_histogram;
use clock::ClockReport;
use hdrhistogram::Histogram;
pub use kernel::read as read_kernel_clock;
use std::collections::VecDeque;
use twinline_line::queue::PacketQueue;
use twinline_wire::Packet;

/// The longest hold, in nanoseconds.
pub const MAX_HOLD: u64 = 1_000_000_000;
/// The smallest buffer, in bytes: several of the longest packets.
pub const MIN_BUFFER: usize = 64 << 10;
/// Bytes of the buffer for each packet that it can hold: small packets are about as long.
const BYTES_A_PACKET: usize = 128;
/// Notices that can wait behind packets.
const NOTICES: usize = 1024;

/// Settings of fair release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FairConfig {
    /// From sending to release, in nanoseconds; from 1 to [`MAX_HOLD`].
    pub hold: u64,
    /// Bytes of packets that can be held; at least [`MIN_BUFFER`].
    pub buffer: usize,
}

/// One moment by both clocks, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Since the Unix epoch, by the host's real-time clock: it may be set.
    pub real: u64,
    /// Of a clock that only grows.
    pub mono: u64,
}

/// Counters of a [`FairRelease`], in messages. Together they are all that came out of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FairStats {
    /// Came in time, and were released when their moment had come.
    pub on_time: u64,
    /// Came past their moment.
    pub late: u64,
    /// Released before their moment because the buffer was full.
    pub early_full: u64,
    /// Released before their moment because they had been held for twice the hold: the clock is wrong.
    pub early_limit: u64,
}

impl FairStats {
    /// Released before their moment.
    pub fn early(&self) -> u64 {
        self.early_full + self.early_limit
    }
}

/// What fair release says of itself. Histograms count messages, in nanoseconds.
#[derive(Clone, Debug)]
pub struct FairReport {
    /// The counters.
    pub stats: FairStats,
    /// How long after their moment those came that were late.
    pub lateness: Histogram<u64>,
    /// How long after their moment those were released that came in time: what the thread's sleep and its work add.
    pub overshoot: Histogram<u64>,
    /// Packets held now.
    pub held_packets: u64,
    /// Their bytes.
    pub held_bytes: u64,
    /// What is known of the clock.
    pub clock: ClockReport,
}

impl Default for FairReport {
    fn default() -> Self {
        Self {
            stats: FairStats::default(),
            lateness: latency_histogram(),
            overshoot: latency_histogram(),
            held_packets: 0,
            held_bytes: 0,
            clock: ClockReport::default(),
        }
    }
}

/// What is kept of a delivery beside its packet.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Its moment by the real-time clock.
    due: u64,
    /// When it goes out at the latest, by the other clock.
    until: u64,
    /// How long past its moment it came; 0: in time.
    late: u64,
    skip: u16,
    take: u16,
    origin: Origin,
    waited: bool,
}

/// The state machine.
#[derive(Debug)]
pub struct FairRelease {
    hold: u64,
    held: PacketQueue<Held>,
    /// Each with how many packets go before it.
    notices: VecDeque<(u64, Notice)>,
    /// Packets that ever were put into `held`, and that came out of it.
    put: u64,
    taken: u64,
    stats: FairStats,
    lateness: Histogram<u64>,
    overshoot: Histogram<u64>,
}

impl FairRelease {
    /// One that holds nothing yet.
    pub fn new(config: FairConfig) -> Self {
        Self {
            hold: config.hold,
            held: PacketQueue::new(config.buffer, config.buffer / BYTES_A_PACKET),
            notices: VecDeque::with_capacity(NOTICES),
            put: 0,
            taken: 0,
            stats: FairStats::default(),
            lateness: latency_histogram(),
            overshoot: latency_histogram(),
        }
    }

    /// Messages: to be held, or past their moment.
    #[inline]
    pub fn deliver(&mut self, delivery: &Delivery<'_>, now: Times, sink: &mut impl Sink) {
        let sent = delivery.packet.header().sending_time.get();
        let due = sent.saturating_add(self.hold);
        let held = Held {
            due,
            until: now.mono.saturating_add(2 * self.hold),
            late: now.real.saturating_sub(due),
            skip: delivery.skip,
            take: delivery.take,
            origin: delivery.origin,
            waited: delivery.waited,
        };
        if self.held.is_empty() && now.real >= due {
            self.count(&held, now);
            return sink.deliver(delivery);
        }
        while !self.held.push(held, delivery.packet.bytes()) {
            if self.held.is_empty() {
                // Longer than the whole buffer.
                self.count(&held, now);
                return sink.deliver(delivery);
            }
            self.release_first(now, sink);
        }
        self.put += 1;
    }

    /// A notice: it goes out with what stands before it.
    pub fn notice(&mut self, notice: &Notice, now: Times, sink: &mut impl Sink) {
        while self.notices.len() == NOTICES {
            self.release_first(now, sink);
        }
        if self.held.is_empty() {
            return sink.notice(notice);
        }
        self.notices.push_back((self.put, *notice));
    }

    /// Time passes: releases that whose moment has come. True if there was anything.
    #[inline]
    pub fn release(&mut self, now: Times, sink: &mut impl Sink) -> bool {
        let before = self.taken;
        while self.wait(now) == Some(0) {
            self.release_first(now, sink);
        }
        self.taken != before
    }

    /// How long it is until something is to be released, in nanoseconds; `None`: nothing is held.
    #[inline]
    pub fn wait(&self, now: Times) -> Option<u64> {
        let (first, _) = self.held.front()?;
        if first.late > 0 {
            return Some(0);
        }
        let due = first.due.saturating_sub(now.real);
        Some(due.min(first.until.saturating_sub(now.mono)))
    }

    /// True if a notice is held that names a snapshot.
    pub fn holds_state(&self) -> bool {
        let names = |(_, notice): &(u64, Notice)| matches!(notice.kind, NoticeKind::StateReplaced(_));
        self.notices.iter().any(names)
    }

    /// The first packet goes out, whatever the time, and the notices behind it.
    #[inline]
    fn release_first(&mut self, now: Times, sink: &mut impl Sink) {
        let Some((held, bytes)) = self.held.front() else {
            return;
        };
        // The bytes are those of a packet that was checked.
        if let Ok(packet) = Packet::trusted_prefix(bytes) {
            sink.deliver(&Delivery {
                packet,
                skip: held.skip,
                take: held.take,
                origin: held.origin,
                waited: held.waited,
            });
        }
        self.count(&held, now);
        self.held.pop();
        self.taken += 1;
        while let Some((place, notice)) = self.notices.front()
            && *place <= self.taken
        {
            sink.notice(notice);
            self.notices.pop_front();
        }
    }

    #[inline]
    fn count(&mut self, held: &Held, now: Times) {
        let messages = u64::from(held.take);
        if held.late > 0 {
            self.stats.late += messages;
            self.lateness.saturating_record_n(held.late, messages);
        } else if now.real >= held.due {
            self.stats.on_time += messages;
            let over = (now.real - held.due).max(1);
            self.overshoot.saturating_record_n(over, messages);
        } else if now.mono >= held.until {
            self.stats.early_limit += messages;
        } else {
            self.stats.early_full += messages;
        }
    }

    /// The counters.
    pub fn stats(&self) -> &FairStats {
        &self.stats
    }

    /// Brings all of `report` up to date but the clock. Allocates nothing.
    pub fn fill(&self, report: &mut FairReport) {
        report.stats = self.stats;
        report.held_packets = self.held.len() as u64;
        report.held_bytes = self.held.bytes() as u64;
        for (to, from) in [
            (&mut report.lateness, &self.lateness),
            (&mut report.overshoot, &self.overshoot),
        ] {
            to.reset();
            // Same bounds: nothing is out of range.
            let _ = to.add(from);
        }
    }
}
