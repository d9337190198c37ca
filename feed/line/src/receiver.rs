//! The receiving end of a line.
//!
//! A non-blocking UDP socket bound to the group's own address, so that two groups on one port do not mix, joined on the
//! interface that the address names, with a receive buffer whose size is checked after it was asked for: a buffer that
//! silently stayed small is the commonest cause of loss.
//!
//! Where it is to receive in bursts, the kernel puts packets of one size from one sender together (`UDP_GRO`), or leaves
//! together what a sender on the same host sent so, and one receive brings them all. The size is taken from the first
//! packet's own header: to ask the kernel for it with each receive (`recvmsg`) costs 100 ns a packet and 80 ns an empty
//! poll more, and `recvmmsg` gains nothing over one receive after the other.

use crate::burst::Burst;
use crate::sender::add;
use crate::{LineAddress, LineError, sys};
use rustix::net::RecvFlags;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// Receive buffer asked for by default, in bytes. The kernel counts its bookkeeping and so holds twice as many bytes of
/// full bursts, a quarter more of single packets of 1,408 bytes, and less than half of packets of 200 bytes.
pub const DEFAULT_RECEIVE_BUFFER: usize = 32 << 20;
/// Bytes that one receive may bring.
pub const MAX_RECEIVE: usize = 1 << 16;
/// The largest receive buffer that the kernel can be asked for, in bytes.
const MAX_RECEIVE_BUFFER: usize = (i32::MAX / 2) as usize;
/// What is being done when a group is joined.
pub(crate) const JOIN: &str = "join the group";

/// How to receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverOptions {
    /// The socket's receive buffer in bytes, at most 1 GiB.
    pub receive_buffer: usize,
    /// Senders to hear; none: all. A source-specific join each.
    pub sources: Vec<Ipv4Addr>,
    /// Let one receive bring several packets: then only [`LineReceiver::recv_burst`] can be used. A kernel that cannot
    /// brings one each time.
    pub bursts: bool,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        Self {
            receive_buffer: DEFAULT_RECEIVE_BUFFER,
            sources: Vec::new(),
            bursts: false,
        }
    }
}

/// What was asked of the kernel as a receive buffer, and what it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferReport {
    /// Bytes asked for.
    pub asked: usize,
    /// Bytes given. (The kernel counts its bookkeeping too and so reports twice that; this is the half that was asked.)
    pub granted: usize,
}

impl BufferReport {
    /// What to tell the operator if the buffer is smaller than asked for.
    pub fn warning(&self) -> Option<String> {
        (self.granted < self.asked).then(|| {
            format!(
                "the receive buffer has {} bytes, not the {} asked for: bursts will be lost; \
                 run `sysctl -w net.core.rmem_max={}` (or give CAP_NET_ADMIN) and start again",
                self.granted, self.asked, self.asked
            )
        })
    }
}

/// What a receiver counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverCounts {
    /// Datagrams received, truncated ones included.
    pub received: u64,
    /// Bytes of those datagrams, as they were sent.
    pub bytes: u64,
    /// Datagrams longer than the buffer they were to go into.
    pub truncated: u64,
    /// Receives that ended with an error other than "nothing there".
    pub errors: u64,
    /// Receives that brought several datagrams.
    pub bursts: u64,
    /// Times that the kernel dropped what came because the receive buffer was full: a datagram each, or a burst.
    pub kernel_drops: u64,
}

/// A datagram that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its length in the buffer; 0 if it did not fit.
    pub length: usize,
    /// Who sent it.
    pub source: SocketAddrV4,
    /// When, in nanoseconds since the Unix epoch: when the kernel took it, if it was asked to note that, otherwise now.
    pub time: u64,
}

/// The receiving end of a line. One thread receives; others may read its counts.
#[derive(Debug)]
pub struct LineReceiver {
    socket: Socket,
    address: LineAddress,
    buffer: BufferReport,
    received: AtomicU64,
    bytes: AtomicU64,
    truncated: AtomicU64,
    errors: AtomicU64,
    bursts: AtomicU64,
}

