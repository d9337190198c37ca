//! Throughput: ITCH messages that wait in memory, parsed, encoded, journalled, sent on both lines, delivered in order and
//! journalled again.
//!
//! First as fast as the publisher can, with nothing that holds it back: what the lines lose then, recovery fills. Then the
//! highest rate at which both lines bring everything, found in [steps](search).

mod search;
mod trial;

use crate::harness::bed::BedConfig;
use crate::harness::error::BenchError;
use crate::harness::result::{Distribution, Figure, Goal, Section, Timeline, Value};
use crate::harness::watch::Watch;
use crate::itch_day::ItchDay;
use rustix::fs::statvfs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;
use trial::{Trial, run_one};
use twinline_feed::source::pace::Pace;

/// A rate counts as kept if so much of it was published.
const KEPT: f64 = 0.98;

/// What to measure, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Lines, journals, cores.
    pub bed: BedConfig,
    /// One symbol's hour as ITCH, plain or gzip; `None`: one that is made up.
    pub itch: Option<PathBuf>,
    /// Symbols that replay it.
    pub symbols: u16,
    /// How long each run lasts.
    pub span: Duration,
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
                cores: Some([0, 1]),
                ..BedConfig::default()
            },
            itch: None,
            symbols: 100,
            span: Duration::from_secs(10),
            step: Duration::from_secs(2),
            tries: 12,
        }
    }
}

/// Measures.
///
/// # Errors
/// If something does not work that must: a message is lost, a core cannot be had.
pub fn run(options: &Options, watch: &Watch) -> Result<Section, BenchError> {
    watch.step("throughput: preparing the messages", 0, 1)?;
    let day = ItchDay::new(options.itch.as_deref(), options.symbols);
    let day = day.map_err(BenchError::io("read the ITCH file"))?;
    let mut section = Section {
        name: "throughput".into(),
        title: "Throughput: parse to in-order delivery".into(),
        how: how(options, &day),
        not_measured: vec![
            "Segmentation offload: this build sends packet by packet.".into(),
            "Two machines: publisher and listener share one kernel and its memory.".into(),
        ],
        ..Section::default()
    };
    watch.step("throughput: as fast as it goes, recycled segments", 0, 3)?;
    let recycled = run_one(&options.bed, &day, Pace::Max, options.span)?;
    describe(&mut section, "recycled segments", &recycled, true);

    watch.step("throughput: as fast as it goes, fresh segments", 1, 3)?;
    let bed = BedConfig {
        segments: None,
        ..options.bed.clone()
    };
    let span = options.span.min(room(&bed, &recycled)?);
    if span < options.span {
        section.not_measured.push(format!(
            "Fresh segments for longer than {:.1} s: half of the room on the journals' disk.",
            span.as_secs_f64()
        ));
    }
    let fresh = run_one(&bed, &day, Pace::Max, span)?;
    describe(&mut section, "fresh segments", &fresh, false);

    let found = lossless(options, &day, recycled.rate(), watch)?;
    section.figures.push(found.0);
    if let Some(trial) = found.1 {
        lines(&mut section, "highest rate without loss", &trial);
    }
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
        "Both lines; the recovery service runs in the process and fills what both lines lost. Packets are checked, arbitrated and \
         journalled by the listener daemon as it is; no ring."
            .into(),
        format!(
            "Without loss: neither line nor kernel dropped a datagram for {} s, and {:.0}% of the rate was published; searched in \
             steps of {} s.",
            options.span.as_secs_f64(),
            KEPT * 100.0,
            options.step.as_secs_f64()
        ),
    ]
}

/// How long fresh segments can be written at the pace of `trial` into half of the room that there is.
fn room(bed: &BedConfig, trial: &Trial) -> Result<Duration, BenchError> {
    let dir = bed.dir.clone().unwrap_or_else(std::env::temp_dir);
    let free = free(&dir)?;
    let a_second = 2.0 * trial.bytes as f64 / trial.took.as_secs_f64();
    Ok(Duration::from_secs_f64(
        (free as f64 / 2.0 / a_second.max(1.0)).min(1e6),
    ))
}

fn free(dir: &Path) -> Result<u64, BenchError> {
    let place = statvfs(dir).map_err(|cause| {
        BenchError::io(format!("see how much room there is in {}", dir.display()))(cause.into())
    })?;
    Ok(place.f_bavail * place.f_frsize)
}

