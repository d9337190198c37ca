//! The floor: as many full packets as the barest program can send on both lines, and the barest that takes them.
//!
//! One thread, on the publisher's core, writes each packet once for each line and calls the kernel as ours does: through AF_XDP
//! for a burst, through sockets for a packet. Another, on the listener's core, spins on both lines, looks at a packet's number,
//! and counts. No parsing, no journal, no checksum, no arbiter, and nobody fills what was lost: that is counted too.

use crate::harness::bare::{BareReceiver, BareSender, number_of, set_number, socket};
use crate::harness::bed::{BedConfig, own_group};
use crate::harness::error::BenchError;
use crate::harness::threads::{join, spawn};
use std::net::UdpSocket;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use twinline_line::{Burst, Io};
use twinline_wire::header::DEFAULT_PACKET_LEN;

/// The cables of the floor's lines: an interface's queue has one AF_XDP socket.
pub(super) const CABLES: [&str; 2] = ["floor-a", "floor-b"];
/// Where nothing has come for so long, nothing more will.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flood {
    /// Packets that were sent, each on both lines.
    pub(super) sent: u64,
    /// Packets that came, of both lines together.
    pub(super) received: u64,
    /// From before the first one was sent until the last one was there.
    took: Duration,
}

impl Flood {
    /// Packets a second that came on a line: the mean of both.
    pub(super) fn rate(&self) -> f64 {
        self.received as f64 / 2.0 / self.took.as_secs_f64()
    }
}

/// The sending end of a line.
trait Mouth: Send {
    /// Sends a packet once with each of these numbers. What is refused never comes.
    fn send(&mut self, packet: &mut [u8], numbers: Range<u64>);
}

/// The receiving end of a line.
trait Ear: Send {
    /// Tells the numbers of some packets, if any are there; true if so.
    fn hear(&mut self, tell: impl FnMut(u64)) -> bool;
}

impl Mouth for UdpSocket {
    #[inline]
    fn send(&mut self, packet: &mut [u8], numbers: Range<u64>) {
        for number in numbers {
            set_number(packet, number);
            let _ = Self::send(self, packet);
        }
    }
}

impl Mouth for BareSender {
    #[inline]
    fn send(&mut self, packet: &mut [u8], numbers: Range<u64>) {
        self.send_burst(packet, numbers);
    }
}

impl Ear for UdpSocket {
    #[inline]
    fn hear(&mut self, mut tell: impl FnMut(u64)) -> bool {
        let mut packet = [0; DEFAULT_PACKET_LEN];
        let there = self.recv(&mut packet).is_ok();
        if there {
            tell(number_of(&packet));
        }
        there
    }
}

impl Ear for BareReceiver {
    #[inline]
    fn hear(&mut self, mut tell: impl FnMut(u64)) -> bool {
        self.receive_all(|packet| tell(number_of(packet)))
    }
}

/// Sends for `span`, over [`CABLES`] and through what `config` says.
///
/// # Errors
/// If an end cannot be opened, or a core cannot be had.
pub(super) fn run(config: &BedConfig, span: Duration) -> Result<Flood, BenchError> {
    let [a, b] = &[0, 1].map(|line| own_group(CABLES[line], line as u8));
    match config.io {
        Io::Socket => flood(
            config,
            span,
            config.publishing(|| Ok([socket(a, false)?, socket(b, false)?]))?,
            config.listening(|| Ok([socket(a, true)?, socket(b, true)?]))?,
        ),
        _ => flood(
            config,
            span,
            config.publishing(|| Ok([BareSender::open(a)?, BareSender::open(b)?]))?,
            config.listening(|| Ok([BareReceiver::open(a)?, BareReceiver::open(b)?]))?,
        ),
    }
}

fn flood(
    config: &BedConfig,
    span: Duration,
    mut mouths: [impl Mouth; 2],
    mut ears: [impl Ear; 2],
) -> Result<Flood, BenchError> {
    let burst = match config.bursts {
        true => Burst::most(DEFAULT_PACKET_LEN) as u64,
        false => 1,
    };
    let [publisher, listener] = [0, 1].map(|which| config.cores.map(|cores| cores[which]));
    let (ready, sent) = (AtomicBool::new(false), AtomicU64::new(u64::MAX));
    thread::scope(|scope| {
        let hearing = spawn(scope, "floor-hears", listener, || {
            ready.store(true, Ordering::Release);
            Ok(hear(&mut ears, &sent))
        })?;
        while !ready.load(Ordering::Acquire) && !hearing.is_finished() {
            thread::yield_now();
        }
        let sending = spawn(scope, "floor-sends", publisher, || {
            Ok(send(&mut mouths, burst, span, &sent))
        })?;
        let began = join(sending)?;
        let (received, last) = join(hearing)?;
        Ok(Flood {
            sent: sent.load(Ordering::Acquire),
            received,
            took: last.saturating_duration_since(began),
        })
    })
}

/// Sends packets in bursts for `span`, tells how many, and says when the first one went.
fn send(mouths: &mut [impl Mouth; 2], burst: u64, span: Duration, sent: &AtomicU64) -> Instant {
    let (began, mut next) = (Instant::now(), 0);
    let mut packet = [0x5a; DEFAULT_PACKET_LEN];
    while began.elapsed() < span {
        for mouth in &mut *mouths {
            mouth.send(&mut packet, next..next + burst);
        }
        next += burst;
    }
    sent.store(next, Ordering::Release);
    began
}

/// Counts what comes until all that was sent has, or nothing does any more; and says when the last packet was there.
fn hear(ears: &mut [impl Ear; 2], sent: &AtomicU64) -> (u64, Instant) {
    let (mut received, mut next, mut last) = (0, [0; 2], Instant::now());
    loop {
        let mut any = false;
        for (ear, next) in ears.iter_mut().zip(&mut next) {
            any |= ear.hear(|number| {
                received += 1;
                *next = number.wrapping_add(1);
            });
        }
        if any {
            last = Instant::now();
            continue;
        }
        let end = sent.load(Ordering::Acquire);
        if next.iter().all(|&next| next >= end) || last.elapsed() > PATIENCE {
            return (received, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::hosts::{Hosts, missing};
    use std::sync::Arc;

    #[test]
    fn the_floor_counts_what_comes_of_what_it_sends_and_ends() {
        if let Some(why) = missing() {
            assert!(std::env::var_os("CI").is_none(), "in CI this must run: {why}");
            return;
        }
        let hosts = Arc::new(Hosts::new(&CABLES).expect("veth pairs"));
        // The second time nothing of the first is left that could be counted.
        for (io, bursts) in [(Io::Xdp, true), (Io::Socket, false), (Io::Xdp, true)] {
            let config = BedConfig {
                io,
                bursts,
                ..BedConfig::default()
            };
            let flood =
                run(&config.between(&hosts), Duration::from_millis(20)).expect("both ends of both lines");
            assert!(flood.received > 0, "{io:?}: {flood:?}");
            assert!(flood.received <= 2 * flood.sent, "{io:?}: {flood:?}");
            assert!(flood.rate() > 0.0, "{io:?}: {flood:?}");
        }
    }
}
