//! The TCP recovery service and its client: what both lines lost is fetched again from a publisher's journal.
//!
//! Both ends are state machines without I/O: [`ServerSession`] is one client as the service sees it, and
//! [`ClientSession`] one service as a client sees it. Bytes and the time (nanoseconds of any clock that only grows) go
//! in, bytes and events come out, so a simulator drives the very code that runs in production. [`Service`] and
//! [`RecoveryClient`] are the thin shells around them: sockets and a clock.
//!
//! Ranges, tails and, where they are switched on, [snapshots](server::snapshot) are served.

mod buffer;
pub mod client;
pub mod follow;
mod mark;
#[cfg_attr(not(feature = "planted-bugs"), doc(hidden))]
pub mod planted;
pub mod replica;
pub mod server;

pub use client::{ClientConfig, ClientError, ClientEvent, ClientSession, RecoveryClient};
pub use mark::{Mark, SharedMark};
pub use server::{Limits, ServerSession, Service, ServiceConfig, ServiceError, SnapshotConfig, Stats};
pub use twinline_wire::recovery::Range;

/// Bytes that a client's name may have.
pub const MAX_NAME_LEN: usize = 64;
/// Bytes that a client's token may have.
pub const MAX_TOKEN_LEN: usize = 8192;

/// `duration` in nanoseconds, as the state machines count.
fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `begin..end` as it stands on the wire.
pub fn range(begin: u64, end: u64) -> Range {
    Range {
        begin: begin.into(),
        end: end.into(),
    }
}
