//! Many clients that ask for the same messages at once: how long the last of them waits, and what it does to the feed.

use super::clients::Clients;
use super::feed::{Feed, PATIENCE, Way, bytes_of};
use super::watching::Watching;
use super::{Options, bare, figure, ratio, seconds};
use crate::harness::bed::Bed;
use crate::harness::error::BenchError;
use crate::harness::median::Median;
use crate::harness::result::{Distribution, Goal, Section, Timeline, Value};
use crate::harness::slice::latencies;
use crate::harness::threads::{join, on_core, spawn};
use crate::harness::watch::Watch;
use hdrhistogram::Histogram;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;
use twinline_feed::run::unix_now;
use twinline_ring::Kind;

/// Messages a second of the feed that goes on meanwhile.
const RATE: u64 = 1_000;
/// The publisher sleeps until so long before a message is due, and spins for the rest.
const SPIN: u64 = 150_000;

pub(super) fn run(options: &Options, section: &mut Section, watch: &Watch) -> Result<(), BenchError> {
    let bed = Bed::new(&options.bed)?;
    let mut feed = Feed::open(&bed)?;
    let from = feed.next();
    feed.fill(options.messages + 1_000)?;
    let asked = (from, from + options.messages);
    let service = on_core("service", options.core(0), || bed.serve())?;
    let bytes = bytes_of(&bed.publisher_journal(), asked.0, asked.1)?;
    let (mut ours, mut bare): (Vec<Duration>, Vec<Duration>) = Default::default();
    let mut clients = Clients::connect(service.address, options.clients)?;
    let cores = [options.core(0), options.core(1)];
    for round in 0..=options.rounds {
        watch.step("recovery, many clients: round", round, options.rounds)?;
        let received = on_core("clients", cores[1], || clients.ask(asked.0, asked.1))?;
        let stream = bare::stream(&bytes, options.clients, cores)?;
        // The first round warms up.
        if round > 0 {
            ours.push(received.took);
            bare.push(stream);
        }
    }
    drop(clients);
    section.how.push(format!(
        "Many clients at once: {} clients, one thread of the real client, each with a connection of its own that stands \
         already, ask for the same {} messages ({} bytes); until the last has them, beside one bare stream of {} times the bytes.",
        options.clients,
        options.messages,
        bytes.len(),
        options.clients
    ));
    section.figures.push(ratio(
        "many clients at once, the last to a bare stream",
        Median::of_ratios(&seconds(&ours), &seconds(&bare)),
        Some(Goal::at_most(3.0, 6.0)),
        None,
    ));
    let milliseconds: Vec<f64> = ours.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    section.figures.push(figure(
        "many clients at once, the last",
        "ms",
        Value::Median(Median::of(&milliseconds)),
        None,
        None,
    ));
    let mut watching = Watching::open(&bed, &service)?;
    live(
        options,
        &mut feed,
        &mut watching,
        service.address,
        asked,
        section,
        watch,
    )
}

