//! How far apart many listeners have a message: one publisher and 1 to 60 listeners, each in a network namespace of its own
//! on one bridge, all on this machine.
//!
//! The kernel hands a datagram to one host after the other on the sender's core, and the listeners wake on the few cores
//! that there are: the spread is of this machine, and says what a listener adds to the barest receiver, not what a network
//! of real hosts would show.

mod listeners;

use crate::harness::bare::BareSender;
use crate::harness::bed::{Bed, BedConfig};
use crate::harness::error::BenchError;
use crate::harness::hosts;
use crate::harness::median::Median;
use crate::harness::result::{Distribution, Figure, Section, Value};
use crate::harness::slice::latencies;
use crate::harness::threads::{join, spawn};
use crate::harness::watch::Watch;
use crate::recovery::feed::{Feed, Way, bytes_of};
use hdrhistogram::Histogram;
use listeners::{Bare, End, Had, Light, Receive};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;
use twinline_feed::run::unix_now;
use twinline_line::{Io, LineAddress, LineSender, SendOutcome, SenderOptions};
use twinline_namespaces::{Networks, missing};

/// The line of the barest receivers.
const BARE: (Ipv4Addr, u16) = (Ipv4Addr::new(239, 78, 9, 3), 17_003);
/// From one message to the next: all have had the one before.
const APART: Duration = Duration::from_millis(5);
/// The receive buffer of a line: a message is taken before the next one is sent, and sixty hosts share one memory.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Messages of a round that only warm up.
const WARM: usize = 5;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where journals are made.
    pub bed: BedConfig,
    /// Numbers of listeners, rising.
    pub listeners: Vec<usize>,
    /// Rounds with each number.
    pub rounds: usize,
    /// Messages in a round.
    pub messages: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bed: BedConfig::default(),
            listeners: vec![1, 2, 5, 10, 20, 40, 60],
            rounds: 5,
            messages: 100,
        }
    }
}

impl Options {
    /// The same, just enough to see that everything works.
    pub fn brief(self) -> Self {
        Self {
            bed: self.bed,
            listeners: vec![1, 3],
            rounds: 2,
            messages: 20,
        }
    }
}

/// Measures the fan-out. Where there can be no namespaces, or no AF_XDP that is asked for, the section says so in one line,
/// and has no figures.
///
/// # Errors
/// If something cannot be opened or fails, or a message does not come to every listener.
pub fn run(options: &Options, watch: &Watch) -> Result<Section, BenchError> {
    let xdp = options.bed.io == Io::Xdp;
    let (name, title, skip) = match xdp {
        false => (
            "fanout",
            "From the first listener that has a message to the last",
            missing(),
        ),
        true => (
            "fanout-xdp",
            "Through AF_XDP, from the first listener that has a message to the last",
            hosts::missing(),
        ),
    };
    let mut section = Section {
        name: name.into(),
        title: title.into(),
        ..Section::default()
    };
    if let Some(why) = skip {
        section.not_measured.push(format!("Skipped: {why}."));
        return Ok(section);
    }
    let (networks, bare) = match xdp {
        false => (
            "on one bridge",
            "sleeps in `recv` on one socket, of datagrams of the same size on one line",
        ),
        true => (
            "on a bridge for each line, AF_XDP at both ends (programs native, copy mode)",
            "sleeps until one AF_XDP socket has a frame of the same size, on a bridge of its own",
        ),
    };
    section.how.push(format!(
        "One publisher and its listeners, each in a network namespace of its own {networks}. A listener is one thread that \
         sleeps until a line has something, with real line receivers and a real arbiter; no journal, ring or recovery. Beside \
         it, round by round, the barest receiver: a thread that {bare}. {} messages a round, {APART:?} apart, {} rounds. All \
         threads share the cores of this machine: with many listeners the spread is mostly the time that they take to wake one \
         after the other.",
        options.messages, options.rounds
    ));
    measure(options, watch, &mut section)?;
    section
        .not_measured
        .push("Whole listener daemons in each namespace: they would share the cores too.".into());
    Ok(section)
}

