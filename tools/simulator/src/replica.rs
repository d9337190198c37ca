//! Replicas: the real state machine over real journals, each following the publisher's services and the other replicas, with
//! a service of its own; killed, without power, cut off. And what a publisher does with them after its own power cut.

use crate::faults::{Counts, Fault, MS, Plan, RecoveryPlan};
use crate::powercut;
use crate::publisher::{CHANNEL, SEGMENT};
use crate::rng::Rng;
use crate::service::{Connection, Service};
use std::path::{Path, PathBuf};
use std::time::Duration;
use twinline_feed::publisher::Place;
use twinline_journal::epoch::{ChannelRecord, EpochStore};
use twinline_journal::{JournalConfig, JournalReader, JournalWriter, Prepare, Retention, SyncPolicy};
use twinline_recovery::follow::Action as Follow;
use twinline_recovery::replica::{Action, Asked, CatchUp, Replica, ReplicaConfig};
use twinline_recovery::{ClientConfig, ClientSession, Mark};
use twinline_wire::field::TailKind;

/// One machine with a replica.
struct Host {
    dir: PathBuf,
    config: JournalConfig,
    replica: Option<Replica>,
    /// To the publisher's services, then to every replica's (its own is never up).
    connections: Vec<Connection>,
    rng: Rng,
    back_at: u64,
    /// The most that it acknowledged, and the epoch that it had then.
    acknowledged: (Mark, u32),
}

/// All replicas of a run, and their services.
pub(crate) struct Replicas {
    hosts: Vec<Host>,
    services: Vec<Service>,
    kill: u32,
    power_cut: u32,
    sync: u64,
    calm: bool,
}

