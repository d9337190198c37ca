//! The service's side: [`ServerSession`] is one client of it, [`Service`] the sockets around many.

mod answer;
mod connection;
mod limits;
mod service;
mod session;
mod stats;

pub use limits::{Limits, Quota};
pub use service::{Service, ServiceConfig, ServiceError, StopHandle};
pub use session::{Output, ServerSession};
pub use stats::{Counters, Stats};
