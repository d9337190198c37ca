//! A replica: the publisher's journal again, record by record, on another machine.
//!
//! [`Replica`] is the state machine: events of connections to its upstreams and the time go in; packets go into its
//! journal, and requests and acknowledgements come out. [`run`](shell::run) is the shell around it; a
//! [`Service`](crate::Service) over the journal serves what is released.
//!
//! - It appends only what continues its journal, checked by checksum, sequence and epoch, and discards what an EpochStart
//!   makes void, as the publisher's own open does.
//! - It acknowledges only what it holds durably, and only to an upstream that has shown that it holds the same.
//! - It serves nobody beyond what its upstream said is released. That mark is written down beside the journal, so that a
//!   replica that starts while no upstream is there serves what it may.

mod catch_up;
mod released;
mod shell;

pub use catch_up::{Asked, CatchUp, CatchUpError, Outcome, catch_up};
pub use shell::{Progress, ReplicaStats, RunConfig, RunError, run};

use crate::client::ClientEvent;
use crate::follow::{Action as FollowAction, Follower, Heard, Held, Stuck};
use crate::planted::{Bug, is_planted};
use crate::{Mark, nanos};
use released::ReleasedFile;
use std::path::Path;
use std::time::Duration;
use twinline_journal::{JournalError, JournalReader, JournalWriter, Seek};
use twinline_wire::Packet;

/// How a replica behaves.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaConfig {
    /// What is held is made durable, and then acknowledged, this often.
    pub sync_interval: Duration,
    /// An upstream that brings nothing for so long while it or another is further is left.
    pub patience: Duration,
}

impl Default for ReplicaConfig {
    /// Every 100 ms; after 2 s.
    fn default() -> Self {
        Self {
            sync_interval: Duration::from_millis(100),
            patience: Duration::from_secs(2),
        }
    }
}

/// Why a replica cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// Its journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The mark beside it.
    #[error("cannot write {path}: {source}; free space there, or change its permissions")]
    Released {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The journal was made for smaller packets than the publisher's.
    #[error(
        "the stream has packets of {found} bytes, the replica's journal takes {limit}: start it on a new journal with --packet-size as the publisher has it"
    )]
    PacketSize {
        /// Bytes of the packet.
        found: usize,
        /// The journal's limit.
        limit: usize,
    },
    /// What stands in the journal is no publisher's.
    #[error(
        "the journal in {dir} is a listener's or another that is no copy of a publisher's: name a directory of the replica's own"
    )]
    NotAReplica {
        /// The journal's directory.
        dir: String,
    },
}

/// What the caller is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask for a tail, or leave an upstream.
    Follow(FollowAction),
    /// Tell the upstream what is held durably. Can be left out: a later one says more.
    Acknowledge {
        /// The upstream.
        service: usize,
        /// Everything before this.
        held: Mark,
        /// The newest epoch held.
        epoch: u32,
    },
}

/// What a replica counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaCounters {
    /// Messages appended.
    pub messages: u64,
    /// Packets appended.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages discarded, because an epoch made them void.
    pub discarded: u64,
    /// Times that the journal was made durable.
    pub syncs: u64,
    /// Acknowledgements sent.
    pub acknowledgements: u64,
}

/// The state machine. See the module.
#[derive(Debug)]
pub struct Replica {
    follower: Follower,
    journal: JournalWriter,
    channel: u16,
    max_packet: usize,
    released_file: ReleasedFile,
    released: Mark,
    sync_interval: u64,
    sync_at: u64,
    /// Everything before this survives a power cut.
    durable: Mark,
    /// What was acknowledged last, on the present tail or an earlier one.
    acknowledged: Mark,
    counters: ReplicaCounters,
}

