//! The sending end of a line, whatever packets leave through.
//!
//! A [`LineSender`] belongs to the thread that sends. What other threads are to know of it, its counts and whether the line
//! works, is in a [`SenderState`] that it shares with them. It never holds the publisher up: what a full queue or a dead
//! interface swallows is counted; the other line and recovery carry the data meanwhile.

use crate::burst::Burst;
use crate::pace::Pace;
use crate::socket::SocketSender;
use crate::xdp::XdpSender;
use crate::{Io, LineAddress, LineError, Transport};
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A wait for the rate limit is slept but for this much of it.
const SPIN: Duration = Duration::from_millis(1);

/// [`SenderState`]'s state of segmentation, where it is not the error number of the refusal.
const SEGMENTS: i32 = 0;
const SINGLES: i32 = -1;

/// How to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderOptions {
    /// Routers that packets may cross, 1 to 255; 1: this network only.
    pub ttl: u8,
    /// The socket's send buffer in bytes; `None`: the system's default.
    pub send_buffer: Option<usize>,
    /// One send carries all packets of a burst, and the kernel cuts it up; where it refuses, or without this, every packet
    /// has a send of its own.
    pub segmentation: bool,
    /// Most bits a second on the wire; a send waits until it may go. `None`: as many as come.
    pub rate: Option<NonZeroU64>,
    /// Bytes of the longest packet that will be sent: one that AF_XDP has no room for cannot go through it.
    pub longest: usize,
    /// Through what packets leave.
    pub io: Io,
    /// With AF_XDP: the interface's queue that they leave by.
    pub queue: u32,
}

impl Default for SenderOptions {
    fn default() -> Self {
        Self {
            ttl: 1,
            send_buffer: None,
            segmentation: true,
            rate: None,
            longest: 0,
            io: Io::Socket,
            queue: 0,
        }
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The kernel took it.
    Sent,
    /// The kernel had no room for it, several times over; it is not on this line.
    Dropped,
    /// The line does not work now, see [`SenderState::health_change`]; the packet is not on it.
    Failed,
}

/// What a sender counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderCounts {
    /// Packets that the kernel took.
    pub sent: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// Times that the kernel had no room at once.
    pub would_block: u64,
    /// Packets given up because it kept having none.
    pub dropped: u64,
    /// Packets refused with an error.
    pub errors: u64,
    /// Sends that carried several packets.
    pub bursts: u64,
    /// Packets that the kernel took in those.
    pub burst_packets: u64,
}

/// Whether a line can be sent on.
#[derive(Debug)]
pub enum LineHealth {
    /// It works (again).
    Well,
    /// It does not, for this reason.
    Failing(io::Error),
}

/// What packets leave through.
#[derive(Debug)]
enum Way {
    Socket(SocketSender),
    Xdp(Box<XdpSender>),
}

/// The sending end of a line. One thread sends.
#[derive(Debug)]
pub struct LineSender {
    way: Way,
    pace: Option<Pace>,
    /// What the pace counts from.
    start: Instant,
}

impl LineSender {
    /// Opens what sends to `address`. Listeners on this host hear it too, unless it is through AF_XDP.
    ///
    /// # Errors
    /// If the group is not multicast, the interface does not exist, AF_XDP is asked for and cannot be had, or the system
    /// refuses.
    pub fn open(address: &LineAddress, options: SenderOptions) -> Result<Self, LineError> {
        address.check_group()?;
        let interface = address.find_interface()?;
        let interface = interface.as_ref();
        let way = options.io.open(
            address,
            || XdpSender::open(address, interface, options).map(|sender| Way::Xdp(Box::new(sender))),
            |transport| SocketSender::open(address, interface, options, transport).map(Way::Socket),
        )?;
        Ok(Self {
            way,
            pace: options.rate.map(|rate| Pace::new(rate.get())),
            start: Instant::now(),
        })
    }

    /// Its counts and health, for other threads.
    pub fn state(&self) -> &Arc<SenderState> {
        match &self.way {
            Way::Socket(sender) => sender.state(),
            Way::Xdp(sender) => sender.state(),
        }
    }

    /// Sends one packet. Never waits for longer than a bounded number of tries, and for the rate limit if there is one.
    #[inline]
    pub fn send(&mut self, packet: &[u8]) -> SendOutcome {
        if self.pace.is_some() {
            self.wait(Burst::one(packet));
        }
        match &mut self.way {
            Way::Socket(sender) => sender.send(packet),
            Way::Xdp(sender) => sender.send(packet),
        }
    }

    /// Sends packets that stand back to back, in one call where that can be; returns how many of them the kernel took.
    /// Waits like [`send`](Self::send) for each.
    #[inline]
    pub fn send_burst(&mut self, burst: Burst<'_>) -> usize {
        if self.pace.is_some() {
            self.wait(burst);
        }
        match &mut self.way {
            Way::Socket(sender) => sender.send_burst(burst),
            Way::Xdp(sender) => sender.send_burst(burst),
        }
    }

    /// Waits until this may go out by the rate limit.
    #[inline(never)]
    fn wait(&mut self, burst: Burst<'_>) {
        if let Some(pace) = &mut self.pace {
            let now = self.start.elapsed();
            let (packets, bytes) = (burst.count() as u64, burst.bytes().len() as u64);
            let wait = pace.take(now.as_nanos() as u64, packets, bytes);
            if wait > 0 {
                self.wait_until(now + Duration::from_nanos(wait));
            }
        }
    }

