//! What a recovery service shows, of a `recover` or a `replica`, and the positions that all daemons show alike.

use super::page::{Labelled, Page, seconds};
use super::{Monitored, Standing};
use crate::served::Served;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use twinline_recovery::Mark;
use twinline_recovery::server::TailStatus;
use twinline_recovery::server::snapshot::SnapshotStats;
use twinline_wire::field::{LogoutReason, RejectCode, TailKind};

/// The channels of a recovery service.
pub(crate) struct ServiceMetrics(pub(crate) Arc<Vec<Served>>);

impl Monitored for ServiceMetrics {
    fn fill(&self, page: &mut Page) {
        for served in self.0.iter() {
            let channel = served.number.to_string();
            let mut of = page.of(&[("channel", &channel)]);
            let head = served.stats.head();
            position(&mut of, head.session, head.next);
            service(&mut of, served);
        }
    }

    fn standings(&self) -> Vec<Standing> {
        let standing = |served: &Served| Standing {
            channel: served.number,
            unready: unready(served).into_iter().collect(),
        };
        self.0.iter().map(standing).collect()
    }

    fn turns(&self) -> Vec<u64> {
        let turns = |served: &Served| served.stats.turns.load(Ordering::Relaxed);
        self.0.iter().map(turns).collect()
    }
}

/// Why there is nothing to serve, if there is not.
pub(super) fn unready(served: &Served) -> Option<String> {
    if served.stats.head().session > 0 {
        return None;
    }
    let why = served.stats.last_journal_error();
    Some(why.unwrap_or_else(|| "the journal holds no session yet of which anything may be served".into()))
}

/// Where a channel stands.
pub(super) fn position(of: &mut Labelled<'_>, session: u32, next: u64) {
    of.gauge(
        "twinline_session",
        "Session; 0 before there is one",
        session.into(),
    );
    of.gauge(
        "twinline_next_sequence",
        "The sequence that comes next: published, delivered, held, or to be served",
        next,
    );
}

/// In which epoch it stands, and whether its session has ended.
pub(super) fn epoch(of: &mut Labelled<'_>, epoch: u32, ended: bool) {
    of.gauge("twinline_epoch", "Epoch; 0 before there is one", epoch.into());
    of.flag(
        "twinline_session_ended",
        "1 once the end of the session was published, delivered or is held",
        ended,
    );
}

fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

/// What a service counted.
pub(super) fn service(of: &mut Labelled<'_>, served: &Served) {
    let stats = &served.stats;
    of.gauge(
        "twinline_service_clients",
        "Clients connected now",
        get(&stats.clients),
    );
    for (name, help, count) in [
        (
            "twinline_service_connections_total",
            "Connections accepted",
            &stats.connections,
        ),
        (
            "twinline_service_refused_connections_total",
            "Connections turned away because there were too many",
            &stats.refused,
        ),
        (
            "twinline_service_accept_errors_total",
            "Times that a connection could not be accepted",
            &stats.accept_errors,
        ),
        ("twinline_service_logins_total", "Logins accepted", &stats.logins),
        (
            "twinline_service_requests_total",
            "Requests for ranges",
            &stats.requests,
        ),
        (
            "twinline_service_tail_requests_total",
            "Requests for tails",
            &stats.tails,
        ),
        (
            "twinline_service_sent_messages_total",
            "Messages sent to clients",
            &stats.messages,
        ),
        (
            "twinline_service_sent_packets_total",
            "Packets sent to clients",
            &stats.packets,
        ),
        (
            "twinline_service_sent_bytes_total",
            "Bytes of those packets",
            &stats.bytes,
        ),
        (
            "twinline_service_malformed_total",
            "Frames of clients, or parts of them, that made no sense",
            &stats.malformed,
        ),
        (
            "twinline_service_journal_errors_total",
            "Times that the journal was not there or could not be read",
            &stats.journal_errors,
        ),
    ] {
        of.counter(name, help, get(count));
    }
    for (code, name) in RejectCode::DEF.values {
        of.with("code", name).counter(
            "twinline_service_rejects_total",
            "Rejects sent, by code",
            stats.rejects(RejectCode(*code)),
        );
    }
    for (reason, name) in LogoutReason::DEF.values {
        of.with("reason", name).counter(
            "twinline_service_cuts_total",
            "Connections that the service ended, by reason",
            stats.cuts(LogoutReason(*reason)),
        );
    }
    tails(of, &served.tails.list(), stats.head());
    if let Some(shelf) = &served.snapshots {
        snapshots(of, shelf.stats());
    }
}

