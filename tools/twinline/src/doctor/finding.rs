//! What a check says: what was found where, how bad that is, why it matters, and the command that mends it.

use serde::Serialize;
use std::fmt;

/// The themes, in the order in which they are shown. A check's name begins with its theme: `cpu.governor`.
pub(super) const THEMES: [(&str, &str); 7] = [
    ("kernel", "Kernel"),
    ("interface", "Interfaces"),
    ("socket", "Sockets and protocols"),
    ("clock", "Clocks"),
    ("cpu", "Cores"),
    ("memory", "Memory"),
    ("jitter", "Jitter, measured"),
];

/// How bad it is, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing: it may matter, or cannot be known from here.
    Note,
    /// It costs time.
    Slow,
    /// It would lose data.
    Loss,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Ok => "ok",
            Severity::Note => "note",
            Severity::Slow => "SLOW",
            Severity::Loss => "LOSS",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Which check: `THEME.NAME`.
    pub(super) check: &'static str,
    /// An interface, cores, a line, or the whole host.
    #[serde(rename = "where")]
    pub(super) place: String,
    /// How bad it is.
    pub(super) severity: Severity,
    /// What was found.
    pub(super) found: String,
    /// Why it matters.
    pub(super) why: &'static str,
    /// What mends it, to be run as root as it stands but for words in capitals, which only the user knows; none where nothing
    /// is to be mended, or no command can.
    pub(super) command: Option<String>,
}

impl Finding {
    /// All is as it should be.
    pub(super) fn ok(
        check: &'static str,
        place: impl Into<String>,
        found: impl Into<String>,
        why: &'static str,
    ) -> Self {
        Self {
            check,
            place: place.into(),
            severity: Severity::Ok,
            found: found.into(),
            why,
            command: None,
        }
    }

    /// The same, but not as it should be.
    pub(super) fn is(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }

    /// Such a command mends it.
    pub(super) fn mend(self, command: impl Into<String>) -> Self {
        Self {
            command: Some(command.into()),
            ..self
        }
    }

    /// Its theme.
    pub(super) fn theme(&self) -> &'static str {
        self.check.split('.').next().unwrap_or(self.check)
    }
}

/// Where a finding is about the host as a whole.
pub(super) const HOST: &str = "host";

/// The command that sets a kernel parameter.
pub(super) fn sysctl(name: &str, value: impl fmt::Display) -> String {
    format!("sysctl -w {name}={value}")
}
