//! A channel's service as `recover` and `replica` show it: where it listens, what it counted, who follows it, its snapshots.

use crate::progress::Progress;
use crate::summary::{Counts, Summary};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use twinline_recovery::server::Tails;
use twinline_recovery::server::snapshot::Shelf;
use twinline_recovery::{Mark, Service, Stats};
use twinline_wire::field::{LogoutReason, RejectCode, TailKind};

/// A channel that is served.
pub(crate) struct Served {
    pub(crate) number: u16,
    pub(crate) address: SocketAddr,
    pub(crate) stats: Arc<Stats>,
    pub(crate) tails: Arc<Tails>,
    pub(crate) snapshots: Option<Arc<Shelf>>,
    /// The trouble with snapshots that was told last.
    told: Mutex<Option<String>>,
}

impl Served {
    /// What this service does for the channel.
    pub(crate) fn by(service: &Service, number: u16) -> Self {
        Self {
            number,
            address: service.local_addr(),
            stats: service.stats(),
            tails: service.tails(),
            snapshots: service.snapshots(),
            told: Mutex::default(),
        }
    }

    /// Puts where it is and what it counted into a summary.
    pub(crate) fn fill(&self, summary: &mut Summary) {
        summary.set("channel", self.number);
        summary.set("address", self.address);
        summary.recovery = Some(counts(&self.stats));
        summary.set("tails", tails(&self.tails, &self.stats));
        if let Some(shelf) = &self.snapshots {
            snapshots(shelf, summary);
        }
    }

    /// Tells of trouble with snapshots, when it changes.
    pub(crate) fn tell(&self, progress: &mut Progress) {
        let trouble = self
            .snapshots
            .as_ref()
            .and_then(|shelf| shelf.stats().last_trouble());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble != *told {
            if let Some(trouble) = &trouble {
                progress.warn(format!("snapshots of channel {}: {trouble}", self.number));
            }
            *told = trouble;
        }
    }
}

/// Says that all of them listen, in the words that `text` makes of their addresses, and who can reach them.
pub(crate) fn ready<'a>(
    progress: &mut Progress,
    channels: impl Iterator<Item = &'a Served> + Clone,
    text: impl FnOnce(&str) -> String,
) {
    let addresses: Vec<String> = channels
        .clone()
        .map(|channel| channel.address.to_string())
        .collect();
    let addresses = addresses.join(",");
    progress.ready(Some(addresses.clone()), &text(&addresses));
    for channel in channels.filter(|channel| !channel.address.ip().is_loopback()) {
        progress.warn(format!(
            "{} is not a loopback address: whoever reaches it can read the whole journal",
            channel.address
        ));
    }
}

/// What a service counted.
fn counts(stats: &Stats) -> Counts {
    let get = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let mut counts: Counts = [
        ("clients", &stats.clients),
        ("connections", &stats.connections),
        ("refused", &stats.refused),
        ("accept_errors", &stats.accept_errors),
        ("logins", &stats.logins),
        ("requests", &stats.requests),
        ("tails", &stats.tails),
        ("malformed", &stats.malformed),
    ]
    .into_iter()
    .map(|(name, count)| (name.to_string(), get(count)))
    .collect();
    for (code, name) in RejectCode::DEF.values {
        let count = stats.rejects(RejectCode(*code));
        counts.insert(format!("rejected {name}"), count);
    }
    for (reason, name) in LogoutReason::DEF.values {
        let count = stats.cuts(LogoutReason(*reason));
        counts.insert(format!("cut {name}"), count);
    }
    counts.retain(|name, count| *count > 0 || !name.contains(' '));
    counts
}

/// Who follows, and how far each is; a replica's lag is what it has not acknowledged of the journal's newest session.
fn tails(tails: &Tails, stats: &Stats) -> Vec<serde_json::Value> {
    let head = stats.head();
    let place = |mark: Mark| serde_json::json!({ "session": mark.session, "next": mark.next });
    let lag = |mark: Mark| (mark.session == head.session).then(|| head.next.saturating_sub(mark.next));
    let each = tails.list().into_iter().map(|tail| {
        serde_json::json!({
            "client": tail.client,
            "replica": tail.kind == TailKind::REPLICA,
            "sent": place(tail.sent),
            "acknowledged": tail.acknowledged.map(place),
            "lag_messages": lag(tail.acknowledged.unwrap_or(tail.sent)),
        })
    });
    each.collect()
}

/// Adds what is counted of snapshots.
fn snapshots(shelf: &Shelf, summary: &mut Summary) {
    let stats = shelf.stats();
    let counts: Counts = [
        ("made", &stats.made),
        ("files_written", &stats.written),
        ("bytes", &stats.bytes),
        ("sequence", &stats.sequence),
        ("made_in_ns", &stats.made_in),
        ("made_in_max_ns", &stats.made_in_max),
        ("started_at", &stats.started_at),
        ("messages_read", &stats.read),
        ("lag", &stats.lag),
        ("live_orders", &stats.live_orders),
        ("went_back", &stats.went_back),
        ("bad_files", &stats.bad_files),
        ("failures", &stats.failures),
        ("requests", &stats.requests),
        ("served", &stats.served),
        ("bytes_served", &stats.bytes_served),
        ("transfers", &stats.transfers),
    ]
    .into_iter()
    .map(|(name, count)| (name.to_string(), count.load(Ordering::Relaxed)))
    .collect();
    summary.set("snapshots", counts);
    if let Some(trouble) = stats.last_trouble() {
        summary.set("last_snapshot_trouble", trouble);
    }
}