impl LineReceiver {
    /// Opens a socket that hears `address`. Any number of them, in any processes, can hear the same.
    ///
    /// # Errors
    /// If the group is not multicast, the interface does not exist, the port is taken by a program that does not share
    /// it, or the system refuses otherwise.
    pub fn open(address: &LineAddress, options: &ReceiverOptions) -> Result<Self, LineError> {
        address.check_group()?;
        let interface = address.find_interface()?;
        let fail = |what| move |cause| LineError::new(address, what, cause);
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
            .map_err(fail("make a receiving socket"))?;
        socket
            .set_nonblocking(true)
            .and_then(|()| socket.set_reuse_address(true))
            .and_then(|()| socket.set_multicast_all_v4(false))
            .map_err(fail("set up the socket"))?;
        if options.bursts {
            // A kernel before 5.0 does not know it, and brings one packet at a time as ever.
            let _ = sys::set_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1);
        }
        let buffer = size_buffer(&socket, options.receive_buffer).map_err(fail("size the receive buffer"))?;
        socket
            .bind(&SocketAddrV4::new(address.group, address.port).into())
            .map_err(fail("bind a receiving socket"))?;
        if options.sources.is_empty() {
            let index = interface.map_or(0, |interface| interface.index);
            socket
                .join_multicast_v4_n(&address.group, &InterfaceIndexOrAddress::Index(index))
                .map_err(fail(JOIN))?;
        } else {
            let through = interface.map_or(Ipv4Addr::UNSPECIFIED, |interface| interface.address);
            for source in &options.sources {
                socket
                    .join_ssm_v4(source, &address.group, &through)
                    .map_err(fail(JOIN))?;
            }
        }
        Ok(Self {
            socket,
            address: address.clone(),
            buffer,
            received: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            truncated: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            bursts: AtomicU64::new(0),
        })
    }

    /// Receives one datagram into `buffer` and returns its length; `None` if nothing is there (or the system reported an
    /// error, which is counted). A datagram that does not fit `buffer` is counted as truncated and returned with length
    /// 0: a part of it must not pass for a packet.
    #[inline]
    pub fn recv(&self, buffer: &mut [u8]) -> Option<usize> {
        match receive(&self.socket, buffer) {
            Ok(length) => {
                add(&self.received, 1);
                add(&self.bytes, length as u64);
                if length <= buffer.len() {
                    return Some(length);
                }
                add(&self.truncated, 1);
                Some(0)
            }
            Err(error) => {
                self.count_error(&error);
                None
            }
        }
    }

    /// Receives what is there in one piece, of packets of at most `longest` bytes: usually one, under load up to 64. `None`
    /// if nothing is there (or the system reported an error, which is counted). `buffer` has [`MAX_RECEIVE`] bytes.
    /// Datagrams longer than `longest` are counted as truncated, and one empty datagram stands for them: a part of one must
    /// not pass for a packet.
    #[inline]
    pub fn recv_burst<'b>(&self, buffer: &'b mut [u8], longest: usize) -> Option<Burst<'b>> {
        let length = match receive(&self.socket, buffer) {
            Ok(length) => length,
            Err(error) => {
                self.count_error(&error);
                return None;
            }
        };
        let burst = Burst::received(&buffer[..length.min(buffer.len())]);
        let count = burst.count() as u64;
        add(&self.received, count);
        add(&self.bytes, length as u64);
        if count > 1 {
            add(&self.bursts, 1);
        }
        if length <= buffer.len() && burst.size() <= longest {
            return Some(burst);
        }
        add(&self.truncated, count);
        Some(Burst::one(&[]))
    }

    /// Asks the kernel to note when each datagram comes, for [`recv_from`](Self::recv_from).
    ///
    /// # Errors
    /// If the system refuses.
    pub fn stamp_times(&self) -> Result<(), LineError> {
        sys::set_option(self.socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
            .map_err(|cause| LineError::new(&self.address, "ask for receive times", cause))
    }

    /// [`recv`](Self::recv), and who sent it and when it came. For tools that look at a line, not for the hot path.
    pub fn recv_from(&self, buffer: &mut [u8]) -> Option<Heard> {
        match sys::receive_from(self.socket.as_fd(), buffer) {
            Ok((length, source, time)) => {
                add(&self.received, 1);
                add(&self.bytes, length as u64);
                let whole = length <= buffer.len();
                if !whole {
                    add(&self.truncated, 1);
                }
                Some(Heard {
                    length: if whole { length } else { 0 },
                    source,
                    time: time.unwrap_or_else(unix_now),
                })
            }
            Err(error) => {
                self.count_error(&error);
                None
            }
        }
    }

    fn count_error(&self, error: &io::Error) {
        if !matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
        ) {
            add(&self.errors, 1);
        }
    }

    /// Where it hears.
    pub fn address(&self) -> &LineAddress {
        &self.address
    }

    /// The receive buffer asked for and given.
    pub fn buffer(&self) -> BufferReport {
        self.buffer
    }

    /// What was counted so far; asks the kernel for its drops, so not for the hot path.
    pub fn counts(&self) -> ReceiverCounts {
        ReceiverCounts {
            received: self.received.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            truncated: self.truncated.load(Relaxed),
            errors: self.errors.load(Relaxed),
            bursts: self.bursts.load(Relaxed),
            kernel_drops: sys::kernel_drops(self.socket.as_fd()).map_or(0, u64::from),
        }
    }
}

impl AsFd for LineReceiver {
    /// For waiting until something is there.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Receives one datagram into `buffer` and returns its true length, which is more than the buffer's if it did not fit. Not through
/// the C library, whose wrapper makes each call a point where a thread may be cancelled.
#[inline]
fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    let (_, length) = rustix::net::recv(socket, buffer, RecvFlags::TRUNC | RecvFlags::DONTWAIT)?;
    Ok(length)
}

fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Asks for a receive buffer, past the system's limit where we may, and looks what came of it.
fn size_buffer(socket: &Socket, asked: usize) -> io::Result<BufferReport> {
    let asked = asked.min(MAX_RECEIVE_BUFFER);
    let value = i32::try_from(asked).unwrap_or(i32::MAX / 2);
    if sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, value).is_err() {
        socket.set_recv_buffer_size(asked)?;
    }
    let granted = socket.recv_buffer_size()? / 2;
    Ok(BufferReport { asked, granted })
}
