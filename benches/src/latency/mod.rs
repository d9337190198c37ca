//! One-way latency: from the publish call to delivery in the listener, and on to a reader of its ring, beside the floor.
//!
//! Rounds of two slices: [`ours`] and the [`floor`], with the same times, bytes and clock reads, in turn on the same two
//! cores. Both sides' threads live through all rounds; the one that is not measured stands still: the floor's receiver waits
//! for its turn, the listener's thread, which spins, is [halted](crate::harness::halt).

mod floor;
mod load;
mod measured;
mod ours;
mod stages;

pub use load::{FULL, Mix, SAMPLE_LEN, Sample, Size};

use crate::harness::bed::BedConfig;
use crate::harness::clock::Clock;
use crate::harness::error::BenchError;
use crate::harness::pairs::Pairs;
use crate::harness::result::{Distribution, Figure, Goal, Section, Timeline, Value};
use crate::harness::slice::{Slice, latencies};
use crate::harness::threads::on_core;
use crate::harness::watch::Watch;
use floor::Floor;
use hdrhistogram::Histogram;
use load::Feed;
use ours::Ours;
use std::time::Duration;
use twinline_wire::Message;

/// A slice begins so long after it was begun, in nanoseconds: caches are warm, the other thread is ready.
const LEAD: u64 = 300_000;
/// Candidates of a round.
const FLOOR: usize = 0;
const OURS: usize = 1;

/// What to measure, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Lines, journals, cores.
    pub bed: BedConfig,
    /// What is sent when, one after the other.
    pub mixes: Vec<Mix>,
    /// Rounds of each.
    pub rounds: usize,
    /// Rounds before those, that do not count.
    pub warm_up: usize,
    /// How long a slice is, at most 100 ms.
    pub slice: Duration,
    /// Slices of each in which the stages are stamped; 0: none.
    pub stages: usize,
}

impl Options {
    /// What the goal is set for: 50,000 messages of about 64 bytes a second.
    pub fn headline() -> Mix {
        Mix::Rate {
            size: Size::Message,
            per_second: 50_000,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bed: BedConfig {
                cores: Some([0, 1]),
                ..BedConfig::default()
            },
            mixes: vec![Self::headline()],
            rounds: 200,
            warm_up: 5,
            slice: Duration::from_millis(25),
            stages: 20,
        }
    }
}

/// What the rounds of one mix came to.
struct Run {
    pairs: Pairs,
    /// Ours, of all rounds, the dropped ones too.
    all: Histogram<u64>,
    to_reader: Histogram<u64>,
    hop: Histogram<u64>,
    /// Seconds since the run began, and the p50 of the floor and ours, and the greater share that was stolen.
    line: Vec<(f64, [f64; 3])>,
}

/// Measures.
///
/// # Errors
/// If something does not work that must: a message is lost, a core cannot be had.
pub fn run(options: &Options, watch: &Watch) -> Result<Section, BenchError> {
    let clock = Clock::new();
    let mut section = Section {
        name: "latency".into(),
        title: "One way: publish call to delivery".into(),
        how: how(options),
        not_measured: vec![
            "Two machines: publisher and listener share one kernel, one clock and its caches.".into(),
            "A network: loopback has no wire, no switch, no interrupt of a card.".into(),
        ],
        ..Section::default()
    };
    let report = on_core("bench", None, || {
        // Ours ends first: the floor's thread may need the listener's core to end.
        let mut floor = Floor::new(&options.bed, &clock)?;
        let mut ours = Ours::new(&options.bed, &clock)?;
        options.bed.pin(0)?;
        for mix in &options.mixes {
            let mut feed = Feed::new(mix, options.slice)?;
            let run = rounds(options, mix, &mut feed, &mut ours, &mut floor, &clock, watch)?;
            describe(options, mix, &run, &mut section);
        }
        ours.finish()
    })?;
    section.figures.push(Figure {
        name: "messages delivered, lost".into(),
        unit: String::new(),
        value: Value::Single(report.messages() as f64),
        goal: None,
        note: Some(format!(
            "{} lost; {} first by line A, {} by line B, {} filled by recovery",
            report.arbiter.lost,
            report.arbiter.delivered[0],
            report.arbiter.delivered[1],
            report.arbiter.delivered[2]
        )),
    });
    if report.is_incomplete() {
        return Err(BenchError::Broken(format!(
            "the listener declared {} messages lost",
            report.arbiter.lost
        )));
    }
    for mix in options.mixes.iter().filter(|_| options.stages > 0) {
        let name = mix.name();
        let mut feed = Feed::new(mix, options.slice)?;
        let stages = on_core("bench", None, || {
            stages::measure(&options.bed, &clock, &mut feed, options.stages, watch, &name)
        })?;
        section.stages.extend(stages);
    }
    Ok(section)
}

