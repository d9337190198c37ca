//! A publisher's configuration, and what can go wrong.

use core::time::Duration;
use std::path::PathBuf;
use twinline_journal::JournalError;
use twinline_journal::epoch::EpochError;
use twinline_wire::header::{ALIGN, DEFAULT_PACKET_LEN, MAX_PACKET_LEN};

/// The smallest packet limit: any one market message and its position fit it.
pub const MIN_PACKET_LIMIT: usize = 192;

/// How a publisher publishes.
#[derive(Clone, Debug)]
pub struct PublisherConfig {
    /// Most bytes in a packet: a multiple of 64, [`MIN_PACKET_LIMIT`] to [`MAX_PACKET_LEN`].
    pub packet_limit: usize,
    /// A heartbeat is sent when nothing was sent for this long.
    pub heartbeat_interval: Duration,
    /// Before the first packet of a session or epoch, only heartbeats are sent for this long, so that receivers know it
    /// and count what the lines lose from the first message on.
    pub lead_in: Duration,
    /// Time between heartbeats during the lead-in and after the end of the session.
    pub announce_interval: Duration,
    /// How long heartbeats go on after the end of the session.
    pub linger: Duration,
    /// The publisher's name, for SessionStart: 16 bytes of it are kept.
    pub name: String,
    /// The trading date for SessionStart, as YYYYMMDD.
    pub trading_date: Option<u32>,
    /// What source times count from for SessionStart, in nanoseconds since the Unix epoch; `None`: midnight of the
    /// venue's day.
    pub source_time_origin: Option<u64>,
    /// Most packets that are sent in one piece while more waits, as far as one send can carry them; 1: each is sent on its
    /// own, as soon as it is full.
    pub burst: usize,
    /// The source number of what [`Publisher::publish`](super::Publisher::publish) is given.
    pub source: u16,
}

impl Default for PublisherConfig {
    fn default() -> Self {
        Self {
            packet_limit: DEFAULT_PACKET_LEN,
            heartbeat_interval: Duration::from_millis(100),
            lead_in: Duration::from_millis(300),
            announce_interval: Duration::from_millis(20),
            linger: Duration::from_secs(3),
            name: "twinline".into(),
            trading_date: None,
            source_time_origin: None,
            burst: usize::MAX,
            source: 0,
        }
    }
}

impl PublisherConfig {
    /// Checks it against the packet size that the journal was made for.
    pub(super) fn check(&self, max_packet: usize) -> Result<(), PublishError> {
        let limit = self.packet_limit;
        if !limit.is_multiple_of(ALIGN) || !(MIN_PACKET_LIMIT..=MAX_PACKET_LEN).contains(&limit) {
            return Err(PublishError::PacketLimit { limit });
        }
        if limit > max_packet {
            return Err(PublishError::JournalPacket { limit, max_packet });
        }
        Ok(())
    }
}

/// Durations reach the state machine as nanoseconds.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The configured packet limit cannot be.
    #[error("packet limit {limit}: use a multiple of {ALIGN} from {MIN_PACKET_LIMIT} to {MAX_PACKET_LEN}")]
    PacketLimit {
        /// What was configured.
        limit: usize,
    },
    /// The journal's packets are smaller than those configured.
    #[error(
        "packet limit {limit}: the journal was made for {max_packet}; use that or less, or a new journal"
    )]
    JournalPacket {
        /// What was configured.
        limit: usize,
        /// What the journal takes.
        max_packet: usize,
    },
    /// One source event is larger than a packet. It was not published, nothing else is affected.
    #[error(
        "a source event of more than {limit} bytes does not fit a packet: raise the packet limit (up to {MAX_PACKET_LEN})"
    )]
    EventTooLarge {
        /// Most bytes that an event's messages may take.
        limit: usize,
    },
    /// Session, epoch and position messages and notices are not the caller's to publish.
    #[error("{name} is not a market message: only market messages can be published")]
    NotMarketData {
        /// The template.
        name: &'static str,
    },
    /// No sequences are reserved. What was committed stands; publishing can go on once some are.
    #[error(
        "publishing stopped at sequence {next}: no sequences are reserved beyond {end} ({trouble}); \
         make the epoch store reachable and start again"
    )]
    OutOfReserve {
        /// The next sequence.
        next: u64,
        /// The reserved end.
        end: u64,
        /// What the epoch store said.
        trouble: String,
    },
    /// Another publisher has taken the channel over.
    #[error(
        "publishing stopped at sequence {next}: another publisher took over channel {channel} in session {session} \
         after epoch {epoch}; do not start this one again while that one runs"
    )]
    Deposed {
        /// The channel.
        channel: u16,
        /// This publisher's session.
        session: u32,
        /// This publisher's epoch.
        epoch: u32,
        /// The next sequence it would have used.
        next: u64,
    },
    /// The journal takes no more. What was committed was sent.
    #[error("publishing stopped: {0}")]
    Journal(#[from] JournalError),
    /// It stopped because of an earlier error.
    #[error("publishing stopped earlier because of an error: start the publisher again")]
    Stopped,
    /// The session is over.
    #[error("session {session} has ended: start a new session to publish more")]
    Ended {
        /// The session.
        session: u32,
    },
}

/// Why a publisher cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The journal cannot be opened, read or cut.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The epoch store cannot be opened, or does not grant an epoch.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// The configuration cannot be.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The journal no longer holds the session from its beginning.
    #[error(
        "{}: session {session} is kept only from sequence {oldest} on: what its sources are to be resumed at is not known; \
         start a new session", dir.display()
    )]
    Incomplete {
        /// The journal.
        dir: PathBuf,
        /// The session.
        session: u32,
        /// The oldest sequence kept.
        oldest: u64,
    },
    /// Where sources are to be resumed cannot be written down.
    #[error("cannot write {}: {cause}: free space there, or change its permissions", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The system starts no thread.
    #[error("cannot start the control thread: {0}")]
    Thread(std::io::Error),
}
