//! What the tests of this package share: packets and journals to serve, and events that outlive their bytes.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod pair;

use std::path::Path;
use twinline_journal::{JournalConfig, JournalWriter, Prepare, Retention, SyncPolicy};
use twinline_recovery::ClientEvent;
use twinline_recovery::client::CloseReason;
use twinline_wire::field::{CompleteStatus, LogoutReason, LossReason, Optional, Price, RejectCode, Side};
use twinline_wire::header::flags;
use twinline_wire::market::AddOrder;
use twinline_wire::session::{EndOfSession, EpochStart, LineEvent, Lost, SessionStart, SourcePosition};
use twinline_wire::{Message, OpenPacket, Packet, Stamp};

pub(crate) const CHANNEL: u16 = 7;
pub(crate) const SECOND: u64 = 1_000_000_000;

/// A publisher in small: writes whole packets, one after the other, into a journal.
pub(crate) struct Feed {
    pub(crate) writer: JournalWriter,
    pub(crate) session: u32,
    pub(crate) epoch: u32,
    pub(crate) base: u64,
    pub(crate) next: u64,
}

impl Feed {
    pub(crate) fn open(dir: &Path, segment_size: usize, retention: Retention) -> Self {
        let config = JournalConfig {
            channel: CHANNEL,
            max_packet: 1408,
            segment_size,
            sync: SyncPolicy::None,
            retention,
            prepare: Prepare::Inline,
        };
        let writer = JournalWriter::open(dir, config).expect("a fresh directory");
        Self {
            writer,
            session: 0,
            epoch: 0,
            base: 1,
            next: 1,
        }
    }

    /// A journal of a few large segments that keeps everything.
    pub(crate) fn keeping(dir: &Path) -> Self {
        Self::open(
            dir,
            1 << 20,
            Retention {
                segments: None,
                bytes: None,
                age: None,
            },
        )
    }

    pub(crate) fn start_session(&mut self, session: u32) {
        self.writer.start_session().expect("a new session");
        (self.session, self.epoch, self.base, self.next) = (session, 1, 1, 1);
        let valid_end = self.next;
        self.epoch_start(valid_end);
    }

    /// A session whose start names the one before.
    pub(crate) fn start_session_after(&mut self, session: u32, previous: u32) {
        self.start_session(session);
        self.name_previous(previous);
    }

    /// A session of which nothing is left below `base`.
    pub(crate) fn begin_late(&mut self, session: u32, base: u64, previous: u32) {
        (self.session, self.epoch, self.base, self.next) = (session, 2, base, base);
        self.epoch_start(1);
        self.name_previous(previous);
    }

    /// A session that begins, as in a listener's journal, with a notice.
    pub(crate) fn begin_with_notice(&mut self, session: u32, previous: u32) {
        (self.session, self.epoch, self.base, self.next) = (session, 1, 1, 1);
        self.notice(&LineEvent::NULL);
        self.epoch_start(1);
        self.name_previous(previous);
    }

    fn name_previous(&mut self, previous: u32) {
        let start = SessionStart {
            previous: Optional::some(previous),
            ..SessionStart::NULL
        };
        self.packet(|packet, buffer| assert!(packet.push(buffer, &start)));
    }

    /// A takeover: a new epoch whose base is beyond what was published.
    pub(crate) fn start_epoch(&mut self, base: u64) {
        let valid_end = self.next;
        self.epoch += 1;
        (self.base, self.next) = (base, base);
        self.epoch_start(valid_end);
    }

    fn epoch_start(&mut self, valid_end: u64) {
        let epoch = self.epoch;
        self.packet(|packet, buffer| {
            assert!(packet.push(
                buffer,
                &EpochStart {
                    valid_end: valid_end.into(),
                    epoch: epoch.into()
                }
            ));
        });
    }

    /// Packets of so many messages, each saying its own sequence.
    pub(crate) fn publish(&mut self, packets: usize, messages: u64) {
        for _ in 0..packets {
            let next = self.next;
            self.packet(|packet, buffer| {
                for sequence in next..next + messages {
                    assert!(packet.push(
                        buffer,
                        &SourcePosition {
                            position: sequence.into(),
                            source: 1.into()
                        }
                    ));
                }
            });
        }
    }

    /// Packets of so many orders that enter, each under its sequence as its number.
    pub(crate) fn orders(&mut self, packets: usize, orders: u64) {
        for _ in 0..packets {
            let next = self.next;
            self.packet(|packet, buffer| {
                for sequence in next..next + orders {
                    assert!(packet.push(
                        buffer,
                        &AddOrder {
                            order_id: sequence.into(),
                            price: Price::new(1_000_000 * (1 + sequence as i64 % 37)),
                            quantity: (1 + sequence as u32 % 100).into(),
                            instrument: (1 << 16 | 1).into(),
                            side: if sequence % 2 == 0 { Side::BUY } else { Side::SELL },
                            ..AddOrder::NULL
                        }
                    ));
                }
            });
        }
    }

    /// A power cut after which the journal ends before `valid_end`, and the publisher that comes back.
    pub(crate) fn power_cut(&mut self, valid_end: u64, base: u64) {
        self.writer.discard_from(valid_end).expect("between two packets");
        self.next = valid_end;
        self.start_epoch(base);
    }

    pub(crate) fn end_session(&mut self) {
        self.packet(|packet, buffer| {
            assert!(packet.push(
                buffer,
                &EndOfSession {
                    source_messages: 0.into()
                }
            ));
        });
    }

