//! The policy for states: when a snapshot is asked for, of which service, and how long delivery waits for it.
//!
//! A listener wants one when it begins with a state, when messages are lost or void, and before its own journal forgets
//! what follows the last one. Where it stands and what it needs it takes from the [arbiter](crate::arbiter); what it adds
//! is patience: one request at a time, another service when one fails, back-off, and no holding up for ever. The shell
//! connects, then [fetches](fetch) what is asked for into a durable file, and reports. Delivery waits only while a service
//! that is connected is asked.

mod fetch;
pub mod files;
mod types;

use crate::arbiter::{Arbiter, Sink, State};
use crate::gaps::MAX_SERVICES;
pub(crate) use fetch::{StateEvent, StateFetcher, Trouble};
use twinline_wire::field::RejectCode;
pub use types::{StateConfig, StateConnect, StateFailure, StateRequest, StateStats};

/// The longest wait before a service that failed is asked again, in nanoseconds.
const RETRY_LIMIT: u64 = 5_000_000_000;
/// A service that has no use for asking again is asked again after this all the same, in nanoseconds: it may be another by then.
const REFUSED_RETRY: u64 = 30_000_000_000;
/// The pace of delivery is taken over so long, in nanoseconds.
const PACE_TURN: u64 = 1_000_000_000;
/// Most times that the hold is doubled.
const DOUBLED: u32 = 4;
/// Most times that it is halved.
const HALVED: u32 = 6;

#[derive(Clone, Copy, Debug, Default)]
struct Service {
    failures: u32,
    /// Not asked before this.
    not_before: u64,
    /// Said that asking it again is of no use.
    refused: bool,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    id: u32,
    service: usize,
    /// When the request was sent; before that the connection is made.
    sent: Option<u64>,
    progress: u64,
}

/// The state machine.
#[derive(Debug)]
pub struct StatePolicy {
    config: StateConfig,
    services: [Service; MAX_SERVICES],
    asked: Option<Asked>,
    session: u32,
    next_id: u32,
    /// The service that is asked first.
    turn: usize,
    /// States that came too late in a row.
    late: u32,
    /// Bytes written and the time when the last state came, or the session began.
    fresh: (u64, u64),
    /// There may be no state that the own journal goes on from.
    stale: bool,
    /// When the pace was taken, where delivery stood then, and the pace: sequences a [`PACE_TURN`].
    pace: (u64, u64, u64),
    stats: StateStats,
}

impl StatePolicy {
    /// A policy that has asked for nothing yet.
    ///
    /// # Panics
    /// If more than [`MAX_SERVICES`] are configured.
    pub fn new(config: StateConfig) -> Self {
        assert!(
            config.services <= MAX_SERVICES,
            "at most {MAX_SERVICES} recovery services"
        );
        Self {
            config,
            services: [Service::default(); MAX_SERVICES],
            asked: None,
            session: 0,
            next_id: 0,
            turn: 0,
            late: 0,
            fresh: (0, 0),
            // Where files from before may be too old by now.
            stale: config.refresh_bytes.is_some() || config.refresh_age.is_some(),
            pace: (0, 0, 0),
            stats: StateStats::default(),
        }
    }

    /// Time passes, and `written` bytes are in the own journal since it was opened. Calls `connect` if a state is to come.
    pub fn tick(
        &mut self,
        arbiter: &mut Arbiter,
        written: u64,
        now: u64,
        sink: &mut impl Sink,
        connect: impl FnOnce(StateConnect),
    ) {
        if self.config.services == 0 || arbiter.position().session == 0 {
            return;
        }
        self.follow_session(arbiter, written, now);
        self.take_pace(arbiter, now);
        if let Some(asked) = self.asked {
            return self.be_patient(asked, arbiter, now, sink);
        }
        let wanted = arbiter.wants_state();
        if arbiter.has_state() || !(wanted || self.is_refresh_due(arbiter, written, now)) {
            return;
        }
        let Some(service) = self.next_service(now) else {
            return;
        };
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        let id = self.next_id;
        self.asked = Some(Asked {
            id,
            service,
            sent: None,
            progress: now,
        });
        self.stats.requests += 1;
        self.stats.refreshes += u64::from(!wanted);
        connect(StateConnect { id, service });
    }

    /// The connection of request `id` stands: what to ask for over it. Delivery stops where that must reach at least. Where
    /// the state is whole, that is as far ahead as delivery comes in a second, so that it hardly ever has to wait.
    pub fn on_connected(&mut self, id: u32, arbiter: &mut Arbiter, now: u64) -> Option<StateRequest> {
        let asked = self.asked.as_mut().filter(|asked| asked.id == id)?;
        (asked.sent, asked.progress) = (Some(now), now);
        let margin = if arbiter.wants_state() { 0 } else { self.pace.2 };
        Some(StateRequest {
            id,
            session: self.session,
            at_least: arbiter.stop_for_state(margin),
        })
    }

