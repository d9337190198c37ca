//! What this package's tests build journals from.

use crate::{JournalConfig, JournalWriter, Prepare, Retention, SyncPolicy};
use twinline_wire::market::PriceTick;
use twinline_wire::session::{EndOfSession, EpochStart};
use twinline_wire::{Message, OpenPacket, Stamp, U32, U64, flags};

pub(crate) const CHANNEL: u16 = 7;

/// A small journal: 64 KiB segments, packets of up to 1,408 bytes, no thread.
pub(crate) fn config() -> JournalConfig {
    JournalConfig {
        channel: CHANNEL,
        max_packet: 1408,
        segment_size: 1 << 16,
        sync: SyncPolicy::None,
        retention: Retention::default(),
        prepare: Prepare::Inline,
    }
}

/// Where a test's stream stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) session: u32,
    pub(crate) epoch: u32,
    pub(crate) base: u64,
    pub(crate) next: u64,
}

impl Stream {
    pub(crate) fn new(session: u32) -> Self {
        Self {
            session,
            epoch: 1,
            base: 1,
            next: 1,
        }
    }

    pub(crate) fn stamp(&self, flags: u8) -> Stamp {
        Stamp {
            flags,
            channel: CHANNEL,
            session: self.session,
            epoch: self.epoch,
            epoch_base: self.base,
            sequence: self.next,
            sending_time: self.next * 1_000_000,
        }
    }

    /// A packet of one message, padded to `length` bytes.
    pub(crate) fn message<M: Message>(&mut self, message: &M, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; 2048];
        let mut open = OpenPacket::new();
        assert!(open.push(&mut bytes, message));
        let length = open.finish_whole(&mut bytes, self.stamp(0), length);
        bytes.truncate(length);
        self.next += 1;
        bytes
    }

    /// A packet of `count` ticks, padded to `length` bytes.
    pub(crate) fn ticks(&mut self, count: u16, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; 2048];
        let mut open = OpenPacket::new();
        for _ in 0..count {
            assert!(open.push(&mut bytes, &PriceTick::NULL));
        }
        let length = open.finish_whole(&mut bytes, self.stamp(0), length);
        bytes.truncate(length);
        self.next += u64::from(count);
        bytes
    }

    /// The packet that opens the stream's epoch.
    pub(crate) fn epoch_start(&mut self, valid_end: u64) -> Vec<u8> {
        let start = EpochStart {
            valid_end: U64::new(valid_end),
            epoch: U32::new(self.epoch),
        };
        self.message(&start, 0)
    }

    /// A new epoch at `base`, and its first packet.
    pub(crate) fn new_epoch(&mut self, base: u64) -> Vec<u8> {
        let valid_end = self.next;
        (self.epoch, self.base, self.next) = (self.epoch + 1, base, base);
        self.epoch_start(valid_end)
    }

    pub(crate) fn end_of_session(&mut self) -> Vec<u8> {
        self.message(&EndOfSession::NULL, 0)
    }

    /// A listener's notice; `next` is where the stream goes on.
    pub(crate) fn notice<M: Message>(&mut self, message: &M, next: u64) -> Vec<u8> {
        let mut bytes = vec![0; 2048];
        let mut open = OpenPacket::new();
        assert!(open.push(&mut bytes, message));
        let length = open.finish_whole(&mut bytes, self.stamp(flags::LOCAL), 0);
        bytes.truncate(length);
        self.next = next;
        bytes
    }
}

/// Starts session 1 and appends packets of 3 ticks, 1,000 bytes each, until `packets` stand there.
pub(crate) fn fill(writer: &mut JournalWriter, stream: &mut Stream, packets: usize) -> Vec<Vec<u8>> {
    let mut written = Vec::new();
    for _ in 0..packets {
        let packet = match stream.next == stream.base {
            true => stream.epoch_start(stream.base),
            false => stream.ticks(3, 1000),
        };
        writer.append(&packet).unwrap();
        written.push(packet);
    }
    written
}

/// All packets that a reader finds.
pub(crate) fn read_all(reader: &mut crate::JournalReader) -> Vec<Vec<u8>> {
    let mut read = Vec::new();
    while let Some(packet) = reader.next().unwrap() {
        read.push(packet.bytes().to_vec());
    }
    read
}
