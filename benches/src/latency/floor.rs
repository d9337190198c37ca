//! The floor: the barest program for the same transport, bytes, clock reads and times. One thread sends on a connected
//! socket, another spins on its receiving one; or the same with the rings of AF_XDP.

use super::load::Send;
use super::measured::{Hearing, Times};
use crate::harness::bare::{BareReceiver, BareSender, number_of, set_number, socket};
use crate::harness::bed::{BedConfig, own_group};
use crate::harness::clock::Clock;
use crate::harness::error::BenchError;
use crate::harness::gaps::Gaps;
use crate::harness::result::Goal;
use crate::harness::slice::Slice;
use crate::harness::tie::{Tie, Ties};
use std::fmt::Debug;
use std::marker;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use twinline_feed::run::unix_now;
use twinline_wire::header::DEFAULT_PACKET_LEN;

/// What has not come after this is lost, in nanoseconds: nobody sends it again.
const PATIENCE: u64 = 100_000_000;

/// The sending end of the barest program.
pub(super) trait Mouth: Debug {
    /// Sends a packet. What is refused never comes, and counts as lost.
    fn send(&mut self, packet: &[u8]);
}

/// Its receiving end.
trait Ear {
    /// The number of a packet, if one is there.
    fn hear(&mut self) -> Option<u64>;
}

impl Mouth for UdpSocket {
    #[inline]
    fn send(&mut self, packet: &[u8]) {
        let _ = Self::send(self, packet);
    }
}

impl Mouth for BareSender {
    #[inline]
    fn send(&mut self, packet: &[u8]) {
        self.send(packet);
    }
}

impl Ear for (UdpSocket, [u8; DEFAULT_PACKET_LEN]) {
    #[inline]
    fn hear(&mut self) -> Option<u64> {
        self.0.recv(&mut self.1).ok().map(|_| number_of(&self.1))
    }
}

impl Ear for BareReceiver {
    #[inline]
    fn hear(&mut self) -> Option<u64> {
        self.receive(number_of)
    }
}

/// What a floor stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// What it is called: `floor`.
    pub(super) name: &'static str,
    /// What the ratio to it is to be, for the usual mix.
    pub(super) goal: Option<Goal>,
}

/// The sending end, and the thread with the receiving one.
#[derive(Debug)]
pub(super) struct Floor {
    pub(super) kind: Kind,
    clock: Clock,
    mouth: Box<dyn Mouth>,
    jobs: Option<Sender<Vec<u64>>>,
    heard: Receiver<Vec<u64>>,
    /// The receiving thread spins.
    ready: Arc<AtomicBool>,
    /// It is to end its slice.
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    packet: Vec<u8>,
    /// Times of the slice before, whose memory is used again.
    times: Vec<u64>,
    sent: Vec<Times>,
}

impl Floor {
    /// Through UDP sockets over this interface.
    pub(super) fn udp(
        kind: Kind,
        config: &BedConfig,
        interface: &str,
        clock: &Clock,
    ) -> Result<Self, BenchError> {
        let line = own_group(interface, 2);
        let receiver = config.listening(|| socket(&line, true))?;
        let sender = config.publishing(|| socket(&line, false))?;
        Self::start(kind, config, clock, sender, (receiver, [0; DEFAULT_PACKET_LEN]))
    }

    /// Through AF_XDP over this interface.
    pub(super) fn xdp(
        kind: Kind,
        config: &BedConfig,
        interface: &str,
        clock: &Clock,
    ) -> Result<Self, BenchError> {
        let line = own_group(interface, 2);
        let receiver = config.listening(|| BareReceiver::open(&line))?;
        let sender = config.publishing(|| BareSender::open(&line))?;
        Self::start(kind, config, clock, sender, receiver)
    }

