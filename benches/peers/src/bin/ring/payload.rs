//! What is sent: a price tick, or a message of 64 bytes. Everybody carries the same bytes, and everybody who receives them
//! compares them.

use twinline_wire::market::PriceTick;
use twinline_wire::message::{FRAME_HEADER_LEN, FrameHeader, SbeHeader};
use twinline_wire::{Message, Optional, Packet, Price, U16};
use zerocopy::IntoBytes;

/// Bytes of a price tick with its frame header: with a short record's header it fits a cache line.
pub(crate) const SMALL: usize = PriceTick::FRAME_LEN;
/// Bytes of the other message.
pub(crate) const LARGE: usize = 64;

/// So many messages differ; then they come again.
const DIFFERENT: u64 = 64;

/// Messages of `N` bytes, each in a packet of its own, as the listener has them. They live as long as the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payloads<const N: usize> {
    packets: &'static [Packet<'static>],
    frames: &'static [[u8; N]],
}

impl<const N: usize> Payloads<N> {
    pub(crate) fn new() -> Self {
        let frames: Vec<[u8; N]> = (0..DIFFERENT).map(frame).collect();
        let packets = frames.iter().zip(1..).map(|(frame, sequence)| {
            let packet = twinline_peers::packet(sequence, |open, buffer| open.push_frame(buffer, frame));
            Packet::parse(packet.leak()).expect("a packet that was just made")
        });
        Self {
            packets: packets.collect::<Vec<_>>().leak(),
            frames: frames.leak(),
        }
    }

    /// Message number `number`.
    #[inline]
    pub(crate) fn frame(&self, number: u64) -> &'static [u8; N] {
        &self.frames[(number % DIFFERENT) as usize]
    }

    /// The packet that it is in.
    #[inline]
    pub(crate) fn packet(&self, number: u64) -> &'static Packet<'static> {
        &self.packets[(number % DIFFERENT) as usize]
    }
}

/// A price tick; if there is room, with more behind its block.
fn frame<const N: usize>(number: u64) -> [u8; N] {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let tick = PriceTick {
        source_time: mixed.into(),
        price: Price::new(mixed.rotate_left(20) as i64 >> 1),
        quantity: Optional::some(mixed >> 1),
        instrument: (mixed as u32).into(),
        ..PriceTick::NULL
    };
    let header = FrameHeader {
        length: U16::new(N as u16),
        sbe: SbeHeader::of::<PriceTick>(),
    };
    let mut frame = [number as u8; N];
    frame[..FRAME_HEADER_LEN].copy_from_slice(header.as_bytes());
    frame[FRAME_HEADER_LEN..PriceTick::FRAME_LEN].copy_from_slice(tick.as_bytes());
    frame
}
