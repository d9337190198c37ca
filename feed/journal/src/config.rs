//! What a journal's writer is told, and what it tells of the journal.

use std::time::Duration;

/// How a journal is written. Channel, packet limit and segment size are fixed when the journal is created.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// The channel whose packets it holds.
    pub channel: u16,
    /// The longest packet in bytes: a multiple of 64, at most [`twinline_wire::header::MAX_PACKET_LEN`].
    pub max_packet: usize,
    /// Bytes of a segment: a multiple of 4,096, from 64 KiB to 16 GiB.
    pub segment_size: usize,
    /// When packets become durable.
    pub sync: SyncPolicy,
    /// What is kept.
    pub retention: Retention,
    /// Who makes the next segment.
    pub prepare: Prepare,
}

/// When packets become durable (survive a power cut; a killed process loses nothing in any case).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// When the kernel likes, or when asked with [`JournalWriter::sync`](crate::JournalWriter::sync).
    None,
    /// About this often, by a helper thread. Not with [`Prepare::Inline`].
    Every(Duration),
    /// Before [`JournalWriter::commit`](crate::JournalWriter::commit) returns.
    EveryPacket,
}

/// What is kept. The oldest segments beyond `segments` or `bytes` go, once they are durable, but none that is younger than
/// `age`; with `age` alone all go that are older. Without any of them all is kept. The segment being written always stays;
/// up to two empty ones, prepared ahead, come on top. Nothing goes before the next segment is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// At most so many segments, 2 or more.
    pub segments: Option<usize>,
    /// At most so many bytes of segments (at least two segments stay).
    pub bytes: Option<u64>,
    /// Segments stay whose last packet was sent at most this long before that of the newest finished one.
    pub age: Option<Duration>,
}

/// Who makes the next segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepare {
    /// Helper threads, ahead of use: the writer makes no system call.
    Thread,
    /// The writer itself, when it needs it: deterministic, no thread.
    Inline,
}

/// Where a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The newest session.
    pub session: u32,
    /// Its newest epoch.
    pub epoch: u32,
    /// That epoch's first sequence.
    pub epoch_base: u64,
    /// The next sequence to come.
    pub next: u64,
    /// True if the last message is EndOfSession.
    pub ended: bool,
}

/// What [`JournalWriter::open`](crate::JournalWriter::open) found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// True if the journal was created.
    pub created: bool,
    /// Packets whose checksum and continuity were checked.
    pub packets: u64,
    /// Segments that were read wholly; of the others only the first packet and the end mark.
    pub segments: u64,
    /// Bytes after the last valid packet that were not zero and were cut off: what a crash tore.
    pub torn_bytes: u64,
    /// Segments after the last valid packet that were removed because they held something.
    pub torn_segments: u64,
}
