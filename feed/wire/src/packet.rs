//! Packets: building one in a buffer, and checking one that arrived.

use crate::crc::{self, Words};
use crate::header::{HEADER_LEN, MAGIC, MAX_PACKET_LEN, PacketHeader, VERSION, checksum, first_word, flags};
use crate::message::{FRAME_HEADER_LEN, Frame, FrameHeader, Message, SbeHeader};
use crate::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

/// Why bytes are not a packet of ours. What arrives is dropped and counted by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Fewer bytes than a header has, or than the header names.
    #[error("truncated")]
    Truncated,
    /// Not a packet of ours.
    #[error("wrong magic")]
    Magic,
    /// A packet layout that this build does not know.
    #[error("unknown packet version")]
    Version,
    /// More bytes than the header names.
    #[error("trailing bytes")]
    Trailing,
    /// The checksum does not match.
    #[error("wrong checksum")]
    Checksum,
    /// The messages do not fit the count, or the padding is not zero, or a field has a value that it cannot have.
    #[error("malformed")]
    Malformed,
}

/// A packet that was checked: header, length, checksum, every frame and the padding.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    header: &'a PacketHeader,
    bytes: &'a [u8],
    /// Where the frames end, and padding begins; 0: nobody has looked.
    frames_end: u16,
}

impl<'a> Packet<'a> {
    /// Checks all of `bytes`, which must be exactly one packet.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let packet = Self::trusted_prefix(bytes)?;
        if packet.bytes.len() != bytes.len() {
            return Err(PacketError::Trailing);
        }
        packet.checked()
    }

    /// Checks the packet at the start of `bytes`; more may follow it, as in a journal.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    #[inline]
    pub fn parse_prefix(bytes: &'a [u8]) -> Result<Self, PacketError> {
        Self::trusted_prefix(bytes)?.checked()
    }

    /// The packet at the start of `bytes` with only its header checked. For bytes that were checked before they came
    /// here, such as committed packets of the own journal.
    ///
    /// # Errors
    /// If magic, version or length cannot be (a length beyond [`MAX_PACKET_LEN`] cannot).
    #[inline]
    pub fn trusted_prefix(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let (header, _) = PacketHeader::ref_from_prefix(bytes).map_err(|_| PacketError::Truncated)?;
        if header.magic.get() != MAGIC {
            return Err(PacketError::Magic);
        }
        if header.version != VERSION {
            return Err(PacketError::Version);
        }
        let length = usize::from(header.length.get());
        if !(HEADER_LEN..=MAX_PACKET_LEN).contains(&length) {
            return Err(PacketError::Malformed);
        }
        if length > bytes.len() {
            return Err(PacketError::Truncated);
        }
        Ok(Self {
            header,
            bytes: &bytes[..length],
            frames_end: 0,
        })
    }

    /// The packet, if its checksum, header, frames and padding are right.
    #[inline]
    fn checked(self) -> Result<Self, PacketError> {
        if checksum(self.bytes) != self.header.checksum.get() {
            return Err(PacketError::Checksum);
        }
        let frames_end = self.walk().ok_or(PacketError::Malformed)?;
        Ok(Self { frames_end, ..self })
    }

    /// True if header, frames and padding hold together. The checksum is not looked at.
    #[inline]
    pub fn is_consistent(&self) -> bool {
        self.walk().is_some()
    }

    /// Where the frames end, if header, frames and padding hold together.
    #[inline]
    fn walk(&self) -> Option<u16> {
        if !consistent(self.header) {
            return None;
        }
        let mut rest = &self.bytes[HEADER_LEN..];
        for _ in 0..self.frame_count() {
            (_, rest) = Frame::split(rest)?;
        }
        // Looks at every byte rather than stopping at the first that is not zero: that way it runs 16 at a time.
        let padding = rest.iter().fold(0, |all, byte| all | byte);
        (padding == 0).then(|| (self.bytes.len() - rest.len()) as u16)
    }

    /// Frames in the packet: its messages, or the one of a notice, which counts none.
    #[inline]
    fn frame_count(&self) -> u16 {
        match self.header.flags & flags::LOCAL {
            0 => self.header.count.get(),
            _ => 1,
        }
    }

    /// The header.
    #[inline]
    pub fn header(&self) -> &'a PacketHeader {
        self.header
    }

    /// The whole packet.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Sequence of the first message.
    #[inline]
    pub fn sequence(&self) -> u64 {
        self.header.sequence.get()
    }

    /// The sequence after the last message.
    #[inline]
    pub fn end(&self) -> u64 {
        self.header.end()
    }

    /// The bytes of the frames of messages `skip..skip + take`, as far as the packet holds them.
    #[inline]
    pub fn frames(&self, skip: u16, take: u16) -> &'a [u8] {
        if skip == 0 && take >= self.frame_count() && self.frames_end > 0 {
            return &self.bytes[HEADER_LEN..usize::from(self.frames_end)];
        }
        let body = &self.bytes[HEADER_LEN..];
        let (mut begin, mut end) = (0, 0);
        for frame in 0..skip.saturating_add(take).min(self.frame_count()) {
            if frame == skip {
                begin = end;
            }
            match Frame::split(&body[end..]) {
                Some((frame, _)) => end += frame.bytes().len(),
                None => break,
            }
        }
        match skip < self.frame_count() && take > 0 {
            true => &body[begin..end],
            false => &[],
        }
    }

    /// The messages with their sequences, in order. Of a notice: the notice, with the sequence it stands before.
    pub fn messages(&self) -> Messages<'a> {
        Messages {
            sequence: self.sequence(),
            left: self.frame_count(),
            rest: &self.bytes[HEADER_LEN..],
        }
    }
}

