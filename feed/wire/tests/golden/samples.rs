//! The messages that are kept as golden bytes: one of every template, from the opening of AAPL on 2012-06-21.

use twinline_wire::field::{
    ClockState, CompleteStatus, CrossKind, EventFlags, ImbalanceSide, LineName, LineState, LogoutReason,
    LossReason, ModifyAction, Optional, Price, RejectCode, SessionState, Side, Status, TailKind, Text,
    TradeKind,
};
use twinline_wire::header::{ALIGN, MAX_PACKET_LEN, align_up, flags};
use twinline_wire::market::{
    AddOrder, BestBidOffer, DeleteOrder, ExecuteOrder, Imbalance, InstrumentDefinition, ModifyOrder,
    PriceTick, ReplaceOrder, Trade, TradeCancel, TradingStatus, UnseenOrder,
};
use twinline_wire::message::Message;
use twinline_wire::recovery::{
    Acknowledge, Data, Login, LoginAccepted, Logout, PROTOCOL_VERSION, Range, RangesRequest, Reject,
    RequestComplete, SnapshotPart, SnapshotRequest, StreamHeartbeat, TailRequest,
};
use twinline_wire::session::{
    ClockEvent, EndOfSession, EpochStart, LineEvent, Lost, SessionEvent, SessionStart, SessionsMissed,
    SourcePosition, StateReplaced, Void,
};
use twinline_wire::stream::{put, put_with_data, put_with_ranges};
use twinline_wire::{OpenPacket, Stamp};

const SESSION: u32 = 20_120_621;
const TIME: u64 = 1_340_285_400_000_000_000;
/// 09:30:00.004241176 in nanoseconds since midnight.
const SOURCE_TIME: u64 = 34_200_004_241_176;
const AAPL: u32 = 1 << 16 | 14;

const STAMP: Stamp = Stamp {
    flags: 0,
    channel: 1,
    session: SESSION,
    epoch: 1,
    epoch_base: 1,
    sequence: 1,
    sending_time: TIME,
};

/// A packet that is being filled, with its buffer.
struct Filling {
    buffer: Vec<u8>,
    packet: OpenPacket,
}

impl Filling {
    fn new() -> Self {
        Self {
            buffer: vec![0; MAX_PACKET_LEN],
            packet: OpenPacket::new(),
        }
    }

    fn with<M: Message>(mut self, message: M) -> Self {
        assert!(
            self.packet.push(&mut self.buffer, &message),
            "a golden packet has room"
        );
        self
    }

    /// The packet, padded to `padded` bytes.
    fn finish(mut self, stamp: Stamp, padded: usize) -> Vec<u8> {
        let length = self.packet.finish_whole(&mut self.buffer, stamp, padded);
        self.buffer.truncate(length);
        self.buffer
    }
}

/// Packets as a journal holds them: each at a 64-byte boundary.
fn aligned(packets: Vec<Vec<u8>>) -> Vec<u8> {
    packets.into_iter().fold(Vec::new(), |mut all, packet| {
        all.extend(packet);
        all.resize(align_up(all.len()), 0);
        all
    })
}

/// A whole session in one packet: every template that the lines carry.
pub(crate) fn line_packet() -> Vec<u8> {
    let mut filling = session_and_status(Filling::new());
    filling = orders(filling);
    filling = trades_and_prices(filling)
        .with(SourcePosition {
            position: 92_003.into(),
            source: 1.into(),
        })
        .with(EndOfSession {
            source_messages: 92_003.into(),
        });
    let length = filling.packet.len();
    filling.finish(STAMP, length.next_multiple_of(ALIGN))
}

fn session_and_status(filling: Filling) -> Filling {
    filling
        .with(EpochStart {
            valid_end: 1.into(),
            epoch: 1.into(),
        })
        .with(SessionStart {
            trading_date: Optional::some(SESSION),
            source_time_origin: Optional::NONE,
            publisher: Text::new(b"golden"),
            previous: Optional::some(SESSION - 1),
        })
        .with(InstrumentDefinition {
            source_time: SOURCE_TIME.into(),
            instrument: AAPL.into(),
            symbol: Text::new(b"AAPL    "),
            lot_size: Optional::some(100),
            price_increment: Optional::NONE,
            source: 1.into(),
            market: Text::new(b"Q"),
            class: Text::new(b"NC"),
            flags: EventFlags::END_OF_EVENT,
        })
        .with(TradingStatus {
            source_time: SOURCE_TIME.into(),
            instrument: AAPL.into(),
            status: Status::TRADING,
            reason: Text::new(b"IPO1"),
            flags: EventFlags::END_OF_EVENT,
        })
}

