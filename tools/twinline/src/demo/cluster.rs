//! The demo's processes: started in order, watched, stopped. Nothing here waits for ever.

use super::place::Place;
use crate::child::{Child, Ended, Said};
use crate::exit::{Exit, Failure};
use crate::progress::Event;
use crate::summary::Summary;
use crate::table::LiveTable;
use crate::usage::Machine;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use twinline_line::impair::Spec;

/// How long a part may take until it is ready.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing at all may change. A publisher's heartbeats are a change.
const STALL_PATIENCE: Duration = Duration::from_secs(60);
/// How often ends of processes and the signal to stop are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Small files: four or more journals stand on this machine at once.
const SEGMENT_SIZE: &str = "16MiB";

/// What all parts left.
pub(super) struct Outcome {
    pub(super) publisher: Summary,
    pub(super) recovery: Summary,
    pub(super) listeners: Vec<Summary>,
    pub(super) diff: Summary,
    /// The differences in words.
    pub(super) diff_text: String,
    pub(super) equal: bool,
    /// The share of all cores' time that was busy while the publisher ran.
    pub(super) busy: Option<f64>,
}

/// The running parts.
pub(super) struct Cluster<'a> {
    place: &'a Place,
    stop: &'a AtomicBool,
    live: &'a mut LiveTable,
    said: Receiver<Said>,
    say: Sender<Said>,
    recovery: Option<Child>,
    /// The publisher is number 0, then the listeners.
    parts: Vec<Part>,
    /// The last figures of each part, in the same order.
    figures: Vec<Summary>,
    /// Children that said that they are ready and were not yet waited for, and where they listen.
    ready: BTreeMap<usize, Option<String>>,
    /// When anything last changed.
    changed: Instant,
    /// The machine when the publisher started, and how busy it was until the publisher ended.
    before: Option<Machine>,
    busy: Option<f64>,
}

/// The publisher or a listener, running or not.
struct Part {
    child: Option<Child>,
    ended: Option<Ended>,
}

/// The number of a child that is not in the table.
const APART: usize = usize::MAX;

impl<'a> Cluster<'a> {
    pub(super) fn new(place: &'a Place, stop: &'a AtomicBool, live: &'a mut LiveTable) -> Self {
        let (say, said) = channel();
        Self {
            place,
            stop,
            live,
            said,
            say,
            recovery: None,
            parts: Vec::new(),
            figures: Vec::new(),
            ready: BTreeMap::new(),
            changed: Instant::now(),
            before: None,
            busy: None,
        }
    }

    /// Starts the recovery service, the listeners, and once all of them are ready the publisher.
    pub(super) fn start(
        &mut self,
        listeners: usize,
        impairment: Option<Spec>,
        source: &[String],
        idle: &str,
    ) -> Result<(), Failure> {
        let journal = self.place.publisher();
        let mut lines = self.line_arguments();
        lines.extend(["--idle".into(), idle.into()]);
        let arguments = ["recover", "--listen", "127.0.0.1:0", "--journal", text(&journal)?];
        let recovery = Child::start(APART, "recovery service", arguments, &self.say)?;
        self.recovery = Some(recovery);
        let address = self.wait_ready(APART)?.unwrap_or_default();

        self.figures = vec![Summary::new("publisher")];
        let mut started = Vec::new();
        for number in 1..=listeners {
            let name = format!("listener {number}");
            let own = self.place.listener(number);
            let mut arguments = vec![
                "listen",
                "--until-end",
                "--journal",
                text(&own)?,
                "--segment-size",
                SEGMENT_SIZE,
            ];
            arguments.extend(["--sync", "none", "--recovery", &address]);
            arguments.extend(lines.iter().map(String::as_str));
            let spec = impairment.map(|spec| spec.for_receiver(number as u64 - 1).to_string());
            if let Some(spec) = &spec {
                arguments.extend(["--impair", spec]);
            }
            self.figures.push(Summary::new(&name));
            started.push(Part::running(Child::start(number, name, arguments, &self.say)?));
        }
        // The publisher's place comes first; it is taken below.
        self.parts.push(Part {
            child: None,
            ended: None,
        });
        self.parts.extend(started);
        for number in 1..=listeners {
            self.wait_ready(number)?;
        }
        let mut arguments = vec![
            "publish",
            "--journal",
            text(&journal)?,
            "--segment-size",
            SEGMENT_SIZE,
        ];
        arguments.extend(["--sync", "none", "--linger", "1s"]);
        arguments.extend(source.iter().chain(&lines).map(String::as_str));
        self.before = Machine::now();
        self.parts[0] = Part::running(Child::start(0, "publisher", arguments, &self.say)?);
        Ok(())
    }

    fn line_arguments(&self) -> Vec<String> {
        let [a, b] = &self.place.lines;
        vec!["--line-a".into(), a.to_string(), "--line-b".into(), b.to_string()]
    }

    /// Watches until the publisher and all listeners have ended, then compares.
    pub(super) fn run(mut self) -> Result<Outcome, Failure> {
        self.changed = Instant::now();
        while self.parts.iter().any(|part| part.ended.is_none()) {
            self.take_news()?;
            self.take_ends()?;
            if self.busy.is_none() && self.parts[0].ended.is_some() {
                let now = Machine::now().zip(self.before);
                self.busy = now.map(|(now, before)| now.busy_since(before));
            }
            self.live.show(&self.figures, false);
            if self.changed.elapsed() > STALL_PATIENCE {
                return Err(self.stalled());
            }
        }
        self.live.show(&self.figures, true);
        let mut summaries = Vec::new();
        for (part, figures) in self.parts.iter_mut().zip(&self.figures) {
            let ended = part.ended.take();
            let Some(mut summary) = ended.and_then(|ended| ended.summary) else {
                return Err(Failure::peer(format!("the {} left no summary", figures.command)));
            };
            summary.command.clone_from(&figures.command);
            summaries.push(summary);
        }
        let publisher = summaries.remove(0);
        let recovery = self.end_recovery()?;
        self.live.say("comparing the journals, message by message");
        let (diff, equal) = self.compare(summaries.len())?;
        Ok(Outcome {
            publisher,
            recovery,
            listeners: summaries,
            diff_text: differences(&diff),
            diff,
            equal,
            busy: self.busy,
        })
    }