/// The highest rate at which neither line loses anything, confirmed over the whole span.
fn lossless(
    options: &Options,
    day: &ItchDay,
    flood: f64,
    watch: &Watch,
) -> Result<(Figure, Option<Trial>), BenchError> {
    let attempt = |rate: f64, span: Duration| -> Result<Option<Trial>, BenchError> {
        let per_second = NonZeroU64::new(rate as u64).unwrap_or(NonZeroU64::MIN);
        let trial = run_one(&options.bed, day, Pace::PerSecond(per_second), span)?;
        // Less was published than was to be: the publisher cannot, whatever the lines lose.
        let kept = trial.messages as f64 >= rate * span.as_secs_f64() * KEPT;
        Ok((kept && trial.is_clean()).then_some(trial))
    };
    let mut tries = 0;
    let found = search::highest(flood / 2.0, options.tries, |rate| {
        tries += 1;
        watch.step(
            &format!("throughput: {:.2} million/s without loss? try", rate / 1e6),
            tries,
            options.tries,
        )?;
        attempt(rate, options.step).map(|held| held.is_some())
    })?;
    let mut confirmed = None;
    let mut rate = found.held;
    for number in 0..options.tries {
        if rate == 0.0 || confirmed.is_some() {
            break;
        }
        let what = format!("throughput: {:.2} million/s for the whole time? try", rate / 1e6);
        watch.step(&what, number, options.tries)?;
        confirmed = attempt(rate, options.span)?;
        // What held for a step need not hold for long.
        rate *= 0.93;
    }
    let figure = Figure {
        name: "highest rate without loss".into(),
        unit: "messages/s".into(),
        value: Value::Single(confirmed.as_ref().map_or(f64::NAN, Trial::rate)),
        goal: None,
        note: Some(match &confirmed {
            Some(trial) => format!(
                "{:.1} messages a packet; after {} steps",
                trial.stream as f64 / trial.packets.max(1) as f64,
                found.tries
            ),
            None => "no rate held: something else uses the cores".into(),
        }),
    };
    Ok((figure, confirmed))
}

/// What a run as fast as it goes says.
fn describe(section: &mut Section, name: &str, trial: &Trial, goal: bool) {
    let figure = |what: &str, unit: &str, value: f64, goal: Option<Goal>, note: Option<String>| Figure {
        name: format!("{name}: {what}"),
        unit: unit.into(),
        value: Value::Single(value),
        goal,
        note,
    };
    section.figures.extend([
        figure(
            "as fast as it goes",
            "messages/s",
            trial.rate(),
            goal.then(|| Goal::at_least(20e6, 8e6)),
            Some(format!(
                "{} source messages in {:.1} s, nothing lost; {:.1} MB/s a line; {:.1} messages of the stream a packet",
                trial.messages,
                trial.took.as_secs_f64(),
                trial.bytes as f64 / trial.took.as_secs_f64() / 1e6,
                trial.stream as f64 / trial.packets.max(1) as f64
            )),
        ),
        figure(
            "through recovery",
            "%",
            trial.recovered_share() * 100.0,
            goal.then(|| Goal::at_most(0.1, 0.1)),
            Some(format!(
                "line A lacked {} messages, line B {}; {} datagrams dropped",
                trial.missed[0], trial.missed[1], trial.dropped
            )),
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
    use super::*;

    #[test]
    fn all_that_is_published_is_delivered_at_every_rate() {
        let options = Options {
            bed: BedConfig {
                segment_size: 4 << 20,
                segments: Some(8),
                ..BedConfig::default()
            },
            symbols: 1,
            span: Duration::from_millis(300),
            step: Duration::from_millis(100),
            tries: 3,
            ..Options::default()
        };
        let section = run(&options, &Watch::silent()).expect("loopback, and room for two journals");
        let names: Vec<_> = section
            .figures
            .iter()
            .map(|figure| figure.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "recycled segments: as fast as it goes",
                "recycled segments: through recovery",
                "fresh segments: as fast as it goes",
                "fresh segments: through recovery",
                "highest rate without loss"
            ]
        );
        assert!(section.figures[0].value.middle() > 0.0 && section.figures[2].value.middle() > 0.0);
        assert!(section.distributions.iter().all(|all| all.count > 0));
    }
}
