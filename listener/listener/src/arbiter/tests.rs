//! What the arbiter delivers, packet by packet: what the tests are made of. They are in the modules, by theme.

mod delivery;
mod epochs;
mod gaps;
mod sessions;
mod states;

use super::*;
use crate::gaps::{GapConfig, GapPolicy, Refusal};
use twinline_wire::Message;
use twinline_wire::field::{RejectCode, SessionState};
use twinline_wire::market::PriceTick;
use twinline_wire::packet::{OpenPacket, Stamp};
use twinline_wire::session::{EndOfSession, EpochStart};

pub(super) const A: Origin = Origin::LineA;
pub(super) const B: Origin = Origin::LineB;
pub(super) const R: Origin = Origin::Recovery;

/// What came out, in order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Out {
    pub(super) sequences: Vec<u64>,
    pub(super) notices: Vec<NoticeKind>,
}

impl Sink for Out {
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        assert!(delivery.take > 0);
        assert!(
            usize::from(delivery.skip) + usize::from(delivery.take) <= delivery.packet.messages().count()
        );
        self.sequences.extend(delivery.begin()..delivery.end());
    }

    fn notice(&mut self, notice: &Notice) {
        self.notices.push(notice.kind);
    }
}

#[derive(Clone, Copy)]
pub(super) struct Make {
    pub(super) session: u32,
    pub(super) epoch: u32,
    pub(super) base: u64,
}

pub(super) const FIRST: Make = Make {
    session: 1,
    epoch: 1,
    base: 1,
};

impl Make {
    pub(super) fn stamp(self, sequence: u64) -> Stamp {
        Stamp {
            channel: 1,
            session: self.session,
            epoch: self.epoch,
            epoch_base: self.base,
            sequence,
            sending_time: sequence,
            ..Stamp::default()
        }
    }

    pub(super) fn ticks(self, begin: u64, end: u64) -> Vec<u8> {
        let mut buffer = vec![0; 8896];
        let mut open = OpenPacket::new();
        (begin..end).for_each(|_| assert!(open.push(&mut buffer, &PriceTick::NULL)));
        let length = open.finish_whole(&mut buffer, self.stamp(begin), 0);
        buffer.truncate(length);
        buffer
    }

    pub(super) fn one(self, sequence: u64, message: &impl Message) -> Vec<u8> {
        let mut buffer = vec![0; 1408];
        let mut open = OpenPacket::new();
        assert!(open.push(&mut buffer, message));
        let length = open.finish_whole(&mut buffer, self.stamp(sequence), 0);
        buffer.truncate(length);
        buffer
    }

    pub(super) fn start(self, valid_end: u64) -> Vec<u8> {
        self.one(
            self.base,
            &EpochStart {
                valid_end: valid_end.into(),
                epoch: self.epoch.into(),
            },
        )
    }

    pub(super) fn end(self, sequence: u64) -> Vec<u8> {
        self.one(
            sequence,
            &EndOfSession {
                source_messages: 0.into(),
            },
        )
    }

    pub(super) fn heartbeat(self, next: u64, time: u64) -> Vec<u8> {
        self.padded(next, time, 0)
    }

    /// A heartbeat of at least so many bytes.
    pub(super) fn padded(self, next: u64, time: u64, padded: usize) -> Vec<u8> {
        let mut buffer = vec![0; 256];
        let stamp = Stamp {
            sending_time: time,
            ..self.stamp(next)
        };
        let length = OpenPacket::new().finish_whole(&mut buffer, stamp, padded);
        buffer.truncate(length);
        buffer
    }
}

pub(super) fn arbiter() -> Arbiter {
    Arbiter::new(
        ArbiterConfig {
            max_packet: 8896,
            window: 64,
            ..ArbiterConfig::default()
        },
        None,
        0,
    )
}

/// An arbiter that has delivered the session's first `next - 1` messages.
pub(super) fn started(next: u64) -> (Arbiter, Out) {
    let (mut arbiter, mut out) = (arbiter(), Out::default());
    arbiter.on_packet(A, &FIRST.start(1), 0, &mut out);
    arbiter.on_packet(B, &FIRST.start(1), 0, &mut out);
    arbiter.on_packet(A, &FIRST.ticks(2, next), 0, &mut out);
    assert_eq!(out.sequences, (1..next).collect::<Vec<_>>());
    out.notices.clear();
    (arbiter, out)
}

pub(super) fn missing(arbiter: &Arbiter) -> Vec<Span> {
    let mut spans = Vec::with_capacity(64);
    arbiter.missing(&mut spans);
    spans
}

/// A part of a session that is held, refused.
pub(super) fn refusal(span: Span, code: RejectCode, retry_after: u64) -> Refusal {
    Refusal {
        span,
        code,
        retry_after,
        next_session: None,
    }
}

pub(super) fn policy(services: usize) -> GapPolicy {
    let mut policy = GapPolicy::new(GapConfig {
        services,
        ..GapConfig::default()
    });
    (0..services).for_each(|service| policy.on_connected(service));
    policy
}

/// Ticks the policy; the requests it makes, as (service, ranges).
pub(super) fn tick(
    policy: &mut GapPolicy,
    arbiter: &mut Arbiter,
    now: u64,
    out: &mut Out,
) -> Vec<(u32, usize, Vec<Span>)> {
    let mut requests = Vec::new();
    policy.tick(arbiter, now, out, |request| {
        requests.push((request.id, request.service, request.ranges().to_vec()))
    });
    requests
}
