//! The arbiter beside ironsbe's arbitrator, in one run: every packet comes on two lines, the first one is to be delivered,
//! the second one to be dropped. Rounds are interleaved; what counts is the ratio of two figures of the same round.

use clap::Parser;
use ironsbe_marketdata::arbitration::InstrumentArbitrator;
use std::error::Error;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;
use twinline_benches::harness::median::Median;
use twinline_benches::harness::result::{Figure, Goal, Section, Value};
use twinline_listener::arbiter::{Arbiter, ArbiterConfig, Delivery, Notice, Origin, Sink};
use twinline_wire::market::PriceTick;
use twinline_wire::session::EpochStart;
use twinline_wire::{Message, Packet};

/// Packets of a round, 128 bytes each: they stay in the cache of the second level.
const PACKETS: u64 = 1024;
/// The first one's sequence: before it stands the EpochStart.
const FIRST: u64 = 2;
/// The instrument that ironsbe counts by.
const INSTRUMENT: u64 = 7;
const BRIEF_ROUNDS: u16 = 5;

/// Measures Twinline's arbiter beside ironsbe's.
///
/// Exits with 1 if one of them delivers a packet twice or not at all.
#[derive(Debug, Parser)]
#[command(name = "arbiter", version)]
struct Args {
    /// Write the figures to this file too, as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A moment only: enough to see that both deliver each packet once, too short to trust the figures
    #[arg(long)]
    brief: bool,
    /// Rounds
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u16).range(5..))]
    rounds: u16,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let section = measure(if args.brief { BRIEF_ROUNDS } else { args.rounds })?;
    twinline_peers::print(&section);
    twinline_peers::say_brief(args.brief);
    Ok(twinline_peers::write_json(args.json.as_deref(), &section)?)
}

/// Nanoseconds a packet of one candidate: of those that come first, and of their repeats.
type Times = [Vec<f64>; 2];

fn measure(rounds: u16) -> Result<Section, Box<dyn Error>> {
    let stored: Vec<Vec<u8>> = (FIRST..FIRST + PACKETS).map(tick).collect();
    let packets = stored
        .iter()
        .map(|bytes| Packet::parse(bytes))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("a packet that was just made: {error}"))?;
    let mut candidates: [Times; 4] = Default::default();
    for _ in 0..rounds {
        let round = [
            counter(&packets),
            ours(&packets),
            theirs(&packets, false),
            theirs(&packets, true),
        ];
        for (times, sides) in candidates.iter_mut().zip(round) {
            for ((times, (time, delivered)), expected) in times.iter_mut().zip(sides).zip([PACKETS, 0]) {
                if delivered != expected {
                    return Err(format!("{delivered} packets were delivered, not {expected}").into());
                }
                times.push(time);
            }
        }
    }
    Ok(section(&candidates, rounds))
}

/// Nanoseconds a packet, and how many were delivered.
type Side = (f64, u64);

fn time(deliver: impl FnOnce() -> u64) -> Side {
    let start = Instant::now();
    let delivered = deliver();
    (start.elapsed().as_nanos() as f64 / PACKETS as f64, delivered)
}

/// The floor: a counter that expects the next sequence.
fn counter(packets: &[Packet<'_>]) -> [Side; 2] {
    let mut next = black_box(FIRST);
    let mut all = || {
        time(|| {
            let mut delivered = 0;
            for packet in packets {
                if packet.sequence() == next {
                    next += 1;
                    delivered += 1;
                }
                black_box(&next);
            }
            delivered
        })
    };
    [all(), all()]
}

/// What is delivered is counted.
struct Count(u64);

impl Sink for Count {
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        self.0 += u64::from(delivery.take);
    }

    fn notice(&mut self, _: &Notice) {}
}

fn ours(packets: &[Packet<'_>]) -> [Side; 2] {
    let config = ArbiterConfig {
        window: 64,
        ..ArbiterConfig::default()
    };
    let mut arbiter = Arbiter::new(config, None, 0);
    let start = packet(
        1,
        &EpochStart {
            valid_end: 1.into(),
            epoch: 1.into(),
        },
    );
    // A session is believed once both lines say so.
    for line in [Origin::LineA, Origin::LineB] {
        arbiter.on_packet(line, &start, 0, &mut Count(0));
    }
    [Origin::LineA, Origin::LineB].map(|line| {
        time(|| {
            let mut count = Count(0);
            for packet in packets {
                arbiter.on_valid(line, *packet, 0, &mut count);
            }
            count.0
        })
    })
}

/// ironsbe's, with its look for gaps, which is a call of its own, or without.
fn theirs(packets: &[Packet<'_>], gaps: bool) -> [Side; 2] {
    let mut arbitrator = InstrumentArbitrator::new();
    [(); 2].map(|()| {
        time(|| {
            let mut delivered = 0;
            for packet in packets {
                let sequence = packet.sequence();
                if gaps {
                    black_box(arbitrator.check_gap(INSTRUMENT, sequence));
                }
                delivered += u64::from(arbitrator.should_process(INSTRUMENT, sequence));
            }
            delivered
        })
    })
}

/// A price tick in a packet of its own.
fn tick(sequence: u64) -> Vec<u8> {
    packet(
        sequence,
        &PriceTick {
            instrument: 7.into(),
            ..PriceTick::NULL
        },
    )
}

fn packet<M: Message>(sequence: u64, message: &M) -> Vec<u8> {
    twinline_peers::packet(sequence, |open, buffer| open.push(buffer, message))
}

fn section(candidates: &[Times; 4], rounds: u16) -> Section {
    let [counter, ours, bare, whole] = candidates;
    let sides = [("in order", 0), ("duplicate", 1)];
    let ratios = sides.iter().flat_map(|&(name, side)| {
        [("without its gaps", bare), ("with its gaps", whole)].map(|(what, theirs)| Figure {
            name: format!("Twinline to ironsbe {what}, {name}"),
            unit: "x".into(),
            value: Value::Median(Median::of_ratios(&ours[side], &theirs[side])),
            goal: None,
            note: None,
        })
    });
    let goal = Goal::at_most(2.0, 5.0);
    let times = [
        ("a counter", counter, None),
        ("Twinline", ours, Some(goal)),
        ("ironsbe, duplicates", bare, None),
        ("ironsbe, duplicates and gaps", whole, None),
    ];
    let times = times.iter().flat_map(|&(who, times, goal)| {
        sides.map(|(name, side)| Figure {
            name: format!("{who}, {name}"),
            unit: "ns".into(),
            value: Value::Median(Median::of(&times[side])),
            goal,
            note: None,
        })
    });
    Section {
        name: "peers_arbiter".into(),
        title: "Arbitration between two lines, a packet of one message".into(),
        how: vec![
            format!(
                "{rounds} rounds of {PACKETS} packets, all candidates in turn; medians of ratios of the same round with 95% \
                 intervals"
            ),
            "packets are checked before; sequences are read from their headers, which stay in the cache".into(),
            "Twinline: the arbiter as it is: session and epoch, overlap, statistics a line, window; hands on each packet".into(),
            "ironsbe: InstrumentArbitrator of one instrument: should_process, and check_gap before it where that is said".into(),
        ],
        figures: ratios.chain(times).collect(),
        ..Section::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_candidate_delivers_each_packet_once_and_is_in_the_section() {
        let section = measure(BRIEF_ROUNDS).unwrap();
        assert_eq!(section.figures.len(), 12);
        assert!(section.figures.iter().all(|figure| figure.value.middle() > 0.0));
    }
}
