//! Messages behind big-endian 16-bit lengths, out of a stream of bytes, through one buffer that never grows.

use crate::source::file::explain;
use std::io::{self, Read};

/// Bytes buffered: room for the longest message and for reads of a good size after it.
const BUFFER: usize = 128 << 10;
/// Bytes asked of the reader at a time. Small, as a decompressor that meets a corruption gives up the whole read in
/// which it met it.
const READ: usize = 16 << 10;

/// Cuts a stream into messages.
pub(super) struct Frames<R> {
    reader: R,
    buffer: Box<[u8]>,
    /// Bytes not yet consumed: `buffer[start..end]`.
    start: usize,
    end: usize,
    /// Place of `buffer[start]` in the stream.
    offset: u64,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
            offset: 0,
        }
    }

    /// Sees to it that a whole message is there; `false` at the end of the stream. The error says what breaks the stream
    /// at [`offset`](Self::offset).
    #[inline]
    pub(super) fn ready(&mut self) -> Result<bool, String> {
        loop {
            let held = &self.buffer[self.start..self.end];
            let length = match held {
                [0, 0, ..] => return Err("a message of length 0".into()),
                [high, low, ..] => Some(usize::from(u16::from_be_bytes([*high, *low]))),
                _ => None,
            };
            if length.is_some_and(|length| held.len() >= 2 + length) {
                return Ok(true);
            }
            let held = held.len();
            match (self.fill(), length) {
                (Ok(0), _) if held == 0 => return Ok(false),
                (Ok(0), None) => return Err("it is cut off within a message's length".into()),
                (Ok(0), Some(length)) => {
                    let there = held - 2;
                    return Err(format!("it is cut off: {there} bytes of a message of {length}"));
                }
                (Ok(_), _) => {}
                (Err(error), _) => return Err(explain(&error)),
            }
        }
    }

    /// The message that is ready, without its length.
    #[inline]
    pub(super) fn message(&self) -> &[u8] {
        match &self.buffer[self.start..self.end] {
            [high, low, rest @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                &rest[..length.min(rest.len())]
            }
            _ => &[],
        }
    }

    /// Done with the message that was ready.
    #[inline]
    pub(super) fn advance(&mut self) {
        let length = 2 + self.message().len();
        self.start += length;
        self.offset += length as u64;
    }

    /// Bytes of the stream before the message that is, or is not, ready.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads more; returns how much, 0 at the end.
    fn fill(&mut self) -> io::Result<usize> {
        if self.end + READ > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        loop {
            match self.reader.read(&mut self.buffer[self.end..self.end + READ]) {
                Ok(read) => {
                    self.end += read;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
