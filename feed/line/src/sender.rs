//! The sending end of a line.
//!
//! A connected, non-blocking UDP socket: the cheapest send there is, and one that never holds the publisher up. What a
//! full socket or a dead interface swallows is counted; the other line and recovery carry the data meanwhile.

use crate::{LineAddress, LineError, sys};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

/// Tries of a send that the kernel has no room for, before the packet is given up on this line: about 20 microseconds.
const TRIES: u32 = 64;

/// How to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderOptions {
    /// Routers that packets may cross, 1 to 255; 1: this network only.
    pub ttl: u8,
    /// The socket's send buffer in bytes; `None`: the system's default.
    pub send_buffer: Option<usize>,
}

impl Default for SenderOptions {
    fn default() -> Self {
        Self {
            ttl: 1,
            send_buffer: None,
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
    /// The error number of the last send; 0: it worked.
    state: AtomicI32,
    /// `state` as it was last told.
    told: AtomicI32,
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
        Ok(Self {
            socket,
            address: address.clone(),
            sent: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            would_block: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            state: AtomicI32::new(0),
            told: AtomicI32::new(0),
        })
    }

    /// Sends one packet. Never waits for longer than a bounded number of tries.
    #[inline]
    pub fn send(&self, packet: &[u8]) -> SendOutcome {
        for _ in 0..TRIES {
            match self.socket.send(packet) {
                Ok(_) => {
                    add(&self.sent, 1);
                    add(&self.bytes, packet.len() as u64);
                    if self.state.load(Relaxed) != 0 {
                        self.state.store(0, Relaxed);
                    }
                    return SendOutcome::Sent;
                }
                Err(error) if has_no_room(&error) => {
                    add(&self.would_block, 1);
                    std::hint::spin_loop();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    add(&self.errors, 1);
                    self.state
                        .store(error.raw_os_error().unwrap_or(libc::EIO), Relaxed);
                    return SendOutcome::Failed;
                }
            }
        }
        add(&self.dropped, 1);
        SendOutcome::Dropped
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
        }
    }
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
