//! The epoch store: who may publish which sequences of a channel.
//!
//! One small JSON file, shared by all publishers of a host (or of several, on a shared file system with locks), holds per
//! channel the session, its epochs, how far sequences are reserved and who holds it. Whoever starts, restarts or takes
//! over acquires the next epoch here, durably, before the first packet. [`decide`] is the rule itself, without I/O.

mod decide;
mod store;
#[cfg(test)]
mod tests;

pub use decide::{
    ChannelRecord, Cut, EpochRecord, Grant, Holder, Refusal, Request, decide, end_session, extend,
};
pub use store::{EpochError, EpochStore};
