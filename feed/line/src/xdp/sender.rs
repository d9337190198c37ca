//! The sending end of a line through AF_XDP.
//!
//! A packet is copied once, from the journal into a frame behind its headers, and the kernel is called once for all packets of
//! a burst. What it does not take within a bounded number of calls stays in the transmit ring, in order, and goes with the
//! next call. When no frame is free, or the kernel says that it dropped a packet, packets are dropped on this line and counted.

use super::device::Device;
use super::error::XdpError;
use super::frame::{self, Headers};
use super::socket::{self, Queue, Sending};
use super::umem::{self, LARGEST_FRAME};
use crate::burst::Burst;
use crate::sender::{SendOutcome, SenderOptions, SenderState};
use crate::{Interface, LineAddress, Transport};
use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;

/// Frames: as many packets can wait for the kernel or the network card.
const FRAMES: u32 = 2048;
/// Calls for each packet before what is left waits for the next one.
const TRIES: usize = 64;

/// The sending end of a line through AF_XDP.
#[derive(Debug)]
pub(crate) struct XdpSender {
    queue: Sending,
    headers: Headers,
    /// Bytes of the longest packet that the interface or a frame takes.
    longest: usize,
    state: Arc<SenderState>,
}

impl XdpSender {
    /// Opens what sends to `line` through an interface.
    pub(crate) fn open(
        line: &LineAddress,
        interface: Option<&Interface>,
        options: SenderOptions,
    ) -> Result<Self, XdpError> {
        let device = Device::find(interface)?;
        if device.is_loopback() {
            return Err(XdpError::Loopback {
                interface: device.name().into(),
            });
        }
        device.check_queue(options.queue, device.queues()[1])?;
        let place = Queue {
            interface: device.name(),
            index: device.interface.index,
            queue: options.queue,
        };
        umem::receiving_frame_size(options.longest)?;
        let frame_size = umem::frame_size(device.mtu() + frame::HEADERS).unwrap_or(LARGEST_FRAME);
        let queue = Sending::open(place, FRAMES, frame_size)?;
        let transport = Transport::Xdp {
            interface: device.name().into(),
            queues: vec![options.queue],
            mode: None,
            zero_copy: socket::is_zero_copy(&queue.socket),
            huge_pages: queue.umem.is_huge(),
        };
        let from = SocketAddrV4::new(device.interface.address, line.port);
        let to = SocketAddrV4::new(line.group, line.port);
        Ok(Self {
            queue,
            headers: Headers::new(device.hardware(), from, to, options.ttl.max(1)),
            longest: device
                .mtu()
                .saturating_sub(frame::WITHIN_MTU)
                .min(frame_size - frame::HEADERS),
            state: Arc::new(SenderState::new(line, transport, true)),
        })
    }

    /// What other threads read.
    pub(crate) fn state(&self) -> &Arc<SenderState> {
        &self.state
    }

    /// Sends one packet.
    #[inline]
    pub(crate) fn send(&mut self, packet: &[u8]) -> SendOutcome {
        match self.send_burst(Burst::one(packet)) {
            1 => SendOutcome::Sent,
            _ if self.state.is_failing() => SendOutcome::Failed,
            _ => SendOutcome::Dropped,
        }
    }

    /// Sends packets that stand back to back in one call; returns how many of them there was room for.
    #[inline]
    pub(crate) fn send_burst(&mut self, burst: Burst<'_>) -> usize {
        let count = burst.count();
        if burst.size().min(burst.bytes().len()) > self.longest {
            self.state
                .failed(count, &io::Error::from_raw_os_error(libc::EMSGSIZE));
            return 0;
        }
        if self.state.is_failing() && !self.goes_again(count) {
            return 0;
        }
        let (mut put, mut bytes) = (0, 0);
        for packet in burst.packets() {
            if !self.put(packet) {
                break;
            }
            put += 1;
            bytes += packet.len();
        }
        if put < count {
            self.state.dropped(count - put);
        }
        if put == 0 {
            return 0;
        }
        self.queue.transmit.submit();
        let taken = self.push_out(put);
        // Behind the call: nobody waits for it there.
        self.queue.reclaim();
        match taken {
            Ok(0) => {
                self.state.sent(put, bytes);
                put
            }
            Ok(lost) => self.lost(lost, put, bytes),
            Err(error) => {
                self.state.failed(put, &error);
                0
            }
        }
    }

    /// The kernel dropped some of the packets that it was given; returns how many it sent.
    #[cold]
    fn lost(&self, lost: usize, put: usize, bytes: usize) -> usize {
        // They may have been waiting since an earlier burst.
        let sent = put.saturating_sub(lost);
        self.state.dropped(lost);
        if sent > 0 {
            self.state.sent(sent, bytes / put * sent);
        }
        sent
    }

    /// While the interface does not work, no more is put behind what waits there: it would go out late. True once nothing waits,
    /// or the kernel takes it; if not, `count` packets have failed.
    #[cold]
    fn goes_again(&mut self, count: usize) -> bool {
        self.queue.reclaim();
        if self.queue.transmit.waiting() > 0
            && let Err(error) = self.queue.wake()
            && !is_passing(&error)
        {
            self.state.failed(count, &error);
            return false;
        }
        true
    }

    /// Puts a packet into the transmit ring; false if no frame is free.
    #[inline]
    fn put(&mut self, packet: &[u8]) -> bool {
        if self.queue.free.is_empty() {
            self.make_room();
        }
        let Some(mut frame) = self.queue.free.pop() else {
            return false;
        };
        let length = self.headers.write(packet, self.queue.umem.bytes_mut(&mut frame));
        let put = self.queue.put(frame, length);
        debug_assert!(put, "there are more places than frames");
        true
    }

