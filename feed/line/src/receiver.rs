//! The receiving end of a line, whatever packets come through.
//!
//! A [`LineReceiver`] belongs to the thread that receives. What other threads are to know of it is in a [`ReceiverState`]
//! that it shares with them.

use crate::sender::add;
use crate::socket::{MAX_RECEIVE, SocketReceiver};
use crate::xdp::{Mode, Queues, XdpReceiver};
use crate::{Io, LineAddress, LineError, Transport, sys};
use socket2::Socket;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

/// Receive buffer asked for by default, in bytes. The kernel counts its bookkeeping and so holds twice as many bytes of
/// full bursts, a quarter more of single packets of 1,408 bytes, and less than half of packets of 200 bytes.
pub const DEFAULT_RECEIVE_BUFFER: usize = 32 << 20;

/// How to receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverOptions {
    /// The receive buffer in bytes, at most 1 GiB: a socket's, or with AF_XDP the memory of each queue's frames, rounded up to
    /// a power of two of them.
    pub receive_buffer: usize,
    /// Senders to hear; none: all. A source-specific join each.
    pub sources: Vec<Ipv4Addr>,
    /// Through what packets come. A [`SocketReceiver`](crate::SocketReceiver) does not ask.
    pub io: Io,
    /// With AF_XDP: the interface's queues to receive from; none: all of them.
    pub queues: Vec<u32>,
    /// With AF_XDP: how the program that picks our packets runs; `None`: natively, and with [`Io::Xdp`] otherwise generically.
    pub mode: Option<Mode>,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        Self {
            receive_buffer: DEFAULT_RECEIVE_BUFFER,
            sources: Vec::new(),
            io: Io::Socket,
            queues: Vec::new(),
            mode: None,
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
    /// With AF_XDP: frames dropped because a header or a checksum of theirs was wrong.
    pub bad_frames: u64,
    /// Times that the kernel dropped what came because the receive buffer was full: a datagram each, or a burst.
    pub kernel_drops: u64,
}

/// What packets come through.
#[derive(Debug)]
enum Way {
    Socket {
        receiver: SocketReceiver,
        /// Where one receive goes.
        buffer: Box<[u8]>,
    },
    Xdp(Box<XdpReceiver>),
}

/// The receiving end of a line. One thread receives.
#[derive(Debug)]
pub struct LineReceiver {
    way: Way,
}

impl LineReceiver {
    /// Opens what hears `address`, packets of at most `longest` bytes. Any number of sockets, in any processes, can hear the
    /// same; AF_XDP takes a line's packets before any socket on the same interface sees them.
    ///
    /// # Errors
    /// If the group is not multicast, the interface does not exist, the port is taken by a program that does not share
    /// it, AF_XDP is asked for and cannot be had, or the system refuses otherwise.
    pub fn open(address: &LineAddress, options: &ReceiverOptions, longest: usize) -> Result<Self, LineError> {
        address.check_group()?;
        let interface = address.find_interface()?;
        let way = options.io.open(
            address,
            || {
                let receiver = XdpReceiver::open(address, interface.as_ref(), options, longest)?;
                Ok(Way::Xdp(Box::new(receiver)))
            },
            |transport| {
                Ok(Way::Socket {
                    receiver: SocketReceiver::open_for_bursts(address, options, transport)?,
                    buffer: vec![0; MAX_RECEIVE].into_boxed_slice(),
                })
            },
        )?;
        Ok(Self { way })
    }

    /// Receives what is there in one piece, of packets of at most `longest` bytes: usually one, under load up to 64. `take` is
    /// given each of them where it lies. False if nothing is there (or the system reported an error, which is counted).
    /// Datagrams longer than `longest` are counted as truncated, and one empty datagram stands for them: a part of one must
    /// not pass for a packet.
    #[inline]
    pub fn receive(&mut self, longest: usize, take: impl FnMut(&[u8])) -> bool {
        match &mut self.way {
            Way::Socket { receiver, buffer } => match receiver.recv_burst(buffer, longest) {
                Some(burst) => {
                    burst.packets().for_each(take);
                    true
                }
                None => false,
            },
            Way::Xdp(receiver) => receiver.receive(longest, take),
        }
    }

    /// Its counts, for other threads.
    pub fn state(&self) -> &Arc<ReceiverState> {
        match &self.way {
            Way::Socket { receiver, .. } => receiver.state(),
            Way::Xdp(receiver) => receiver.state(),
        }
    }
}

impl AsFd for LineReceiver {
    /// For waiting until something is there; with several queues only for the first one's.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Socket { receiver, .. } => receiver.as_fd(),
            Way::Xdp(receiver) => receiver.as_fd(),
        }
    }
}

/// Who counts what the kernel dropped.
#[derive(Debug)]
pub(crate) enum Drops {
    Socket(Arc<Socket>),
    /// Not kept open for it: an interface's queue is free once its receiver is gone.
    Xdp(Weak<Queues>),
}

/// What a receiver counts. The receiving thread writes, any thread reads.
#[derive(Debug)]
pub struct ReceiverState {
    address: LineAddress,
    transport: Transport,
    buffer: BufferReport,
    drops: Drops,
    received: AtomicU64,
    bytes: AtomicU64,
    truncated: AtomicU64,
    errors: AtomicU64,
    bursts: AtomicU64,
    bad_frames: AtomicU64,
    /// What the kernel had dropped when it was asked last.
    dropped: AtomicU64,
}

impl ReceiverState {
    pub(crate) fn new(
        address: &LineAddress,
        transport: Transport,
        buffer: BufferReport,
        drops: Drops,
    ) -> Self {
        Self {
            address: address.clone(),
            transport,
            buffer,
            drops,
            received: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            truncated: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            bursts: AtomicU64::new(0),
            bad_frames: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// So many packets came in one piece.
    #[inline]
    pub(crate) fn received(&self, packets: usize, bytes: usize) {
        add(&self.received, packets as u64);
        add(&self.bytes, bytes as u64);
        if packets > 1 {
            add(&self.bursts, 1);
        }
    }

    /// So many of them are too long.
    pub(crate) fn truncated(&self, packets: usize) {
        add(&self.truncated, packets as u64);
    }

    /// A receive ended with an error.
    pub(crate) fn failed(&self) {
        add(&self.errors, 1);
    }

    /// A frame is not what it should be.
    pub(crate) fn bad_frame(&self) {
        add(&self.bad_frames, 1);
    }

    /// Where it hears.
    pub fn address(&self) -> &LineAddress {
        &self.address
    }

    /// Through what packets come.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The receive buffer asked for and given.
    pub fn buffer(&self) -> BufferReport {
        self.buffer
    }

    /// Asks the kernel for its drops.
    pub(crate) fn look_at_drops(&self) -> u64 {
        let drops = match &self.drops {
            Drops::Socket(socket) => sys::kernel_drops(socket.as_fd()).ok().map(u64::from),
            Drops::Xdp(queues) => queues.upgrade().map(|queues| queues.drops()),
        };
        match drops {
            Some(drops) => {
                self.dropped.store(drops, Relaxed);
                drops
            }
            None => self.dropped.load(Relaxed),
        }
    }

    /// What was counted so far; asks the kernel for its drops, so not for the hot path.
    pub fn counts(&self) -> ReceiverCounts {
        ReceiverCounts {
            received: self.received.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            truncated: self.truncated.load(Relaxed),
            errors: self.errors.load(Relaxed),
            bursts: self.bursts.load(Relaxed),
            bad_frames: self.bad_frames.load(Relaxed),
            kernel_drops: self.look_at_drops(),
        }
    }
}
