//! Builds bars: open, high, low, close and volume of each instrument in each period of the source's own time.
//!
//! ```sh
//! cargo run --example bars -- 60 /dev/shm/twinline 1          # a minute each, from a listener's ring, channel 1
//! cargo run --example bars -- 1 /var/lib/twinline/listener    # a second each, over a recorded journal
//! ```
//!
//! What it shows: typed messages; a filter by template, so that only what makes a bar is delivered; and a position that is saved
//! when the program ends and given to the next run (`bars.position`), which goes on exactly where this one stopped. An
//! execution's price stands in the order's book unless the message names one, so the books are kept; they are not delivered.

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs};
use twinline_reader::wire::market::{ExecuteOrder, PriceTick, Trade};
use twinline_reader::wire::{EventFlags, Message as _, Price};
use twinline_reader::{Event, Instruments, Market, Message, Options, Position, Reader, Start};

/// Where the last run stopped.
const SAVED: &str = "bars.position";

type Failed = Box<dyn std::error::Error>;

/// What was traded of an instrument in a period.
#[derive(Clone, Copy)]
struct Bar {
    period: u64,
    open: Price,
    high: Price,
    low: Price,
    close: Price,
    volume: u64,
}

impl Bar {
    fn new(period: u64, price: Price) -> Self {
        Self {
            period,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: 0,
        }
    }

    fn trade(&mut self, price: Price, quantity: u64) {
        if price.mantissa() > self.high.mantissa() {
            self.high = price;
        }
        if price.mantissa() < self.low.mantissa() {
            self.low = price;
        }
        self.close = price;
        self.volume = self.volume.saturating_add(quantity);
    }

    fn print(&self, symbol: &str, seconds: u64) {
        let Self {
            open,
            high,
            low,
            close,
            volume,
            ..
        } = self;
        println!(
            "{},{symbol},{open},{high},{low},{close},{volume}",
            self.period * seconds
        );
    }
}

/// Source time in nanoseconds, price and quantity of what was traded, if this message says so.
fn traded(message: &Message<'_>) -> Option<(u64, Price, u64)> {
    match message.market() {
        Market::Trade(trade) => Some((trade.source_time.get(), trade.price, trade.quantity.get())),
        Market::PriceTick(tick) => {
            let quantity = tick.quantity.get().map_or(0, |quantity| quantity.get());
            Some((tick.source_time.get(), tick.price, quantity))
        }
        Market::ExecuteOrder(execution) if execution.flags.0 & EventFlags::PRINTABLE.0 != 0 => {
            // The book has applied it: its last trade is this one.
            let price = message.book()?.last_trade()?.price;
            Some((
                execution.source_time.get(),
                price,
                execution.quantity.get().into(),
            ))
        }
        _ => None,
    }
}

fn main() -> Result<(), Failed> {
    let usage = "usage: bars SECONDS RING-DIRECTORY CHANNEL or bars SECONDS JOURNAL";
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [seconds, place, channel @ ..] = &arguments[..] else {
        return Err(usage.into());
    };
    let seconds: u64 = seconds.parse().ok().filter(|seconds| *seconds > 0).ok_or(usage)?;
    let start = match fs::read_to_string(SAVED) {
        Ok(saved) => Start::At(saved.parse::<Position>()?),
        Err(_) => Start::Oldest,
    };
    let options = Options {
        name: "bars".into(),
        start,
        templates: Some(vec![Trade::TEMPLATE, PriceTick::TEMPLATE, ExecuteOrder::TEMPLATE]),
        books: Instruments::All,
        ..Options::default()
    };
    let mut reader = match channel {
        [channel] => Reader::attach(Path::new(place), channel.parse()?, options)?,
        _ => Reader::open_journal(Path::new(place), options)?,
    };
    println!("source_second,symbol,open,high,low,close,volume");
    let mut bars = BTreeMap::<u32, Bar>::new();
    while let Some(event) = reader.next()? {
        let message = match event {
            Event::Message(message) => message,
            Event::Notice(notice) => {
                eprintln!("{}: {:?}", notice.position, notice.kind);
                continue;
            }
        };
        let (Some(instrument), Some((time, price, quantity))) = (message.instrument(), traded(&message))
        else {
            continue;
        };
        let period = time / 1_000_000_000 / seconds;
        let bar = bars.entry(instrument).or_insert_with(|| Bar::new(period, price));
        if bar.period != period {
            bar.print(message.symbol().unwrap_or("?"), seconds);
            *bar = Bar::new(period, price);
        }
        bar.trade(price, quantity);
    }
    // Only a recorded journal ends: the last bars, and where the next run goes on.
    for (instrument, bar) in &bars {
        bar.print(reader.symbols().symbol(*instrument).unwrap_or("?"), seconds);
    }
    fs::write(SAVED, reader.position().to_string())?;
    eprintln!("saved position {} in {SAVED}", reader.position());
    Ok(())
}