fn how(options: &Options) -> Vec<String> {
    vec![
        format!(
            "From the intended send time to the listener's time of delivery, which it takes behind its own journal; both \
             lines, both journals. The message is {} ({SAMPLE_LEN} B framed, the nearest to 64 B), alone in a packet of {} B; a \
             full packet has {FULL} of them.",
            Sample::DEF.name,
            twinline_wire::header::HEADER_LEN + SAMPLE_LEN + twinline_wire::session::SourcePosition::FRAME_LEN,
        ),
        "The floor: one thread sends the same bytes at the same times on one connected multicast socket, one spins on \
         receive, takes the time and writes it down."
            .into(),
        format!(
            "{} rounds of a slice of {} ms each, after {} to warm up. {} Lines on {} and {}.",
            options.rounds,
            options.slice.as_millis(),
            options.warm_up,
            options.bed.say_cores(),
            options.bed.interfaces[0],
            options.bed.interfaces[1]
        ),
        format!(
            "The listener is the daemon as it is, spinning; while the floor runs it is halted by a signal. {}",
            options.bed.say_journals()
        ),
        "Rounds in which more than 1% of a slice was stolen (a thread did not turn for 200 us, or what was sent took 200 us more \
         to be delivered) are dropped from both and counted."
            .into(),
        "Stages are stamped in slices of their own, by about 10 ns a stamp; what line B brings first includes the send on line A."
            .into(),
        "The ring's reader is the publisher's thread between sends: a hop counts from when the record is written and that \
         thread is back from its sends."
            .into(),
    ]
}

fn rounds(
    options: &Options,
    mix: &Mix,
    feed: &mut Feed,
    ours: &mut Ours,
    floor: &mut Floor,
    clock: &Clock,
    watch: &Watch,
) -> Result<Run, BenchError> {
    let mut run = Run {
        pairs: Pairs::default(),
        all: latencies(),
        to_reader: latencies(),
        hop: latencies(),
        line: Vec::new(),
    };
    let name = format!("latency, {}: round", mix.name());
    let (began, mut sends) = (clock.now(), Vec::new());
    for round in 0..options.warm_up + options.rounds {
        watch.step(&name, round, options.warm_up + options.rounds)?;
        feed.fill(&mut sends);
        let bare = |floor: &mut Floor, ours: &Ours| {
            let _halted = ours.halt()?;
            floor.slice(&sends, LEAD)
        };
        // Whoever is first finds other caches: in turn.
        let (bare, measured) = if round.is_multiple_of(2) {
            let bare = bare(floor, ours)?;
            (bare, ours.slice(feed, &sends, LEAD)?)
        } else {
            let measured = ours.slice(feed, &sends, LEAD)?;
            (bare(floor, ours)?, measured)
        };
        if round < options.warm_up {
            continue;
        }
        // Same bounds: nothing is out of range.
        let _ = run.all.add(&measured.slice.latency);
        let at = measured.slice.began.saturating_sub(began) as f64 / 1e9;
        let stolen = bare.stolen_share().max(measured.slice.stolen_share());
        let p50 = |slice: &Slice| slice.quantile(0.5);
        run.line
            .push((at, [p50(&bare), p50(&measured.slice), stolen * 100.0]));
        let counted = run.pairs.counted();
        run.pairs.push(vec![bare, measured.slice]);
        if run.pairs.counted() > counted {
            let _ = run.to_reader.add(&measured.to_reader);
            let _ = run.hop.add(&measured.hop);
        }
    }
    Ok(run)
}

