//! What the hot threads ask of the kernel while a session goes on: strace watches the real processes through loss, gap fill,
//! an epoch change and segment switches.

use crate::bed::{Bed, PATIENCE, TWINLINE, quiet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use twinline_reader::wire::field::SessionState;
use twinline_reader::{
    Event, Instruments, NoticeKind, Options, Origin, ReadError, Reader, RingError, Start, Wait,
};

/// Bytes of a packet without messages.
const HEARTBEAT: u64 = 48;

/// Where the ring is that the program under test reads.
const RING: &str = "TWINLINE_TEST_RING";
/// What that program says before its first message, and behind its last one.
const FIRST: &str = "the first message";
const LAST: &str = "behind the last message";

/// A process under strace, which writes what each thread calls to a file of its own: `NAME.THREAD`.
struct Traced {
    name: String,
    child: Child,
}

impl Traced {
    fn start(bed: &Bed, name: &str, arguments: &[String], failpoint: Option<&str>) -> Self {
        let mut command = Self::command(bed, name, TWINLINE.as_ref());
        command.args(arguments);
        if let Some(failpoint) = failpoint {
            command.env("TWINLINE_FAILPOINT", failpoint);
        }
        Self::spawn(name, command)
    }

    /// The program below, on the ring in `ring`.
    fn start_reader(bed: &Bed, name: &str, ring: &str) -> Self {
        let here = std::env::current_exe().expect("a test has a file");
        let mut command = Self::command(bed, name, &here);
        command.args([
            "--exact",
            "--nocapture",
            "system_calls::a_program_that_spins_on_the_ring",
        ]);
        command.env(RING, ring);
        Self::spawn(name, command)
    }

    fn command(bed: &Bed, name: &str, program: &Path) -> Command {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-ff", "-qq", "-o", &bed.text(name)])
            .arg(program);
        command
    }

    fn spawn(name: &str, mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
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
fn with_messages(call: &str) -> bool {
    let bytes = call
        .rsplit_once(" = ")
        .and_then(|(_, bytes)| bytes.trim().parse::<u64>().ok());
    (call.starts_with("send") || call.starts_with("recv")) && bytes.is_some_and(|bytes| bytes > HEARTBEAT)
}

/// The calls of a thread of the process `name`, in order: of the one in whose trace `known` stands.
pub(crate) fn calls_of(dir: &Path, name: &str, known: &str) -> Vec<String> {
    let traces = std::fs::read_dir(dir).expect("the bed's directory").flatten();
    let mut found = traces
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with(&format!("{name}."))
        })
        .map(|entry| String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap_or_default()).into_owned())
        .filter(|trace| trace.contains(known));
    let trace = found.next().expect("a trace of the thread");
    assert!(found.next().is_none(), "one such thread");
    let calls = trace.lines().filter(|line| !line.starts_with(['-', '+']));
    calls.map(ToString::to_string).collect()
}

/// The calls of the thread `thread` of the process `name`, in order, from the first to the last one that sent or received a
/// packet with messages: opening comes before that, and what ends a session after it.
fn calls_with_messages(dir: &Path, name: &str, thread: &str) -> Vec<String> {
    let calls = calls_of(dir, name, &format!("PR_SET_NAME, \"{thread}\""));
    let packets = |call: &String| with_messages(call);
    let first = calls.iter().position(packets).expect("a packet");
    let last = calls.iter().rposition(packets).expect("a packet");
    calls[first..=last].to_vec()
}

/// The calls that are none of `allowed`.
pub(crate) fn others<'c>(calls: &'c [String], allowed: &[&str]) -> Vec<&'c String> {
    let is = |call: &str, name: &str| call.strip_prefix(name).is_some_and(|rest| rest.starts_with('('));
    calls
        .iter()
        .filter(|call| !allowed.iter().any(|name| is(call, name)))
        .collect()
}

