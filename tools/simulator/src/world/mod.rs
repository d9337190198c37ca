//! One run: the hosts, the network between them, a queue of what happens next, and the virtual clock.

mod verdict;

use crate::faults::{Counts, Fault, MS, Plan};
use crate::ledger::{Ledger, Session};
use crate::listener::ListenerHost;
use crate::publisher::{PublisherHost, Step};
use crate::replica::Replicas;
use crate::rng::Rng;
use crate::service::Service;
use crate::{Failure, Options};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::Path;
use std::rc::Rc;
use twinline_wire::Packet;
use twinline_wire::header::flags;

/// When a run begins: nanoseconds since the Unix epoch.
const BEGIN: u64 = 1_700_000_000_000_000_000;
/// A run that is not complete and does not move for this long after its last fault has failed.
const SETTLE: u64 = 3_000 * MS;
/// Virtual time that goes on after everything is complete: nothing more may come.
const AFTERMATH: u64 = 30 * MS;
/// A run with faults is not longer than this.
const LONGEST: u64 = 30_000 * MS;

enum What {
    Publisher,
    PublisherBack,
    Services,
    Listener(usize),
    Replica(usize),
    Datagram {
        listener: usize,
        line: usize,
        bytes: Rc<[u8]>,
    },
}

/// What happens next; of two at the same time the one that was planned first.
struct Next {
    at: u64,
    order: u64,
    what: What,
}