fn measure(options: &Options, watch: &Watch, section: &mut Section) -> Result<(), BenchError> {
    // An interface's queue has one AF_XDP socket.
    let names: &[&str] = match options.bed.io {
        Io::Xdp => &["line-a", "line-b", "bare"],
        _ => &["line"],
    };
    // Host 1 publishes.
    let mut hosts = Networks::new(names)?;
    hosts.grow(1)?;
    let bed = Bed::new(&BedConfig {
        interfaces: [0, 1].map(|line| names[line % names.len()].into()),
        receive_buffer: RECEIVE_BUFFER,
        ..options.bed.clone()
    })?;
    let bare = LineAddress {
        group: BARE.0,
        port: BARE.1,
        interface: names.last().map(ToString::to_string),
    };
    let mut sending = hosts.host(1).within(|| -> Result<Sending, BenchError> {
        Ok(Sending {
            feed: Feed::open(&bed)?,
            bare: match options.bed.io {
                Io::Xdp => Mouth::Xdp(BareSender::open(&bare)?),
                _ => Mouth::Socket(LineSender::open(&bare, SenderOptions::default())?),
            },
            datagram: Vec::new(),
        })
    })??;
    let first = sending.publish()?;
    sending.datagram = bytes_of(&bed.publisher_journal(), first, sending.feed.next())?;
    for (number, &count) in options.listeners.iter().enumerate() {
        watch.step("fanout: number of listeners", number, options.listeners.len())?;
        hosts.grow(count + 1)?;
        let mut ours = Spread::new();
        let mut floor = Spread::new();
        for _ in 0..options.rounds {
            let next = sending.feed.next();
            let light = receivers(&hosts, count, || Light::open(&bed, next))?;
            ours.round(receive(light, options.messages, |_| sending.publish())?)?;
            let bare = receivers(&hosts, count, || Bare::open(&bare, bed.config()))?;
            floor.round(receive(bare, options.messages, |number| {
                sending.send_bare(number)
            })?)?;
        }
        report(count, &ours, &floor, section);
    }
    Ok(())
}

/// What sends to the barest receivers.
enum Mouth {
    Socket(LineSender),
    Xdp(BareSender),
}

/// What sends, on host 1.
struct Sending {
    feed: Feed,
    bare: Mouth,
    /// As long as a packet with one message.
    datagram: Vec<u8>,
}

impl Sending {
    /// A message on both lines; its sequence.
    fn publish(&mut self) -> Result<u64, BenchError> {
        let sequence = self.feed.next();
        self.feed.publish(1, Way::Both, unix_now())?;
        Ok(sequence)
    }

    /// A datagram for the barest receivers; its number.
    fn send_bare(&mut self, number: u64) -> Result<u64, BenchError> {
        self.datagram[..8].copy_from_slice(&number.to_le_bytes());
        let outcome = match &mut self.bare {
            Mouth::Socket(sender) => sender.send(&self.datagram),
            Mouth::Xdp(sender) => {
                sender.send(&self.datagram);
                SendOutcome::Sent
            }
        };
        match outcome {
            SendOutcome::Sent => Ok(number),
            other => Err(BenchError::Broken(format!("a datagram was not sent: {other:?}"))),
        }
    }
}

/// A receiver on each host but the first.
fn receivers<R: Receive>(
    hosts: &Networks,
    count: usize,
    open: impl Fn() -> Result<R, BenchError> + Sync,
) -> Result<Vec<R>, BenchError> {
    (2..count + 2)
        .map(|host| hosts.host(host).within(&open)?)
        .collect()
}

/// When each message of a round was sent, and when each receiver had what.
struct Round {
    sent: Vec<(u64, u64)>,
    had: Vec<Had>,
}

/// Runs the receivers, and sends a round's messages.
fn receive<R: Receive>(
    mut receivers: Vec<R>,
    messages: usize,
    mut send: impl FnMut(u64) -> Result<u64, BenchError>,
) -> Result<Round, BenchError> {
    let end = End::default();
    thread::scope(|scope| {
        let running = receivers
            .iter_mut()
            .map(|receiver| spawn(scope, "receiver", None, || receiver.run(&end)))
            .collect::<Vec<_>>();
        // Until they sleep.
        thread::sleep(4 * APART);
        let mut sent = Vec::with_capacity(messages);
        let mut sending = || -> Result<(), BenchError> {
            for number in 1..=messages as u64 {
                let at = unix_now();
                sent.push((send(number)?, at));
                thread::sleep(APART);
            }
            Ok(())
        };
        let outcome = sending();
        // In any case: they wait for it.
        end.tell(sent.last().map_or(1, |(sequence, _)| sequence + 1));
        let had = running
            .into_iter()
            .map(|thread| join(thread?))
            .collect::<Result<Vec<Had>, BenchError>>();
        outcome.and(had).map(|had| Round { sent, had })
    })
}

