//! What a running command says on stderr: warnings at once, its figures about once a second. For people on a terminal,
//! or as one JSON object a line for a program such as the demo.

use crate::summary::Summary;
use crate::table;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// A table that is drawn over itself if stderr is a terminal, otherwise nothing.
    #[default]
    Auto,
    /// Human lines.
    Human,
    /// One JSON object a line.
    Json,
    /// Warnings only.
    Off,
}

impl Mode {
    /// What `auto` means for this process: nothing is shown where stderr is no terminal.
    pub(crate) fn here(self) -> Self {
        match self {
            Mode::Auto if !std::io::stderr().is_terminal() => Mode::Off,
            mode => mode,
        }
    }
}

/// A line of progress as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// Sockets are open, groups are joined: what is sent from now on arrives.
    Ready {
        /// What it listens on, if others are to connect to it.
        address: Option<String>,
        /// Where it serves metrics, if it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metrics: Option<SocketAddr>,
    },
    /// The figures so far.
    Progress(Box<Summary>),
    /// What an operator should know.
    Warning {
        /// In a sentence.
        text: String,
    },
}

/// Writes progress.
#[derive(Debug)]
pub(crate) struct Progress {
    mode: Mode,
    every: Duration,
    last: Instant,
    messages: u64,
    warnings: Vec<String>,
    /// How many there were, for other threads.
    warned: Arc<AtomicU64>,
    /// Where metrics are served.
    metrics: Option<SocketAddr>,
    limiter: Limiter,
    /// Lines of the table that stands on the terminal.
    drawn: usize,
}

impl Progress {
    /// For `mode`; machines are told more often, so that a live table moves.
    pub(crate) fn new(mode: Mode) -> Self {
        let mode = mode.here();
        let every = match mode {
            Mode::Json | Mode::Auto => Duration::from_millis(250),
            _ => Duration::from_secs(1),
        };
        Self {
            mode,
            every,
            last: Instant::now(),
            messages: 0,
            warnings: Vec::new(),
            warned: Arc::default(),
            metrics: None,
            limiter: Limiter::default(),
            drawn: 0,
        }
    }

    /// Everything is open; `text` says it to people.
    pub(crate) fn ready(&mut self, address: Option<String>, text: &str) {
        match self.mode {
            Mode::Json => self.event(&Event::Ready {
                address,
                metrics: self.metrics,
            }),
            _ => {
                self.drawn = 0;
                text.lines().for_each(|line| tracing::info!("{line}"));
                if let Some(address) = self.metrics {
                    tracing::info!("metrics at http://{address}/metrics");
                }
            }
        }
    }

    /// Metrics are served there; said with [`ready`](Self::ready).
    pub(crate) fn serves_metrics(&mut self, address: SocketAddr) {
        self.metrics = Some(address);
        if !address.ip().is_loopback() {
            self.warn(format!(
                "metrics at {address} can be read by whoever reaches that address: there is no authentication"
            ));
        }
    }

    /// How many warnings there were so far, each text counted once; for any thread.
    pub(crate) fn warned(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.warned)
    }

    /// Something to know; said at once, whatever the mode, and once only. Who can make us warn cannot fill our log: beyond
    /// a limit warnings are counted only.
    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        let text = text.into();
        if self.warnings.contains(&text) {
            return;
        }
        self.warned.fetch_add(1, Ordering::Relaxed);
        match self.limiter.allows(Instant::now()) {
            Verdict::Say { left_out: 0 } => {}
            Verdict::Say { left_out } => {
                self.say(&format!("{left_out} warnings before this one were left out"))
            }
            Verdict::LeaveOut => return,
        }
        self.say(&text);
        if self.warnings.len() < KEPT {
            self.warnings.push(text);
        }
    }

    fn say(&mut self, text: &str) {
        // The next table stands below it.
        self.drawn = 0;
        match self.mode {
            Mode::Json => self.event(&Event::Warning { text: text.into() }),
            _ => tracing::warn!("{text}"),
        }
    }

    /// All warnings so far.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The figures so far, if it is time for them.
    pub(crate) fn figures(&mut self, figures: impl FnOnce() -> Summary) {
        let since = self.last.elapsed();
        if since < self.every || self.mode == Mode::Off {
            return;
        }
        self.last = Instant::now();
        let mut summary = figures();
        let rate = summary.messages.saturating_sub(self.messages) as f64 / since.as_secs_f64();
        self.messages = summary.messages;
        if self.mode == Mode::Human {
            return self.line(&line(&summary, rate as u64));
        }
        summary.set("rate", rate as u64);
        if self.mode == Mode::Json {
            return self.event(&Event::Progress(Box::new(summary)));
        }
        let (text, drawn) = table::redrawn(&[summary], self.drawn);
        self.drawn = drawn;
        let _ = write!(std::io::stderr().lock(), "{text}");
    }

    fn event(&self, event: &Event) {
        if let Ok(text) = serde_json::to_string(event) {
            self.line(&text);
        }
    }

    /// A reader that went away is no reason to stop.
    fn line(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

/// Warnings that the summary lists at most.
const KEPT: usize = 100;

/// Lets so many warnings through in a while.
#[derive(Debug, Default)]
struct Limiter {
    /// When the current while began.
    since: Option<Instant>,
    said: u32,
    left_out: u64,
}

/// What to do with a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Say it, and that so many were not said.
    Say { left_out: u64 },
    /// There were too many.
    LeaveOut,
}

