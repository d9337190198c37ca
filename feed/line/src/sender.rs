//! The sending end of a line.
//!
//! A connected, non-blocking UDP socket: the cheapest send there is, and one that never holds the publisher up. What a
//! full socket or a dead interface swallows is counted; the other line and recovery carry the data meanwhile.
//!
//! A [`Burst`] goes out in one send, which the kernel or the network card cuts up (`UDP_SEGMENT`). The size to cut at is
//! told with each burst: on a socket that knows it for good, the kernel builds plain packets, too, as if they were to be cut
//! up, which makes one some 10% later. Where the kernel or the interface refuses, a burst's packets are sent one by one
//! from then on.

use crate::burst::Burst;
use crate::pace::Pace;
use crate::{LineAddress, LineError, sys};
use rustix::net::SendFlags;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Tries of a send that the kernel has no room for, for each of its packets, before they are given up on this line: about
/// 20 microseconds a packet.
const TRIES: u64 = 64;

/// A wait for the rate limit is slept but for this much of it.
const SPIN: Duration = Duration::from_millis(1);

/// [`LineSender`]'s state of segmentation, where it is not the error number of the refusal.
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
}

impl Default for SenderOptions {
    fn default() -> Self {
        Self {
            ttl: 1,
            send_buffer: None,
            segmentation: true,
            rate: None,
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
    /// The line does not work now, see [`LineSender::health_change`]; the packet is not on it.
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

/// The sending end of a line. One thread sends; others may read its counts.
#[derive(Debug)]
pub struct LineSender {
    socket: Socket,
    address: LineAddress,
    sent: AtomicU64,
    bytes: AtomicU64,
    would_block: AtomicU64,
    dropped: AtomicU64,
    errors: AtomicU64,
    bursts: AtomicU64,
    burst_packets: AtomicU64,
    /// The error number of the last send; 0: it worked.
    state: AtomicI32,
    /// `state` as it was last told.
    told: AtomicI32,
    /// Whether a burst goes in one send: [`SEGMENTS`], [`SINGLES`], or why it no longer does.
    segmentation: AtomicI32,
    /// `segmentation` as it was last told.
    segmentation_told: AtomicI32,
    pace: Option<Pace>,
    /// What the pace counts from.
    start: Instant,
}

impl LineSender {
    /// Opens a socket that sends to `address`. Listeners on this host hear it too.
    ///
    /// # Errors
    /// If the group is not multicast, the interface does not exist, or the system refuses.
    pub fn open(address: &LineAddress, options: SenderOptions) -> Result<Self, LineError> {
        address.check_group()?;
        let interface = address.find_interface()?;
        let fail = |what| move |cause| LineError::new(address, what, cause);
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
            .map_err(fail("make a sending socket"))?;
        socket.set_nonblocking(true).map_err(fail("set up the socket"))?;
        if let Some(bytes) = options.send_buffer {
            socket
                .set_send_buffer_size(bytes)
                .map_err(fail("size the send buffer"))?;
        }
        socket
            .set_multicast_ttl_v4(u32::from(options.ttl.max(1)))
            .and_then(|()| socket.set_multicast_loop_v4(true))
            .map_err(fail("set up multicast"))?;
        // Never fragment: a packet that does not fit the interface is an error that someone sees.
        sys::set_option(
            socket.as_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_PROBE,
        )
        .map_err(fail("forbid fragments"))?;
        if let Some(interface) = interface {
            socket
                .set_multicast_if_v4(&interface.address)
                .map_err(fail("choose the interface"))?;
            // The source address that source-specific joins name.
            socket
                .bind(&SocketAddrV4::new(interface.address, 0).into())
                .map_err(fail("bind a sending socket"))?;
        } else {
            socket
                .bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into())
                .map_err(fail("bind a sending socket"))?;
        }
        socket
            .connect(&SocketAddrV4::new(address.group, address.port).into())
            .map_err(fail("connect a sending socket"))?;
        let segmentation = if options.segmentation { SEGMENTS } else { SINGLES };
        Ok(Self {
            socket,
            address: address.clone(),
            sent: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            would_block: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            bursts: AtomicU64::new(0),
            burst_packets: AtomicU64::new(0),
            state: AtomicI32::new(0),
            told: AtomicI32::new(0),
            segmentation: AtomicI32::new(segmentation),
            segmentation_told: AtomicI32::new(segmentation),
            pace: options.rate.map(|rate| Pace::new(rate.get())),
            start: Instant::now(),
        })
    }

    /// Sends one packet. Never waits for longer than a bounded number of tries, and for the rate limit if there is one.
    #[inline]
    pub fn send(&self, packet: &[u8]) -> SendOutcome {
        self.wait(1, packet.len());
        // Not through the C library, whose wrapper makes each call a point where a thread may be cancelled.
        let send = || Ok(rustix::net::send(&self.socket, packet, SendFlags::DONTWAIT)?);
        match self.put(packet.len(), 1, send) {
            Ok(outcome) => outcome,
            Err(error) => self.failed(1, &error),
        }
    }

    /// Sends packets that stand back to back, in one send where that can be; returns how many of them the kernel took.
    /// Waits like [`send`](Self::send) for each.
    #[inline]
    pub fn send_burst(&self, burst: Burst<'_>) -> usize {
        let (count, size) = (burst.count(), burst.size());
        if count == 1 {
            return usize::from(self.send(burst.bytes()) == SendOutcome::Sent);
        }
        if self.segments() && count <= Burst::most(size) {
            let bytes = burst.bytes();
            self.wait(count, bytes.len());
            match self.put(bytes.len(), count, || {
                sys::send_segmented(self.socket.as_fd(), bytes, size as u16)
            }) {
                Ok(SendOutcome::Sent) => return count,
                Ok(_) => return 0,
                Err(error) if self.stop_segmenting(&error) => {}
                Err(error) => {
                    self.failed(count, &error);
                    return 0;
                }
            }
        }
        let sent = burst.packets().map(|packet| self.send(packet));
        sent.filter(|outcome| *outcome == SendOutcome::Sent).count()
    }

    /// Hands so many packets of `bytes` in all to the kernel by `send`. An error that trying again does not mend is returned.
    #[inline]
    fn put(
        &self,
        bytes: usize,
        packets: usize,
        send: impl Fn() -> io::Result<usize>,
    ) -> io::Result<SendOutcome> {
        let count = packets as u64;
        for _ in 0..TRIES * count {
            match send() {
                Ok(_) => {
                    add(&self.sent, count);
                    add(&self.bytes, bytes as u64);
                    if packets > 1 {
                        add(&self.bursts, 1);
                        add(&self.burst_packets, count);
                    }
                    if self.state.load(Relaxed) != 0 {
                        self.state.store(0, Relaxed);
                    }
                    return Ok(SendOutcome::Sent);
                }
                Err(error) if has_no_room(&error) => {
                    add(&self.would_block, 1);
                    std::hint::spin_loop();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        add(&self.dropped, count);
        Ok(SendOutcome::Dropped)
    }

    #[cold]
    fn failed(&self, packets: usize, error: &io::Error) -> SendOutcome {
        add(&self.errors, packets as u64);
        self.state.store(number(error), Relaxed);
        SendOutcome::Failed
    }

    /// Waits until so much may go out by the rate limit.
    #[inline]
    fn wait(&self, packets: usize, bytes: usize) {
        if let Some(pace) = &self.pace {
            let now = self.start.elapsed();
            let wait = pace.take(now.as_nanos() as u64, packets as u64, bytes as u64);
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

    /// True if bursts go in one send each: that was asked for, and nobody has refused it.
    #[inline]
    pub fn segments(&self) -> bool {
        self.segmentation.load(Relaxed) == SEGMENTS
    }

    /// No more bursts in one send, if `error` may be due to them; false if it is not.
    #[cold]
    fn stop_segmenting(&self, error: &io::Error) -> bool {
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

    /// The line's state if it is another than at the last call: each change is told once. A control thread asks now and
    /// then and logs what it hears; a line is taken to work at first.
    pub fn health_change(&self) -> Option<LineHealth> {
        let state = self.state.load(Relaxed);
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

/// True where trying again may help.
fn has_no_room(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// Adds to a counter that one thread writes and others read: no locked instruction.
#[inline]
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed) + n, Relaxed);
}

#[cfg(test)]
mod tests;
