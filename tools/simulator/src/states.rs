//! A listener's states: the real policy, over the connections that it has to the services, and real files.

use crate::record::Recorder;
use crate::run::{Options, is_planted};
use crate::service::Connection;
use std::path::{Path, PathBuf};
use twinline_book::snapshot::{Snapshot, decode, encode, file};
use twinline_journal::Retention;
use twinline_listener::join::{StateConfig, StateFailure};
use twinline_listener::{Arbiter, State, StatePolicy};
use twinline_recovery::ClientEvent;

/// Requests for states have numbers from here on.
const FIRST_ID: u32 = 1 << 31;

/// What is done to the sequence of a state that came: planted bugs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shift {
    too_high: bool,
    too_low: bool,
}

impl Shift {
    pub(crate) fn of(options: &Options) -> Self {
        Self {
            too_high: is_planted!(options, StateTooHigh),
            too_low: is_planted!(options, StateTooLow),
        }
    }
}

/// What a kill takes.
pub(crate) struct States {
    pub(crate) policy: StatePolicy,
    /// The listener's own journal's directory.
    dir: PathBuf,
    asked: Option<u32>,
    bytes: Vec<u8>,
    shift: Shift,
}

impl States {
    pub(crate) fn new(services: usize, dir: &Path, shift: Shift) -> Self {
        let ms = 1_000_000;
        Self {
            policy: StatePolicy::new(StateConfig {
                hold: 100 * ms,
                slow: 60 * ms,
                retry: 5 * ms,
                ..StateConfig::new(services, &Retention::default(), 0)
            }),
            dir: dir.to_owned(),
            asked: None,
            bytes: Vec::new(),
            shift,
        }
    }

    /// Lets the policy look.
    pub(crate) fn step(
        &mut self,
        arbiter: &mut Arbiter,
        connections: &mut [Connection],
        now: u64,
        record: &mut Recorder,
    ) {
        let mut connect = None;
        self.policy
            .tick(arbiter, 0, now, record, |wanted| connect = Some(wanted));
        let Some(connect) = connect else { return };
        let client = &mut connections[connect.service].client;
        let request = match client.is_ready() {
            true => self.policy.on_connected(connect.id, arbiter, now),
            false => None,
        };
        let sent = request.is_some_and(|request| {
            record.note(|| format!("asks service {} for a state: {request:?}", connect.service));
            client
                .request_snapshot(FIRST_ID + request.id, request.session, request.at_least, now)
                .is_ok()
        });
        self.bytes.clear();
        self.asked = sent.then_some(connect.id);
        if !sent {
            let failure = StateFailure::Unreachable;
            self.policy.on_failed(connect.id, failure, arbiter, now, record);
        }
    }

    /// Takes what a service says of a state; false if it is of something else.
    pub(crate) fn take(
        &mut self,
        event: &ClientEvent<'_>,
        arbiter: &mut Arbiter,
        now: u64,
        record: &mut Recorder,
    ) -> bool {
        let (ClientEvent::SnapshotPart { request_id, .. }
        | ClientEvent::Reject { request_id, .. }
        | ClientEvent::Complete { request_id, .. }) = event
        else {
            return false;
        };
        if *request_id < FIRST_ID {
            return false;
        }
        // One that was given up counts no more.
        let Some(id) = self.asked.filter(|id| FIRST_ID + id == *request_id) else {
            return true;
        };
        match event {
            ClientEvent::SnapshotPart { bytes, .. } => {
                self.policy.on_progress(now);
                self.bytes.extend_from_slice(bytes);
            }
            ClientEvent::Reject {
                code, retry_after_ms, ..
            } => {
                self.asked = None;
                let failure = StateFailure::Refused {
                    code: *code,
                    retry_after: u64::from(*retry_after_ms) * 1_000_000,
                };
                self.policy.on_failed(id, failure, arbiter, now, record);
            }
            _ => {
                self.asked = None;
                match self.keep() {
                    Some(state) => {
                        record.note(|| format!("a state: {state:?}"));
                        self.policy.on_state(id, state, arbiter, 0, now, record);
                    }
                    None => self
                        .policy
                        .on_failed(id, StateFailure::Unusable, arbiter, now, record),
                }
            }
        }
        true
    }

    /// Checks what came and makes a file of it.
    fn keep(&mut self) -> Option<State> {
        let Snapshot { mut place, books } = decode(&self.bytes).ok()?;
        if self.shift.too_high || self.shift.too_low {
            let high = u64::from(self.shift.too_high);
            place.sequence = place.sequence + 2 * high - 1;
            self.bytes = encode(&books, &place);
        }
        file::write(&self.dir, &place, &self.bytes).ok()?;
        Some(State {
            session: place.session,
            epoch: place.epoch,
            epoch_base: place.epoch_base,
            sequence: place.sequence,
            file: place.sequence,
        })
    }
}
