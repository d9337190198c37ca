//! What the hot threads ask of the kernel while a session goes on: strace watches the real processes through loss, gap fill,
//! an epoch change and segment switches.

use crate::bed::{Bed, PATIENCE, TWINLINE, quiet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of a packet without messages.
const HEARTBEAT: u64 = 48;

/// Messages of the whole run: several segments of 1 MiB.
const MESSAGES: &str = "60000";

/// A process under strace, which writes what each thread calls to a file of its own: `NAME.THREAD`.
struct Traced {
    name: String,
    child: Child,
}

impl Traced {
    fn start(bed: &Bed, name: &str, arguments: &[String], failpoint: Option<&str>) -> Self {
        let mut command = Command::new("strace");
        command.args(["-f", "-ff", "-qq", "-o", &bed.text(name), TWINLINE]);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(failpoint) = failpoint {
            command.env("TWINLINE_FAILPOINT", failpoint);
        }
        Self {
            name: name.into(),
            child: command.spawn().expect("strace starts"),
        }
    }

    /// Waits for its end; true if it ended well.
    fn ends_well(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().expect("it is ours") {
                Some(status) => return status.success(),
                None => assert!(Instant::now() < deadline, "{} does not end", self.name),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// True if `call` sent or received a packet with messages.
fn with_messages(call: &&str) -> bool {
    let bytes = call
        .rsplit_once(" = ")
        .and_then(|(_, bytes)| bytes.trim().parse::<u64>().ok());
    (call.starts_with("send") || call.starts_with("recv")) && bytes.is_some_and(|bytes| bytes > HEARTBEAT)
}

/// The calls of the thread `thread` of the process `name`, in order, from the first to the last one that sent or received a
/// packet with messages: opening comes before that, and what ends a session after it.
fn calls(dir: &Path, name: &str, thread: &str) -> Vec<String> {
    let named = format!("PR_SET_NAME, \"{thread}\"");
    let traces = std::fs::read_dir(dir).expect("the bed's directory").flatten();
    let mut found = traces
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with(&format!("{name}."))
        })
        .map(|entry| String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap_or_default()).into_owned())
        .filter(|trace| trace.contains(&named));
    let trace = found.next().expect("a trace of the thread");
    assert!(found.next().is_none(), "one thread of that name");
    let calls: Vec<&str> = trace
        .lines()
        .filter(|line| !line.starts_with(['-', '+']))
        .collect();
    let first = calls.iter().position(with_messages).expect("a packet");
    let last = calls.iter().rposition(with_messages).expect("a packet");
    calls[first..=last].iter().map(ToString::to_string).collect()
}

/// The calls that are none of `allowed`.
fn others<'c>(calls: &'c [String], allowed: &[&str]) -> Vec<&'c String> {
    let is = |call: &str, name: &str| call.strip_prefix(name).is_some_and(|rest| rest.starts_with('('));
    calls
        .iter()
        .filter(|call| !allowed.iter().any(|name| is(call, name)))
        .collect()
}

/// Those that are no wait for a segment: where the thread that makes them has no core for as long as two segments last, the
/// journal waits for it, and counts that. Twice at most here.
fn unusual(calls: Vec<&String>) -> Vec<&String> {
    let waits = |call: &&String| call.starts_with("futex(") && call.contains("FUTEX_WAIT");
    let few = calls.iter().filter(|call| waits(call)).count() <= 2;
    let wait = |call: &&String| few && (waits(call) || call.starts_with("sched_yield("));
    calls.into_iter().filter(|call| !wait(call)).collect()
}

#[test]
fn the_line_threads_send_receive_and_idle_through_loss_fills_epochs_and_segments() {
    let there = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "in CI strace must be there");
        eprintln!("skipped: strace is not there: apt-get install strace");
        return;
    }
    let _quiet = quiet();
    let bed = Bed::new();
    let publishing = ["--generate", MESSAGES, "--rate", "20000", "--linger", "1s"];
    let publishing = bed.publish_arguments("publisher", &publishing);
    let (service, address) = bed.recover("127.0.0.1:0");
    let impair = ["--recovery", &address, "--impair", "loss=3%,both=1%,seed=5"];
    let listening = bed.listen_arguments("listener", &impair);
    let mut listener = Traced::start(&bed, "trace-listener", &listening, None);
    let dies = Some("publisher.after_send:1000");
    let mut first = Traced::start(&bed, "trace-first", &publishing, dies);
    assert!(!first.ends_well(), "it dies where it was told to");
    let mut second = Traced::start(&bed, "trace-second", &publishing, None);
    assert!(second.ends_well() && listener.ends_well());
    drop(service);
    bed.assert_equal(&["listener"], MESSAGES.parse().expect("a number"));
    let segments = |journal: &str| {
        let files = std::fs::read_dir(bed.path(journal)).expect("a journal").flatten();
        files
            .filter(|file| file.path().extension().is_some_and(|end| end == "seg"))
            .count()
    };
    assert!(segments("publisher") > 3 && segments("listener") > 3);
    let dir = bed.path("");
    for run in ["trace-first", "trace-second"] {
        let calls = calls(&dir, run, "publisher");
        let sent = calls.iter().filter(|call| call.starts_with("send")).count();
        assert!(sent > 20, "{run} sent {sent} times");
        let idle = ["clock_nanosleep", "clock_gettime"];
        let allowed = [&["sendto", "sendmsg", "sendmmsg"][..], &idle].concat();
        assert_eq!(unusual(others(&calls, &allowed)), Vec::<&String>::new(), "{run}");
    }
    let calls = calls(&dir, "trace-listener", "lines 1");
    let allowed = [
        "recvfrom",
        "recvmsg",
        "recvmmsg",
        "clock_nanosleep",
        "clock_gettime",
    ];
    // The one exception: a request for what is missing wakes the thread that talks to the recovery services.
    let (wakes, rest): (Vec<_>, Vec<_>) = others(&calls, &allowed)
        .into_iter()
        .partition(|call| call.starts_with("write(") && call.contains(", \"\\1\\0\\0\\0\\0\\0\\0\\0\", 8)"));
    assert_eq!(unusual(rest), Vec::<&String>::new());
    assert!(!wakes.is_empty(), "gaps were asked for");
    assert!(
        wakes.len() * 5 < calls.len(),
        "{} of {}",
        wakes.len(),
        calls.len()
    );
}