    /// What was asked of another session is of no use any more.
    fn follow_session(&mut self, arbiter: &Arbiter, written: u64, now: u64) {
        let session = arbiter.position().session;
        if session == self.session {
            return;
        }
        // A session that is delivered from its beginning needs no file, as long as the own journal keeps that.
        self.stale &= self.session == 0;
        self.session = session;
        self.asked = None;
        self.late = 0;
        self.fresh = (written, now);
        self.services = [Service::default(); MAX_SERVICES];
        self.pace = (now, arbiter.position().next, 0);
    }

    fn take_pace(&mut self, arbiter: &Arbiter, now: u64) {
        let next = arbiter.position().next;
        if now.saturating_sub(self.pace.0) >= PACE_TURN {
            self.pace = (now, next, next.saturating_sub(self.pace.1));
        }
    }

    fn is_refresh_due(&self, arbiter: &Arbiter, written: u64, now: u64) -> bool {
        let (bytes, at) = self.fresh;
        let full = |limit| written.saturating_sub(bytes) >= limit;
        let old = |limit| now.saturating_sub(at) >= limit;
        let due = self.stale
            || self.config.refresh_bytes.is_some_and(full)
            || self.config.refresh_age.is_some_and(old);
        due && !arbiter.position().ended && arbiter.position().next > 1
    }

    /// Delivery does not wait for ever, nor does the request.
    fn be_patient(&mut self, asked: Asked, arbiter: &mut Arbiter, now: u64, sink: &mut impl Sink) {
        let over = arbiter.position().ended;
        if over || now.saturating_sub(asked.progress) > self.config.slow {
            return self.on_failed(asked.id, StateFailure::Unreachable, arbiter, now, sink);
        }
        let failures = self.services[asked.service].failures.min(HALVED);
        let hold = (self.config.hold << self.late.min(DOUBLED)) >> failures;
        if asked.sent.is_some_and(|sent| now.saturating_sub(sent) > hold) {
            arbiter.go_on(sink);
        }
    }

    /// The service whose turn it is, of those that may be asked now.
    fn next_service(&self, now: u64) -> Option<usize> {
        let count = self.config.services;
        (0..count)
            .map(|step| (self.turn + step) % count)
            .filter(|&at| now >= self.services[at].not_before)
            .min_by_key(|&at| self.services[at].failures)
    }

    /// Something of the state that was asked for came.
    pub fn on_progress(&mut self, now: u64) {
        if let Some(asked) = &mut self.asked {
            asked.progress = now;
        }
    }

    /// A state did not come: delivery goes on, and another service is asked.
    pub fn on_failed(
        &mut self,
        id: u32,
        failure: StateFailure,
        arbiter: &mut Arbiter,
        now: u64,
        sink: &mut impl Sink,
    ) {
        let Some(asked) = self.asked.take_if(|asked| asked.id == id) else {
            return;
        };
        self.stats.failed += 1;
        let service = &mut self.services[asked.service];
        let back_off = (self.config.retry << service.failures.min(16)).min(RETRY_LIMIT);
        service.failures = service.failures.saturating_add(1);
        let wait = match failure {
            StateFailure::Refused { code, retry_after: 0 } if code != RejectCode::OVER_LIMITS => {
                service.refused = true;
                REFUSED_RETRY
            }
            StateFailure::Refused { retry_after, .. } => retry_after.max(back_off),
            StateFailure::Unreachable | StateFailure::Unusable => back_off,
        };
        service.not_before = now.saturating_add(wait);
        self.turn = (asked.service + 1) % self.config.services;
        arbiter.go_on(sink);
        if arbiter.awaits_state() && self.services[..self.config.services].iter().all(|of| of.refused) {
            self.stats.begun_without += 1;
            arbiter.begin_without_state(sink);
        }
    }

    /// The state of request `id` is in a durable file. True if the arbiter takes it.
    pub fn on_state(
        &mut self,
        id: u32,
        state: State,
        arbiter: &mut Arbiter,
        written: u64,
        now: u64,
        sink: &mut impl Sink,
    ) -> bool {
        let Some(asked) = self.asked.take_if(|asked| asked.id == id) else {
            return false;
        };
        self.stats.fetched += 1;
        self.services[asked.service].failures = 0;
        if !arbiter.replace_state(state, sink) {
            self.stats.late += 1;
            self.late += 1;
            self.services[asked.service].not_before = now.saturating_add(self.config.retry);
            arbiter.go_on(sink);
            return false;
        }
        self.late = 0;
        self.fresh = (written, now);
        self.stale = false;
        true
    }

    /// True while a state is on its way.
    pub fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// The counters.
    pub fn stats(&self) -> &StateStats {
        &self.stats
    }
}