impl Replica {
    /// A replica with this journal, which is in `dir`, of so many upstreams, in the order of preference.
    ///
    /// # Errors
    /// If the journal cannot be read or made durable, or is no copy of a publisher's.
    pub fn open(
        dir: &Path,
        mut journal: JournalWriter,
        upstreams: usize,
        config: ReplicaConfig,
    ) -> Result<Self, ReplicaError> {
        // A kill leaves what no sync has seen.
        journal.sync()?;
        let reader = JournalReader::open(dir)?;
        let (channel, max_packet) = (reader.channel(), reader.max_packet());
        let held = last_held(dir, &journal)?;
        let follower = Follower::new(upstreams, held, Mark::default(), config.patience);
        let released_file = ReleasedFile::new(dir);
        let durable = follower.at();
        Ok(Self {
            released: released_file.read().min(durable),
            released_file,
            follower,
            journal,
            channel,
            max_packet,
            sync_interval: nanos(config.sync_interval),
            sync_at: 0,
            durable,
            acknowledged: Mark::default(),
            counters: ReplicaCounters::default(),
        })
    }

    /// Something happened at an upstream.
    ///
    /// # Errors
    /// If the journal does not take what came: the replica must stop.
    pub fn on_event(
        &mut self,
        upstream: usize,
        event: &ClientEvent<'_>,
        now: u64,
    ) -> Result<(), ReplicaError> {
        match self.follower.on_event(upstream, event, now) {
            Heard::Nothing => {}
            Heard::Packet { packet, cut } => self.take(upstream, &packet, cut, now)?,
        }
        if let Some(mark) = self.follower.released() {
            self.released = self.released.max(mark);
        }
        Ok(())
    }

