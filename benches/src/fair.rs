//! Fair release, from end to end: a publisher and three listeners with ways of different length to them, and how far apart
//! they have each message.
//!
//! All of it is real (sockets, journals, threads); only the ways are the impairer's. A listener has a message when it can
//! be read from its journal, as a local program does: one thread looks at the three journals in turn and takes the time of
//! what it finds. How long a look takes is part of the spread, and what comes while that thread has no core looks as if it
//! came at once: so a run with ways of equal length stands beside it, and how late the listeners released by their own clocks.

use std::error::Error;
use std::net::{Ipv4Addr, UdpSocket};
use std::num::{NonZeroU16, NonZeroU64};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use twinline_feed::lines::NetworkLines;
use twinline_feed::publisher::{self, Opened, Place, PublisherConfig};
use twinline_feed::run::{Idle, RunConfig, run, unix_now};
use twinline_feed::source::generator::{Generator, GeneratorConfig, Profile};
use twinline_feed::source::pace::Pace;
use twinline_journal::epoch::Holder;
use twinline_journal::{JournalConfig, JournalReader, Prepare, Retention, SyncPolicy};
use twinline_line::impair::Spec;
use twinline_line::{LineAddress, SenderOptions};
use twinline_listener::{ArbiterConfig, FairConfig, GapConfig, Listener, ListenerConfig, Report};
use twinline_recovery::ClientConfig;
use twinline_wire::header::flags;

/// Listeners of a run.
pub const LISTENERS: usize = 3;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What a run is given.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// How much longer each listener's way is.
    pub delays: [Duration; LISTENERS],
    /// Fair release.
    pub hold: Option<Duration>,
    /// Source messages.
    pub messages: u64,
    /// Source messages a second.
    pub rate: NonZeroU64,
    /// What the publisher's and the listeners' threads do when there is nothing to do.
    pub idle: Idle,
}

/// What a run showed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// From the first listener that had a message to the last one, in nanoseconds, of each message, ascending.
    pub spreads: Vec<u64>,
    /// From sending to when the last listener had it, the same way.
    pub latest: Vec<u64>,
    /// Messages that not all had.
    pub incomplete: u64,
    /// What each listener says itself.
    pub reports: Vec<Report>,
}

impl Outcome {
    /// The share of each listener's messages that came past their moment; 0 without fair release.
    pub fn late(&self) -> Vec<f64> {
        let of = |report: &Report| {
            let stats = report.fair.as_ref().map_or(0, |fair| fair.stats.late);
            stats as f64 / report.messages().max(1) as f64
        };
        self.reports.iter().map(of).collect()
    }
}

/// The value that a share of `sorted` is not above; 0 if there is none.
pub fn quantile(sorted: &[u64], share: f64) -> u64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0)
}

/// Makes one run.
///
/// # Errors
/// If something cannot be opened, or fails.
pub fn fair(setting: &Setting) -> Result<Outcome> {
    let dir = tempfile::tempdir()?;
    let (lines, _ports) = lines()?;
    let mut listeners = Vec::new();
    let mut readers = Vec::new();
    for (number, delay) in setting.delays.iter().enumerate() {
        let journal = dir.path().join(format!("listener-{number}"));
        listeners.push(Listener::open(&listener(&journal, &lines, *delay, setting)?)?);
        readers.push(JournalReader::open(&journal)?);
    }
    let done = AtomicBool::new(false);
    let (seen, reports) = thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(&mut readers, &done));
        let running: Vec<_> = listeners
            .into_iter()
            .map(|listener| scope.spawn(|| listener.run(&done)))
            .collect();
        let published = publish(dir.path(), &lines, setting);
        // They end with the session, or soon if that did not come.
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until && !running.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(5));
        }
        done.store(true, Ordering::Relaxed);
        let reports: Result<Vec<Report>> = running
            .into_iter()
            .map(|listener| Ok(listener.join().map_err(|_| "a listener panicked")??))
            .collect();
        let seen = watcher.join().map_err(|_| "the watcher panicked")?;
        published?;
        Ok::<_, Box<dyn Error + Send + Sync>>((seen?, reports?))
    })?;
    Ok(judge(&seen, reports))
}

/// When a message was sent, and when each listener had it; 0: not seen.
type Seen = (u64, [u64; LISTENERS]);

fn judge(seen: &[Seen], reports: Vec<Report>) -> Outcome {
    let mut outcome = Outcome {
        spreads: Vec::new(),
        latest: Vec::new(),
        incomplete: 0,
        reports,
    };
    // Sequence 0 names no message.
    for (sent, times) in &seen[1.min(seen.len())..] {
        let (first, last) = times
            .iter()
            .fold((u64::MAX, 0), |(first, last), at| (first.min(*at), last.max(*at)));
        if first == 0 {
            outcome.incomplete += 1;
            continue;
        }
        outcome.spreads.push(last - first);
        outcome.latest.push(last.saturating_sub(*sent));
    }
    outcome.spreads.sort_unstable();
    outcome.latest.sort_unstable();
    outcome
}

