//! A part of the demo or of the lab as a process of its own: this very executable, told to speak JSON, and killed on every
//! way out.

use crate::exit::{Exit, Failure};
use crate::progress::Event;
use crate::summary::Summary;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Lines of stderr that are kept to explain a failure.
const TAIL: usize = 5;
/// How long a process that was asked to stop may take.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Something that a child said on stderr: which child, and what.
pub(crate) type Said = (usize, Event);

/// The executable that all children run.
pub(crate) fn own_path() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|cause| Failure::error(format!("cannot find the command itself: {cause}")))
}

/// A running child.
pub(crate) struct Child {
    name: String,
    process: process::Child,
    stdout: Option<JoinHandle<Option<Summary>>>,
    stderr: Option<JoinHandle<VecDeque<String>>>,
}

/// A child that has ended.
pub(crate) struct Ended {
    name: String,
    /// Its exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    status: ExitStatus,
    /// Its summary, if it came to one.
    pub(crate) summary: Option<Summary>,
    tail: VecDeque<String>,
}

impl Child {
    /// Starts `twinline` with `arguments`. What it says goes to `said` as child `number`.
    pub(crate) fn start(
        number: usize,
        name: impl Into<String>,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        said: &Sender<Said>,
    ) -> Result<Self, Failure> {
        Self::start_as(Command::new(own_path()?), number, name, arguments, said)
    }

    /// The same, of a command for [`own_path`] that says more about how it runs.
    pub(crate) fn start_as(
        mut command: Command,
        number: usize,
        name: impl Into<String>,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        said: &Sender<Said>,
    ) -> Result<Self, Failure> {
        let name = name.into();
        let fail = |cause| Failure::error(format!("cannot start the {name}'s process: {cause}"));
        let mut process = command
            .args(arguments)
            .args(["--json", "--progress", "json"])
            .arg("--with-parent")
            .arg(process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: a terminal's Ctrl-C reaches the parent alone, which stops the others in order.
            .process_group(0)
            .spawn()
            .map_err(fail)?;
        let stdout = process.stdout.take();
        let stderr = process.stderr.take();
        let mut child = Self {
            name: name.clone(),
            process,
            stdout: None,
            stderr: None,
        };
        let said = said.clone();
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            return Err(Failure::error(format!("the {name}'s process has no output")));
        };
        child.stdout = Some(spawn(move || read_summary(stdout)).map_err(fail)?);
        child.stderr = Some(spawn(move || read_events(stderr, number, &said)).map_err(fail)?);
        Ok(child)
    }

    /// What the operator knows it as.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// True once it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// Asks it to stop cleanly.
    pub(crate) fn ask_to_stop(&self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended meanwhile; then there is nothing to ask for.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits for it to end by itself, for a while, and then kills it.
    pub(crate) fn end(mut self) -> Result<Ended, Failure> {
        let deadline = Instant::now() + STOP_PATIENCE;
        while !self.has_ended() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        let status = self
            .process
            .wait()
            .map_err(|cause| Failure::error(format!("cannot wait for the {}: {cause}", self.name)))?;
        Ok(Ended {
            name: std::mem::take(&mut self.name),
            code: status.code(),
            status,
            summary: self.stdout.take().and_then(|reader| reader.join().ok()).flatten(),
            tail: self
                .stderr
                .take()
                .and_then(|reader| reader.join().ok())
                .unwrap_or_default(),
        })
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&mut self) {
        if !self.has_ended() {
            // It fails only where the process has ended.
            let _ = self.process.kill();
        }
    }
}

/// However the parent ends, also by a panic, no child stays.
impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        let _ = self.process.wait();
    }
}

impl Ended {
    /// What a comparison of journals came to; true if all are equal.
    pub(crate) fn comparison(&self) -> Result<(Summary, bool), Failure> {
        let differ = i32::from(Exit::Differ.code());
        match (self.code, &self.summary) {
            (Some(0), Some(summary)) => Ok((summary.clone(), true)),
            (Some(code), Some(summary)) if code == differ => Ok((summary.clone(), false)),
            _ => Err(self.failure()),
        }
    }

    /// Why its parent cannot go on without it, in one line, with its last words.
    pub(crate) fn failure(&self) -> Failure {
        let words: Vec<&str> = self.tail.iter().map(String::as_str).collect();
        let words = if words.is_empty() {
            "it said nothing".to_string()
        } else {
            format!("its last words: {}", words.join(" | "))
        };
        Failure::peer(format!("the {} failed ({}); {words}", self.name, self.status))
    }
}

fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::io::Result<JoinHandle<T>> {
    thread::Builder::new().name("child".into()).spawn(work)
}

/// The summary is the last line; nothing else is expected.
fn read_summary(mut stdout: ChildStdout) -> Option<Summary> {
    let mut text = String::new();
    stdout.read_to_string(&mut text).ok()?;
    serde_json::from_str(text.lines().last()?).ok()
}

/// Passes on events and keeps the last other lines.
fn read_events(stderr: ChildStderr, number: usize, said: &Sender<Said>) -> VecDeque<String> {
    let mut tail = VecDeque::with_capacity(TAIL);
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if let Ok(event) = serde_json::from_str::<Event>(&line) {
            // The parent may be done: then nobody listens.
            let _ = said.send((number, event));
            continue;
        }
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    tail
}
