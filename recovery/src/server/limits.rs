//! What a client may ask for, and for how long the service is patient with it.

use crate::{MAX_NAME_LEN, MAX_TOKEN_LEN, Range};
use std::time::Duration;
use twinline_wire::recovery::{Login, RangesRequest};
use twinline_wire::stream::{GroupHeader, STREAM_HEADER_LEN};

/// What one client may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Ranges in a request.
    pub max_ranges: u16,
    /// Requests open at once.
    pub max_requests: u16,
    /// Messages sent for a request before it is answered as partial (a packet is never cut, so a few more can be).
    pub max_messages: u32,
    /// Bytes of packets sent for a request before it is answered as partial (a packet is never cut).
    pub max_bytes: u64,
    /// Bytes of packets in one data frame, at least a packet.
    pub max_data: usize,
    /// Messages a minute that a client is sent; what is asked for beyond that is refused for a while.
    pub messages_per_minute: Option<u32>,
    /// A client that is not logged in after this is cut.
    pub login_timeout: Duration,
    /// A client from which no whole frame came for this long is cut.
    pub idle_timeout: Duration,
    /// A client that does not take a frame from us within this is cut.
    pub slow_timeout: Duration,
    /// A heartbeat is sent after this long without anything else.
    pub heartbeat: Duration,
    /// When to ask again for what is not published yet.
    pub retry_unpublished: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_ranges: 64,
            max_requests: 16,
            max_messages: 1_000_000,
            max_bytes: 256 << 20,
            max_data: 256 << 10,
            messages_per_minute: None,
            login_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            slow_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(1),
            retry_unpublished: Duration::from_millis(20),
        }
    }
}

impl Limits {
    /// Bytes of the largest frame that a client has a reason to send: a login or a request with all ranges allowed.
    /// Longer group entries and blocks of a newer schema version fit too, within reason.
    pub(crate) fn max_frame(&self) -> usize {
        let login = STREAM_HEADER_LEN + size_of::<Login>() + 4 + MAX_NAME_LEN + 4 + MAX_TOKEN_LEN;
        let request = STREAM_HEADER_LEN
            + size_of::<RangesRequest>()
            + size_of::<GroupHeader>()
            + size_of::<Range>() * usize::from(self.max_ranges);
        login.max(request) + 256
    }
}

/// Nanoseconds in a minute.
const MINUTE: u128 = 60_000_000_000;

/// An allowance of messages a minute that fills up steadily, up to a minute's worth.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    /// Messages a minute; `None`: no limit.
    rate: Option<u32>,
    /// What is left, in messages times [`MINUTE`].
    credit: u128,
    filled_at: u64,
}

impl Quota {
    /// A full allowance of so many messages a minute; `None`: no limit.
    pub fn new(messages_per_minute: Option<u32>, now: u64) -> Self {
        Self {
            rate: messages_per_minute,
            credit: u128::from(messages_per_minute.unwrap_or(0)) * MINUTE,
            filled_at: now,
        }
    }

    /// Messages that may be sent now.
    pub fn available(&mut self, now: u64) -> u64 {
        let Some(rate) = self.rate else {
            return u64::MAX;
        };
        let elapsed = now.saturating_sub(self.filled_at);
        self.filled_at = self.filled_at.max(now);
        let full = u128::from(rate) * MINUTE;
        self.credit = (self.credit + u128::from(elapsed) * u128::from(rate)).min(full);
        u64::try_from(self.credit / MINUTE).unwrap_or(u64::MAX)
    }

    /// So many messages were sent; a packet that held more than were left uses up all.
    pub fn take(&mut self, messages: u64) {
        if self.rate.is_some() {
            self.credit = self.credit.saturating_sub(u128::from(messages) * MINUTE);
        }
    }

    /// Milliseconds until a hundredth of the allowance is there again, at least 1.
    pub fn retry_after_ms(&self) -> u32 {
        let rate = u128::from(self.rate.unwrap_or(0));
        let wanted = (rate / 100).max(1) * MINUTE;
        let nanoseconds = wanted
            .saturating_sub(self.credit)
            .checked_div(rate)
            .unwrap_or(MINUTE);
        u32::try_from(nanoseconds.div_ceil(1_000_000))
            .unwrap_or(u32::MAX)
            .max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_quota_is_used_up_and_fills_again_with_time() {
        let mut quota = Quota::new(Some(600), 0);
        assert_eq!(quota.available(0), 600);
        quota.take(600);
        assert_eq!(quota.available(0), 0);
        assert_eq!(quota.retry_after_ms(), 600, "6 messages at 10 a second");
        assert_eq!(quota.available(SECOND), 10);
        quota.take(1_000);
        assert_eq!(quota.available(SECOND), 0);
        assert_eq!(
            quota.available(1_000 * SECOND),
            600,
            "never more than a minute's worth"
        );
        assert_eq!(quota.available(0), 600, "a clock that goes back changes nothing");
    }

    #[test]
    fn a_quota_of_nothing_never_fills_and_no_quota_never_ends() {
        let mut nothing = Quota::new(Some(0), 0);
        assert_eq!(nothing.available(u64::MAX), 0);
        assert_eq!(nothing.retry_after_ms(), 60_000);
        let mut unlimited = Quota::new(None, 0);
        unlimited.take(u64::MAX);
        assert_eq!(unlimited.available(0), u64::MAX);
    }
}
