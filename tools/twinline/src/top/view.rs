//! What is shown of the daemons, on a terminal and as JSON. Names are those of the other summaries; counts are since the
//! daemon started, rates since the last look, shares of the last minute.

use super::alarms::Alarm;
use super::histogram::Histogram;
use super::look::Measured;
use crate::summary::{Counts, DeliveredSummary, GapsSummary, HeardSummary, LossSummary, Position};
use serde::Serialize;
use std::collections::VecDeque;

/// All daemons, in the order in which they were named.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct View {
    /// When it was, since the Unix epoch, by this host's clock.
    pub(super) at_ns: u64,
    pub(super) daemons: Vec<DaemonView>,
}

/// One daemon.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct DaemonView {
    /// Where its page is.
    pub(super) address: String,
    /// True if it answered when it was asked last.
    pub(super) up: bool,
    /// Since when it does not answer, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) down: Option<Down>,
    /// `publish`, `recover`, `listen` or `replica`; empty if it never answered.
    pub(super) daemon: String,
    pub(super) version: String,
    /// When the process started, since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) started_ns: Option<u64>,
    /// Cores that it used since the last look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_share: Option<f64>,
    /// Resident memory in bytes, mapped journals included.
    pub(super) memory: u64,
    /// Warnings said on its stderr.
    pub(super) warnings: u64,
    pub(super) alarms: Vec<Alarm>,
    pub(super) channels: Vec<ChannelView>,
}

/// A daemon that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Down {
    pub(super) for_ns: u64,
    /// False if it has not answered since `top` was started: it may be down for longer.
    pub(super) was_up: bool,
    pub(super) reason: String,
}

/// One channel of a daemon.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct ChannelView {
    pub(super) position: Position,
    pub(super) healthy: bool,
    pub(super) ready: bool,
    /// Messages published, delivered, served or held.
    pub(super) messages: u64,
    /// Of them, a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rate: Option<u64>,
    #[serde(flatten)]
    pub(super) publishing: Option<Publishing>,
    #[serde(flatten)]
    pub(super) listening: Option<Listening>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service: Option<Serving>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replica: Option<Replicating>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) journal: Option<JournalView>,
}

/// Both lines.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Lines<T> {
    pub(super) a: T,
    pub(super) b: T,
}

/// What a publisher does.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Publishing {
    pub(super) lines: Lines<SentLine>,
    pub(super) packets: u64,
    pub(super) source_messages: u64,
    /// Times that publishing waited because no sequences were reserved.
    pub(super) reserve_stalls: u64,
    pub(super) checkpoint_failures: u64,
    pub(super) oversize: u64,
    pub(super) sources: Vec<SourceView>,
}

/// The sending end of a line.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct SentLine {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) send_failures: u64,
    pub(super) would_block: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) packet_rate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) byte_rate: Option<u64>,
}

/// A publisher's source.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct SourceView {
    pub(super) source: String,
    pub(super) position: u64,
    pub(super) failures: u64,
    pub(super) broken: bool,
    pub(super) ended: bool,
    pub(super) silent_ns: u64,
}

/// What a listener does.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Listening {
    pub(super) lines: Lines<HeardLine>,
    pub(super) stale: bool,
    pub(super) caught_up: bool,
    /// Messages known to exist and not delivered.
    pub(super) behind: u64,
    pub(super) delivered: DeliveredSummary,
    pub(super) loss: LossSummary,
    pub(super) sessions_missed: u64,
    pub(super) state_incomplete: bool,
    pub(super) notices: Counts,
    pub(super) gaps: GapsView,
    pub(super) recovery: RecoveryView,
    pub(super) snapshots: Counts,
    /// Early packets that wait, most that waited at once, and most that can.
    pub(super) window: Counts,
    pub(super) queues: Vec<QueueView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency_ns: Option<Measured>,
    /// For the picture: latency since the last look, look by look, and that of the last minute.
    #[serde(skip)]
    pub(super) latency_past: VecDeque<Option<Point>>,
    #[serde(skip)]
    pub(super) latency_now: Option<Histogram>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ring: Option<RingView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fair: Option<FairView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) clock: Option<ClockView>,
}

