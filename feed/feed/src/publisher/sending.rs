//! From the open packet to the lines: commit, then send, at once or in a burst.
//!
//! A packet that is closed because it is full has others behind it. It is padded to the packet limit, so that it and those
//! behind it stand in the journal back to back and of one size, and they all go out in one send a line, straight from
//! there: as soon as nothing more waits, one send can carry no more, the journal goes on in another segment, or the first
//! of them has waited for [`LONGEST_WAIT`]. A packet that has nothing behind it is never padded, and never waits.

use super::packing::Packing;
use super::{Burst, Line, Lines, PublishError, Publisher, PublisherConfig, slot};
use twinline_journal::{Location, failpoint};
use twinline_wire::OpenPacket;

/// How long a committed packet waits for others to go out with, in nanoseconds.
const LONGEST_WAIT: u64 = 50_000;

/// What follows a packet that is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing yet.
    Nothing,
    /// The next packet: its first message is there.
    More,
}

/// Packets that are committed and not sent: back to back in the journal's segment, all but the last as long as packets may
/// be.
#[derive(Debug)]
pub(super) struct Unsent {
    begin: Location,
    /// Bytes; 0: everything is sent.
    length: usize,
    /// When the first was committed.
    since: u64,
    /// Bytes of a full packet.
    packet: usize,
    /// Most bytes that wait; a packet's: none does.
    most: usize,
}

/// A packet that was committed.
#[derive(Debug)]
pub(super) struct Sealed {
    /// Where.
    pub(super) at: Location,
    /// Its bytes.
    pub(super) length: usize,
    messages: u64,
}

impl Unsent {
    /// True if everything is sent.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Nothing is unsent yet.
    pub(super) fn new(config: &PublisherConfig) -> Self {
        let packet = config.packet_limit;
        Self {
            begin: Location::default(),
            length: 0,
            since: 0,
            packet,
            most: packet * config.burst.clamp(1, Burst::most(packet)),
        }
    }

    /// A packet of `length` bytes was committed at `at`.
    #[inline]
    fn add(&mut self, at: Location, length: usize, now: u64) {
        if self.length == 0 {
            (self.begin, self.since) = (at, now);
        }
        self.length += length;
    }

    /// True if another packet might be one too many.
    fn is_full(&self) -> bool {
        self.length + self.packet > self.most
    }
}

impl<L: Lines> Publisher<L> {
    /// Commits the packet that `fill` makes in the journal's slot; then sends it on A and on B, unless it waits for what comes
    /// `after`.
    pub(super) fn commit(
        &mut self,
        now: u64,
        after: After,
        fill: impl FnOnce(&mut Packing, &mut [u8]) -> OpenPacket,
    ) -> Result<(), PublishError> {
        let waits = after == After::More && self.unsent.most > self.unsent.packet;
        let padded = if waits { self.unsent.packet } else { 0 };
        let sealed = self.seal(now, padded, fill)?;
        self.unsent.add(sealed.at, sealed.length, now);
        if !waits || self.unsent.is_full() || self.journal.is_full() {
            self.send_unsent(now);
        }
        self.settle(&sealed);
        Ok(())
    }

    /// Commits the packet that `fill` makes in the journal's slot, stamped and with its checksum, and at least `padded` bytes
    /// long.
    #[inline(always)]
    pub(super) fn seal(
        &mut self,
        now: u64,
        padded: usize,
        fill: impl FnOnce(&mut Packing, &mut [u8]) -> OpenPacket,
    ) -> Result<Sealed, PublishError> {
        let slot = slot(&mut self.journal, &mut self.phase)?;
        let packet = fill(&mut self.packing, slot);
        self.stamp.sending_time = now;
        let length = packet.finish(slot, self.stamp, padded);
        failpoint::hit("publisher.stamp");
        let at = self.journal.location();
        self.journal.commit(length, self.stamp.flags);
        failpoint::hit("publisher.after_commit");
        let messages = u64::from(packet.count());
        self.stamp.sequence += messages;
        Ok(Sealed { at, length, messages })
    }

    /// What is to be done for a packet and nobody waits for: behind the sends.
    #[inline(always)]
    pub(super) fn settle(&mut self, sealed: &Sealed) {
        self.journal.make_ready();
        self.reserve.set_next(self.stamp.sequence);
        self.counters.packets.add(1);
        self.counters.messages.add(sealed.messages);
        self.counters.bytes.add(sealed.length as u64);
    }

    /// Sends what is committed and was not sent, on A and on B. Nothing is left behind when an event ends in an error, or
    /// there is no event; nothing is sent behind it before.
    #[inline]
    pub(super) fn send_unsent(&mut self, now: u64) {
        if self.unsent.length > 0 {
            let length = std::mem::take(&mut self.unsent.length);
            self.send(self.unsent.begin, length, now);
        }
    }

    /// Sends the packets that stand back to back from `begin` on in the journal, on A and on B.
    #[inline]
    pub(super) fn send(&mut self, begin: Location, length: usize, now: u64) {
        let bytes = self.journal.written(begin, length);
        let burst = Burst::new(bytes, self.unsent.packet);
        let a = self.lines.send(Line::A, burst);
        failpoint::hit("publisher.between_lines");
        let b = self.lines.send(Line::B, burst);
        failpoint::hit("publisher.after_send");
        let packets = burst.count();
        self.sent = Some(now);
        self.count_failures(packets, [a, b]);
    }

    /// [`send_unsent`](Self::send_unsent) if something has waited for long. Where the clock was set back, it has.
    #[inline]
    pub(super) fn send_overdue(&mut self, now: u64) {
        if self.unsent.length > 0 && now.wrapping_sub(self.unsent.since) >= LONGEST_WAIT {
            self.send_unsent(now);
        }
    }

    /// Counts what the lines did not take of so many packets.
    pub(super) fn count_failures(&self, packets: usize, taken: [usize; 2]) {
        for (failures, taken) in self.counters.send_failures.iter().zip(taken) {
            if taken < packets {
                failures.add((packets - taken) as u64);
            }
        }
    }
}

impl<L: Lines> Drop for Publisher<L> {
    /// What is committed goes out, however the publisher ends.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.send_unsent(self.unsent.since);
        }
    }
}
