//! One-way latency: from the publish call to delivery in the listener, and on to a reader of its ring, beside the floor.
//!
//! Rounds of slices: [`ours`] and the [`floor`], with the same times, bytes and clock reads, in turn on the same two
//! cores. All sides' threads live through all rounds; the one that is not measured stands still: the floor's receiver waits
//! for its turn, the listener's thread, which spins, is [halted](crate::harness::halt).
//!
//! Over loopback through sockets, beside the barest sockets; or through AF_XDP between two hosts of our own, beside the barest
//! program that does that and the barest sockets between the same hosts, each on a cable of its own: an interface's queue
//! has one AF_XDP socket.

mod floor;
mod load;
mod measured;
mod ours;
mod stages;

pub use load::{FULL, Mix, SAMPLE_LEN, Sample, Size};

use crate::harness::bed::BedConfig;
use crate::harness::clock::Clock;
use crate::harness::error::BenchError;
use crate::harness::hosts::{self, Hosts};
use crate::harness::pairs::Pairs;
use crate::harness::result::{Distribution, Figure, Goal, Section, Timeline, Value};
use crate::harness::slice::{Slice, latencies};
use crate::harness::threads::on_core;
use crate::harness::watch::Watch;
use floor::{Floor, Kind};
use hdrhistogram::Histogram;
use load::Feed;
use ours::Ours;
use std::sync::Arc;
use std::time::Duration;
use twinline_line::Io;
use twinline_wire::Message;

/// A slice begins so long after it was begun, in nanoseconds: caches are warm, the other thread is ready.
const LEAD: u64 = 300_000;
/// The cables of the floors between hosts.
const FLOORS: [&str; 2] = ["floor-xdp", "floor-udp"];

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
    /// The floors, and ours last.
    pairs: Pairs,
    /// Ours, of all rounds, the dropped ones too.
    all: Histogram<u64>,
    to_reader: Histogram<u64>,
    hop: Histogram<u64>,
    /// Seconds since the run began, and the p50 of the floors and ours, and the greatest share that was stolen.
    line: Vec<(f64, Vec<f64>)>,
}

/// Measures. Through AF_XDP where the bed says so and there can be hosts for it; where there cannot, the section says so
/// in one line, and has no figures.
///
/// # Errors
/// If something does not work that must: a message is lost, a core cannot be had.
pub fn run(options: &Options, watch: &Watch) -> Result<Section, BenchError> {
    if options.bed.io == Io::Socket {
        let section = Section {
            name: "latency".into(),
            title: "One way: publish call to delivery".into(),
            how: how(options),
            not_measured: vec![
                "Two machines: publisher and listener share one kernel, one clock and its caches.".into(),
                "A network: loopback has no wire, no switch, no interrupt of a card.".into(),
            ],
            ..Section::default()
        };
        let floor = |options: &Options, clock: &Clock| {
            let on_loopback = options.bed.interfaces.iter().all(|name| name == "lo");
            let kind = Kind {
                name: "floor",
                goal: on_loopback.then(|| Goal::at_most(1.03, 1.15)),
            };
            let interface = &options.bed.interfaces[0];
            Ok(vec![Floor::udp(kind, &options.bed, interface, clock)?])
        };
        return measure(options, section, floor, watch);
    }
    let mut section = Section {
        name: "latency-xdp".into(),
        title: "One way through AF_XDP: publish call to delivery".into(),
        ..Section::default()
    };
    if let Some(why) = hosts::missing() {
        section.not_measured.push(format!("Skipped: {why}."));
        return Ok(section);
    }
    let hosts = Arc::new(Hosts::new(&FLOORS)?);
    let options = Options {
        bed: options.bed.clone().between(&hosts),
        ..options.clone()
    };
    section.how = how(&options);
    section.not_measured = vec![
        "Two machines, and a network card: its driver's queues and interrupts, zero-copy. Between two namespaces the sender's \
         core does the receiving kernel's work, too."
            .into(),
    ];
    let floors = |options: &Options, clock: &Clock| {
        let xdp = Kind {
            name: "AF_XDP floor",
            goal: Some(Goal::at_most(1.15, 1.15)),
        };
        let udp = Kind {
            name: "UDP floor",
            goal: Some(Goal::at_most(0.55, 0.7)),
        };
        Ok(vec![
            Floor::xdp(xdp, &options.bed, FLOORS[0], clock)?,
            Floor::udp(udp, &options.bed, FLOORS[1], clock)?,
        ])
    };
    measure(&options, section, floors, watch)
}

