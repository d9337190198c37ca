//! When a source's next message is due.
//!
//! Due times count from the first message on, never from the one before: a source that was held up catches up with
//! what is late, and then is on time again.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// How fast a source runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as possible.
    Max,
    /// With the times between messages that the source recorded, divided by this factor: 1 is as recorded, 10 ten times
    /// as fast. More than 0.
    Recorded(f64),
    /// This many messages a second, whatever the source recorded.
    PerSecond(NonZeroU64),
}

/// A pace that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a pace: write max, recorded, 10x (ten times as fast as recorded) or 20000/s")]
pub struct PaceError(pub String);

impl FromStr for Pace {
    type Err = PaceError;

    fn from_str(text: &str) -> Result<Self, PaceError> {
        let pace = match text {
            "max" => Some(Pace::Max),
            "recorded" => Some(Pace::Recorded(1.0)),
            _ => match (text.strip_suffix('x'), text.strip_suffix("/s")) {
                (Some(factor), _) => factor
                    .parse()
                    .ok()
                    .filter(|factor: &f64| factor.is_finite() && *factor > 0.0)
                    .map(Pace::Recorded),
                (_, Some(rate)) => rate.parse().ok().map(Pace::PerSecond),
                _ => None,
            },
        };
        pace.ok_or_else(|| PaceError(text.into()))
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pace::Max => f.write_str("max"),
            Pace::Recorded(factor) if *factor == 1.0 => f.write_str("recorded"),
            Pace::Recorded(factor) => write!(f, "{factor}x"),
            Pace::PerSecond(rate) => write!(f, "{rate}/s"),
        }
    }
}

/// Says when each message of a source is due.
#[derive(Clone, Debug)]
pub struct Pacer {
    pace: Pace,
    start: Option<Start>,
    /// Messages since the start.
    counted: u64,
}

/// The first message.
#[derive(Clone, Copy, Debug)]
struct Start {
    /// When it was due, by the caller's clock.
    at: u64,
    /// Its source time.
    source_time: u64,
}

impl Pacer {
    /// One that has not started.
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            start: None,
            counted: 0,
        }
    }

    /// When the next message, of this source time, is due; all in nanoseconds. The first one asked about is due `now`.
    #[inline]
    pub fn due(&mut self, now: u64, source_time: u64) -> u64 {
        if self.pace == Pace::Max {
            return now;
        }
        let start = *self.start.get_or_insert(Start { at: now, source_time });
        let after = match self.pace {
            Pace::Max => 0,
            Pace::Recorded(factor) => (source_time.saturating_sub(start.source_time) as f64 / factor) as u64,
            Pace::PerSecond(rate) => {
                let nanos = u128::from(self.counted) * 1_000_000_000 / u128::from(rate.get());
                u64::try_from(nanos).unwrap_or(u64::MAX)
            }
        };
        start.at.saturating_add(after)
    }

    /// One message was taken.
    #[inline]
    pub fn count(&mut self) {
        self.counted += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Due times of messages with these source times, asked for at `nows` (when each is polled first).
    fn dues(pace: &str, polls: &[(u64, u64)]) -> Vec<u64> {
        let mut pacer = Pacer::new(pace.parse().unwrap());
        polls
            .iter()
            .map(|&(now, source_time)| {
                let due = pacer.due(now, source_time);
                pacer.count();
                due
            })
            .collect()
    }

    #[test]
    fn as_recorded_keeps_the_times_between_messages() {
        let due = dues(
            "recorded",
            &[(100, 5_000), (100, 5_007), (150, 5_007), (150, 6_000)],
        );
        assert_eq!(due, [100, 107, 107, 1_100]);
    }

    #[test]
    fn n_times_as_fast_divides_them() {
        assert_eq!(dues("10x", &[(0, 0), (0, 100), (0, 1_000)]), [0, 10, 100]);
        assert_eq!(dues("0.5x", &[(0, 0), (0, 100)]), [0, 200]);
    }

    #[test]
    fn a_fixed_rate_spaces_messages_evenly_without_drift() {
        let mut pacer = Pacer::new("3/s".parse().unwrap());
        let due: Vec<u64> = (0..=9)
            .map(|_| {
                let due = pacer.due(7, 0);
                pacer.count();
                due
            })
            .collect();
        assert_eq!(due[..3], [7, 333_333_340, 666_666_673]);
        assert_eq!(due[9], 3 * SECOND + 7);
    }

    #[test]
    fn what_is_late_is_caught_up_and_nothing_beyond_it() {
        let mut pacer = Pacer::new("1000/s".parse().unwrap());
        pacer.due(0, 0);
        pacer.count();
        let now = 5_500_000;
        let mut burst = 0;
        while pacer.due(now, 0) <= now {
            pacer.count();
            burst += 1;
        }
        assert_eq!((burst, pacer.due(now, 0)), (5, 6_000_000));
    }

    #[test]
    fn at_full_speed_everything_is_due_now() {
        assert_eq!(dues("max", &[(5, 9), (6, 8), (7, u64::MAX)]), [5, 6, 7]);
    }

    #[test]
    fn extreme_times_do_not_overflow() {
        assert_eq!(
            dues("recorded", &[(u64::MAX, 0), (u64::MAX, u64::MAX)]),
            [u64::MAX; 2]
        );
        assert_eq!(
            dues("recorded", &[(9, 10), (9, 3)]),
            [9, 9],
            "source time that runs backwards"
        );
    }

    #[test]
    fn a_pace_is_read_and_printed_the_same_and_others_are_refused() {
        for text in ["max", "recorded", "10x", "0.5x", "20000/s"] {
            assert_eq!(text.parse::<Pace>().unwrap().to_string(), text);
        }
        for text in [
            "", "fast", "0x", "-1x", "NaNx", "infx", "0/s", "1.5/s", "/s", "x", "20000",
        ] {
            let error = text.parse::<Pace>().unwrap_err().to_string();
            assert!(error.contains("not a pace"), "{text}: {error}");
        }
    }
}
