//! A publisher's journal that may have lost its end (its host's power was cut, or it is another host's journal) gets from
//! replicas what they hold more, before the publisher opens its epoch: so that nothing of it need be void.
//!
//! Only what the epoch store knows is taken: the newest session, its epochs at their bases, nothing at or beyond the end
//! of what was reserved, and nothing that a later epoch on record made void. Replicas are asked one after the other, each
//! for what goes on behind what is held by then.

use super::{ReplicaError, last_held};
use crate::client::{ClientConfig, ClientError, ClientEvent, RecoveryClient};
use crate::follow::{Action, Held, Step, explain};
use crate::planted::{Bug, is_planted};
use crate::{Mark, nanos};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use twinline_journal::epoch::{ChannelRecord, Holder};
use twinline_journal::{JournalError, JournalWriter};
use twinline_wire::Packet;
use twinline_wire::field::TailKind;
use twinline_wire::session::EpochStart;

/// The number of the one request that is made to a replica.
const REQUEST: u32 = 1;

/// What became of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It has not answered.
    Waiting,
    /// It has let us in.
    Ready,
    /// It is sending.
    Sending,
    /// It gave all that it has.
    Done,
    /// It could not help; why.
    Failed(String),
}

/// Why catching up failed. A replica that fails is no such error.
#[derive(Debug, thiserror::Error)]
pub enum CatchUpError {
    /// The publisher's journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What it holds last.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// No sockets.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// What was had from replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Messages that were appended.
    pub messages: u64,
    /// Packets that they were in.
    pub packets: u64,
    /// Each replica that was asked, in their order.
    pub asked: Vec<Asked>,
}

/// The state machine. See the module.
#[derive(Debug)]
pub struct CatchUp {
    record: ChannelRecord,
    held: Option<Held>,
    confirmed: bool,
    outcome: Outcome,
    leave: Option<usize>,
}

impl CatchUp {
    /// True if a journal of this number may lack the end of what was published, as the epoch store's `record` tells: its
    /// last holder was another start of a machine, or had another journal. After a kill it lacks nothing.
    pub fn is_needed(record: &ChannelRecord, holder: &Holder, journal: u64) -> bool {
        record.holder != *holder || record.journal != journal
    }

    /// For the journal in `dir`, from so many replicas.
    ///
    /// # Errors
    /// If the journal's end cannot be read, or is no publisher's.
    pub fn new(
        dir: &Path,
        journal: &JournalWriter,
        record: ChannelRecord,
        replicas: usize,
    ) -> Result<Self, CatchUpError> {
        Ok(Self {
            record,
            held: last_held(dir, journal)?,
            confirmed: false,
            outcome: Outcome {
                asked: vec![Asked::Waiting; replicas],
                ..Outcome::default()
            },
            leave: None,
        })
    }

    /// Something happened at a replica.
    ///
    /// # Errors
    /// If the journal does not take what came.
    pub fn on_event(
        &mut self,
        replica: usize,
        event: &ClientEvent<'_>,
        journal: &mut JournalWriter,
    ) -> Result<(), CatchUpError> {
        let Some(asked) = self.outcome.asked.get_mut(replica) else {
            return Ok(());
        };
        match event {
            ClientEvent::Accepted { .. } if *asked == Asked::Waiting => *asked = Asked::Ready,
            ClientEvent::Packet { packet, .. } if *asked == Asked::Sending => {
                return self.on_packet(replica, packet, journal);
            }
            ClientEvent::CaughtUp { .. } if *asked == Asked::Sending => self.end(replica, Asked::Done),
            ClientEvent::BadPacket { error, .. } if *asked == Asked::Sending => {
                let why = format!("it sent a packet that is not good: {error}");
                self.end(replica, Asked::Failed(why));
            }
            ClientEvent::Reject { reason, .. } if *asked == Asked::Sending => {
                let why = format!("it does not have what comes next: {reason}");
                self.end(replica, Asked::Failed(why));
            }
            // Not there yet: it is tried again until patience ends.
            ClientEvent::Closed { reason } if *asked == Asked::Sending || *asked == Asked::Ready => {
                *asked = Asked::Failed(explain(reason));
            }
            _ => {}
        }
        Ok(())
    }