    /// Waits until child `number` is ready, and returns where it listens.
    fn wait_ready(&mut self, number: usize) -> Result<Option<String>, Failure> {
        let deadline = Instant::now() + READY_PATIENCE;
        while Instant::now() < deadline {
            if let Some(address) = self.ready.remove(&number) {
                return Ok(address);
            }
            self.take_news()?;
            self.take_ends()?;
        }
        let name = self
            .figures
            .get(number)
            .map_or("recovery service", |part| &part.command);
        Err(Failure::peer(format!(
            "the {name} was not ready within {} s: this machine is too busy",
            READY_PATIENCE.as_secs()
        )))
    }

    /// Takes one piece of news, if any comes soon.
    fn take_news(&mut self) -> Result<(), Failure> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::error("stopped before the end: nothing was compared"));
        }
        let (from, event) = match self.said.recv_timeout(LOOK_EVERY) {
            Ok(news) => news,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
        };
        match event {
            Event::Ready { address, .. } => {
                self.ready.insert(from, address);
            }
            Event::Warning { text } => {
                let name = self
                    .figures
                    .get(from)
                    .map_or("recovery service", |part| &part.command);
                let line = format!("{name}: warning: {text}");
                self.live.say(&line);
            }
            Event::Progress(summary) => self.update(from, *summary),
        }
        Ok(())
    }

    fn update(&mut self, from: usize, mut summary: Summary) {
        let Some(figures) = self.figures.get_mut(from) else {
            // The comparison's: any news of it is a change.
            if summary.command.starts_with("diff") {
                self.changed = Instant::now();
            }
            return;
        };
        let heartbeats = |summary: &Summary| summary.detail.get("heartbeats").cloned();
        if summary.messages != figures.messages || heartbeats(&summary) != heartbeats(figures) {
            self.changed = Instant::now();
        }
        summary.command.clone_from(&figures.command);
        *figures = summary;
    }

    /// Notices who has ended; an end before its time or with an error is a failure.
    fn take_ends(&mut self) -> Result<(), Failure> {
        if self.recovery.as_mut().is_some_and(Child::has_ended)
            && let Some(child) = self.recovery.take()
        {
            return Err(child.end()?.failure());
        }
        for part in &mut self.parts {
            if part.child.as_mut().is_some_and(Child::has_ended)
                && let Some(child) = part.child.take()
            {
                let ended = child.end()?;
                self.changed = Instant::now();
                let loss = i32::from(Exit::Loss.code());
                if ended.code != Some(0) && ended.code != Some(loss) {
                    return Err(ended.failure());
                }
                part.ended = Some(ended);
            }
        }
        Ok(())
    }

    fn stalled(&self) -> Failure {
        let running = |part: &Part| part.child.as_ref().map(|child| child.name().to_owned());
        let parts: Vec<String> = self
            .parts
            .iter()
            .zip(&self.figures)
            .filter_map(|(part, figures)| Some(format!("{} at sequence {}", running(part)?, figures.next())))
            .collect();
        let seconds = STALL_PATIENCE.as_secs();
        Failure::peer(format!(
            "nothing moved for {seconds} s; still running: {}",
            parts.join(", ")
        ))
    }

    fn end_recovery(&mut self) -> Result<Summary, Failure> {
        let Some(child) = self.recovery.take() else {
            return Err(Failure::error("the recovery service is not running"));
        };
        child.ask_to_stop();
        let ended = child.end()?;
        match (ended.code, &ended.summary) {
            (Some(0), Some(summary)) => Ok(summary.clone()),
            _ => Err(ended.failure()),
        }
    }

    /// Lets a process of its own compare the journals; true if all are equal.
    fn compare(&mut self, listeners: usize) -> Result<(Summary, bool), Failure> {
        let mut arguments = vec!["diff".to_string(), text(&self.place.publisher())?.into()];
        for number in 1..=listeners {
            arguments.push(text(&self.place.listener(number))?.into());
        }
        let mut child = Child::start(APART, "comparison", arguments, &self.say)?;
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

impl Part {
    fn running(child: Child) -> Self {
        Self {
            child: Some(child),
            ended: None,
        }
    }
}

/// What a comparison found, a line a listener that differs.
fn differences(diff: &Summary) -> String {
    let listeners = diff.detail.get("listeners").and_then(serde_json::Value::as_array);
    let lines: Vec<String> = listeners
        .into_iter()
        .flatten()
        .filter(|listener| listener["equal"] != true)
        .map(|listener| {
            format!(
                "  {}: missing {}, extra {}, different {}; the first at session {} sequence {}: {}",
                listener["journal"],
                listener["missing"]["messages"],
                listener["extra"]["messages"],
                listener["different"]["messages"],
                listener["first"]["session"],
                listener["first"]["sequence"],
                listener["first"]["what"]
            )
        })
        .collect();
    lines.join("\n")
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| {
        Failure::error(format!(
            "the path {} is not UTF-8: set TMPDIR to another place",
            path.display()
        ))
    })
}
