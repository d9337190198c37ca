//! What the books' thread and the service's thread share: the newest snapshots, and what is asked for.

use super::{SnapshotConfig, SnapshotStats};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use twinline_book::snapshot::Place;
use twinline_wire::field::RejectCode;

/// Different snapshots that may be in memory at once. While as many clients are slow with old ones, no new one is made.
const MOST_ALIVE: usize = 4;

/// A snapshot in memory.
#[derive(Debug)]
pub struct Made {
    /// Where it stands.
    pub place: Place,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    /// Where the books are.
    place: Place,
    /// The session is over.
    ended: bool,
    /// Why no snapshot of this session can be made.
    trouble: Option<&'static str>,
    newest: Option<Arc<Made>>,
    /// The last one of the session before.
    before: Option<Arc<Made>>,
    /// Somebody waits for one at or beyond this.
    wanted: Option<u64>,
    /// Those that somebody may still hold.
    alive: Vec<Weak<Made>>,
}

/// The shelf. Locked only to look and to put.
#[derive(Debug)]
pub struct Shelf {
    pub(super) max_behind: u64,
    pub(super) max_transfers: u64,
    pub(super) wait: Duration,
    state: Mutex<State>,
    stats: SnapshotStats,
}

/// What a request is answered with.
#[derive(Debug)]
pub(crate) enum Found {
    /// This one.
    Ready(Arc<Made>),
    /// Wait: the books' thread was told. If nothing better comes in time: this one, or "not yet".
    Wait(Option<Arc<Made>>),
    /// No.
    Refused {
        code: RejectCode,
        reason: &'static str,
        again: bool,
    },
}

impl Shelf {
    /// An empty shelf.
    pub fn new(config: &SnapshotConfig) -> Arc<Self> {
        Arc::new(Self {
            max_behind: config.max_behind,
            max_transfers: config.max_transfers as u64,
            wait: config.wait,
            state: Mutex::default(),
            stats: SnapshotStats::default(),
        })
    }

    /// The counters.
    pub fn stats(&self) -> &SnapshotStats {
        &self.stats
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is for a client that wants the state of `session` at or beyond `at_least`.
    pub(crate) fn find(&self, session: u32, at_least: u64) -> Found {
        let mut state = self.lock();
        let refused = |code, reason, again| Found::Refused { code, reason, again };
        if session == 0 || session > state.place.session {
            let reason = "this session is not known here";
            return refused(RejectCode::UNKNOWN_SESSION, reason, session != 0);
        }
        if session < state.place.session {
            let before = state.before.clone().filter(|made| {
                let place = &made.place;
                place.session == session && place.sequence >= at_least
            });
            let reason = "no snapshot of this session is kept";
            return before.map_or_else(
                || refused(RejectCode::UNKNOWN_SESSION, reason, false),
                Found::Ready,
            );
        }
        let far = state
            .newest
            .clone()
            .filter(|made| made.place.sequence >= at_least);
        if let Some(reason) = state.trouble {
            return far.map_or_else(|| refused(RejectCode::NOT_SERVED, reason, true), Found::Ready);
        }
        let end = state.place.sequence;
        if state.ended && at_least >= end {
            return refused(RejectCode::VOID, "the session has ended before that", false);
        }
        match far {
            Some(made) if made.place.sequence.saturating_add(self.max_behind) >= end => Found::Ready(made),
            far => {
                // Where several wait, the nearest comes first; the others say it again.
                state.wanted = Some(state.wanted.map_or(at_least, |other| other.min(at_least)));
                Found::Wait(far)
            }
        }
    }

    /// Where the books are now. True if somebody waits for a snapshot that can be made there.
    pub(super) fn follow(&self, place: Place, ended: bool, trouble: Option<&'static str>) -> bool {
        let mut state = self.lock();
        if place.session > state.place.session {
            state.before = state.newest.take();
            state.wanted = None;
        }
        (state.place, state.ended, state.trouble) = (place, ended, trouble);
        let far = state.wanted.is_some_and(|wanted| wanted <= place.sequence);
        if !far || trouble.is_some() {
            return false;
        }
        state.alive.retain(|made| made.strong_count() > 0);
        state.alive.len() < MOST_ALIVE
    }

    /// A new snapshot, of the session that is followed.
    pub(super) fn put(&self, made: Arc<Made>) {
        let mut state = self.lock();
        state.wanted = None;
        state.alive.push(Arc::downgrade(&made));
        state.newest = Some(made);
    }

    /// What was made may be void: it is served to nobody any more.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        state.newest = None;
        state.place = Place {
            sequence: 0,
            ..state.place
        };
    }

    /// The newest one.
    pub fn newest(&self) -> Option<Arc<Made>> {
        self.lock().newest.clone()
    }

    /// A place among those that are being sent a snapshot; given back when it is dropped.
    pub(crate) fn ticket(self: &Arc<Self>) -> Option<Ticket> {
        let transfers = &self.stats.transfers;
        let admit = |count| (count < self.max_transfers).then_some(count + 1);
        transfers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit)
            .ok()?;
        Some(Ticket(Arc::clone(self)))
    }
}

/// A place among those that are being sent a snapshot.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<Shelf>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.stats.transfers.fetch_sub(1, Ordering::Relaxed);
    }
}
