//! What is to be sent next, without copying a packet: the head of a data frame, packets in the mapped journal, and
//! control frames behind them.

use super::snapshot::transfer::Part;
use std::ops;
use twinline_journal::Region;
use twinline_wire::Message;
use twinline_wire::recovery::{Data, SnapshotPart};
use twinline_wire::stream::{self, STREAM_HEADER_LEN};

/// What precedes the data of a frame: headers, block, and the length of the data.
const HEAD_LEN: usize = STREAM_HEADER_LEN + size_of::<SnapshotPart>() + 4;

/// The next bytes for a client, in this order; any count of them from the front may be sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Output<'a> {
    /// What is left of a data frame's head.
    pub head: &'a [u8],
    /// What is left of its packets, or of its part of a snapshot.
    pub packets: &'a [u8],
    /// Control frames that come after it.
    pub control: &'a [u8],
}

impl Output<'_> {
    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.head.len() + self.packets.len() + self.control.len()
    }

    /// True if there is nothing to be sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A data frame that is being sent. It keeps in memory what it sends from.
pub(super) struct DataFrame {
    head: [u8; HEAD_LEN],
    head_len: usize,
    source: Source,
    bytes: ops::Range<usize>,
    /// Bytes of the head that were sent.
    head_sent: usize,
}

/// Where the data is.
enum Source {
    Journal(Region),
    Snapshot(Part),
}

impl DataFrame {
    /// A frame of these packets of a region, in answer to a request.
    pub(super) fn new(request_id: u32, region: Region, packets: ops::Range<usize>) -> Self {
        let data = Data {
            request_id: request_id.into(),
        };
        Self::of(&data, Source::Journal(region), packets)
    }

    /// A frame of this part of a snapshot, in answer to a request.
    pub(super) fn part(request_id: u32, part: Part) -> Self {
        let (place, bytes) = (&part.made.place, part.bytes.clone());
        let block = SnapshotPart {
            request_id: request_id.into(),
            session: place.session.into(),
            epoch: place.epoch.into(),
            sequence: place.sequence.into(),
            total_length: (part.made.bytes.len() as u64).into(),
            offset: (bytes.start as u64).into(),
        };
        Self::of(&block, Source::Snapshot(part), bytes)
    }

    fn of<M: Message>(block: &M, source: Source, bytes: ops::Range<usize>) -> Self {
        let mut head = [0; HEAD_LEN];
        let length = u32::try_from(bytes.len()).expect("a frame's data is at most a segment, or a part");
        let at = stream::put(&mut head, block, 4 + bytes.len()).expect("the head was sized for the longest");
        head[at..at + 4].copy_from_slice(&length.to_le_bytes());
        Self {
            head,
            head_len: at + 4,
            source,
            bytes,
            head_sent: 0,
        }
    }

    pub(super) fn head(&self) -> &[u8] {
        &self.head[self.head_sent..self.head_len]
    }

    pub(super) fn data(&self) -> &[u8] {
        match &self.source {
            Source::Journal(region) => &region[self.bytes.clone()],
            Source::Snapshot(part) => &part.made.bytes[self.bytes.clone()],
        }
    }

    /// So many bytes, at most those of the frame, were sent. True if nothing of it is left.
    pub(super) fn consumed(&mut self, count: usize) -> bool {
        let of_head = count.min(self.head_len - self.head_sent);
        self.head_sent += of_head;
        self.bytes.start += count - of_head;
        self.len() == 0
    }

    /// Bytes that are left.
    pub(super) fn len(&self) -> usize {
        self.head_len - self.head_sent + self.bytes.len()
    }
}
