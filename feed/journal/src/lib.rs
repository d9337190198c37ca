//! The packet journal and the epoch store: what a publisher, a replica or a listener must not forget.
//!
//! The journal is a directory of memory-mapped segments of packets, back to back, each at a 64-byte boundary.
//! One [`JournalWriter`] appends; any number of [`JournalReader`]s, in this process or others, read while it does,
//! without a system call a packet. The [epoch store](epoch) says who may publish which sequences.
//!
//! Below them, from the bottom: `map` (all unsafe code: memory shared with other processes), `files` (names, locks,
//! allocation), `control` and `segment` (the layouts), `chain` (which packet may follow which, pure), `recover` (what a
//! crash left), `discard` (cutting a void tail), `prepare` and `sync` (the next segment, retention and durability, beside
//! the writer), `seek` (finding a place).

mod chain;
mod config;
mod control;
mod discard;
pub mod epoch;
mod error;
pub mod failpoint;
mod files;
mod inspect;
mod map;
mod prepare;
mod reader;
mod recover;
mod region;
mod seek;
mod segment;
mod sync;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod watch;
mod writer;

pub use chain::after_notice;
pub use config::{JournalConfig, Prepare, Recovery, Retention, SyncPolicy, Tail};
pub use control::Location;
pub use error::JournalError;
pub use inspect::{Break, Info, SessionInfo, VerifyReport, info, verify};
pub use reader::JournalReader;
pub use region::Region;
pub use seek::{Head, Seek, SessionSpan};
pub use watch::{JournalCounts, JournalWatch};
pub use writer::JournalWriter;
