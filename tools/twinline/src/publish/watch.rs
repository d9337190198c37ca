//! What the main thread sees of running publishers: figures for progress and summary, and what an operator should know.

use super::source::OpenSource;
use crate::io_args;
use crate::line_args::LineArgs;
use crate::progress::Progress;
use crate::summary::{LineSummary, LinesSummary, Position, SentSummary, Summary};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use twinline_feed::channels::SourceStatus;
use twinline_feed::lines::NetworkLines;
use twinline_feed::publisher::{Counters, Line, Publisher, Reserve};
use twinline_feed::source::Source;
use twinline_feed::source::retry::RetryStatus;
use twinline_journal::{JournalWatch, SyncPolicy};
use twinline_line::{LineHealth, SenderState};

/// What the main thread sees of running publishers.
pub(crate) struct Watch {
    pub(crate) started: Instant,
    pub(crate) channels: Vec<WatchedChannel>,
    pub(crate) sources: Vec<WatchedSource>,
    /// A source that says nothing for so long stands still.
    pub(crate) stall_after: Duration,
}

/// A channel, seen from the main thread.
pub(crate) struct WatchedChannel {
    addresses: [String; 2],
    pub(crate) channel: u16,
    pub(crate) session: u32,
    pub(crate) epoch: u32,
    begin: u64,
    pub(crate) lines: [Arc<SenderState>; 2],
    pub(crate) counters: Arc<Counters>,
    pub(crate) reserve: Arc<Reserve>,
    pub(crate) journal: JournalWatch,
    pub(crate) sync: SyncPolicy,
}

/// A source, seen from the main thread.
pub(crate) struct WatchedSource {
    pub(crate) id: u16,
    pub(crate) retries: Arc<RetryStatus>,
    pub(crate) status: Arc<SourceStatus>,
    /// How far it was when last looked at, since when, and whether it was told that it stands still.
    seen: Mutex<Seen>,
    /// All channels are complete: nothing is asked of it.
    unasked: bool,
}

#[derive(Clone, Copy)]
struct Seen {
    position: u64,
    since: Instant,
    told: bool,
}