/// Takes the time at which each message can be read from each journal.
fn watch(readers: &mut [JournalReader], done: &AtomicBool) -> Result<Vec<Seen>> {
    let mut seen: Vec<Seen> = Vec::with_capacity(1 << 17);
    loop {
        let last = done.load(Ordering::Relaxed);
        for (number, reader) in readers.iter_mut().enumerate() {
            while let Some(packet) = reader.next()? {
                let now = unix_now();
                if packet.header().flags & flags::LOCAL != 0 {
                    continue;
                }
                let end = packet.end() as usize;
                if seen.len() < end {
                    seen.resize(end, (0, [0; LISTENERS]));
                }
                for of in &mut seen[packet.sequence() as usize..end] {
                    of.0 = packet.header().sending_time.get();
                    of.1[number] = now;
                }
            }
        }
        if last {
            return Ok(seen);
        }
        std::hint::spin_loop();
    }
}

/// Two lines on loopback, and what holds their ports.
fn lines() -> Result<([LineAddress; 2], [UdpSocket; 2])> {
    let ports = [
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?,
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?,
    ];
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let line = |number: u8| -> Result<LineAddress> {
        let port = ports[usize::from(number)].local_addr()?.port();
        let group = Ipv4Addr::new(239, 128 + 32 * number + (high & 31), middle, low);
        Ok(format!("{group}:{port}@127.0.0.1").parse()?)
    };
    let lines = [line(0)?, line(1)?];
    Ok((lines, ports))
}

fn journal_config() -> JournalConfig {
    JournalConfig {
        channel: 1,
        max_packet: 1408,
        segment_size: 16 << 20,
        sync: SyncPolicy::None,
        retention: Retention::default(),
        prepare: Prepare::Thread,
    }
}

fn listener(
    journal: &Path,
    lines: &[LineAddress; 2],
    delay: Duration,
    setting: &Setting,
) -> Result<ListenerConfig> {
    let impair: Option<Spec> = match delay.as_nanos() {
        0 => None,
        nanos => Some(format!("delay={nanos}ns").parse()?),
    };
    Ok(ListenerConfig {
        lines: lines.clone(),
        receiver: Default::default(),
        recovery: Vec::new(),
        client: ClientConfig::new("fair", 1),
        journal: journal.to_owned(),
        journal_config: journal_config(),
        ring: None,
        arbiter: ArbiterConfig::default(),
        gaps: GapConfig::default(),
        fair: setting.hold.map(|hold| FairConfig {
            hold: hold.as_nanos() as u64,
            buffer: 16 << 20,
        }),
        impair,
        cpu: None,
        idle: setting.idle,
        until_end: true,
    })
}

fn publish(dir: &Path, lines: &[LineAddress; 2], setting: &Setting) -> Result<()> {
    let place = Place {
        journal: dir.join("publisher"),
        journal_config: journal_config(),
        store: dir.join("epochs.json"),
        session: None,
        holder: Holder {
            host: "bench".into(),
            boot: "bench".into(),
        },
        block: publisher::DEFAULT_BLOCK,
    };
    let lines = NetworkLines::open(&lines[0], &lines[1], [SenderOptions::default(); 2])?;
    let config = PublisherConfig {
        linger: Duration::from_secs(1),
        ..PublisherConfig::default()
    };
    let Opened {
        mut publisher,
        reserver,
        ..
    } = publisher::open(config, &place, lines, unix_now())?;
    let mut source = Generator::new(GeneratorConfig {
        source: 1,
        seed: 7,
        symbols: NonZeroU16::MIN,
        messages: Some(setting.messages),
        profile: Profile::ORDERS,
        pace: Pace::PerSecond(setting.rate),
    });
    let config = RunConfig {
        idle: setting.idle,
        ..RunConfig::default()
    };
    run(
        &mut publisher,
        reserver,
        &mut source,
        &config,
        &AtomicBool::new(false),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_seen_at_every_listener_and_counted_there() {
        let setting = Setting {
            delays: [0, 1, 2].map(Duration::from_millis),
            hold: Some(Duration::from_millis(20)),
            messages: 500,
            rate: NonZeroU64::new(1_000).expect("more than nothing"),
            idle: Idle::Park(Duration::from_micros(100)),
        };
        let outcome = fair(&setting).expect("loopback works");
        assert_eq!(outcome.incomplete, 0);
        for report in &outcome.reports {
            assert_eq!(report.messages(), outcome.spreads.len() as u64);
            let fair = report.fair.as_ref().expect("it was asked for");
            assert_eq!(fair.stats.on_time + fair.stats.late, report.messages());
        }
        // None had it before its moment, so neither had the last one.
        assert!(outcome.latest[0] >= 20_000_000, "{}", outcome.latest[0]);
    }
}
