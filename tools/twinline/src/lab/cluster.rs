//! The lab as a whole: publisher, recovery service and listeners, started in order and watched while the scenario's steps are
//! done to them. Nothing here waits for ever.

use super::flood::Flood;
use super::network::{Dropped, Wires};
use super::part::{LEAD_IN, Part, Settings, Starter};
use super::place::{CHANNEL, Place};
use super::scenario::{Action, Step};
use super::spread::{Spread, Watch};
use super::view::View;
use crate::child::{Child, Said};
use crate::exit::{Exit, Failure};
use crate::progress::Event;
use crate::summary::Summary;
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a part may take until it is ready.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing at all may change. A publisher's heartbeats are a change.
const STALL_PATIENCE: Duration = Duration::from_secs(60);
/// How often ends of processes, steps that are due and the signal to stop are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What all parts left.
pub(super) struct Outcome {
    pub(super) publisher: Summary,
    /// Of each run of the recovery service.
    pub(super) recovery: Vec<Summary>,
    /// Of each server, of each run of its listener.
    pub(super) servers: Vec<Vec<Summary>>,
    pub(super) diff: Summary,
    pub(super) equal: bool,
    pub(super) spread: Spread,
    pub(super) dropped: Dropped,
    /// Datagrams of the flood, on each line.
    pub(super) junk: u64,
}

/// A server's listener.
struct Server {
    child: Option<Child>,
    /// The figures of its run now.
    figures: Summary,
    /// Those of the runs before.
    past: Vec<Summary>,
    /// How it was ended, if it is to be started again.
    again: Option<Ending>,
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Asked to, by SIGTERM.
    Stopped,
    /// By SIGKILL.
    Killed,
}

/// The running parts. Children come first: they go before their hosts.
pub(super) struct Cluster<'a> {
    publisher: Option<Child>,
    recovery: Option<Child>,
    servers: Vec<Server>,
    flood: Option<Flood>,
    starter: Starter<'a>,
    wires: &'a Wires,
    place: &'a Place,
    settings: &'a Settings,
    stop: &'a AtomicBool,
    view: &'a mut View,
    said: Receiver<Said>,
    /// The publisher's figures, and the recovery service's.
    published: Summary,
    served: Summary,
    served_before: Vec<Summary>,
    /// Children that said that they are ready and were not yet waited for.
    ready: BTreeSet<Part>,
    steps: VecDeque<Step>,
    watch: Watch,
    /// When anything last changed.
    changed: Instant,
    junk: u64,
}

impl<'a> Cluster<'a> {
    pub(super) fn new(
        wires: &'a Wires,
        place: &'a Place,
        settings: &'a Settings,
        stop: &'a AtomicBool,
        view: &'a mut View,
    ) -> Self {
        let (say, said) = channel();
        let rings = (1..=settings.servers).map(|server| place.ring(server));
        Self {
            publisher: None,
            recovery: None,
            servers: Vec::new(),
            flood: None,
            watch: Watch::new(CHANNEL, rings.collect(), settings.messages),
            starter: Starter {
                wires,
                place,
                settings,
                say,
            },
            wires,
            place,
            settings,
            stop,
            view,
            said,
            published: Summary::new("publisher"),
            served: Summary::new("recovery service"),
            served_before: Vec::new(),
            ready: BTreeSet::new(),
            steps: VecDeque::new(),
            changed: Instant::now(),
            junk: 0,
        }
    }

    /// Starts the recovery service, the listeners, and once all of them are ready the publisher.
    pub(super) fn start(&mut self) -> Result<(), Failure> {
        self.view.say("starting the recovery service and the listeners");
        self.recovery = Some(self.starter.start(Part::Recovery)?);
        for server in 1..=self.settings.servers {
            let child = self.starter.start(Part::Server(server))?;
            self.servers.push(Server {
                child: Some(child),
                figures: Summary::new(Part::Server(server).to_string()),
                past: Vec::new(),
                again: None,
                ended: false,
            });
        }
        self.wait_ready(Part::Recovery)?;
        for server in 1..=self.settings.servers {
            self.wait_ready(Part::Server(server))?;
        }
        self.publisher = Some(self.starter.start(Part::Publisher)?);
        self.wait_ready(Part::Publisher)
    }

