//! The service's side: [`ServerSession`] is one client of it, [`Service`] the sockets around many.

mod answer;
mod connection;
mod dialogue;
mod follow;
mod limits;
mod output;
mod requests;
mod service;
mod session;
pub mod snapshot;
mod stats;
mod store;
mod tail;
mod tails;

pub use limits::{Limits, Quota};
pub use output::Output;
pub use service::{Service, ServiceConfig, ServiceError, StopHandle};
pub use session::ServerSession;
pub use snapshot::SnapshotConfig;
pub use stats::{Counters, Stats};
pub use store::Store;
pub use tails::{TailStatus, Tails};
