//! A matching engine in another process: the example, over TCP and through shared memory, killed and killed again.

use crate::bed::{Bed, Process, free_tcp, quiet, run_plain};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use twinline_line::random::Random;

/// The example engine; `cargo test` of the workspace or of this package builds it.
fn program() -> PathBuf {
    let here = std::env::current_exe().expect("a test has a file");
    let target = here.ancestors().nth(2).expect("target/debug/deps");
    let program = target.join("examples/matching_engine");
    assert!(
        program.exists(),
        "{} is not there: cargo build --example matching_engine",
        program.display()
    );
    program
}

/// Where an engine and its publisher meet: `tcp` or `shm`, and there.
struct Place(&'static str, String);

impl Place {
    fn tcp() -> Self {
        Self("tcp", free_tcp())
    }

    fn shared(bed: &Bed) -> Self {
        Self("shm", bed.text("engine.socket"))
    }

    /// The arguments of a publisher that an engine feeds.
    fn publishing(&self, bed: &Bed) -> Vec<String> {
        let source = format!("{}={}", self.0, self.1);
        let more = ["--source", &source, "--linger", "100ms", "--lead-in", "10ms"];
        bed.publish_arguments("publisher", &more)
    }
}

/// The engine, killed when dropped.
struct Engine(Option<Child>);

impl Engine {
    fn start(Place(kind, place): &Place, events: u64, rate: u64) -> Self {
        let child = Command::new(program())
            .args([
                &format!("--{kind}={place}"),
                "--events",
                &events.to_string(),
                "--rate",
                &rate.to_string(),
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(Some(child.expect("it starts")))
    }

    fn is_running(&mut self) -> bool {
        self.0
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn wait(mut self) -> Output {
        let mut child = self.0.take().expect("it was started");
        let deadline = Instant::now() + Duration::from_secs(120);
        while matches!(child.try_wait(), Ok(None)) {
            assert!(Instant::now() < deadline, "the engine does not end");
            thread::sleep(Duration::from_millis(5));
        }
        child.wait_with_output().expect("it ended")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An uninterrupted run of so many events, in the journal `publisher` of the bed.
fn uninterrupted(events: u64) -> Bed {
    let bed = Bed::new();
    let place = Place::tcp();
    let publisher = Process::start(&place.publishing(&bed));
    let output = Engine::start(&place, events, 1_000_000).wait();
    assert!(output.status.success(), "{output:?}");
    let done = publisher.wait().expect(0);
    assert_eq!(done.summary["source"]["messages"], events);
    assert_eq!(done.summary["source_failures"], 0);
    bed
}

/// That the journal of `bed` has what an uninterrupted run has, message by message.
fn assert_same_as_uninterrupted(bed: &Bed, events: u64) {
    let whole = uninterrupted(events);
    let journals = [whole.text("publisher"), bed.text("publisher")];
    run_plain(&["diff", "--source-messages", &journals[0], &journals[1]]).expect(0);
}

/// A publisher, its engine and a listener: the listener has all that the engine said.
fn assert_feeds(bed: &Bed, place: &Place) {
    let listener = bed.listen("listener", &[]);
    let publisher = Process::start(&place.publishing(bed));
    assert!(Engine::start(place, 5_000, 100_000).wait().status.success());
    publisher.wait().expect(0);
    listener.wait().expect(0);
    let (equal, found) = bed.diff(&["listener"]);
    let executions = found["publisher"]["by_template"]["ExecuteOrder"].as_u64();
    assert!(equal && executions > Some(100), "{found:#}");
}

#[test]
fn an_engine_feeds_a_publisher_over_tcp_and_listeners_have_all_of_it() {
    assert_feeds(&Bed::new(), &Place::tcp());
}

#[test]
fn an_engine_feeds_a_publisher_through_shared_memory_and_listeners_have_all_of_it() {
    let bed = Bed::new();
    assert_feeds(&bed, &Place::shared(&bed));
}

/// The engine is killed twenty times under load.
fn kill_engines(bed: &Bed, place: &Place) {
    let _quiet = quiet();
    let (events, rate) = (24_000, 4_000);
    let publisher = Process::start(&place.publishing(bed));
    let mut random = Random::new(20);
    for _ in 0..20 {
        let mut engine = Engine::start(place, events, rate);
        thread::sleep(Duration::from_millis(80 + random.below(160)));
        assert!(engine.is_running(), "it was to be killed under load");
    }
    let output = Engine::start(place, events, 1_000_000).wait();
    assert!(output.status.success(), "{output:?}");
    let done = publisher.wait().expect(0);
    assert_eq!(done.summary["source"]["messages"], events);
    assert_same_as_uninterrupted(bed, events);
}

#[test]
fn an_engine_killed_twenty_times_over_tcp_loses_and_doubles_nothing() {
    kill_engines(&Bed::new(), &Place::tcp());
}

#[test]
fn an_engine_killed_twenty_times_on_shared_memory_loses_and_doubles_nothing() {
    let bed = Bed::new();
    kill_engines(&bed, &Place::shared(&bed));
}

/// The publisher is killed twenty times under load.
fn kill_publishers(bed: &Bed, place: &Place) {
    let _quiet = quiet();
    let (events, rate) = (40_000, 4_000);
    let arguments = place.publishing(bed);
    let mut publisher = Process::start(&arguments);
    let mut engine = Engine::start(place, events, rate);
    let mut random = Random::new(21);
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(150 + random.below(200)));
        let both = engine.is_running() && publisher.is_running();
        assert!(both, "they were to be killed under load");
        publisher.kill();
        drop(publisher);
        publisher = Process::start(&arguments);
    }
    let output = engine.wait();
    assert!(output.status.success(), "{output:?}");
    publisher.wait().expect(0);
    assert_same_as_uninterrupted(bed, events);
}

#[test]
fn a_publisher_killed_twenty_times_under_an_engine_on_tcp_loses_and_doubles_nothing() {
    kill_publishers(&Bed::new(), &Place::tcp());
}

#[test]
fn a_publisher_killed_twenty_times_under_an_engine_on_shared_memory_loses_and_doubles_nothing() {
    let bed = Bed::new();
    kill_publishers(&bed, &Place::shared(&bed));
}

#[test]
fn a_publisher_whose_engine_stays_away_says_so_and_says_when_it_goes_on() {
    let bed = Bed::new();
    let place = Place::shared(&bed);
    let mut arguments = place.publishing(&bed);
    arguments.extend(["--source-stall", "200ms"].map(Into::into));
    let publisher = Process::start(&arguments);
    let warned = |text: &'static str| {
        publisher.wait_event(text, |event| event["text"].as_str()?.contains(text).then_some(()));
    };
    warned("the source has said nothing for 200ms and stands at position 0");
    publisher.wait_event("how long it is silent", |event| {
        (event["source_silent_ns"].as_u64()? >= 200_000_000).then_some(())
    });
    assert!(Engine::start(&place, 500, 100_000).wait().status.success());
    warned("the source goes on behind position 0");
    let done = publisher.wait().expect(0);
    assert_eq!(done.summary["source_silent_ns"], 0);
}

#[test]
fn what_is_no_engine_is_named_and_the_next_one_is_listened_to() {
    use std::io::Write;
    let bed = Bed::new();
    let place = Place::tcp();
    let publisher = Process::start(&place.publishing(&bed));
    publisher.wait_ready();
    let mut stream = std::net::TcpStream::connect(&place.1).expect("it listens");
    stream.write_all(&[0; 64]).expect("it is connected");
    publisher.wait_event("that this is no engine", |event| {
        event["text"]
            .as_str()?
            .contains("no framed message")
            .then_some(())
    });
    let output = Engine::start(&place, 500, 100_000).wait();
    assert!(output.status.success(), "{output:?}");
    let done = publisher.wait().expect(0);
    assert_eq!(done.summary["source_failures"], 1);
    assert_same_as_uninterrupted(&bed, 500);
}