/// Whether a header's fields can stand together. Unknown flags and the spare bytes are left to later versions.
fn consistent(header: &PacketHeader) -> bool {
    let sequence = header.sequence.get();
    let base = header.epoch_base.get();
    // The journal's and a listener's own packets are no part of an epoch's stream.
    let own = header.flags & (flags::LOCAL | flags::SEGMENT_END);
    let empty = own != 0 || header.flags & flags::END_OF_SESSION != 0;
    header.session.get() != 0
        && header.epoch.get() != 0
        && sequence != 0
        && base != 0
        && (own != 0 || sequence >= base)
        && own != flags::LOCAL | flags::SEGMENT_END
        && (header.count.get() == 0 || !empty)
        && sequence < u64::MAX - u64::from(header.count.get())
}

/// The messages of a packet, in order.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    sequence: u64,
    left: u16,
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = (u64, Frame<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (frame, rest) = Frame::split(self.rest)?;
        let sequence = self.sequence;
        (self.rest, self.sequence) = (rest, sequence.saturating_add(1));
        Some((sequence, frame))
    }
}

impl<'a> Messages<'a> {
    /// The messages of `frames`, which stand back to back; the first one has the sequence `sequence`.
    #[inline]
    pub fn of(sequence: u64, frames: &'a [u8]) -> Self {
        Self {
            sequence,
            left: u16::MAX,
            rest: frames,
        }
    }
}

/// What a packet's header says besides what its messages do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Bits of [`flags`].
    pub flags: u8,
    /// Channel.
    pub channel: u16,
    /// Session.
    pub session: u32,
    /// Epoch.
    pub epoch: u32,
    /// First sequence of the epoch.
    pub epoch_base: u64,
    /// Sequence of the first message, or the next one to come.
    pub sequence: u64,
    /// Nanoseconds since the Unix epoch.
    pub sending_time: u64,
}

impl Stamp {
    /// What `header` says.
    pub fn of(header: &PacketHeader) -> Self {
        Self {
            flags: header.flags,
            channel: header.channel.get(),
            session: header.session.get(),
            epoch: header.epoch.get(),
            epoch_base: header.epoch_base.get(),
            sequence: header.sequence.get(),
            sending_time: header.sending_time.get(),
        }
    }
}

/// A packet that is being filled. It holds no memory: the buffer (a slot of the journal, say) is given to each call.
///
/// One word: the bytes so far, and [`ONE`](Self::ONE) for each message. So a copy of what was just written is one move,
/// and does not wait for the parts to be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenPacket(u64);

impl Default for OpenPacket {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenPacket {
    /// A message in the count.
    const ONE: u64 = 1 << 32;

    /// An empty packet.
    pub const fn new() -> Self {
        Self(HEADER_LEN as u64)
    }

