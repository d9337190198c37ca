//! Session, epoch and position messages, which are journalled and sequenced like all others, and the listener's
//! notices, which stand in its own stream only.

use crate::field::{ClockState, LineName, LineState, LossReason, Optional, SessionState, Text};
use crate::message::messages;
use crate::{U16, U32, U64};

messages! {
    /// The first message of an epoch, at the epoch's base. Cuts the stream: what older epochs put at or beyond
    /// `valid_end` is void, and `[valid_end, base)` never existed.
    EpochStart = 1 {
        /// The end (exclusive) of what older epochs validly published.
        valid_end: U64,
        /// The epoch that starts, as in the packet header.
        epoch: U32,
    }
    /// The second message of a session.
    SessionStart = 2 {
        /// The day, as YYYYMMDD.
        trading_date: Optional<U32>,
        /// What source times count from, in nanoseconds since the Unix epoch; absent: midnight of the venue's day.
        source_time_origin: Optional<U64>,
        /// The publisher's name.
        publisher: Text<16>,
        /// The channel's session before this one: no session between the two was published. Absent: the publisher knows
        /// of none.
        previous: Optional<U32>,
    }
    /// The last message of a session.
    EndOfSession = 3 {
        /// Source messages published in the session on this channel.
        source_messages: U64,
    }
    /// How far into a source the messages before this one reach: reading goes on from here.
    SourcePosition = 4 {
        /// The position, in the source's own count (for files: messages read).
        position: U64,
        /// The source.
        source: U16,
    }

    /// Notice: these sequences are lost; books are invalid until a snapshot replaces the state.
    Lost = 60 {
        /// First sequence lost.
        begin: U64,
        /// First sequence not lost.
        end: U64,
        /// Why.
        reason: LossReason,
    }
    /// Notice: these sequences were delivered and are void; the state is invalid until a snapshot replaces it.
    Void = 61 {
        /// First sequence that is void.
        begin: U64,
        /// First sequence that is not.
        end: U64,
        /// The epoch that cut them off.
        epoch: U32,
    }
    /// Notice: the state before the next message is the snapshot in this file, not what the messages before add up to.
    StateReplaced = 62 {
        /// The snapshot holds all valid messages below this sequence.
        sequence: U64,
        /// The snapshot's epoch.
        epoch: U32,
        /// Number of the snapshot's file.
        file: U64,
    }
    /// Notice: a line stalls or comes back.
    LineEvent = 63 {
        /// When, in nanoseconds since the Unix epoch.
        time: U64,
        /// Which.
        line: LineName,
        /// What.
        state: LineState,
    }
    /// Notice: a session starts or ends, or an epoch starts.
    SessionEvent = 64 {
        /// When, in nanoseconds since the Unix epoch.
        time: U64,
        /// What.
        state: SessionState,
    }
    /// Notice: the sessions with these numbers, as far as there were any, are missing before the session that begins
    /// here; books are invalid until it fills them.
    SessionsMissed = 65 {
        /// First session that is missing.
        begin: U32,
        /// First session that is not.
        end: U32,
        /// Why.
        reason: LossReason,
    }
    /// Notice: the clock that messages are released by becomes implausible, or plausible again.
    ClockEvent = 66 {
        /// When, in nanoseconds since the Unix epoch.
        time: U64,
        /// What.
        state: ClockState,
        /// Lowest receive time minus sending time of the last ten seconds, in nanoseconds, without its sign: below zero where
        /// the state is Behind. Absent: nothing came.
        offset: Optional<U64>,
    }
}
