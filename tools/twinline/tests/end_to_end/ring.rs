//! Local programs on a listener's ring: killed, stopped and overrun, while the listener is killed too. What each keeps is held
//! to the publisher's journal, message by message, without what the ring says of itself.

use crate::bed::{Bed, Done, PATIENCE, Process, free_tcp, quiet};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use twinline_journal::JournalReader;
use twinline_line::random::Random;

/// The smallest ring there is.
const RING: u64 = 64 * 1024;

/// The example; `cargo test` of the workspace or of this package builds it.
fn program() -> PathBuf {
    let here = std::env::current_exe().expect("a test has a file");
    let target = here.ancestors().nth(2).expect("target/debug/deps");
    let program = target.join("examples/local_program");
    assert!(
        program.exists(),
        "{} is not there: cargo build --examples",
        program.display()
    );
    program
}

/// A local program, killed when dropped.
struct Program {
    arguments: Vec<String>,
    file: PathBuf,
    child: Option<Child>,
}

impl Program {
    fn start(bed: &Bed, name: &str, policy: &str, nap: u64) -> Self {
        let file = bed.path(name);
        let nap = nap.to_string();
        let arguments = [&bed.text("rings"), "1", &bed.text(name), policy, &nap];
        let mut program = Self {
            arguments: arguments.map(String::from).to_vec(),
            file,
            child: None,
        };
        program.restart();
        program
    }

    fn restart(&mut self) {
        self.kill();
        let child = Command::new(program())
            .args(&self.arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        self.child = Some(child.expect("it starts"));
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let child = self.child.as_ref().expect("it runs");
        let id = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(id, signal).expect("it is ours");
    }

    /// Entries that it has written.
    fn entries(&self) -> u64 {
        self.file.metadata().map_or(0, |file| file.len() / 32)
    }

    /// Waits until it has ended, well, and returns what it says of itself: overruns, missed, filled.
    fn finish(&mut self) -> [u64; 3] {
        let mut child = self.child.take().expect("it runs");
        let deadline = Instant::now() + PATIENCE;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("{:?} does not end", self.file);
            }
            thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().expect("it ended");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?}: {error}", self.file);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ["overruns", "missed", "filled"].map(|name| {
            let (_, behind) = said
                .split_once(&format!("{name}: "))
                .expect("it says its progress");
            let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().expect("a count")
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A message as a program keeps it: session, epoch, checksum, sequence.
type Kept = (u32, u32, u32, u64);

/// Every message of the publisher's journal, and the bytes of all.
fn published(bed: &Bed) -> (Vec<Kept>, u64) {
    let mut reader = JournalReader::open(&bed.path("publisher")).expect("a journal");
    let (mut all, mut bytes) = (Vec::new(), 0);
    while let Some(packet) = reader.next().expect("it can be read") {
        let of = (packet.header().session.get(), packet.header().epoch.get());
        for (sequence, frame) in packet.messages() {
            let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, frame.bytes()) as u32;
            all.push((of.0, of.1, sum, sequence));
            bytes += frame.bytes().len() as u64;
        }
    }
    (all, bytes)
}

/// What a program has kept, what it says it missed filled in from `published`. Returns how many that were.
fn kept(program: &Program, published: &[Kept]) -> (Vec<Kept>, u64) {
    let bytes = std::fs::read(&program.file).expect("it has a file");
    let (entries, rest) = bytes.as_chunks::<32>();
    assert!(rest.is_empty(), "it ended well");
    let (mut all, mut missed) = (Vec::new(), 0);
    for entry in entries {
        let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes"));
        let long = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().expect("eight bytes"));
        if word(0) == 0 {
            all.push((word(4), word(8), word(12), long(16)));
            continue;
        }
        let from = published.partition_point(|message| message.3 < long(16));
        let to = published.partition_point(|message| message.3 < long(24));
        missed += (to - from) as u64;
        all.extend(&published[from..to]);
    }
    (all, missed)
}

/// Asserts that the program has every message once and in order, or says that it missed it.
#[track_caller]
fn assert_complete(program: &Program, published: &[Kept]) -> u64 {
    let (kept, missed) = kept(program, published);
    if let Some(at) = kept.iter().zip(published).position(|(one, other)| one != other) {
        panic!(
            "{:?}: at {at}: {:?} instead of {:?}",
            program.file, kept[at], published[at]
        );
    }
    assert_eq!(kept.len(), published.len(), "{:?}", program.file);
    missed
}

