//! Every command's `--help` has examples, and each of them works.
//!
//! They are run as they stand, in a directory of their own. Only what stands for somebody else's machine is replaced:
//! `/var/lib/twinline`, `/dev/shm/twinline` and `/tmp` by that directory, `10.0.0.5:17010` by a recovery service that runs, `10.0.0.5:9464` by
//! where its metrics are, the interfaces `eth0` and `eth1` by the loopback one. What has no end is ended after a while; so is what
//! measures or is a whole laboratory, which have tests of their own that see them through.

use crate::bed::{Bed, Process, TWINLINE, namespaces_are_possible, quiet, run_plain};
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What an example may begin with; another line continues the one before.
const BEGINNINGS: [&str; 5] = ["twinline ", "cd ", "echo ", "tcpdump ", "tshark "];

/// Commands that would go on for long, and have tests of their own that see them through.
const CUT_SHORT: [&str; 2] = ["twinline bench ", "twinline lab "];

/// Commands that themselves have commands are listed with these.
fn commands() -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for name in listed(&[]) {
        let nested = listed(&[&name]);
        all.extend(nested.into_iter().map(|inner| vec![name.clone(), inner]));
        all.push(vec![name]);
    }
    all
}

/// The commands that `--help` of a command lists.
fn listed(of: &[&str]) -> Vec<String> {
    let help = run_plain(&[of, &["--help"]].concat()).expect(0).stdout;
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(Into::into)
        .collect()
}

/// The examples of a command's `--help`.
fn examples(command: &[String]) -> Vec<String> {
    let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
    arguments.push("--help");
    let help = run_plain(&arguments).expect(0).stdout;
    let mut examples: Vec<String> = Vec::new();
    for line in help
        .lines()
        .skip_while(|line| !line.starts_with("Example"))
        .skip(1)
    {
        let Some(text) = line.strip_prefix("  ") else {
            break;
        };
        if BEGINNINGS.iter().any(|beginning| text.starts_with(beginning)) {
            examples.push(text.into());
        } else if let Some(last) = examples.last_mut() {
            *last = format!("{last} {text}");
        }
    }
    examples
}

