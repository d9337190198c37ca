//! Connections and a clock around a [`Replica`].

use super::{Action, Replica, ReplicaCounters, ReplicaError};
use crate::client::{ClientConfig, ClientError, RecoveryClient};
use crate::follow::{Action as FollowAction, FollowCounters, Stuck};
use crate::{Mark, SharedMark, nanos};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use twinline_journal::Tail;
use twinline_wire::field::TailKind;

/// How often the stop flag is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whom a replica follows.
#[derive(Clone)]
pub struct RunConfig {
    /// The upstreams, in the order of preference.
    pub upstreams: Vec<SocketAddr>,
    /// Who it is to them.
    pub client: ClientConfig,
}

/// How a replica does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Turns of its thread: it works while they grow.
    pub turns: u64,
    /// Where its journal ends.
    pub held: Option<Tail>,
    /// What survives a power cut.
    pub durable: Mark,
    /// What was acknowledged.
    pub acknowledged: Mark,
    /// How far it serves.
    pub released: Mark,
    /// The upstream that it follows.
    pub upstream: Option<usize>,
    /// That one has sent all that it had.
    pub caught_up: bool,
    /// How far the furthest upstream is.
    pub newest: Mark,
    /// Its own counts.
    pub counters: ReplicaCounters,
    /// What was counted in following.
    pub follow: FollowCounters,
}

/// A replica's progress, for any thread.
#[derive(Debug, Default)]
pub struct ReplicaStats(Mutex<Progress>);

impl ReplicaStats {
    /// How it does.
    pub fn get(&self) -> Progress {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, replica: &Replica) {
        let follower = replica.follower();
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *progress = Progress {
            turns: progress.turns + 1,
            held: follower.held().map(|held| held.tail),
            durable: replica.durable(),
            acknowledged: replica.acknowledged(),
            released: replica.released(),
            upstream: follower.following(),
            caught_up: follower.is_caught_up(),
            newest: follower.newest(),
            counters: replica.counters(),
            follow: follower.counters(),
        };
    }
}

/// Why a replica ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The replica itself.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// Its sockets.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Follows until it is stopped, or no upstream can be followed any more: then it says why. `mark` is moved to what may be
/// served; `warn` is told what an operator should know.
///
/// # Errors
/// If the journal cannot be written or made durable.
pub fn run(
    mut replica: Replica,
    config: &RunConfig,
    mark: &SharedMark,
    stats: &ReplicaStats,
    stop: &AtomicBool,
    warn: &dyn Fn(String),
) -> Result<Option<Stuck>, RunError> {
    let mut client = RecoveryClient::new(&config.client, &config.upstreams)?;
    let start = Instant::now();
    let mut stuck = None;
    mark.set(replica.released());
    while !stop.load(Ordering::Relaxed) && stuck.is_none() {
        let now = nanos(start.elapsed());
        while let Some(action) = replica.next_action(now) {
            act(&mut replica, &mut client, action, now);
        }
        let wait = Duration::from_nanos(replica.deadline(now).saturating_sub(now));
        let mut result = Ok(());
        client.poll(wait.min(LOOK_EVERY), &mut |upstream, event| {
            if result.is_ok() {
                result = replica.on_event(upstream, &event, nanos(start.elapsed()));
            }
        })?;
        result?;
        replica.on_time(nanos(start.elapsed()))?;
        mark.set(replica.released());
        stats.set(&replica);
        replica.take_warnings().for_each(warn);
        stuck = replica.stuck();
    }
    replica.sync()?;
    stats.set(&replica);
    client.close();
    Ok(stuck)
}

fn act(replica: &mut Replica, client: &mut RecoveryClient, action: Action, now: u64) {
    match action {
        Action::Follow(FollowAction::Leave { service }) => client.leave(service),
        Action::Follow(FollowAction::Tail {
            service,
            request_id,
            from,
        }) => {
            if client.tail(service, request_id, from, TailKind::REPLICA).is_err() {
                replica.not_asked(service, now);
            }
        }
        // If it does not go out now, a later one says more.
        Action::Acknowledge { service, held, epoch } => drop(client.acknowledge(service, held, epoch)),
    }
}