/// Without the waits for a segment of the journal, which has so many. Where the thread that makes them has no core for as long as
/// two segments last, the journal wakes it, sleeps until the next one is there, and counts that.
pub(crate) fn without_waits(calls: Vec<String>, idles: &[&str], segments: usize) -> Vec<String> {
    let waits = |call: &String| match call.split_once('(') {
        Some(("futex", futex)) => futex.contains("FUTEX_WAKE"),
        Some((sleep @ "clock_nanosleep", _)) => !idles.contains(&sleep),
        _ => false,
    };
    let runs = calls.chunk_by(|one, next| waits(one) == waits(next));
    if runs.filter(|run| waits(&run[0])).count() >= segments {
        return calls;
    }
    calls.into_iter().filter(|call| !waits(call)).collect()
}

/// Not a test of its own: a program on the listener's host that spins on its ring until the session is over.
#[test]
fn a_program_that_spins_on_the_ring() {
    let Some(ring) = std::env::var_os(RING) else {
        return;
    };
    let options = Options {
        start: Start::Oldest,
        wait: Wait::Spin,
        books: Instruments::None,
        symbols: false,
        ..Options::default()
    };
    let deadline = Instant::now() + PATIENCE;
    let mut reader = loop {
        match Reader::attach(ring.as_ref(), 1, options.clone()) {
            Ok(reader) => break reader,
            Err(ReadError::Ring(RingError::NoRing { .. })) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("{error}"),
        }
    };
    let (mut messages, mut epochs, mut recovered) = (0, (0, 0), 0);
    loop {
        match reader
            .next_within(PATIENCE)
            .expect("it goes on")
            .expect("it is not over")
        {
            Event::Message(message) => {
                if messages == 0 {
                    println!("{FIRST}");
                    epochs.0 = message.epoch;
                }
                messages += 1;
                epochs.1 = message.epoch;
                recovered += u64::from(message.origin == Some(Origin::Recovery));
            }
            Event::Notice(notice) => match notice.kind {
                NoticeKind::Session(event) if event.state == SessionState::ENDED => break,
                NoticeKind::Writer(state) => panic!("the listener is {state:?}"),
                _ => {}
            },
        }
    }
    println!("{LAST}");
    assert!(messages > 1000 && recovered > 0, "{messages}, {recovered}");
    assert!(epochs.0 < epochs.1, "{epochs:?}");
    assert_eq!(reader.progress().overruns, 0, "it was never too slow");
}

/// What a run is like.
struct Run {
    idle: &'static str,
    messages: &'static str,
    /// Bytes of a segment: the messages take several.
    segment: &'static str,
    /// The calls that the idle call makes.
    idles: &'static [&'static str],
    /// A program spins on the listener's ring.
    reader: bool,
}

/// Whether strace is there; says so where it is not. In CI it must be.
pub(crate) fn strace_is_there() -> bool {
    let there = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    let there = there.is_ok_and(|status| status.success());
    assert!(
        there || std::env::var_os("CI").is_none(),
        "in CI strace must be there"
    );
    if !there {
        eprintln!("skipped: strace is not there: apt-get install strace");
    }
    there
}

