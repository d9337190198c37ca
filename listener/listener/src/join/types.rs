//! What the policy for states is set to, what it asks for, and what it counts.

use twinline_journal::Retention;
use twinline_wire::field::RejectCode;

/// Settings of a [`StatePolicy`](super::StatePolicy). Times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct StateConfig {
    /// Recovery services configured. With none, no state is asked for.
    pub services: usize,
    /// Delivery waits so long for a state; twice as long each time that one came too late, half as long each time that the
    /// service failed.
    pub hold: u64,
    /// A service that sends nothing of a state for so long is given up.
    pub slow: u64,
    /// A service that could not give one is asked again after this; twice as long each time.
    pub retry: u64,
    /// A new state is asked for when so many bytes were written since the last one: the own journal will not keep more
    /// than twice as many.
    pub refresh_bytes: Option<u64>,
    /// The same by time.
    pub refresh_age: Option<u64>,
}

impl StateConfig {
    /// The defaults for so many services, and an own journal that keeps so much.
    pub fn new(services: usize, retention: &Retention, segment_size: usize) -> Self {
        let segments = retention.segments.map(|count| count as u64 * segment_size as u64);
        let kept = [segments, retention.bytes].into_iter().flatten().min();
        let age = retention
            .age
            .map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
        Self {
            services,
            hold: 5_000_000_000,
            slow: 3_000_000_000,
            retry: 100_000_000,
            refresh_bytes: kept.map(|bytes| bytes / 2),
            refresh_age: age.map(|age| age / 2),
        }
    }
}

/// A connection that a state is to come over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateConnect {
    /// The request's number.
    pub id: u32,
    /// Which service.
    pub service: usize,
}

/// A state to ask for, over the connection of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRequest {
    /// The request's number.
    pub id: u32,
    /// The session.
    pub session: u32,
    /// It must hold all valid messages below this; 0: the newest that there is.
    pub at_least: u64,
}

/// Why a state did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateFailure {
    /// The service refused it; `retry_after` in nanoseconds, 0: asking it again is of no use.
    Refused {
        /// Why.
        code: RejectCode,
        /// When to ask again.
        retry_after: u64,
    },
    /// No connection, or it broke.
    Unreachable,
    /// What came is no snapshot, or could not be written.
    Unusable,
}

/// Counters of a [`StatePolicy`](super::StatePolicy).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateStats {
    /// States asked for.
    pub requests: u64,
    /// States that came.
    pub fetched: u64,
    /// States that came when delivery had gone beyond them, or that were of something void.
    pub late: u64,
    /// Requests that failed.
    pub failed: u64,
    /// States asked for only because the own journal will not keep what follows the last one.
    pub refreshes: u64,
    /// Times that no service had a state to begin with.
    pub begun_without: u64,
}
