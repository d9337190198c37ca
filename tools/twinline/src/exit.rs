//! How the command ends: exit codes, and errors of one line that say what, where and what to do.

use crate::summary::Summary;
use std::fmt;

/// The command's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All delivered, or all that was asked for done.
    Success = 0,
    /// An error; stderr has it.
    Error = 1,
    /// Wrong arguments.
    Usage = 2,
    /// The stream announced a loss or a void range.
    Loss = 3,
    /// A process that this one depends on failed.
    Peer = 4,
    /// Journals differ.
    Differ = 5,
    /// A simulated run broke a rule.
    Simulation = 6,
    /// A daemon has an alarm.
    Alarm = 7,
    /// This host would lose data.
    Unfit = 8,
}

/// What `--help` ends with.
pub(crate) const EXIT_CODES: &str = "\
See all of it work on this machine:
  twinline demo

Exit codes:
  0  all delivered (or all that was asked for is done)
  1  an error: one line on stderr says what, where and what to do
  2  wrong arguments
  3  the stream announced that messages are lost or void
  4  a process that this one depends on failed
  5  journals differ, or a journal is damaged
  6  a simulated run broke a rule
  7  a daemon that is watched has an alarm
  8  this host, as it is set up, would lose data";

impl Exit {
    /// The code.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// The code in words, for summaries.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Exit::Success => "all delivered",
            Exit::Error => "an error",
            Exit::Usage => "wrong arguments",
            Exit::Loss => "loss or void announced",
            Exit::Peer => "a peer failed",
            Exit::Differ => "journals differ",
            Exit::Simulation => "a simulated run broke a rule",
            Exit::Alarm => "an alarm",
            Exit::Unfit => "this host would lose data",
        }
    }
}

/// Why a command could not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// One line: what, where, what to do.
    pub(crate) text: String,
}

impl Failure {
    /// Arguments that cannot be.
    pub(crate) fn usage(text: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Usage,
            text: text.to_string(),
        }
    }

    /// A process that this one depends on failed.
    pub(crate) fn peer(text: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Peer,
            text: text.to_string(),
        }
    }

    /// Any other error.
    pub(crate) fn error(text: impl fmt::Display) -> Self {
        Self {
            exit: Exit::Error,
            text: text.to_string(),
        }
    }
}

/// Every error of the libraries is a sentence for the operator already.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::error(error)
    }
}

/// How a command that got to work ended.
#[derive(Debug)]
pub(crate) struct Finish {
    /// What it did.
    pub(crate) summary: Summary,
    /// How it ended.
    pub(crate) exit: Exit,
    /// The error that ended it, if one did.
    pub(crate) error: Option<String>,
}

impl Finish {
    /// It did what it was asked to.
    pub(crate) fn success(summary: Summary) -> Self {
        Self::with(summary, Exit::Success)
    }

    /// It ended without an error of its own, but not with success.
    pub(crate) fn with(summary: Summary, exit: Exit) -> Self {
        Self {
            summary,
            exit,
            error: None,
        }
    }

    /// It did some of what it was asked to, then failed.
    pub(crate) fn failed(summary: Summary, failure: Failure) -> Self {
        Self {
            summary,
            exit: failure.exit,
            error: Some(failure.text),
        }
    }
}
