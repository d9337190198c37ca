//! What the tests stand on: a directory, lines and ports of their own, and processes that do not outlive them.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use twinline_namespaces::Namespace;

/// The command under test, with failpoints.
pub(crate) const TWINLINE: &str = env!("CARGO_BIN_EXE_twinline");

/// How long anything that must happen may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The real hour of market data, if this checkout stands beside it.
pub(crate) fn real_hour() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join("shared/data/aapl-20120621-0930-1030.itch50.gz"))
        .find(|path| path.exists());
    if path.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "in CI the real data must be there"
        );
        eprintln!("skipped: ../shared/data/aapl-20120621-0930-1030.itch50.gz is not there");
    }
    path
}

/// True where there can be network namespaces; in CI they must be.
pub(crate) fn namespaces_are_possible() -> bool {
    let why = twinline_namespaces::missing();
    if let Some(why) = why {
        assert!(std::env::var_os("CI").is_none(), "in CI this must run: {why}");
        eprintln!("skipped: {why}");
    }
    why.is_none()
}

/// For tests that need both cores: one at a time.
pub(crate) fn quiet() -> MutexGuard<'static, ()> {
    static QUIET: Mutex<()> = Mutex::new(());
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place for one test.
pub(crate) struct Bed {
    dir: TempDir,
    /// Lines A and B, as arguments.
    pub(crate) lines: [String; 2],
    /// The groups and ports of the lines.
    pub(crate) groups: [(Ipv4Addr, u16); 2],
    /// Hold the ports.
    _ports: [UdpSocket; 2],
}

impl Bed {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let ports = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a port"));
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        let groups = [0, 1].map(|line: u8| {
            let port = ports[usize::from(line)].local_addr().expect("bound").port();
            let group = Ipv4Addr::new(239, 64 + 32 * line + (high & 31), middle ^ number, low);
            (group, port)
        });
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            lines: groups.map(|(group, port)| format!("{group}:{port}@127.0.0.1")),
            groups,
            _ports: ports,
        }
    }

    /// A path in the test's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").into()
    }

    /// Arguments of a process on this bed's lines.
    fn on_lines(&self, command: &str, journal: &str, more: &[&str]) -> Vec<String> {
        let journal = self.text(journal);
        let [a, b] = &self.lines;
        let own = [command, "--line-a", a, "--line-b", b, "--journal", &journal];
        let usual = [
            ["--segment-size", "1MiB"],
            ["--idle", "park:50us"],
            ["--sync", "20ms"],
        ];
        let usual = usual.iter().filter(|[option, _]| !more.contains(option));
        let own = own.iter().chain(usual.flatten());
        own.chain(more).map(ToString::to_string).collect()
    }

    /// A publisher into the journal `publisher`.
    pub(crate) fn publish(&self, more: &[&str]) -> Process {
        Process::start(&self.publish_arguments("publisher", more))
    }

    /// The arguments of a publisher.
    pub(crate) fn publish_arguments(&self, journal: &str, more: &[&str]) -> Vec<String> {
        let mut arguments = self.on_lines("publish", journal, more);
        if !more.contains(&"--lead-in") {
            arguments.extend(["--lead-in".into(), "50ms".into()]);
        }
        arguments
    }

    /// A listener that ends with the session, into the journal `name`, ready.
    pub(crate) fn listen(&self, name: &str, more: &[&str]) -> Process {
        let listener = Process::start(&self.listen_arguments(name, more));
        listener.wait_ready();
        listener
    }

    /// The arguments of a listener that ends with the session.
    pub(crate) fn listen_arguments(&self, name: &str, more: &[&str]) -> Vec<String> {
        let mut arguments = self.on_lines("listen", name, more);
        arguments.push("--until-end".into());
        arguments
    }

    /// A recovery service of the publisher's journal, ready, and its address.
    pub(crate) fn recover(&self, listen: &str) -> (Process, String) {
        let journal = self.text("publisher");
        let service = Process::start(&["recover", "--journal", &journal, "--listen", listen]);
        let address = service.wait_ready().expect("a service says where it listens");
        (service, address)
    }

    /// Compares listeners' journals with the publisher's; true if they are equal. Also what it found.
    pub(crate) fn diff(&self, listeners: &[&str]) -> (bool, Value) {
        let mut arguments = vec!["diff".to_string(), self.text("publisher")];
        arguments.extend(listeners.iter().map(|name| self.text(name)));
        let done = Process::start(&arguments).wait();
        assert!(matches!(done.code(), 0 | 5), "{done:?}");
        (done.code() == 0, done.summary)
    }

    /// Asserts that listeners' journals equal the publisher's, which holds so many source messages.
    pub(crate) fn assert_equal(&self, listeners: &[&str], source_messages: u64) {
        let (equal, found) = self.diff(listeners);
        assert!(equal, "{found:#}");
        assert_eq!(found["publisher"]["source_messages"], source_messages);
    }
}

