//! The receiving end of a line as a socket.
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
use crate::receiver::{BufferReport, Drops, ReceiverOptions, ReceiverState};
use crate::xdp::check_for_sockets;
use crate::{Interface, JOIN, LineAddress, LineError, Transport, join_limit, sys};
use rustix::net::RecvFlags;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes that one receive may bring.
pub(crate) const MAX_RECEIVE: usize = 1 << 16;
/// The largest receive buffer that the kernel can be asked for, in bytes.
const MAX_RECEIVE_BUFFER: usize = (i32::MAX / 2) as usize;

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

/// The receiving end of a line as a socket: what a [`LineReceiver`](crate::LineReceiver) uses, and tools that want to know who
/// sent a datagram and when. One thread receives.
#[derive(Debug)]
pub struct SocketReceiver {
    socket: Arc<Socket>,
    state: Arc<ReceiverState>,
}

impl SocketReceiver {
    /// Opens a socket that hears `address`. Any number of them, in any processes, can hear the same.
    ///
    /// # Errors
    /// If the group is not multicast, the interface does not exist, the port is taken by a program that does not share
    /// it, another listener takes the line through AF_XDP, or the system refuses otherwise.
    pub fn open(address: &LineAddress, options: &ReceiverOptions) -> Result<Self, LineError> {
        Self::bind(address, options, Transport::Socket { why: None }, false)
    }

    /// One of which each receive brings several packets where there are several, for [`recv_burst`](Self::recv_burst) alone. A
    /// kernel that cannot brings one each time.
    pub(crate) fn open_for_bursts(
        address: &LineAddress,
        options: &ReceiverOptions,
        transport: Transport,
    ) -> Result<Self, LineError> {
        Self::bind(address, options, transport, true)
    }

    fn bind(
        address: &LineAddress,
        options: &ReceiverOptions,
        transport: Transport,
        bursts: bool,
    ) -> Result<Self, LineError> {
        address.check_group()?;
        let interface = address.find_interface()?;
        check_for_sockets(interface.as_ref(), address).map_err(|source| LineError::xdp(address, source))?;
        let fail = |what| move |cause| LineError::new(address, what, cause);
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
            .map_err(fail("make a receiving socket"))?;
        socket
            .set_nonblocking(true)
            .and_then(|()| socket.set_reuse_address(true))
            .and_then(|()| socket.set_multicast_all_v4(false))
            .map_err(fail("set up the socket"))?;
        if bursts {
            // A kernel before 5.0 does not know it, and brings one packet at a time as ever.
            let _ = sys::set_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1);
        }
        let buffer = size_buffer(&socket, options.receive_buffer).map_err(fail("size the receive buffer"))?;
        socket
            .bind(&SocketAddrV4::new(address.group, address.port).into())
            .map_err(fail("bind a receiving socket"))?;
        join(&socket, address, interface.as_ref(), &options.sources).map_err(|cause| {
            match cause.raw_os_error() {
                Some(libc::ENOBUFS) => LineError::TooManyGroups {
                    address: address.to_string(),
                    limit: join_limit(&options.sources),
                },
                _ => fail(JOIN)(cause),
            }
        })?;
        let socket = Arc::new(socket);
        Ok(Self {
            state: Arc::new(ReceiverState::new(
                address,
                transport,
                buffer,
                Drops::Socket(Arc::clone(&socket)),
            )),
            socket,
        })
    }

    /// Receives one datagram into `buffer` and returns its length; `None` if nothing is there (or the system reported an
    /// error, which is counted). A datagram that does not fit `buffer` is counted as truncated and returned with length
    /// 0: a part of it must not pass for a packet.
    #[inline]
    pub fn recv(&self, buffer: &mut [u8]) -> Option<usize> {
        match receive(&self.socket, buffer) {
            Ok(length) => {
                self.state.received(1, length);
                if length <= buffer.len() {
                    return Some(length);
                }
                self.state.truncated(1);
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
    pub(crate) fn recv_burst<'b>(&self, buffer: &'b mut [u8], longest: usize) -> Option<Burst<'b>> {
        let length = match receive(&self.socket, buffer) {
            Ok(length) => length,
            Err(error) => {
                self.count_error(&error);
                return None;
            }
        };
        let burst = Burst::received(&buffer[..length.min(buffer.len())]);
        let count = burst.count();
        self.state.received(count, length);
        if length <= buffer.len() && burst.size() <= longest {
            return Some(burst);
        }
        self.state.truncated(count);
        Some(Burst::one(&[]))
    }

    /// Asks the kernel to note when each datagram comes, for [`recv_from`](Self::recv_from).
    ///
    /// # Errors
    /// If the system refuses.
    pub fn stamp_times(&self) -> Result<(), LineError> {
        sys::set_option(self.socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
            .map_err(|cause| LineError::new(self.state.address(), "ask for receive times", cause))
    }

    /// [`recv`](Self::recv), and who sent it and when it came. For tools that look at a line, not for the hot path.
    pub fn recv_from(&self, buffer: &mut [u8]) -> Option<Heard> {
        match sys::receive_from(self.socket.as_fd(), buffer) {
            Ok((length, source, time)) => {
                self.state.received(1, length);
                let whole = length <= buffer.len();
                if !whole {
                    self.state.truncated(1);
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
            self.state.failed();
        }
    }

    /// Its counts, for other threads.
    pub fn state(&self) -> &Arc<ReceiverState> {
        &self.state
    }
}

impl AsFd for SocketReceiver {
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

/// Joins `socket` to the line's group, for all senders or for these.
pub(crate) fn join(
    socket: &Socket,
    address: &LineAddress,
    interface: Option<&Interface>,
    sources: &[Ipv4Addr],
) -> io::Result<()> {
    if sources.is_empty() {
        let index = interface.map_or(0, |interface| interface.index);
        return socket.join_multicast_v4_n(&address.group, &InterfaceIndexOrAddress::Index(index));
    }
    let through = interface.map_or(Ipv4Addr::UNSPECIFIED, |interface| interface.address);
    sources
        .iter()
        .try_for_each(|source| socket.join_ssm_v4(source, &address.group, &through))
}
