//! What is too surprising to believe from one packet: a higher session, a higher epoch, a leap far ahead.
//!
//! Such a packet is held until a second, different one agrees with it, or the same one comes on the other line; packets
//! from a recovery service are believed at once. So one flipped bit cannot hijack or deafen a listener.

use super::Origin;
use twinline_wire::Packet;

/// Packets held at once; the oldest makes room.
const SLOTS: usize = 8;

#[derive(Debug)]
struct Held {
    session: u32,
    epoch: u32,
    base: u64,
    sequence: u64,
    checksum: u32,
    origin: Origin,
    at: u64,
    bytes: Vec<u8>,
}

impl Held {
    /// True if `packet` says the same surprising thing, and is not the very same packet again on the same line.
    fn agrees(&self, packet: &Packet<'_>, origin: Origin, reach: u64) -> bool {
        self.is_like(packet, reach) && !(self.is_same(packet) && self.origin == origin)
    }

    fn is_like(&self, packet: &Packet<'_>, reach: u64) -> bool {
        let header = packet.header();
        (self.session, self.epoch, self.base)
            == (header.session.get(), header.epoch.get(), header.epoch_base.get())
            && self.sequence.abs_diff(packet.sequence()) <= reach
    }

    fn is_same(&self, packet: &Packet<'_>) -> bool {
        self.checksum == packet.header().checksum.get() && self.sequence == packet.sequence()
    }
}

/// The packets held.
#[derive(Debug)]
pub(crate) struct Hold {
    held: Vec<Held>,
    spare: Vec<Vec<u8>>,
    reach: u64,
    patience: u64,
}

impl Hold {
    /// Two packets agree if they are at most `reach` sequences and `patience` nanoseconds apart.
    pub(crate) fn new(reach: u64, patience: u64, max_packet: usize) -> Self {
        let spare = (0..SLOTS).map(|_| Vec::with_capacity(max_packet)).collect();
        Self {
            held: Vec::with_capacity(SLOTS),
            spare,
            reach,
            patience,
        }
    }

    /// True if a packet that is held agrees with this one; otherwise this one is held too.
    pub(crate) fn confirms(&mut self, packet: &Packet<'_>, origin: Origin, now: u64) -> bool {
        let (reach, patience) = (self.reach, self.patience);
        self.forget(|held| now.saturating_sub(held.at) > patience);
        if self.held.iter().any(|held| held.agrees(packet, origin, reach)) {
            return true;
        }
        if self.held.iter().any(|held| held.is_same(packet)) {
            return false;
        }
        let mut bytes = match self.spare.pop() {
            Some(bytes) => bytes,
            None => self.held.remove(0).bytes,
        };
        bytes.clear();
        if packet.bytes().len() <= bytes.capacity() {
            bytes.extend_from_slice(packet.bytes());
        }
        let header = packet.header();
        self.held.push(Held {
            session: header.session.get(),
            epoch: header.epoch.get(),
            base: header.epoch_base.get(),
            sequence: packet.sequence(),
            checksum: header.checksum.get(),
            origin,
            at: now,
            bytes,
        });
        false
    }

    fn forget(&mut self, which: impl Fn(&Held) -> bool) {
        while let Some(at) = self.held.iter().position(&which) {
            let held = self.held.remove(at);
            self.spare.push(held.bytes);
        }
    }

    /// Takes out a held packet that says what `packet` says, the eldest first. Give the memory back with
    /// [`reuse`](Self::reuse).
    pub(crate) fn take_agreeing(&mut self, packet: &Packet<'_>) -> Option<(Vec<u8>, Origin)> {
        let reach = self.reach;
        let at = self.held.iter().position(|held| held.is_like(packet, reach))?;
        let held = self.held.remove(at);
        Some((held.bytes, held.origin))
    }

    pub(crate) fn reuse(&mut self, bytes: Vec<u8>) {
        self.spare.push(bytes);
    }

    /// Packets held now.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }
}
