//! What is to be sent next, without copying a packet: the head of a data frame, packets in the mapped journal, and
//! control frames behind them.

use std::ops;
use twinline_journal::Region;
use twinline_wire::recovery::Data;
use twinline_wire::stream::{self, STREAM_HEADER_LEN};

/// What precedes the packets of a data frame: headers, block, and the length of the data.
const HEAD_LEN: usize = STREAM_HEADER_LEN + size_of::<Data>() + 4;

/// The next bytes for a client, in this order; any count of them from the front may be sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Output<'a> {
    /// What is left of a data frame's head.
    pub head: &'a [u8],
    /// What is left of its packets.
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

/// A data frame that is being sent. It keeps the part of the journal mapped that its packets are in.
pub(super) struct DataFrame {
    head: [u8; HEAD_LEN],
    region: Region,
    packets: ops::Range<usize>,
    /// Bytes of the head that were sent.
    head_sent: usize,
}

impl DataFrame {
    /// A frame of these packets of a region, in answer to a request.
    pub(super) fn new(request_id: u32, region: Region, packets: ops::Range<usize>) -> Self {
        let mut head = [0; HEAD_LEN];
        let data = Data {
            request_id: request_id.into(),
        };
        let length = u32::try_from(packets.len()).expect("a region is at most as long as a segment");
        let at = stream::put(&mut head, &data, 4 + packets.len()).expect("the head was sized for it");
        head[at..].copy_from_slice(&length.to_le_bytes());
        Self {
            head,
            region,
            packets,
            head_sent: 0,
        }
    }

    pub(super) fn head(&self) -> &[u8] {
        &self.head[self.head_sent..]
    }

    pub(super) fn packets(&self) -> &[u8] {
        &self.region[self.packets.clone()]
    }

    /// So many bytes, at most those of the frame, were sent. True if nothing of it is left.
    pub(super) fn consumed(&mut self, count: usize) -> bool {
        let of_head = count.min(HEAD_LEN - self.head_sent);
        self.head_sent += of_head;
        self.packets.start += count - of_head;
        self.packets.is_empty()
    }

    /// Bytes that are left.
    pub(super) fn len(&self) -> usize {
        HEAD_LEN - self.head_sent + self.packets.len()
    }
}
