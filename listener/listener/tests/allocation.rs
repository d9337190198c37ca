//! Fair release allocates nothing once it is made: counted by an allocator that counts.

use twinline_counting_allocator::{Counting, allocations};
use twinline_listener::arbiter::NoticeKind;
use twinline_listener::fair::{FairReport, Times};
use twinline_listener::{Delivery, FairConfig, FairRelease, Notice, Origin, Sink};
use twinline_wire::field::{LineName, LineState};
use twinline_wire::market::PriceTick;
use twinline_wire::{Message, OpenPacket, Packet, Stamp};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Default)]
struct Count {
    messages: u64,
    notices: u64,
}

impl Sink for Count {
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        self.messages += u64::from(delivery.take);
    }

    fn notice(&mut self, _: &Notice) {
        self.notices += 1;
    }
}

#[test]
fn holding_and_releasing_allocates_nothing() {
    let mut buffer = vec![0; 1408];
    let mut fair = FairRelease::new(FairConfig {
        hold: 100_000,
        buffer: 1 << 20,
    });
    let (mut count, mut report) = (Count::default(), FairReport::default());
    let notice = Notice {
        session: 1,
        epoch: 1,
        epoch_base: 1,
        next: 1,
        kind: NoticeKind::Line(LineName::A, LineState::STALLED),
    };
    let before = allocations();
    for n in 0..200_000_u64 {
        // Bursts fill the buffer, pauses empty it; some are late.
        let time = 1_000_000_000 + n * 20 + n / 10_000 * 300_000;
        let now = Times {
            real: time,
            mono: time,
        };
        let mut open = OpenPacket::new();
        for _ in 0..=n % 20 {
            open.push(&mut buffer, &PriceTick::NULL);
        }
        let stamp = Stamp {
            session: 1,
            epoch: 1,
            epoch_base: 1,
            sequence: 1 + 20 * n,
            sending_time: time - n % 3 * 60_000,
            ..Stamp::default()
        };
        let length = open.finish_whole(&mut buffer, stamp, 0);
        let packet = Packet::trusted_prefix(&buffer[..length]).expect("a packet made here");
        let delivery = Delivery {
            packet,
            skip: 0,
            take: packet.header().count.get(),
            origin: Origin::LineA,
            waited: false,
        };
        fair.release(now, &mut count);
        fair.deliver(&delivery, now, &mut count);
        if n % 50 == 0 {
            fair.notice(&notice, now, &mut count);
            fair.fill(&mut report);
        }
    }
    assert_eq!(allocations() - before, 0);
    let stats = fair.stats();
    assert!(
        stats.on_time > 0 && stats.late > 0 && stats.early_full > 0,
        "all of it happened: {stats:?}"
    );
}
