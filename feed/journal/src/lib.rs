//! The packet journal and the epoch store: what a publisher, a replica or a listener must not forget.
//!
//! The [journal](writer) is a directory of memory-mapped segments of packets, back to back, each at a 64-byte boundary.
//! One [`JournalWriter`] appends; any number of [`JournalReader`]s, in this process or others, read while it does,
//! without a system call a packet. The [epoch store](epoch) says who may publish which sequences.
//!
//! Below them, from the bottom: `map` (all unsafe code: memory shared with other processes), `files` (names, locks,
//! allocation), `control` and `segment` (the layouts), `chain` (which packet may follow which, pure), `recover` (what a
//! crash left), `prepare` (the next segment, retention and syncing, beside the writer).

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
mod writer;

pub use config::{JournalConfig, Prepare, Recovery, Retention, SyncPolicy, Tail};
pub use error::JournalError;
pub use inspect::{Break, Info, SessionInfo, VerifyReport, info, verify};
pub use reader::{Head, JournalReader, Seek, SessionSpan};
pub use region::Region;
pub use writer::JournalWriter;
