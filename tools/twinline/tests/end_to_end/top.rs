//! `twinline top` beside real daemons: what it prints for programs, and what it draws on a terminal.

use crate::bed::{Bed, Done, PATIENCE, Process, TWINLINE, free_tcp, run_plain};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const METRICS: [&str; 2] = ["--metrics", "127.0.0.1:0"];

/// Looks once.
fn top(targets: &[&str]) -> Done {
    let arguments = [&["top", "--once", "--every", "500ms"], targets].concat();
    Process::start(&arguments).wait()
}

/// Asks until what it sees is as wanted.
#[track_caller]
fn wait_top(targets: &[&str], wanted: impl Fn(&Value) -> bool) -> Done {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let done = top(targets);
        if wanted(&done.summary["daemons"]) {
            return done;
        }
        assert!(Instant::now() < deadline, "never: {done:#?}");
    }
}

fn has_alarm(daemon: &Value, name: &str, line: &Value) -> bool {
    let alarms = daemon["alarms"].as_array().expect("a list");
    alarms
        .iter()
        .any(|alarm| alarm["alarm"] == name && alarm["line"] == *line)
}

/// A recovery service, a listener that loses on line A only, and a publisher that says 20,000 messages a second.
struct Daemons {
    bed: Bed,
    _recover: Process,
    listener: Process,
    publisher: Process,
    /// Metrics of the three, in this order.
    at: [String; 3],
}

impl Daemons {
    fn start() -> Self {
        let bed = Bed::new();
        let journal = bed.text("publisher");
        let listen = ["recover", "--journal", &journal, "--listen", "127.0.0.1:0"];
        let recover = Process::start(&[&listen[..], &METRICS].concat());
        let service = recover.wait_ready().expect("a service says where it listens");
        let lossy = ["--recovery", &service, "--impair", "loss=5%,line=a,seed=3"];
        let listener = bed.listen("one", &[&lossy[..], &METRICS].concat());
        let source = ["--generate", "100000000", "--rate", "20000"];
        let publisher = bed.publish(&[&source[..], &METRICS].concat());
        let at = [&recover, &listener, &publisher].map(Process::wait_metrics);
        Self {
            bed,
            _recover: recover,
            listener,
            publisher,
            at,
        }
    }

    fn targets(&self) -> [&str; 3] {
        self.at.each_ref().map(String::as_str)
    }
}

#[test]
fn top_shows_the_loss_on_line_a_as_the_impairer_counts_it_and_who_is_down() {
    let daemons = Daemons::start();
    let lossy = wait_top(&daemons.targets(), |seen| {
        has_alarm(&seen[1], "line_lossy", &"a".into())
    });
    assert!(matches!(lossy.code(), 3 | 7), "all are up: {lossy:#?}");
    let seen = &lossy.summary["daemons"];
    for (daemon, name) in ["recover", "listen", "publish"].iter().enumerate() {
        assert_eq!(seen[daemon]["daemon"], *name);
        assert_eq!(seen[daemon]["up"], true);
    }
    assert!(!has_alarm(&seen[1], "line_lossy", &"b".into()), "{seen:#}");
    assert!(seen[2]["channels"][0]["rate"].as_u64() > Some(0), "{seen:#}");
    assert!(
        seen[1]["channels"][0]["latency_ns"]["now"]["p50"].as_u64() > Some(0),
        "{seen:#}"
    );

    daemons.publisher.terminate();
    let published = daemons.publisher.wait().expect(0).summary;
    let next = &published["position"]["next"];
    let [recover, listener, publisher] = &daemons.at;
    let quiet = wait_top(&[recover, listener, publisher], |seen| {
        seen[1]["channels"][0]["position"]["next"] == *next
    })
    .expect(4);
    let seen = &quiet.summary["daemons"];
    assert_eq!(seen[2]["up"], false);
    assert!(
        seen[2]["down"]["reason"]
            .as_str()
            .expect("in words")
            .contains("refused"),
        "{seen:#}"
    );
    assert!(has_alarm(&seen[2], "down", &Value::Null));
    let lines = &seen[1]["channels"][0]["lines"];

    daemons.listener.terminate();
    let listened = daemons.listener.wait().summary;
    let missing = &listened["impairer"]["a"]["missing"];
    assert!(missing.as_u64() > Some(0), "{listened:#}");
    assert_eq!(lines["a"]["lost"], *missing);
    assert_eq!(lines["a"]["impaired_missing"], *missing);
    assert_eq!(lines["b"]["lost"], 0);
    assert_eq!(lines["b"]["received"], listened["lines"]["b"]["received"]);
    drop(daemons.bed);
}

