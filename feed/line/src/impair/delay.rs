//! A longer way: every packet of a line comes later by a fixed time and a random one, in the order it went.

use super::Spec;
use crate::queue::PacketQueue;
use crate::random::Random;

/// Bytes of packets that can be on their way on a line.
const BYTES: usize = 8 << 20;
/// Packets that can be.
const PACKETS: usize = BYTES / 128;

/// The way of one line's packets. With more on it than it has room for, the first ones come early.
#[derive(Debug)]
pub(super) struct Delay {
    fixed: u64,
    jitter: u64,
    random: Random,
    /// When the last one is to come: none overtakes it.
    last: u64,
    /// Each with when it is to come.
    underway: PacketQueue<u64>,
}

impl Delay {
    pub(super) fn new(spec: &Spec, seed: u64) -> Self {
        Self {
            fixed: spec.delay,
            jitter: spec.jitter,
            random: Random::new(seed),
            last: 0,
            underway: PacketQueue::new(BYTES, PACKETS),
        }
    }

    /// `packet` sets out.
    pub(super) fn push(&mut self, packet: &[u8], now: u64, mut deliver: impl FnMut(&[u8])) {
        let more = self.random.below(self.jitter + 1);
        self.last = self.last.max(now.saturating_add(self.fixed + more));
        while !self.underway.push(self.last, packet) {
            match self.underway.front() {
                Some((_, first)) => deliver(first),
                // Too long for any way, or nothing at all.
                None => return deliver(packet),
            }
            self.underway.pop();
        }
    }

    /// Delivers what is there by `now`.
    pub(super) fn release(&mut self, now: u64, mut deliver: impl FnMut(&[u8])) {
        while let Some((at, packet)) = self.underway.front()
            && at <= now
        {
            deliver(packet);
            self.underway.pop();
        }
    }

    /// When the next one is to come.
    pub(super) fn next(&self) -> Option<u64> {
        self.underway.front().map(|(at, _)| at)
    }
}
