//! The control page at the start of a ring's file, and the sizes that the protocol goes by.
//!
//! ```text
//! byte 0     magic, layout version, capacity, channel, instance, writer's process, longest packet   (never change)
//! byte 64    state                       byte 320   beats, moved on by the writer's line thread
//! byte 128   end, anchor, session, next  byte 256   intent: bytes that may have been overwritten
//! byte 512   build of the writer         byte 1024  the listener's journal
//! byte 4096  the records
//! ```
//!
//! All numbers are eight bytes in the host's order: the ring never leaves its host. Counts of bytes never fall; a byte
//! `n` of the stream stands at `n % capacity`.

use std::ops::Range;

/// The letters `TWINRING`.
pub(crate) const MAGIC: u64 = u64::from_ne_bytes(*b"TWINRING");
/// Version of the layout: of the control page, the records and the status pages. A reader of another version refuses.
pub const LAYOUT_VERSION: u64 = 1;
/// The smallest ring, in bytes.
pub const MIN_CAPACITY: usize = 64 * 1024;
/// Bytes of the control page.
pub(crate) const CONTROL_LEN: usize = 4096;

/// Records begin at multiples of this: a cache line, so that two records share none.
pub(crate) const ALIGN: usize = 64;
/// The intent moves on in steps of so many bytes, so that a reader's check mostly hits its own cache. After each, a record
/// says its whole context.
#[cfg(not(loom))]
pub(crate) const BLOCK: u64 = 4096;
#[cfg(loom)]
pub(crate) const BLOCK: u64 = 128;

// Words of the control page.
pub(crate) const MAGIC_AT: usize = 0;
pub(crate) const VERSION_AT: usize = 1;
pub(crate) const CAPACITY_AT: usize = 2;
pub(crate) const CHANNEL_AT: usize = 3;
pub(crate) const INSTANCE_AT: usize = 4;
pub(crate) const PROCESS_AT: usize = 5;
pub(crate) const MAX_RECORD_AT: usize = 6;
pub(crate) const STATE_AT: usize = 8;
pub(crate) const END_AT: usize = 16;
pub(crate) const ANCHOR_AT: usize = 17;
pub(crate) const SESSION_AT: usize = 18;
pub(crate) const NEXT_AT: usize = 19;
pub(crate) const INTENT_AT: usize = 32;
pub(crate) const BEATS_AT: usize = 40;
/// The build, as text.
pub(crate) const BUILD: Range<usize> = 64..128;
/// The journal's directory, as text.
pub(crate) const JOURNAL: Range<usize> = 128..512;

/// States of a ring.
pub(crate) mod state {
    /// The writer goes on, or died.
    pub(crate) const LIVE: u64 = 1;
    /// The writer ended, in good order.
    pub(crate) const CLOSED: u64 = 2;
    /// Another writer took over, with another file.
    pub(crate) const REPLACED: u64 = 3;
}

/// `length` rounded up to the next place where a record may begin.
#[inline]
pub(crate) const fn align_up(length: usize) -> usize {
    (length + ALIGN - 1) & !(ALIGN - 1)
}
