//! One namespace: threads and processes inside it.

use crate::error::NamespaceError;
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::thread;

/// A host, or the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn new(name: String) -> Self {
        Self { name }
    }

    /// Its name, as `ip netns` and the option `-n` of `ip` and `tc` know it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Runs `work` on a thread of its own in there: the sockets that it opens, and the threads and processes that it starts,
    /// belong there, whoever uses them then. A panic of `work` is one of the caller's.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        let inside = || {
            enter(&self.open()?).map_err(NamespaceError::io(self.entering()))?;
            Ok(work())
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name("namespace".into())
                .spawn_scoped(scope, inside)
                .map_err(NamespaceError::io("start a thread"))?;
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// A command whose process runs in there. Nothing else about it is different: unlike `ip netns exec`, this leaves all
    /// mounts as they are (/sys still shows the interfaces of this process; a mounted bpffs stays visible).
    ///
    /// The process is a child of the calling thread, not of one that soon ends, so a parent death signal works.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let path = self.path();
        // SAFETY: between fork and exec only memory of this closure, made before the fork, and two system calls are used;
        // nothing is allocated but for an error of `File::open`, which is a number. `path` has no interior NUL.
        unsafe {
            command.pre_exec(move || enter(&File::open(&path)?));
        }
        command
    }

    /// Lets a tool of iproute2 (`ip`, `tc`, `bridge`) do these commands in there, one a line, in one process.
    ///
    /// # Errors
    /// If it cannot be started, or one of the commands fails: those after it are not done.
    pub fn batch(&self, tool: &str, commands: &str) -> Result<(), NamespaceError> {
        batch(tool, Some(&self.name), commands)
    }

    fn open(&self) -> Result<File, NamespaceError> {
        File::open(self.path()).map_err(NamespaceError::io(self.entering()))
    }

    fn entering(&self) -> String {
        format!("enter the network namespace {}", self.name)
    }
}

/// Moves the calling thread.
fn enter(namespace: &File) -> io::Result<()> {
    Ok(move_into_link_name_space(
        namespace.as_fd(),
        Some(LinkNameSpaceType::Network),
    )?)
}

/// Runs a tool of iproute2 with a batch of commands.
pub(crate) fn batch(tool: &str, namespace: Option<&str>, commands: &str) -> Result<(), NamespaceError> {
    if commands.is_empty() {
        return Ok(());
    }
    let run = || -> io::Result<Output> {
        let mut command = Command::new(tool);
        command
            .args(namespace.into_iter().flat_map(|name| ["-n", name]))
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // Its commands are in its pipe at once: without this it would go on making what nobody removes any more.
        // SAFETY: between fork and exec there is one system call, which touches no memory of ours.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that has failed reads no more; what it says is the better error.
            let _ = stdin.write_all(commands.as_bytes());
        }
        child.wait_with_output()
    };
    let done = run().map_err(NamespaceError::io(format!("run the command {tool} (iproute2)")))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(NamespaceError::Command {
            tool: match namespace {
                Some(name) => format!("{tool} -n {name}"),
                None => tool.into(),
            },
            said: failed(commands, &String::from_utf8_lossy(&done.stderr), done.status),
        }),
    }
}

/// What a batch said, with the command that failed: `ip` and `tc` give its line at the end. One that was killed says nothing.
fn failed(commands: &str, said: &str, status: ExitStatus) -> String {
    let said = said.trim();
    if said.is_empty() {
        return status.to_string();
    }
    let line = said
        .rsplit_once("Command failed -:")
        .and_then(|(_, line)| line.trim().parse::<usize>().ok())
        .and_then(|line| commands.lines().nth(line.checked_sub(1)?));
    let text = said.replace('\n', ": ");
    match line {
        Some(command) => format!("{command}: {text}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn an_error_of_a_batch_names_the_command_that_failed_or_what_ended_it() {
        let [refused, killed] = [1 << 8, 15].map(ExitStatus::from_raw);
        let said = "Cannot find device \"b\"\nCommand failed -:2\n";
        assert_eq!(
            failed("link set dev a up\nlink set dev b up\n", said, refused),
            "link set dev b up: Cannot find device \"b\": Command failed -:2"
        );
        assert_eq!(failed("one\n", "no permission", refused), "no permission");
        assert_eq!(failed("one\n", "", killed), "signal: 15 (SIGTERM)");
    }
}
