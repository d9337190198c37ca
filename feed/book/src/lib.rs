//! What the messages of a channel add up to: order books, order by order, and snapshots of them.
//!
//! [`Books`] holds the state of all instruments; a message goes in, a change of the best bid or offer comes out.
//!
//! Below it, from the bottom: `table` (finds an order by its number), `store` (orders and levels in pools), `ladder` (one
//! side's prices in order), `book` (one instrument).

mod book;
mod books;
mod ladder;
mod store;
mod table;

pub use book::{Best, Book, BookOrder, Change, Depth, Quote, Tallies, Traded};
pub use books::{Books, SourceState};
