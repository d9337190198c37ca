//! Throughput: ITCH messages that wait in memory, parsed, encoded, journalled, sent on both lines, delivered in order and
//! journalled again.
//!
//! The highest rate at which nothing is lost and recovery has next to nothing to do is found in [steps](search) and confirmed
//! over the whole time: with full packets in bursts, the same into fresh segments, with a send for each packet, and in bursts
//! with the journals in another place, a disk. Then as fast as the publisher can, with nothing that holds it back.
//!
//! Or, [between] two hosts of our own: through AF_XDP, and beside it through sockets over the same cables, each beside its
//! [floor].

mod between;
mod floor;
mod search;
mod trial;

use crate::harness::bed::BedConfig;
use crate::harness::error::BenchError;
use crate::harness::result::{Distribution, Figure, Goal, Section, Timeline, Value};
use crate::harness::watch::Watch;
use crate::itch_day::ItchDay;
use between::between_hosts;
use rustix::fs::{statfs, statvfs};
use search::{Highest, KEPT, highest, used};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use trial::{Bound, MOST_RECOVERED, Trial, run_one};
use twinline_feed::source::pace::Pace;
use twinline_line::Io;

/// What `statfs` says of a file system in memory (`TMPFS_MAGIC`).
const TMPFS: i64 = 0x0102_1994;
/// Segments of a journal beyond those that it keeps, at most: the one being written and those made ahead.
const PREPARED: usize = 3;
/// What the runs with fresh segments are called.
const FRESH: &str = "bursts, fresh segments";
/// Bytes of a journal that a source message takes at least, and usually.
const SHORTEST: usize = 40;
const USUAL: usize = 44;

/// What to measure, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Lines, journals, cores.
    pub bed: BedConfig,
    /// Where the journals are made once more, to see what that place holds; `None`: nowhere.
    pub beside: Option<PathBuf>,
    /// One symbol's hour as ITCH, plain or gzip; `None`: one that is made up.
    pub itch: Option<PathBuf>,
    /// Symbols that replay it.
    pub symbols: u16,
    /// How long each run lasts.
    pub span: Duration,
    /// Messages of a run at most: no more than the sockets' buffers hold, and even a listener that has no core loses none.
    pub most: Option<u64>,
    /// How long a step of the search lasts.
    pub step: Duration,
    /// Steps of the search, and of confirming what it found, at most.
    pub tries: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bed: BedConfig {
                segments: Some(16),
                receive_buffer: 128 << 20,
                cores: Some([0, 1]),
                ..BedConfig::default()
            },
            beside: None,
            itch: None,
            symbols: 100,
            span: Duration::from_secs(10),
            most: None,
            step: Duration::from_secs(2),
            tries: 12,
        }
    }
}

impl Options {
    /// When a run that lasts for `span` ends.
    fn bound(&self, span: Duration) -> Bound {
        Bound {
            span,
            messages: self.most.unwrap_or(u64::MAX),
        }
    }
}

/// Measures. Through AF_XDP where the bed says so and there can be hosts for it; where there cannot, the section says so
/// in one line, and has no figures.
///
/// # Errors
/// If something does not work that must: a message is missing that the stream does not name as lost, a core cannot be had.
pub fn run(options: &Options, watch: &Watch) -> Result<Section, BenchError> {
    match options.bed.io {
        Io::Socket => on_interfaces(options, watch),
        _ => between_hosts(options, watch),
    }
}

fn messages(options: &Options, watch: &Watch) -> Result<ItchDay, BenchError> {
    check_room(&options.bed)?;
    watch.step("throughput: preparing the messages", 0, 1)?;
    let day = ItchDay::new(options.itch.as_deref(), options.symbols);
    day.map_err(BenchError::io("read the ITCH file"))
}

