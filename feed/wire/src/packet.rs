//! Packets: building one in a buffer, and checking one that arrived.

use crate::header::{self, HEADER_LEN, MAGIC, PacketHeader, VERSION, checksum, first_word};
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
}

impl<'a> Packet<'a> {
    /// Checks all of `bytes`, which must be exactly one packet.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let packet = Self::parse_prefix(bytes)?;
        if packet.bytes.len() == bytes.len() {
            Ok(packet)
        } else {
            Err(PacketError::Trailing)
        }
    }

    /// Checks the packet at the start of `bytes`; more may follow it, as in a journal.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    #[inline]
    pub fn parse_prefix(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let packet = Self::trusted_prefix(bytes)?;
        if checksum(packet.bytes) != packet.header.checksum.get() {
            return Err(PacketError::Checksum);
        }
        packet.check_content()?;
        Ok(packet)
    }

    /// The packet at the start of `bytes` with only its header checked. For bytes that were checked before they came
    /// here, such as committed packets of the own journal.
    ///
    /// # Errors
    /// If magic, version or length cannot be.
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
        if length < HEADER_LEN {
            return Err(PacketError::Malformed);
        }
        if length > bytes.len() {
            return Err(PacketError::Truncated);
        }
        Ok(Self {
            header,
            bytes: &bytes[..length],
        })
    }

    /// Frames, count, padding and the header's own consistency.
    fn check_content(&self) -> Result<(), PacketError> {
        let header = self.header;
        let count = u64::from(header.count.get());
        let sequence = header.sequence.get();
        if header.session.get() == 0
            || header.epoch.get() == 0
            || sequence == 0
            || sequence.checked_add(count).is_none_or(|end| end == u64::MAX)
            || header.epoch_base.get() == 0
        {
            return Err(PacketError::Malformed);
        }
        let mut rest = &self.bytes[HEADER_LEN..];
        let frames = if header.flags & header::flags::LOCAL != 0 {
            1
        } else {
            count
        };
        for _ in 0..frames {
            (_, rest) = Frame::split(rest).ok_or(PacketError::Malformed)?;
        }
        if rest.iter().all(|&byte| byte == 0) {
            Ok(())
        } else {
            Err(PacketError::Malformed)
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

    /// The messages with their sequences, in order. Of a notice: the notice, with the sequence it stands before.
    pub fn messages(&self) -> Messages<'a> {
        let left = if self.header.flags & header::flags::LOCAL != 0 {
            1
        } else {
            self.header.count.get()
        };
        Messages {
            sequence: self.sequence(),
            left,
            rest: &self.bytes[HEADER_LEN..],
        }
    }
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
        (self.rest, self.sequence) = (rest, sequence + 1);
        Some((sequence, frame))
    }
}

/// What a packet's header says besides what its messages do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Bits of [`header::flags`].
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenPacket {
    at: usize,
    count: u16,
}

impl Default for OpenPacket {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenPacket {
    /// An empty packet.
    pub const fn new() -> Self {
        Self {
            at: HEADER_LEN,
            count: 0,
        }
    }

    /// Messages so far.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Bytes so far, header included.
    pub fn len(&self) -> usize {
        self.at
    }

    /// True without messages.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends `message`; `false`, with nothing changed, if `buffer` has no room for it.
    #[inline]
    pub fn push<M: Message>(&mut self, buffer: &mut [u8], message: &M) -> bool {
        let Some(room) = buffer.get_mut(self.at..self.at + M::FRAME_LEN) else {
            return false;
        };
        let header = FrameHeader {
            length: U16::new(M::FRAME_LEN as u16),
            sbe: SbeHeader::of::<M>(),
        };
        room[..FRAME_HEADER_LEN].copy_from_slice(header.as_bytes());
        room[FRAME_HEADER_LEN..].copy_from_slice(message.as_bytes());
        self.at += M::FRAME_LEN;
        self.count += 1;
        true
    }

    /// Appends a message that is framed already; `false`, with nothing changed, if there is no room.
    #[inline]
    pub fn push_frame(&mut self, buffer: &mut [u8], frame: &[u8]) -> bool {
        let Some(room) = buffer.get_mut(self.at..self.at + frame.len()) else {
            return false;
        };
        room.copy_from_slice(frame);
        self.at += frame.len();
        self.count += 1;
        true
    }

    /// Pads with zeros to `padded` bytes (if that is more than there are), writes the header and returns the packet's
    /// length. The first four bytes are written as zero: the caller stores [`first_word`]`(stamp.flags)` there last, as
    /// its commit. The checksum counts them as stored. `count` is that of the messages, or 0 for a notice.
    ///
    /// # Panics
    /// If `buffer` is shorter than what was pushed into it, or than `padded`, or longer than a packet can be.
    pub fn finish(self, buffer: &mut [u8], stamp: Stamp, padded: usize) -> usize {
        let length = self.at.max(padded);
        buffer[self.at..length].fill(0);
        let notice = stamp.flags & header::flags::LOCAL != 0;
        let mut header = PacketHeader {
            magic: U16::new(MAGIC),
            version: VERSION,
            flags: stamp.flags,
            channel: U16::new(stamp.channel),
            count: U16::new(if notice { 0 } else { self.count }),
            session: U32::new(stamp.session),
            epoch: U32::new(stamp.epoch),
            sequence: U64::new(stamp.sequence),
            sending_time: U64::new(stamp.sending_time),
            epoch_base: U64::new(stamp.epoch_base),
            length: U16::new(u16::try_from(length).expect("packet limits fit 16 bits")),
            spare: [0; 2],
            checksum: U32::new(0),
        };
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        digest.update(&header.as_bytes()[..HEADER_LEN - 4]);
        digest.update(&buffer[HEADER_LEN..length]);
        header.checksum = U32::new(digest.finalize() as u32);
        // Never anything else in the first four bytes, not even for a moment: a journal's readers look there.
        buffer[..4].fill(0);
        buffer[4..HEADER_LEN].copy_from_slice(&header.as_bytes()[4..]);
        length
    }

    /// [`finish`](Self::finish), and the first four bytes written too: for a packet that no one else sees yet.
    pub fn finish_whole(self, buffer: &mut [u8], stamp: Stamp, padded: usize) -> usize {
        let length = self.finish(buffer, stamp, padded);
        buffer[..4].copy_from_slice(&first_word(stamp.flags).to_le_bytes());
        length
    }
}
