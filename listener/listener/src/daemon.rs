//! The listener daemon: one thread polls both lines and runs the arbiter, the gap policy and the own journal; another
//! talks to the recovery services.

use crate::arbiter::{Arbiter, ArbiterConfig, Origin, Position};
use crate::chase::Chase;
use crate::fair::FairConfig;
use crate::fetch::{Answer, Fetcher};
use crate::gaps::{GapConfig, GapPolicy, MAX_SERVICES};
use crate::join::{StateConfig, StateEvent, StateFetcher, StatePolicy};
use crate::output::Output;
use crate::record::Record;
use crate::report::{Live, Report, Standing};
use hdrhistogram::Histogram;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use twinline_feed::run::{Idle, PinError, pin};
use twinline_journal::{JournalConfig, JournalError, JournalWriter, failpoint};
use twinline_line::impair::{Impairer, Spec};
use twinline_line::{Line, LineAddress, LineError, LineReceiver, ReceiverOptions};
use twinline_recovery::client::{ClientConfig, ClientError};
use twinline_ring::{RingConfig, RingError, RingWriter};
use twinline_wire::Packet;

/// The gap policy looks at the gaps this often, in nanoseconds.
const GAP_TURN: u64 = 200_000;
/// While something is missing it looks this often, in nanoseconds: a gap is asked for as soon as both lines have passed it.
const MISSING_TURN: u64 = 10_000;
/// So much rarer for each packet in the window and each open gap that it has to look at, in nanoseconds: several times
/// what that costs.
const MISSING_SHARE: u64 = 50;
/// While nothing is missing the thread sleeps no longer than this, in nanoseconds, however long it may: stall detection,
/// recovery's heartbeats and the signal to stop are looked for as often.
const QUIET_TURN: u64 = 20_000_000;
/// The counters are published this often, in nanoseconds.
const REPORT_TURN: u64 = 100_000_000;
/// Empty polls of the line that was first last time, before the other one is looked at.
const OTHER_LINE: u32 = 16;
/// How long a listener that is to return at the session's end waits for both lines to have said everything too, so that
/// what they lost is counted right, in nanoseconds.
const LINE_END_PATIENCE: u64 = 1_000_000_000;
/// Answers taken from the recovery thread before the lines have their turn again.
const ANSWERS: usize = 64;

/// Everything a listener needs to know.
pub struct ListenerConfig {
    /// Line A and line B.
    pub lines: [LineAddress; 2],
    /// The sockets' receive buffers and source filters.
    pub receiver: ReceiverOptions,
    /// The recovery services, at most [`MAX_SERVICES`].
    pub recovery: Vec<SocketAddr>,
    /// Who we are to them.
    pub client: ClientConfig,
    /// The own journal's directory.
    pub journal: PathBuf,
    /// How it is written.
    pub journal_config: JournalConfig,
    /// The ring for the programs on this host.
    pub ring: Option<RingPlace>,
    /// The arbiter's settings.
    pub arbiter: ArbiterConfig,
    /// The gap policy's settings; the number of services is taken from `recovery`.
    pub gaps: GapConfig,
    /// Hold each message until its moment.
    pub fair: Option<FairConfig>,
    /// What is done to the lines before the arbiter sees them, for tests.
    pub impair: Option<Spec>,
    /// The core to run on.
    pub cpu: Option<usize>,
    /// What to do when nothing arrives.
    pub idle: Idle,
    /// Return once a session is complete.
    pub until_end: bool,
}

/// Where a listener's ring is, and how large.
#[derive(Clone, Debug)]
pub struct RingPlace {
    /// The directory, on tmpfs. Each channel has a ring of its own in it.
    pub dir: PathBuf,
    /// Bytes of records, a power of two.
    pub capacity: usize,
}

