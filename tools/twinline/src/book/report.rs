//! What is shown of the books at the end: a table, levels, and the summary for machines.

use super::BookArgs;
use super::changes::quote;
use super::follow::Followed;
use crate::summary::{Position, Summary};
use crate::units::show_count;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};
use std::fmt::Write;
use twinline_book::{Book, Quote};
use twinline_wire::Side;

/// Puts everything into the summary.
pub(super) fn fill(summary: &mut Summary, all: &[Followed], args: &BookArgs) {
    let mut channels = Vec::new();
    let mut totals = Totals::default();
    for followed in all {
        summary.messages += followed.messages;
        summary.packets += followed.packets;
        summary.bytes += followed.bytes;
        let books = followed.follower.books();
        let shown: Vec<_> = books
            .sorted()
            .into_iter()
            .filter(|book| args.takes(book))
            .collect();
        shown.iter().for_each(|book| totals.add(book));
        channels.push(json!({
            "position": position(followed),
            "valid": books.is_valid(),
            "checksum": hex(books.checksum()),
            "sources": books.sources().iter().map(|source| json!({
                "source": source.source,
                "position": source.position,
                "status": source.status.map(|status| format!("{:?}", status.status)),
            })).collect::<Value>(),
            "instruments": shown.iter().map(|book| instrument(book, args.depth)).collect::<Value>(),
        }));
        // Changes have stdout for themselves.
        if !args.changes {
            summary.own_text += &match args.depth {
                Some(levels) => shown.iter().map(|book| ladder(book, levels)).collect(),
                None => table(&shown),
            };
            summary.own_text += &foot(followed);
        }
    }
    if let [one] = all {
        summary.position = Some(position(one));
    }
    summary.set("channels", channels);
    summary.set("totals", totals.json());
}

fn position(followed: &Followed) -> Position {
    let place = followed.follower.place();
    Position {
        channel: place.channel,
        session: place.session,
        epoch: place.epoch,
        next: place.sequence,
        ended: followed.follower.has_ended(),
    }
}

fn hex(checksum: u64) -> String {
    format!("{checksum:016x}")
}

#[derive(Default)]
struct Totals {
    instruments: u64,
    changes: u64,
    live_orders: u64,
    unseen_orders: u64,
    crossed: u64,
    invalid: u64,
}

impl Totals {
    fn add(&mut self, book: &Book<'_>) {
        self.instruments += 1;
        self.changes += book.tallies().changes;
        self.live_orders += book.live_orders() as u64;
        self.unseen_orders += book.tallies().unseen_orders;
        self.crossed += u64::from(book.best().is_crossed());
        self.invalid += u64::from(!book.is_valid());
    }

    fn json(&self) -> Value {
        json!({
            "instruments": self.instruments,
            "changes": self.changes,
            "live_orders": self.live_orders,
            "unseen_orders": self.unseen_orders,
            "crossed": self.crossed,
            "invalid": self.invalid,
        })
    }
}

/// An instrument for machines.
fn instrument(book: &Book<'_>, depth: Option<usize>) -> Value {
    let (best, tallies, traded) = (book.best(), book.tallies(), book.traded());
    let mut object = json!({
        "instrument": book.instrument(),
        "symbol": book.symbol(),
        "status": book.status().map(|status| format!("{:?}", status.status)),
        "valid": book.is_valid(),
        "bid": quote(best.bid),
        "ask": quote(best.offer),
        "crossed": best.is_crossed(),
        "live_orders": book.live_orders(),
        "changes": tallies.changes,
        "unseen_orders": tallies.unseen_orders,
        "duplicate_orders": tallies.duplicate_orders,
        "zero_quantities": tallies.zero_quantities,
        "over_reductions": tallies.over_reductions,
        "senseless": tallies.senseless,
        "trade_cancels": tallies.trade_cancels,
        "trades": traded.trades,
        "volume": traded.volume,
        "last_trade": book.last_trade().map(|trade| json!({
            "price": trade.price.to_string(),
            "quantity": trade.quantity.get(),
            "source_time": trade.source_time.get(),
        })),
        "last_tick": book.last_tick().map(|tick| json!({
            "price": tick.price.to_string(),
            "source_time": tick.source_time.get(),
        })),
        "checksum": hex(book.checksum()),
    });
    if let Some(depth) = depth {
        let levels = |side| -> Value {
            let levels = book.depth(side).take(depth);
            levels
                .map(|level| json!({"price": level.price.to_string(), "quantity": level.quantity, "orders": level.orders}))
                .collect()
        };
        object["bids"] = levels(Side::BUY);
        object["asks"] = levels(Side::SELL);
    }
    object
}

/// The symbol, or the number of an instrument that was never defined.
fn name(book: &Book<'_>) -> String {
    match book.symbol() {
        "" => book.instrument().to_string(),
        symbol => symbol.into(),
    }
}

fn empty_table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(head);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// One row an instrument.
fn table(books: &[Book<'_>]) -> String {
    let mut table = empty_table(&[
        "symbol",
        "bid quantity",
        "bid",
        "ask",
        "ask quantity",
        "last",
        "orders",
        "unseen",
        "changes",
        "checksum",
    ]);
    for book in books {
        let best = book.best();
        let price = |quote: Option<Quote>| quote.map_or(String::new(), |quote| quote.price.to_string());
        let quantity = |quote: Option<Quote>| quote.map_or(String::new(), |quote| show_count(quote.quantity));
        let traded = book.last_trade().map(|trade| trade.price);
        let last = traded.or(book.last_tick().map(|tick| tick.price));
        table.add_row([
            name(book),
            quantity(best.bid),
            price(best.bid),
            price(best.offer),
            quantity(best.offer),
            last.map_or(String::new(), |price| price.to_string()),
            show_count(book.live_orders() as u64),
            show_count(book.tallies().unseen_orders),
            show_count(book.tallies().changes),
            hex(book.checksum()),
        ]);
    }
    format!("{table}\n")
}

/// The best levels of a book, both sides side by side.
fn ladder(book: &Book<'_>, levels: usize) -> String {
    let side = |side| book.depth(side).take(levels).collect::<Vec<_>>();
    let (bids, asks) = (side(Side::BUY), side(Side::SELL));
    let mut table = empty_table(&["orders", "quantity", "bid", "ask", "quantity", "orders"]);
    for at in 0..bids.len().max(asks.len()) {
        let cells = |level: Option<&twinline_book::Depth>| {
            level.map_or(Default::default(), |level| {
                [
                    level.price.to_string(),
                    show_count(level.quantity),
                    level.orders.to_string(),
                ]
            })
        };
        let mut bid: [String; 3] = cells(bids.get(at));
        bid.reverse();
        table.add_row([bid, cells(asks.get(at))].concat());
    }
    let status = book
        .status()
        .map_or(String::new(), |status| format!(", {:?}", status.status));
    format!("{} ({}{status})\n{table}\n", name(book), book.instrument())
}

/// Where the state stands, and whether it is to be trusted.
fn foot(followed: &Followed) -> String {
    let place = followed.follower.place();
    let books = followed.follower.books();
    let mut text = format!(
        "channel {}, session {}, epoch {}, before sequence {}: {} live orders, checksum {}",
        place.channel,
        place.session,
        place.epoch,
        show_count(place.sequence),
        show_count(books.live_orders() as u64),
        hex(books.checksum())
    );
    let _ = match books.is_valid() {
        true => writeln!(text),
        false => writeln!(text, "; INVALID: messages are missing, see the warnings"),
    };
    text
}
