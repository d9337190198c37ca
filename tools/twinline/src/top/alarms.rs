//! What is worth an alarm: the thresholds, all of them, and what the help says of them.

use super::scrape::TIMEOUT;
use crate::units::show_nanos;
use serde::Serialize;
use std::time::Duration;

/// Shares, percentiles and "lately" are of so long, or since `top` was started.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// A line that lost this share of the last minute's messages is lossy,
pub(super) const LOSSY_SHARE: f64 = 0.001;
/// if they are at least so many: what is on its way on one line and there on the other looks lost for a moment.
pub(super) const LOSSY_MESSAGES: u64 = 10;
/// A queue, or the window of early packets, that is fuller than this is nearly full.
pub(super) const FULL_SHARE: f64 = 0.8;
/// A reader that is behind by more than this share of the ring is about to be overrun.
pub(super) const LAG_SHARE: f64 = 0.5;
/// A source that says nothing for longer is silent; the publisher's own warning comes after as long by default.
pub(super) const SOURCE_SILENT: Duration = Duration::from_secs(10);
/// A journal that was to be durable this much longer ago than its interval is not synced.
pub(super) const SYNC_LATE: Duration = Duration::from_secs(5);

/// What is wrong, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Down,
    Hangs,
    MessagesLost,
    Stale,
    PublisherStalled,
    NotSent,
    SourceBroken,
    Contradiction,
    JournalNotSynced,
    RecoveryDisconnected,
    ReplicaDisconnected,
    ServiceTroubled,
    NotReady,
    LineSilent,
    LineLossy,
    KernelDrops,
    GapsOpen,
    NearlyFull,
    ReaderOverrun,
    ReaderLagging,
    ClockImplausible,
}

impl Kind {
    /// True for what stops or loses the stream, as against what makes that likelier.
    pub(super) fn is_grave(self) -> bool {
        self <= Kind::ReplicaDisconnected
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Alarm {
    #[serde(rename = "alarm")]
    pub(super) kind: Kind,
    /// Nothing if it is about the whole daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) channel: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<&'static str>,
    /// In words, without the daemon and the channel.
    pub(super) text: String,
}

impl Alarm {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            channel: None,
            line: None,
            text: text.into(),
        }
    }
}

/// Each alarm and what it takes, for the help.
pub(super) fn rules() -> Vec<(&'static str, String)> {
    let lossy = LOSSY_SHARE * 100.0;
    let rule = |name, text: &str| (name, text.to_string());
    vec![
        ("down", format!("no page within {}", show_nanos(nanos(TIMEOUT)))),
        rule("hangs", "a channel's thread does not turn over"),
        rule(
            "messages_lost",
            "messages or sessions lost or void since the start",
        ),
        rule("stale", "both lines are silent"),
        rule(
            "publisher_stalled",
            "it waited for sequences or for its journal lately",
        ),
        rule("not_sent", "a line did not take packets lately"),
        (
            "source_broken",
            format!("broken, or silent for {}", show_nanos(nanos(SOURCE_SILENT))),
        ),
        rule("contradiction", "an upstream contradicts what a replica holds"),
        (
            "journal_not_synced",
            format!(
                "not made durable {} after it was to be",
                show_nanos(nanos(SYNC_LATE))
            ),
        ),
        rule("recovery_disconnected", "not all recovery services are connected"),
        rule("replica_disconnected", "no upstream is followed"),
        rule(
            "service_troubled",
            "journal or snapshots failed, or clients were refused, lately",
        ),
        rule("not_ready", "as /readyz says it"),
        rule("line_silent", "one line is silent"),
        (
            "line_lossy",
            format!("lost {lossy}% lately, and at least {LOSSY_MESSAGES} messages"),
        ),
        rule("kernel_drops", "the receive buffer was full lately"),
        rule("gaps_open", "open at two looks, none closed in between"),
        (
            "nearly_full",
            format!(
                "a queue or the window of early packets is {}% full",
                FULL_SHARE * 100.0
            ),
        ),
        rule("reader_overrun", "the ring overran it lately"),
        (
            "reader_lagging",
            format!("behind by {}% of the ring", LAG_SHARE * 100.0),
        ),
        rule("clock_implausible", "its offset to the publisher's cannot be"),
    ]
}

/// A time in nanoseconds.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
