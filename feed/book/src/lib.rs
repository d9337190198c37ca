//! What the messages of a channel add up to: order books, order by order, and snapshots of them.
//!
//! [`Books`] holds the state of all instruments; a message goes in, a change of the best bid or offer comes out. A
//! [`Follower`] applies a whole stream to them, with its notices, epochs and sessions. A [`snapshot`] is the state at a
//! sequence, as bytes or as a file; only [`snapshot::file`] does any I/O here.
//!
//! Below them, from the bottom: `table` (finds an order by its number), `store` (orders and levels in pools), `ladder` (one
//! side's prices in order), `book` (one instrument).

#![forbid(unsafe_code)]

mod book;
mod books;
mod follower;
mod ladder;
mod query;
pub mod snapshot;
mod store;
mod table;

pub use book::{Best, Book, BookOrder, Change, Depth, Quote, Tallies, Traded};
pub use books::{Books, SourceState};
pub use follower::{Cause, Follower, ReplaceError, Told, Wanted};
pub use snapshot::{Place, Snapshot, SnapshotError};
