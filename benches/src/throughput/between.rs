//! Between two hosts of our own: through AF_XDP, and beside it through sockets, all over the same cables; each beside the barest
//! program that does the same.

use super::floor::{self, Flood};
use super::search::{highest, used};
use super::trial::{Trial, run_one};
use super::{Options, describe, how, messages};
use crate::harness::bed::BedConfig;
use crate::harness::error::BenchError;
use crate::harness::hosts::{self, Hosts};
use crate::harness::median::Median;
use crate::harness::result::{Figure, Goal, Section, Value};
use crate::harness::watch::Watch;
use crate::itch_day::ItchDay;
use std::sync::Arc;
use twinline_feed::source::pace::Pace;
use twinline_line::Io;

/// What is compared between two hosts: through what the lines go, and whether in bursts.
pub(super) const BETWEEN_HOSTS: [(&str, Io, bool); 3] = [
    ("AF_XDP", Io::Xdp, true),
    ("sockets, packet by packet", Io::Socket, false),
    ("sockets, segmentation offload", Io::Socket, true),
];

/// What the floors of the first two are called.
pub(super) const FLOORS: [&str; 2] = ["the barest AF_XDP sender and receiver", "the barest sockets"];
/// Who is measured in a round: which of the first two, and whether its floor. Each is beside what it is compared with; who begins
/// changes.
const TURNS: [(usize, bool); 4] = [(0, true), (0, false), (1, false), (1, true)];

/// Through AF_XDP, and beside it through sockets, all over the same cables.
pub(super) fn between_hosts(options: &Options, watch: &Watch) -> Result<Section, BenchError> {
    let mut section = Section {
        name: "throughput-xdp".into(),
        title: "Throughput through AF_XDP, beside sockets over the same cables".into(),
        ..Section::default()
    };
    if let Some(why) = hosts::missing() {
        section.not_measured.push(format!("Skipped: {why}."));
        return Ok(section);
    }
    let day = messages(options, watch)?;
    let hosts = Arc::new(Hosts::new(&floor::CABLES)?);
    let options = Options {
        bed: options.bed.clone().between(&hosts),
        ..options.clone()
    };
    section.how = how(&options, &day);
    section.not_measured.push(
        "Two machines, and a network card: between two namespaces the sender's core does the receiving kernel's work, too. \
         Zero-copy, which veth has not: in copy mode the kernel allocates and copies for each packet, where segmentation offload \
         lets it do that once for up to 45, so sockets with it have the higher ceiling."
            .into(),
    );
    let mut rates = Vec::new();
    for (name, io, bursts) in BETWEEN_HOSTS {
        let bed = BedConfig {
            io,
            bursts,
            ..options.bed.clone()
        };
        let found = highest(&options, name, &bed, &day, watch)?;
        describe(&mut section, name, &found, None);
        rates.push(found.confirmed.as_ref().map_or(f64::NAN, Trial::rate));
    }
    section.figures.push(Figure {
        name: format!("AF_XDP to {}: highest rates", BETWEEN_HOSTS[2].0),
        unit: "x".into(),
        value: Value::Single(rates[0] / rates[2]),
        goal: None,
        note: Some("copy mode: each packet is allocated and copied for itself, twice".into()),
    });
    race(&options, &day, &mut section, watch)?;
    Ok(section)
}

/// What one of the ways came to as fast as it goes, round by round.
#[derive(Default)]
struct Raced {
    /// Source messages a second.
    ours: Vec<f64>,
    /// Packets a second that came on each of the floor's lines, and how many source messages a second those are at as many a
    /// packet as ours had.
    floor_packets: Vec<f64>,
    floor: Vec<f64>,
    /// Packets that the floor sent on each line, and those that came, of both lines together.
    sent: u64,
    received: u64,
}

impl Raced {
    fn add(&mut self, trial: &Trial, flood: &Flood) {
        let messages = trial.messages as f64 / trial.packets.max(1) as f64;
        self.ours.push(trial.rate());
        self.floor_packets.push(flood.rate());
        self.floor.push(flood.rate() * messages);
        self.sent += flood.sent;
        self.received += flood.received;
    }

    /// What is to be known of the floor's rate.
    fn say_floor(&self) -> String {
        let sent = 2 * self.sent;
        let lost = sent.saturating_sub(self.received);
        format!(
            "{:.0} packets a second that came on each line; {lost} lost of {sent} sent on both ({:.2}%)",
            Median::of(&self.floor_packets).median,
            lost as f64 * 100.0 / sent.max(1) as f64
        )
    }
}

/// The first two as fast as the publisher can, and as fast as the floor of each can, by turns: a round counts where nothing
/// was lost and recovery had next to nothing to do, in either of ours. Half as many rounds as the search may take steps.
fn race(options: &Options, day: &ItchDay, section: &mut Section, watch: &Watch) -> Result<(), BenchError> {
    let ways = [BETWEEN_HOSTS[0], BETWEEN_HOSTS[1]];
    let bed = |(_, io, bursts)| {
        let bed = BedConfig {
            io,
            bursts,
            ..options.bed.clone()
        };
        used(options, &bed, day)
    };
    let beds = [bed(ways[0])?, bed(ways[1])?];
    let (mut raced, rounds) = ([Raced::default(), Raced::default()], options.tries.div_ceil(2));
    for round in 0..rounds {
        watch.step("throughput: as fast as it goes, round", round, rounds)?;
        let (mut trials, mut floods) = ([None, None], [None, None]);
        for turn in 0..TURNS.len() {
            let (way, floor) = TURNS[(round + turn) % TURNS.len()];
            if floor {
                floods[way] = Some(floor::run(beds[way].config(), options.step)?);
            } else {
                let bound = options.bound(options.step);
                trials[way] = Some(run_one(&beds[way], day, Pace::Max, bound)?);
            }
        }
        if trials.iter().flatten().all(Trial::holds) {
            let both = trials.iter().flatten().zip(floods.iter().flatten());
            for (raced, (trial, flood)) in raced.iter_mut().zip(both) {
                raced.add(trial, flood);
            }
        }
    }
    say(section, &raced, rounds);
    Ok(())
}

/// What the race says.
fn say(section: &mut Section, [xdp, plain]: &[Raced; 2], rounds: usize) {
    let [(of_xdp, ..), (of_plain, ..), _] = BETWEEN_HOSTS;
    let counted = xdp.ours.len();
    let dropped = rounds - counted;
    let counted = format!("{counted} rounds count, {dropped} dropped: something was lost");
    let mut figure = |name: &str, unit: &str, median: Median, goal: Option<Goal>, note: Option<String>| {
        section.figures.push(Figure {
            name: format!("as fast as the publisher can: {name}"),
            unit: unit.into(),
            value: Value::Median(median),
            goal,
            note,
        });
    };
    let ratio = Median::of_ratios(&xdp.ours, &plain.ours);
    figure(
        &format!("{of_xdp} to {of_plain}"),
        "x",
        ratio,
        Some(Goal::at_least(1.5, 1.5)),
        Some(counted),
    );
    for (name, floor, raced) in [(of_xdp, FLOORS[0], xdp), (of_plain, FLOORS[1], plain)] {
        let ratio = Median::of_ratios(&raced.ours, &raced.floor);
        let what = "full packets, counted where they come; no goal";
        figure(&format!("{name} to {floor}"), "x", ratio, None, Some(what.into()));
        figure(name, "messages/s", Median::of(&raced.ours), None, None);
        let said = Some(raced.say_floor());
        figure(floor, "messages/s", Median::of(&raced.floor), None, said);
    }
}