/// A publisher that dies in its session and its successor, a recovery service and a listener with lossy lines; then looks at what
/// they called.
fn start(run: &Run) {
    if !strace_is_there() {
        return;
    }
    let _quiet = quiet();
    let bed = Bed::new();
    let usual = ["--idle", run.idle, "--segment-size", run.segment];
    let publishing = ["--generate", run.messages, "--rate", "20000", "--linger", "1s"];
    let publishing = bed.publish_arguments("publisher", &[&usual[..], &publishing].concat());
    let (service, address) = bed.recover("127.0.0.1:0");
    let ring = bed.text("rings");
    let impair = [
        "--recovery",
        &address,
        "--impair",
        "loss=3%,both=1%,seed=5",
        "--ring",
        &ring,
    ];
    let listening = bed.listen_arguments("listener", &[&usual[..], &impair].concat());
    let mut listener = Traced::start(&bed, "trace-listener", &listening, None);
    let mut reader = run
        .reader
        .then(|| Traced::start_reader(&bed, "trace-reader", &ring));
    let dies = Some("publisher.after_send:500");
    let mut first = Traced::start(&bed, "trace-first", &publishing, dies);
    assert!(!first.ends_well(), "it dies where it was told to");
    let mut second = Traced::start(&bed, "trace-second", &publishing, None);
    assert!(second.ends_well() && listener.ends_well());
    assert!(
        reader.as_mut().is_none_or(Traced::ends_well),
        "the program on the ring failed"
    );
    drop(service);
    bed.assert_equal(&["listener"], run.messages.parse().expect("a number"));
    let segments = ["publisher", "listener"].map(|journal| {
        let files = std::fs::read_dir(bed.path(journal)).expect("a journal").flatten();
        let segments = files.filter(|file| file.path().extension().is_some_and(|end| end == "seg"));
        segments.count()
    });
    assert!(segments.iter().all(|&segments| segments > 3), "{segments:?}");
    check(&bed.path(""), run, segments);
}

/// Where the machine has no clock that a program can read by itself, reading it is a call.
pub(crate) const CLOCK: &str = "clock_gettime";

/// What each of the threads called; the publisher's and the listener's journal have so many segments.
fn check(dir: &Path, run: &Run, segments: [usize; 2]) {
    for publisher in ["trace-first", "trace-second"] {
        let calls = calls_with_messages(dir, publisher, "publisher");
        let calls = without_waits(calls, run.idles, segments[0]);
        let sent = calls.iter().filter(|call| call.starts_with("send")).count();
        assert!(sent > 20, "{publisher} sent {sent} times");
        let allowed = [&["sendto", "sendmsg", "sendmmsg", CLOCK][..], run.idles].concat();
        assert_eq!(others(&calls, &allowed), Vec::<&String>::new(), "{publisher}");
    }
    let calls = calls_with_messages(dir, "trace-listener", "lines 1");
    let calls = without_waits(calls, run.idles, segments[1]);
    let allowed = [&["recvfrom", "recvmsg", "recvmmsg", CLOCK][..], run.idles].concat();
    // The one exception: a request for what is missing wakes the thread that talks to the recovery services.
    let (wakes, rest): (Vec<_>, Vec<_>) = others(&calls, &allowed)
        .into_iter()
        .partition(|call| call.starts_with("write(") && call.contains(", \"\\1\\0\\0\\0\\0\\0\\0\\0\", 8)"));
    assert_eq!(rest, Vec::<&String>::new());
    assert!(!wakes.is_empty(), "gaps were asked for");
    assert!(
        wakes.len() * 5 < calls.len(),
        "{} of {}",
        wakes.len(),
        calls.len()
    );
    if run.reader {
        let calls = calls_of(dir, "trace-reader", LAST);
        let said = |what: &str| {
            calls
                .iter()
                .position(|call| call.starts_with("write(1") && call.contains(what))
        };
        let (first, last) = said(FIRST).zip(said(LAST)).expect("it said so");
        let (looks, rest): (Vec<_>, Vec<_>) = others(&calls[first + 1..last], &[CLOCK])
            .into_iter()
            .partition(|call| call.starts_with("flock("));
        assert_eq!(rest, Vec::<&String>::new());
        // Where the listener had no core for a twentieth of a second, the reader looks whether it lives.
        assert!(looks.len() <= 10, "{looks:?}");
    }
}

#[test]
fn the_line_threads_send_receive_and_idle_and_a_program_on_the_ring_calls_nothing() {
    let run = Run {
        idle: "park:50us",
        messages: "60000",
        segment: "1MiB",
        idles: &["clock_nanosleep"],
        reader: true,
    };
    start(&run);
}

#[test]
fn line_threads_that_spin_call_nothing_but_send_and_receive() {
    let run = Run {
        idle: "spin",
        messages: "20000",
        segment: "256KiB",
        idles: &[],
        reader: false,
    };
    start(&run);
}