fn tails(of: &mut Labelled<'_>, tails: &[TailStatus], head: Mark) {
    let is_replica = |tail: &TailStatus| tail.kind == TailKind::REPLICA;
    for (kind, replica) in [("reader", false), ("replica", true)] {
        let open = tails.iter().filter(|tail| is_replica(tail) == replica);
        of.with("kind", kind).gauge(
            "twinline_service_tails",
            "Tails open now: reader or replica",
            open.clone().count() as u64,
        );
        // Clients choose their names, and two may choose the same.
        let mut lags = BTreeMap::new();
        for tail in open {
            let at = tail.acknowledged.filter(|_| replica).unwrap_or(tail.sent);
            // One that is in an older session lacks at least all of this one.
            let behind = match at.session == head.session {
                true => head.next.saturating_sub(at.next),
                false if at.session > head.session => 0,
                false => head.next,
            };
            let lag = lags.entry(tail.client.as_str()).or_insert(0);
            *lag = behind.max(*lag);
        }
        for (client, lag) in lags {
            of.with("client", client).with("kind", kind).gauge(
                "twinline_service_tail_lag_messages",
                "Messages that the client's tail is behind the journal: not sent, of a replica not acknowledged; the furthest behind of the same name",
                lag,
            );
        }
    }
}

fn snapshots(of: &mut Labelled<'_>, stats: &SnapshotStats) {
    for (name, help, count) in [
        (
            "twinline_service_snapshots_made_total",
            "Snapshots made",
            get(&stats.made),
        ),
        (
            "twinline_service_snapshot_files_total",
            "Files of snapshots written",
            get(&stats.written),
        ),
        (
            "twinline_service_snapshot_failures_total",
            "Files that could not be written or used, and times that the journal could not be read for the books",
            get(&stats.failures) + get(&stats.bad_files),
        ),
        (
            "twinline_service_snapshot_requests_total",
            "Requests for snapshots",
            get(&stats.requests),
        ),
        (
            "twinline_service_snapshots_served_total",
            "Snapshots sent whole",
            get(&stats.served),
        ),
        (
            "twinline_service_snapshot_sent_bytes_total",
            "Bytes of snapshots sent",
            get(&stats.bytes_served),
        ),
        (
            "twinline_service_books_went_back_total",
            "Times that the books went back: what they had is void, or was overtaken by retention",
            get(&stats.went_back),
        ),
    ] {
        of.counter(name, help, count);
    }
    for (name, help, value) in [
        (
            "twinline_service_snapshot_bytes",
            "Bytes of the newest snapshot",
            &stats.bytes,
        ),
        (
            "twinline_service_snapshot_sequence",
            "Where the newest snapshot stands",
            &stats.sequence,
        ),
        (
            "twinline_service_snapshot_transfers",
            "Clients that are being sent one",
            &stats.transfers,
        ),
        (
            "twinline_service_books_lag_messages",
            "Messages that the books are behind the journal",
            &stats.lag,
        ),
        (
            "twinline_service_books_live_orders",
            "Orders in all books",
            &stats.live_orders,
        ),
    ] {
        of.gauge(name, help, get(value));
    }
    of.gauge_of(
        "twinline_service_snapshot_seconds",
        "How long the newest snapshot took to make",
        seconds(get(&stats.made_in)),
    );
    of.gauge_of(
        "twinline_service_snapshot_max_seconds",
        "How long the longest took",
        seconds(get(&stats.made_in_max)),
    );
}