    /// Messages so far.
    #[inline]
    pub fn count(&self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// Bytes so far, header included.
    #[inline]
    pub fn len(&self) -> usize {
        self.0 as u32 as usize
    }

    /// True without messages.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// One message more, of `length` bytes.
    #[inline]
    fn add(&mut self, length: usize) {
        self.0 += Self::ONE + length as u64;
    }

    /// Appends `message`; `false`, with nothing changed, if `buffer` has no room for it.
    #[inline]
    pub fn push<M: Message>(&mut self, buffer: &mut [u8], message: &M) -> bool {
        let Some(room) = buffer.get_mut(self.len()..self.len() + M::FRAME_LEN) else {
            return false;
        };
        let header = FrameHeader {
            length: U16::new(M::FRAME_LEN as u16),
            sbe: SbeHeader::of::<M>(),
        };
        // Of sizes that the compiler knows: a few moves, no call.
        let (frame, block) = room.split_at_mut(FRAME_HEADER_LEN);
        let fits = header.write_to(frame).is_ok() && message.write_to(block).is_ok();
        debug_assert!(fits, "the room is as long as the frame");
        self.add(M::FRAME_LEN);
        true
    }

    /// Appends a message that is framed already; `false`, with nothing changed, if there is no room.
    #[inline]
    pub fn push_frame(&mut self, buffer: &mut [u8], frame: &[u8]) -> bool {
        let Some(room) = buffer.get_mut(self.len()..self.len() + frame.len()) else {
            return false;
        };
        room.copy_from_slice(frame);
        self.add(frame.len());
        true
    }

    /// Pads with zeros to `padded` bytes (if that is more than there are), writes the header and returns the packet's
    /// length. The first four bytes are written as zero: the caller stores [`first_word`]`(stamp.flags)` there last, as
    /// its commit. The checksum counts them as stored. `count` is that of the messages, or 0 for a notice.
    ///
    /// # Panics
    /// If `buffer` is shorter than what was pushed into it, or than `padded`, or longer than a packet can be.
    #[inline(always)]
    pub fn finish(self, buffer: &mut [u8], stamp: Stamp, padded: usize) -> usize {
        let length = self.len().max(padded);
        let packet = &mut buffer[..length];
        if self.len() < padded {
            packet[self.len()..].fill(0);
        }
        let notice = stamp.flags & flags::LOCAL != 0;
        let header = PacketHeader {
            magic: U16::new(MAGIC),
            version: VERSION,
            flags: stamp.flags,
            channel: U16::new(stamp.channel),
            count: U16::new(if notice { 0 } else { self.count() }),
            session: U32::new(stamp.session),
            epoch: U32::new(stamp.epoch),
            sequence: U64::new(stamp.sequence),
            sending_time: U64::new(stamp.sending_time),
            epoch_base: U64::new(stamp.epoch_base),
            length: U16::new(u16::try_from(length).expect("packet limits fit 16 bits")),
            spare: [0; 2],
            checksum: U32::new(0),
        };
        // In whole words: read back in larger parts than it was written in, it would be waited for.
        let mut words: Words = zerocopy::transmute!(header);
        let (place, body) = packet.split_at_mut(HEADER_LEN);
        let sum = crc::of_packet(&words, body);
        let [first, .., last] = &mut words;
        *last |= U64::new(u64::from(sum) << 32);
        // Never anything else in the first four bytes, not even for a moment: a journal's readers look there.
        *first &= U64::new(!0xffff_ffff);
        place.copy_from_slice(words.as_bytes());
        length
    }

    /// [`finish`](Self::finish), and the first four bytes written too: for a packet that no one else sees yet.
    pub fn finish_whole(self, buffer: &mut [u8], stamp: Stamp, padded: usize) -> usize {
        let length = self.finish(buffer, stamp, padded);
        buffer[..4].copy_from_slice(&first_word(stamp.flags).to_le_bytes());
        length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{EndOfSession, Lost};

    const STAMP: Stamp = Stamp {
        flags: 0,
        channel: 1,
        session: 20_120_621,
        epoch: 2,
        epoch_base: 40,
        sequence: 41,
        sending_time: 1,
    };

    /// The verdict on a packet of `messages` messages and this stamp.
    fn verdict(messages: u16, stamp: Stamp) -> Result<(), PacketError> {
        let mut buffer = [0; 256];
        let mut packet = OpenPacket::new();
        for _ in 0..messages {
            assert!(packet.push(&mut buffer, &EndOfSession::NULL));
        }
        let length = packet.finish_whole(&mut buffer, stamp, 0);
        Packet::parse(&buffer[..length]).map(|_| ())
    }

    #[test]
    fn fields_that_cannot_be_are_malformed() {
        assert_eq!(verdict(1, STAMP), Ok(()));
        for stamp in [
            Stamp { session: 0, ..STAMP },
            Stamp { epoch: 0, ..STAMP },
            Stamp {
                epoch_base: 0,
                ..STAMP
            },
            Stamp { sequence: 0, ..STAMP },
            Stamp {
                sequence: 39,
                ..STAMP
            },
            Stamp {
                sequence: u64::MAX - 1,
                ..STAMP
            },
            Stamp {
                flags: flags::END_OF_SESSION,
                ..STAMP
            },
            Stamp {
                flags: flags::SEGMENT_END,
                ..STAMP
            },
            Stamp {
                flags: flags::SEGMENT_END | flags::LOCAL,
                ..STAMP
            },
        ] {
            assert_eq!(verdict(1, stamp), Err(PacketError::Malformed), "{stamp:?}");
        }
        assert_eq!(
            verdict(
                1,
                Stamp {
                    sequence: u64::MAX - 2,
                    ..STAMP
                }
            ),
            Ok(())
        );
        assert_eq!(
            verdict(
                0,
                Stamp {
                    sequence: u64::MAX,
                    ..STAMP
                }
            ),
            Err(PacketError::Malformed)
        );
        assert_eq!(
            verdict(1, Stamp { flags: 0x80, ..STAMP }),
            Ok(()),
            "unknown flags are ignored"
        );
    }

    #[test]
    fn a_notice_is_one_message_that_counts_none() {
        let mut buffer = [0; 128];
        let mut packet = OpenPacket::new();
        assert!(packet.push(&mut buffer, &Lost::NULL));
        let notice = Stamp {
            flags: flags::LOCAL,
            sequence: 7,
            ..STAMP
        };
        let length = packet.finish_whole(&mut buffer, notice, 0);
        let parsed = Packet::parse(&buffer[..length]).expect("a notice may stand below the base");
        assert_eq!(
            (parsed.header().count.get(), parsed.sequence(), parsed.end()),
            (0, 7, 7)
        );
        let messages: Vec<_> = parsed
            .messages()
            .map(|(at, frame)| (at, frame.template()))
            .collect();
        assert_eq!(messages, [(7, Lost::TEMPLATE)]);
        assert_eq!(
            verdict(0, notice),
            Err(PacketError::Malformed),
            "without its message"
        );
        assert_eq!(verdict(2, notice), Err(PacketError::Malformed), "with two");

        let mut header = *parsed.header();
        header.count = U16::new(1);
        buffer[..HEADER_LEN].copy_from_slice(header.as_bytes());
        let sum = checksum(&buffer[..length]);
        buffer[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(
            Packet::parse(&buffer[..length]).err(),
            Some(PacketError::Malformed)
        );
    }

    #[test]
    fn heartbeats_and_end_marks_hold_nothing() {
        for flags in [0, flags::END_OF_SESSION, flags::SEGMENT_END] {
            assert_eq!(verdict(0, Stamp { flags, ..STAMP }), Ok(()));
        }
    }

    #[test]
    fn a_message_that_does_not_fit_changes_nothing() {
        let mut buffer = [0; HEADER_LEN + EndOfSession::FRAME_LEN + 3];
        let mut packet = OpenPacket::new();
        assert!(packet.push(&mut buffer, &EndOfSession::NULL));
        let (before, bytes) = (packet, buffer);
        assert!(!packet.push(&mut buffer, &EndOfSession::NULL));
        assert!(!packet.push_frame(&mut buffer, &[1; 4]));
        assert_eq!((packet, buffer), (before, bytes));
    }

    #[test]
    fn the_first_word_is_left_to_the_commit_and_the_checksum_counts_it() {
        let mut buffer = [0xaa; 64];
        let length = OpenPacket::new().finish(&mut buffer, STAMP, 64);
        assert_eq!(buffer[..4], [0; 4]);
        assert_eq!(Packet::parse(&buffer[..length]).err(), Some(PacketError::Magic));
        buffer[..4].copy_from_slice(&first_word(STAMP.flags).to_le_bytes());
        let packet = Packet::parse(&buffer[..length]).expect("committed");
        assert_eq!(Stamp::of(packet.header()), STAMP);
    }
}
