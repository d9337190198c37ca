//! A line's rate limit: how long a send must wait so that a line stays below so many bits a second, however its packets
//! come in bursts. Told the time, so that it is tested without any.

/// Bytes that a packet takes on the wire besides its own: Ethernet with preamble, checksum and gap, IPv4 and UDP.
const HEADERS: u64 = 8 + 14 + 4 + 12 + 20 + 8;

/// What may go out at once after a pause, however low the rate: one full burst on the wire.
const TOLERATED: u64 = 65_536 + 64 * HEADERS;

/// The generic cell rate algorithm over bytes on the wire.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Picoseconds that a byte takes at the rate.
    byte: u64,
    /// How far what was sent may be ahead of the rate, in nanoseconds.
    tolerance: u64,
    /// When all that was sent would be over at the rate.
    over: u64,
}

impl Pace {
    /// A limit of `rate` bits a second, which is not 0.
    pub(crate) fn new(rate: u64) -> Self {
        let mut pace = Self {
            byte: 8_000_000_000_000_u64.div_ceil(rate.max(1)),
            tolerance: 0,
            over: 0,
        };
        pace.tolerance = pace.time_of(TOLERATED);
        pace
    }

    /// Nanoseconds that `bytes` take at the rate.
    fn time_of(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(self.byte).div_ceil(1000)
    }

    /// Counts `packets` packets of together `bytes` bytes that are to be sent at `now`, in nanoseconds; returns how many
    /// nanoseconds later they may be.
    pub(crate) fn take(&mut self, now: u64, packets: u64, bytes: u64) -> u64 {
        let over = self.over.max(now);
        let time = self.time_of(bytes + packets * HEADERS);
        self.over = over.saturating_add(time);
        (over - now).saturating_sub(self.tolerance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends what `next` says, packets and bytes, as soon as it may for `end` nanoseconds; returns the bits on the wire.
    fn flood(pace: &mut Pace, end: u64, mut next: impl FnMut(u64) -> (u64, u64)) -> u64 {
        let (mut now, mut bits, mut sends) = (1_000_000, 0, 0);
        let end = now + end;
        loop {
            let (packets, bytes) = next(sends);
            now += pace.take(now, packets, bytes);
            if now >= end {
                return bits;
            }
            bits += 8 * (bytes + packets * HEADERS);
            sends += 1;
        }
    }

    #[test]
    fn a_flood_reaches_the_rate_and_goes_beyond_it_by_one_burst_and_one_send_at_most() {
        for rate in [10_000_000, 1_000_000_000, 9_999_999_999, 100_000_000_000_u64] {
            for (packets, bytes) in [(1, 80), (1, 1408), (46, 46 * 1408)] {
                let most = 8 * (TOLERATED + bytes + packets * HEADERS);
                let seconds = 2;
                let bits = flood(&mut Pace::new(rate), seconds * 1_000_000_000, |_| {
                    (packets, bytes)
                });
                assert!(bits <= seconds * rate + most, "{bits} at {rate}");
                // The least send takes 12 nanoseconds at the highest rate, and times are whole nanoseconds.
                assert!(bits >= seconds * rate / 100 * 90, "{bits} at {rate}");
            }
        }
    }

    #[test]
    fn large_and_small_sends_share_the_rate() {
        let rate = 1_000_000_000;
        let bits = flood(&mut Pace::new(rate), 1_000_000_000, |n| match n % 7 {
            0 => (46, 46 * 1408),
            _ => (1, 200),
        });
        assert!(
            (rate / 100 * 99..=rate + 16 * TOLERATED).contains(&bits),
            "{bits}"
        );
    }

    #[test]
    fn below_the_rate_nothing_waits_and_after_a_pause_a_whole_burst_does_not() {
        let mut pace = Pace::new(1_000_000_000);
        for n in 0..10_000 {
            assert_eq!(pace.take(n * 10_000, 1, 1000), 0);
        }
        let pause = 10_000 * 10_000 + 1_000_000;
        assert_eq!(pace.take(pause, 46, 46 * 1408), 0);
        assert_eq!(
            pace.take(pause, 1, 48),
            0,
            "what follows a burst does not wait either"
        );
        assert_eq!(pace.take(pause, 46, 46 * 1408), 0);
        let wait = pace.take(pause, 1, 48);
        assert!(
            (500_000..600_000).contains(&wait),
            "the burst before takes {wait} ns"
        );
    }
}
