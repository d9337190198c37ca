//! A bad network, on purpose and repeatable: stands between the receivers and the arbiter.
//!
//! A state machine without sockets or clock. Each packet of a line meets exactly one fate, and the impairer counts what
//! it did in packets and in messages, so that what a listener finds lost can be held against it, message for message:
//! the messages missing on a line are those of [`LineFates::missing`]. Nothing is allocated after it is made.

mod spec;

pub use spec::{Spec, SpecError};

use crate::Line;
use crate::random::{Random, mix};
use twinline_wire::Packet;
use twinline_wire::header::{MAX_PACKET_LEN, PacketHeader};

/// Packets a line that can be held back at a time; with none free a packet passes.
const SLOTS: usize = 16;
/// Most later packets that pass before a packet that is held back.
const MAX_OVERTAKING: u64 = 4;
/// The longest that a packet is held back, in nanoseconds.
const MAX_HOLD: u64 = 5_000_000;

/// Packets, and what was in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets with messages.
    pub packets: u64,
    /// Their messages.
    pub messages: u64,
    /// Packets without messages.
    pub heartbeats: u64,
}

impl Tally {
    fn add(&mut self, header: &PacketHeader) {
        match header.count.get() {
            0 => self.heartbeats += 1,
            count => {
                self.packets += 1;
                self.messages += u64::from(count);
            }
        }
    }
}

/// What became of a line's packets: each is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineFates {
    /// Lost on this line; the other line's copy met its own fate.
    pub lost: Tally,
    /// Lost on both lines.
    pub lost_both: Tally,
    /// Delivered with one bit flipped.
    pub corrupted: Tally,
    /// Delivered twice.
    pub duplicated: Tally,
    /// Held back, then delivered.
    pub reordered: Tally,
    /// Delivered as they came.
    pub passed: Tally,
    /// What is no whole packet of ours: delivered as it came.
    pub foreign: u64,
}

impl LineFates {
    /// Messages that the impairer kept from arriving on this line.
    pub fn missing(&self) -> u64 {
        self.lost.messages + self.lost_both.messages + self.corrupted.messages
    }
}

/// A share of all 64-bit numbers: those below it are drawn with the share's probability.
fn threshold(percent: f64) -> u64 {
    (percent / 100.0 * 2f64.powi(64)) as u64
}

/// The limits between fates in the range of one random draw.
#[derive(Debug)]
struct Limits {
    both: u64,
    lost: u64,
    corrupted: u64,
    duplicated: u64,
    reordered: u64,
}

impl Limits {
    /// What packets of `line` meet.
    fn new(spec: &Spec, line: Line) -> Self {
        let spared = spec.line.is_some_and(|only| only != line);
        let up_to = |percents: &[f64]| {
            if spared {
                0
            } else {
                threshold(percents.iter().sum())
            }
        };
        Self {
            both: threshold(spec.both),
            lost: up_to(&[spec.loss]),
            corrupted: up_to(&[spec.loss, spec.corrupt]),
            duplicated: up_to(&[spec.loss, spec.corrupt, spec.dup]),
            reordered: up_to(&[spec.loss, spec.corrupt, spec.dup, spec.reorder]),
        }
    }
}

/// A place for a packet that is held back.
#[derive(Debug)]
struct Slot {
    packet: Box<[u8; MAX_PACKET_LEN]>,
    /// Bytes of the packet; 0: free.
    length: usize,
    /// Later packets that still are to pass before it.
    overtaking: u64,
    /// When it goes at the latest.
    until: u64,
}

/// One line's own faults.
#[derive(Debug)]
struct ImpairedLine {
    random: Random,
    slots: Vec<Slot>,
    held: usize,
    fates: LineFates,
}

impl ImpairedLine {
    fn new(seed: u64) -> Self {
        let slot = || Slot {
            packet: Box::new([0; MAX_PACKET_LEN]),
            length: 0,
            overtaking: 0,
            until: 0,
        };
        Self {
            random: Random::new(seed),
            slots: std::iter::repeat_with(slot).take(SLOTS).collect(),
            held: 0,
            fates: LineFates::default(),
        }
    }

