//! One run: ITCH messages in memory, parsed, published on both lines, delivered in order by a listener, both journals on.

use crate::harness::bed::Bed;
use crate::harness::error::BenchError;
use crate::harness::threads::on_core;
use crate::itch_day::ItchDay;
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use twinline_feed::publisher::Opened;
use twinline_feed::run::{Idle, RunConfig, run};
use twinline_feed::source::itch::ItchFile;
use twinline_feed::source::pace::Pace;
use twinline_feed::source::{EventSink, Source, SourceError, SourceState, TypeCount};
use twinline_journal::{JournalError, JournalReader};
use twinline_listener::Live;

/// The counters are looked at this often.
const SAMPLE: Duration = Duration::from_millis(200);
/// Whether everything is delivered is looked at this often.
const LOOK: Duration = Duration::from_millis(2);
/// Where all was sent and nothing more was delivered for so long, nothing more will be: a gap that nobody fills is declared
/// lost long before. How long it takes as a whole says nothing: where something else has the cores, all of a run may have to come
/// through recovery, gigabytes at a quarter of the rate.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most of the stream that may come through recovery where a rate holds, in percent.
pub(super) const MOST_RECOVERED: f64 = 0.1;

/// When a run ends: whatever comes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) span: Duration,
    pub(super) messages: u64,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    /// From the first message's parsing until the last one is in the listener's journal.
    pub(super) took: Duration,
    /// Source messages published, and delivered.
    pub(super) messages: u64,
    /// Messages of the stream, positions and all.
    pub(super) stream: u64,
    /// Packets that held them, and their bytes.
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Datagrams that the kernel dropped on their way in, or did not take on their way out.
    pub(super) dropped: u64,
    /// Messages that came through recovery.
    pub(super) recovered: u64,
    /// Messages that did not come, and the stream says so: the journal no longer had them when the listener asked.
    pub(super) lost: u64,
    /// Messages that one of the lines did not bring.
    pub(super) missed: [u64; 2],
    /// Sending time to delivery.
    pub(super) latency: Histogram<u64>,
    /// Seconds since the beginning, and messages delivered a second there.
    pub(super) line: Vec<(f64, f64)>,
}

impl Trial {
    /// Source messages a second.
    pub(super) fn rate(&self) -> f64 {
        self.messages as f64 / self.took.as_secs_f64()
    }

    /// The share of the stream that came through recovery.
    pub(super) fn recovered_share(&self) -> f64 {
        self.recovered as f64 / self.stream.max(1) as f64
    }

    /// True if nothing was lost and recovery had next to nothing to do.
    pub(super) fn holds(&self) -> bool {
        self.lost == 0 && self.recovered_share() * 100.0 <= MOST_RECOVERED
    }
}

/// Publishes `day` again and again up to `bound`, as a session of its own, which both journals go on with.
///
/// # Errors
/// If a message is missing that the stream does not name as lost, any is lost of a bounded number, or anything else does not
/// work.
pub(super) fn run_one(bed: &Bed, day: &ItchDay, pace: Pace, bound: Bound) -> Result<Trial, BenchError> {
    on_core("bench", None, || publish(bed, day, pace, bound))
}