/// What the rounds of a mix say.
fn describe(options: &Options, mix: &Mix, run: &Run, section: &mut Section) {
    let (name, pairs) = (mix.name(), &run.pairs);
    let dropped = format!("{} rounds count, {} dropped", pairs.counted(), pairs.dropped());
    let figure = |what: &str, unit: &str, value: Value, goal: Option<Goal>, note: Option<String>| Figure {
        name: format!("{name}: {what}"),
        unit: unit.into(),
        value,
        goal,
        note,
    };
    let on_loopback = options.bed.interfaces.iter().all(|name| name == "lo");
    let goal = (*mix == Options::headline() && on_loopback).then(|| Goal::at_most(1.03, 1.15));
    let ratio = |quantile| Value::Median(pairs.ratio(OURS, FLOOR, quantile));
    let quantile = |candidate, quantile| Value::Median(pairs.quantile(candidate, quantile));
    let hop = match run.hop.is_empty() {
        true => f64::NAN,
        false => run.hop.value_at_quantile(0.5) as f64,
    };
    section.figures.extend([
        figure("p50 to the floor", "x", ratio(0.5), goal, Some(dropped)),
        figure(
            "p99 to the floor",
            "x",
            ratio(0.99),
            None,
            Some("for information: the machine's noise".into()),
        ),
        figure("p50", "ns", quantile(OURS, 0.5), None, None),
        figure("floor p50", "ns", quantile(FLOOR, 0.5), None, None),
        figure("p99", "ns", quantile(OURS, 0.99), None, None),
        figure("floor p99", "ns", quantile(FLOOR, 0.99), None, None),
        figure("ring hop p50", "ns", Value::Single(hop), None, None),
    ]);
    let distributions = [
        Distribution::of(format!("{name}: floor"), &pairs.latency(FLOOR)),
        Distribution::of(format!("{name}: to delivery"), &pairs.latency(OURS)),
        Distribution::of(format!("{name}: to the ring's reader"), &run.to_reader),
        Distribution::of(format!("{name}: ring hop"), &run.hop),
        Distribution::of(format!("{name}: to delivery, no round dropped"), &run.all),
    ];
    section
        .distributions
        .extend(distributions.into_iter().filter(|all| all.count > 0));
    let line = |what: &str, unit: &str, of: usize| Timeline {
        name: format!("{name}: {what}"),
        unit: unit.into(),
        points: run.line.iter().map(|(at, values)| (*at, values[of])).collect(),
    };
    section.timelines.extend([
        line("floor p50", "ns", 0),
        line("p50", "ns", 1),
        line("stolen", "%", 2),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mix_is_measured_and_all_of_it_arrives() {
        let bursts = |size| Mix::Bursts {
            size,
            sends: 10,
            every: Duration::from_millis(5),
        };
        let options = Options {
            bed: BedConfig {
                segment_size: 1 << 20,
                ..BedConfig::default()
            },
            mixes: vec![
                Mix::Rate {
                    size: Size::Message,
                    per_second: 2_000,
                },
                bursts(Size::Packet),
            ],
            rounds: 3,
            warm_up: 1,
            slice: Duration::from_millis(20),
            stages: 2,
        };
        let section = run(&options, &Watch::silent()).expect("loopback, and room for two journals");
        assert_eq!(section.figures.len(), 2 * 7 + 1);
        // Four rounds of 40 messages, four of 40 full packets with as many messages as fit one.
        let delivered = section.figures.last().expect("there are some").value.middle();
        assert!(delivered >= (4 * 40 + 4 * 40 * FULL) as f64, "{delivered}");
        let all = |name: &str| {
            let found = section.distributions.iter().find(|all| all.name.ends_with(name));
            found.expect("it is there").count
        };
        assert_eq!(all("no round dropped"), 3 * 40);
        assert_eq!(section.stages.len(), 4);
        let times = section.stages.iter().flat_map(|stages| &stages.parts);
        assert!(times.clone().count() == 20 && times.clone().all(|(_, time)| time.is_finite()));
    }
}