impl Replicas {
    pub(crate) fn new(seed: u64, plan: &Plan, dir: &Path, now: u64) -> Self {
        let count = plan.replicas;
        let host = |at: usize| Host {
            dir: dir.join(format!("replica-{at}")),
            config: JournalConfig {
                channel: CHANNEL,
                max_packet: plan.packet_limit,
                segment_size: SEGMENT,
                sync: SyncPolicy::None,
                retention: Retention::default(),
                prepare: Prepare::Inline,
            },
            replica: None,
            connections: (0..plan.services.len() + count)
                .map(|service| Connection::new(seed, 100 + at, service, now))
                .collect(),
            rng: Rng::mixed(&[seed, at as u64, 0x4e91]),
            back_at: now,
            acknowledged: (Mark::default(), 0),
        };
        let service = |at: usize| {
            let plan = RecoveryPlan {
                copy_every: 0,
                kill: 0,
                retention: false,
                ..plan.services[at % plan.services.len()]
            };
            let mut service = Service::new(seed, 100 + at, plan, dir, now);
            service.down = true;
            service
        };
        Self {
            hosts: (0..count).map(host).collect(),
            services: (0..count).map(service).collect(),
            kill: plan.replica_kill,
            power_cut: plan.replica_power_cut,
            sync: plan.replica_sync,
            calm: false,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.hosts.len()
    }

    /// No more faults.
    pub(crate) fn calm_down(&mut self) {
        self.calm = true;
        self.services.iter_mut().for_each(Service::calm_down);
    }

    /// Where each stands; as one number that grows.
    pub(crate) fn progress(&self) -> u64 {
        let at = |host: &Host| {
            host.replica
                .as_ref()
                .map_or(0, |replica| replica.follower().at().next)
        };
        self.hosts.iter().map(at).sum()
    }

    /// Where each stands, in words.
    pub(crate) fn describe(&self) -> String {
        let at = |host: &Host| match &host.replica {
            Some(replica) => {
                let follower = replica.follower();
                let at = follower.at();
                format!("{}:{} follows {:?}", at.session, at.next, follower.following())
            }
            None => "down".into(),
        };
        let all: Vec<String> = self.hosts.iter().map(at).collect();
        all.join(", ")
    }

    /// True if all of them hold everything up to there.
    pub(crate) fn have_reached(&self, session: u32, next: u64) -> bool {
        let mark = Mark::new(session, next);
        let reached = |host: &Host| {
            host.replica
                .as_ref()
                .is_some_and(|replica| replica.follower().at() == mark && replica.durable() == mark)
        };
        self.hosts.iter().all(reached)
    }

    /// A step of 1 ms of one of them.
    pub(crate) fn step(
        &mut self,
        at: usize,
        upstreams: &mut [Service],
        now: u64,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let fail = |what: String| format!("replica {at}: {what}");
        let host = &mut self.hosts[at];
        let Some(mut replica) = host.replica.take() else {
            if now >= host.back_at {
                let replica = host.open(upstreams.len() + self.services.len(), self.sync, counts);
                host.replica = Some(replica.map_err(fail)?);
                self.services[at].down = false;
            }
            return Ok(());
        };
        if !self.calm && (host.rng.chance(self.kill) || host.rng.chance(self.power_cut)) {
            let power = self.power_cut > 0 && host.rng.one_in(2);
            host.die(replica, power, now, counts).map_err(fail)?;
            self.services[at].detach(now);
            self.services[at].down = true;
            return Ok(());
        }
        let own = upstreams.len() + at;
        let services = upstreams.iter_mut().chain(&mut self.services).enumerate();
        for (number, service) in services.filter(|(number, _)| *number != own) {
            let mut result = Ok(());
            host.connections[number].step(service, now, counts, &mut |event| {
                if result.is_ok() {
                    result = replica.on_event(number, &event, now);
                }
            });
            result.map_err(|error| fail(error.to_string()))?;
        }
        replica.on_time(now).map_err(|error| fail(error.to_string()))?;
        let before = replica.follower().counters();
        while let Some(action) = replica.next_action(now) {
            host.act(&mut replica, action, now);
        }
        let after = replica.follower().counters();
        counts.hits(Fault::UpstreamSwitch, after.switches - before.switches);
        if let Some(warning) = replica.take_warnings().find(|text| text.contains("CONTRADICTS")) {
            return Err(fail(warning));
        }
        self.services[at].release(replica.released());
        self.services[at].step(&host.dir, false, now, counts)?;
        host.replica = Some(replica);
        Ok(())
    }

    /// What a publisher that lost power does before it opens its epoch, with those of them that are up.
    ///
    /// # Errors
    /// If what one that was reached had acknowledged is lost all the same.
    pub(crate) fn heal(&mut self, place: &Place, now: u64, counts: &mut Counts) -> Result<(), String> {
        let failed =
            |error: &dyn std::fmt::Display| format!("the publisher's journal is not healed: {error}");
        let store = EpochStore::open(&place.store).map_err(|error| failed(&error))?;
        let Some(record) = store.channel(CHANNEL).map_err(|error| failed(&error))? else {
            return Ok(());
        };
        let journal = JournalWriter::open(&place.journal, place.journal_config.clone());
        let mut journal = journal.map_err(|error| failed(&error))?;
        let found = journal.recovered();
        counts.torn_tails += u64::from(found.torn_bytes > 0 || found.torn_segments > 0);
        if !CatchUp::is_needed(&record, &place.holder, journal.id()) {
            return Ok(());
        }
        let state = CatchUp::new(&place.journal, &journal, record.clone(), self.hosts.len());
        let mut state = state.map_err(|error| failed(&error))?;
        let mut reached = Vec::new();
        for at in 0..self.hosts.len() {
            if self.hosts[at].replica.is_some() {
                self.services[at].step(&self.hosts[at].dir, false, now, counts)?;
                let service = &mut self.services[at];
                ask(at, service, &mut state, &mut journal, now).map_err(|error| failed(&error))?;
                reached.push(at);
            }
        }
        let outcome = state.outcome();
        if outcome.messages > 0 {
            counts.hit(Fault::PublisherHealed);
        }
        for at in reached {
            if let Asked::Failed(why) = &outcome.asked[at] {
                return Err(format!("replica {at} does not help the publisher: {why}"));
            }
            let (held, epoch) = self.hosts[at].acknowledged;
            let tail = journal
                .tail()
                .map_or(Mark::default(), |tail| Mark::new(tail.session, tail.next));
            if tail < held && !is_void(&record, held, epoch) {
                return Err(format!(
                    "the publisher's journal ends at {tail:?} although replica {at}, which it reached, had acknowledged {held:?}"
                ));
            }
        }
        Ok(())
    }

    /// At the end each of them holds the publisher's packets, record by record.
    ///
    /// # Errors
    /// The first difference.
    pub(crate) fn check(&self, journal: &Path) -> Result<(), String> {
        let publisher = records(journal)?;
        let newest = publisher.last().map_or(0, |(session, _, _)| *session);
        for (at, host) in self.hosts.iter().enumerate() {
            let held = records(&host.dir)?;
            // What a power cut took from the publisher at the end of a session that nobody went on with, stays here.
            let mut held = held.iter().peekable();
            for record in &publisher {
                while held
                    .next_if(|extra| extra.0 < record.0 && extra.0 < newest)
                    .is_some()
                {}
                match held.next() {
                    Some(found) if found == record => {}
                    found => {
                        return Err(format!(
                            "replica {at} is not the publisher's journal: session {} sequence {} there, {:?} here",
                            record.0,
                            record.1,
                            found.map(|found| (found.0, found.1))
                        ));
                    }
                }
            }
            if let Some(more) = held.next() {
                return Err(format!(
                    "replica {at} holds session {} sequence {}, which the publisher does not",
                    more.0, more.1
                ));
            }
        }
        Ok(())
    }
}

/// True if a later epoch on record made void what lies before this mark.
fn is_void(record: &ChannelRecord, held: Mark, epoch: u32) -> bool {
    let cuts = record.epochs.iter().filter(|later| later.epoch > epoch);
    held.session != record.session || cuts.map(|later| later.valid_end).any(|end| end < held.next)
}

/// All packets of a journal: session, sequence, bytes.
fn records(dir: &Path) -> Result<Vec<(u32, u64, Vec<u8>)>, String> {
    let failed = |error| format!("{}: {error}", dir.display());
    let mut reader = JournalReader::open(dir).map_err(failed)?;
    let mut records = Vec::new();
    while let Some(packet) = reader.next().map_err(failed)? {
        let session = packet.header().session.get();
        records.push((session, packet.sequence(), packet.bytes().to_vec()));
    }
    Ok(records)
}

/// The whole dialogue of a publisher with one replica, at once.
fn ask(
    at: usize,
    service: &mut Service,
    state: &mut CatchUp,
    journal: &mut JournalWriter,
    now: u64,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut client = ClientSession::new(ClientConfig::new("publisher", CHANNEL))?;
    client.on_connected(now);
    let mut server = service.session(now);
    let mut quiet = 0;
    while quiet < 3 && client.is_connected() {
        let taken = server.on_bytes(client.output());
        client.consumed(taken);
        let output = service.output(&mut server, now);
        let count = output.len();
        let mut result = Ok(());
        client.on_bytes(&output, now, &mut |event| {
            if result.is_ok() {
                result = state.on_event(at, &event, journal);
            }
        });
        result?;
        while let Some(action) = state.next_action() {
            match action {
                Follow::Tail { request_id, from, .. } => {
                    client.tail(request_id, from, TailKind::REPLICA, now)?;
                }
                Follow::Leave { .. } => client.log_out(),
            }
        }
        quiet = if taken + count == 0 { quiet + 1 } else { 0 };
    }
    Ok(())
}

impl Host {
    fn open(&mut self, upstreams: usize, sync: u64, counts: &mut Counts) -> Result<Replica, String> {
        let journal = JournalWriter::open(&self.dir, self.config.clone())
            .map_err(|error| format!("it does not start again: {error}"))?;
        let found = journal.recovered();
        counts.torn_tails += u64::from(found.torn_bytes > 0 || found.torn_segments > 0);
        let config = ReplicaConfig {
            sync_interval: Duration::from_nanos(sync),
            patience: Duration::from_millis(8),
        };
        let replica = Replica::open(&self.dir, journal, upstreams, config)
            .map_err(|error| format!("it does not start again: {error}"))?;
        let at = replica.follower().at();
        if at < self.acknowledged.0 {
            return Err(format!(
                "it had acknowledged {:?}, and holds only {at:?} after it was started again",
                self.acknowledged.0
            ));
        }
        Ok(replica)
    }