    fn on_packet(
        &mut self,
        replica: usize,
        packet: &Packet<'_>,
        journal: &mut JournalWriter,
    ) -> Result<(), CatchUpError> {
        if is_planted(Bug::HealedTooShort) && self.outcome.packets > 0 {
            return Ok(());
        }
        let step = match (&self.held, self.refusal(packet)) {
            (_, Some(why)) => Err(why),
            // The first that an empty journal is given, is the session's beginning: it was asked for.
            (None, None) => Ok(Step::Goes),
            (Some(held), None) => held
                .step(packet, self.confirmed)
                .map_err(|contradiction| Asked::Failed(contradiction.to_string())),
        };
        self.confirmed |= step.is_ok();
        match step {
            Ok(Step::Known) => return Ok(()),
            Ok(Step::Goes) => {}
            Ok(Step::Cuts(from)) => match journal.discard_from(from) {
                Ok(_) => {}
                Err(error @ (JournalError::InsidePacket { .. } | JournalError::NotHeld { .. })) => {
                    self.end(replica, Asked::Failed(error.to_string()));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            },
            Err(asked) => {
                self.end(replica, asked);
                return Ok(());
            }
        }
        journal.append(packet.bytes())?;
        self.held = Some(Held::first(packet));
        self.outcome.messages += u64::from(packet.header().count.get());
        self.outcome.packets += 1;
        Ok(())
    }

    /// Why a packet is not taken, whatever it follows: the epoch store does not know it, or knows it void.
    fn refusal(&self, packet: &Packet<'_>) -> Option<Asked> {
        let header = packet.header();
        let (session, epoch) = (header.session.get(), header.epoch.get());
        let unknown = |what: String| {
            Some(Asked::Failed(format!(
                "{what}, which the epoch store never gave out"
            )))
        };
        if session != self.record.session {
            return unknown(format!("it holds session {session}"));
        }
        let known = self.record.epochs.iter().find(|known| known.epoch == epoch);
        let Some(known) = known.filter(|known| known.base == header.epoch_base.get()) else {
            return unknown(format!("it holds epoch {epoch} from {} on", header.epoch_base));
        };
        if packet.end() > self.record.reserved_end {
            return unknown(format!("it holds sequence {}", packet.end() - 1));
        }
        let start = packet.messages().next();
        let start = start.and_then(|(_, frame)| Some(frame.view::<EpochStart>()?.valid_end.get()));
        if start.is_some_and(|valid_end| valid_end != known.valid_end) {
            return unknown(format!("its epoch {epoch} has another valid end"));
        }
        let later = self.record.epochs.iter().filter(|later| later.epoch > epoch);
        let void_from = later.map(|later| later.valid_end).min();
        // It has not heard of that yet, and has nothing more that counts.
        void_from
            .is_some_and(|void_from| packet.sequence() >= void_from)
            .then_some(Asked::Done)
    }

    fn end(&mut self, replica: usize, asked: Asked) {
        self.outcome.asked[replica] = asked;
        self.leave = Some(replica);
    }

    /// What is to be done now, one after the other, until there is nothing.
    pub fn next_action(&mut self) -> Option<Action> {
        if let Some(service) = self.leave.take() {
            return Some(Action::Leave { service });
        }
        if self.outcome.asked.contains(&Asked::Sending) {
            return None;
        }
        let service = self
            .outcome
            .asked
            .iter()
            .position(|asked| *asked == Asked::Ready)?;
        self.outcome.asked[service] = Asked::Sending;
        self.confirmed = false;
        let session = self.record.session;
        let held = self.held.filter(|held| held.tail.session == session);
        Some(Action::Tail {
            service,
            request_id: REQUEST,
            from: held.map_or(Mark::new(session, 1), |held| {
                Mark::new(session, held.last.sequence.get())
            }),
        })
    }

    /// True once every replica has given what it has, or failed.
    pub fn is_done(&self) -> bool {
        let over = |asked: &Asked| matches!(asked, Asked::Done | Asked::Failed(_));
        self.outcome.asked.iter().all(over)
    }

    /// What was had, however far it came.
    pub fn outcome(self) -> Outcome {
        self.outcome
    }
}

/// Catches up from these replicas, over TCP. A replica that brings nothing for `patience` is given up.
///
/// # Errors
/// If the journal cannot be read or written. What replicas do wrong stands in the outcome.
pub fn catch_up(
    dir: &Path,
    journal: &mut JournalWriter,
    record: ChannelRecord,
    config: &ClientConfig,
    replicas: &[SocketAddr],
    patience: Duration,
    stop: &AtomicBool,
) -> Result<Outcome, CatchUpError> {
    let mut client = RecoveryClient::new(config, replicas)?;
    let mut state = CatchUp::new(dir, journal, record, replicas.len())?;
    let start = Instant::now();
    let mut moved = 0;
    while !state.is_done() && !stop.load(Ordering::Relaxed) {
        while let Some(action) = state.next_action() {
            match action {
                Action::Leave { service } => client.leave(service),
                Action::Tail {
                    service,
                    request_id,
                    from,
                } => {
                    if let Err(error) = client.tail(service, request_id, from, TailKind::REPLICA) {
                        state.end(service, Asked::Failed(error.to_string()));
                    }
                    moved = nanos(start.elapsed());
                }
            }
        }
        let mut result = Ok(());
        let now = nanos(start.elapsed());
        client.poll(Duration::from_millis(10), &mut |replica, event| {
            if matches!(event, ClientEvent::Packet { .. }) {
                moved = now;
            }
            if result.is_ok() {
                result = state.on_event(replica, &event, journal);
            }
        })?;
        result?;
        if nanos(start.elapsed()).saturating_sub(moved) >= nanos(patience) {
            give_up(&mut state, patience);
        }
    }
    client.close();
    journal.sync()?;
    Ok(state.outcome())
}

/// Patience is over: whoever is sending is left, and who has not answered yet is not waited for.
fn give_up(state: &mut CatchUp, patience: Duration) {
    for replica in 0..state.outcome.asked.len() {
        match state.outcome.asked[replica] {
            Asked::Sending => {
                state.end(
                    replica,
                    Asked::Failed(format!("it brought nothing for {patience:?}")),
                );
            }
            Asked::Waiting => {
                state.outcome.asked[replica] =
                    Asked::Failed(format!("it did not answer within {patience:?}"));
            }
            Asked::Ready | Asked::Done | Asked::Failed(_) => {}
        }
    }
}