fn orders(filling: Filling) -> Filling {
    filling
        .with(add_order())
        .with(ModifyOrder {
            source_time: (SOURCE_TIME + 1).into(),
            order_id: 16_113_575.into(),
            quantity: 5.into(),
            instrument: AAPL.into(),
            action: ModifyAction::REDUCE_BY,
            flags: EventFlags::END_OF_EVENT,
        })
        .with(ReplaceOrder {
            source_time: (SOURCE_TIME + 2).into(),
            order_id: 16_113_575.into(),
            new_order_id: 16_113_584.into(),
            price: Price::new(585_340_000_000),
            quantity: 13.into(),
            instrument: AAPL.into(),
            flags: EventFlags::END_OF_EVENT,
        })
        .with(ExecuteOrder {
            source_time: (SOURCE_TIME + 3).into(),
            order_id: 16_113_584.into(),
            match_id: u64::MAX.into(),
            price: Optional::some(Price::new(-10_000_000)),
            quantity: 1.into(),
            instrument: AAPL.into(),
            flags: EventFlags(EventFlags::END_OF_EVENT.0 | EventFlags::PRINTABLE.0),
        })
        .with(DeleteOrder {
            source_time: (SOURCE_TIME + 4).into(),
            order_id: 16_113_584.into(),
            instrument: AAPL.into(),
            flags: EventFlags(0),
        })
}

fn add_order() -> AddOrder {
    AddOrder {
        source_time: SOURCE_TIME.into(),
        order_id: 16_113_575.into(),
        price: Price::new(585_330_000_000),
        quantity: 18.into(),
        instrument: AAPL.into(),
        participant: Text::new(b"NSDQ"),
        side: Side::BUY,
        flags: EventFlags::END_OF_EVENT,
    }
}

fn trades_and_prices(filling: Filling) -> Filling {
    filling
        .with(Trade {
            source_time: (SOURCE_TIME + 5).into(),
            match_id: 77.into(),
            price: Price::new(585_350_000_000),
            quantity: 100.into(),
            instrument: AAPL.into(),
            side: Side(u8::MAX),
            kind: TradeKind::NON_DISPLAYED,
            flags: EventFlags::PRINTABLE,
        })
        .with(TradeCancel {
            source_time: (SOURCE_TIME + 6).into(),
            match_id: 77.into(),
            instrument: AAPL.into(),
            flags: EventFlags::END_OF_EVENT,
        })
        .with(Imbalance {
            source_time: (SOURCE_TIME + 7).into(),
            paired_quantity: 1_000.into(),
            imbalance_quantity: 250.into(),
            far_price: Optional::NONE,
            near_price: Optional::some(Price::new(585_000_000_000)),
            reference_price: Optional::some(Price::new(585_100_000_000)),
            instrument: AAPL.into(),
            side: ImbalanceSide::INSUFFICIENT,
            cross: CrossKind::OPENING,
            flags: EventFlags::END_OF_EVENT,
        })
        .with(BestBidOffer {
            source_time: (SOURCE_TIME + 8).into(),
            bid_price: Optional::some(Price::new(585_300_000_000)),
            offer_price: Optional::NONE,
            bid_quantity: 40.into(),
            offer_quantity: 0.into(),
            instrument: AAPL.into(),
            flags: EventFlags::END_OF_EVENT,
        })
        .with(PriceTick {
            source_time: (SOURCE_TIME + 9).into(),
            price: Price::new(1),
            quantity: Optional::NONE,
            instrument: AAPL.into(),
            flags: EventFlags::END_OF_EVENT,
        })
        .with(UnseenOrder {
            source_time: (SOURCE_TIME + 10).into(),
            order_id: 11.into(),
            price: Price::new(585_200_000_000),
            quantity: 18.into(),
            instrument: AAPL.into(),
            side: Side::SELL,
            flags: EventFlags::default(),
        })
}

/// The packet that `docs/protocol.md` explains: one source event and its position, padded.
pub(crate) fn documented_packet() -> Vec<u8> {
    let stamp = Stamp {
        sequence: 1_734,
        epoch: 2,
        epoch_base: 1_025,
        ..STAMP
    };
    Filling::new()
        .with(add_order())
        .with(SourcePosition {
            position: 1_702.into(),
            source: 1.into(),
        })
        .finish(stamp, 2 * ALIGN)
}

/// A heartbeat, and one after the end of the session.
pub(crate) fn heartbeats() -> Vec<u8> {
    let empty = |flags| {
        let stamp = Stamp {
            flags,
            sequence: 17,
            ..STAMP
        };
        Filling::new().finish(stamp, 0)
    };
    aligned(vec![empty(0), empty(flags::END_OF_SESSION)])
}

