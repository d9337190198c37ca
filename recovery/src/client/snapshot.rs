//! A snapshot on its way to a client: whatever the service sends must be the next part of what it said first.

use twinline_wire::recovery::SnapshotPart;
use twinline_wire::stream::StreamError;

/// The request for a snapshot that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming {
    pub(super) request_id: u32,
    session: u32,
    at_least: u64,
    /// What the first part said: epoch, sequence, bytes in all.
    whole: Option<(u32, u64, u64)>,
    /// Bytes that came.
    had: u64,
}

impl Incoming {
    pub(super) fn new(request_id: u32, session: u32, at_least: u64) -> Self {
        Self {
            request_id,
            session,
            at_least,
            whole: None,
            had: 0,
        }
    }

    /// Checks the next part, of so many bytes.
    pub(super) fn take(&mut self, part: &SnapshotPart, bytes: u64, limit: u64) -> Result<(), StreamError> {
        let (epoch, sequence) = (part.epoch.get(), part.sequence.get());
        let whole = (epoch, sequence, part.total_length.get());
        let total = whole.2;
        if part.session.get() != self.session || epoch == 0 || sequence < self.at_least.max(1) {
            return Err(StreamError("another snapshot than was asked for"));
        }
        if total > limit {
            return Err(StreamError("a snapshot that is longer than is taken here"));
        }
        if *self.whole.get_or_insert(whole) != whole || part.offset.get() != self.had {
            return Err(StreamError("a part of a snapshot that does not follow"));
        }
        if bytes == 0 || bytes > total - self.had {
            return Err(StreamError("a part of a snapshot that is empty or too long"));
        }
        self.had += bytes;
        Ok(())
    }

    /// True if nothing came, or all of it.
    pub(super) fn may_complete(&self) -> bool {
        self.whole.is_none_or(|(.., total)| total == self.had)
    }
}