/// The feed goes on at a modest rate, a second with a burst and one without by turns.
fn live(
    options: &Options,
    feed: &mut Feed,
    watching: &mut Watching,
    service: SocketAddr,
    asked: (u64, u64),
    section: &mut Section,
    watch: &Watch,
) -> Result<(), BenchError> {
    watching.catch_up(feed)?;
    watching.records(|_| {})?;
    let mut clients = Clients::connect(service, options.clients)?;
    let mut seconds: [Vec<Histogram<u64>>; 2] = Default::default();
    let mut timeline = Vec::new();
    thread::scope(|scope| -> Result<(), BenchError> {
        let (go, wait) = channel();
        let bursting = spawn(scope, "clients", options.core(0), move || {
            burst_when_told(&mut clients, &wait, asked)
        })?;
        let mut measure = || -> Result<(), BenchError> {
            for second in 0..2 * options.seconds as usize {
                watch.step(
                    "recovery, live feed: second",
                    second,
                    2 * options.seconds as usize,
                )?;
                let bursts = second % 2;
                if bursts == 1 {
                    go.send(())
                        .map_err(|_| BenchError::Broken("the clients are gone".into()))?;
                }
                let latency = one_second(feed, watching, options.core(0))?;
                timeline.push((second as f64, latency.value_at_quantile(0.5) as f64 / 1e3));
                seconds[bursts].push(latency);
            }
            Ok(())
        };
        let measured = measure();
        drop(go);
        join(bursting)?;
        measured
    })?;
    section.how.push(format!(
        "Live feed: {RATE} messages a second on both lines, from the intended time of sending to the listener's ring, {} \
         seconds in which the {} clients ask at once and as many quiet ones, by turns. Publisher, service and clients share \
         the publisher's core.",
        options.seconds, options.clients
    ));
    let all = seconds.each_ref().map(|seconds| {
        let mut all = latencies();
        for second in seconds {
            // Same bounds: nothing is out of range.
            let _ = all.add(second);
        }
        all
    });
    let p50 = all.each_ref().map(|all| all.value_at_quantile(0.5) as f64);
    section.figures.push(figure(
        "live feed, p50 with bursts to quiet",
        "x",
        Value::Single(p50[1] / p50[0]),
        Some(Goal::at_most(1.2, 1.2)),
        Some("over all seconds of a kind".into()),
    ));
    let medians = seconds.each_ref().map(|seconds| -> Vec<f64> {
        let median = |second: &Histogram<u64>| second.value_at_quantile(0.5) as f64;
        seconds.iter().map(median).collect()
    });
    section.figures.push(ratio(
        "live feed, p50 of a second with a burst to the quiet one before it",
        Median::of_ratios(&medians[1], &medians[0]),
        None,
        None,
    ));
    for (name, latency) in ["live feed, quiet", "live feed, with bursts"].iter().zip(&all) {
        section.distributions.push(Distribution::of(*name, latency));
    }
    section.timelines.push(Timeline {
        name: "live feed, p50 of each second: quiet and with a burst by turns".into(),
        unit: "us".into(),
        points: timeline,
    });
    Ok(())
}

/// Each time that it is told to, all clients ask.
fn burst_when_told(clients: &mut Clients, told: &Receiver<()>, asked: (u64, u64)) -> Result<(), BenchError> {
    loop {
        match told.recv_timeout(Duration::from_millis(1)) {
            Ok(()) => drop(clients.ask(asked.0, asked.1)?),
            // Heartbeats, so that the service keeps them.
            Err(RecvTimeoutError::Timeout) => clients.idle(Duration::from_millis(50))?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// A second of the feed: each message's latency.
fn one_second(
    feed: &mut Feed,
    watching: &mut Watching,
    core: Option<usize>,
) -> Result<Histogram<u64>, BenchError> {
    let first = feed.next();
    let end = on_core("publisher", core, || {
        let start = unix_now() + 1_000_000;
        for number in 0..RATE {
            let at = start + number * 1_000_000_000 / RATE;
            let early = at.saturating_sub(unix_now()).saturating_sub(SPIN);
            thread::sleep(Duration::from_nanos(early));
            while unix_now() < at {
                std::hint::spin_loop();
            }
            // Stamped with the intended time: whoever is late does not look punctual.
            feed.publish(1, Way::Both, at)?;
        }
        Ok(feed.next())
    })?;
    watching.catch_up(feed)?;
    let mut latency = latencies();
    watching.records(|record| {
        if record.kind == Kind::Messages && (first..end).contains(&record.sequence) {
            let took = record.receive_time.saturating_sub(record.sending_time);
            latency.saturating_record(took.max(1));
        }
    })?;
    match latency.len() {
        RATE => Ok(latency),
        seen => Err(BenchError::Broken(format!(
            "{seen} of {RATE} messages were delivered within {PATIENCE:?}"
        ))),
    }
}
