//! What a gap policy is told, what it asks for, and what it counts.

use super::MAX_RANGES;
use crate::arbiter::ranges::Span;
use twinline_wire::field::RejectCode;

/// Settings of a [`GapPolicy`]. Times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct GapConfig {
    /// Recovery services configured (at most [`MAX_SERVICES`]). With none, a gap is lost once it is due.
    pub services: usize,
    /// A gap younger than this is not asked for, unless both lines have passed it; nor is one that a line may still bring, because
    /// it had something each time since.
    pub reorder: u64,
    /// A request that brings nothing for this long is given to another service.
    pub slow: u64,
    /// A gap that nobody fills for this long is lost.
    pub timeout: u64,
}

impl Default for GapConfig {
    fn default() -> Self {
        Self {
            services: 0,
            reorder: 2_000_000,
            slow: 250_000_000,
            timeout: 10_000_000_000,
        }
    }
}

/// Ranges to ask a service for.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// The request's number.
    pub id: u32,
    /// Which service.
    pub service: usize,
    /// The session that the ranges are of.
    pub session: u32,
    pub(super) ranges: [Span; MAX_RANGES],
    pub(super) count: usize,
}

impl Request {
    /// The ranges, in order.
    pub fn ranges(&self) -> &[Span] {
        &self.ranges[..self.count]
    }
}

/// A part of a request that a service refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which part.
    pub span: Span,
    /// Why.
    pub code: RejectCode,
    /// When to ask again, in nanoseconds; 0: asking again is of no use.
    pub retry_after: u64,
    /// Where the service holds nothing of the session: the next higher one of which it holds something.
    pub next_session: Option<u32>,
}

/// Counters of a [`GapPolicy`].
#[derive(Clone, Copy, Debug, Default)]
pub struct GapStats {
    /// Gaps seen.
    pub opened: u64,
    /// Gaps that a service was asked for, each once.
    pub asked: u64,
    /// Gaps that closed before they were asked for: the other line or a late packet filled them.
    pub closed_by_lines: u64,
    /// Gaps that closed after they were asked for; neither lost nor withdrawn.
    pub filled: u64,
    /// Gaps declared lost.
    pub lost: u64,
    /// Gaps that only heartbeats spoke of and that were taken back.
    pub withdrawn: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests that another service was asked for because the first was slow.
    pub slow: u64,
}