    /// Does the steps, and watches until the publisher and all listeners have ended; then compares.
    pub(super) fn run(mut self, steps: Vec<Step>) -> Result<Outcome, Failure> {
        self.steps = steps.into();
        let first = Instant::now() + LEAD_IN;
        self.changed = Instant::now();
        while self.publisher.is_some() || self.servers.iter().any(|server| !server.ended) {
            self.take_news()?;
            self.take_ends()?;
            while let Some(step) = self.steps.front()
                && Instant::now() >= first + step.at
                && let Some(step) = self.steps.pop_front()
            {
                self.view.now(&step.says);
                self.act(step.action)?;
            }
            self.watch.look();
            let figures: Vec<&Summary> = self.servers.iter().map(|server| &server.figures).collect();
            self.view.show(&self.published, &figures, self.recovered());
            if self.changed.elapsed() > STALL_PATIENCE {
                return Err(self.stalled());
            }
        }
        let dropped = self.wires.dropped()?;
        self.end_flood()?;
        if let Some(child) = self.recovery.take() {
            child.ask_to_stop();
            let ended = child.end()?;
            match (ended.code, &ended.summary) {
                (Some(0), Some(summary)) => self.served_before.push(summary.clone()),
                _ => return Err(ended.failure()),
            }
        }
        self.view.say("comparing the journals, message by message");
        let (diff, equal) = self.compare()?;
        let servers = self.servers.into_iter().map(|server| server.past).collect();
        Ok(Outcome {
            publisher: self.published,
            recovery: self.served_before,
            servers,
            diff,
            equal,
            spread: self.watch.end(),
            dropped,
            junk: self.junk,
        })
    }

    fn act(&mut self, action: Action) -> Result<(), Failure> {
        match action {
            Action::LineADown => self.wires.take_line_a(),
            Action::Cut(on) => self.wires.cut(on),
            Action::KillRecovery => {
                if let Some(mut child) = self.recovery.take() {
                    child.kill();
                    child.end()?;
                    self.served_before.push(std::mem::replace(
                        &mut self.served,
                        Summary::new("recovery service"),
                    ));
                }
                Ok(())
            }
            Action::StartRecovery => {
                self.recovery = Some(self.starter.start(Part::Recovery)?);
                Ok(())
            }
            Action::Narrow(on) => {
                let rate = on.then(|| self.half_a_line());
                self.wires.narrow(1, rate)
            }
            Action::Flood(true) => {
                let flood = Flood::start(self.wires.stranger(), &self.place.lines, self.settings.servers)?;
                self.flood = Some(flood);
                Ok(())
            }
            Action::Flood(false) => self.end_flood(),
            Action::Restart { server, killed } => {
                let server = &mut self.servers[server - 1];
                if let Some(child) = &mut server.child {
                    if killed {
                        server.again = Some(Ending::Killed);
                        child.kill();
                    } else {
                        server.again = Some(Ending::Stopped);
                        child.ask_to_stop();
                    }
                }
                Ok(())
            }
        }
    }

    fn end_flood(&mut self) -> Result<(), Failure> {
        if let Some(flood) = self.flood.take() {
            self.junk += flood.end()?;
        }
        Ok(())
    }

    /// Half of what a line carries, in bits a second, by what the publisher has sent so far.
    fn half_a_line(&self) -> u64 {
        /// Ethernet, IP and UDP, on every packet.
        const HEADERS: u64 = 14 + 20 + 8;
        let (packets, bytes) = self
            .published
            .lines
            .as_ref()
            .map_or((0, 0), |lines| (lines.a.packets, lines.a.bytes));
        let (packets, bytes) = (packets.max(1), bytes.max(128));
        let a_message = (bytes + packets * HEADERS) / self.published.messages.max(1);
        (self.settings.rate * a_message * 8 / 2).max(8_000)
    }

    /// Messages that recovery brought to all servers so far.
    fn recovered(&self) -> u64 {
        let all = self.servers.iter();
        let runs = all.flat_map(|server| {
            server
                .past
                .iter()
                .chain((!server.ended).then_some(&server.figures))
        });
        runs.filter_map(|figures| figures.delivered.as_ref())
            .map(|delivered| delivered.recovery)
            .sum()
    }

    fn wait_ready(&mut self, part: Part) -> Result<(), Failure> {
        let deadline = Instant::now() + READY_PATIENCE;
        while Instant::now() < deadline {
            if self.ready.remove(&part) {
                return Ok(());
            }
            self.take_news()?;
            self.take_ends()?;
        }
        Err(Failure::peer(format!(
            "the {part} was not ready within {} s: this machine is too busy",
            READY_PATIENCE.as_secs()
        )))
    }

