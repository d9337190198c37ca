//! Flags that publisher and listener share: the lines, the thread, the journal.

use crate::exit::Failure;
use crate::units;
use clap::Args;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use twinline_feed::run::Idle;
use twinline_journal::{JournalConfig, Prepare, Retention, SyncPolicy};
use twinline_line::{LineAddress, LineError};

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
    /// The lines of the channel that comes so many after this one.
    fn after(&self, number: u16) -> Option<Self> {
        let line = |first: &LineAddress| {
            let [one, two, three, four] = first.group.octets();
            Some(LineAddress {
                group: Ipv4Addr::new(one, two, three.checked_add(u8::try_from(number).ok()?)?, four),
                port: first.port.checked_add(number.checked_mul(10)?)?,
                interface: first.interface.clone(),
            })
        };
        Some(Self {
            line_a: line(&self.line_a)?,
            line_b: line(&self.line_b)?,
            channel: self.channel.checked_add(number)?,
            packet_size: self.packet_size,
        })
    }

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

/// The lines of one channel or of several.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Lines")]
pub(crate) struct ChannelArgs {
    #[command(flatten)]
    first: LineArgs,
    /// So many channels: --channel, --line-a and --line-b are the first one's; of each next one the number is 1 more, the
    /// third number of both groups 1 more and both ports 10 more
    #[arg(long, value_name = "COUNT", default_value = "1")]
    channels: NonZeroU16,
    /// A channel's lines, given for each channel where that rule does not fit: channel=N,a=ADDRESS,b=ADDRESS
    #[arg(long, value_name = "SPEC", conflicts_with_all = ["channels", "channel", "line_a", "line_b"])]
    lines: Vec<ChannelLines>,
}

/// `channel=N,a=ADDRESS,b=ADDRESS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChannelLines {
    channel: u16,
    a: LineAddress,
    b: LineAddress,
}

impl FromStr for ChannelLines {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} are no lines of a channel: write channel=2,a=239.1.2.1:5001@eth0,b=239.1.2.2:5001@eth1"
            )
        };
        let (mut channel, mut a, mut b) = (None, None, None);
        for part in text.split(',') {
            match part.split_once('=').ok_or_else(wrong)? {
                ("channel", number) => channel = Some(number.parse().map_err(|_| wrong())?),
                ("a", address) => a = Some(address.parse().map_err(|error: LineError| error.to_string())?),
                ("b", address) => b = Some(address.parse().map_err(|error: LineError| error.to_string())?),
                _ => return Err(wrong()),
            }
        }
        let (Some(channel), Some(a), Some(b)) = (channel, a, b) else {
            return Err(wrong());
        };
        Ok(Self { channel, a, b })
    }
}

impl ChannelArgs {
    /// The lines of each channel.
    ///
    /// # Errors
    /// If two channels or two lines are the same, or there is no room for so many.
    pub(crate) fn all(&self) -> Result<Vec<LineArgs>, Failure> {
        let named = self.lines.iter().map(|lines| LineArgs {
            channel: lines.channel,
            line_a: lines.a.clone(),
            line_b: lines.b.clone(),
            packet_size: self.first.packet_size,
        });
        let mut all: Vec<LineArgs> = named.collect();
        if all.is_empty() {
            let each = (0..self.channels.get()).map(|number| self.first.after(number));
            all = each.collect::<Option<_>>().ok_or_else(|| {
                Failure::usage(format!(
                    "there is no room for {} channels from channel {}, {} and {} on: name each with --lines",
                    self.channels, self.first.channel, self.first.line_a, self.first.line_b
                ))
            })?;
        }
        let mut seen = HashMap::new();
        for lines in &all {
            lines.check()?;
            if all.iter().filter(|other| other.channel == lines.channel).count() > 1 {
                return Err(Failure::usage(format!(
                    "channel {} is there twice: each has its own lines",
                    lines.channel
                )));
            }
            for line in [&lines.line_a, &lines.line_b] {
                if let Some(other) = seen.insert((line.group, line.port), lines.channel) {
                    return Err(Failure::usage(format!(
                        "channels {other} and {} both have {}:{}: give them different groups or ports",
                        lines.channel, line.group, line.port
                    )));
                }
            }
        }
        Ok(all)
    }
}

