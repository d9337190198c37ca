//! The lane against the whole way: whatever comes, in whatever order, nobody can tell which of the two a packet took.

use super::lane::Lane;
use super::tests::{A, B, FIRST, Make, R};
use super::*;
use twinline_wire::field::{ClockState, LossReason};

/// Numbers without end, the same in every run (SplitMix64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Everything that came out, to the last field.
#[derive(Debug, Default)]
struct Log(Vec<String>);

impl Sink for Log {
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        let header = delivery.packet.header();
        self.0.push(format!(
            "{}/{}/{} {}..{} of {} by {:?}, waited {}",
            header.session,
            header.epoch,
            header.epoch_base,
            delivery.begin(),
            delivery.end(),
            delivery.packet.sequence(),
            delivery.origin,
            delivery.waited
        ));
    }

    fn notice(&mut self, notice: &Notice) {
        self.0.push(format!("{notice:?}"));
    }
}

/// What a publisher sends over some sessions, with epochs that cut the stream, heartbeats and packets that overlap.
fn published(noise: &mut Noise) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for session in 1..=1 + noise.below(3) as u32 {
        let mut make = Make { session, ..FIRST };
        let mut next = 2;
        packets.push(make.start(1));
        for _ in 0..5 + noise.below(60) {
            match noise.below(32) {
                0 | 1 => packets.push(make.padded(next, noise.next(), 64 * noise.below(3) as usize)),
                // One that contradicts itself.
                4 => packets.push(
                    Make {
                        base: make.base + 1,
                        ..make
                    }
                    .ticks(next.max(make.base + 1), next + 3),
                ),
                2 => {
                    let valid_end = next - noise.below(next.min(6));
                    let (epoch, base) = (make.epoch + 1, next + noise.below(4));
                    make = Make { epoch, base, ..make };
                    packets.push(make.start(valid_end));
                    next = base + 1;
                }
                // A publisher that was started again packs what it sends in another way.
                3 if next > make.base + 3 => packets.push(make.ticks(next - 2, next)),
                _ => {
                    let end = next + 1 + noise.below(5);
                    packets.push(make.ticks(next, end));
                    next = end;
                }
            }
        }
        if noise.below(4) > 0 {
            packets.push(make.end(next));
            packets.push(make.heartbeat(next + 1, noise.next()));
            if noise.below(2) == 0 {
                // No publisher does this.
                packets.push(make.ticks(next + 1, next + 3));
            }
        }
    }
    packets
}

/// Both arbiters, and what came out of them.
struct Pair {
    arbiters: [Arbiter; 2],
    logs: [Log; 2],
    /// Packets that found the lane open.
    open: u64,
}

impl Pair {
    fn new(noise: &mut Noise) -> Self {
        let config = ArbiterConfig {
            window: 8,
            leap: 60,
            stall: 5_000,
            patience: 50_000,
            start: [
                StartAt::Beginning,
                StartAt::Beginning,
                StartAt::Live,
                StartAt::Sequence(7),
                StartAt::Snapshot,
            ][noise.below(5) as usize],
            ..ArbiterConfig::default()
        };
        let position = (noise.below(4) == 0).then(|| Position {
            session: 1,
            epoch: 1,
            epoch_base: 1,
            next: 1 + noise.below(20),
            ended: false,
        });
        let arbiter = |no_lane| {
            let mut arbiter = Arbiter::new(config, position, 0);
            arbiter.no_lane = no_lane;
            arbiter
        };
        Self {
            arbiters: [arbiter(false), arbiter(true)],
            logs: Default::default(),
            open: 0,
        }
    }

    fn each(&mut self, step: impl Fn(&mut Arbiter, &mut Log)) {
        for (arbiter, log) in self.arbiters.iter_mut().zip(&mut self.logs) {
            step(arbiter, log);
        }
    }

    fn bring(&mut self, origin: Origin, bytes: &[u8], now: u64) {
        self.open += u64::from(self.arbiters[0].lane != Lane::CLOSED);
        self.each(|arbiter, log| match origin {
            R => {
                if let Ok(packet) = Packet::parse(bytes) {
                    arbiter.on_valid(R, packet, now, log);
                }
            }
            line => arbiter.on_packet(line, bytes, now, log),
        });
    }

