//! Twinline: the publisher with its journal and both lines, and what a listener does with them: poll, arbitrate, look after
//! gaps, write the own journal. All parts are those of the daemons; only their loop is here, so that it can stop between
//! two slices.

use crate::Failure;
use crate::ends::{Message, Receiving, SIZE, Sending};
use std::path::Path;
use std::sync::Arc;
use twinline_feed::lines::NetworkLines;
use twinline_feed::publisher::{self, Opened, Publisher, PublisherConfig, Reserver};
use twinline_feed::run::unix_now;
use twinline_feed::source::EventSink;
use twinline_journal::epoch::Holder;
use twinline_journal::{JournalConfig, JournalWriter, Prepare, Retention, SyncPolicy};
use twinline_line::{LineAddress, LineReceiver, ReceiverOptions, SenderOptions};
use twinline_listener::arbiter::Notice;
use twinline_listener::{Arbiter, ArbiterConfig, Delivery, GapConfig, GapPolicy, LinePoller, Record, Sink};
use twinline_wire::header::DEFAULT_PACKET_LEN;
use twinline_wire::market::Imbalance;
use twinline_wire::{Message as _, Optional, Price};

/// As the daemon's: the gap policy looks at the gaps this often, in nanoseconds.
const GAP_TURN: u64 = 200_000;
/// Turns between two looks of the publisher at whether a heartbeat is due.
const TICK_TURN: u32 = 64;
/// Messages of a piece of a source: as many as a packet holds, or so.
const PIECE: u64 = 16;
/// A line may be silent for this long, in nanoseconds: while others are measured it is.
const STALL: u64 = 600_000_000_000;
/// Sequences to reserve at once: all that a run uses, as the thread that reserves more may find no core free.
const SEQUENCES: u64 = 1 << 36;
/// The source number of what is published.
const SOURCE: u16 = 0;

// The message that is nearest to what the others send, with its header: 8 + 55 bytes behind the length of its frame.
const _: () = assert!(Imbalance::FRAME_LEN.abs_diff(SIZE) <= 1);

/// The publisher.
pub(crate) struct TwinlineSend {
    publisher: Publisher<NetworkLines>,
    _reserver: Option<Reserver>,
    message: Imbalance,
    position: u64,
    /// The time as of the last look.
    now: u64,
    turns: u32,
}

/// A listener.
pub(crate) struct TwinlineReceive {
    poller: LinePoller,
    arbiter: Arbiter,
    gaps: GapPolicy,
    record: Record,
    gaps_at: u64,
}

fn journal_config() -> JournalConfig {
    JournalConfig {
        channel: 1,
        max_packet: DEFAULT_PACKET_LEN,
        segment_size: 64 << 20,
        sync: SyncPolicy::None,
        retention: Retention {
            segments: Some(4),
            ..Retention::default()
        },
        prepare: Prepare::Thread,
    }
}

/// A publisher on `lines`, its journal in `dir`.
pub(crate) fn sender(dir: &Path, lines: &[LineAddress; 2]) -> Result<TwinlineSend, Failure> {
    let place = publisher::Place {
        journal: dir.join("publisher"),
        journal_config: journal_config(),
        store: dir.join("epochs.json"),
        session: None,
        holder: Holder {
            host: "peers".into(),
            boot: "peers".into(),
        },
        block: SEQUENCES,
    };
    let lines = NetworkLines::open(&lines[0], &lines[1], [SenderOptions::default(); 2])?;
    let Opened {
        publisher, reserver, ..
    } = publisher::open(PublisherConfig::default(), &place, lines, unix_now())?;
    let price = Optional::some(Price::new(101_250_000_000));
    Ok(TwinlineSend {
        publisher,
        _reserver: reserver,
        message: Imbalance {
            imbalance_quantity: 300.into(),
            far_price: price,
            near_price: price,
            reference_price: price,
            instrument: 1.into(),
            ..Imbalance::NULL
        },
        position: 0,
        now: unix_now(),
        turns: 0,
    })
}

/// A listener on `lines`, its journal in `dir`.
pub(crate) fn receiver(dir: &Path, lines: &[LineAddress; 2]) -> Result<TwinlineReceive, Failure> {
    let journal = JournalWriter::open(&dir.join("listener"), journal_config())?;
    let config = ArbiterConfig {
        stall: STALL,
        ..ArbiterConfig::default()
    };
    let open = |line| LineReceiver::open(line, &ReceiverOptions::default(), config.max_packet);
    let receivers = [open(&lines[0])?, open(&lines[1])?];
    Ok(TwinlineReceive {
        poller: LinePoller::new(receivers, config.max_packet),
        arbiter: Arbiter::new(config, None, 0),
        gaps: GapPolicy::new(GapConfig::default()),
        record: Record::new(journal, config.channel, config.max_packet),
        gaps_at: 0,
    })
}

impl TwinlineSend {
    #[inline]
    fn write(&mut self, message: Message) {
        self.message.source_time = message.due.into();
        self.message.paired_quantity = message.number.into();
        self.position += 1;
    }
}

impl Sending for TwinlineSend {
    #[inline]
    fn send(&mut self, message: Message) -> Result<bool, Failure> {
        self.write(message);
        self.publisher.publish(&self.message, unix_now())?;
        Ok(true)
    }

    #[inline]
    fn push(&mut self, message: Message) -> Result<bool, Failure> {
        self.write(message);
        // As the publisher's own loop does, which looks once a piece of its source.
        if self.position.is_multiple_of(PIECE) {
            self.now = unix_now();
        }
        let (message, position) = (&self.message, self.position);
        self.publisher.event(self.now, |sink| {
            sink.push(message);
            sink.end_event(SOURCE, position);
        })?;
        Ok(true)
    }

    #[inline]
    fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.publisher.flush(unix_now())?)
    }

    #[inline]
    fn turn(&mut self) -> Result<(), Failure> {
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(TICK_TURN) {
            self.now = unix_now();
            self.publisher.tick(self.now)?;
        }
        Ok(())
    }
}

/// Hands on what is in the journal.
struct Delivered<'a, F> {
    record: &'a mut Record,
    took: &'a mut F,
}

impl<F: FnMut(Option<Message>)> Sink for Delivered<'_, F> {
    #[inline]
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        self.record.deliver(delivery);
        let messages = delivery.packet.messages();
        let (skip, take) = (usize::from(delivery.skip), usize::from(delivery.take));
        for (_, frame) in messages.skip(skip).take(take) {
            if let Some(message) = frame.view::<Imbalance>() {
                let (due, number) = (message.source_time.get(), message.paired_quantity.get());
                (self.took)(Some(Message { due, number }));
            }
        }
    }

    fn notice(&mut self, notice: &Notice) {
        self.record.notice(notice);
    }
}

impl Receiving for TwinlineReceive {
    #[inline]
    fn poll(&mut self, now: u64, took: &mut impl FnMut(Option<Message>)) -> Result<(), Failure> {
        let (arbiter, record) = (&mut self.arbiter, &mut self.record);
        self.poller.poll(now, false, |line, bytes| {
            let next = arbiter.position().next;
            arbiter.on_packet(line.into(), bytes, now, &mut Delivered { record, took });
            arbiter.position().next != next
        });
        if now >= self.gaps_at {
            self.gaps_at = now + GAP_TURN;
            let mut sink = Delivered { record, took };
            arbiter.tick(now, &mut sink);
            self.gaps.tick(arbiter, now, &mut sink, |_| {});
        }
        match self.record.error.take() {
            None => Ok(()),
            Some(error) => Err(error.into()),
        }
    }
}
