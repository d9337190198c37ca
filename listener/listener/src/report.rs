//! What a listener says about itself while it runs and when it ends.

use crate::arbiter::{Arbiter, ArbiterStats, DropCounts, Position};
use crate::fair::FairReport;
use crate::gaps::{GapPolicy, GapStats};
use crate::join::{StateStats, Trouble};
use crate::lines::LineStats;
use crate::record::{NoticeCounts, latency_histogram};
use hdrhistogram::Histogram;
use std::sync::{Arc, Mutex, PoisonError};
use twinline_journal::{JournalCounts, JournalWatch};
use twinline_line::impair::LineFates;
use twinline_line::{BufferReport, ReceiverCounts, ReceiverState, Transport};
use twinline_ring::{ReaderStatus, RingStats};

/// How a listener stands at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// Messages known to exist and not delivered.
    pub behind: u64,
    /// What was known to exist a second ago is delivered.
    pub caught_up: bool,
    /// Both lines are silent, and the session has not ended.
    pub stale: bool,
    /// Line A and line B: silent.
    pub stalled: [bool; 2],
    /// Messages are lost or void, and no state has replaced what they left.
    pub incomplete: bool,
    /// Delivery waits for a snapshot.
    pub awaits_state: bool,
}

/// The counters of a listener at one moment.
#[derive(Clone, Debug)]
pub struct Report {
    /// Turns of the line thread: it works while they grow.
    pub turns: u64,
    /// How it stands.
    pub standing: Standing,
    /// What is delivered next.
    pub position: Position,
    /// The arbiter's counters.
    pub arbiter: ArbiterStats,
    /// What each line brought and lost, in messages.
    pub lines: [LineStats; 2],
    /// What each socket took from the kernel, and what the kernel dropped.
    pub sockets: [ReceiverCounts; 2],
    /// What lines A and B go through.
    pub transports: [Transport; 2],
    /// Their receive buffers.
    pub buffers: [BufferReport; 2],
    /// The gap policy's counters.
    pub gaps: GapStats,
    /// Gaps open now.
    pub open_gaps: usize,
    /// Noticing a gap to its end, in nanoseconds, of each gap filled.
    pub gap_fill_times: Histogram<u64>,
    /// How much later a line brought a packet than the other line, in nanoseconds, of a sample.
    pub line_behind: [Histogram<u64>; 2],
    /// Early packets that wait in the window, and the most that can.
    pub window: [usize; 2],
    /// Requests to the recovery thread and its answers that wait, each with the most that can.
    pub queues: [[usize; 2]; 2],
    /// Notices given, by kind.
    pub notices: NoticeCounts,
    /// The ring for local programs, and who reads it.
    pub ring: Option<RingReport>,
    /// Bytes written to the own journal.
    pub bytes: u64,
    /// How the own journal is doing.
    pub journal: JournalCounts,
    /// Sending time to delivery, in nanoseconds, of each message delivered.
    pub latency: Histogram<u64>,
    /// Fair release and its clock, if messages are held until their moment.
    pub fair: Option<FairReport>,
    /// What the impairer did to each line, if there is one.
    pub impairer: Option<[LineFates; 2]>,
    /// Recovery services connected now.
    pub recovery_connected: u64,
    /// Recovery connections lost or refused.
    pub recovery_failures: u64,
    /// Packets from recovery services that were not intact.
    pub recovery_bad_packets: u64,
    /// The state policy's counters.
    pub states: StateStats,
    /// Why a state did not come, the last time.
    pub state_trouble: Option<String>,
}

/// A listener's ring at one moment.
#[derive(Clone, Debug)]
pub struct RingReport {
    /// Bytes of records that it holds.
    pub capacity: u64,
    /// Bytes of records written.
    pub written: u64,
    /// Who reads it.
    pub readers: Vec<ReaderStatus>,
    /// Times that readers were overrun, those that are gone included.
    pub overruns: u64,
    /// Messages that readers missed and will not have.
    pub missed: u64,
    /// Messages that readers missed in the ring and had from the journal.
    pub filled: u64,
}

impl From<&RingStats> for RingReport {
    fn from(stats: &RingStats) -> Self {
        Self {
            capacity: stats.capacity(),
            written: stats.written(),
            readers: stats.readers(),
            overruns: stats.overruns(),
            missed: stats.missed(),
            filled: stats.filled(),
        }
    }
}

impl Report {
    /// Messages delivered, whoever brought them.
    pub fn messages(&self) -> u64 {
        self.arbiter.delivered.iter().sum()
    }

    /// Packets dropped, by origin (line A, line B, recovery) and reason.
    pub fn dropped(&self) -> &[DropCounts; 3] {
        &self.arbiter.dropped
    }

    /// True if something was announced as lost, missed or void.
    pub fn is_incomplete(&self) -> bool {
        self.notices.lost > 0 || self.notices.void > 0 || self.notices.sessions_missed > 0
    }
}

/// A listener's counters, readable from any thread while it runs. The line thread brings them up to date about ten
/// times a second; what the kernel counts is asked for by the reader.
#[derive(Clone, Debug)]
pub struct Live {
    report: Arc<Mutex<Report>>,
    receivers: [Arc<ReceiverState>; 2],
    ring: Option<RingStats>,
    journal: JournalWatch,
    state_trouble: Option<Trouble>,
}

impl Live {
    pub(crate) fn new(
        receivers: [Arc<ReceiverState>; 2],
        arbiter: &Arbiter,
        gaps: &GapPolicy,
        journal: JournalWatch,
        ring: Option<RingStats>,
        fair: Option<FairReport>,
        state_trouble: Option<Trouble>,
    ) -> Self {
        let report = Report {
            turns: 0,
            standing: Standing::default(),
            position: arbiter.position(),
            arbiter: ArbiterStats::default(),
            lines: Default::default(),
            sockets: Default::default(),
            transports: receivers.each_ref().map(|line| line.transport().clone()),
            buffers: receivers.each_ref().map(|line| line.buffer()),
            gaps: GapStats::default(),
            open_gaps: 0,
            gap_fill_times: gaps.fill_times().clone(),
            line_behind: arbiter.line_behind().clone(),
            window: [0; 2],
            queues: [[0; 2]; 2],
            notices: NoticeCounts::default(),
            ring: None,
            bytes: 0,
            journal: journal.counts(),
            latency: latency_histogram(),
            fair,
            impairer: None,
            recovery_connected: 0,
            recovery_failures: 0,
            recovery_bad_packets: 0,
            states: StateStats::default(),
            state_trouble: None,
        };
        Self {
            report: Arc::new(Mutex::new(report)),
            receivers,
            ring,
            journal,
            state_trouble,
        }
    }

    /// The counters as they were at most a tenth of a second ago.
    pub fn report(&self) -> Report {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner).clone();
        report.journal = self.journal.counts();
        report.sockets = [self.receivers[0].counts(), self.receivers[1].counts()];
        report.ring = self.ring.as_ref().map(RingReport::from);
        report.state_trouble = self.state_trouble.as_ref().and_then(Trouble::last);
        report
    }

    /// Turns of the line thread, as they were at most a tenth of a second ago: it works while they grow.
    pub fn turns(&self) -> u64 {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).turns
    }

    /// Lets `change` bring the counters up to date, unless a reader holds them just now: the line thread never waits.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Report)) {
        if let Ok(mut report) = self.report.try_lock() {
            change(&mut report);
        }
    }

    /// [`update`](Self::update) for the last time: waits for readers.
    pub(crate) fn finish(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
