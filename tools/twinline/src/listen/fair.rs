//! Fair release on the command line: its flags, what it warns of, and its part of the summary.

use crate::progress::Progress;
use crate::summary::{ClockSummary, FairSummary, LatencySummary};
use crate::units::{self, show_bytes, show_nanos};
use clap::Args;
use std::time::Duration;
use twinline_listener::fair::{FairConfig, FairReport, MAX_HOLD, MIN_BUFFER};
use twinline_wire::field::ClockState;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Fair release")]
pub(super) struct FairArgs {
    /// Release each message so long after it was sent, by this host's clock, so that all servers whose clocks are
    /// synchronised have it at the same moment; what comes later is released at once and counted [default: off]
    #[arg(long, value_name = "TIME", value_parser = hold)]
    fair_hold: Option<Duration>,
    /// Bytes of packets that can be held; of more the oldest are released early
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = buffer, requires = "fair_hold")]
    fair_buffer: usize,
}

fn hold(text: &str) -> Result<Duration, String> {
    let hold = units::duration(text)?;
    match hold.as_nanos() {
        0 => Err("to hold messages for no time at all, leave --fair-hold out".into()),
        nanos if nanos > u128::from(MAX_HOLD) => Err(format!(
            "{text} is too long to hold messages: at most {}",
            show_nanos(MAX_HOLD)
        )),
        _ => Ok(hold),
    }
}

fn buffer(text: &str) -> Result<usize, String> {
    match units::size_in_memory(text)? {
        size if size < MIN_BUFFER => Err(format!(
            "{text} is too small: at least {}",
            show_bytes(MIN_BUFFER as u64)
        )),
        size => Ok(size),
    }
}

impl FairArgs {
    pub(super) fn config(&self) -> Option<FairConfig> {
        self.fair_hold.map(|hold| FairConfig {
            hold: u64::try_from(hold.as_nanos()).unwrap_or(MAX_HOLD),
            buffer: self.fair_buffer,
        })
    }

    /// Warns of what makes the release unfair. `told` is what was said of the clock last.
    pub(super) fn tell(
        &self,
        channel: u16,
        fair: &FairReport,
        told: &mut ClockState,
        progress: &mut Progress,
    ) {
        let Some(config) = self.config() else { return };
        if fair.stats.early_full > 0 {
            progress.warn(format!(
                "channel {channel}: messages were released before their moment because more than {} were held: give more \
                 with --fair-buffer, or a shorter --fair-hold",
                show_bytes(config.buffer as u64)
            ));
        }
        if fair.stats.early_limit > 0 {
            progress.warn(format!(
                "channel {channel}: messages were held for twice the hold and their moment had not come: this host's clock \
                 was set back, or the publisher's is ahead"
            ));
        }
        let clock = &fair.clock;
        if clock.kernel.is_some_and(|kernel| !kernel.synchronised) && clock.state == ClockState::PLAUSIBLE {
            progress.warn(
                "nobody tells this host's kernel that its clock is synchronised: see that PTP or NTP runs here or, on a \
                 virtual machine, on its host; messages are released together only as far as clocks agree",
            );
        }
        if clock.state == *told {
            return;
        }
        *told = clock.state;
        let offset = clock
            .offset
            .map_or_else(|| "nothing".into(), |offset| show_nanos(offset.unsigned_abs()));
        progress.warn(match clock.state {
            ClockState::BEHIND => format!(
                "channel {channel}: packets come {offset} before they were sent: this host's clock is behind the \
                 publisher's, and messages are released late; look at PTP or NTP on both"
            ),
            ClockState::AHEAD => format!(
                "channel {channel}: even the fastest packet came {offset} after it was sent, and --fair-hold is {}: this \
                 host's clock is ahead of the publisher's, or the hold is too short; every message is late",
                show_nanos(config.hold)
            ),
            ClockState::UNSYNCHRONISED => format!(
                "channel {channel}: the kernel says that this host's clock is no longer synchronised: look at PTP or NTP \
                 here; the fastest packet came {offset} after it was sent"
            ),
            _ => format!("channel {channel}: the clock is plausible again: the fastest packet came {offset} after it was sent"),
        });
    }
}

/// The part of the summary.
pub(super) fn summary(config: FairConfig, fair: &FairReport) -> FairSummary {
    FairSummary {
        hold_ns: config.hold,
        on_time: fair.stats.on_time,
        late: fair.stats.late,
        early: fair.stats.early(),
        lateness_ns: LatencySummary::of(&fair.lateness),
        overshoot_ns: LatencySummary::of(&fair.overshoot),
        held_packets: fair.held_packets,
        held_bytes: fair.held_bytes,
        clock: ClockSummary {
            state: format!("{:?}", fair.clock.state),
            offset_ns: fair.clock.offset,
            kernel_synchronised: fair.clock.kernel.map(|kernel| kernel.synchronised),
            kernel_max_error_ns: fair.clock.kernel.map(|kernel| kernel.max_error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_more_than_nothing_and_at_most_a_second() {
        assert_eq!(hold("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(hold("1s"), Ok(Duration::from_secs(1)));
        for (wrong, said) in [
            ("0us", "leave --fair-hold out"),
            ("1001ms", "at most"),
            ("5", "not a duration"),
        ] {
            assert!(hold(wrong).unwrap_err().contains(said), "{wrong}");
        }
        assert_eq!(buffer("64KiB"), Ok(64 << 10));
        assert!(buffer("1KiB").unwrap_err().contains("at least 64.0 KiB"));
    }
}
