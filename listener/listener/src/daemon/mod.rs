//! The listener daemon: one thread polls both lines and runs the arbiter, the gap policy and the own journal; another
//! talks to the recovery services. Here is what it is made of; `turns` is what the thread does, `fill` what it says of it.

mod fill;
mod turns;

use crate::arbiter::{Arbiter, ArbiterConfig, Position};
use crate::chase::Chase;
use crate::fair::{FairConfig, FairReport};
use crate::fetch::Fetcher;
use crate::gaps::{GapConfig, GapPolicy, MAX_SERVICES};
use crate::join::{StateConfig, StateFetcher, StatePolicy};
use crate::output::Output;
use crate::poller::LinePoller;
use crate::record::Record;
use crate::report::{Live, Report};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use twinline_feed::run::{Idle, PinError, pin};
use twinline_journal::{JournalConfig, JournalError, JournalWriter};
use twinline_line::impair::{Impairer, Spec};
use twinline_line::{Line, LineAddress, LineError, LineReceiver, ReceiverOptions};
use twinline_recovery::client::{ClientConfig, ClientError};
use twinline_ring::{RingConfig, RingError, RingWriter};

/// Empty polls of a thread that spins before it looks at the clock and at all else: what comes is found sooner the less
/// there is between two polls.
const SPINS: u32 = 8;

/// Everything a listener needs to know.
pub struct ListenerConfig {
    /// Line A and line B.
    pub lines: [LineAddress; 2],
    /// How lines A and B are received.
    pub receiver: [ReceiverOptions; 2],
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
    poller: LinePoller,
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
    /// Polls of the lines in a turn, while they have nothing.
    polls: u32,
    until_end: bool,
    /// When the session was complete.
    ended_at: Option<u64>,
    start: Instant,
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
        let max_packet = config.arbiter.max_packet;
        let receiver = |line: Line| {
            let at = line.index();
            LineReceiver::open(&config.lines[at], &config.receiver[at], max_packet)
                .map_err(|source| ListenError::Line { line, source })
        };
        // The lines first: where they are wrong no journal is made.
        let receivers = [receiver(Line::A)?, receiver(Line::B)?];
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
        // Fair release and the impairer have something to do at a moment of their own.
        let spins = config.idle == Idle::Spin && config.fair.is_none() && config.impair.is_none();
        Ok(Self {
            live: Live::new(
                receivers.each_ref().map(|receiver| Arc::clone(receiver.state())),
                &arbiter,
                &policy,
                record.watch(),
                ring_stats,
                config.fair.map(|_| FairReport::default()),
                state_fetcher.as_ref().map(StateFetcher::trouble),
            ),
            chase: Chase::default(),
            turns: 0,
            window: config.arbiter.window,
            poller: LinePoller::new(receivers, max_packet),
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
            polls: if spins { SPINS } else { 1 },
            until_end: config.until_end,
            ended_at: None,
            start: Instant::now(),
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

    /// Nanoseconds since the listener was opened.
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}
