//! Flags that publisher and listener share: the lines, the thread, the journal.

use crate::exit::Failure;
use crate::units;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;
use twinline_feed::run::Idle;
use twinline_journal::{JournalConfig, Prepare, Retention, SyncPolicy};
use twinline_line::LineAddress;

/// Where the two lines are.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Lines")]
pub(crate) struct LineArgs {
    /// Line A: GROUP:PORT@INTERFACE; the interface by name or address
    #[arg(long, value_name = "ADDRESS", default_value = "239.77.1.1:17001@127.0.0.1")]
    pub(crate) line_a: LineAddress,
    /// Line B: another group, and where there are two networks the other one's interface
    #[arg(long, value_name = "ADDRESS", default_value = "239.77.1.2:17002@127.0.0.1")]
    pub(crate) line_b: LineAddress,
    /// The channel: packets of other channels are not ours
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(crate) channel: u16,
    /// Most bytes in a packet: a multiple of 64 that fits the path without fragments
    #[arg(long, value_name = "BYTES", default_value = "1408", value_parser = units::size_in_memory)]
    pub(crate) packet_size: usize,
}

impl LineArgs {
    /// That the lines are two.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if (self.line_a.group, self.line_a.port) == (self.line_b.group, self.line_b.port) {
            return Err(Failure::usage(format!(
                "lines A and B are both {}:{}: give them different groups or ports",
                self.line_a.group, self.line_a.port
            )));
        }
        Ok(())
    }
}

/// How the thread that does the work runs.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Thread")]
pub(crate) struct ThreadArgs {
    /// Pin the working thread to this core
    #[arg(long, value_name = "CORE")]
    pub(crate) cpu: Option<usize>,
    /// When there is nothing to do: spin (lowest latency, a core of its own), yield, or park:TIME (least load)
    #[arg(long, value_name = "HOW", default_value = "yield", value_parser = idle)]
    pub(crate) idle: Idle,
}

fn idle(text: &str) -> Result<Idle, String> {
    match text {
        "spin" => Ok(Idle::Spin),
        "yield" => Ok(Idle::Yield),
        _ => text
            .strip_prefix("park:")
            .map(units::duration)
            .transpose()?
            .map(Idle::Park)
            .ok_or_else(|| format!("{text:?} is not a way to idle: write spin, yield or park:100us")),
    }
}

/// The journal that is written.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Journal")]
pub(crate) struct JournalArgs {
    /// The journal's directory; created if there is none, continued if there is one
    #[arg(long, value_name = "DIR")]
    pub(crate) journal: PathBuf,
    /// When packets are made safe from a power cut: none (when the kernel likes), packet (each before it is sent), or
    /// about every so often, as in 100ms. A killed process loses nothing in any case
    #[arg(long, value_name = "WHEN", default_value = "100ms", value_parser = sync_policy)]
    pub(crate) sync: SyncPolicy,
    /// Bytes of a journal file
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = units::size_in_memory)]
    pub(crate) segment_size: usize,
    /// Keep at most so many journal files [default: all]
    #[arg(long, value_name = "COUNT")]
    pub(crate) keep_segments: Option<usize>,
    /// Keep at most so many bytes of journal files [default: all]
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) keep_bytes: Option<u64>,
    /// Keep what is not older than this, as in 24h [default: all]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) keep_age: Option<Duration>,
}

fn sync_policy(text: &str) -> Result<SyncPolicy, String> {
    match text {
        "none" => Ok(SyncPolicy::None),
        "packet" => Ok(SyncPolicy::EveryPacket),
        _ => match units::duration(text) {
            Ok(every) if !every.is_zero() => Ok(SyncPolicy::Every(every)),
            _ => Err(format!(
                "{text:?} is not a time to sync: write none, packet or 100ms"
            )),
        },
    }
}

impl JournalArgs {
    /// The journal's settings.
    pub(crate) fn config(&self, lines: &LineArgs) -> JournalConfig {
        JournalConfig {
            channel: lines.channel,
            max_packet: lines.packet_size,
            segment_size: self.segment_size,
            sync: self.sync,
            retention: Retention {
                segments: self.keep_segments,
                bytes: self.keep_bytes,
                age: self.keep_age,
            },
            prepare: Prepare::Thread,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_idle_and_to_sync_are_read() {
        assert_eq!(idle("park:100us"), Ok(Idle::Park(Duration::from_micros(100))));
        assert!(idle("sleep").is_err() && idle("park:").is_err());
        assert_eq!(
            sync_policy("10ms"),
            Ok(SyncPolicy::Every(Duration::from_millis(10)))
        );
        assert!(sync_policy("0ms").is_err() && sync_policy("always").is_err());
    }
}
