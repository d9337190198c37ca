//! The recovery protocol's messages. A connection logs in, then asks for ranges, a snapshot or a tail; see
//! [`stream`](crate::stream) for how they are framed, and `docs/protocol.md` for the exchanges.

use crate::field::{CompleteStatus, LogoutReason, Optional, RejectCode, TailKind};
use crate::message::messages;
use crate::{U16, U32, U64};

/// Version of the recovery protocol.
pub const PROTOCOL_VERSION: u16 = 1;

messages! {
    /// Client to server, first. Data: the client's name, then its token (may be empty).
    Login = 100 {
        /// [`PROTOCOL_VERSION`].
        protocol_version: U16,
        /// The channel that it wants.
        channel: U16,
    }
    /// Server to client: welcome. What the service has, and what it allows.
    LoginAccepted = 101 {
        /// Newest session; 0 if there is none yet.
        session: U32,
        /// Its newest epoch.
        epoch: U32,
        /// That epoch's first sequence.
        epoch_base: U64,
        /// Oldest sequence of that session that is kept.
        oldest: U64,
        /// Next sequence to be released.
        next: U64,
        /// Ranges allowed in a request.
        max_ranges: U16,
        /// Requests allowed to be open at once.
        max_requests: U16,
        /// Messages sent for one request before it is answered as partial.
        max_messages: U32,
        /// The server closes after this silence, in milliseconds.
        idle_timeout_ms: U32,
    }
    /// Client to server: send these ranges. Group: [`Range`].
    RangesRequest = 102 {
        /// The client's number for it, repeated in each answer.
        request_id: U32,
        /// The session that all ranges are of.
        session: U32,
    }
    /// Server to client: whole original packets, each beginning at a multiple of 64 bytes of the data, as in the
    /// journal. Data: the packets.
    Data = 103 {
        /// The request.
        request_id: U32,
    }
    /// Server to client: the request is done.
    RequestComplete = 104 {
        /// The request.
        request_id: U32,
        /// In full or in part.
        status: CompleteStatus,
    }
    /// Server to client: this part of the request is refused. Data: the reason in words.
    Reject = 105 {
        /// The request; 0 for the login.
        request_id: U32,
        /// The session asked for.
        session: U32,
        /// First sequence refused.
        begin: U64,
        /// First sequence not refused.
        end: U64,
        /// Ask again after this many milliseconds; 0: asking again is of no use.
        retry_after_ms: U32,
        /// Why.
        code: RejectCode,
        /// Where nothing is held of the session: the next higher session of which something is.
        next_session: Optional<U32>,
    }
    /// Client to server: send a snapshot.
    SnapshotRequest = 106 {
        /// The client's number for it.
        request_id: U32,
        /// The session.
        session: U32,
        /// The snapshot must hold all valid messages below at least this sequence.
        at_least: U64,
    }
    /// Server to client: a part of a snapshot. Data: the bytes.
    SnapshotPart = 107 {
        /// The request.
        request_id: U32,
        /// The snapshot's session.
        session: U32,
        /// The snapshot's epoch.
        epoch: U32,
        /// The snapshot holds all valid messages below this sequence.
        sequence: U64,
        /// Bytes of the whole snapshot.
        total_length: U64,
        /// Where this part stands in it.
        offset: U64,
    }
    /// Client to server: send everything from here on, for ever.
    TailRequest = 108 {
        /// The client's number for it.
        request_id: U32,
        /// The session.
        session: U32,
        /// First sequence wanted.
        sequence: U64,
        /// What the client is.
        kind: TailKind,
    }
    /// Client to server: all below this sequence is held durably.
    Acknowledge = 109 {
        /// The tail's request.
        request_id: U32,
        /// The session.
        session: U32,
        /// Newest epoch held.
        epoch: U32,
        /// First sequence not held.
        sequence: U64,
    }
    /// Either way: still here. From the server also: how far the stream has got.
    StreamHeartbeat = 110 {
        /// Newest session; 0 from a client.
        session: U32,
        /// Its newest epoch; 0 from a client.
        epoch: U32,
        /// That epoch's first sequence; 0 from a client.
        epoch_base: U64,
        /// Next sequence to be released; 0 from a client.
        next: U64,
    }
    /// Either way: the connection closes. Data: the reason in words.
    Logout = 111 {
        /// Why.
        reason: LogoutReason,
    }
}

/// One entry of a [`RangesRequest`]: sequences `begin..end`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::KnownLayout,
    zerocopy::Immutable,
    zerocopy::Unaligned,
)]
#[repr(C)]
pub struct Range {
    /// First sequence wanted.
    pub begin: U64,
    /// First sequence not wanted.
    pub end: U64,
}
