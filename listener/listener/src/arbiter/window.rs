//! Packets that came before their turn, in memory that was reserved at the start.

use std::collections::VecDeque;
use twinline_wire::Packet;

use super::Origin;

/// A packet that waits: what it covers, and the slot that holds its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Early {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) epoch: u32,
    pub(crate) origin: Origin,
    length: u16,
    slot: u32,
}

/// What became of a packet that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Kept,
    /// All of it is here already.
    Duplicate,
    /// No slot is free: the packet is dropped, its range stays missing.
    Full,
}

/// Early packets in the order of their first sequence, each adding something to those before it.
#[derive(Debug)]
pub(crate) struct Window {
    order: VecDeque<Early>,
    free: Vec<u32>,
    memory: Box<[u8]>,
    slot_len: usize,
}

impl Window {
    /// Room for `packets` packets of up to `max_packet` bytes.
    pub(crate) fn new(packets: usize, max_packet: usize) -> Self {
        let count = u32::try_from(packets).expect("a window has fewer than 2^32 packets");
        Self {
            order: VecDeque::with_capacity(packets),
            free: (0..count).rev().collect(),
            memory: vec![0; packets * max_packet].into_boxed_slice(),
            slot_len: max_packet,
        }
    }

    /// A window without memory, to stand in while the real one is lent out. Allocates nothing.
    pub(crate) fn empty() -> Self {
        Self {
            order: VecDeque::new(),
            free: Vec::new(),
            memory: Box::default(),
            slot_len: 0,
        }
    }

    /// Keeps `packet` unless all that it brings is there already.
    pub(crate) fn offer(&mut self, packet: &Packet<'_>, origin: Origin) -> Offer {
        let (begin, end, epoch) = (packet.sequence(), packet.end(), packet.header().epoch.get());
        // Packets come mostly in order, so the place is mostly at the back.
        let at = match self.order.back() {
            Some(last) if last.begin > begin => self.order.partition_point(|early| early.begin <= begin),
            _ => self.order.len(),
        };
        // Only the nearest packet is asked: one that two others cover together is kept, and adds nothing when its turn comes.
        if at > 0 && self.order[at - 1].epoch == epoch && self.order[at - 1].end >= end {
            return Offer::Duplicate;
        }
        let bytes = packet.bytes();
        if bytes.len() > self.slot_len {
            return Offer::Full;
        }
        let Some(slot) = self.free.pop() else {
            return Offer::Full;
        };
        let from = slot as usize * self.slot_len;
        self.memory[from..from + bytes.len()].copy_from_slice(bytes);
        let length = bytes.len() as u16;
        self.order.insert(
            at,
            Early {
                begin,
                end,
                epoch,
                origin,
                length,
                slot,
            },
        );
        Offer::Kept
    }

    /// The first packet that waits.
    pub(crate) fn front(&self) -> Option<&Early> {
        self.order.front()
    }

    /// The bytes of a packet that waits.
    pub(crate) fn bytes(&self, early: &Early) -> &[u8] {
        let from = early.slot as usize * self.slot_len;
        &self.memory[from..from + usize::from(early.length)]
    }

    /// Takes out the first packet; its bytes stay readable until the next [`offer`](Self::offer).
    pub(crate) fn pop(&mut self) -> Option<Early> {
        let early = self.order.pop_front()?;
        self.free.push(early.slot);
        Some(early)
    }

    /// Drops what an epoch cut made void: packets of older epochs that begin at or beyond `limit(epoch)`.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Early) -> bool) {
        let free = &mut self.free;
        self.order.retain(|early| {
            let kept = keep(early);
            if !kept {
                free.push(early.slot);
            }
            kept
        });
    }

    /// All that waits, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Early> {
        self.order.iter()
    }

    /// How many packets wait.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn clear(&mut self) {
        self.retain(|_| false);
    }
}