fn measure(
    options: &Options,
    mut section: Section,
    floors: impl FnOnce(&Options, &Clock) -> Result<Vec<Floor>, BenchError> + Send,
    watch: &Watch,
) -> Result<Section, BenchError> {
    let clock = Clock::new();
    let report = on_core("bench", None, || {
        // Ours ends first: the floor's thread may need the listener's core to end.
        let mut floors = floors(options, &clock)?;
        let mut ours = Ours::new(&options.bed, &clock)?;
        options.bed.pin(0)?;
        for mix in &options.mixes {
            let mut feed = Feed::new(mix, options.slice)?;
            let run = rounds(options, mix, &mut feed, &mut ours, &mut floors, &clock, watch)?;
            describe(mix, &run, &floors, &mut section);
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
        match options.bed.io {
            Io::Socket => "The floor: one thread sends the same bytes at the same times on one connected multicast socket, one \
                           spins on receive, takes the time and writes it down.",
            _ => "The floors: one thread sends the same bytes at the same times, one spins until they come, takes the time and \
                  writes it down. Through AF_XDP: a frame written and the kernel called; the receive ring looked at, and the \
                  frame given back. Through UDP: one connected multicast socket, one that receives. Each between the same \
                  hosts, on a veth pair of its own.",
        }
        .into(),
        format!(
            "{} rounds of a slice of {} ms each, after {} to warm up. {} {}",
            options.rounds,
            options.slice.as_millis(),
            options.warm_up,
            options.bed.say_cores(),
            options.bed.say_lines()
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
    floors: &mut [Floor],
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
    let candidates = floors.len() + 1;
    for round in 0..options.warm_up + options.rounds {
        watch.step(&name, round, options.warm_up + options.rounds)?;
        feed.fill(&mut sends);
        let (mut slices, mut measured) = (vec![None; candidates], None);
        for turn in 0..candidates {
            // Whoever is first finds other caches: in turn.
            let which = (round + turn) % candidates;
            slices[which] = Some(match floors.get_mut(which) {
                Some(floor) => {
                    let _halted = ours.halt()?;
                    floor.slice(&sends, LEAD)?
                }
                None => {
                    let own = measured.insert(ours.slice(feed, &sends, LEAD)?);
                    own.slice.clone()
                }
            });
        }
        let (slices, Some(measured)) = (slices.into_iter().flatten().collect::<Vec<_>>(), measured) else {
            continue;
        };
        if round < options.warm_up {
            continue;
        }
        // Same bounds: nothing is out of range.
        let _ = run.all.add(&measured.slice.latency);
        let at = measured.slice.began.saturating_sub(began) as f64 / 1e9;
        let stolen = slices.iter().map(Slice::stolen_share).fold(0.0, f64::max);
        let p50 = slices.iter().map(|slice| slice.quantile(0.5));
        run.line.push((at, p50.chain([stolen * 100.0]).collect()));
        let counted = run.pairs.counted();
        run.pairs.push(slices);
        if run.pairs.counted() > counted {
            let _ = run.to_reader.add(&measured.to_reader);
            let _ = run.hop.add(&measured.hop);
        }
    }
    Ok(run)
}

/// What the rounds of a mix say.
fn describe(mix: &Mix, run: &Run, floors: &[Floor], section: &mut Section) {
    let (name, pairs, ours) = (mix.name(), &run.pairs, floors.len());
    let dropped = format!("{} rounds count, {} dropped", pairs.counted(), pairs.dropped());
    let mut figure = |what: &str, unit: &str, value: Value, goal: Option<Goal>, note: Option<String>| {
        section.figures.push(Figure {
            name: format!("{name}: {what}"),
            unit: unit.into(),
            value,
            goal,
            note,
        });
    };
    for (which, floor) in floors.iter().enumerate() {
        let ratio = |quantile| Value::Median(pairs.ratio(ours, which, quantile));
        let goal = floor.kind.goal.filter(|_| *mix == Options::headline());
        let (p50, p99) = (
            format!("p50 to the {}", floor.kind.name),
            format!("p99 to the {}", floor.kind.name),
        );
        figure(&p50, "x", ratio(0.5), goal, Some(dropped.clone()));
        figure(
            &p99,
            "x",
            ratio(0.99),
            None,
            Some("for information: the machine's noise".into()),
        );
    }
    for (what, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let of = |candidate| Value::Median(pairs.quantile(candidate, quantile));
        figure(what, "ns", of(ours), None, None);
        for (which, floor) in floors.iter().enumerate() {
            figure(
                &format!("{} {what}", floor.kind.name),
                "ns",
                of(which),
                None,
                None,
            );
        }
    }
    let hop = match run.hop.is_empty() {
        true => f64::NAN,
        false => run.hop.value_at_quantile(0.5) as f64,
    };
    figure("ring hop p50", "ns", Value::Single(hop), None, None);
    let bare = floors.iter().enumerate().map(|(which, floor)| {
        Distribution::of(format!("{name}: {}", floor.kind.name), &pairs.latency(which))
    });
    let distributions = [
        Distribution::of(format!("{name}: to delivery"), &pairs.latency(ours)),
        Distribution::of(format!("{name}: to the ring's reader"), &run.to_reader),
        Distribution::of(format!("{name}: ring hop"), &run.hop),
        Distribution::of(format!("{name}: to delivery, no round dropped"), &run.all),
    ];
    section
        .distributions
        .extend(bare.chain(distributions).filter(|all| all.count > 0));
    let line = |what: &str, unit: &str, of: usize| Timeline {
        name: format!("{name}: {what}"),
        unit: unit.into(),
        points: run.line.iter().map(|(at, values)| (*at, values[of])).collect(),
    };
    let p50 = floors.iter().map(|floor| format!("{} p50", floor.kind.name));
    for (which, what) in p50.chain(["p50".into()]).enumerate() {
        section.timelines.push(line(&what, "ns", which));
    }
    section.timelines.push(line("stolen", "%", ours + 1));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Just enough to see that everything works.
    fn brief(io: Io) -> Options {
        let bursts = |size| Mix::Bursts {
            size,
            sends: 10,
            every: Duration::from_millis(5),
        };
        Options {
            bed: BedConfig {
                segment_size: 1 << 20,
                io,
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
        }
    }

    /// That all of it arrived, beside so many floors.
    fn check(section: &Section, floors: usize) {
        assert_eq!(section.figures.len(), 2 * (3 + 4 * floors) + 1);
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

    #[test]
    fn every_mix_is_measured_and_all_of_it_arrives() {
        let section = run(&brief(Io::Socket), &Watch::silent()).expect("loopback, and room for two journals");
        check(&section, 1);
    }

    #[test]
    fn between_hosts_all_of_it_arrives_through_af_xdp_beside_both_floors() {
        let section = run(&brief(Io::Xdp), &Watch::silent()).expect("veth pairs, and room for two journals");
        if let Some(why) = hosts::missing() {
            assert!(std::env::var_os("CI").is_none(), "in CI this must run: {why}");
            assert_eq!(section.not_measured, [format!("Skipped: {why}.")]);
            return;
        }
        check(&section, 2);
    }
}
