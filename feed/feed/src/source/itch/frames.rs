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
    /// Bytes of the message that is ready, behind its length at `start`; 0: none is.
    length: usize,
    /// Place of `buffer[0]` in the stream.
    base: u64,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
            length: 0,
            base: 0,
        }
    }

    /// Sees to it that a whole message is there; `false` at the end of the stream. The error says what breaks the stream
    /// at [`offset`](Self::offset).
    #[inline]
    pub(super) fn ready(&mut self) -> Result<bool, String> {
        if let [high, low, rest @ ..] = &self.buffer[self.start..self.end] {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if length > 0 && length <= rest.len() {
                self.length = length;
                return Ok(true);
            }
        }
        self.read_on()
    }

    /// [`ready`](Self::ready) where what is buffered does not do.
    #[cold]
    fn read_on(&mut self) -> Result<bool, String> {
        loop {
            let held = &self.buffer[self.start..self.end];
            let length = match held {
                [0, 0, ..] => return Err("a message of length 0".into()),
                [high, low, ..] => Some(usize::from(u16::from_be_bytes([*high, *low]))),
                _ => None,
            };
            let held = held.len();
            if let Some(length) = length.filter(|length| held >= 2 + length) {
                self.length = length;
                return Ok(true);
            }
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
        let begin = self.start + 2;
        &self.buffer[begin..begin + self.length]
    }

    /// Done with the message that was ready.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.start += 2 + self.length;
    }

    /// Bytes of the stream before the message that is, or is not, ready.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// Reads more; returns how much, 0 at the end.
    fn fill(&mut self) -> io::Result<usize> {
        if self.end + READ > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.base += self.start as u64;
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
