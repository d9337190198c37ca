//! Books at the speed of one thread: an ITCH file in memory, translated as the publisher does and applied to full books,
//! with each change of a best bid or offer reported.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};
use twinline_book::{Books, Change};
use twinline_feed::source::EventSink;
use twinline_feed::source::itch::translate;
use twinline_wire::{Frame, Message};

/// The whole content of an ITCH file, plain or gzip.
///
/// # Errors
/// If it cannot be read.
pub fn load(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain)?;
    Ok(plain)
}

/// What a run over a file came to.
#[derive(Debug)]
pub struct BookRun {
    /// The books at its end.
    pub books: Books,
    /// Messages of the file.
    pub messages: u64,
    /// Changes of a best bid or offer.
    pub changes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Runs over the messages of `itch`, each behind its length; `report` gets every change.
pub fn run(itch: &[u8], report: impl FnMut(&Change)) -> BookRun {
    let start = Instant::now();
    let mut sink = BookSink {
        books: Books::new(),
        changes: 0,
        report,
    };
    let mut messages = 0;
    let mut rest = itch;
    while let [high, low, behind @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((message, behind)) = behind.split_at_checked(length) else {
            break;
        };
        translate(1, message, &mut sink);
        messages += 1;
        rest = behind;
    }
    BookRun {
        messages,
        changes: sink.changes,
        elapsed: start.elapsed(),
        books: sink.books,
    }
}

struct BookSink<R> {
    books: Books,
    changes: u64,
    report: R,
}

impl<R: FnMut(&Change)> EventSink for BookSink<R> {
    #[inline]
    fn push<M: Message>(&mut self, message: &M) {
        if let Some(change) = self.books.apply_message(message) {
            self.changes += 1;
            (self.report)(&change);
        }
    }

    fn push_frame(&mut self, frame: &Frame<'_>) {
        self.books.apply(frame);
    }

    fn end_event(&mut self, _source: u16, _position: u64) {}
}