impl Limiter {
    const WHILE: Duration = Duration::from_secs(10);
    const MOST: u32 = 20;

    fn allows(&mut self, now: Instant) -> Verdict {
        if self
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= Self::WHILE)
        {
            (self.since, self.said) = (Some(now), 0);
        }
        if self.said == Self::MOST {
            self.left_out += 1;
            return Verdict::LeaveOut;
        }
        self.said += 1;
        Verdict::Say {
            left_out: std::mem::take(&mut self.left_out),
        }
    }
}

/// The figures as one line for people.
fn line(summary: &Summary, rate: u64) -> String {
    use crate::units::{show_count, show_nanos};
    let mut text = format!(
        "{}: {} messages, {}/s",
        summary.command,
        show_count(summary.messages),
        show_count(rate)
    );
    if let Some((share, left)) = summary.source_share() {
        text += &format!(", {:.0}% of the source, {} left", share * 100.0, show_nanos(left));
    }
    if let Some([a, b]) = summary.heard() {
        text += &format!(", lost A {} B {}", show_count(a.lost), show_count(b.lost));
    }
    if let Some(gaps) = &summary.gaps {
        text += &format!(", gaps filled {} lost {}", gaps.filled, gaps.lost);
    }
    if let Some(latency) = &summary.latency_ns {
        text += &format!(
            ", latency p50 {} p99 {}",
            show_nanos(latency.p50),
            show_nanos(latency.p99)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_warnings_are_counted_and_told_of_later() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        for _ in 0..Limiter::MOST {
            assert_eq!(limiter.allows(start), Verdict::Say { left_out: 0 });
        }
        for _ in 0..7 {
            assert_eq!(limiter.allows(start + Limiter::WHILE / 2), Verdict::LeaveOut);
        }
        assert_eq!(
            limiter.allows(start + Limiter::WHILE),
            Verdict::Say { left_out: 7 }
        );
        assert_eq!(
            limiter.allows(start + Limiter::WHILE),
            Verdict::Say { left_out: 0 }
        );
    }

    #[test]
    fn what_a_summary_lists_is_bounded() {
        let mut progress = Progress::new(Mode::Off);
        for number in 0..1_000 {
            progress.warn(format!("warning {number}"));
        }
        assert!(progress.warnings().len() <= KEPT);
    }

    #[test]
    fn events_read_back() {
        let mut summary = Summary::new("listen");
        summary.messages = 3;
        let text = serde_json::to_string(&Event::Progress(Box::new(summary))).unwrap();
        assert!(text.starts_with("{\"event\":\"progress\""), "{text}");
        let Event::Progress(back) = serde_json::from_str(&text).unwrap() else {
            panic!("{text}");
        };
        assert_eq!(back.messages, 3);
        let ready = serde_json::from_str(r#"{"event":"ready","address":"127.0.0.1:1"}"#).unwrap();
        assert!(matches!(
            ready,
            Event::Ready {
                address: Some(_),
                metrics: None
            }
        ));
    }
}