/// Each of a listener's notices, in a packet of its own.
pub(crate) fn notices() -> Vec<u8> {
    let stamp = Stamp {
        flags: flags::LOCAL,
        sequence: 17,
        ..STAMP
    };
    aligned(vec![
        Filling::new()
            .with(Lost {
                begin: 17.into(),
                end: 20.into(),
                reason: LossReason::TOO_OLD,
            })
            .finish(stamp, 0),
        Filling::new()
            .with(Void {
                begin: 15.into(),
                end: 17.into(),
                epoch: 2.into(),
            })
            .finish(stamp, 0),
        Filling::new()
            .with(StateReplaced {
                sequence: 1_000.into(),
                epoch: 2.into(),
                file: 3.into(),
            })
            .finish(stamp, 0),
        Filling::new()
            .with(LineEvent {
                time: TIME.into(),
                line: LineName::B,
                state: LineState::STALLED,
            })
            .finish(stamp, 0),
        Filling::new()
            .with(SessionEvent {
                time: TIME.into(),
                state: SessionState::EPOCH_STARTED,
            })
            .finish(stamp, 0),
        Filling::new()
            .with(SessionsMissed {
                begin: (SESSION - 3).into(),
                end: (SESSION - 1).into(),
                reason: LossReason::TOO_OLD,
            })
            .finish(stamp, 0),
        Filling::new()
            .with(ClockEvent {
                time: TIME.into(),
                state: ClockState::BEHIND,
                offset: Optional::some(250_000),
            })
            .finish(stamp, 0),
    ])
}

/// Appends one frame, which `put` writes.
fn frame(all: &mut Vec<u8>, put: impl FnOnce(&mut [u8]) -> Option<usize>) {
    let mut buffer = vec![0; 4096];
    let length = put(&mut buffer).expect("a golden frame has room");
    all.extend_from_slice(&buffer[..length]);
}

/// One frame of every template of the recovery protocol, one after the other.
pub(crate) fn stream() -> Vec<u8> {
    let mut all = Vec::new();
    login_and_ranges(&mut all);
    snapshot_and_tail(&mut all);
    all
}

fn login_and_ranges(all: &mut Vec<u8>) {
    let login = Login {
        protocol_version: PROTOCOL_VERSION.into(),
        channel: 1.into(),
    };
    frame(all, |out| put_with_data(out, &login, &[b"desk-7", b"secret"]));
    let accepted = LoginAccepted {
        session: SESSION.into(),
        epoch: 2.into(),
        epoch_base: 1_025.into(),
        oldest: 1.into(),
        next: 1_736.into(),
        max_ranges: 64.into(),
        max_requests: 4.into(),
        max_messages: 100_000.into(),
        idle_timeout_ms: 10_000.into(),
    };
    frame(all, |out| put_with_data(out, &accepted, &[]));
    let request = RangesRequest {
        request_id: 1.into(),
        session: SESSION.into(),
    };
    let ranges = [(1_734, 1_736), (90, 91)].map(|(begin, end)| Range {
        begin: begin.into(),
        end: end.into(),
    });
    frame(all, |out| put_with_ranges(out, &request, &ranges));
    let data = Data { request_id: 1.into() };
    let packets = documented_packet();
    frame(all, |out| put_with_data(out, &data, &[&packets]));
    let complete = RequestComplete {
        request_id: 1.into(),
        status: CompleteStatus::PARTIAL,
    };
    frame(all, |out| put(out, &complete, 0));
    let reject = Reject {
        request_id: 1.into(),
        session: SESSION.into(),
        begin: 90.into(),
        end: 91.into(),
        retry_after_ms: 0.into(),
        code: RejectCode::TOO_OLD,
        next_session: Optional::some(SESSION),
    };
    frame(all, |out| {
        put_with_data(out, &reject, &["kept from 100 on – not before".as_bytes()])
    });
}

fn snapshot_and_tail(all: &mut Vec<u8>) {
    let snapshot = SnapshotRequest {
        request_id: 2.into(),
        session: SESSION.into(),
        at_least: 1_025.into(),
    };
    frame(all, |out| put(out, &snapshot, 0));
    let part = SnapshotPart {
        request_id: 2.into(),
        session: SESSION.into(),
        epoch: 2.into(),
        sequence: 1_100.into(),
        total_length: 9.into(),
        offset: 4.into(),
    };
    frame(all, |out| put_with_data(out, &part, &[&[0, 1, 2, 253, 254]]));
    let tail = TailRequest {
        request_id: 3.into(),
        session: SESSION.into(),
        sequence: 1.into(),
        kind: TailKind::REPLICA,
    };
    frame(all, |out| put(out, &tail, 0));
    let acknowledge = Acknowledge {
        request_id: 3.into(),
        session: SESSION.into(),
        epoch: 2.into(),
        sequence: 1_736.into(),
    };
    frame(all, |out| put(out, &acknowledge, 0));
    let heartbeat = StreamHeartbeat {
        session: SESSION.into(),
        epoch: 2.into(),
        epoch_base: 1_025.into(),
        next: 1_736.into(),
    };
    frame(all, |out| put(out, &heartbeat, 0));
    let logout = Logout {
        reason: LogoutReason::DONE,
    };
    frame(all, |out| put_with_data(out, &logout, &[b"all filled"]));
}
