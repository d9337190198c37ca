//! One-way latency at a rate that all of them bear: from when a message was to be sent until its receiver has it.

use crate::ends::{Bench, SIZE};
use crate::{AERON, FLOOR, Failure, NAMES, TWINLINE, ZEROMQ};
use twinline_benches::harness::pairs::Pairs;
use twinline_benches::harness::result::{Distribution, Figure, Goal, Section, Value};
use twinline_benches::harness::slice::LONGEST;

/// A slice, in nanoseconds: short, so that on a busy machine some are left in peace.
const SLICE: u64 = LONGEST / 4;
/// The part of a slice that warms up whoever had to wait for the others: one in so many messages.
const WARM: u64 = 10;

/// Twinline's ratio to a peer, and to the floor.
const TO_AERON: Goal = Goal::at_most(0.8, 0.95);
const TO_FLOOR: Goal = Goal::at_most(1.03, 1.15);

/// Everybody beside Aeron at `rate` messages a second.
pub(crate) fn beside_aeron(bench: &mut Bench<'_>, rounds: u16, rate: u64) -> Result<Section, Failure> {
    let mut section = measure(bench, rounds, rate, AERON, Some(TO_AERON))?;
    section.name = "peers_latency_aeron".into();
    section.how.push(
        "Aeron: one stream without a second line, a driver on each thread (INVOKER mode); offer, then the driver's work; the \
         driver's work, then poll"
            .into(),
    );
    Ok(section)
}

/// Everybody beside ZeroMQ, in rounds of their own: where it is late, that is not to cost Aeron's rounds.
pub(crate) fn beside_zeromq(bench: &mut Bench<'_>, rounds: u16, rate: u64) -> Result<Section, Failure> {
    let mut section = measure(bench, rounds, rate, ZEROMQ, None)?;
    section.name = "peers_latency_zeromq".into();
    section.how.push(
        "ZeroMQ: one stream, PGM in UDP, an input/output thread a side beside the two that are measured; the receiver \
         sleeps, the sender yields between messages"
            .into(),
    );
    section.not_measured = vec!["time that was stolen from ZeroMQ: its own threads share the cores".into()];
    Ok(section)
}

fn measure(
    bench: &mut Bench<'_>,
    rounds: u16,
    rate: u64,
    peer: usize,
    goal: Option<Goal>,
) -> Result<Section, Failure> {
    let who = [FLOOR, TWINLINE, peer];
    let count = (rate * SLICE / 1_000_000_000).max(WARM);
    let mut pairs = Pairs::default();
    let mut lost = [0; 3];
    for round in 0..usize::from(rounds) {
        let mut slices = [const { None }; 3];
        for turn in 0..who.len() {
            // Another one begins each time: nobody always comes behind the same one.
            let place = (round + turn) % who.len();
            let outcome = bench.run(who[place], rate, count, count / WARM)?;
            lost[place] += outcome.slice.lost;
            slices[place] = Some(outcome.slice);
        }
        pairs.push(slices.into_iter().flatten().collect());
    }
    let ratio = |(of, to): (usize, usize), (name, quantile): (&str, f64), goal: Option<Goal>| Figure {
        name: format!("{} to {}, {name}", NAMES[who[of]], NAMES[who[to]]),
        unit: "x".into(),
        value: Value::Median(pairs.ratio(of, to, quantile)),
        goal: goal.filter(|_| quantile == P50.1),
        note: None,
    };
    let time = |place: usize, (name, quantile): (&str, f64)| Figure {
        name: format!("{}, {name}", NAMES[who[place]]),
        unit: "ns".into(),
        value: Value::Median(pairs.quantile(place, quantile)),
        goal: None,
        note: (lost[place] > 0).then(|| format!("{} messages did not arrive in time", lost[place])),
    };
    let mut figures = Vec::new();
    for quantile in [P50, P99] {
        figures.push(ratio((1, 2), quantile, goal));
        figures.push(ratio((1, 0), quantile, Some(TO_FLOOR)));
        figures.push(ratio((2, 0), quantile, None));
    }
    for place in 0..who.len() {
        figures.extend([P50, P99].map(|quantile| time(place, quantile)));
    }
    let distribution = |place: usize| Distribution::of(NAMES[who[place]], &pairs.latency(place));
    Ok(Section {
        title: format!("One-way latency of a {SIZE}-byte message over loopback multicast, {rate} a second"),
        how: vec![
            format!(
                "core 0 sends at intended times, core 1 receives; slices of {} ms, everybody once a round, medians of \
                 ratios of the same round with 95% intervals",
                SLICE / 1_000_000
            ),
            format!(
                "{} rounds count, {} were dropped for stolen time or a message that did not arrive",
                pairs.counted(),
                pairs.dropped()
            ),
            "bare UDP: one group, connected send, receive without sleep".into(),
            "Twinline: publish call, publisher's journal, lines A and B, both polled, arbiter, gap policy, own journal; a \
             message of 65 bytes in a packet of its own"
                .into(),
        ],
        figures,
        distributions: (0..who.len()).map(distribution).collect(),
        ..Section::default()
    })
}

const P50: (&str, f64) = ("p50", 0.5);
const P99: (&str, f64) = ("p99", 0.99);