    fn start(
        kind: Kind,
        config: &BedConfig,
        clock: &Clock,
        mouth: impl Mouth + 'static,
        ear: impl Ear + marker::Send + 'static,
    ) -> Result<Self, BenchError> {
        let (jobs, jobs_there) = channel();
        let (heard_there, heard) = channel();
        let (ready, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let mut hearing = Spinning {
            ear,
            clock: clock.clone(),
            ready: Arc::clone(&ready),
            stop: Arc::clone(&stop),
        };
        let config = config.clone();
        let thread = thread::Builder::new()
            .name("floor".into())
            .spawn(move || {
                // The sending thread found out already whether cores can be had.
                let _ = config.pin(1);
                hearing.run(&jobs_there, &heard_there);
            })
            .map_err(BenchError::io("start the floor's thread"))?;
        Ok(Self {
            kind,
            clock: clock.clone(),
            mouth: Box::new(mouth),
            jobs: Some(jobs),
            heard,
            ready,
            stop,
            thread: Some(thread),
            packet: vec![0x5a; DEFAULT_PACKET_LEN],
            times: Vec::new(),
            sent: Vec::new(),
        })
    }

    /// Sends a slice and waits for what comes.
    pub(super) fn slice(&mut self, sends: &[Send], lead: u64) -> Result<Slice, BenchError> {
        let mut times = std::mem::take(&mut self.times);
        times.clear();
        times.resize(sends.len(), 0);
        self.stop.store(false, Ordering::Relaxed);
        let gone = || BenchError::Broken("the floor's thread has ended".into());
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(times).map_err(|_| gone())?;
        while !self.ready.load(Ordering::Acquire) {
            thread::yield_now();
        }
        self.sent.clear();
        self.sent.reserve(sends.len());
        let tie = Tie::new(&self.clock);
        let start = self.clock.now() + lead;
        let mut gaps = Gaps::new(self.clock.now());
        for (number, send) in sends.iter().enumerate() {
            let due = start + send.at;
            let began = loop {
                let now = self.clock.now();
                gaps.look(now);
                if now >= due {
                    break now;
                }
                std::hint::spin_loop();
            };
            set_number(&mut self.packet, number as u64);
            self.mouth.send(&self.packet[..send.length]);
            self.sent.push(Times { due, began });
        }
        let patience = self.clock.now() + PATIENCE;
        let times = loop {
            if let Ok(times) = self.heard.try_recv() {
                break times;
            }
            if self.clock.now() > patience {
                self.stop.store(true, Ordering::Relaxed);
                break self.heard.recv().map_err(|_| gone())?;
            }
            gaps.look(self.clock.now());
        };
        let ties = Ties::close(tie, &self.clock);
        let slice = Hearing {
            sent: &self.sent,
            start,
            end: self.clock.now(),
            stolen: gaps.stolen(),
        }
        .slice(ties.as_ref(), |number| times[number]);
        self.times = times;
        Ok(slice)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The receiving thread.
struct Spinning<E> {
    ear: E,
    clock: Clock,
    ready: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl<E: Ear> Spinning<E> {
    /// Waits for a slice, spins until all of it has come, and says when that was, in real time.
    fn run(&mut self, jobs: &Receiver<Vec<u64>>, heard: &Sender<Vec<u64>>) {
        while let Ok(mut times) = jobs.recv() {
            // What came late for the slice before.
            while self.ear.hear().is_some() {}
            let mut gaps = Gaps::new(self.clock.now());
            self.ready.store(true, Ordering::Release);
            let mut missing = times.len();
            while missing > 0 && !self.stop.load(Ordering::Relaxed) {
                // As a listener does in each turn.
                gaps.look(self.clock.now());
                let Some(number) = self.ear.hear() else {
                    continue;
                };
                let now = unix_now();
                if let Some(time) = times.get_mut(number as usize)
                    && *time == 0
                {
                    *time = now;
                    missing -= 1;
                }
            }
            self.ready.store(false, Ordering::Release);
            if heard.send(times).is_err() {
                return;
            }
        }
    }
}