    fn act(&mut self, replica: &mut Replica, action: Action, now: u64) {
        match action {
            Action::Follow(Follow::Leave { service }) => {
                self.connections[service].break_off(now, &mut |_| {});
            }
            Action::Follow(Follow::Tail {
                service,
                request_id,
                from,
            }) => {
                let client = &mut self.connections[service].client;
                if client.tail(request_id, from, TailKind::REPLICA, now).is_err() {
                    replica.not_asked(service, now);
                }
            }
            Action::Acknowledge { service, held, epoch } => {
                let client = &mut self.connections[service].client;
                if client.acknowledge(held, epoch, now).is_ok() {
                    self.acknowledged = self.acknowledged.max((held, epoch));
                }
            }
        }
    }

    /// The process is killed, or the machine's power is cut.
    fn die(&mut self, replica: Replica, power: bool, now: u64, counts: &mut Counts) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("its journal's files: {error}");
        powercut::kill(&self.dir, replica).map_err(failed)?;
        if power {
            powercut::cut(&self.dir, &mut self.rng, false).map_err(failed)?;
            counts.hit(Fault::ReplicaPowerCut);
        } else {
            counts.hit(Fault::ReplicaKill);
        }
        for connection in &mut self.connections {
            connection.break_off(now, &mut |_| {});
        }
        self.back_at = now + self.rng.range(1, 60) * MS;
        Ok(())
    }
}