    /// A listener's notice that it lost everything up to `end`.
    pub(crate) fn lose(&mut self, end: u64) {
        let lost = Lost {
            begin: self.next.into(),
            end: end.into(),
            reason: LossReason::TIMED_OUT,
        };
        self.notice(&lost);
        self.next = end;
    }

    fn notice<M: Message>(&mut self, message: &M) {
        let mut buffer = [0; 1408];
        let mut packet = OpenPacket::new();
        assert!(packet.push(&mut buffer, message));
        let stamp = Stamp {
            flags: flags::LOCAL,
            ..self.stamp()
        };
        let length = packet.finish_whole(&mut buffer, stamp, 0);
        self.writer
            .append(&buffer[..length])
            .expect("notices may stand anywhere");
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            flags: 0,
            channel: CHANNEL,
            session: self.session,
            epoch: self.epoch,
            epoch_base: self.base,
            sequence: self.next,
            sending_time: 1,
        }
    }

    fn packet(&mut self, fill: impl FnOnce(&mut OpenPacket, &mut [u8])) {
        let mut buffer = [0; 1408];
        let stamp = self.stamp();
        let mut packet = OpenPacket::new();
        fill(&mut packet, &mut buffer);
        let length = packet.finish_whole(&mut buffer, stamp, 0);
        self.writer.append(&buffer[..length]).expect("it follows");
        self.next += u64::from(packet.count());
    }
}

/// A [`ClientEvent`] that outlives its bytes. Packets are checked against what [`Feed`] writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Accepted {
        session: u32,
        oldest: u64,
        next: u64,
    },
    Packet {
        request: u32,
        session: u32,
        begin: u64,
        end: u64,
    },
    BadPacket,
    Part {
        request: u32,
        epoch: u32,
        sequence: u64,
        offset: u64,
        total: u64,
        bytes: Vec<u8>,
    },
    Reject {
        request: u32,
        begin: u64,
        end: u64,
        code: RejectCode,
        retry: u32,
        next_session: Option<u32>,
    },
    Complete {
        request: u32,
        status: CompleteStatus,
    },
    CaughtUp,
    Heartbeat {
        session: u32,
        next: u64,
    },
    Logout(LogoutReason),
    Closed(&'static str),
}

impl From<ClientEvent<'_>> for Got {
    fn from(event: ClientEvent<'_>) -> Self {
        match event {
            ClientEvent::Accepted {
                session,
                oldest,
                next,
                ..
            } => Self::Accepted {
                session,
                oldest,
                next,
            },
            ClientEvent::Packet { request_id, packet } => {
                check_content(&packet);
                Self::Packet {
                    request: request_id,
                    session: packet.header().session.get(),
                    begin: packet.sequence(),
                    end: packet.end(),
                }
            }
            ClientEvent::BadPacket { .. } => Self::BadPacket,
            ClientEvent::SnapshotPart {
                request_id,
                epoch,
                sequence,
                total,
                offset,
                bytes,
                ..
            } => Self::Part {
                request: request_id,
                epoch,
                sequence,
                offset,
                total,
                bytes: bytes.to_vec(),
            },
            ClientEvent::Reject {
                request_id,
                begin,
                end,
                code,
                retry_after_ms,
                next_session,
                reason,
                ..
            } => {
                assert!(!reason.is_empty(), "a reject says why");
                Self::Reject {
                    request: request_id,
                    begin,
                    end,
                    code,
                    retry: retry_after_ms,
                    next_session,
                }
            }
            ClientEvent::CaughtUp { .. } => Self::CaughtUp,
            ClientEvent::Complete { request_id, status } => Self::Complete {
                request: request_id,
                status,
            },
            ClientEvent::Heartbeat { session, next, .. } => Self::Heartbeat { session, next },
            ClientEvent::Closed {
                reason: CloseReason::Logout { reason, .. },
            } => Self::Logout(reason),
            ClientEvent::Closed { reason } => Self::Closed(match reason {
                CloseReason::Logout { .. } => unreachable!("matched above"),
                CloseReason::Protocol(_) => "protocol",
                CloseReason::Silent => "silent",
                CloseReason::Disconnected => "disconnected",
                CloseReason::Unreachable => "unreachable",
            }),
        }
    }
}

pub(crate) fn check_content(packet: &Packet<'_>) {
    for (sequence, frame) in packet.messages() {
        if let Some(position) = frame.view::<SourcePosition>() {
            assert_eq!(position.position.get(), sequence);
        }
    }
}

/// What one request was answered with: sequences had, and parts refused with their codes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answered {
    /// Merged ranges of sequences had, in the order they came.
    pub(crate) had: Vec<(u64, u64)>,
    pub(crate) refused: Vec<(u64, u64, RejectCode)>,
    pub(crate) status: Option<CompleteStatus>,
}

impl Answered {
    /// Of all events those of this request.
    pub(crate) fn of(request: u32, events: &[Got]) -> Self {
        let mut answered = Self::default();
        for event in events {
            match event.clone() {
                Got::Packet {
                    request: of,
                    begin,
                    end,
                    ..
                } if of == request => match answered.had.last_mut() {
                    Some(last) if last.1 == begin => last.1 = end,
                    _ => answered.had.push((begin, end)),
                },
                Got::Reject {
                    request: of,
                    begin,
                    end,
                    code,
                    ..
                } if of == request => {
                    answered.refused.push((begin, end, code));
                }
                Got::Complete { request: of, status } if of == request => {
                    assert_eq!(answered.status, None, "a request completes once");
                    answered.status = Some(status);
                }
                _ => {}
            }
        }
        answered
    }
}