/// Why a listener cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A line.
    #[error("line {line}: {source}")]
    Line {
        /// Which.
        line: Line,
        /// What is wrong.
        source: LineError,
    },
    /// The own journal.
    #[error("the listener's own journal: {0}")]
    Journal(#[from] JournalError),
    /// The ring.
    #[error("the ring for local programs: {0}")]
    Ring(#[from] RingError),
    /// The recovery thread.
    #[error("recovery: {0}")]
    Recovery(#[from] ClientError),
    /// Too many services.
    #[error("{0} recovery services are configured, at most {MAX_SERVICES} can be: leave some out")]
    TooManyServices(usize),
    /// The core.
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// A listener that is ready to run: joined to both lines, its journal open.
#[derive(Debug)]
pub struct Listener {
    receivers: Arc<[LineReceiver; 2]>,
    arbiter: Arbiter,
    policy: GapPolicy,
    output: Output,
    fetcher: Option<Fetcher>,
    states: StatePolicy,
    state_fetcher: Option<StateFetcher>,
    /// What the state fetcher's progress was when it was last looked at.
    state_progress: u64,
    impairer: Option<Impairer>,
    chase: Chase,
    /// Turns of the line thread.
    turns: u64,
    window: usize,
    live: Live,
    cpu: Option<usize>,
    idle: Idle,
    until_end: bool,
    /// When the session was complete.
    ended_at: Option<u64>,
    start: Instant,
    buffer: Box<[u8]>,
}

impl Listener {
    /// Opens the own journal, joins both lines, starts the recovery thread.
    ///
    /// # Errors
    /// What cannot be opened, and why.
    pub fn open(config: &ListenerConfig) -> Result<Self, ListenError> {
        if config.recovery.len() > MAX_SERVICES {
            return Err(ListenError::TooManyServices(config.recovery.len()));
        }
        let receiver = |line: Line| {
            LineReceiver::open(&config.lines[line.index()], &config.receiver)
                .map_err(|source| ListenError::Line { line, source })
        };
        // The lines first: where they are wrong no journal is made.
        let receivers = Arc::new([receiver(Line::A)?, receiver(Line::B)?]);
        let journal = JournalWriter::open(&config.journal, config.journal_config.clone())?;
        let mut record = Record::new(journal, config.arbiter.channel, config.arbiter.max_packet);
        let mut arbiter = Arbiter::new(config.arbiter, record.position(), 0);
        if record.is_incomplete() {
            arbiter.resume_incomplete();
        }
        let mut ring_stats = None;
        if let Some(place) = &config.ring {
            let ring = RingWriter::create(
                &place.dir,
                &RingConfig {
                    channel: config.arbiter.channel,
                    capacity: place.capacity,
                    max_packet: config.arbiter.max_packet,
                    journal: config.journal.clone(),
                },
            )?;
            ring_stats = Some(ring.stats());
            record.set_ring(ring);
        }
        let policy = GapPolicy::new(GapConfig {
            services: config.recovery.len(),
            ..config.gaps
        });
        let max_packet = config.arbiter.max_packet;
        let states = StatePolicy::new(StateConfig::new(
            config.recovery.len(),
            &config.journal_config.retention,
            config.journal_config.segment_size,
        ));
        let (fetcher, state_fetcher) = if config.recovery.is_empty() {
            (None, None)
        } else {
            (
                Some(Fetcher::start(&config.client, &config.recovery, max_packet)?),
                Some(StateFetcher::start(
                    &config.client,
                    &config.recovery,
                    &config.journal,
                )?),
            )
        };
        Ok(Self {
            live: Live::new(
                Arc::clone(&receivers),
                &arbiter,
                &policy,
                record.watch(),
                ring_stats,
            ),
            chase: Chase::default(),
            turns: 0,
            window: config.arbiter.window,
            receivers,
            arbiter,
            policy,
            output: Output::new(record, config.fair),
            fetcher,
            states,
            state_fetcher,
            state_progress: 0,
            impairer: config.impair.map(Impairer::new),
            cpu: config.cpu,
            idle: config.idle,
            until_end: config.until_end,
            ended_at: None,
            start: Instant::now(),
            buffer: vec![0; max_packet].into_boxed_slice(),
        })
    }

    /// The counters, for other threads.
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// Where it goes on.
    pub fn position(&self) -> Position {
        self.arbiter.position()
    }

    /// Runs on this thread until `stop` is set or, with `until_end`, until a session is complete. What was delivered is
    /// in the journal then, and durable.
    ///
    /// # Errors
    /// If the journal cannot take more. The lines are left then; a restart goes on where it stopped.
    pub fn run(mut self, stop: &AtomicBool) -> Result<Report, ListenError> {
        if let Some(core) = self.cpu {
            pin(core)?;
        }
        self.poll_lines_until(stop);
        self.release_held();
        let synced = self.output.record.sync();
        self.live.clone().finish(|report| self.fill(report));
        if let Some(error) = self.output.record.error.take() {
            return Err(error.into());
        }
        synced?;
        Ok(self.live.report())
    }

    fn poll_lines_until(&mut self, stop: &AtomicBool) {
        let mut preferred = Line::A;
        let mut empty = 0;
        let (mut gaps_at, mut missing_at, mut report_at) = (0, 0, 0);
        while !stop.load(Ordering::Relaxed) && self.output.record.error.is_none() {
            let now = self.now();
            self.turns += 1;
            let look_at_other = empty % OTHER_LINE == 0;
            let mut worked = self.output.release(now);
            self.release_impaired(now);
            let first = self.poll_line(preferred, now);
            if first || look_at_other {
                let other = self.poll_line(preferred.other(), now);
                // The line that alone had something is polled first from now on.
                if other && !first {
                    preferred = preferred.other();
                }
                worked |= other;
            }
            worked |= first | self.take_answers(now);
            if now >= gaps_at {
                gaps_at = now + GAP_TURN;
                self.look_after_gaps(now);
                if self.until_end && self.is_done(now) {
                    break;
                }
            }
            if now >= missing_at && self.arbiter.is_missing_something() {
                self.ask_for_gaps(now);
                let looked_at = self.arbiter.window_len() + self.policy.open_gaps();
                missing_at = now + MISSING_TURN + MISSING_SHARE * looked_at as u64;
            }
            if now >= report_at {
                report_at = now + REPORT_TURN;
                self.look_after_clock(now);
                self.chase(now);
                self.live.clone().update(|report| self.fill(report));
            }
            if worked {
                empty = 0;
            } else {
                empty = empty.wrapping_add(1);
                self.idle.idle(self.longest_sleep());
            }
        }
        self.release_impaired(u64::MAX);
    }

    /// What is held still has its moment, although nothing is polled any more: at most twice the hold away.
    fn release_held(&mut self) {
        while let Some(wait) = self.output.wait()
            && self.output.record.error.is_none()
        {
            self.idle.idle(wait);
            self.output.release(self.now());
        }
    }

    /// How long the thread may sleep while nothing comes, in nanoseconds.
    fn longest_sleep(&self) -> u64 {
        let waits = self.impairer.is_some()
            || self.policy.open_gaps() > 0
            || self.arbiter.is_missing_something()
            || self.states.is_asking();
        let longest = if waits { GAP_TURN } else { QUIET_TURN };
        let delayed = self.impairer.as_ref().and_then(Impairer::next);
        let delayed = delayed.map_or(longest, |at| at.saturating_sub(self.now()));
        longest.min(delayed).min(self.output.wait().unwrap_or(longest))
    }

    /// True once a session is complete and both lines have said so too, or had their time to.
    fn is_done(&mut self, now: u64) -> bool {
        let position = self.arbiter.position();
        if !position.ended || self.arbiter.is_between() {
            self.ended_at = None;
            return false;
        }
        let ended_at = *self.ended_at.get_or_insert(now);
        now - ended_at > LINE_END_PATIENCE || (0..2).all(|line| self.arbiter.line_high(line) >= position.next)
    }

    /// Takes one datagram of a line; true if there was one.
    #[inline]
    fn poll_line(&mut self, line: Line, now: u64) -> bool {
        let Some(length) = self.receivers[line.index()].recv(&mut self.buffer) else {
            return false;
        };
        let bytes = &self.buffer[..length];
        let (arbiter, output) = (&mut self.arbiter, &mut self.output);
        match &mut self.impairer {
            None => arbiter.on_packet(origin(line), bytes, now, output),
            Some(impairer) => impairer.push(line, bytes, now, &mut |line, bytes| {
                arbiter.on_packet(origin(line), bytes, now, output);
            }),
        }
        true
    }

    fn look_after_gaps(&mut self, now: u64) {
        self.output.record.beat();
        self.arbiter.tick(now, &mut self.output);
        self.ask_for_gaps(now);
        self.look_after_state(now);
    }

    fn ask_for_gaps(&mut self, now: u64) {
        let fetcher = &self.fetcher;
        self.policy
            .tick(&mut self.arbiter, now, &mut self.output, |request| {
                if let Some(fetcher) = fetcher {
                    fetcher.ask(request);
                }
            });
    }

    /// Asks for a state where one is wanted, and takes what came.
    fn look_after_state(&mut self, now: u64) {
        let Some(fetcher) = &self.state_fetcher else {
            return;
        };
        let (arbiter, states, output) = (&mut self.arbiter, &mut self.states, &mut self.output);
        while let Some(event) = fetcher.event() {
            match event {
                StateEvent::Connected { id } => {
                    if let Some(request) = states.on_connected(id, arbiter, now) {
                        fetcher.ask(request);
                    }
                }
                StateEvent::Ready { id, state } => {
                    if !states.on_state(id, state, arbiter, output.record.bytes, now, output) {
                        fetcher.discard(state);
                    }
                }
                StateEvent::Failed { id, failure } => states.on_failed(id, failure, arbiter, now, output),
            }
        }
        let progress = fetcher.progress();
        if progress != self.state_progress {
            self.state_progress = progress;
            states.on_progress(now);
        }
        if let Some(place) = output.record.take_replaced() {
            failpoint::hit("state.named");
            fetcher.named(place);
        }
        // Naming one removes other files, and ends a fetch: it comes first, also where its notice is held.
        if !output.holds_state() {
            let written = output.record.bytes;
            states.tick(arbiter, written, now, output, |connect| fetcher.connect(connect));
        }
    }

    /// Says so in the stream where the clock that messages are released by becomes implausible, or plausible again.
    fn look_after_clock(&mut self, now: u64) {
        if self.arbiter.position().session != 0
            && let Some((state, offset)) = self.output.watch_clock(now)
        {
            self.arbiter.say_clock(state, offset, &mut self.output);
        }
    }

    /// Lets go what the impairer has held back until `now`.
    fn release_impaired(&mut self, now: u64) {
        let (arbiter, output) = (&mut self.arbiter, &mut self.output);
        if let Some(impairer) = &mut self.impairer {
            impairer.poll(now, &mut |line, bytes| {
                arbiter.on_packet(origin(line), bytes, now, output)
            });
        }
    }

    /// Takes what the recovery thread has; true if there was anything.
    fn take_answers(&mut self, now: u64) -> bool {
        let Some(fetcher) = &self.fetcher else {
            return false;
        };
        let (arbiter, policy, output) = (&mut self.arbiter, &mut self.policy, &mut self.output);
        for taken in 0..ANSWERS {
            let Some(answer) = fetcher.answer() else {
                return taken > 0;
            };
            match answer {
                Answer::Connected { service } => policy.on_connected(service),
                Answer::Disconnected { service } => policy.on_disconnected(service),
                Answer::Packet {
                    request,
                    buffer,
                    length,
                } => {
                    // The recovery client has checked it.
                    if let Ok(packet) = Packet::trusted_prefix(&buffer[..length]) {
                        arbiter.on_valid(Origin::Recovery, packet, now, output);
                    }
                    policy.on_progress(request, now);
                    fetcher.give_back(buffer);
                }
                Answer::Reject { request, refusal } => {
                    policy.on_reject(request, refusal, arbiter, now, output)
                }
                Answer::Complete { request } => policy.on_complete(request),
                Answer::Head {
                    session,
                    epoch,
                    epoch_base,
                    next,
                } => {
                    arbiter.on_service_head(session, epoch, epoch_base, next, output);
                }
            }
        }
        true
    }

    /// Looks how far delivery is behind what is known to exist.
    fn chase(&mut self, now: u64) {
        let Position { session, next, .. } = self.arbiter.position();
        // Between two sessions, the next one is behind as a whole.
        let end = match self.arbiter.is_between() {
            true => (self.arbiter.wanted_session(), u64::MAX),
            false => (session, self.arbiter.known_end()),
        };
        self.chase.look((session, next), end, now);
    }

    fn fill(&self, report: &mut Report) {
        report.turns = self.turns;
        report.standing = Standing {
            behind: self.arbiter.known_end() - self.arbiter.position().next,
            caught_up: self.chase.is_caught_up(self.now()),
            stale: self.arbiter.is_stale(),
            stalled: self.arbiter.stalled(),
            incomplete: self.arbiter.is_incomplete(),
            awaits_state: self.arbiter.is_held() || self.arbiter.awaits_state(),
        };
        report.window = [self.arbiter.window_len(), self.window];
        copy(&mut report.gap_fill_times, self.policy.fill_times());
        for (report, behind) in report.line_behind.iter_mut().zip(self.arbiter.line_behind()) {
            copy(report, behind);
        }
        report.position = self.arbiter.position();
        report.arbiter = *self.arbiter.stats();
        report.lines = self.arbiter.line_stats();
        report.gaps = *self.policy.stats();
        report.open_gaps = self.policy.open_gaps();
        report.notices = self.output.record.notices;
        report.bytes = self.output.record.bytes;
        self.output.fill(&mut report.fair);
        copy(&mut report.latency, &self.output.record.latency);
        report.impairer = self
            .impairer
            .as_ref()
            .map(|impairer| Line::ALL.map(|line| impairer.fates(line)));
        if let Some(fetcher) = &self.fetcher {
            let stats = fetcher.stats();
            report.queues = fetcher.queues();
            report.recovery_connected = stats.connected();
            report.recovery_failures = stats.failures.load(Ordering::Relaxed);
            report.recovery_bad_packets = stats.bad_packets.load(Ordering::Relaxed);
        }
        report.states = *self.states.stats();
        if let Some(fetcher) = &self.state_fetcher {
            report.state_trouble = fetcher.last_trouble();
        }
    }

    /// Nanoseconds since the listener was opened.
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

fn copy(to: &mut Histogram<u64>, from: &Histogram<u64>) {
    to.reset();
    // Same bounds: nothing is out of range.
    let _ = to.add(from);
}

fn origin(line: Line) -> Origin {
    match line {
        Line::A => Origin::LineA,
        Line::B => Origin::LineB,
    }
}
