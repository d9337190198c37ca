//! The receiving ends, each on a thread of its own: real lines and a real arbiter, which notes when each packet is
//! delivered; and beside them the barest, one socket. All sleep in the kernel while nothing comes: with many more of them
//! than cores, none can spin.

use crate::harness::error::BenchError;
use crate::recovery::feed::{PATIENCE, SESSION};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use twinline_feed::run::unix_now;
use twinline_line::{LineAddress, LineReceiver, ReceiverOptions};
use twinline_listener::arbiter::Position;
use twinline_listener::{Arbiter, ArbiterConfig, Delivery, Notice, Origin, Sink};
use twinline_wire::header::DEFAULT_PACKET_LEN;

/// How long a receiver sleeps before it looks whether all is sent.
const LOOK: Duration = Duration::from_millis(20);

/// What a receiver had: the sequence of each packet and when it came, in nanoseconds since the Unix epoch.
pub(super) type Had = Vec<(u64, u64)>;

/// The end of what is sent, once that is known: the sequence after the last one.
#[derive(Debug, Default)]
pub(super) struct End(AtomicU64);

impl End {
    pub(super) fn tell(&self, end: u64) {
        self.0.store(end, Ordering::Release);
    }

    /// True if a receiver that has all below `next` has all there is.
    fn is_reached(&self, next: u64) -> bool {
        let end = self.0.load(Ordering::Acquire);
        end != 0 && next >= end
    }
}

/// One that waits for more, but not for ever.
struct Patience(Instant);

impl Patience {
    fn is_over(&self) -> bool {
        self.0.elapsed() > PATIENCE
    }
}

/// A receiving end that can be run.
pub(super) trait Receive: Send {
    /// Takes what comes until `end`, or until nothing has come for long.
    fn run(&mut self, end: &End) -> Result<Had, BenchError>;
}

/// Both lines and an arbiter.
pub(super) struct Light {
    lines: [LineReceiver; 2],
    arbiter: Arbiter,
    start: Instant,
}

impl Light {
    /// One that goes on at `next`.
    pub(super) fn open(lines: &[LineAddress; 2], next: u64) -> Result<Self, BenchError> {
        let open = |line| LineReceiver::open(line, &ReceiverOptions::default(), DEFAULT_PACKET_LEN);
        let position = Position {
            session: SESSION,
            epoch: 1,
            epoch_base: 1,
            next,
            ended: false,
        };
        Ok(Self {
            lines: [open(&lines[0])?, open(&lines[1])?],
            arbiter: Arbiter::new(ArbiterConfig::default(), Some(position), 0),
            start: Instant::now(),
        })
    }
}

/// Notes when each packet is delivered.
#[derive(Default)]
struct Notes(Had);

impl Sink for Notes {
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        self.0.push((delivery.begin(), unix_now()));
    }

    fn notice(&mut self, _: &Notice) {}
}

impl Receive for Light {
    fn run(&mut self, end: &End) -> Result<Had, BenchError> {
        let mut notes = Notes::default();
        let mut patience = Patience(Instant::now());
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(LOOK.subsec_nanos()),
        };
        while !end.is_reached(self.arbiter.position().next) && !patience.is_over() {
            let mut wait = [0, 1].map(|line| PollFd::new(&self.lines[line], PollFlags::IN));
            match poll(&mut wait, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(BenchError::io("wait for the lines")(error.into())),
            }
            let now = self.start.elapsed().as_nanos() as u64;
            for (line, origin) in self.lines.iter_mut().zip([Origin::LineA, Origin::LineB]) {
                let arbiter = &mut self.arbiter;
                while line.receive(DEFAULT_PACKET_LEN, |packet| {
                    arbiter.on_packet(origin, packet, now, &mut notes);
                }) {
                    patience = Patience(Instant::now());
                }
            }
            self.arbiter.tick(now, &mut notes);
        }
        Ok(notes.0)
    }
}

/// One socket on line A.
pub(super) struct Bare(UdpSocket);

impl Bare {
    /// On the host of this address.
    pub(super) fn open((group, port): (Ipv4Addr, u16), interface: Ipv4Addr) -> Result<Self, BenchError> {
        let open = || -> io::Result<UdpSocket> {
            let socket = UdpSocket::bind((group, port))?;
            socket.join_multicast_v4(&group, &interface)?;
            socket.set_read_timeout(Some(LOOK))?;
            Ok(socket)
        };
        Ok(Self(open().map_err(BenchError::io("open a bare receiver"))?))
    }
}

impl Receive for Bare {
    fn run(&mut self, end: &End) -> Result<Had, BenchError> {
        let mut had = Vec::new();
        let mut buffer = [0; DEFAULT_PACKET_LEN];
        let (mut next, mut patience) = (0, Patience(Instant::now()));
        while !end.is_reached(next) && !patience.is_over() {
            if self.0.recv(&mut buffer).is_ok()
                && let Some(number) = buffer.first_chunk()
            {
                let number = u64::from_le_bytes(*number);
                had.push((number, unix_now()));
                (next, patience) = (number + 1, Patience(Instant::now()));
            }
        }
        Ok(had)
    }
}
