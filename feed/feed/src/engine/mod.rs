//! A matching engine in another process: how its events reach the publisher, over local TCP or through shared memory,
//! and none twice or never.
//!
//! The publisher listens ([`EngineSource`], a source), the engine connects ([`EngineClient`]). Both send framed messages
//! as they stand in packets: the engine market messages, each event closed by a
//! [`SourcePosition`](twinline_wire::session::SourcePosition), and an
//! [`EndOfSession`](twinline_wire::session::EndOfSession) when it has said everything; the publisher SourcePositions
//! alone. The first one says behind which event the engine goes on, the later ones what is in the journal. The engine
//! keeps what is not, and says it again on the next connection. `docs/protocol.md` has the dialogue.

mod client;
mod queue;
mod source;
#[cfg(test)]
mod tests;
mod transport;

pub use client::{EngineClient, EngineError};
pub use source::EngineSource;
pub use transport::EngineAddress;

use twinline_wire::header::{HEADER_LEN, MAX_PACKET_LEN};
use twinline_wire::message::{FrameHeader, SbeHeader};
use twinline_wire::session::SourcePosition;
use twinline_wire::{Frame, Message, U16, U64};
use zerocopy::IntoBytes;

/// Bytes of a framed SourcePosition.
const POSITION_LEN: usize = SourcePosition::FRAME_LEN;
/// Bytes that an event may have, its position included: what the largest packet holds. A publisher with smaller packets
/// takes less.
pub const MAX_EVENT: usize = MAX_PACKET_LEN - HEADER_LEN;

/// A framed message.
fn framed<M: Message>(into: &mut Vec<u8>, message: &M) {
    let header = FrameHeader {
        length: U16::new(M::FRAME_LEN as u16),
        sbe: SbeHeader::of::<M>(),
    };
    into.extend_from_slice(header.as_bytes());
    into.extend_from_slice(message.as_bytes());
}

/// A framed position of a source.
fn position(source: u16, position: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(POSITION_LEN);
    let message = SourcePosition {
        position: U64::new(position),
        source: U16::new(source),
    };
    framed(&mut bytes, &message);
    bytes
}

/// What a frame is to the other side: a position, or something else.
fn as_position(frame: &Frame<'_>) -> Option<(u16, u64)> {
    let said = frame.view::<SourcePosition>()?;
    Some((said.source.get(), said.position.get()))
}

/// Bytes of the first frame if they are there; `None` if more are needed.
fn first_length(bytes: &[u8]) -> Option<usize> {
    let [low, high, ..] = bytes else { return None };
    let length = usize::from(u16::from_le_bytes([*low, *high]));
    // A length that no frame has is found out when it is split.
    Some(length.max(2)).filter(|length| *length <= bytes.len())
}
