//! What a replica shows: how it follows, and what its own service counted.

use super::page::{Labelled, Page};
use super::{Monitored, Standing, journal, service};
use crate::replica::{Channel, lag};
use std::sync::Arc;
use std::time::Duration;
use twinline_recovery::replica::Progress;

/// The channels of a replica.
pub(crate) struct ReplicaMetrics {
    pub(crate) channels: Arc<Vec<Channel>>,
    pub(crate) sync_interval: Duration,
}

impl Monitored for ReplicaMetrics {
    fn fill(&self, page: &mut Page) {
        for channel in self.channels.iter() {
            let working = channel.working();
            let number = channel.number.to_string();
            let mut of = page.of(&[("channel", &number)]);
            let progress = channel.progress.get();
            following(&mut of, &progress);
            journal::fill(
                &mut of,
                progress.counters.bytes,
                &working.journal.counts(),
                Some(self.sync_interval),
            );
            service::service(&mut of, &working.served);
        }
    }

    fn standings(&self) -> Vec<Standing> {
        let standing = |channel: &Channel| {
            let progress = channel.progress.get();
            let mut unready: Vec<String> = Vec::new();
            match progress.upstream {
                None => {
                    unready.push("it follows no upstream: none is reached, or none is as far as it is".into())
                }
                Some(_) if !progress.caught_up => {
                    unready.push("it has not caught up with its upstream yet".into());
                }
                Some(_) => {}
            }
            unready.extend(service::unready(&channel.working().served));
            Standing {
                channel: channel.number,
                unready,
            }
        };
        self.channels.iter().map(standing).collect()
    }

    fn turns(&self) -> Vec<u64> {
        self.channels.iter().map(|of| of.progress.get().turns).collect()
    }
}

fn following(of: &mut Labelled<'_>, progress: &Progress) {
    let held = progress.held;
    service::position(
        of,
        held.map_or(0, |tail| tail.session),
        held.map_or(0, |tail| tail.next),
    );
    service::epoch(
        of,
        held.map_or(0, |tail| tail.epoch),
        held.is_some_and(|tail| tail.ended),
    );
    of.flag(
        "twinline_replica_connected",
        "1 while an upstream is followed",
        progress.upstream.is_some(),
    );
    of.flag(
        "twinline_replica_caught_up",
        "1 once the upstream has sent all that it had",
        progress.caught_up,
    );
    of.gauge_of(
        "twinline_replica_lag_messages",
        "Messages that the furthest upstream is ahead; NaN while that is in another session",
        lag(progress).map_or(f64::NAN, |lag| lag as f64),
    );
    for (name, help, value) in [
        (
            "twinline_replica_upstream_next_sequence",
            "The sequence that comes next at the furthest upstream",
            progress.newest.next,
        ),
        (
            "twinline_replica_durable_sequence",
            "All before this survives a power cut",
            progress.durable.next,
        ),
        (
            "twinline_replica_acknowledged_sequence",
            "All before this is acknowledged",
            progress.acknowledged.next,
        ),
        (
            "twinline_replica_released_sequence",
            "All before this may be served",
            progress.released.next,
        ),
    ] {
        of.gauge(name, help, value);
    }
    let (counters, follow) = (&progress.counters, &progress.follow);
    for (name, help, count) in [
        (
            "twinline_replica_messages_total",
            "Messages appended",
            counters.messages,
        ),
        (
            "twinline_replica_packets_total",
            "Packets appended",
            counters.packets,
        ),
        (
            "twinline_replica_discarded_messages_total",
            "Messages discarded because an epoch made them void",
            counters.discarded,
        ),
        (
            "twinline_replica_acknowledgements_total",
            "Acknowledgements sent",
            counters.acknowledgements,
        ),
        ("twinline_replica_tails_total", "Tails asked for", follow.tails),
        (
            "twinline_replica_switches_total",
            "Upstreams left for another",
            follow.switches,
        ),
        (
            "twinline_replica_bad_packets_total",
            "Packets from upstreams that were not intact",
            follow.bad_packets,
        ),
        (
            "twinline_replica_contradictions_total",
            "Times that an upstream contradicted what is held",
            follow.contradictions,
        ),
        ("twinline_replica_cuts_total", "Void tails cut off", follow.cuts),
    ] {
        of.counter(name, help, count);
    }
}