/// The directory of a channel's journal: `dir` itself for the only one, otherwise one for each within it.
pub(crate) fn journal_of(dir: &Path, channel: u16, channels: usize) -> PathBuf {
    match channels {
        1 => dir.to_owned(),
        _ => dir.join(format!("channel-{channel}")),
    }
}

/// How the thread that does the work runs.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Thread")]
pub(crate) struct ThreadArgs {
    /// Pin the working thread to this core; of several channels a core each, as in 2,3,4
    #[arg(long, value_name = "CORE", value_delimiter = ',')]
    pub(crate) cpu: Vec<usize>,
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
    /// Keep all that is not older than this, as in 24h, whatever else is said; what is older stays as long as --keep-segments
    /// and --keep-bytes allow, and without them goes [default: all]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) keep_age: Option<Duration>,
}

/// When a journal is made durable: `none`, `packet` or a time.
pub(crate) fn sync_policy(text: &str) -> Result<SyncPolicy, String> {
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
        self.of(lines.channel, lines.packet_size)
    }

    /// The settings of the journal of a channel.
    pub(crate) fn of(&self, channel: u16, max_packet: usize) -> JournalConfig {
        JournalConfig {
            channel,
            max_packet,
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

    #[derive(Debug, clap::Parser)]
    struct Parsed {
        #[command(flatten)]
        channels: ChannelArgs,
    }

    /// Channel, line A and line B of each channel.
    fn channels(arguments: &[&str]) -> Result<Vec<(u16, String, String)>, String> {
        let all = [&["twinline"], arguments].concat();
        let parsed = <Parsed as clap::Parser>::try_parse_from(all).map_err(|error| error.to_string())?;
        let all = parsed.channels.all().map_err(|failure| failure.text)?;
        let text = |lines: LineArgs| (lines.channel, lines.line_a.to_string(), lines.line_b.to_string());
        Ok(all.into_iter().map(text).collect())
    }

    #[test]
    fn channels_follow_the_first_one_or_are_named() {
        let of = |channel: u16, a: &str, b: &str| (channel, a.to_string(), b.to_string());
        let first = [
            "--channel",
            "7",
            "--line-a",
            "239.1.1.1:5001@eth0",
            "--line-b",
            "239.1.1.2:5002@eth1",
        ];
        assert_eq!(
            channels(&first),
            Ok(vec![of(7, "239.1.1.1:5001@eth0", "239.1.1.2:5002@eth1")])
        );
        assert_eq!(
            channels(&[&first[..], &["--channels", "3"]].concat()).unwrap()[2],
            of(9, "239.1.3.1:5021@eth0", "239.1.3.2:5022@eth1")
        );
        let named = [
            "--lines",
            "channel=4,a=239.1.1.1:1,b=239.1.1.2:1",
            "--lines",
            "channel=2,a=239.2.1.1:1,b=239.2.1.2:1",
        ];
        assert_eq!(channels(&named).unwrap()[1], of(2, "239.2.1.1:1", "239.2.1.2:1"));
        for (wrong, named) in [
            (vec!["--lines", "channel=4,a=239.1.1.1:1"], "are no lines"),
            (
                vec!["--lines", "channel=4,a=239.1.1.1:1,b=239.1.1.1:1"],
                "are both",
            ),
            (
                vec![
                    "--lines",
                    "channel=1,a=239.1.1.1:1,b=239.1.1.2:1",
                    "--lines",
                    "channel=1,a=239.1.2.1:1,b=239.1.2.2:1",
                ],
                "twice",
            ),
            (
                vec![
                    "--lines",
                    "channel=1,a=239.1.1.1:1,b=239.1.1.2:1",
                    "--lines",
                    "channel=2,a=239.1.1.2:1,b=239.1.2.2:1",
                ],
                "both have",
            ),
            (vec!["--channels", "300"], "no room"),
            (vec!["--channel", "65535", "--channels", "2"], "no room"),
            (vec!["--channels", "0"], "invalid value"),
            (
                vec![
                    "--channels",
                    "2",
                    "--lines",
                    "channel=1,a=239.1.1.1:1,b=239.1.1.2:1",
                ],
                "cannot be used with",
            ),
        ] {
            let error = channels(&wrong).unwrap_err();
            assert!(error.contains(named), "{wrong:?}: {error}");
        }
    }

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