impl PartialEq for Next {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Next {}
impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Next {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

#[derive(Default)]
struct Queue {
    heap: BinaryHeap<Reverse<Next>>,
    order: u64,
}

impl Queue {
    fn add(&mut self, at: u64, what: What) {
        self.order += 1;
        let order = self.order;
        self.heap.push(Reverse(Next { at, order, what }));
    }
}

/// Where a line stands.
#[derive(Clone, Copy, Default)]
struct Sent {
    /// The sequence after the last message sent by the publisher that runs; 0 before it sent any.
    next: u64,
}

impl Sent {
    /// A heartbeat names what comes next on its line, and packets follow each other without a hole.
    /// Returns session and end of what the packet speaks of.
    fn check(&mut self, bytes: &[u8]) -> Result<(u32, u64), String> {
        let packet =
            Packet::parse(bytes).map_err(|error| format!("the publisher sends a bad packet: {error}"))?;
        let sequence = packet.sequence();
        let base = packet.header().epoch_base.get();
        let is_end = packet.header().flags & flags::END_OF_SESSION != 0;
        let expected = if self.next == 0 { base } else { self.next };
        if sequence != expected && !(is_end && self.next == 0) {
            return Err(format!(
                "a line carries sequence {sequence} where {expected} comes next"
            ));
        }
        if packet.header().count.get() > 0 {
            self.next = packet.end();
        }
        Ok((packet.header().session.get(), packet.end()))
    }
}

pub(crate) struct World<'a> {
    seed: u64,
    options: &'a Options,
    plan: Plan,
    rng: Rng,
    now: u64,
    queue: Queue,
    publisher: PublisherHost,
    services: Vec<Service>,
    listeners: Vec<ListenerHost>,
    replicas: Replicas,
    ledger: Ledger,
    /// A power cut has spoilt the journal, and the publisher has not recovered it yet.
    spoilt: bool,
    /// What was last sent on each line.
    sent: [Sent; 2],
    /// The end of what the lines have spoken of, by session.
    announced: BTreeMap<u32, u64>,
    counts: Counts,
    /// When the faults ended.
    calm_since: Option<u64>,
    /// When a listener's position was last seen to change, and the sum of them.
    progress: (u64, u64),
    /// When everything was complete.
    complete_since: Option<u64>,
    trace: Vec<String>,
}

impl<'a> World<'a> {
    pub(crate) fn new(seed: u64, options: &'a Options, dir: &Path) -> Self {
        let plan = Plan::draw(seed);
        let now = BEGIN;
        let services = plan.services.iter().enumerate();
        Self {
            seed,
            options,
            rng: Rng::new(seed, "world"),
            now,
            queue: Queue::default(),
            publisher: PublisherHost::new(seed, &plan, options, dir),
            services: services
                .map(|(at, service)| Service::new(seed, at, *service, dir, now))
                .collect(),
            listeners: (0..plan.listeners)
                .map(|at| ListenerHost::new(seed, at, &plan, options, dir, now))
                .collect(),
            replicas: Replicas::new(seed, &plan, dir, now),
            ledger: Ledger::default(),
            spoilt: false,
            sent: [Sent::default(); 2],
            announced: BTreeMap::new(),
            counts: Counts {
                seeds: 1,
                ..Counts::default()
            },
            calm_since: None,
            progress: (0, 0),
            complete_since: None,
            trace: Vec::new(),
            plan,
        }
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Result<(Counts, Vec<String>), Failure> {
        let result = self.run_through();
        self.gather_trace();
        match result {
            Ok(()) => {
                self.counts.virtual_time = self.now - BEGIN;
                Ok((self.counts, self.trace))
            }
            Err(what) => Err(Failure {
                seed: self.seed,
                at: self.now - BEGIN,
                what,
                trace: self.trace,
            }),
        }
    }

    fn note(&mut self, what: impl FnOnce(&Self) -> String) {
        if self.options.trace {
            let line = what(self);
            self.trace
                .push(format!("{:>12.6} {line}", (self.now - BEGIN) as f64 / 1e9));
        }
    }

    /// Adds what the listeners noted to the trace.
    fn gather_trace(&mut self) {
        for (number, listener) in self.listeners.iter().enumerate() {
            for (at, what) in listener.record.trace.iter().flatten() {
                let at = (at - BEGIN) as f64 / 1e9;
                self.trace.push(format!("{at:>12.6} listener {number}: {what}"));
            }
        }
        self.trace.sort();
    }

    fn run_through(&mut self) -> Result<(), String> {
        self.note(|world| format!("{:?}", world.plan));
        self.queue.add(BEGIN, What::PublisherBack);
        self.queue.add(BEGIN, What::Services);
        for listener in 0..self.listeners.len() {
            let at = BEGIN + self.rng.below(30 * MS);
            self.queue.add(at, What::Listener(listener));
        }
        for replica in 0..self.replicas.count() {
            self.queue.add(BEGIN, What::Replica(replica));
        }
        while let Some(Reverse(next)) = self.queue.heap.pop() {
            self.now = next.at;
            self.happen(next.what)?;
            if self
                .complete_since
                .is_some_and(|since| self.now > since + AFTERMATH)
            {
                break;
            }
        }
        self.finish()
    }

    fn happen(&mut self, what: What) -> Result<(), String> {
        match what {
            What::Datagram {
                listener,
                line,
                bytes,
            } => {
                self.listeners[listener].on_datagram(line, &bytes, self.now);
                Ok(())
            }
            What::Listener(listener) => self.step_listener(listener),
            What::Replica(replica) => self.step_replica(replica),
            What::Services => self.step_services(),
            What::Publisher => self.step_publisher(),
            What::PublisherBack => self.start_publisher(),
        }
    }

    fn start_publisher(&mut self) -> Result<(), String> {
        self.replicas
            .heal(self.publisher.place(), self.now, &mut self.counts)?;
        self.publisher.start(self.now, &mut self.counts)?;
        let synced = self.publisher.synced();
        self.spoilt = false;
        self.ledger.attach(self.publisher.journal(), synced)?;
        self.sent = [Sent::default(); 2];
        for service in self.services.iter_mut().filter(|service| service.is_local()) {
            service.down = false;
        }
        self.note(|world| format!("publisher starts: {}", world.publisher.describe()));
        self.queue.add(self.now, What::Publisher);
        Ok(())
    }

    fn step_publisher(&mut self) -> Result<(), String> {
        let session = self.ledger.sessions.get(&self.publisher.session());
        self.publisher
            .set_held(session.map_or(0, |session| session.entries.len() as u64));
        let step = self.publisher.step(self.now, &mut self.counts)?;
        self.ledger.follow()?;
        self.send()?;
        match step {
            Step::Running if self.publisher.must_restart() => {
                self.publisher.stop();
                let pause = self.rng.below(5 * MS);
                self.queue.add(self.now + pause, What::PublisherBack);
            }
            Step::Running => {
                let pause = self.publisher.pause(self.plan.pause);
                self.queue.add(self.now + pause, What::Publisher);
            }
            Step::Killed => {
                self.note(|_| "publisher killed".into());
                let away = self.rng.below(40 * MS);
                self.queue.add(self.now + away, What::PublisherBack);
            }
            Step::PowerCut => self.publisher_power_cut()?,
        }
        Ok(())
    }

    /// The journal's files are spoilt, and whatever ran on the publisher's machine is gone.
    fn publisher_power_cut(&mut self) -> Result<(), String> {
        self.note(|world| format!("publisher's power cut, synced {:?}", world.publisher.synced()));
        self.ledger.detach();
        self.spoilt = true;
        let now = self.now;
        for service in self.services.iter_mut().filter(|service| service.is_local()) {
            service.detach(now);
            service.down = true;
        }
        for listener in &mut self.listeners {
            listener.service_down(&self.services, self.now);
        }
        self.publisher.spoil(&mut self.counts)?;
        let away = self.rng.range(5, 60) * MS;
        self.queue.add(self.now + away, What::PublisherBack);
        Ok(())
    }

    /// Puts what the publisher sent onto the lines to every listener.
    fn send(&mut self) -> Result<(), String> {
        let (now, elapsed) = (self.now, self.now - BEGIN);
        let (queue, counts) = (&mut self.queue, &mut self.counts);
        for (line, packet) in self.publisher.take_sent() {
            let (session, end) = self.sent[line].check(&packet)?;
            let announced = self.announced.entry(session).or_default();
            *announced = end.max(*announced);
            for (at, listener) in self.listeners.iter_mut().enumerate() {
                listener
                    .lines
                    .send(line, &packet, now, elapsed, counts, |(time, bytes)| {
                        let what = What::Datagram {
                            listener: at,
                            line,
                            bytes,
                        };
                        queue.add(time, what);
                    });
            }
        }
        Ok(())
    }

    fn step_services(&mut self) -> Result<(), String> {
        let elapsed = self.now - BEGIN;
        let outage = self.plan.outage.filter(|_| self.calm_since.is_none());
        let out = outage.is_some_and(|(begin, end)| (begin..end).contains(&elapsed));
        for service in &mut self.services {
            if out && !service.out {
                self.counts.hit(Fault::Outage);
            }
            service.out = out;
            service.step(self.publisher.journal(), self.spoilt, self.now, &mut self.counts)?;
        }
        self.look_around()?;
        self.queue.add(self.now + MS, What::Services);
        Ok(())
    }

    fn step_replica(&mut self, replica: usize) -> Result<(), String> {
        self.replicas
            .step(replica, &mut self.services, self.now, &mut self.counts)?;
        self.queue.add(self.now + MS, What::Replica(replica));
        Ok(())
    }

    fn step_listener(&mut self, listener: usize) -> Result<(), String> {
        let host = &mut self.listeners[listener];
        host.newest = self.publisher.session();
        host.step(
            (self.seed, listener),
            &mut self.services,
            self.now,
            &mut self.counts,
        )?;
        host.check_memory(self.plan.window)?;
        if let Some((session, end)) = host.take_asked() {
            let known = self.ledger.sessions.get(&session).map_or(1, Session::end);
            let announced = self.announced.get(&session).copied().unwrap_or(1);
            if end > known.max(announced) {
                return Err(format!(
                    "listener {listener} asks for session {session} up to {end}, of which nobody has spoken"
                ));
            }
        }
        let pause = MS / 2 + self.rng.below(MS);
        self.queue.add(self.now + pause, What::Listener(listener));
        Ok(())
    }

    /// Ends the faults when everything is published, and the run when everything is delivered.
    fn look_around(&mut self) -> Result<(), String> {
        let elapsed = self.now - BEGIN;
        if self.calm_since.is_none() {
            let outage_over = self.plan.outage.is_none_or(|(_, end)| elapsed >= end);
            if self.publisher.finished && outage_over || elapsed > LONGEST {
                self.calm_since = Some(self.now);
                self.note(|_| "faults end".into());
                self.publisher.calm_down();
                self.services.iter_mut().for_each(Service::calm_down);
                self.listeners.iter_mut().for_each(ListenerHost::calm_down);
                self.replicas.calm_down();
            }
        }
        let Some(calm) = self.calm_since else {
            return Ok(());
        };
        if self.complete_since.is_none() && self.publisher.finished && self.is_complete() {
            self.complete_since = Some(self.now);
        }
        let positions = self
            .listeners
            .iter()
            .filter_map(|listener| listener.record.position());
        let sum = positions
            .map(|at| u64::from(at.session) << 48 ^ at.next)
            .fold(self.replicas.progress(), u64::wrapping_add);
        if sum != self.progress.1 {
            self.progress = (self.now, sum);
        }
        if self.complete_since.is_none() && self.now > calm.max(self.progress.0) + SETTLE {
            let positions: Vec<String> = self.listeners.iter().map(ListenerHost::describe).collect();
            let end = self.ledger.sessions.iter().next_back();
            return Err(format!(
                "nothing moves for {} ms after the last fault: the journal ends at session {:?} sequence {:?}, listeners at {}, replicas at {}",
                SETTLE / MS,
                end.map(|(number, _)| number),
                end.map(|(_, session)| session.end()),
                positions.join(", "),
                self.replicas.describe()
            ));
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let Some((&number, session)) = self.ledger.sessions.iter().next_back() else {
            return false;
        };
        let reached = |listener: &ListenerHost| {
            listener.record.position().is_some_and(|position| {
                (position.session, position.next) == (number, session.end())
                    && position.ended == session.ended
            })
        };
        self.listeners
            .iter()
            .all(|listener| listener.live.is_some() && reached(listener))
            && self.replicas.have_reached(number, session.end())
    }
}
