//! The short way of what nearly every packet is: the next one of its line, with nothing but ordinary messages, and either
//! the next of the stream or wholly delivered before.
//!
//! It decides nothing by itself. When a packet has gone the whole way, [`Arbiter::open_lane`] looks whether the arbiter's
//! state is one in which such packets need no more than to be counted and delivered, and writes down what they look like.
//! Whatever changes the state otherwise [closes](Arbiter::close_lane) the lane. In a build with assertions each packet that
//! takes it asserts that what was written down is still so, and a property test compares it with the whole way.

use super::{Arbiter, Bug, Delivery, Origin, Sink, is_planted, line_index};
use std::mem::offset_of;
use twinline_wire::header::{HEADER_LEN, MAGIC, PacketHeader, VERSION};
use twinline_wire::message::{FrameHeader, SbeHeader};
use twinline_wire::session::EndOfSession;
use twinline_wire::{Message, Packet};

const TEMPLATE_AT: usize = HEADER_LEN + offset_of!(FrameHeader, sbe) + offset_of!(SbeHeader, template_id);
/// Header and first frame header, of which every packet with messages has as many bytes.
const HEAD: usize = HEADER_LEN + size_of::<FrameHeader>();

/// What packets look like that may take the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    /// The header's bytes 0 to 5: magic, version, no flags, channel. What no header has while the lane is closed.
    kind: u64,
    /// Session and epoch, as they stand in the header.
    place: u64,
    base: u64,
    /// From here on nothing is void, lost, or the start of an epoch.
    from: u64,
    /// Delivery does not come to this.
    stop: u64,
}

impl Lane {
    /// No packet may.
    pub(super) const CLOSED: Self = Self {
        kind: u64::MAX,
        place: 0,
        base: 0,
        from: 0,
        stop: 0,
    };
}

/// The eight bytes of a header from `at` on.
#[inline(always)]
fn word(head: &[u8; HEAD], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[at..at + 8]);
    u64::from_le_bytes(bytes)
}

const COUNT_BITS: u32 = 16;

impl Arbiter {
    /// Takes the packet if it may take the lane; false, with nothing done, if it has to go the whole way.
    #[inline(always)]
    pub(super) fn take_lane(
        &mut self,
        origin: Origin,
        packet: &Packet<'_>,
        now: u64,
        sink: &mut impl Sink,
    ) -> bool {
        let (Some(line), Some(head)) = (line_index(origin), packet.bytes().first_chunk()) else {
            return false;
        };
        // Channel and count are the first word's upper half.
        let first = word(head, 0);
        let begin = word(head, offset_of!(PacketHeader, sequence));
        let count = first >> (64 - COUNT_BITS);
        let end = begin.wrapping_add(count);
        let usual = first << COUNT_BITS == self.lane.kind
            && word(head, offset_of!(PacketHeader, session)) == self.lane.place
            && word(head, offset_of!(PacketHeader, epoch_base)) == self.lane.base
            && self.lines[line].high() == begin
            && !self.stalled[line]
            && count > 0;
        if !usual {
            return false;
        }
        if begin == self.next {
            // Starts and ends are said, too.
            let template = u16::from_le_bytes([head[TEMPLATE_AT], head[TEMPLATE_AT + 1]]);
            if end >= self.lane.stop || template <= EndOfSession::TEMPLATE {
                return false;
            }
            self.count_in_lane(line, packet.bytes().len(), (begin, end), now);
            sink.deliver(&Delivery {
                packet: *packet,
                skip: 0,
                take: count as u16,
                origin,
                waited: false,
            });
            self.moved_to(end);
            self.stats.delivered[line] += count;
            self.stats.packets += 1;
            return true;
        }
        if begin < self.lane.from || end > self.next {
            return false;
        }
        self.count_in_lane(line, packet.bytes().len(), (begin, end), now);
        true
    }

    #[inline(always)]
    fn count_in_lane(&mut self, line: usize, bytes: usize, (begin, end): (u64, u64), now: u64) {
        debug_assert_eq!(
            self.lane,
            self.lane_now(),
            "a lane is closed when the state changes"
        );
        self.lines[line].datagram(bytes);
        self.lines[line].next(end);
        self.last_seen[line] = now;
        if self.skew.wants(line, begin) {
            self.skew.packet(line, (self.session, begin), now);
        }
    }

    /// A packet has gone the whole way: the next ones may take the lane, if all is as usual.
    #[inline]
    pub(super) fn open_lane(&mut self) {
        self.lane = self.lane_now();
    }

    /// The state changes: the next packet goes the whole way.
    #[inline]
    pub(super) fn close_lane(&mut self) {
        self.lane = Lane::CLOSED;
    }

    fn lane_now(&self) -> Lane {
        let at_tail = self.window.len() == 0
            && (self.told, self.delivered, self.told_epoch)
                == (self.next, self.next, (self.epoch, self.base));
        if !at_tail || self.session == 0 || self.ended || self.turn || self.playing {
            return Lane::CLOSED;
        }
        let spans = [&self.closed, &self.lost].map(|spans| spans.as_slice().last());
        let special = spans.into_iter().flatten().map(|span| span.end);
        // Everything of the current epoch is behind its start, and all holes are before that.
        let from = special.fold(self.base.saturating_add(1), u64::max);
        let cut = self.limit(self.epoch) != u64::MAX;
        if self.next < from || self.next >= self.stop || cut || self.lane_is_shut() {
            return Lane::CLOSED;
        }
        let kind = u64::from(MAGIC) | u64::from(VERSION) << 16 | u64::from(self.config.channel) << 32;
        Lane {
            kind: kind << COUNT_BITS,
            place: u64::from(self.session) | u64::from(self.epoch) << 32,
            base: self.base,
            from,
            stop: self.stop,
        }
    }

    /// True in tests that go the whole way, and while a bug is planted that is not in the lane.
    #[inline]
    fn lane_is_shut(&self) -> bool {
        #[cfg(test)]
        if self.no_lane {
            return true;
        }
        is_planted(Bug::DuplicatePassed)
    }
}