    fn take(
        &mut self,
        upstream: usize,
        packet: &Packet<'_>,
        cut: Option<u64>,
        now: u64,
    ) -> Result<(), ReplicaError> {
        let header = packet.header();
        if header.channel.get() != self.channel {
            let how = format!(
                "it sends packets of channel {}, not {}",
                header.channel, self.channel
            );
            self.follower.contradicts(upstream, &how, now);
            return Ok(());
        }
        if packet.bytes().len() > self.max_packet {
            return Err(ReplicaError::PacketSize {
                found: packet.bytes().len(),
                limit: self.max_packet,
            });
        }
        if let Some(from) = cut {
            if is_planted(Bug::VoidTailKept) {
                return self.keep_void(packet, from);
            }
            match self.journal.discard_from(from) {
                Ok(messages) => self.counters.discarded += messages,
                // The cut stands inside of a packet of ours, or before all that we hold: it is another stream's.
                Err(error @ (JournalError::InsidePacket { .. } | JournalError::NotHeld { .. })) => {
                    self.follower.contradicts(upstream, &error.to_string(), now);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
            let void = Mark::new(header.session.get(), from);
            self.durable = self.durable.min(void);
        }
        self.journal.append(packet.bytes())?;
        self.counters.messages += u64::from(header.count.get());
        self.counters.packets += 1;
        self.counters.bytes += packet.bytes().len() as u64;
        self.follower.taken(packet);
        Ok(())
    }

    /// The planted bug: what is void stays, and a notice explains it to the journal.
    fn keep_void(&mut self, packet: &Packet<'_>, from: u64) -> Result<(), ReplicaError> {
        use twinline_wire::session::Void;
        use twinline_wire::{OpenPacket, Stamp, flags};
        let Some(tail) = self.journal.tail() else {
            return Ok(());
        };
        let void = Void {
            begin: from.into(),
            end: tail.next.into(),
            epoch: packet.header().epoch,
        };
        let stamp = Stamp {
            flags: flags::LOCAL,
            sequence: tail.next,
            epoch: tail.epoch,
            epoch_base: tail.epoch_base,
            ..Stamp::of(packet.header())
        };
        let mut buffer = [0; 256];
        let mut open = OpenPacket::new();
        open.push(&mut buffer, &void);
        let length = open.finish_whole(&mut buffer, stamp, 0);
        self.journal.append(&buffer[..length])?;
        self.journal.append(packet.bytes())?;
        self.follower.taken(packet);
        Ok(())
    }

    /// Time passes: what is held is made durable when that is due.
    ///
    /// # Errors
    /// If it cannot be made durable: the replica must stop.
    pub fn on_time(&mut self, now: u64) -> Result<(), ReplicaError> {
        if now < self.sync_at {
            return Ok(());
        }
        self.sync_at = now + self.sync_interval;
        self.sync()
    }

    /// Makes everything held durable, now.
    ///
    /// # Errors
    /// If it cannot.
    pub fn sync(&mut self) -> Result<(), ReplicaError> {
        let at = self.follower.at();
        if self.durable != at && self.follower.held().is_some() {
            if !is_planted(Bug::AcknowledgedTooEarly) {
                self.journal.sync()?;
            }
            self.counters.syncs += 1;
            self.durable = at;
        }
        self.released_file.write(self.released)
    }

    /// What is to be done now, one after the other, until there is nothing.
    pub fn next_action(&mut self, now: u64) -> Option<Action> {
        if let Some(action) = self.follower.next_action(now) {
            if matches!(action, FollowAction::Tail { .. }) {
                // Nothing was acknowledged on it yet.
                self.acknowledged = Mark::default();
            }
            return Some(Action::Follow(action));
        }
        let service = self
            .follower
            .following()
            .filter(|_| self.follower.is_confirmed())?;
        let epoch = self.follower.held()?.tail.epoch;
        if self.durable <= self.acknowledged {
            return None;
        }
        self.acknowledged = self.durable;
        self.counters.acknowledgements += 1;
        Some(Action::Acknowledge {
            service,
            held: self.durable,
            epoch,
        })
    }

    /// When [`on_time`](Self::on_time) or [`next_action`](Self::next_action) have something to do.
    pub fn deadline(&self, now: u64) -> u64 {
        self.follower.deadline(now).min(self.sync_at)
    }

    /// A tail could not be asked for.
    pub fn not_asked(&mut self, upstream: usize, now: u64) {
        self.follower.not_asked(upstream, now);
    }

    /// How far may be served.
    pub fn released(&self) -> Mark {
        self.released
    }

    /// Everything before this survives a power cut.
    pub fn durable(&self) -> Mark {
        self.durable
    }

    /// What was acknowledged last.
    pub fn acknowledged(&self) -> Mark {
        self.acknowledged
    }

    /// Whom it follows, and how far it is.
    pub fn follower(&self) -> &Follower {
        &self.follower
    }

    /// What an operator should know, since this was called last.
    pub fn take_warnings(&mut self) -> impl Iterator<Item = String> {
        self.follower.take_warnings()
    }

    /// What was counted.
    pub fn counters(&self) -> ReplicaCounters {
        self.counters
    }

    /// Why it can go on with no upstream, if that is so.
    pub fn stuck(&self) -> Option<Stuck> {
        self.follower.stuck()
    }
}

/// What a journal that is a copy of a publisher's, in `dir`, holds last.
///
/// # Errors
/// If it cannot be read, or its last packet is a listener's.
pub fn last_held(dir: &Path, journal: &JournalWriter) -> Result<Option<Held>, ReplicaError> {
    let Some(tail) = journal.tail() else {
        return Ok(None);
    };
    let not_a_replica = || ReplicaError::NotAReplica {
        dir: dir.display().to_string(),
    };
    let mut reader = JournalReader::open(dir)?;
    let found = reader.seek(tail.session, tail.next.saturating_sub(1))?;
    let packet = match found {
        Seek::Found => reader.next()?,
        _ => None,
    };
    let held = packet
        .filter(|packet| packet.header().count.get() > 0)
        .map(|packet| Held {
            tail,
            last: *packet.header(),
        });
    let held = held
        .filter(|held| held.last.end() == tail.next)
        .ok_or_else(not_a_replica)?;
    // A listener's notice may stand behind it.
    match reader.next()? {
        None => Ok(Some(held)),
        Some(_) => Err(not_a_replica()),
    }
}
