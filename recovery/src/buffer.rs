//! The two fixed buffers of a connection: bytes received that are not yet whole frames, and small frames to be sent.
//! Both are sized by our own limits, never by what the peer announces.

use twinline_wire::Message;
use twinline_wire::recovery::Range;
use twinline_wire::stream::{self, StreamError, StreamFrame};

/// Received bytes, as a window over a buffer of fixed size. A frame longer than the buffer is refused as soon as its
/// length is seen, so the window always makes progress.
#[derive(Debug)]
pub(crate) struct FrameBuffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl FrameBuffer {
    /// A buffer for frames of up to `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            bytes: vec![0; capacity].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    /// Bytes of memory held.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Where the next received bytes go; [`filled`](Self::filled) says how many came. Empty only while whole frames
    /// wait to be taken.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.clear();
        } else if self.bytes.len() - self.end < self.bytes.len() / 2 && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.bytes[self.end..]
    }

    /// `count` bytes were written into [`room`](Self::room).
    pub(crate) fn filled(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.end <= self.bytes.len(), "more than there was room for");
    }

    /// Copies as much of `bytes` as there is room for; how much that was.
    pub(crate) fn take_from(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.filled(count);
        count
    }

    /// Takes the next whole frame out; `None` while there is none.
    pub(crate) fn next_frame(&mut self) -> Result<Option<StreamFrame<'_>>, StreamError> {
        let bytes = &self.bytes[self.start..self.end];
        let Some((frame, length)) = StreamFrame::split(bytes, self.bytes.len())? else {
            return Ok(None);
        };
        self.start += length;
        Ok(Some(frame))
    }
}

/// Small frames to be sent, in a buffer of fixed size.
#[derive(Debug)]
pub(crate) struct Outbox {
    bytes: Box<[u8]>,
    sent: usize,
    end: usize,
}

impl Outbox {
    /// A buffer of `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            bytes: vec![0; capacity].into_boxed_slice(),
            sent: 0,
            end: 0,
        }
    }

    /// Bytes of memory held.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        (self.sent, self.end) = (0, 0);
    }

    /// What is to be sent.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..self.end]
    }

    /// The first `count` bytes of [`pending`](Self::pending) were sent.
    pub(crate) fn consumed(&mut self, count: usize) {
        self.sent += count;
        debug_assert!(self.sent <= self.end, "more than was pending");
        if self.sent >= self.end {
            self.clear();
        }
    }

    /// Bytes that still fit.
    pub(crate) fn room(&mut self) -> usize {
        self.compact();
        self.bytes.len() - self.end
    }

    /// Appends a frame without groups, with these data fields; `false`, with nothing changed, if there is no room.
    pub(crate) fn put<M: Message>(&mut self, message: &M, data: &[&[u8]]) -> bool {
        self.append(|room| stream::put_with_data(room, message, data))
    }

    /// Appends a frame with a group of ranges; `false`, with nothing changed, if there is no room.
    pub(crate) fn put_ranges<M: Message>(&mut self, message: &M, ranges: &[Range]) -> bool {
        self.append(|room| stream::put_with_ranges(room, message, ranges))
    }

    fn append(&mut self, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> bool {
        self.compact();
        let Some(count) = write(&mut self.bytes[self.end..]) else {
            return false;
        };
        self.end += count;
        true
    }

    fn compact(&mut self) {
        if self.sent > 0 {
            self.bytes.copy_within(self.sent..self.end, 0);
            (self.sent, self.end) = (0, self.end - self.sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinline_wire::field::{CompleteStatus, LogoutReason};
    use twinline_wire::recovery::{Logout, RequestComplete};

    #[test]
    fn frames_come_out_whole_however_the_bytes_were_cut() {
        let mut frames = Vec::new();
        let mut outbox = Outbox::new(256);
        for request in 0..50u32 {
            let complete = RequestComplete {
                request_id: request.into(),
                status: CompleteStatus::COMPLETE,
            };
            assert!(outbox.put(&complete, &[]));
            frames.extend_from_slice(outbox.pending());
            outbox.consumed(outbox.pending().len());
        }
        for step in [1, 3, 16, 17, 63] {
            let mut input = FrameBuffer::new(64);
            let mut next = 0;
            for mut piece in frames.chunks(step) {
                while !piece.is_empty() {
                    piece = &piece[input.take_from(piece)..];
                    while let Some(frame) = input.next_frame().expect("the frames are good") {
                        let complete = frame.view::<RequestComplete>().expect("what was put");
                        assert_eq!(complete.request_id.get(), next);
                        next += 1;
                    }
                }
            }
            assert_eq!(next, 50);
        }
    }

    #[test]
    fn a_frame_that_can_never_fit_is_refused_when_its_length_is_seen() {
        let mut outbox = Outbox::new(256);
        let logout = Logout {
            reason: LogoutReason::DONE,
        };
        assert!(outbox.put(&logout, &[&[b'x'; 100]]));
        assert!(!outbox.put(&logout, &[&[b'x'; 200]]), "there is no room for it");
        let mut input = FrameBuffer::new(64);
        input.take_from(&outbox.pending()[..12]);
        assert!(input.next_frame().is_err());
    }

    #[test]
    fn an_outbox_is_full_until_something_was_sent() {
        let mut outbox = Outbox::new(40);
        let logout = Logout {
            reason: LogoutReason::DONE,
        };
        assert!(outbox.put(&logout, &[b""]));
        assert!(outbox.put(&logout, &[b""]));
        assert!(!outbox.put(&logout, &[b""]));
        outbox.consumed(17);
        assert!(outbox.put(&logout, &[b""]));
        assert_eq!(outbox.pending().len(), 34);
    }
}