impl WatchedSource {
    pub(super) fn new(source: &OpenSource, unasked: bool) -> Self {
        Self {
            unasked,
            id: source.id(),
            retries: source.status(),
            status: Arc::default(),
            seen: Mutex::new(Seen {
                position: source.position(),
                since: Instant::now(),
                told: false,
            }),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it has said nothing; nothing once it has said everything, or where nothing is asked of it.
    pub(crate) fn silent(&self) -> Duration {
        match self.unasked || self.retries.has_ended() || self.status.ended() {
            true => Duration::ZERO,
            false => self.seen().since.elapsed(),
        }
    }
}

impl WatchedChannel {
    pub(crate) fn new(lines: &LineArgs, publisher: &Publisher<NetworkLines>, sync: SyncPolicy) -> Self {
        Self {
            addresses: [lines.line_a.to_string(), lines.line_b.to_string()],
            channel: lines.channel,
            session: publisher.session(),
            epoch: publisher.epoch(),
            begin: publisher.next_sequence(),
            lines: publisher.lines().states(),
            counters: publisher.counters(),
            reserve: publisher.reserve(),
            journal: publisher.watch_journal(),
            sync,
        }
    }

    fn summary(&self, elapsed: Duration) -> Summary {
        let mut summary = Summary::new("publish");
        summary.elapsed_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        summary.position = Some(Position {
            channel: self.channel,
            session: self.session,
            epoch: self.epoch,
            next: self.reserve.next(),
            ended: false,
        });
        summary.messages = self.counters.messages.get();
        summary.packets = self.counters.packets.get();
        summary.bytes = self.counters.bytes.get();
        summary.set("heartbeats", self.counters.heartbeats.get());
        summary.lines = Some(LinesSummary {
            a: self.line(Line::A),
            b: self.line(Line::B),
        });
        summary
    }

    fn line(&self, line: Line) -> LineSummary {
        let counts = self.lines[line.index()].counts();
        LineSummary {
            address: self.addresses[line.index()].clone(),
            io: self.lines[line.index()].transport().name().into(),
            packets: counts.sent,
            bytes: counts.bytes,
            sent: Some(SentSummary {
                send_failures: counts.dropped + counts.errors,
                would_block: counts.would_block,
                bursts: counts.bursts,
            }),
            heard: None,
        }
    }

    /// Tells of lines that fail or work again.
    pub(crate) fn tell_health(&self, progress: &mut Progress) {
        for line in [Line::A, Line::B] {
            let sender = &self.lines[line.index()];
            match sender.health_change() {
                Some(LineHealth::Failing(cause)) => {
                    progress.warn(format!("line {} cannot be sent on: {cause}", sender.address()));
                }
                Some(LineHealth::Well) => progress.warn(format!("line {} works", sender.address())),
                None => {}
            }
            if let Some(cause) = sender.segmentation_refused() {
                progress.warn(format!(
                    "line {} does not take several packets at a time ({cause}): from now on each is sent on its own, which \
                     is slower; --segmentation off says so from the start",
                    sender.address()
                ));
            }
        }
    }
}

impl Watch {
    /// ` of channel N`, where there are several.
    pub(crate) fn named(&self, channel: u16) -> String {
        match self.channels.len() {
            1 => String::new(),
            _ => format!(" of channel {channel}"),
        }
    }

    /// What is published, a line a channel.
    pub(crate) fn ready(&self) -> String {
        let lines = self.channels.iter().map(|of| {
            format!(
                "publishing session {} epoch {}{} from sequence {} on\n{}",
                of.session,
                of.epoch,
                self.named(of.channel),
                of.begin,
                io_args::told(of.lines.each_ref().map(|line| line.transport()))
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The only channel's summary; of several the sums on top, and each channel's own in `channels`.
    pub(crate) fn summary(&self) -> Summary {
        let elapsed = self.started.elapsed();
        let mut each: Vec<Summary> = self
            .channels
            .iter()
            .map(|channel| channel.summary(elapsed))
            .collect();
        let mut summary = match &mut each[..] {
            [only] => std::mem::take(only),
            several => {
                let mut all = Summary::new("publish");
                for channel in several.iter() {
                    all.elapsed_ns = channel.elapsed_ns;
                    all.messages += channel.messages;
                    all.packets += channel.packets;
                    all.bytes += channel.bytes;
                }
                all.set(
                    "heartbeats",
                    self.channels
                        .iter()
                        .map(|of| of.counters.heartbeats.get())
                        .sum::<u64>(),
                );
                all.set("channels", several);
                all
            }
        };
        let shares = self.sources.iter().map(|source| source.retries.progress());
        // The slowest says how long all will take.
        let least = shares
            .collect::<Option<Vec<f64>>>()
            .and_then(|all| all.into_iter().reduce(f64::min));
        if let Some(share) = least {
            summary.set("source_share", share);
        }
        let failures: u64 = self.sources.iter().map(|source| source.retries.failures()).sum();
        summary.set("source_failures", failures);
        summary.set(
            "source_broken",
            self.sources.iter().any(|source| source.retries.is_broken()),
        );
        let silent = self.sources.iter().map(WatchedSource::silent).max();
        summary.set("source_silent_ns", silent.unwrap_or_default().as_nanos() as u64);
        summary
    }

    /// Tells of sources that broke, stand still, or go on.
    pub(crate) fn tell_sources(&self, progress: &mut Progress) {
        for source in &self.sources {
            let name = match self.sources.len() {
                1 => "the source".to_string(),
                _ => format!("source {}", source.id),
            };
            if source.retries.is_broken() {
                let error = source.retries.last_error();
                progress.warn(format!("{name} stands still and is tried again: {error}"));
            }
            let mut seen = *source.seen();
            let position = source.retries.position();
            if position > seen.position {
                if seen.told {
                    progress.warn(format!("{name} goes on behind position {}", seen.position));
                }
                seen = Seen {
                    position,
                    since: Instant::now(),
                    told: false,
                };
            } else if !seen.told && source.silent() >= self.stall_after {
                seen.told = true;
                progress.warn(format!(
                    "{name} has said nothing for {:?} and stands at position {position}",
                    self.stall_after
                ));
            }
            *source.seen() = seen;
        }
    }
}
