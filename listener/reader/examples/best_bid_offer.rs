//! Prints every change of a best bid or offer: the smallest program that keeps order books.
//!
//! ```sh
//! cargo run --example best_bid_offer -- /dev/shm/twinline 1 AAPL MSFT     # a listener's ring, channel 1
//! cargo run --example best_bid_offer -- /var/lib/twinline/listener AAPL   # a recorded journal
//! ```
//!
//! What it shows: the same loop runs over a ring and over a recorded journal; batches end where a source event does, so no
//! state is printed that the venue never showed; `changes` says what changed, so nothing is compared or looked up; and whether
//! a book can be trusted is asked of the book itself.

use std::env;
use std::path::Path;
use twinline_reader::book::Quote;
use twinline_reader::{Batch, Instruments, Options, Reader};

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let mut arguments = env::args().skip(1).peekable();
    let place = arguments
        .next()
        .ok_or("usage: best_bid_offer RING-DIRECTORY CHANNEL [SYMBOL...] or JOURNAL [SYMBOL...]")?;
    // A number behind the directory is a channel: a ring, then.
    let channel = arguments.peek().and_then(|argument| argument.parse::<u16>().ok());
    if channel.is_some() {
        arguments.next();
    }
    let symbols: Vec<String> = arguments.collect();
    let books = match symbols.is_empty() {
        true => Instruments::All,
        false => Instruments::these(symbols),
    };
    let options = Options {
        name: "best_bid_offer".into(),
        instruments: books.clone(),
        books,
        ..Options::default()
    };
    let mut reader = match channel {
        Some(channel) => Reader::attach(Path::new(&place), channel, options)?,
        None => Reader::open_journal(Path::new(&place), options)?,
    };
    println!("sequence,symbol,bid_quantity,bid,offer,offer_quantity,trusted");
    // Of a recorded journal this ends with the journal; with a ring it waits for ever.
    while let Some(batch) = reader.next_batch()? {
        match batch {
            Batch::Messages(messages) => {
                for (sequence, change) in messages.changes() {
                    let symbol = messages.symbol(change.instrument).unwrap_or("?");
                    let trusted = messages
                        .book(change.instrument)
                        .is_some_and(|book| book.is_valid() && !book.is_stale());
                    let (bid, bid_quantity) = columns(change.best.bid);
                    let (offer, offer_quantity) = columns(change.best.offer);
                    println!("{sequence},{symbol},{bid_quantity},{bid},{offer},{offer_quantity},{trusted}");
                }
            }
            // What happened to the stream itself: losses, silent lines, a listener that went.
            Batch::Notice(notice) => eprintln!("{}: {:?}", notice.position, notice.kind),
        }
    }
    Ok(())
}

/// A side's price and quantity, or nothing.
fn columns(quote: Option<Quote>) -> (String, String) {
    quote.map_or_else(Default::default, |quote| {
        (quote.price.to_string(), quote.quantity.to_string())
    })
}
