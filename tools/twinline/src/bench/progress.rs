//! How far a command that goes in steps is, on stderr: one line that is written over on a terminal, otherwise a line a second. Nothing is
//! written while something is measured.

use crate::progress::{Event, Mode};
use crate::summary::Summary;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use twinline_benches::harness::watch::Step;

/// Shows steps.
pub(crate) struct Progress {
    /// Of this command.
    command: &'static str,
    mode: Mode,
    /// When something was shown last, and what was being done.
    last: Mutex<Option<(Instant, String)>>,
}

impl Progress {
    pub(crate) fn new(command: &'static str, mode: Mode) -> Self {
        Self {
            command,
            mode: mode.here(),
            last: Mutex::new(None),
        }
    }

    /// Shows a step, if it is time.
    pub(crate) fn show(&self, step: Step<'_>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let every = match self.mode {
            Mode::Auto => Duration::from_millis(200),
            _ => Duration::from_secs(1),
        };
        let shown = |(at, what): &(Instant, String)| what == step.what && at.elapsed() < every;
        if self.mode == Mode::Off || last.as_ref().is_some_and(shown) {
            return;
        }
        *last = Some((Instant::now(), step.what.into()));
        let text = format!("{} {} of {}", step.what, step.done, step.of);
        let mut stderr = std::io::stderr().lock();
        let _ = match self.mode {
            Mode::Auto => write!(stderr, "\r\x1b[K{text}"),
            Mode::Json => {
                let mut summary = Summary::new(self.command);
                summary.set("what", step.what);
                summary.set("done", step.done);
                summary.set("of", step.of);
                match serde_json::to_string(&Event::Progress(Box::new(summary))) {
                    Ok(text) => writeln!(stderr, "{text}"),
                    Err(_) => Ok(()),
                }
            }
            _ => writeln!(stderr, "{text}"),
        };
        let _ = stderr.flush();
    }
}

/// Takes the line away that stands on a terminal.
pub(crate) fn clear(mode: Mode) {
    if mode.here() == Mode::Auto {
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
    }
}
