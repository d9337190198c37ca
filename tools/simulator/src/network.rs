//! The lines: what each of the two makes of a datagram on its way to one listener.
//!
//! Forged packets (a field changed, the checksum made right) hit only session, epoch, a heartbeat's sequence and sequences
//! far out of any window, and at most one of a kind reaches a listener within the time for which its arbiter holds what it
//! does not believe: two forgeries that agree with each other are beyond what a receiver can see. So is one that names
//! what really comes next: forged sessions and higher epochs are numbers that no run reaches.

use crate::faults::{Counts, Fault, LinePlan, MS};
use crate::rng::Rng;
use std::rc::Rc;
use twinline_wire::Packet;
use twinline_wire::header::{HEADER_LEN, PacketHeader, checksum};
use zerocopy::{FromBytes, IntoBytes};

/// Kinds of forgery, each of which is rationed by itself.
const KINDS: [Fault; 4] = [
    Fault::ForgedSession,
    Fault::ForgedEpoch,
    Fault::ForgedHeartbeat,
    Fault::ForgedSequence,
];

/// Both lines to one listener.
#[derive(Debug)]
pub(crate) struct Lines {
    rng: Rng,
    plans: [LinePlan; 2],
    both: u32,
    salt: u64,
    lines: [Line; 2],
    /// Before this time no forgery of the kind arrives.
    forge_after: [u64; KINDS.len()],
    /// Time between two forgeries of a kind.
    ration: u64,
    /// While it is dead, the line is never empty.
    floods: [bool; 2],
    /// When each line was empty last.
    drained: [u64; 2],
    calm: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// Losses left in the burst.
    burst: u64,
    dead_until: u64,
    slow_until: u64,
    slow_by: u64,
    last_arrival: u64,
    dead: bool,
    flooded: bool,
}

/// A datagram on its way: when it arrives, and what it holds then.
pub(crate) type Arrival = (u64, Rc<[u8]>);

impl Lines {
    pub(crate) fn new(seed: u64, listener: usize, plans: [LinePlan; 2], both: u32, patience: u64) -> Self {
        let mut floods = Rng::mixed(&[seed, listener as u64, 0xf100d]);
        Self {
            rng: Rng::mixed(&[seed, listener as u64, 0x11e5]),
            plans,
            both,
            salt: Rng::mixed(&[seed, listener as u64, 0xb074]).next(),
            lines: [Line::default(); 2],
            forge_after: [0; KINDS.len()],
            ration: 2 * patience,
            floods: [0, 1].map(|_| floods.one_in(2)),
            drained: [0; 2],
            calm: false,
        }
    }

