//! What stands before a record's messages, or a notice: the same from the ring and from the journal.

use twinline_ring::{Kind, Origin, Record};
use twinline_wire::header::{PacketHeader, flags};

/// What stands before a record's messages, or a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) session: u32,
    pub(crate) epoch: u32,
    pub(crate) epoch_base: u64,
    pub(crate) sequence: u64,
    pub(crate) sending_time: u64,
    pub(crate) receive_time: Option<u64>,
    pub(crate) origin: Option<Origin>,
    /// Where the journal ends behind it.
    pub(super) location: Option<u64>,
}

impl Head {
    pub(super) const NOTHING: Self = Self {
        kind: Kind::Notice,
        session: 0,
        epoch: 0,
        epoch_base: 0,
        sequence: 0,
        sending_time: 0,
        receive_time: None,
        origin: None,
        location: None,
    };

    #[inline]
    pub(super) fn of_packet(header: &PacketHeader) -> Self {
        Self {
            kind: match header.flags & flags::LOCAL {
                0 => Kind::Messages,
                _ => Kind::Notice,
            },
            session: header.session.get(),
            epoch: header.epoch.get(),
            epoch_base: header.epoch_base.get(),
            sequence: header.sequence.get(),
            sending_time: header.sending_time.get(),
            receive_time: None,
            origin: None,
            location: None,
        }
    }

    #[inline]
    pub(super) fn of_record(record: &Record<'_>) -> Self {
        Self {
            kind: record.kind,
            session: record.session,
            epoch: record.epoch,
            epoch_base: record.epoch_base,
            sequence: record.sequence,
            sending_time: record.sending_time,
            receive_time: Some(record.receive_time),
            origin: Some(record.origin),
            location: record.location,
        }
    }
}