fn listener_arguments(bed: &Bed, service: &str, size: u64) -> Vec<String> {
    let (rings, size) = (bed.text("rings"), size.to_string());
    let impair = "loss=1%,both=0.2%,dup=1%,reorder=1%,seed=11";
    let own = [
        "--recovery",
        service,
        "--impair",
        impair,
        "--ring",
        &rings,
        "--ring-size",
        &size,
    ];
    bed.listen_arguments("listener", &own)
}

#[test]
fn a_hundred_kills_of_listener_and_programs_over_a_thousand_rounds_of_the_ring_tear_and_lose_nothing() {
    const ROUNDS: usize = 100;
    let _quiet = quiet();
    let bed = Bed::new();
    let (_recovery, service) = bed.recover(&free_tcp());
    let arguments = listener_arguments(&bed, &service, RING);
    let mut listener = Process::start(&arguments);
    let mut programs = [
        Program::start(&bed, "fast", "fill", 0),
        Program::start(&bed, "slow", "fill", 60),
        Program::start(&bed, "skipping", "skip", 60),
    ];
    let messages = "1450000";
    let publisher = bed.publish(&["--generate", messages, "--rate", "45000"]);
    publisher.wait_messages(1_000);
    let mut random = Random::new(17);
    let mut kills = [0; 4];
    for _ in 0..ROUNDS {
        thread::sleep(Duration::from_millis(50 + random.below(250)));
        let victim = random.below(4) as usize;
        kills[victim] += 1;
        match programs.get_mut(victim) {
            Some(program) => program.restart(),
            None => {
                listener.kill();
                listener.wait();
                thread::sleep(Duration::from_millis(random.below(100)));
                listener = Process::start(&arguments);
            }
        }
    }
    assert!(kills.iter().all(|&kills| kills > 10), "{kills:?}");
    publisher.wait().expect(0);
    listener.wait().expect(0);
    let (published, bytes) = published(&bed);
    assert!(bytes / RING >= 1_000, "only {} rounds of the ring", bytes / RING);
    let said = programs.each_mut().map(Program::finish);
    for (program, [overruns, ..]) in programs.iter().zip(said) {
        let missed = assert_complete(program, &published);
        let is_slow = !program.file.ends_with("fast");
        assert!(overruns > 0 || !is_slow, "{:?} was never overrun", program.file);
        assert_eq!(
            missed > 0,
            program.file.ends_with("skipping"),
            "{:?}",
            program.file
        );
    }
}

#[test]
fn a_program_that_is_stopped_for_ten_seconds_harms_nobody_and_has_what_it_missed_filled_or_named() {
    let _quiet = quiet();
    let bed = Bed::new();
    let (_recovery, service) = bed.recover(&free_tcp());
    let listener = Process::start(&listener_arguments(&bed, &service, 16 * RING));
    listener.wait_ready();
    let mut programs = [
        Program::start(&bed, "other", "fill", 0),
        Program::start(&bed, "filled", "fill", 0),
        Program::start(&bed, "skipping", "skip", 0),
    ];
    let publisher = bed.publish(&["--generate", "1500000", "--rate", "100000"]);
    listener.wait_messages(100_000);
    let wait_for = |program: &Program, entries: u64| {
        let deadline = Instant::now() + PATIENCE;
        while program.entries() < entries {
            assert!(Instant::now() < deadline, "{:?} does not go on", program.file);
            thread::sleep(Duration::from_millis(5));
        }
    };
    programs.iter().for_each(|program| wait_for(program, 10_000));
    programs[1..]
        .iter()
        .for_each(|program| program.signal(rustix::process::Signal::STOP));
    let before = programs[0].entries();
    thread::sleep(Duration::from_secs(10));
    // The listener and the other program went on as if nothing were.
    wait_for(&programs[0], before + 400_000);
    programs[1..]
        .iter()
        .for_each(|program| program.signal(rustix::process::Signal::CONT));
    publisher.wait().expect(0);
    let Done { summary, .. } = listener.wait().expect(0);
    let (published, _) = published(&bed);
    let [_, filled, skipping] = programs.each_mut().map(Program::finish);
    assert!(
        filled[0] > 0 && filled[1] == 0 && filled[2] > 400_000,
        "{filled:?}"
    );
    assert!(skipping[0] > 0 && skipping[1] > 400_000, "{skipping:?}");
    let missed = programs
        .each_ref()
        .map(|program| assert_complete(program, &published));
    assert_eq!(missed, [0, 0, skipping[1]], "exactly what it missed is named");
    // The listener shows the same of them.
    assert_eq!(summary["ring"]["missed"], skipping[1], "{summary:#}");
    assert!(
        summary["ring"]["filled"].as_u64() >= Some(filled[2]),
        "{summary:#}"
    );
}
