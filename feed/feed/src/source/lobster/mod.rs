//! LOBSTER message files: comma-separated rows of one instrument's order flow, with or without a header, plain or gzip.
//!
//! A row names its order's price and side each time; our messages do so once. So the live orders are kept, and where a
//! row tells of an order what the stream has not said (it entered before the file begins, or was told otherwise), an
//! [`UnseenOrder`] stands before it. With that nothing of a file is lost: `twinline decode --format lobster` gives its
//! numbers back. A position counts rows.

mod row;

use super::file::{self, Progress, Reader};
use super::pace::{Pace, Pacer};
use super::{EventSink, Source, SourceError, SourceState, TypeCount};
use row::{Order, Row, What};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use twinline_wire::field::{EventFlags, ModifyAction, Optional, Price, Side, Text, TradeKind};
use twinline_wire::{U16, U32, U64, market};

/// Units of our prices in one of LOBSTER's, which have four decimals.
const PRICE_UNIT: i64 = 100_000;
/// Bytes of a line that are believed; a row has some sixty.
const MAX_LINE: u64 = 1024;
/// The number of the one instrument, within its source.
const INSTRUMENT: u32 = 1;
/// Letters of a symbol.
const SYMBOL: usize = 16;

const LAST: EventFlags = EventFlags::END_OF_EVENT;
const LAST_PRINTABLE: EventFlags = EventFlags(EventFlags::END_OF_EVENT.0 | EventFlags::PRINTABLE.0);

/// Rows by type, as LOBSTER's documentation calls them.
const KINDS: [&str; 7] = [
    "1 new order",
    "2 partial cancel",
    "3 delete",
    "4 execution",
    "5 hidden execution",
    "6 cross trade",
    "7 trading halt",
];

/// A LOBSTER message file.
pub struct LobsterFile {
    path: PathBuf,
    source: u16,
    symbol: Text<SYMBOL>,
    rows: Rows,
    /// The row that comes next, if it is read already.
    next: Option<Row>,
    /// What is left of each order that the file lets enter.
    live: HashMap<u64, Order>,
    pacer: Pacer,
    position: u64,
    ended: bool,
    /// By type: rows, and the position of the first.
    counts: [(u64, u64); KINDS.len()],
}

impl LobsterFile {
    /// Opens a file, as source number `source`, of the instrument `symbol`; without one its name is the beginning of the
    /// file's name, as LOBSTER names its files (`AAPL_2012-06-21_...`). Whether it is compressed its first bytes say.
    ///
    /// # Errors
    /// If it cannot be opened or read, or is empty.
    pub fn open(path: &Path, source: u16, symbol: Option<&str>, pace: Pace) -> Result<Self, SourceError> {
        let (reader, progress) = file::open(path)?;
        let symbol = symbol.map_or_else(|| symbol_of(path), Into::into);
        Ok(Self {
            path: path.into(),
            source,
            symbol: Text::new(symbol.as_bytes()),
            rows: Rows::new(reader, progress),
            next: None,
            live: HashMap::new(),
            pacer: Pacer::new(pace),
            position: 0,
            ended: false,
            counts: Default::default(),
        })
    }

    /// True if the file reads as a LOBSTER message file: its first line is a header or a row.
    ///
    /// # Errors
    /// If it cannot be opened or read, or is empty.
    pub fn is_one(path: &Path) -> Result<bool, SourceError> {
        let (reader, progress) = file::open(path)?;
        let mut rows = Rows::new(reader, progress);
        Ok(matches!(rows.next(), Ok(Some(_))))
    }

    /// Reads the next row unless it is there already; `None` at the end.
    fn ready(&mut self) -> Result<Option<Row>, SourceError> {
        if self.next.is_none() {
            let next = self.rows.next();
            self.next = next.map_err(|reason| SourceError::Malformed {
                path: self.path.clone(),
                line: self.rows.line,
                reason,
                messages: self.position,
            })?;
        }
        Ok(self.next)
    }

    /// Done with the row that was ready.
    fn advance(&mut self) {
        self.next = None;
        self.position += 1;
    }

    /// What the row does to the live orders. Returns the order as the stream must say it before the row, if it has not.
    fn follow(&mut self, what: &What) -> Option<Order> {
        let order = match what {
            What::Add(order) => {
                self.live.insert(order.id, *order);
                return None;
            }
            What::Reduce(order) | What::Delete(order) | What::Execute(order) => order,
            What::Hidden(_) | What::Cross { .. } | What::Status(_) => return None,
        };
        let gone = matches!(what, What::Delete(_));
        let known = self.live.get_mut(&order.id);
        let said = known.as_ref().is_some_and(|known| {
            (known.price, known.side) == (order.price, order.side) && (!gone || known.size == order.size)
        });
        if let Some(known) = known {
            known.size = known.size.saturating_sub(order.size);
            if gone || known.size == 0 {
                self.live.remove(&order.id);
            }
        }
        (!said).then_some(*order)
    }

    fn say(&mut self, row: &Row, sink: &mut impl EventSink) {
        let instrument = U32::new(u32::from(self.source) << 16 | INSTRUMENT);
        let time = U64::new(row.time);
        if self.position == 0 {
            sink.push(&self.definition(time, instrument));
        }
        if let Some(order) = self.follow(&row.what) {
            sink.push(&market::UnseenOrder {
                source_time: time,
                order_id: U64::new(order.id),
                price: order.price,
                quantity: U32::new(order.size),
                instrument,
                side: order.side,
                flags: EventFlags::default(),
            });
        }
        push(time, instrument, &row.what, sink);
    }

