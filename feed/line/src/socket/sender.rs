//! The sending end of a line as a socket.
//!
//! A connected, non-blocking UDP socket: the cheapest send that the kernel's own network stack has, and one that never holds
//! the publisher up.
//!
//! A [`Burst`] goes out in one send, which the kernel or the network card cuts up (`UDP_SEGMENT`). The size to cut at is
//! told with each burst: on a socket that knows it for good, the kernel builds plain packets, too, as if they were to be cut
//! up, which makes one some 10% later. Where the kernel or the interface refuses, a burst's packets are sent one by one
//! from then on.

use crate::burst::Burst;
use crate::sender::{SendOutcome, SenderOptions, SenderState};
use crate::{Interface, LineAddress, LineError, Transport, sys};
use rustix::net::SendFlags;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::sync::Arc;

/// Tries of a send that the kernel has no room for, for each of its packets, before they are given up on this line: about
/// 20 microseconds a packet.
const TRIES: u64 = 64;

/// The sending end of a line as a socket.
#[derive(Debug)]
pub(crate) struct SocketSender {
    socket: Socket,
    state: Arc<SenderState>,
}

impl SocketSender {
    /// Opens a socket that sends to `address`. Listeners on this host hear it too.
    ///
    /// # Errors
    /// If the group is not multicast, the interface does not exist, or the system refuses.
    pub(crate) fn open(
        address: &LineAddress,
        interface: Option<&Interface>,
        options: SenderOptions,
        transport: Transport,
    ) -> Result<Self, LineError> {
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
        let state = Arc::new(SenderState::new(address, transport, options.segmentation));
        Ok(Self { socket, state })
    }

    /// What other threads read.
    pub(crate) fn state(&self) -> &Arc<SenderState> {
        &self.state
    }

    /// Sends one packet. Never waits for longer than a bounded number of tries.
    #[inline]
    pub(crate) fn send(&self, packet: &[u8]) -> SendOutcome {
        // Not through the C library, whose wrapper makes each call a point where a thread may be cancelled.
        let send = || Ok(rustix::net::send(&self.socket, packet, SendFlags::DONTWAIT)?);
        match self.put(packet.len(), 1, send) {
            Ok(outcome) => outcome,
            Err(error) => self.state.failed(1, &error),
        }
    }

    /// Sends packets that stand back to back, in one send where that can be; returns how many of them the kernel took.
    /// Tries like [`send`](Self::send) for each.
    #[inline]
    pub(crate) fn send_burst(&self, burst: Burst<'_>) -> usize {
        let (count, size) = (burst.count(), burst.size());
        if count == 1 {
            return usize::from(self.send(burst.bytes()) == SendOutcome::Sent);
        }
        if self.state.segments() && count <= Burst::most(size) {
            let bytes = burst.bytes();
            match self.put(bytes.len(), count, || {
                sys::send_segmented(self.socket.as_fd(), bytes, size as u16)
            }) {
                Ok(SendOutcome::Sent) => return count,
                Ok(_) => return 0,
                Err(error) if self.state.stop_segmenting(&error) => {}
                Err(error) => {
                    self.state.failed(count, &error);
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
        for _ in 0..TRIES * packets as u64 {
            match send() {
                Ok(_) => {
                    self.state.sent(packets, bytes);
                    return Ok(SendOutcome::Sent);
                }
                Err(error) if has_no_room(&error) => {
                    self.state.would_block();
                    std::hint::spin_loop();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.state.dropped(packets))
    }
}

/// True where trying again may help.
fn has_no_room(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

#[cfg(test)]
mod tests;