    /// From now on nothing is lost or changed any more. A line that died for good stays dead.
    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
        for line in &mut self.lines {
            (line.burst, line.dead_until, line.slow_until) = (0, 0, 0);
        }
    }

    /// A step of 1 ms: when the listener found nothing on each line last.
    pub(crate) fn drain(&mut self, now: u64, counts: &mut Counts) -> [u64; 2] {
        for (line, state) in self.lines.iter_mut().enumerate() {
            let flooded = self.floods[line] && (state.dead || now < state.dead_until);
            counts.hits(Fault::Flooded, u64::from(flooded && !state.flooded));
            state.flooded = flooded;
            if !flooded {
                self.drained[line] = now;
            }
        }
        self.drained
    }

    /// Sends `packet` on `line` at `now` (`elapsed` since the run began); tells what arrives, if anything.
    pub(crate) fn send(
        &mut self,
        line: usize,
        packet: &Rc<[u8]>,
        now: u64,
        elapsed: u64,
        counts: &mut Counts,
        mut arrive: impl FnMut(Arrival),
    ) {
        counts.datagrams += 1;
        if self.is_lost(line, packet, now, elapsed, counts) {
            return;
        }
        let bytes = self.spoil(line, packet, now, counts);
        let (plan, calm) = (self.plans[line], self.calm);
        let rng = &mut self.rng;
        let state = &mut self.lines[line];
        let mut at = now + plan.latency + rng.below(plan.latency / 4 + 1);
        if now < state.slow_until {
            at += state.slow_by;
        }
        if !calm && rng.chance(plan.reorder) {
            counts.hit(Fault::Reorder);
            at += rng.range(50_000, 3 * MS);
        } else {
            at = at.max(state.last_arrival + 1);
            state.last_arrival = at;
        }
        if !calm && rng.chance(plan.duplicate) {
            counts.hit(Fault::Duplicate);
            arrive((at + rng.below(2 * MS), Rc::clone(packet)));
        }
        arrive((at, bytes));
    }

    fn is_lost(&mut self, line: usize, packet: &[u8], now: u64, elapsed: u64, counts: &mut Counts) -> bool {
        let plan = self.plans[line];
        let rng = &mut self.rng;
        let state = &mut self.lines[line];
        if plan.dead_at.is_some_and(|at| elapsed >= at) {
            if !state.dead {
                state.dead = true;
                counts.hit(Fault::DeadForEver);
            }
            return true;
        }
        if self.calm {
            return false;
        }
        if now >= state.dead_until && rng.chance(plan.dead) {
            counts.hit(Fault::DeadLine);
            state.dead_until = now + rng.range(5, 150) * MS;
        }
        if now >= state.slow_until && rng.chance(plan.delay) {
            counts.hit(Fault::Delay);
            state.slow_until = now + rng.range(1, 30) * MS;
            state.slow_by = rng.range(1, 20) * MS;
        }
        if state.burst == 0 && rng.chance(plan.burst) {
            counts.hit(Fault::Burst);
            state.burst = rng.range(3, 60);
        }
        if now < state.dead_until {
            return true;
        }
        if state.burst > 0 {
            state.burst -= 1;
            return true;
        }
        // The same for both lines: it depends on the packet alone.
        let mut fate = Rng::mixed(&[self.salt, u64::from(checksum(packet))]);
        if fate.chance(self.both) {
            if line == 0 {
                counts.hit(Fault::LossOnBoth);
            }
            return true;
        }
        let lost = rng.chance(plan.loss);
        if lost {
            counts.hit(Fault::Loss);
        }
        lost
    }

    /// The packet as it arrives: whole, cut short, flipped or forged.
    fn spoil(&mut self, line: usize, packet: &Rc<[u8]>, now: u64, counts: &mut Counts) -> Rc<[u8]> {
        let plan = self.plans[line];
        if self.calm {
            return Rc::clone(packet);
        }
        if self.rng.chance(plan.truncate) {
            counts.hit(Fault::Truncation);
            return packet[..self.rng.below(packet.len() as u64) as usize].into();
        }
        if self.rng.chance(plan.flip) {
            counts.hit(Fault::BitFlip);
            let mut bytes = packet.to_vec();
            let bit = self.rng.below(8 * bytes.len() as u64) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
            return bytes.into();
        }
        if self.rng.chance(plan.forge) {
            return self
                .forge(packet, now, counts)
                .unwrap_or_else(|| Rc::clone(packet));
        }
        Rc::clone(packet)
    }

    fn forge(&mut self, packet: &[u8], now: u64, counts: &mut Counts) -> Option<Rc<[u8]>> {
        let is_heartbeat = Packet::trusted_prefix(packet).ok()?.header().is_heartbeat();
        let kind = self.rng.below(3) as usize + usize::from(is_heartbeat && self.rng.one_in(2)) * 3;
        let kind = match (kind, is_heartbeat) {
            (0 | 1, _) => kind,
            (_, true) => 2,
            (_, false) => 3,
        };
        // A heartbeat and a packet that name sequences far away can agree: they share a ration.
        let ration = kind.min(2);
        if now < self.forge_after[ration] {
            return None;
        }
        let mut bytes = packet.to_vec();
        let (header, _) = PacketHeader::mut_from_prefix(&mut bytes[..HEADER_LEN]).ok()?;
        let rng = &mut self.rng;
        match KINDS[kind] {
            Fault::ForgedSession => header.session.set(header.session.get() ^ 1 << rng.range(6, 31)),
            Fault::ForgedEpoch => {
                let epoch = header.epoch.get();
                let lower = epoch ^ 1 << rng.below(10);
                let higher = epoch ^ 1 << rng.range(10, 31);
                header.epoch.set(if lower < epoch { lower } else { higher });
            }
            Fault::ForgedHeartbeat => header.sequence.set(header.sequence.get() ^ 1 << rng.below(48)),
            _ => header
                .sequence
                .set(header.sequence.get() ^ 1 << rng.range(24, 60)),
        }
        let sum = checksum(&bytes);
        let (header, _) = PacketHeader::mut_from_prefix(&mut bytes[..HEADER_LEN]).ok()?;
        header.checksum.set(sum);
        debug_assert_eq!(header.as_bytes().len(), HEADER_LEN);
        self.forge_after[ration] = now + self.ration;
        counts.hit(KINDS[kind]);
        Some(bytes.into())
    }
}
