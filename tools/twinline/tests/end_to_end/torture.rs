//! A hundred rounds: each kills a process at random, whatever it is doing, and starts it again. In the end every stream is
//! complete, and equal to what was published.

use crate::bed::{Bed, Process, free_tcp, quiet};
use std::thread;
use std::time::Duration;

const ROUNDS: u32 = 100;
/// Messages of a session: some seconds, so that a run goes through several.
const SESSION: u64 = 20_000;
const RATE: &str = "4000";

/// A process of the run that may be killed at any time.
struct Victim {
    arguments: Vec<String>,
    process: Option<Process>,
    kills: u32,
}

impl Victim {
    fn new(arguments: Vec<String>) -> Self {
        let process = Some(Process::start(&arguments));
        Self {
            arguments,
            process,
            kills: 0,
        }
    }

    /// Kills it, if it still runs: a publisher may have said everything.
    fn kill(&mut self) {
        if let Some(process) = &mut self.process
            && process.is_running()
        {
            process.kill();
            self.kills += 1;
        }
    }

    /// Starts it again. True if it had ended by itself, and well.
    fn restart(&mut self) -> bool {
        let code = self.process.take().map(|process| process.wait().code());
        self.process = Some(Process::start(&self.arguments));
        match code {
            Some(0) => true,
            Some(-9) | None => false,
            Some(code) => panic!("{:?} ended with {code}", self.arguments),
        }
    }
}

fn publisher_arguments(bed: &Bed, session: u32) -> Vec<String> {
    let (session, messages) = (session.to_string(), SESSION.to_string());
    let own = [
        "--session",
        &session,
        "--generate",
        &messages,
        "--rate",
        RATE,
        "--linger",
        "300ms",
    ];
    bed.publish_arguments("publisher", &own)
}

fn listener_arguments(bed: &Bed, name: &str, services: &[String; 2], seed: usize) -> Vec<String> {
    let impair = format!("loss=2%,both=0.5%,dup=1%,reorder=1%,corrupt=0.1%,seed={seed}");
    let [first, second] = services;
    let own = ["--recovery", first, "--recovery", second, "--impair", &impair];
    bed.listen_arguments(name, &own)
}

#[test]
fn a_hundred_kills_of_any_process_leave_every_stream_complete() {
    let _quiet = quiet();
    let bed = Bed::new();
    let services = [free_tcp(), free_tcp()];
    let names = ["one", "two"];
    let [publisher, replica] = [bed.text("publisher"), bed.text("replica")];
    let recover = ["recover", "--journal", &publisher, "--listen", &services[0]];
    let follow = ["replica", "--upstream", &services[0], "--journal", &replica];
    let follow = [&follow[..], &["--listen", &services[1], "--segment-size", "1MiB"]].concat();
    let mut session = 1;
    // The first is the publisher.
    let mut victims = vec![
        Victim::new(publisher_arguments(&bed, session)),
        Victim::new(recover.map(String::from).to_vec()),
        Victim::new(follow.into_iter().map(String::from).collect()),
    ];
    for (seed, name) in names.iter().enumerate() {
        let mut arguments = listener_arguments(&bed, name, &services, seed);
        arguments.retain(|argument| argument != "--until-end");
        victims.push(Victim::new(arguments));
    }
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for _ in 0..ROUNDS {
        thread::sleep(Duration::from_millis(20 + draw(400)));
        let victim = draw(victims.len() as u64) as usize;
        victims[victim].kill();
        // Mostly at once; sometimes it is away for a while.
        let away = if draw(4) == 0 { 400 } else { 40 };
        thread::sleep(Duration::from_millis(draw(away)));
        let publisher = victims[0].process.as_mut().filter(|_| victim != 0);
        let complete = publisher.is_some_and(|publisher| !publisher.is_running());
        if victims[victim].restart() && victim == 0 || complete {
            session += 1;
            victims[0].kill();
            victims[0].arguments = publisher_arguments(&bed, session);
            victims[0].restart();
        }
    }
    let kills: Vec<u32> = victims.iter().map(|victim| victim.kills).collect();
    assert!(
        kills.iter().sum::<u32>() + session >= ROUNDS && kills.iter().all(|&kills| kills > 5),
        "{kills:?}"
    );
    // The rest of the last session, and whatever anybody lacks.
    victims[0].process.take().expect("it runs").wait().expect(0);
    victims.truncate(3);
    victims[1].restart_if_gone();
    victims[2].restart_if_gone();
    for (seed, name) in names.iter().enumerate() {
        let listener = Process::start(&listener_arguments(&bed, name, &services, seed));
        let done = listener.wait().expect(0);
        assert_eq!(done.summary["position"]["session"], session, "{done:#?}");
    }
    let replica = victims[2].process.take().expect("it runs");
    replica.wait_event("that the replica holds the last session", |event| {
        let place = &event["position"];
        (place["session"] == session && place["ended"] == true).then_some(())
    });
    drop(replica);
    bed.assert_equal(&["one", "two", "replica"], u64::from(session) * SESSION);
}

impl Victim {
    fn restart_if_gone(&mut self) {
        if self.process.as_mut().is_none_or(|process| !process.is_running()) {
            self.restart();
        }
    }
}
