//! Books at the speed of one thread: an ITCH file in memory, translated as the publisher does and applied to full books,
//! with each change of a best bid or offer reported.

use crate::itch_day;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};
use twinline_book::snapshot::{decode, encode};
use twinline_book::{Books, Change, Place};
use twinline_feed::source::EventSink;
use twinline_feed::source::itch::translate;
use twinline_wire::market::{AddOrder, DeleteOrder};
use twinline_wire::{Frame, Message, Price, Side};

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
    for message in itch_day::messages(itch) {
        translate(1, message, &mut sink);
        messages += 1;
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

/// What a snapshot of so many orders costs.
#[derive(Debug)]
pub struct SnapshotRun {
    /// Its bytes.
    pub bytes: usize,
    /// Encoding it.
    pub encode: Duration,
    /// Reading it back.
    pub decode: Duration,
}

/// Encodes and decodes books with `orders` live orders of 100 instruments, which lie in memory as they came, among holes.
pub fn snapshot(orders: u64) -> SnapshotRun {
    let mut books = Books::new();
    let mut random = 1_u64;
    // Half as many again enter, and every third leaves.
    for id in 0..orders + orders / 2 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let instrument = 65_536 + 1 + (id % 100) as u32;
        let offer = random >> 63 == 1;
        let away = (random >> 40) as i64 % 1000;
        books.apply_message(&AddOrder {
            order_id: id.into(),
            price: Price::new(if offer { 2000 + away } else { 1000 - away }),
            quantity: 100.into(),
            instrument: instrument.into(),
            side: if offer { Side::SELL } else { Side::BUY },
            ..AddOrder::NULL
        });
    }
    for id in (0..orders + orders / 2).step_by(3) {
        books.apply_message(&DeleteOrder {
            order_id: id.into(),
            instrument: (65_536 + 1 + (id % 100) as u32).into(),
            ..DeleteOrder::NULL
        });
    }
    let place = Place {
        channel: 1,
        session: 1,
        epoch: 1,
        epoch_base: 1,
        sequence: 2,
    };
    let start = Instant::now();
    let bytes = encode(&books, &place);
    let encoded = start.elapsed();
    let start = Instant::now();
    let decoded = decode(&bytes);
    let elapsed = start.elapsed();
    assert!(decoded.is_ok(), "what was just written can be read");
    SnapshotRun {
        bytes: bytes.len(),
        encode: encoded,
        decode: elapsed,
    }
}

/// A file of real market data, if this checkout stands beside it.
#[cfg(test)]
pub(crate) fn real(name: &str) -> Option<std::path::PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join("shared/data").join(name))
        .find(|path| path.exists());
    if path.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "in CI the real data must be there"
        );
        eprintln!("skipped: ../shared/data/{name} is not there");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_real_messages_with_replacements_give_the_books_that_others_find() {
        let Some(path) = real("nasdaq-20191230-first-1000.itch50") else {
            return;
        };
        let run = run(&load(&path).expect("it can be read"), |_| {});
        let unseen: u64 = run.books.iter().map(|book| book.tallies().unseen_orders).sum();
        assert_eq!((run.messages, run.changes, unseen), (1000, 384, 399));
        assert_eq!(run.books.live_orders(), 532);
        assert!(run.books.iter().all(|book| !book.best().is_crossed()));
    }

    #[test]
    fn the_real_hour_gives_the_changes_that_others_find() {
        let Some(path) = real("aapl-20120621-0930-1030.itch50.gz") else {
            return;
        };
        let run = run(&load(&path).expect("it can be read"), |_| {});
        assert_eq!((run.messages, run.changes), (92_003, 23_457));
        assert_eq!(run.books.live_orders(), 380);
    }

    #[test]
    fn a_snapshot_is_measured_with_as_many_orders_as_asked_for() {
        let run = snapshot(2000);
        assert!(run.bytes > 2000 * 16, "{run:?}");
    }
}