    /// Holds `packet` back; `false` if no slot is free.
    fn hold(&mut self, packet: &[u8], now: u64) -> bool {
        let overtaking = 1 + self.random.below(MAX_OVERTAKING);
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.length == 0) else {
            return false;
        };
        let Some(room) = slot.packet.get_mut(..packet.len()) else {
            return false;
        };
        room.copy_from_slice(packet);
        (slot.length, slot.overtaking) = (packet.len(), overtaking);
        slot.until = now.saturating_add(MAX_HOLD);
        self.held += 1;
        true
    }

    /// Delivers what is held and may go now, after `passed` more packets have been delivered.
    fn release(&mut self, passed: u64, now: u64, mut deliver: impl FnMut(&[u8])) {
        for slot in self.slots.iter_mut().filter(|slot| slot.length > 0) {
            slot.overtaking = slot.overtaking.saturating_sub(passed);
            if slot.overtaking == 0 || slot.until <= now {
                deliver(&slot.packet[..slot.length]);
                slot.length = 0;
                self.held -= 1;
            }
        }
    }
}

/// The bad network of one receiver.
#[derive(Debug)]
pub struct Impairer {
    limits: [Limits; 2],
    seed: u64,
    lines: [ImpairedLine; 2],
    /// Where bits are flipped.
    scratch: Box<[u8; MAX_PACKET_LEN]>,
}

impl Impairer {
    /// An impairer that does as `spec` says. Allocates about 300 KiB, once.
    pub fn new(spec: Spec) -> Self {
        Self {
            limits: Line::ALL.map(|line| Limits::new(&spec, line)),
            seed: mix(spec.seed),
            lines: Line::ALL.map(|line| ImpairedLine::new(mix(spec.seed ^ mix(line.index() as u64 + 1)))),
            scratch: Box::new([0; MAX_PACKET_LEN]),
        }
    }

    /// `packet` came on `line`: delivers through `deliver` what now arrives because of it, in order. `now` is in
    /// nanoseconds of a clock that does not run backwards.
    pub fn push(&mut self, line: Line, packet: &[u8], now: u64, deliver: &mut impl FnMut(Line, &[u8])) {
        let (state, limits) = (&mut self.lines[line.index()], &self.limits[line.index()]);
        let mut deliver = |packet: &[u8]| deliver(line, packet);
        let Ok(checked) = Packet::parse(packet) else {
            state.fates.foreign += 1;
            deliver(packet);
            return;
        };
        let header = checked.header();
        if dies_on_both(self.seed, header) < limits.both {
            return state.fates.lost_both.add(header);
        }
        let draw = state.random.draw();
        if draw < limits.lost {
            return state.fates.lost.add(header);
        }
        if draw < limits.corrupted {
            state.fates.corrupted.add(header);
            let copy = &mut self.scratch[..packet.len()];
            copy.copy_from_slice(packet);
            let bit = state.random.below(packet.len() as u64 * 8) as usize;
            copy[bit / 8] ^= 1 << (bit % 8);
            deliver(copy);
        } else if draw < limits.duplicated {
            state.fates.duplicated.add(header);
            deliver(packet);
            deliver(packet);
        } else if draw < limits.reordered && state.hold(packet, now) {
            return state.fates.reordered.add(header);
        } else {
            state.fates.passed.add(header);
            deliver(packet);
        }
        if state.held > 0 {
            state.release(1, now, deliver);
        }
    }

    /// Delivers what was held back for long enough. To be called while nothing comes, too; with `u64::MAX` everything
    /// held goes.
    pub fn poll(&mut self, now: u64, deliver: &mut impl FnMut(Line, &[u8])) {
        for line in Line::ALL {
            let state = &mut self.lines[line.index()];
            if state.held > 0 {
                state.release(0, now, |packet| deliver(line, packet));
            }
        }
    }

    /// What became of `line`'s packets so far.
    pub fn fates(&self, line: Line) -> LineFates {
        self.lines[line.index()].fates
    }
}

/// A draw that is the same for both lines' copies of a packet. Heartbeats repeat a sequence, so theirs takes in the
/// sending time: or else all of an idle time's heartbeats would share one fate.
fn dies_on_both(seed: u64, header: &PacketHeader) -> u64 {
    let count = header.count.get();
    let beat = if count == 0 { header.sending_time.get() } else { 0 };
    let epochs = u64::from(header.session.get()) << 32 | u64::from(header.epoch.get());
    [epochs, header.sequence.get(), u64::from(count), beat]
        .iter()
        .fold(seed, |hash, &part| mix(hash ^ part))
}

#[cfg(test)]
mod tests;