/// How far apart receivers had what was sent.
struct Spread {
    /// From the first that had a message to the last, in nanoseconds.
    spread: Histogram<u64>,
    /// From sending to when the last had it.
    latest: Histogram<u64>,
    /// The median spread and the median way to the last of each round.
    rounds: [Vec<f64>; 2],
}

impl Spread {
    fn new() -> Self {
        Self {
            spread: latencies(),
            latest: latencies(),
            rounds: Default::default(),
        }
    }

    /// Adds a round. Every receiver must have had everything.
    fn round(&mut self, round: Round) -> Result<(), BenchError> {
        let mut times: HashMap<u64, (u64, u64, usize)> = HashMap::new();
        for (sequence, at) in round.had.iter().flatten() {
            let of = times.entry(*sequence).or_insert((u64::MAX, 0, 0));
            *of = (of.0.min(*at), of.1.max(*at), of.2 + 1);
        }
        let (mut spread, mut latest) = (latencies(), latencies());
        for (number, (sequence, at)) in round.sent.iter().enumerate() {
            let listeners = round.had.len();
            let &(first, last, count) = times.get(sequence).unwrap_or(&(0, 0, 0));
            if count != listeners {
                return Err(BenchError::Broken(format!(
                    "{count} of {listeners} listeners had sequence {sequence}"
                )));
            }
            if number >= WARM {
                spread.saturating_record((last - first).max(1));
                latest.saturating_record(last.saturating_sub(*at).max(1));
            }
        }
        self.rounds[0].push(spread.value_at_quantile(0.5) as f64);
        self.rounds[1].push(latest.value_at_quantile(0.5) as f64);
        // Same bounds: nothing is out of range.
        let _ = self.spread.add(&spread);
        let _ = self.latest.add(&latest);
        Ok(())
    }
}

fn report(count: usize, ours: &Spread, floor: &Spread, section: &mut Section) {
    let listeners = match count {
        1 => "1 listener".to_string(),
        _ => format!("{count} listeners"),
    };
    for (which, (name, all)) in [("first to last", &ours.spread), ("sending to last", &ours.latest)]
        .into_iter()
        .enumerate()
    {
        // One listener is the first and the last.
        if count == 1 && which == 0 {
            continue;
        }
        let (ours, floor) = (&ours.rounds[which], &floor.rounds[which]);
        let figures = [
            ("", "ns", Median::of(ours)),
            (" to bare receivers", "x", Median::of_ratios(ours, floor)),
        ];
        section.figures.extend(figures.map(|(to, unit, value)| Figure {
            name: format!("{listeners}, {name}, p50{to}"),
            unit: unit.into(),
            value: Value::Median(value),
            goal: None,
            note: None,
        }));
        section
            .distributions
            .push(Distribution::of(format!("{listeners}, {name}"), all));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That everything comes and the spread is measured; with a line that says so, nothing where `missing`, never in CI.
    fn check(io: Io, missing: Option<&str>) {
        let mut options = Options::default().brief();
        options.bed.io = io;
        let section = run(&options, &Watch::silent()).expect("namespaces work");
        if let Some(why) = missing {
            assert!(std::env::var_os("CI").is_none(), "in CI this must run: {why}");
            assert_eq!(section.not_measured, [format!("Skipped: {why}.")]);
            assert!(section.figures.is_empty());
            return;
        }
        let names: Vec<&str> = section
            .figures
            .iter()
            .map(|figure| figure.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "1 listener, sending to last, p50",
                "1 listener, sending to last, p50 to bare receivers",
                "3 listeners, first to last, p50",
                "3 listeners, first to last, p50 to bare receivers",
                "3 listeners, sending to last, p50",
                "3 listeners, sending to last, p50 to bare receivers",
            ]
        );
        // Two rounds of twenty messages, the first five of each not counted.
        assert!(section.distributions.iter().all(|of| of.count == 30));
    }

    #[test]
    fn every_listener_has_every_message_and_the_spread_is_measured() {
        check(Io::Socket, missing());
    }

    #[test]
    fn through_af_xdp_every_listener_has_every_message_too() {
        check(Io::Xdp, hosts::missing());
    }

    #[test]
    fn a_message_that_one_listener_did_not_have_is_an_error() {
        let round = |second: Had| Round {
            sent: vec![(10, 100), (12, 200)],
            had: vec![vec![(10, 150), (12, 250)], second],
        };
        assert!(Spread::new().round(round(vec![(10, 170), (12, 251)])).is_ok());
        assert!(Spread::new().round(round(vec![(10, 170)])).is_err());
    }
}