fn publish(bed: &Bed, day: &ItchDay, pace: Pace, bound: Bound) -> Result<Trial, BenchError> {
    let Opened {
        mut publisher,
        reserver,
    } = bed.publisher(bed.senders()?)?;
    let sending = publisher.lines().states();
    let serving = bed.serve()?;
    let mut listening = bed.listen(&serving, true)?;
    // Each session has a source of its own, whose positions begin with it.
    let session = publisher.session();
    let mut source = Bounded {
        file: day.source(session as u16, pace),
        span: bound.span.as_nanos() as u64,
        most: bound.messages,
        began: None,
    };
    let (over, live) = (AtomicBool::new(false), listening.live().clone());
    let before = publisher.source_messages();
    let start = Instant::now();
    let journal = JournalReader::open(&bed.listener_journal())?;
    let (ran, sampled) = thread::scope(|scope| {
        let sampling = scope.spawn(|| sample(&live, journal, session, start, &over));
        let ran = bed.config().pin(0).and_then(|()| {
            let run_config = RunConfig {
                idle: Idle::Spin,
                // A disk that is slow to reserve sequences is not what is measured.
                reserve_patience: Duration::from_secs(10),
            };
            let never = AtomicBool::new(false);
            Ok(run(&mut publisher, reserver, &mut source, &run_config, &never)?)
        });
        over.store(true, Ordering::Relaxed);
        (ran, sampling.join())
    });
    ran?;
    let sampled = sampled.map_err(|_| BenchError::Broken("the sampling thread panicked".into()))?;
    let (line, delivered) = sampled?;
    let Some(at) = delivered else {
        let report = listening.live().report();
        return Err(listening.trouble().unwrap_or_else(|| {
            BenchError::Broken(format!(
                "the end of the session was not delivered, nor anything else for {} s: the listener stands at {} of {}, {} lost, \
                 and misses {:?}",
                PATIENCE.as_secs(),
                report.position.next,
                publisher.next_sequence(),
                report.arbiter.lost,
                report.gaps
            ))
        }));
    };
    let report = listening.finish(false)?;
    let (lost, stands, expected) = (
        report.arbiter.lost,
        report.position.next,
        publisher.next_sequence(),
    );
    if stands != expected || (lost > 0 && bound.messages < u64::MAX) {
        return Err(BenchError::Broken(format!(
            "{lost} messages are lost: the listener stands at {stands} of {expected}"
        )));
    }
    let sent = sending.map(|line| line.counts());
    let refused = sent.iter().map(|sent| sent.dropped + sent.errors).sum::<u64>();
    let counters = publisher.counters();
    let began = source.began.map_or(start, |(at, _)| at);
    Ok(Trial {
        took: at.saturating_duration_since(began),
        messages: publisher.source_messages() - before,
        stream: report.messages(),
        packets: counters.packets.get(),
        bytes: counters.bytes.get(),
        dropped: refused
            + report
                .sockets
                .iter()
                .map(|socket| socket.kernel_drops)
                .sum::<u64>(),
        recovered: report.arbiter.delivered[2],
        lost,
        missed: report.lines.map(|line| line.lost),
        latency: report.latency.clone(),
        line,
    })
}

/// Looks how much is delivered, until the end of `session` is.
fn sample(
    live: &Live,
    mut journal: JournalReader,
    session: u32,
    start: Instant,
    over: &AtomicBool,
) -> Result<Samples, JournalError> {
    let mut line = Vec::new();
    let mut before = (start.elapsed(), live.report().messages());
    // Since when all is sent, and nothing was delivered.
    let mut still = None;
    loop {
        thread::sleep(LOOK);
        if journal
            .head()?
            .is_some_and(|head| head.session == session && head.ended)
        {
            return Ok((line, Some(Instant::now())));
        }
        if over.load(Ordering::Relaxed) && still.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return Ok((line, None));
        }
        if start.elapsed() - before.0 >= SAMPLE {
            let now = (start.elapsed(), live.report().messages());
            let rate = (now.1 - before.1) as f64 / (now.0 - before.0).as_secs_f64();
            line.push((now.0.as_secs_f64(), rate));
            if now.1 > before.1 {
                still = None;
            }
            before = now;
        }
    }
}

/// Seconds since the beginning with messages a second, and when the last message was delivered.
type Samples = (Vec<(f64, f64)>, Option<Instant>);

/// A file that has an end in time, and in number.
struct Bounded {
    file: ItchFile,
    /// Nanoseconds from the first poll.
    span: u64,
    /// Messages.
    most: u64,
    /// The first poll: when it was, and by the clock that it was told.
    began: Option<(Instant, u64)>,
}

impl Source for Bounded {
    fn id(&self) -> u16 {
        self.file.id()
    }

    fn position(&self) -> u64 {
        self.file.position()
    }

    fn resume(&mut self, position: u64) -> Result<(), SourceError> {
        self.file.resume(position)
    }

    fn poll(&mut self, now: u64, sink: &mut impl EventSink) -> Result<SourceState, SourceError> {
        let (_, began) = *self.began.get_or_insert_with(|| (Instant::now(), now));
        if now - began >= self.span || self.file.position() >= self.most {
            return Ok(SourceState::End);
        }
        self.file.poll(now, sink)
    }

    fn counts(&self) -> Vec<TypeCount> {
        self.file.counts()
    }
}
