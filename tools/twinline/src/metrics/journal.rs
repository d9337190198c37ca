//! A journal that is written, whoever writes it.

use super::page::Labelled;
use std::time::{Duration, UNIX_EPOCH};
use twinline_journal::{JournalCounts, SyncPolicy};

/// How often a journal of this policy is to be made durable; `None`: not before the end.
pub(super) fn interval(policy: SyncPolicy) -> Option<Duration> {
    match policy {
        SyncPolicy::None => None,
        SyncPolicy::Every(period) => Some(period),
        SyncPolicy::EveryPacket => Some(Duration::ZERO),
    }
}

/// `bytes` were written.
pub(super) fn fill(of: &mut Labelled<'_>, bytes: u64, counts: &JournalCounts, interval: Option<Duration>) {
    of.counter(
        "twinline_journal_bytes_total",
        "Bytes of packets written to the own journal",
        bytes,
    );
    of.gauge(
        "twinline_journal_unsynced_bytes",
        "Bytes committed to the journal and not durable yet",
        counts.unsynced_bytes,
    );
    of.counter(
        "twinline_journal_syncs_total",
        "Times that the journal was made durable",
        counts.sync_times.len(),
    );
    of.histogram(
        "twinline_journal_sync_seconds",
        "How long making the journal durable took, each time",
        &counts.sync_times,
    );
    let last = counts.last_sync.duration_since(UNIX_EPOCH).unwrap_or_default();
    of.gauge_of(
        "twinline_journal_last_sync_time_seconds",
        "When the journal was last found or made durable, since the Unix epoch; at first when it was opened",
        last.as_secs_f64(),
    );
    of.gauge_of(
        "twinline_journal_sync_interval_seconds",
        "How often it is to be made durable: 0 each packet, +Inf never before the end",
        interval.map_or(f64::INFINITY, |interval| interval.as_secs_f64()),
    );
    of.counter(
        "twinline_journal_stalls_total",
        "Times that writing waited because no next segment was ready",
        counts.stalls,
    );
}
