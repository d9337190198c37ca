//! The receiving ends, each on a thread of its own: real lines and a real arbiter, which notes when each packet is
//! delivered; and beside them the barest, one socket, or one ring of AF_XDP. All sleep in the kernel while nothing comes: with many more of them
//! than cores, none can spin.

use crate::harness::bare::BareReceiver;
use crate::harness::bed::{Bed, BedConfig};
use crate::harness::error::BenchError;
use crate::recovery::feed::{PATIENCE, SESSION};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use twinline_feed::run::unix_now;
use twinline_line::{Io, LineAddress, LineReceiver};
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

/// Sleeps until one of these has something, for so long at most.
fn sleep<const COUNT: usize>(mut wait: [PollFd<'_>; COUNT]) -> Result<(), BenchError> {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(LOOK.subsec_nanos()),
    };
    match poll(&mut wait, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(BenchError::io("wait for the lines")(error.into())),
    }
}

/// Both lines and an arbiter.
pub(super) struct Light {
    lines: [LineReceiver; 2],
    arbiter: Arbiter,
    start: Instant,
}

impl Light {
    /// One that goes on at `next`.
    pub(super) fn open(bed: &Bed, next: u64) -> Result<Self, BenchError> {
        let (lines, receiver) = (bed.lines(), bed.config().receiver());
        let open = |line| LineReceiver::open(line, &receiver, DEFAULT_PACKET_LEN);
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
        while !end.is_reached(self.arbiter.position().next) && !patience.is_over() {
            sleep(self.lines.each_ref().map(|line| PollFd::new(line, PollFlags::IN)))?;
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

/// One end of one line, with nothing behind it.
pub(super) enum Bare {
    Socket(UdpSocket),
    Xdp(BareReceiver),
}

impl Bare {
    /// In the calling thread's network namespace.
    pub(super) fn open(line: &LineAddress, config: &BedConfig) -> Result<Self, BenchError> {
        if config.io == Io::Xdp {
            return Ok(Self::Xdp(BareReceiver::open(line)?));
        }
        let interface = line.find_interface()?.map(|interface| interface.address);
        let open = || -> io::Result<UdpSocket> {
            let socket = UdpSocket::bind((line.group, line.port))?;
            socket.join_multicast_v4(&line.group, &interface.unwrap_or(Ipv4Addr::UNSPECIFIED))?;
            socket.set_read_timeout(Some(LOOK))?;
            Ok(socket)
        };
        Ok(Self::Socket(
            open().map_err(BenchError::io("open a bare receiver"))?,
        ))
    }

    /// Sleeps until something is there; its number.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<u64>, BenchError> {
        let number = |packet: &[u8]| packet.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        match self {
            Self::Socket(socket) => Ok(socket
                .recv(buffer)
                .ok()
                .and_then(|length| number(&buffer[..length]))),
            Self::Xdp(receiver) => {
                sleep([PollFd::new(receiver, PollFlags::IN)])?;
                Ok(receiver.receive(number).flatten())
            }
        }
    }
}

impl Receive for Bare {
    fn run(&mut self, end: &End) -> Result<Had, BenchError> {
        let mut had = Vec::new();
        let mut buffer = [0; DEFAULT_PACKET_LEN];
        let (mut next, mut patience) = (0, Patience(Instant::now()));
        while !end.is_reached(next) && !patience.is_over() {
            if let Some(number) = self.receive(&mut buffer)? {
                had.push((number, unix_now()));
                (next, patience) = (number + 1, Patience(Instant::now()));
            }
        }
        Ok(had)
    }
}