#[test]
fn without_json_it_prints_the_same_as_text() {
    let daemons = Daemons::start();
    wait_top(&daemons.targets(), |seen| {
        seen[1]["channels"][0]["messages"].as_u64() > Some(0)
    });
    let [_, listener, publisher] = &daemons.at;
    let text = run_plain(&["top", listener, publisher, "--once"]).stdout;
    for expected in [
        "line  state",
        "gaps  ",
        "recovery  1 of 1 connected",
        "latency  p50",
        "line  not sent",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn targets_may_stand_in_the_configuration_file() {
    let bed = Bed::new();
    let (file, nobody) = (bed.text("twinline.toml"), free_tcp());
    std::fs::write(
        &file,
        format!("[top]\ndaemon = [\"{nobody}\"]\nevery = \"100ms\"\n"),
    )
    .expect("written");
    let done = Process::start(&["top", "--config", &file, "--once"])
        .wait()
        .expect(4);
    assert_eq!(done.summary["daemons"][0]["address"], nobody);
}

#[test]
fn what_cannot_be_shown_is_refused_with_what_to_give_instead() {
    for (arguments, expected) in [
        (&["top", "127.0.0.1:9"][..], "stdout is no terminal: give --once"),
        (&["top", "127.0.0.1:9", "--json"], "--json is for --once"),
        (&["top"], "ADDRESS:PORT"),
        (&["top", "9464", "--every", "1ms"], "100ms"),
        (&["top", "desk1"], "names no metrics page"),
    ] {
        let done = run_plain(arguments).expect(2);
        assert!(
            done.stderr.join("\n").contains(expected),
            "{arguments:?}: {:#?}",
            done.stderr
        );
    }
}

/// A terminal of our own, and `top` in it.
struct Terminal {
    master: File,
    slave: File,
    before: Termios,
    said: Arc<Mutex<Vec<u8>>>,
    child: Child,
}

impl Terminal {
    fn start(targets: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master)
            .and_then(|()| unlockpt(&master))
            .expect("its other end");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let name = name.to_str().expect("plain").to_string();
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name)
            .expect("its other end");
        size(&slave, 100);
        let before = tcgetattr(&slave).expect("a terminal");
        let end = || Stdio::from(slave.try_clone().expect("a file"));
        let child = Command::new(TWINLINE)
            .args(["top", "--every", "200ms"])
            .args(targets)
            .env("TERM", "xterm")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("the command starts");
        let master = File::from(master);
        let said = Arc::new(Mutex::new(Vec::new()));
        let (mut from, saying) = (master.try_clone().expect("a file"), Arc::clone(&said));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                saying.lock().expect("no panic").extend(&buffer[..read]);
            }
        });
        Self {
            master,
            slave,
            before,
            said,
            child,
        }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().expect("no panic")).into_owned()
    }

    fn press(&mut self, keys: &[u8]) {
        self.master.write_all(keys).expect("it listens");
    }

    /// Waits until all these words were drawn since so many bytes.
    #[track_caller]
    fn wait_words(&self, since: usize, words: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.said();
            let drawn = said.get(since..).unwrap_or_default();
            if words.iter().all(|word| drawn.contains(word)) {
                return;
            }
            assert!(Instant::now() < deadline, "{words:?} never came: {drawn:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the end, and asserts that the terminal is as it was.
    #[track_caller]
    fn finish(mut self) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it was started") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status.code(), Some(0), "{}", self.said());
        let after = tcgetattr(&self.slave).expect("a terminal");
        assert_eq!(
            (
                after.input_modes,
                after.output_modes,
                after.control_modes,
                after.local_modes
            ),
            (
                self.before.input_modes,
                self.before.output_modes,
                self.before.control_modes,
                self.before.local_modes
            )
        );
        // Back from the alternate screen, and the cursor is there again.
        self.wait_words(0, &["\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"]);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(terminal: &File, columns: u16) {
    let size = Winsize {
        ws_row: 30,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).expect("a terminal");
}

#[test]
fn on_a_terminal_it_draws_follows_keys_and_sizes_and_leaves_it_as_it_was() {
    let daemons = Daemons::start();
    let nobody = free_tcp();
    let [_, listener, _] = daemons.targets();
    for end in ["q", "Ctrl-C", "SIGTERM"] {
        let mut terminal = Terminal::start(&[listener, &nobody]);
        terminal.wait_words(0, &["daemons", "listen", &nobody, "refused"]);
        let raw = tcgetattr(&terminal.slave).expect("a terminal");
        assert!(!raw.local_modes.contains(LocalModes::ECHO), "keys are not echoed");
        terminal.press(b"\t");
        // Another size: all of it is drawn anew.
        let since = terminal.said().len();
        size(&terminal.slave, 90);
        terminal.wait_words(since, &["gaps", "latency", "recovery", "received"]);
        match end {
            "q" => terminal.press(b"q"),
            "Ctrl-C" => terminal.press(b"\x03"),
            _ => kill_process(Pid::from_child(&terminal.child), Signal::TERM).expect("it runs"),
        }
        terminal.finish();
    }
}
