//! What the lab shows while it runs: a line a second, and what the scenario does when it does it.

use crate::progress::{Event, Mode};
use crate::summary::{GapsSummary, Summary};
use crate::units::show_count;
use std::io::Write;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

/// Shows how it goes.
pub(super) struct View {
    mode: Mode,
    start: Instant,
    last: Instant,
    /// What the scenario did last.
    now: String,
    /// What each server had heard on its lines when that was last looked at, and which lines had been silent since.
    heard: Vec<Heard>,
}

#[derive(Clone, Copy, Default)]
struct Heard {
    at: u64,
    packets: [u64; 2],
    silent: [bool; 2],
}

/// All servers at a moment.
#[derive(Debug, Default, PartialEq)]
struct State {
    published: u64,
    /// The sequence before the next one, at the server that is furthest behind and at the one that is not.
    least: u64,
    most: u64,
    gaps: u64,
    open: u64,
    recovered: u64,
    /// Servers at which the line is silent.
    silent: [usize; 2],
}

impl View {
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            mode,
            start: Instant::now(),
            last: Instant::now(),
            now: String::new(),
            heard: Vec::new(),
        }
    }

    /// Says something to people.
    pub(super) fn say(&self, text: &str) {
        if matches!(self.mode, Mode::Auto | Mode::Human) {
            self.line(text);
        }
    }

    /// What a part warns of: with faults in plenty there are many warnings, and they are shown where all is asked for.
    pub(super) fn detail(&self, text: &str) {
        if self.mode == Mode::Human {
            self.line(text);
        }
    }

    /// The scenario does something.
    pub(super) fn now(&mut self, text: &str) {
        self.now = text.into();
        self.say(&format!(
            "{:5.1} s  -> {text}",
            self.start.elapsed().as_secs_f64()
        ));
    }

    /// Shows how it stands, if it is time.
    pub(super) fn show(&mut self, publisher: &Summary, servers: &[&Summary], recovered: u64) {
        if self.last.elapsed() < EVERY {
            return;
        }
        self.last = Instant::now();
        self.heard.resize(servers.len(), Heard::default());
        for (heard, server) in self.heard.iter_mut().zip(servers) {
            heard.update(server);
        }
        let mut state = state(publisher, servers);
        state.recovered = recovered;
        state.silent = [0, 1].map(|line| self.heard.iter().filter(|heard| heard.silent[line]).count());
        match self.mode {
            Mode::Auto | Mode::Human => self.line(&text(self.start.elapsed(), &state, &self.now)),
            Mode::Json => {
                let event = Event::Progress(Box::new(summary(self.start.elapsed(), &state, &self.now)));
                if let Ok(text) = serde_json::to_string(&event) {
                    self.line(&text);
                }
            }
            Mode::Off => {}
        }
    }

    /// A reader that went away is no reason to stop.
    fn line(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

impl Heard {
    /// A line is silent if a server's newer figures have nothing more of it: a live one has heartbeats at least.
    fn update(&mut self, server: &Summary) {
        let packets = server
            .lines
            .as_ref()
            .map_or([0; 2], |lines| [lines.a.packets, lines.b.packets]);
        let later = server.elapsed_ns.saturating_sub(self.at);
        if server.elapsed_ns < self.at {
            // Started again.
            (self.at, self.packets, self.silent) = (server.elapsed_ns, packets, [false; 2]);
        } else if later > 400_000_000 {
            self.silent = [0, 1].map(|line| packets[line] == self.packets[line] && packets[line] > 0);
            (self.at, self.packets) = (server.elapsed_ns, packets);
        }
    }
}

fn state(publisher: &Summary, servers: &[&Summary]) -> State {
    let next = servers.iter().map(|server| server.next().saturating_sub(1));
    let gaps = servers.iter().filter_map(|server| server.gaps.as_ref());
    let closed = |gaps: &GapsSummary| gaps.closed_by_lines + gaps.filled + gaps.lost + gaps.withdrawn;
    State {
        published: publisher.messages,
        least: next.clone().min().unwrap_or(0),
        most: next.max().unwrap_or(0),
        gaps: gaps.clone().map(|gaps| gaps.opened).sum(),
        open: gaps.map(|gaps| gaps.opened.saturating_sub(closed(gaps))).sum(),
        ..State::default()
    }
}

fn text(elapsed: Duration, state: &State, now: &str) -> String {
    let silent = match state.silent {
        [0, 0] => String::new(),
        [a, 0] => format!(", line A silent at {a}"),
        [0, b] => format!(", line B silent at {b}"),
        [a, b] => format!(", silent: line A at {a}, line B at {b}"),
    };
    let now = match now {
        "" => String::new(),
        now => format!(" | {now}"),
    };
    format!(
        "{:5.1} s  published {}, delivered {} to {}, gaps {} ({} open), recovered {}{silent}{now}",
        elapsed.as_secs_f64(),
        show_count(state.published),
        show_count(state.least),
        show_count(state.most),
        show_count(state.gaps),
        show_count(state.open),
        show_count(state.recovered),
    )
}

fn summary(elapsed: Duration, state: &State, now: &str) -> Summary {
    let mut summary = Summary::new("lab");
    summary.elapsed_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
    summary.messages = state.published;
    summary.set("delivered_least", state.least);
    summary.set("delivered_most", state.most);
    summary.set("gaps_opened", state.gaps);
    summary.set("gaps_open", state.open);
    summary.set("recovered", state.recovered);
    summary.set("silent_at", state.silent);
    summary.set("now", now);
    summary
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::{LineSummary, LinesSummary, Position};

    fn server(next: u64, elapsed_ns: u64, packets: [u64; 2]) -> Summary {
        let line = |packets| LineSummary {
            packets,
            ..LineSummary::default()
        };
        Summary {
            elapsed_ns,
            position: Some(Position {
                next,
                ..Position::default()
            }),
            lines: Some(LinesSummary {
                a: line(packets[0]),
                b: line(packets[1]),
            }),
            gaps: Some(GapsSummary {
                opened: 3,
                filled: 1,
                closed_by_lines: 1,
                ..GapsSummary::default()
            }),
            ..Summary::default()
        }
    }

    #[test]
    fn the_line_has_the_server_furthest_behind_and_open_gaps() {
        let mut publisher = Summary::new("publish");
        publisher.messages = 1_200;
        let state = state(
            &publisher,
            &[&server(1_001, 0, [0; 2]), &server(1_191, 0, [0; 2])],
        );
        assert_eq!(
            text(Duration::from_millis(3_010), &state, "a hole"),
            "  3.0 s  published 1,200, delivered 1,000 to 1,190, gaps 6 (2 open), recovered 0 | a hole"
        );
    }

    #[test]
    fn a_line_is_silent_when_newer_figures_have_no_more_of_it() {
        let mut heard = Heard::default();
        let second = 1_000_000_000;
        heard.update(&server(1, second, [10, 10]));
        assert_eq!(heard.silent, [false, false]);
        // Nothing newer was said.
        heard.update(&server(1, second, [10, 10]));
        assert_eq!(heard.silent, [false, false]);
        heard.update(&server(1, 2 * second, [10, 20]));
        assert_eq!(heard.silent, [true, false]);
        // Started again.
        heard.update(&server(1, 100, [0, 0]));
        assert_eq!(heard.silent, [false, false]);
    }
}