    fn definition(&self, time: U64, instrument: U32) -> market::InstrumentDefinition {
        market::InstrumentDefinition {
            source_time: time,
            instrument,
            symbol: self.symbol,
            lot_size: Optional::NONE,
            price_increment: Optional::NONE,
            source: U16::new(self.source),
            market: Text::default(),
            class: Text::default(),
            flags: EventFlags::default(),
        }
    }
}

/// Puts the message that a row is into `sink`, marked as the last of its event.
fn push(time: U64, instrument: U32, what: &What, sink: &mut impl EventSink) {
    match what {
        What::Add(order) => sink.push(&market::AddOrder {
            source_time: time,
            order_id: U64::new(order.id),
            price: order.price,
            quantity: U32::new(order.size),
            instrument,
            participant: Text::default(),
            side: order.side,
            flags: LAST,
        }),
        What::Reduce(order) => sink.push(&market::ModifyOrder {
            source_time: time,
            order_id: U64::new(order.id),
            quantity: U32::new(order.size),
            instrument,
            action: ModifyAction::REDUCE_BY,
            flags: LAST,
        }),
        What::Delete(order) => sink.push(&market::DeleteOrder {
            source_time: time,
            order_id: U64::new(order.id),
            instrument,
            flags: LAST,
        }),
        // The file numbers no matches.
        What::Execute(order) => sink.push(&market::ExecuteOrder {
            source_time: time,
            order_id: U64::new(order.id),
            match_id: U64::new(0),
            price: Optional::NONE,
            quantity: U32::new(order.size),
            instrument,
            flags: LAST_PRINTABLE,
        }),
        // What the file calls the order is all the number that a hidden execution has.
        What::Hidden(order) => sink.push(&trade(
            (time, instrument),
            TradeKind::NON_DISPLAYED,
            order.id,
            u64::from(order.size),
            order.price,
            order.side,
        )),
        What::Cross { size, price, side } => {
            sink.push(&trade(
                (time, instrument),
                TradeKind::OTHER_CROSS,
                0,
                *size,
                *price,
                *side,
            ));
        }
        What::Status(status) => sink.push(&market::TradingStatus {
            source_time: time,
            instrument,
            status: *status,
            reason: Text::default(),
            flags: LAST,
        }),
    }
}

fn trade(
    (source_time, instrument): (U64, U32),
    kind: TradeKind,
    id: u64,
    quantity: u64,
    price: Price,
    side: Side,
) -> market::Trade {
    market::Trade {
        source_time,
        match_id: U64::new(id),
        price,
        quantity: U64::new(quantity),
        instrument,
        side,
        kind,
        flags: LAST_PRINTABLE,
    }
}

impl Source for LobsterFile {
    fn id(&self) -> u16 {
        self.source
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn resume(&mut self, position: u64) -> Result<(), SourceError> {
        while self.position < position {
            let Some(row) = self.ready()? else {
                return Err(SourceError::Short {
                    name: self.path.display().to_string(),
                    messages: self.position,
                    position,
                });
            };
            self.follow(&row.what);
            self.advance();
        }
        Ok(())
    }

    fn poll(&mut self, now: u64, sink: &mut impl EventSink) -> Result<SourceState, SourceError> {
        if self.ended {
            return Ok(SourceState::End);
        }
        let row = match self.ready() {
            Ok(Some(row)) => row,
            Ok(None) => {
                self.ended = true;
                return Ok(SourceState::End);
            }
            Err(error) => {
                self.ended = true;
                return Err(error);
            }
        };
        let due = self.pacer.due(now, row.time);
        if due > now {
            return Ok(SourceState::Idle { until: due });
        }
        self.pacer.count();
        let (rows, first) = &mut self.counts[row.what.index()];
        if *rows == 0 {
            *first = self.position;
        }
        *rows += 1;
        self.say(&row, sink);
        self.advance();
        sink.end_event(self.source, self.position);
        Ok(SourceState::Ready)
    }

    fn counts(&self) -> Vec<TypeCount> {
        super::published(&KINDS, &self.counts)
    }

    fn progress(&self) -> Option<f64> {
        self.rows.progress.share()
    }
}

/// Cuts the file into rows.
struct Rows {
    reader: BufReader<Reader>,
    progress: Progress,
    buffer: Vec<u8>,
    /// Lines read, the one that is being read included.
    line: u64,
}

impl Rows {
    fn new(reader: Reader, progress: Progress) -> Self {
        Self {
            reader: BufReader::with_capacity(64 << 10, reader),
            progress,
            buffer: Vec::with_capacity(MAX_LINE as usize),
            line: 0,
        }
    }

    /// The next row; `None` at the end. The error says what is wrong with the line of number [`line`](Self::line).
    fn next(&mut self) -> Result<Option<Row>, String> {
        loop {
            self.line += 1;
            self.buffer.clear();
            let mut limited = (&mut self.reader).take(MAX_LINE);
            match limited.read_until(b'\n', &mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) => return Err(explain(&error)),
            }
            if self.buffer.len() as u64 == MAX_LINE && !self.buffer.ends_with(b"\n") {
                return Err(format!("it is longer than {MAX_LINE} bytes: no row is"));
            }
            let line = self.buffer.trim_ascii();
            let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
            let header = self.line == 1 && line.first().is_some_and(u8::is_ascii_alphabetic);
            if !header && !line.is_empty() {
                return row::parse(line).map(Some);
            }
        }
    }
}

fn explain(error: &io::Error) -> String {
    format!("nothing can be read from here on: {}", file::explain(error))
}

/// What the file's name begins with, in capitals.
fn symbol_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let symbol: String = name
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .take(SYMBOL)
        .collect();
    symbol.to_ascii_uppercase()
}

#[cfg(test)]
mod tests;