    /// Takes all news, and waits a little for the first.
    fn take_news(&mut self) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::error("stopped before the end: nothing was compared"));
        }
        let mut next = self.said.recv_timeout(LOOK_EVERY).ok();
        while let Some((from, event)) = next {
            let part = Part::of(from);
            match event {
                Event::Ready { .. } => {
                    self.ready.insert(part);
                }
                Event::Warning { text } => self.view.detail(&format!("{part}: warning: {text}")),
                Event::Progress(summary) => self.update(part, *summary),
            }
            next = self.said.try_recv().ok();
        }
        Ok(())
    }

    fn update(&mut self, part: Part, mut summary: Summary) {
        summary.command = part.to_string();
        let figures = match part {
            Part::Publisher => &mut self.published,
            Part::Recovery => &mut self.served,
            Part::Comparison => {
                self.changed = Instant::now();
                return;
            }
            Part::Server(server) => match self.servers.get_mut(server - 1) {
                Some(server) => &mut server.figures,
                None => return,
            },
        };
        let heartbeats = |summary: &Summary| summary.detail.get("heartbeats").cloned();
        if summary.messages != figures.messages || heartbeats(&summary) != heartbeats(figures) {
            self.changed = Instant::now();
        }
        *figures = summary;
    }

    /// Notices who has ended. An end before its time or with an error is a failure, unless it is a step of the scenario.
    fn take_ends(&mut self) -> Result<(), Failure> {
        if self.recovery.as_mut().is_some_and(Child::has_ended)
            && let Some(child) = self.recovery.take()
        {
            return Err(child.end()?.failure());
        }
        if self.publisher.as_mut().is_some_and(Child::has_ended)
            && let Some(child) = self.publisher.take()
        {
            let ended = child.end()?;
            self.changed = Instant::now();
            match (ended.code, &ended.summary) {
                (Some(0), Some(summary)) => self.published = summary.clone(),
                _ => return Err(ended.failure()),
            }
        }
        for number in 1..=self.servers.len() {
            let server = &mut self.servers[number - 1];
            if server.child.as_mut().is_some_and(Child::has_ended)
                && let Some(child) = server.child.take()
            {
                self.server_ended(number, child)?;
            }
        }
        Ok(())
    }

    fn server_ended(&mut self, number: usize, child: Child) -> Result<(), Failure> {
        let ended = child.end()?;
        self.changed = Instant::now();
        // What it said last is on its way still, and of a killed one it is all there is.
        self.take_news()?;
        let server = &mut self.servers[number - 1];
        let again = std::mem::take(&mut server.again);
        let loss = i32::from(Exit::Loss.code());
        let is_good = match ended.code {
            Some(code) => code == 0 || code == loss,
            None => again == Some(Ending::Killed),
        };
        if !is_good {
            return Err(ended.failure());
        }
        let mut figures = server.figures.clone();
        if let Some(summary) = ended.summary {
            figures = summary;
            figures.command = Part::Server(number).to_string();
        }
        // One that was complete before it could be asked to end is not begun again.
        let complete = figures.position.as_ref().is_some_and(|position| position.ended);
        if again.is_some() && !complete {
            // Where it stands is where it goes on.
            server.figures = Summary {
                position: figures.position.clone(),
                ..Summary::new(figures.command.clone())
            };
            server.past.push(figures);
            let child = self.starter.start(Part::Server(number))?;
            self.servers[number - 1].child = Some(child);
        } else {
            server.figures.clone_from(&figures);
            server.past.push(figures);
            server.ended = true;
        }
        Ok(())
    }

    fn stalled(&self) -> Failure {
        let mut waiting: Vec<String> = self
            .servers
            .iter()
            .filter(|server| !server.ended)
            .map(|server| format!("{} at sequence {}", server.figures.command, server.figures.next()))
            .collect();
        if self.publisher.is_some() {
            waiting.push("the publisher".into());
        }
        Failure::peer(format!(
            "nothing moved for {} s; still running: {}",
            STALL_PATIENCE.as_secs(),
            waiting.join(", ")
        ))
    }

    /// Lets a process of its own compare the journals; true if all are equal.
    fn compare(&mut self) -> Result<(Summary, bool), Failure> {
        let mut child = self.starter.start(Part::Comparison)?;
        self.changed = Instant::now();
        while !child.has_ended() {
            self.take_news()?;
            if self.changed.elapsed() > STALL_PATIENCE {
                return Err(Failure::peer("the comparison of the journals hangs"));
            }
        }
        child.end()?.comparison()
    }
}
