//! Every change of a best bid or offer, one a line.

use crate::decode::went_on;
use crate::exit::Failure;
use clap::ValueEnum;
use serde_json::json;
use std::io::{self, BufWriter, Write};
use twinline_book::{Book, Change, Quote};

/// How changes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Comma-separated values under a head line; a side that is empty has empty fields.
    Csv,
    /// One JSON object a line; a side that is empty is null.
    Jsonl,
}

/// Writes changes to stdout.
pub(super) struct Changes {
    out: BufWriter<io::Stdout>,
    format: Format,
    /// The first error, or that nobody reads any more.
    ended: Option<io::Error>,
}

impl Changes {
    pub(super) fn new(format: Format) -> Self {
        let mut changes = Self {
            out: BufWriter::with_capacity(1 << 16, io::stdout()),
            format,
            ended: None,
        };
        if format == Format::Csv {
            changes.put(
                "sequence,source_time,symbol,bid_price,bid_quantity,ask_price,ask_quantity,instrument,channel\n",
            );
        }
        changes
    }

    fn put(&mut self, text: &str) {
        if self.ended.is_none() {
            self.ended = self.out.write_all(text.as_bytes()).err();
        }
    }

    /// False once nobody reads them.
    pub(super) fn is_wanted(&mut self) -> bool {
        self.ended.is_none()
    }

    /// Writes a change of `book`.
    pub(super) fn write(&mut self, sequence: u64, change: &Change, book: &Book<'_>, channel: u16) {
        let (bid, ask) = (change.best.bid, change.best.offer);
        let (time, instrument, symbol) = (change.source_time, change.instrument, book.symbol());
        let text = match self.format {
            Format::Csv => format!(
                "{sequence},{time},{symbol},{},{},{instrument},{channel}\n",
                columns(bid),
                columns(ask)
            ),
            Format::Jsonl => {
                let object = json!({
                    "sequence": sequence,
                    "source_time": time,
                    "symbol": symbol,
                    "bid": quote(bid),
                    "ask": quote(ask),
                    "instrument": instrument,
                    "channel": channel,
                });
                format!("{object}\n")
            }
        };
        self.put(&text);
    }

    /// Everything is written. A reader that went away is no error.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let done = match self.ended.take() {
            Some(error) => Err(error),
            None => self.out.flush(),
        };
        went_on(done).map(|_| ())
    }
}

/// Price and quantity, or nothing, with the comma between.
fn columns(quote: Option<Quote>) -> String {
    quote.map_or(",".into(), |quote| format!("{},{}", quote.price, quote.quantity))
}

/// A quote as JSON; the price as text, as a number would lose digits.
pub(super) fn quote(quote: Option<Quote>) -> serde_json::Value {
    quote.map_or(
        serde_json::Value::Null,
        |quote| json!({ "price": quote.price.to_string(), "quantity": quote.quantity }),
    )
}