fn is_there(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Where examples run.
struct Scene {
    bed: Bed,
    address: String,
    /// Where the service's metrics are, for `top`.
    metrics: String,
    here: PathBuf,
}

impl Scene {
    /// With the files that examples name, and but for `publish` with journals too.
    fn new(command: &str) -> (Self, Option<Process>) {
        let bed = Bed::new();
        for dir in ["var", "tmp", "here"] {
            fs::create_dir(bed.path(dir)).expect("a directory");
        }
        let here = bed.path("here");
        fs::write(here.join("day.itch50.gz"), itch()).expect("written");
        fs::write(
            here.join("AAPL_2012-06-21_message_50.csv.gz"),
            gzip(b"34200.0,1,5,100,5853300,1\n"),
        )
        .expect("written");
        let mut service = None;
        let (mut address, mut metrics) = (String::new(), String::new());
        if command != "publish" {
            bed.publish(&["--generate", "3000", "--linger", "1ms"])
                .wait()
                .expect(0);
            let journal = bed.text("publisher");
            let listen = ["recover", "--journal", &journal, "--listen", "127.0.0.1:0"];
            let process = Process::start(&[&listen[..], &["--metrics", "127.0.0.1:0"]].concat());
            address = process.wait_ready().expect("a service says where it listens");
            metrics = process.wait_metrics();
            service = Some(process);
            for name in ["publisher", "listener", "listener-1", "listener-2"] {
                let copy = bed.text(&format!("var/{name}"));
                run_plain(&["replay", "--journal", &bed.text("publisher"), "--record", &copy]).expect(0);
            }
        }
        // As `listen` would find it: nothing yet.
        if command == "listen" {
            fs::remove_dir_all(bed.path("var/listener")).expect("it was there");
        }
        let scene = Self {
            bed,
            address,
            metrics,
            here,
        };
        (scene, service)
    }

    /// The recovery service that runs; where none does, an address where nobody is.
    fn address(&self) -> &str {
        match self.address.as_str() {
            "" => "127.0.0.1:9",
            address => address,
        }
    }

    /// Runs an example; the error says what it did.
    fn run(&mut self, example: &str) -> Result<(), String> {
        let mut line = example.to_string();
        // Any free port of this machine; and the service that runs stands for all others.
        for machine in ["10.0.0.5:17010", "10.0.0.6:17010", "10.0.0.7:17010"] {
            line = line
                .replace(&format!("--listen {machine}"), "--listen 127.0.0.1:0")
                .replace(machine, self.address());
        }
        for machine in ["10.0.0.5:9464", "10.0.0.6:9464"] {
            line = line.replace(machine, &self.metrics);
        }
        if line.starts_with("twinline lab ") && !line.contains("--list") && !namespaces_are_possible() {
            return Ok(());
        }
        // There is no terminal here; what it does on one is tested beside it.
        if line.starts_with("twinline top ") && !line.contains("--once") {
            line += " --once";
        }
        line = line
            .replace("/tmp", &self.bed.text("tmp"))
            .replace("/var/lib/twinline", &self.bed.text("var"))
            .replace("/dev/shm/twinline", &self.bed.text("shm"))
            .replace("@eth0", "@127.0.0.1")
            .replace("@eth1", "@127.0.0.1");
        for tool in ["jq", "tshark", "tcpdump", "man"] {
            let uses =
                line.split_whitespace().any(|word| word == tool) && !line.starts_with("twinline man man1 &&");
            if uses && !is_there(tool) {
                eprintln!("not run, as {tool} is not installed: {example}");
                return Ok(());
            }
        }
        // The last words show a page; that needs a reader and a program that shows it.
        line = line.replace(
            " && man ./man1/twinline-listen.1",
            " && test -s ./man1/twinline-listen.1",
        );
        if line.starts_with("cd ") {
            line += " && pwd";
        }
        let (code, stdout, stderr) = self.shell(&line)?;
        if line.starts_with("cd ") {
            self.here = PathBuf::from(stdout.trim());
        }
        let wrong = stderr.lines().find(|line| line.starts_with("error"));
        match (code, wrong) {
            (Some(0) | None, None) => Ok(()),
            // What the doctor says of this machine is not what is tested here.
            (Some(8), None) if line.starts_with("twinline doctor") => Ok(()),
            // What has an end says that it was not let come there; an error of its own would have ended it before.
            (None, Some(_)) if CUT_SHORT.iter().any(|command| line.contains(command)) => Ok(()),
            _ => Err(format!("{example}\nran as {line}\nended with {code:?}: {stderr}")),
        }
    }

    /// Runs a line to its end, or for a while if it has none; then its exit code is none.
    fn shell(&self, line: &str) -> Result<(Option<i32>, String, String), String> {
        let endless = [
            "recover ",
            "replica ",
            "listen ",
            "--live",
            "capture ",
            "tcpdump ",
            "simulate ",
            "tcp=",
            "shm=",
        ];
        let goes_on = endless.iter().chain(&CUT_SHORT).any(|word| line.contains(word));
        let patience = match goes_on && !line.contains("config ") {
            true => Duration::from_secs(2),
            false => Duration::from_secs(90),
        };
        let bin = Path::new(TWINLINE)
            .parent()
            .expect("it lies somewhere")
            .display()
            .to_string();
        let path = format!("{bin}:{}", std::env::var("PATH").unwrap_or_default());
        let mut child = Command::new("bash")
            .args(["-c", line])
            .current_dir(&self.here)
            .env("PATH", path)
            .env("TMPDIR", self.bed.path("tmp"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|cause| cause.to_string())?;
        let group = Pid::from_child(&child);
        let read = |mut from: Box<dyn Read + Send>| {
            thread::spawn(move || {
                let mut text = Vec::new();
                let _ = from.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        };
        let stdout = read(Box::new(child.stdout.take().expect("piped")));
        let stderr = read(Box::new(child.stderr.take().expect("piped")));
        let deadline = Instant::now() + patience;
        let mut code = None;
        while Instant::now() < deadline && code.is_none() {
            code = child
                .try_wait()
                .map_err(|cause| cause.to_string())?
                .map(|status| status.code().unwrap_or(-1));
            thread::sleep(Duration::from_millis(10));
        }
        if code.is_none() {
            let _ = kill_process_group(group, Signal::TERM);
            let deadline = Instant::now() + Duration::from_secs(20);
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            }
            let _ = kill_process_group(group, Signal::KILL);
            let _ = child.wait();
        }
        Ok((
            code,
            stdout.join().unwrap_or_default(),
            stderr.join().unwrap_or_default(),
        ))
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

/// A small ITCH file: 100 system events, a millisecond apart.
fn itch() -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..100_u64 {
        let time = (34_200_000_000_000 + number * 1_000_000).to_be_bytes();
        bytes.extend([0, 12, b'S', 0, 0, 0, 0]);
        bytes.extend(&time[2..]);
        bytes.push(b'O');
    }
    gzip(&bytes)
}

#[test]
fn every_command_has_examples_and_each_of_them_works() {
    let _quiet = quiet();
    let mut failed = Vec::new();
    for command in commands() {
        let examples = examples(&command);
        if examples.is_empty() && command.len() == 1 {
            failed.push(format!("{} has no example", command.join(" ")));
        }
        if examples.is_empty() {
            continue;
        }
        let (mut scene, service) = Scene::new(&command[0]);
        for example in &examples {
            failed.extend(scene.run(example).err());
        }
        drop(service);
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
