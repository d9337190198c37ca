//! Many clients that ask for the same messages at once: how long the last of them waits, and what it does to the feed.

use super::bed::{Bed, CORE, Feed, Listening, PATIENCE, Way, bytes_of, on_core};
use super::clients::Clients;
use super::{Options, Result, bare, figure, ratio, seconds};
use crate::harness::median::Median;
use crate::harness::result::{Distribution, Goal, Section, Timeline, Value};
use crate::harness::slice::latencies;
use hdrhistogram::Histogram;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;
use twinline_feed::run::unix_now;
use twinline_ring::{Kind, Next};

/// Messages a second of the feed that goes on meanwhile.
const RATE: u64 = 1_000;
/// The publisher sleeps until so long before a message is due, and spins for the rest.
const SPIN: u64 = 150_000;

pub(super) fn run(options: &Options, section: &mut Section) -> Result<()> {
    let bed = Bed::new()?;
    let mut feed = bed.publish()?;
    let from = feed.next();
    feed.fill(options.messages + 1_000)?;
    let asked = (from, from + options.messages);
    let service = on_core(CORE, || bed.serve())?;
    let bytes = bytes_of(&bed.journal(), asked.0, asked.1)?;
    let (mut ours, mut bare): (Vec<Duration>, Vec<Duration>) = Default::default();
    let mut clients = Clients::connect(service.address, options.clients)?;
    for round in 0..=options.rounds {
        let received = on_core(1, || clients.ask(asked.0, asked.1))?;
        let stream = bare::stream(&bytes, options.clients)?;
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
    live(
        options,
        &mut feed,
        &mut bed.listen(&service)?,
        service.address,
        asked,
        section,
    )
}

/// The feed goes on at a modest rate, a second with a burst and one without by turns.
fn live(
    options: &Options,
    feed: &mut Feed,
    listening: &mut Listening,
    service: SocketAddr,
    asked: (u64, u64),
    section: &mut Section,
) -> Result<()> {
    feed.publish(1, Way::Both, unix_now())?;
    listening.wait_delivered(feed.next())?;
    let mut clients = Clients::connect(service, options.clients)?;
    let mut seconds: [Histogram<u64>; 2] = [latencies(), latencies()];
    let mut ratios = Vec::new();
    let mut timeline = Vec::new();
    thread::scope(|scope| -> Result<()> {
        let (go, wait) = channel();
        let bursting = scope.spawn(move || burst_when_told(&mut clients, &wait, asked));
        for second in 0..options.seconds {
            let mut medians = [0.0; 2];
            for bursts in [false, true] {
                if bursts {
                    go.send(()).map_err(|_| "the clients are gone")?;
                }
                let latency = one_second(feed, listening)?;
                medians[usize::from(bursts)] = latency.value_at_quantile(0.5) as f64;
                timeline.push((
                    (2 * second + u64::from(bursts)) as f64,
                    medians[usize::from(bursts)] / 1e3,
                ));
                seconds[usize::from(bursts)].add(&latency)?;
            }
            ratios.push(medians[1] / medians[0]);
        }
        drop(go);
        bursting.join().map_err(|_| "the clients panicked")?
    })?;
    section.how.push(format!(
        "Live feed: {RATE} messages a second on both lines, from the intended time of sending to the listener's ring, {} \
         seconds in which the {} clients ask at once and as many quiet ones, by turns. Publisher, service and clients share \
         core {CORE}.",
        options.seconds, options.clients
    ));
    let p50 = seconds.each_ref().map(|all| all.value_at_quantile(0.5) as f64);
    section.figures.push(figure(
        "live feed, p50 with bursts to quiet",
        "x",
        Value::Single(p50[1] / p50[0]),
        Some(Goal::at_most(1.2, 1.2)),
        Some("over all seconds of a kind".into()),
    ));
    section.figures.push(ratio(
        "live feed, p50 of a second with a burst to the quiet one before it",
        Median::of(&ratios),
        None,
        None,
    ));
    for (name, latency) in ["live feed, quiet", "live feed, with bursts"]
        .iter()
        .zip(&seconds)
    {
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
fn burst_when_told(clients: &mut Clients, told: &Receiver<()>, asked: (u64, u64)) -> Result<()> {
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
fn one_second(feed: &mut Feed, listening: &mut Listening) -> Result<Histogram<u64>> {
    let first = feed.next();
    on_core(CORE, || {
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
        Ok(())
    })?;
    listening.wait_delivered(feed.next())?;
    let mut latency = latencies();
    while let Next::Record(record) = listening.ring.poll() {
        if record.kind == Kind::Messages && record.sequence >= first {
            latency.saturating_record(record.receive_time.saturating_sub(record.sending_time).max(1));
        }
    }
    match latency.len() {
        RATE => Ok(latency),
        seen => Err(format!("{seen} of {RATE} messages were delivered within {PATIENCE:?}").into()),
    }
}
