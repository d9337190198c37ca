//! A record: what the listener delivered at once, the new messages of a packet or one notice.
//!
//! ```text
//! word 0     length in bytes (16 bits), kind (8), origin (8), delay from sending to receiving in ns (32): the commit
//! word 1     sequence of the first message; of a notice, the next one
//! word 2     receive time, ns since the Unix epoch
//! ```
//!
//! A short record's frames follow here, so that a price tick and its header share one cache line. A full record, and every
//! notice, says first what short ones leave out:
//!
//! ```text
//! word 3     session (low 32 bits), epoch            word 5     sending time, ns since the Unix epoch
//! word 4     first sequence of the epoch             word 6     where the listener's journal ends behind it
//! word 7     zero
//! ```

use twinline_wire::packet::Messages;

/// Words before a short record's frames.
pub(crate) const SHORT: usize = 3;
/// Words before a full record's frames.
pub(crate) const FULL: usize = 8;

/// What a record in the ring is.
pub(crate) mod kind {
    /// Nothing: the rest of the ring up to its end.
    pub(crate) const PAD: u64 = 1;
    /// Messages, of the same session and epoch as the record before.
    pub(crate) const SHORT: u64 = 2;
    /// Messages.
    pub(crate) const FULL: u64 = 3;
    /// A notice.
    pub(crate) const NOTICE: u64 = 4;
}

/// Who brought a record's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Line A.
    LineA = 0,
    /// Line B.
    LineB = 1,
    /// A recovery service.
    Recovery = 2,
    /// The listener itself: its notices.
    Listener = 3,
}

impl Origin {
    fn from_code(code: u64) -> Self {
        match code {
            0 => Origin::LineA,
            1 => Origin::LineB,
            2 => Origin::Recovery,
            _ => Origin::Listener,
        }
    }
}

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Messages.
    Messages,
    /// One notice.
    Notice,
}

/// A record, in memory of the reader's own.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Messages or a notice.
    pub kind: Kind,
    /// Who brought it.
    pub origin: Origin,
    /// Session.
    pub session: u32,
    /// Epoch.
    pub epoch: u32,
    /// First sequence of the epoch.
    pub epoch_base: u64,
    /// Sequence of the first message; of a notice where it stands: the next sequence.
    pub sequence: u64,
    /// When the publisher stamped the packet, in nanoseconds since the Unix epoch.
    pub sending_time: u64,
    /// When the listener had it in its place in the stream, in nanoseconds since the Unix epoch.
    pub receive_time: u64,
    /// Where the listener's journal ended behind it, as a number that keeps the order. Always there with notices.
    pub location: Option<u64>,
    /// The frames, back to back.
    pub frames: &'a [u8],
}

impl<'a> Record<'a> {
    /// The messages with their sequences, in order; or the notice, with the sequence it stands before.
    #[inline]
    pub fn messages(&self) -> Messages<'a> {
        Messages::of(self.sequence, self.frames)
    }
}

/// The commit word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Commit(pub(crate) u64);

impl Commit {
    /// Of a record of `length` bytes, its header included. Never zero, as a length is not.
    #[inline]
    pub(crate) fn new(length: usize, kind: u64, origin: Origin, delay: u32) -> Self {
        Self(length as u64 | kind << 16 | (origin as u64) << 24 | u64::from(delay) << 32)
    }

    #[inline]
    pub(crate) fn length(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    #[inline]
    pub(crate) fn kind(self) -> u64 {
        self.0 >> 16 & 0xff
    }

    #[inline]
    pub(crate) fn origin(self) -> Origin {
        Origin::from_code(self.0 >> 24 & 0xff)
    }

    #[inline]
    pub(crate) fn delay(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What short records leave out, as the last full one said it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) session: u32,
    pub(crate) epoch: u32,
    pub(crate) epoch_base: u64,
}