/// Latency between two looks, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) p50: u64,
    pub(super) p99: u64,
}

/// The receiving end of a line.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct HeardLine {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    #[serde(flatten)]
    pub(super) heard: HeardSummary,
    /// Silent.
    pub(super) stalled: bool,
    /// Messages received, a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rate: Option<u64>,
    /// Share of the last minute's messages that never came on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) loss_share: Option<f64>,
    /// Share of the last minute's delivered messages that it brought first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) win_share: Option<f64>,
    /// How much later than the other line it was, when it was later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skew_ns: Option<Measured>,
    pub(super) receive_buffer: u64,
    /// What the impairer kept from it, in messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) impaired_missing: Option<u64>,
}

/// Gaps.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct GapsView {
    /// Open now.
    pub(super) open: u64,
    #[serde(flatten)]
    pub(super) total: GapsSummary,
    pub(super) asked: u64,
    pub(super) slow_requests: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fill_ns: Option<Measured>,
}

/// A listener's recovery services.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct RecoveryView {
    pub(super) services: u64,
    pub(super) connected: u64,
    pub(super) failures: u64,
    pub(super) bad_packets: u64,
    pub(super) repeated_messages: u64,
}

/// A queue between threads.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct QueueView {
    pub(super) queue: String,
    pub(super) depth: u64,
    pub(super) capacity: u64,
}

/// The ring for local programs.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct RingView {
    pub(super) size: u64,
    pub(super) written_bytes: u64,
    pub(super) readers: Vec<ReaderView>,
}

/// A program that reads the ring.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct ReaderView {
    pub(super) reader: String,
    pub(super) pid: String,
    pub(super) lag_bytes: u64,
    pub(super) lag_messages: u64,
    /// The lag as a share of the ring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lag_share: Option<f64>,
    pub(super) overruns: u64,
    pub(super) missed: u64,
    pub(super) filled: u64,
}

/// Fair release.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct FairView {
    pub(super) on_time: u64,
    pub(super) late: u64,
    /// Share of the last minute's messages that came late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) late_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lateness_ns: Option<Measured>,
}

/// This host's clock beside the publisher's.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct ClockView {
    /// This host's less the publisher's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) offset_ns: Option<i64>,
    pub(super) plausible: bool,
}

/// A recovery service.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Serving {
    pub(super) clients: u64,
    pub(super) connections: u64,
    pub(super) refused: u64,
    pub(super) requests: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_rate: Option<u64>,
    pub(super) messages: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) rejects: Counts,
    pub(super) cuts: Counts,
    pub(super) malformed: u64,
    pub(super) journal_errors: u64,
    pub(super) tails: Vec<TailView>,
    pub(super) snapshots: Counts,
}

/// Who follows a service.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct TailView {
    pub(super) client: String,
    pub(super) kind: String,
    pub(super) lag_messages: u64,
}

/// A replica.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Replicating {
    pub(super) connected: bool,
    pub(super) caught_up: bool,
    /// Nothing while the upstream is in another session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lag_messages: Option<u64>,
    pub(super) upstream: u64,
    pub(super) durable: u64,
    pub(super) acknowledged: u64,
    pub(super) released: u64,
    pub(super) discarded: u64,
    pub(super) switches: u64,
    pub(super) contradictions: u64,
    pub(super) bad_packets: u64,
}

/// The daemon's own journal.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct JournalView {
    pub(super) bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) byte_rate: Option<u64>,
    /// Committed and not durable.
    pub(super) unsynced_bytes: u64,
    pub(super) stalls: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sync_ns: Option<Measured>,
}

impl View {
    /// Each alarm with its daemon, the gravest first.
    pub(super) fn alarms(&self) -> Vec<(&DaemonView, &Alarm)> {
        let mut alarms: Vec<_> = self
            .daemons
            .iter()
            .flat_map(|daemon| daemon.alarms.iter().map(move |alarm| (daemon, alarm)))
            .collect();
        alarms.sort_by_key(|(_, alarm)| alarm.kind);
        alarms
    }
}