    #[cold]
    fn wait_until(&self, until: Duration) {
        loop {
            let left = until.saturating_sub(self.start.elapsed());
            if left.is_zero() {
                return;
            }
            match left.checked_sub(SPIN) {
                Some(sleep) => std::thread::sleep(sleep),
                None => std::hint::spin_loop(),
            }
        }
    }
}

/// What a sender counts, and how its line is. The sending thread writes, any thread reads.
#[derive(Debug)]
pub struct SenderState {
    address: LineAddress,
    transport: Transport,
    sent: AtomicU64,
    bytes: AtomicU64,
    would_block: AtomicU64,
    dropped: AtomicU64,
    errors: AtomicU64,
    bursts: AtomicU64,
    burst_packets: AtomicU64,
    /// The error number of the last send; 0: it worked.
    error: AtomicI32,
    /// `error` as it was last told.
    told: AtomicI32,
    /// Whether a burst goes in one call: [`SEGMENTS`], [`SINGLES`], or why it no longer does.
    segmentation: AtomicI32,
    /// `segmentation` as it was last told.
    segmentation_told: AtomicI32,
}

impl SenderState {
    pub(crate) fn new(address: &LineAddress, transport: Transport, segments: bool) -> Self {
        let segmentation = if segments { SEGMENTS } else { SINGLES };
        Self {
            address: address.clone(),
            transport,
            sent: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            would_block: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            bursts: AtomicU64::new(0),
            burst_packets: AtomicU64::new(0),
            error: AtomicI32::new(0),
            told: AtomicI32::new(0),
            segmentation: AtomicI32::new(segmentation),
            segmentation_told: AtomicI32::new(segmentation),
        }
    }

    /// The kernel took so many packets in one call.
    #[inline]
    pub(crate) fn sent(&self, packets: usize, bytes: usize) {
        let count = packets as u64;
        add(&self.sent, count);
        add(&self.bytes, bytes as u64);
        if packets > 1 {
            add(&self.bursts, 1);
            add(&self.burst_packets, count);
        }
        if self.error.load(Relaxed) != 0 {
            self.error.store(0, Relaxed);
        }
    }

    /// The kernel had no room at once.
    #[inline]
    pub(crate) fn would_block(&self) {
        add(&self.would_block, 1);
    }

    /// So many packets are given up because there is no room for them.
    pub(crate) fn dropped(&self, packets: usize) -> SendOutcome {
        add(&self.dropped, packets as u64);
        SendOutcome::Dropped
    }

    /// So many packets were refused with an error.
    #[cold]
    pub(crate) fn failed(&self, packets: usize, error: &io::Error) -> SendOutcome {
        add(&self.errors, packets as u64);
        self.error.store(number(error), Relaxed);
        SendOutcome::Failed
    }

    /// True if the last send ended with an error.
    #[inline]
    pub(crate) fn is_failing(&self) -> bool {
        self.error.load(Relaxed) != 0
    }

    /// True if bursts go in one call each: that was asked for, and nobody has refused it.
    #[inline]
    pub fn segments(&self) -> bool {
        self.segmentation.load(Relaxed) == SEGMENTS
    }

    /// No more bursts in one call, if `error` may be due to them; false if it is not.
    #[cold]
    pub(crate) fn stop_segmenting(&self, error: &io::Error) -> bool {
        let refused = matches!(
            error.raw_os_error(),
            Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE | libc::ENOPROTOOPT | libc::EOPNOTSUPP)
        );
        if !refused {
            return false;
        }
        self.segmentation.store(number(error), Relaxed);
        true
    }

    /// Why bursts were given up, if they were since the last call. A control thread asks now and then and says so.
    pub fn segmentation_refused(&self) -> Option<io::Error> {
        let state = self.segmentation.load(Relaxed);
        let told = self.segmentation_told.swap(state, Relaxed);
        (state != told && state > SEGMENTS).then(|| io::Error::from_raw_os_error(state))
    }

    /// Where it sends to.
    pub fn address(&self) -> &LineAddress {
        &self.address
    }

    /// Through what packets leave.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The line's state if it is another than at the last call: each change is told once. A control thread asks now and
    /// then and logs what it hears; a line is taken to work at first.
    pub fn health_change(&self) -> Option<LineHealth> {
        let state = self.error.load(Relaxed);
        if self.told.swap(state, Relaxed) == state {
            return None;
        }
        Some(match state {
            0 => LineHealth::Well,
            error => LineHealth::Failing(io::Error::from_raw_os_error(error)),
        })
    }

    /// What was counted so far.
    pub fn counts(&self) -> SenderCounts {
        SenderCounts {
            sent: self.sent.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            would_block: self.would_block.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            errors: self.errors.load(Relaxed),
            bursts: self.bursts.load(Relaxed),
            burst_packets: self.burst_packets.load(Relaxed),
        }
    }
}

/// The error's number, which is not 0.
fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// Adds to a counter that one thread writes and others read: no locked instruction.
#[inline]
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed) + n, Relaxed);
}
