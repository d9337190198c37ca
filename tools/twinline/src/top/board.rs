//! What was seen of all daemons: answers go in, a [`View`] comes out. Knows no socket, no clock and no terminal.

use super::alarms::{Alarm, Kind, WINDOW};
use super::gather;
use super::look::{Earlier, Look};
use super::page::Page;
use super::scrape::TIMEOUT;
use super::view::{DaemonView, Down, Point, View};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Pages that are kept of the last minute, beside the last two.
const KEPT: u32 = 12;
/// Looks in the picture of the latency's past.
const PAST: usize = 300;

/// All daemons.
#[derive(Debug)]
pub(super) struct Board {
    daemons: Vec<Daemon>,
    /// An answer that is older is none.
    patience: Duration,
    started: Instant,
}

/// What was seen of one.
#[derive(Debug)]
struct Daemon {
    address: String,
    /// `listen` and so on, as it said last.
    kind: String,
    /// Pages, the newest last, without a gap by a restart.
    pages: VecDeque<(Instant, Page)>,
    /// When it answered last, and was asked last without an answer.
    answered: Option<Instant>,
    failed: Option<(Instant, String)>,
    /// Since when it does not answer.
    down_since: Option<Instant>,
    /// By channel.
    latency_past: BTreeMap<u16, VecDeque<Option<Point>>>,
}

impl Board {
    /// For daemons at these addresses, each asked every so often.
    pub(super) fn new(targets: &[String], every: Duration, now: Instant) -> Self {
        let daemon = |address: &String| Daemon {
            address: address.clone(),
            kind: String::new(),
            pages: VecDeque::new(),
            answered: None,
            failed: None,
            down_since: None,
            latency_past: BTreeMap::new(),
        };
        Self {
            daemons: targets.iter().map(daemon).collect(),
            // Asking may take the time-out; a name may be looked up for longer.
            patience: every + 2 * TIMEOUT,
            started: now,
        }
    }

    /// Takes what came of asking a daemon.
    pub(super) fn take(&mut self, daemon: usize, at: Instant, result: Result<Page, String>) {
        let Some(daemon) = self.daemons.get_mut(daemon) else {
            return;
        };
        match result {
            Ok(page) => daemon.answer(at, page),
            Err(reason) => daemon.fail(at, reason),
        }
    }

    /// How everything stands; `at_ns` is the same moment since the Unix epoch.
    pub(super) fn view(&self, now: Instant, at_ns: u64) -> View {
        let view = |daemon: &Daemon| daemon.view(now, self.started, self.patience);
        View {
            at_ns,
            daemons: self.daemons.iter().map(view).collect(),
        }
    }
}

impl Daemon {
    fn answer(&mut self, at: Instant, page: Page) {
        let started = |page: &Page| page.value("process_start_time_seconds", &[]);
        if self
            .pages
            .back()
            .is_some_and(|(_, last)| started(last) != started(&page))
        {
            // Another process: nothing of the one before counts.
            self.pages.clear();
        }
        if let Some(kind) = page.labels("twinline_build_info", &[], "daemon").first() {
            self.kind = (*kind).to_string();
        }
        self.thin(at);
        self.pages.push_back((at, page));
        (self.answered, self.failed, self.down_since) = (Some(at), None, None);
        self.note_latency();
    }

    fn fail(&mut self, at: Instant, reason: String) {
        self.failed = Some((at, reason));
        self.down_since.get_or_insert(at);
        self.latency_past.values_mut().for_each(|past| note(past, None));
    }

    /// Makes room for a page that came at `at`.
    fn thin(&mut self, at: Instant) {
        if let [.., (before, _), (last, _), _] = self.pages.make_contiguous()
            && last.duration_since(*before) < WINDOW / KEPT
        {
            self.pages.remove(self.pages.len() - 2);
        }
        while let Some((second, _)) = self.pages.get(1)
            && at.duration_since(*second) >= WINDOW
        {
            self.pages.pop_front();
        }
    }

    fn look(&self) -> Option<Look<'_>> {
        let (at, now) = self.pages.back()?;
        let before = |index: Option<usize>| {
            let (then, page) = self.pages.get(index?)?;
            Some(Earlier {
                page,
                ago: at.duration_since(*then),
            })
        };
        let count = self.pages.len();
        Some(Look {
            now,
            last: before(count.checked_sub(2)),
            window: before((count > 1).then_some(0)),
            labels: Vec::new(),
        })
    }

    fn note_latency(&mut self) {
        let Some(look) = self.look() else { return };
        let mut points = Vec::new();
        for number in gather::channels(&look) {
            let step = look
                .with("channel", number)
                .histogram_step("twinline_delivery_latency_seconds");
            let percentiles = step.and_then(|step| step.percentiles());
            let point = percentiles.map(|of| Point {
                p50: of.p50,
                p99: of.p99,
            });
            points.push((number.parse().unwrap_or(0), point));
        }
        for (channel, point) in points {
            note(self.latency_past.entry(channel).or_default(), point);
        }
    }

    fn view(&self, now: Instant, started: Instant, patience: Duration) -> DaemonView {
        let mut view = DaemonView {
            address: self.address.clone(),
            daemon: self.kind.clone(),
            ..DaemonView::default()
        };
        if let Some(down) = self.down(now, started, patience) {
            view.alarms
                .push(Alarm::new(Kind::Down, format!("down: {}", down.reason)));
            view.down = Some(down);
            return view;
        }
        if let Some(look) = self.look() {
            view.up = true;
            gather::fill(&mut view, &look);
            for channel in &mut view.channels {
                if let Some(listening) = &mut channel.listening
                    && let Some(past) = self.latency_past.get(&channel.position.channel)
                {
                    listening.latency_past.clone_from(past);
                }
            }
        }
        view
    }

    fn down(&self, now: Instant, started: Instant, patience: Duration) -> Option<Down> {
        let (since, reason) = match (&self.failed, self.answered) {
            (Some((_, reason)), _) => (self.down_since.unwrap_or(now), reason.clone()),
            (None, answered) => {
                let since = answered.unwrap_or(started);
                let silent = now.saturating_duration_since(since) > patience;
                silent.then_some((since, "it neither answers nor refuses".to_string()))?
            }
        };
        let down = now.saturating_duration_since(since);
        Some(Down {
            for_ns: u64::try_from(down.as_nanos()).unwrap_or(u64::MAX),
            was_up: self.answered.is_some(),
            reason,
        })
    }
}

fn note(past: &mut VecDeque<Option<Point>>, point: Option<Point>) {
    if past.len() == PAST {
        past.pop_front();
    }
    past.push_back(point);
}