    /// What a service says, what a policy decides, what a snapshot brings: anything at all.
    fn disturb(&mut self, noise: &mut Noise, now: u64) {
        let (what, some) = (noise.below(13), noise.below(12));
        self.each(|arbiter, log| {
            let Position {
                session,
                epoch,
                epoch_base,
                next,
                ..
            } = arbiter.position();
            let span = Span::new(next, next + 1 + some);
            match what {
                0 => arbiter.declare_lost(span, LossReason::TIMED_OUT, log),
                1 if some == 0 => arbiter.close_void(session, Span::new(next + 5, u64::MAX), log),
                1 => arbiter.close_void(session, Span::new(next + some / 2, next + some), log),
                2 => arbiter.on_service_head(session, epoch, epoch_base.max(1), next + some, log),
                3 => _ = arbiter.stop_for_state(some),
                4 => arbiter.go_on(log),
                5 => arbiter.begin_without_state(log),
                6 => {
                    let state = State {
                        session,
                        epoch,
                        epoch_base,
                        sequence: next + some,
                        file: 1,
                    };
                    arbiter.replace_state(state, log);
                }
                7 => arbiter.pass_sessions(arbiter.wanted_session() + 1, log),
                8 => arbiter.miss_sessions(None, LossReason::TIMED_OUT, log),
                9 => _ = arbiter.withdraw_announced(),
                10 => arbiter.resume_incomplete(),
                11 => arbiter.say_clock(ClockState::PLAUSIBLE, None, log),
                _ if some == 0 => arbiter.declare_lost(Span::new(next, u64::MAX), LossReason::TIMED_OUT, log),
                _ => arbiter.tick(now, log),
            }
        });
    }

    fn compare(&mut self, seed: u64) {
        let [lane, whole] = &self.arbiters;
        let state = |arbiter: &Arbiter| {
            let mut missing = Vec::with_capacity(64);
            arbiter.missing(&mut missing);
            format!(
                "{:?} {} {:?} {:?} {:?} {} {} {:?} {:?} {} {} {missing:?}",
                arbiter.position(),
                arbiter.highest(),
                arbiter.line_stats(),
                [0, 1].map(|line| arbiter.line_high(line)),
                arbiter.stats(),
                arbiter.known_end(),
                arbiter.waiting(),
                arbiter.stalled(),
                arbiter
                    .line_behind()
                    .each_ref()
                    .map(|times| (times.len(), times.max())),
                arbiter.is_stale(),
                arbiter.is_missing_something(),
            )
        };
        assert_eq!(self.logs[0].0, self.logs[1].0, "seed {seed}");
        assert_eq!(state(lane), state(whole), "seed {seed}");
        self.logs.iter_mut().for_each(|log| log.0.clear());
    }
}

#[test]
fn a_packet_that_takes_the_lane_does_what_the_whole_way_would_have_done() {
    let (mut brought, mut open) = (0, 0);
    for seed in 0..1_500 {
        let mut noise = Noise(seed);
        let packets = published(&mut noise);
        let mut pair = Pair::new(&mut noise);
        let (mut now, mut at, calm) = (0, [0_usize; 2], noise.below(4) > 0);
        // Some of the runs lose much and are disturbed much.
        let loss = if calm { 40 } else { 5 };
        while at.iter().any(|&at| at < packets.len()) {
            now += noise.below(200);
            let line = noise.below(2) as usize;
            let origin = [A, B][line];
            match noise.below(loss) {
                0 => at[line] += noise.below(3) as usize,
                1 => {
                    let back = at[line].saturating_sub(noise.below(12) as usize);
                    if let Some(bytes) = packets.get(back) {
                        let origin = if noise.below(2) == 0 { R } else { origin };
                        pair.bring(origin, bytes, now);
                    }
                }
                2 if noise.below(3) == 0 => pair.disturb(&mut noise, now),
                3 if noise.below(8) == 0 => now += 20_000,
                4 => pair.each(|arbiter, log| arbiter.tick(now, log)),
                _ => {
                    if let Some(bytes) = packets.get(at[line]) {
                        let mut bytes = bytes.clone();
                        if noise.below(200) == 0 {
                            let byte = noise.below(bytes.len() as u64) as usize;
                            bytes[byte] ^= 1;
                        }
                        pair.bring(origin, &bytes, now);
                        brought += 1;
                    }
                    at[line] += 1;
                }
            }
            pair.compare(seed);
        }
        // Recovery completes what can be completed.
        for bytes in &packets {
            pair.bring(R, bytes, now);
            pair.compare(seed);
        }
        open += pair.open;
    }
    assert!(
        open * 3 > brought,
        "too few packets find the lane open: {open} of {brought}"
    );
}