fn on_interfaces(options: &Options, watch: &Watch) -> Result<Section, BenchError> {
    let day = messages(options, watch)?;
    let mut section = Section {
        name: "throughput".into(),
        title: "Throughput: parse to in-order delivery".into(),
        how: how(options, &day),
        not_measured: vec!["Two machines: publisher and listener share one kernel and its memory.".into()],
        ..Section::default()
    };
    let bursts = highest(options, "bursts", &options.bed, &day, watch)?;
    describe(&mut section, "bursts", &bursts, Some(Goal::at_least(20e6, 8e6)));
    let fresh = BedConfig {
        segments: None,
        ..options.bed.clone()
    };
    let fresh = highest(options, FRESH, &fresh, &day, watch)?;
    describe(&mut section, FRESH, &fresh, None);
    if let Some(trial) = fresh
        .confirmed
        .filter(|trial| trial.took < options.span.mul_f64(0.9))
    {
        section.not_measured.push(format!(
            "Fresh segments for longer than {:.1} s: half of the room where the journals are.",
            trial.took.as_secs_f64()
        ));
    }
    let plain = BedConfig {
        bursts: false,
        ..options.bed.clone()
    };
    let plain = highest(options, "packet by packet", &plain, &day, watch)?;
    describe(&mut section, "packet by packet", &plain, None);
    if let Some(dir) = &options.beside {
        let bed = BedConfig {
            dir: Some(dir.clone()),
            ..options.bed.clone()
        };
        let name = format!("bursts, journals in {}", dir.display());
        let beside = highest(options, &name, &bed, &day, watch)?;
        describe(&mut section, &name, &beside, None);
    }

    watch.step("throughput: as fast as it goes", 0, 1)?;
    let bed = used(options, &options.bed, &day)?;
    let flood = run_one(&bed, &day, Pace::Max, options.bound(options.span))?;
    show(
        &mut section,
        ["as fast as the publisher can", "rate"],
        &flood,
        [None; 2],
    );
    Ok(section)
}

fn how(options: &Options, day: &ItchDay) -> Vec<String> {
    vec![
        format!("{}, in memory, read again and again.", day.describe()),
        format!(
            "Counted are source messages; from the first one's parsing until the last one is in the listener's journal. \
             {} s each.",
            options.span.as_secs_f64()
        ),
        format!("{} {}", options.bed.say_cores(), options.bed.say_journals()),
        format!(
            "Both lines, with receive buffers of {} MiB; the recovery service runs in the process and fills what both lines lost. \
             Packets are checked, arbitrated and journalled by the listener daemon as it is; no ring.",
            options.bed.receive_buffer >> 20
        ),
        format!(
            "The highest rate: for {} s all of it was delivered, at most {MOST_RECOVERED}% of it through recovery, at {:.0}% of the \
             rate at least; searched in steps of {} s. What does not hold is tried once more.",
            options.span.as_secs_f64(),
            KEPT * 100.0,
            options.step.as_secs_f64()
        ),
        match options.bed.io {
            Io::Socket => "Bursts: full packets leave by segmentation offload (UDP_SEGMENT) and come by receive offload \
                           (UDP_GRO). Packet by packet: a send for each, on each line."
                .into(),
            _ => format!(
                "{} A call to the kernel for each burst of full packets. Through sockets over the same cables: a send for each \
                 packet, on each line; and bursts, which leave by segmentation offload (UDP_SEGMENT) and come by receive \
                 offload (UDP_GRO). The floors, in the same rounds, on the same cores and between the same hosts, on veth pairs \
                 of their own: one thread sends full packets on both lines with as many calls to the kernel, one spins on both and \
                 counts them. What they come to is told in source messages, as many a packet as ours had.",
                options.bed.say_lines()
            ),
        },
    ]
}

/// How long both journals can grow at `rate` into half of the room that there is.
fn room(bed: &BedConfig, rate: f64) -> Result<Duration, BenchError> {
    let free = free(&bed.journals_dir())?;
    let a_second = 2.0 * rate * USUAL as f64;
    Ok(Duration::from_secs_f64(
        (free as f64 / 2.0 / a_second.max(1.0)).min(1e6),
    ))
}

/// Both journals with all segments that they may have at a time must fit: where memory runs out, other processes die.
fn check_room(bed: &BedConfig) -> Result<(), BenchError> {
    let (dir, segments) = (bed.journals_dir(), bed.segments.unwrap_or(0) + PREPARED);
    let (needed, free) = (2 * (segments * bed.segment_size) as u64, free(&dir)?);
    if free / 2 >= needed {
        return Ok(());
    }
    Err(BenchError::Broken(format!(
        "both journals take {} MiB, and {} has room for {} MiB: name another place with --dir",
        needed >> 20,
        dir.display(),
        free >> 20
    )))
}

/// Bytes that can still be written in `dir`, which may be in memory.
fn free(dir: &Path) -> Result<u64, BenchError> {
    let cannot = || BenchError::io(format!("see how much room there is in {}", dir.display()));
    let place = statvfs(dir).map_err(|cause| cannot()(cause.into()))?;
    let room = place.f_bavail * place.f_frsize;
    let in_memory = statfs(dir).map_err(|cause| cannot()(cause.into()))?.f_type == TMPFS;
    Ok(if in_memory { room.min(memory()?) } else { room })
}

/// Bytes of memory that can be had.
fn memory() -> Result<u64, BenchError> {
    let place = "/proc/meminfo";
    let all = fs::read_to_string(place).map_err(BenchError::io(format!("read {place}")))?;
    let available = all.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = available.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let bytes = kilobytes.map(|kilobytes| kilobytes << 10);
    bytes.ok_or_else(|| BenchError::Broken(format!("{place} does not say how much memory is available")))
}

