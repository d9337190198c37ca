//! What a program on a listener's host links: the channel's stream as it comes, with order books, and nothing missing that
//! is not named.
//!
//! A [`Reader`] attaches to the listener's shared-memory ring, or opens a journal; both give the same events, so a program that
//! was tested over a recorded journal runs unchanged. Messages come once and in order, with [notices](Notice) between them
//! that say what happened to the stream.
//!
//! ```no_run
//! use std::path::Path;
//! use twinline_reader::{Event, Instruments, Market, Options, Reader};
//!
//! let options = Options {
//!     name: "example".into(),
//!     instruments: Instruments::these(["AAPL"]),
//!     books: Instruments::these(["AAPL"]),
//!     ..Options::default()
//! };
//! let mut reader = Reader::attach(Path::new("/dev/shm/twinline"), 1, options)?;
//! while let Some(event) = reader.next()? {
//!     match event {
//!         Event::Message(message) => {
//!             if let Market::Trade(trade) = message.market() {
//!                 println!("{} {} at {}", message.sequence, trade.quantity, trade.price);
//!             }
//!             if let Some(change) = message.change {
//!                 println!("best: {:?}", change.best);
//!             }
//!         }
//!         Event::Notice(notice) => println!("{:?}", notice.kind),
//!     }
//! }
//! # Ok::<(), twinline_reader::ReadError>(())
//! ```
//!
//! No sockets, no threads, no async runtime: one reader belongs to one thread, and [`Reader::poll`] makes no system call as
//! long as there is something to read. `docs/reader.md` says what each thing costs.
//!
//! From the bottom: `source` (joins ring and journal to one stream), `snapshots` (where to begin), `symbols`, `filter` and
//! `books` (what follows from the stream), `batch` (whole events), `steps` (one after the other), `reader` (the outside).

#![forbid(unsafe_code)]

mod batch;
mod books;
mod error;
mod event;
mod filter;
mod market;
mod options;
mod position;
mod reader;
pub mod snapshots;
mod source;
mod steps;
mod symbols;

/// The guide's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/reader.md")]
struct Guide;

pub use batch::{Batch, Messages, MessagesIter};
pub use books::{Book, Stale};
pub use error::ReadError;
pub use event::{Event, Message, Missed, Notice, NoticeKind, WriterState};
pub use market::Market;
pub use options::{Instrument, Instruments, Options, Overrun, Start, Wait};
pub use position::{Position, PositionError};
pub use reader::Reader;
pub use symbols::Symbols;
/// Order books, as [`Book`] shows them.
pub use twinline_book as book;
pub use twinline_ring::{Origin, Progress, RingError};
/// The messages, field by field.
pub use twinline_wire as wire;
