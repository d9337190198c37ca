//! What the pieces work on: full packets of a market's usual messages, as they lie in a journal.

use twinline_wire::header::{DEFAULT_PACKET_LEN, HEADER_LEN, PacketHeader, checksum};
use twinline_wire::market::{AddOrder, DeleteOrder, ExecuteOrder, ReplaceOrder};
use twinline_wire::session::EpochStart;
use twinline_wire::{Message, OpenPacket, Packet, Price, Side, Stamp, U64};
use zerocopy::FromBytes;

/// Packets of one round: they stay in the cache of the second level.
pub(super) const PACKETS: usize = 256;

/// Packets of one round for the arbiter, which looks at little more than their headers: half of them warm it up, as it is
/// measured in cache.
pub(super) const SMALL_PACKETS: usize = 1024;
/// Their size in bytes.
pub(super) const SMALL: usize = 128;

/// Orders in a full packet that holds nothing else.
pub(super) const ORDERS: usize = (DEFAULT_PACKET_LEN - HEADER_LEN) / AddOrder::FRAME_LEN;

/// Packets back to back, each at a 64-byte boundary, and what is in them.
#[derive(Debug)]
pub struct Load {
    bytes: Vec<u8>,
    /// Where the first packet is.
    begin: usize,
    /// Bytes of a packet.
    size: usize,
    /// The messages of each packet.
    counts: Vec<u16>,
    next: u64,
}

impl Load {
    /// `packets` full packets of the default size, from sequence 2 on.
    pub fn new(packets: usize) -> Self {
        Self::of_size(packets, DEFAULT_PACKET_LEN)
    }

    /// `packets` full packets of `size` bytes, a multiple of 64.
    pub fn of_size(packets: usize, size: usize) -> Self {
        let mut bytes = vec![0; (packets + 1) * size];
        let begin = bytes.as_ptr().align_offset(64);
        let mut mix = Mix::default();
        let mut sequence = 2;
        let mut counts = Vec::with_capacity(packets);
        let emptying = packets - packets / 4;
        for (at, slot) in bytes[begin..].chunks_exact_mut(size).take(packets).enumerate() {
            let mut open = OpenPacket::new();
            while mix.push(&mut open, slot, at >= emptying) {}
            open.finish_whole(slot, stamp(sequence), size);
            counts.push(open.count());
            sequence += u64::from(open.count());
        }
        Self {
            bytes,
            begin,
            size,
            counts,
            next: sequence,
        }
    }

    /// Messages in all packets.
    pub fn messages(&self) -> usize {
        self.counts.iter().map(|&count| usize::from(count)).sum()
    }

    /// The packets' bytes.
    pub fn each(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes[self.begin..]
            .chunks_exact(self.size)
            .take(self.counts.len())
    }

    /// The packets, checked.
    pub fn checked(&self) -> Vec<Packet<'_>> {
        self.each()
            .map(|bytes| Packet::parse(bytes).expect("it was built to be sound"))
            .collect()
    }

    /// Gives the packets the sequences behind those that they have.
    pub fn go_on(&mut self) {
        let packets = self.bytes[self.begin..].chunks_exact_mut(self.size);
        for (slot, &count) in packets.zip(&self.counts) {
            let header =
                PacketHeader::mut_from_bytes(&mut slot[..HEADER_LEN]).expect("a slot has room for a header");
            header.sequence = U64::new(self.next);
            let sum = checksum(slot);
            slot[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&sum.to_le_bytes());
            self.next += u64::from(count);
        }
    }
}

/// The header of packets from `sequence` on.
pub(super) fn stamp(sequence: u64) -> Stamp {
    Stamp {
        flags: 0,
        channel: 1,
        session: 1,
        epoch: 1,
        epoch_base: 1,
        sequence,
        sending_time: 1,
    }
}

const INSTRUMENTS: u64 = 16;

/// An order.
pub(super) fn order(number: u64) -> AddOrder {
    AddOrder {
        order_id: number.into(),
        quantity: 100.into(),
        price: Price::new(1_000 + number as i64 % 64),
        instrument: (65_536 + 1 + (number % INSTRUMENTS) as u32).into(),
        side: if number.is_multiple_of(2) {
            Side::BUY
        } else {
            Side::SELL
        },
        ..AddOrder::NULL
    }
}

/// The packet that a session begins with.
pub fn epoch_start() -> Vec<u8> {
    let mut buffer = vec![0; DEFAULT_PACKET_LEN];
    let mut open = OpenPacket::new();
    let start = EpochStart {
        valid_end: 1.into(),
        epoch: 1.into(),
    };
    open.push(&mut buffer, &start);
    let length = open.finish_whole(&mut buffer, stamp(1), 0);
    buffer.truncate(length);
    buffer
}

/// Most orders that are live at once.
const LIVE: usize = 256;

/// Orders that come and go, in no regular order: nobody can guess the length of the next message. The same in every run.
#[derive(Debug, Default)]
struct Mix {
    random: u64,
    number: u64,
    live: Vec<u64>,
}

impl Mix {
    /// One more message; `emptying`: as far as there are live orders, one goes.
    fn push(&mut self, open: &mut OpenPacket, slot: &mut [u8], emptying: bool) -> bool {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let kind = match self.random >> 60 {
            _ if self.live.is_empty() => 0,
            _ if emptying || self.live.len() == LIVE => 7,
            kind => kind,
        };
        let fresh = self.number + 1;
        let picked = (self.random >> 32) as usize % self.live.len().max(1);
        let old = self.live.get(picked).copied().unwrap_or(0);
        let instrument = order(old).instrument;
        let pushed = match kind {
            0..=6 => open.push(slot, &order(fresh)),
            7..=12 => {
                let message = DeleteOrder {
                    order_id: old.into(),
                    instrument,
                    ..DeleteOrder::NULL
                };
                open.push(slot, &message)
            }
            13 => {
                let message = ExecuteOrder {
                    order_id: old.into(),
                    quantity: 1.into(),
                    instrument,
                    ..ExecuteOrder::NULL
                };
                open.push(slot, &message)
            }
            _ => {
                // The order that comes is of the same instrument.
                let fresh = fresh.next_multiple_of(INSTRUMENTS) + old % INSTRUMENTS;
                let message = ReplaceOrder {
                    order_id: old.into(),
                    new_order_id: fresh.into(),
                    price: order(fresh).price,
                    quantity: 100.into(),
                    instrument,
                    ..ReplaceOrder::NULL
                };
                open.push(slot, &message)
            }
        };
        if !pushed {
            return false;
        }
        match kind {
            0..=6 => {
                self.live.push(fresh);
                self.number = fresh;
            }
            7..=12 => _ = self.live.swap_remove(picked),
            13 => {}
            _ => {
                self.number = fresh.next_multiple_of(INSTRUMENTS) + old % INSTRUMENTS;
                self.live[picked] = self.number;
            }
        }
        true
    }
}