/// What a search says.
fn describe(section: &mut Section, name: &str, found: &Highest, goal: Option<Goal>) {
    let recovered = goal.map(|_| Goal::at_most(MOST_RECOVERED, MOST_RECOVERED));
    match &found.confirmed {
        Some(trial) => show(section, [name, "highest rate"], trial, [goal, recovered]),
        None => section.figures.push(Figure {
            name: format!("{name}: highest rate"),
            unit: "messages/s".into(),
            value: Value::Single(f64::NAN),
            goal,
            note: Some(format!(
                "no rate held in {} steps: something else uses the cores",
                found.steps
            )),
        }),
    }
}

/// What a run says.
fn show(section: &mut Section, [name, rate]: [&str; 2], trial: &Trial, goals: [Option<Goal>; 2]) {
    let figure = |what: &str, unit: &str, value: f64, goal: Option<Goal>, note: String| Figure {
        name: format!("{name}: {what}"),
        unit: unit.into(),
        value: Value::Single(value),
        goal,
        note: Some(note),
    };
    section.figures.extend([
        figure(
            rate,
            "messages/s",
            trial.rate(),
            goals[0],
            format!(
                "{} source messages in {:.1} s, {}; {:.1} MB/s a line; {:.1} messages of the stream a packet",
                trial.messages,
                trial.took.as_secs_f64(),
                match trial.lost {
                    0 => "nothing lost".into(),
                    lost => format!("{lost} lost, and named: the journal no longer had them"),
                },
                trial.bytes as f64 / trial.took.as_secs_f64() / 1e6,
                trial.stream as f64 / trial.packets.max(1) as f64
            ),
        ),
        figure(
            "through recovery",
            "%",
            trial.recovered_share() * 100.0,
            goals[1],
            format!(
                "line A lacked {} messages, line B {}; {} datagrams dropped",
                trial.missed[0], trial.missed[1], trial.dropped
            ),
        ),
    ]);
    lines(section, name, trial);
}

fn lines(section: &mut Section, name: &str, trial: &Trial) {
    section.timelines.push(Timeline {
        name: format!("{name}: delivered"),
        unit: "messages/s".into(),
        points: trial.line.clone(),
    });
    section.distributions.push(Distribution::of(
        format!("{name}: packet sent to delivery"),
        &trial.latency,
    ));
}

#[cfg(test)]
mod tests {
    use super::between::BETWEEN_HOSTS;
    use super::*;
    use crate::harness::hosts;

    /// Just enough to see that everything works.
    fn brief(io: Io) -> Options {
        Options {
            bed: BedConfig {
                segment_size: 4 << 20,
                segments: Some(8),
                io,
                ..BedConfig::default()
            },
            symbols: 1,
            span: Duration::from_millis(300),
            most: Some(100_000),
            step: Duration::from_millis(100),
            tries: if io == Io::Socket { 3 } else { 1 },
            ..Options::default()
        }
    }

    #[track_caller]
    fn figure(section: &Section, name: &str) -> f64 {
        let found = section
            .figures
            .iter()
            .find(|figure| figure.name.starts_with(name));
        found
            .unwrap_or_else(|| panic!("{name}: {section:?}"))
            .value
            .middle()
    }

    #[test]
    fn all_that_is_published_is_delivered_at_every_rate() {
        let section = run(&brief(Io::Socket), &Watch::silent()).expect("loopback, and room for two journals");
        assert!(figure(&section, "as fast as the publisher can: rate") > 0.0);
        // Whatever this machine holds, it is said of both.
        figure(&section, "bursts: highest rate");
        figure(&section, "packet by packet: highest rate");
    }

    #[test]
    fn between_hosts_all_of_it_is_delivered_through_af_xdp_and_through_sockets() {
        let section = run(&brief(Io::Xdp), &Watch::silent()).expect("veth pairs, and room for two journals");
        if let Some(why) = hosts::missing() {
            assert!(std::env::var_os("CI").is_none(), "in CI this must run: {why}");
            assert_eq!(section.not_measured, [format!("Skipped: {why}.")]);
            return;
        }
        for (name, _, _) in BETWEEN_HOSTS {
            figure(&section, &format!("{name}: highest rate"));
        }
        figure(
            &section,
            "as fast as the publisher can: AF_XDP to sockets, packet by packet",
        );
        for floor in between::FLOORS {
            // A round counts only where ours lost nothing; what the floor came to is said in any case.
            figure(&section, &format!("as fast as the publisher can: {floor}"));
        }
    }
}