/// A TCP port that is free just now.
pub(crate) fn free_tcp() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").to_string()
}

/// A process of the command; killed when dropped.
pub(crate) struct Process {
    arguments: Vec<String>,
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<()>>,
    said: Arc<Mutex<Vec<String>>>,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: Vec<String>,
    /// The last line of stdout as JSON; null if it is none.
    pub(crate) summary: Value,
}

impl Done {
    /// The exit code; minus the signal that killed it.
    pub(crate) fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| -self.status.signal().unwrap_or(0))
    }

    /// Itself, if its exit code is this.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self:#?}");
        self
    }
}

impl Process {
    /// Starts `twinline` with these arguments, its progress and summary as JSON.
    pub(crate) fn start(arguments: &[impl AsRef<str>]) -> Self {
        Self::start_with(arguments, &[], true)
    }

    /// Starts it in a network namespace.
    pub(crate) fn start_in(namespace: &Namespace, arguments: &[impl AsRef<str>]) -> Self {
        Self::spawn(namespace.command(TWINLINE), arguments, true)
    }

    /// Starts it with environment variables; `json`: progress and summary as JSON.
    pub(crate) fn start_with(
        arguments: &[impl AsRef<str>],
        environment: &[(&str, &str)],
        json: bool,
    ) -> Self {
        let mut command = Command::new(TWINLINE);
        command.envs(environment.iter().copied());
        Self::spawn(command, arguments, json)
    }

    /// Starts it by a command that this only gives its arguments to.
    pub(crate) fn spawn(mut command: Command, arguments: &[impl AsRef<str>], json: bool) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|text| text.as_ref().to_string()).collect();
        command.args(&arguments);
        if json {
            command.args(["--json", "--progress", "json"]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let mut stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        let said = Arc::new(Mutex::new(Vec::new()));
        let saying = Arc::clone(&said);
        Self {
            arguments,
            child,
            stdout: Some(thread::spawn(move || {
                let mut text = String::new();
                let _ = stdout.read_to_string(&mut text);
                text
            })),
            stderr: Some(thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    saying.lock().expect("no panic").push(line);
                }
            })),
            said,
        }
    }

    /// Waits until `look` finds what it looks for in an event that the process says.
    pub(crate) fn wait_event<T>(&self, what: &str, look: impl Fn(&Value) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = 0;
        while Instant::now() < deadline {
            let lines = self.said.lock().expect("no panic").clone();
            for line in &lines[seen..] {
                if let Some(found) = serde_json::from_str(line).ok().and_then(|event| look(&event)) {
                    return found;
                }
            }
            seen = lines.len();
            thread::sleep(Duration::from_millis(5));
        }
        panic!("{:?} never said {what}: {:#?}", self.arguments, self.said.lock());
    }

    /// Waits until it is ready; returns where it listens.
    pub(crate) fn wait_ready(&self) -> Option<String> {
        self.wait_event("that it is ready", |event| {
            (event["event"] == "ready").then(|| event["address"].as_str().map(Into::into))
        })
    }

    /// Waits until it is ready; returns where it serves metrics.
    pub(crate) fn wait_metrics(&self) -> String {
        self.wait_event("where its metrics are", |event| {
            let address = event["metrics"].as_str().map(Into::into);
            (event["event"] == "ready").then(|| address.expect("it was started with --metrics"))
        })
    }

    /// Waits until it has published, delivered or served so many messages.
    pub(crate) fn wait_messages(&self, messages: u64) {
        self.wait_event("so many messages", |event| {
            (event["event"] == "progress" && event["messages"].as_u64()? >= messages).then_some(())
        });
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Sends SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// True while it runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it has ended, not for ever.
    pub(crate) fn wait(mut self) -> Done {
        let deadline = Instant::now() + PATIENCE;
        while self.is_running() {
            if Instant::now() > deadline {
                let said = self.said.lock().expect("no panic").clone();
                panic!(
                    "{:?} does not end: {:#?}",
                    self.arguments,
                    &said[said.len().saturating_sub(5)..]
                );
            }
            thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.wait().expect("it ended");
        let stdout = self.stdout.take().expect("once").join().expect("no panic");
        self.stderr.take().expect("once").join().expect("no panic");
        let stderr = std::mem::take(&mut *self.said.lock().expect("no panic"));
        let last = stdout.lines().last().unwrap_or_default();
        Done {
            status,
            summary: serde_json::from_str(last).unwrap_or_default(),
            stdout,
            stderr,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the command to its end, without JSON.
pub(crate) fn run_plain(arguments: &[&str]) -> Done {
    Process::start_with(arguments, &[], false).wait()
}