    /// Waits a little for frames to come back.
    #[cold]
    fn make_room(&mut self) {
        self.queue.reclaim();
        self.queue.transmit.submit();
        for _ in 0..TRIES {
            if !self.queue.free.is_empty() {
                return;
            }
            self.state.would_block();
            let _ = self.queue.wake();
            self.queue.reclaim();
            std::hint::spin_loop();
        }
    }

    /// Calls the kernel until it has taken all that is in the transmit ring, at most so often for each of the packets; returns
    /// how many of them it says that it dropped.
    #[inline]
    fn push_out(&mut self, packets: usize) -> io::Result<usize> {
        match self.queue.wake() {
            Ok(()) => Ok(0),
            Err(error) => self.push_on(error, packets),
        }
    }

    /// Goes on where the first call ended with an error.
    #[cold]
    fn push_on(&mut self, mut error: io::Error, packets: usize) -> io::Result<usize> {
        let mut lost = 0;
        let mut before = u32::MAX;
        let mut calls = 1;
        loop {
            if !is_passing(&error) {
                return Err(error);
            }
            // In copy mode this is what it says of a packet that it took, and that the interface then dropped.
            lost += usize::from(error.raw_os_error() == Some(libc::EBUSY));
            let waiting = self.queue.transmit.waiting();
            if waiting == 0 || calls == TRIES * packets {
                return Ok(lost);
            }
            // In copy mode it takes 32 packets in a call.
            if waiting >= before {
                self.state.would_block();
            }
            before = waiting;
            // It may be that it waits for frames to be taken back.
            self.queue.reclaim();
            calls += 1;
            match self.queue.wake() {
                Ok(()) => return Ok(lost),
                Err(again) => error = again,
            }
        }
    }
}

/// True where calling again may help.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR)
    )
}

#[cfg(test)]
mod tests {
    use super::super::ring::{Consumer, Descriptor, Producer, tests::pair};
    use super::super::umem::Umem;
    use super::*;
    use std::os::unix::net::UnixDatagram;

    /// A sender in memory, and the ends of its rings that are the kernel's.
    struct Kernel {
        sender: XdpSender,
        transmit: Consumer<Descriptor>,
        completion: Producer<u64>,
    }

    impl Kernel {
        fn new(frames: u32) -> Self {
            let (umem, free) = Umem::new(frames as usize, 2048).unwrap();
            let (ours, transmit) = pair(socket::places(frames), 0);
            let (completion, taken) = pair(frames, 0);
            let (socket, _) = UnixDatagram::pair().unwrap();
            let line = "239.1.1.1:5001@lo".parse().unwrap();
            Self {
                sender: XdpSender {
                    queue: Sending {
                        umem,
                        transmit: ours,
                        completion: taken,
                        socket: Arc::new(socket.into()),
                        free,
                    },
                    headers: frame::tests::headers(),
                    longest: 1472,
                    state: Arc::new(SenderState::new(&line, Transport::Socket { why: None }, true)),
                },
                transmit,
                completion,
            }
        }

        /// Sends what is in the ring: the packets.
        fn sends(&mut self) -> Vec<Vec<u8>> {
            let mut packets = Vec::new();
            while let Some(Descriptor { address, length, .. }) = self.transmit.pop() {
                // SAFETY: this is the kernel's side, and the frame was given to it.
                let frame = unsafe { self.sender.queue.umem.claim(address) }.unwrap();
                let bytes = &self.sender.queue.umem.bytes(&frame)[..length as usize];
                packets.push(bytes[frame::packet(bytes).expect("a right frame")].to_vec());
                assert!(self.completion.push(self.sender.queue.umem.give(frame)));
            }
            self.transmit.release();
            self.completion.submit();
            packets
        }
    }

    #[test]
    fn packets_leave_in_order_in_frames_that_come_back() {
        let mut kernel = Kernel::new(8);
        for round in 0..10u8 {
            assert_eq!(kernel.sender.send(&[round]), SendOutcome::Sent);
            let burst: Vec<u8> = (0..14).map(|at| at / 2).collect();
            assert_eq!(kernel.sender.send_burst(Burst::new(&burst, 2)), 7);
            let mut expected = vec![vec![round]];
            expected.extend((0..7).map(|n| vec![n, n]));
            assert_eq!(kernel.sends(), expected);
        }
        let counts = kernel.sender.state.counts();
        assert_eq!((counts.sent, counts.bytes), (80, 150));
        assert_eq!((counts.bursts, counts.burst_packets), (10, 70));
    }

    #[test]
    fn where_no_frame_is_free_packets_are_dropped_and_counted_and_later_ones_go() {
        let mut kernel = Kernel::new(4);
        let burst: Vec<u8> = (0..6).collect();
        assert_eq!(kernel.sender.send_burst(Burst::new(&burst, 1)), 4);
        assert_eq!(kernel.sender.send(&[9]), SendOutcome::Dropped);
        let counts = kernel.sender.state.counts();
        assert_eq!((counts.sent, counts.dropped, counts.errors), (4, 3, 0));
        assert_eq!(kernel.sends(), [[0], [1], [2], [3]]);
        assert_eq!(kernel.sender.send(&[7]), SendOutcome::Sent);
        assert_eq!(kernel.sends(), [[7]]);
    }

    #[test]
    fn a_packet_that_is_too_long_is_an_error_and_takes_no_frame() {
        let mut kernel = Kernel::new(4);
        for _ in 0..10 {
            assert_eq!(kernel.sender.send(&[0; 1473]), SendOutcome::Failed);
        }
        assert_eq!(kernel.sender.send(&[0; 1472]), SendOutcome::Sent);
        assert_eq!(kernel.sends(), [[0; 1472]]);
        assert_eq!(kernel.sender.state.counts().errors, 10);
    }
}
