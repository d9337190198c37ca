//! What goes into and comes out of a client: its settings, what it tells, and why it refuses.

use std::time::Duration;
use twinline_wire::field::{CompleteStatus, LogoutReason, RejectCode};
use twinline_wire::stream::StreamError;
use twinline_wire::{Packet, PacketError};

/// Who the client is and how long it waits. The token is a secret, so this has no `Debug`.
#[derive(Clone)]
pub struct ClientConfig {
    /// The client's name, at most [`MAX_NAME_LEN`](crate::MAX_NAME_LEN) bytes.
    pub name: String,
    /// What lets it in, at most [`MAX_TOKEN_LEN`](crate::MAX_TOKEN_LEN) bytes; may be empty.
    pub token: String,
    /// The channel that it wants.
    pub channel: u16,
    /// The largest frame that it takes, in bytes: so much memory a service costs.
    pub max_frame: usize,
    /// The longest snapshot that it takes, in bytes.
    pub max_snapshot: u64,
    /// A heartbeat is sent after this long without anything else.
    pub heartbeat: Duration,
    /// A service that says nothing for this long is given up.
    pub silence: Duration,
}

impl ClientConfig {
    /// The defaults: frames of up to 1 MiB, snapshots of up to 4 GiB, a heartbeat each second, given up after five silent ones.
    pub fn new(name: impl Into<String>, channel: u16) -> Self {
        Self {
            name: name.into(),
            token: String::new(),
            channel,
            max_frame: (1 << 20) + 64,
            max_snapshot: 4 << 30,
            heartbeat: Duration::from_secs(1),
            silence: Duration::from_secs(5),
        }
    }
}

/// What a service said, or what became of it.
#[derive(Debug)]
pub enum ClientEvent<'a> {
    /// Let in: requests can be made from now on.
    Accepted {
        /// Newest session there; 0 if there is none yet.
        session: u32,
        /// Its newest epoch.
        epoch: u32,
        /// That epoch's first sequence.
        epoch_base: u64,
        /// Oldest sequence of that session that is kept.
        oldest: u64,
        /// Next sequence to be released.
        next: u64,
        /// Ranges allowed in a request.
        max_ranges: usize,
        /// Requests allowed to be open at once.
        max_requests: usize,
    },
    /// A packet, checked. It may reach beyond the range asked for at either side.
    Packet {
        /// The request that it answers.
        request_id: u32,
        /// The packet.
        packet: Packet<'a>,
    },
    /// A packet that is not good; what cannot be read after it in the same answer is left out too.
    BadPacket {
        /// The request that it answers.
        request_id: u32,
        /// What is wrong with it.
        error: PacketError,
    },
    /// A part of a snapshot. They come in order and without a hole, all of the same snapshot; what is in it the bytes
    /// themselves must prove.
    SnapshotPart {
        /// The request that it answers.
        request_id: u32,
        /// The snapshot's session.
        session: u32,
        /// The snapshot's epoch.
        epoch: u32,
        /// It holds all valid messages below this sequence.
        sequence: u64,
        /// Bytes of the whole snapshot.
        total: u64,
        /// Where in it the part stands.
        offset: u64,
        /// The part.
        bytes: &'a [u8],
    },
    /// This part of a request is refused.
    Reject {
        /// The request.
        request_id: u32,
        /// The session asked for.
        session: u32,
        /// First sequence refused.
        begin: u64,
        /// First sequence not refused.
        end: u64,
        /// Why.
        code: RejectCode,
        /// Ask again after this many milliseconds; 0: asking again is of no use.
        retry_after_ms: u32,
        /// Where the service holds nothing of the session: the next higher one of which it holds something.
        next_session: Option<u32>,
        /// Why, in words.
        reason: &'a str,
    },
    /// A tail has sent all that there was when this was said; it goes on. Comes once a tail.
    CaughtUp {
        /// The tail's request.
        request_id: u32,
    },
    /// The request is answered; its number is free again.
    Complete {
        /// The request.
        request_id: u32,
        /// In full or in part.
        status: CompleteStatus,
    },
    /// How far the service is.
    Heartbeat {
        /// Newest session there; 0 if there is none yet.
        session: u32,
        /// Its newest epoch.
        epoch: u32,
        /// That epoch's first sequence.
        epoch_base: u64,
        /// Next sequence to be released.
        next: u64,
    },
    /// The connection is over, and all requests open on it are forgotten. Comes once a connection or attempt.
    Closed {
        /// Why.
        reason: CloseReason<'a>,
    },
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason<'a> {
    /// The service said so.
    Logout {
        /// Why.
        reason: LogoutReason,
        /// Why, in words.
        text: &'a str,
    },
    /// The service broke the protocol.
    Protocol(StreamError),
    /// The service said nothing for too long.
    Silent,
    /// The connection was lost.
    Disconnected,
    /// No connection could be made.
    Unreachable,
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not logged in.
    #[error("not logged in: wait for the service to accept the login")]
    NotReady,
    /// A request without ranges, or with the number 0 or one that is open.
    #[error("request {0} has no ranges, or its number is 0 or still open")]
    Invalid(u32),
    /// More ranges than the service allows in one request.
    #[error("{asked} ranges in a request, the service allows {allowed}: split it")]
    TooManyRanges {
        /// Ranges in the request.
        asked: usize,
        /// Ranges allowed.
        allowed: usize,
    },
    /// A tail is open already, or none is.
    #[error("a connection has one tail: end it first; and only an open one of a replica is acknowledged")]
    Tail,
    /// As many requests are open as the service allows, or the connection takes no more bytes.
    #[error("{0} requests are open already: wait for one to complete")]
    Busy(usize),
}
