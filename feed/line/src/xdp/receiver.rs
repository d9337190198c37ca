//! The receiving end of a line through AF_XDP.

use super::claim;
use super::device::Device;
use super::error::XdpError;
use super::frame;
use super::program::{Mode, Program};
use super::ring::Descriptor;
use super::socket::{self, Queue, Receiving};
use super::umem;
use crate::receiver::{BufferReport, Drops, ReceiverOptions, ReceiverState};
use crate::socket::join;
use crate::{Interface, Io, JOIN, LineAddress, Transport, join_limit};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Most frames that are taken from a queue before the next one is looked at.
const AT_ONCE: usize = 64;

/// The sockets of a receiver's queues.
#[derive(Debug)]
pub(crate) struct Queues(Vec<Arc<OwnedFd>>);

impl Queues {
    /// Frames that the kernel dropped because nobody took them fast enough.
    pub(crate) fn drops(&self) -> u64 {
        self.0.iter().map(socket::drops).sum()
    }
}

/// The receiving end of a line through AF_XDP.
#[derive(Debug)]
pub(crate) struct XdpReceiver {
    /// First: no more frames are sent to the sockets when these go.
    _program: Program,
    queues: Vec<Receiving>,
    /// For those who read the state.
    _sockets: Arc<Queues>,
    /// Keeps the group joined, for the switches and for the network card. It is bound to no port, and hears nothing.
    _membership: Socket,
    state: Arc<ReceiverState>,
}

impl XdpReceiver {
    /// Opens what hears `line` on an interface, packets of at most `longest` bytes.
    pub(crate) fn open(
        line: &LineAddress,
        interface: Option<&Interface>,
        options: &ReceiverOptions,
        longest: usize,
    ) -> Result<Self, XdpError> {
        let device = Device::find(interface)?;
        if options.io == Io::Auto && claim::socket_hears(line) {
            return Err(XdpError::SocketHears {
                line: line.endpoint().to_string(),
            });
        }
        let frame_size = umem::receiving_frame_size(longest)?;
        let count = device.queues()[0];
        let queues = match &options.queues[..] {
            [] => (0..count).collect(),
            queues => queues.to_vec(),
        };
        queues
            .iter()
            .try_for_each(|&queue| device.check_queue(queue, count))?;
        let attach = |mode| Program::attach(&device, line, &options.sources, count, mode);
        let wanted = options.mode.unwrap_or(Mode::Native);
        let (program, mode) = match attach(wanted) {
            Err(XdpError::NotNative { .. }) if options.mode.is_none() && options.io == Io::Xdp => {
                (attach(Mode::Generic)?, Mode::Generic)
            }
            attached => (attached?, wanted),
        };
        let frames = (options.receive_buffer / frame_size)
            .max(AT_ONCE)
            .next_power_of_two() as u32;
        let receiving = |&queue: &u32| {
            let place = Queue {
                interface: device.name(),
                index: device.interface.index,
                queue,
            };
            let receiving = Receiving::open(place, frames, frame_size)?;
            program
                .send_to(queue, receiving.socket.as_fd())
                .map_err(|cause| XdpError::new(device.name(), "send frames to a socket", cause))?;
            Ok(receiving)
        };
        let membership = membership(line, &device, options)?;
        let receiving = queues
            .iter()
            .map(receiving)
            .collect::<Result<Vec<_>, XdpError>>()?;
        let sockets = Arc::new(Queues(
            receiving.iter().map(|queue| Arc::clone(&queue.socket)).collect(),
        ));
        let transport = Transport::Xdp {
            interface: device.name().into(),
            zero_copy: receiving.iter().all(|queue| socket::is_zero_copy(&queue.socket)),
            huge_pages: receiving.iter().all(|queue| queue.umem.is_huge()),
            mode: Some(mode),
            queues,
        };
        let granted = frames as usize * frame_size;
        let buffer = BufferReport {
            asked: options.receive_buffer.min(granted),
            granted,
        };
        let drops = Drops::Xdp(Arc::downgrade(&sockets));
        Ok(Self {
            _program: program,
            queues: receiving,
            _sockets: sockets,
            _membership: membership,
            state: Arc::new(ReceiverState::new(line, transport, buffer, drops)),
        })
    }

    /// What other threads read.
    pub(crate) fn state(&self) -> &Arc<ReceiverState> {
        &self.state
    }

    /// Hands what each queue has to `take`, where it lies; see [`LineReceiver::receive`](crate::LineReceiver::receive).
    #[inline]
    pub(crate) fn receive(&mut self, longest: usize, mut take: impl FnMut(&[u8])) -> bool {
        let mut any = false;
        for queue in &mut self.queues {
            any |= receive(queue, &self.state, longest, &mut take);
        }
        any
    }

    /// The first queue's socket.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.queues[0].socket.as_fd()
    }
}

impl Drop for XdpReceiver {
    fn drop(&mut self) {
        // Nobody can ask the kernel any more when the sockets are gone.
        self.state.look_at_drops();
    }
}

/// Hands what a queue has to `take`; true if there was anything.
#[inline]
fn receive(
    queue: &mut Receiving,
    state: &ReceiverState,
    longest: usize,
    take: &mut impl FnMut(&[u8]),
) -> bool {
    if queue.receive.is_empty() {
        // Zero-copy, a card that found no frame to fill asks for a call, perhaps just behind the last look.
        queue.wake();
        return false;
    }
    queue.prefetch();
    let (mut packets, mut bytes) = (0, 0);
    let mut taken = 0;
    while taken < AT_ONCE {
        let Some(Descriptor { address, length, .. }) = queue.receive.pop() else {
            break;
        };
        taken += 1;
        // SAFETY: the kernel hands a frame over when it has filled it, and does so once.
        let Some(frame) = (unsafe { queue.umem.claim(address) }) else {
            state.bad_frame();
            continue;
        };
        let begin = address as usize & (queue.umem.frame_size() - 1);
        let filled = queue.umem.bytes(&frame).get(begin..begin + length as usize);
        match filled.and_then(|filled| Some(&filled[frame::packet(filled)?])) {
            None => state.bad_frame(),
            Some(packet) => {
                packets += 1;
                bytes += packet.len();
                match packet.len() <= longest {
                    true => take(packet),
                    false => {
                        state.truncated(1);
                        take(&[]);
                    }
                }
            }
        }
        queue.give_back(frame);
    }
    queue.look_ahead();
    queue.receive.release();
    queue.fill.submit();
    queue.wake();
    state.received(packets, bytes);
    true
}

/// An ordinary socket that joins the group.
fn membership(line: &LineAddress, device: &Device, options: &ReceiverOptions) -> Result<Socket, XdpError> {
    let joined = || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        join(&socket, line, Some(&device.interface), &options.sources)?;
        Ok(socket)
    };
    joined().map_err(|cause: io::Error| match cause.raw_os_error() {
        Some(libc::ENOBUFS) => XdpError::TooManyGroups {
            limit: join_limit(&options.sources),
        },
        _ => XdpError::new(device.name(), JOIN, cause),
    })
}

#[cfg(test)]
mod tests {
    use super::super::ring::{Consumer, Producer, tests::pair};
    use super::super::umem::{Frame, HEADROOM, Umem};
    use super::*;
    use std::os::unix::net::UnixDatagram;

    /// A queue in memory, and the ends of its rings that are the kernel's.
    struct Kernel {
        queue: Receiving,
        fill: Consumer<u64>,
        receive: Producer<Descriptor>,
        state: ReceiverState,
    }

    const FRAMES: u32 = 4;
    const FRAME: usize = 2048;

    impl Kernel {
        fn new() -> Self {
            let (umem, frames) = Umem::new(FRAMES as usize, FRAME).unwrap();
            let (mut ours, fill) = pair(socket::places(FRAMES), 0);
            frames
                .into_iter()
                .for_each(|frame| assert!(ours.push(umem.give(frame))));
            ours.submit();
            let (receive, taken) = pair(FRAMES, 0);
            let (socket, _) = UnixDatagram::pair().unwrap();
            let line = "239.1.1.1:5001@lo".parse().unwrap();
            let buffer = BufferReport { asked: 0, granted: 0 };
            Self {
                queue: Receiving {
                    umem,
                    fill: ours,
                    receive: taken,
                    socket: Arc::new(socket.into()),
                    next: HEADROOM as u64,
                },
                fill,
                receive,
                state: ReceiverState::new(
                    &line,
                    Transport::Socket { why: None },
                    buffer,
                    Drops::Xdp(std::sync::Weak::new()),
                ),
            }
        }

        /// Fills the next frame; false if there is none.
        fn fill(&mut self, bytes: &[u8]) -> bool {
            let Some(address) = self.fill.pop() else {
                return false;
            };
            // SAFETY: this is the kernel's side, and the frame was given to it.
            let mut frame: Frame = unsafe { self.queue.umem.claim(address) }.unwrap();
            self.queue.umem.bytes_mut(&mut frame)[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
            let address = self.queue.umem.give(frame);
            self.hand_over(address + HEADROOM as u64, bytes.len())
        }

        fn hand_over(&mut self, address: u64, length: usize) -> bool {
            let put = self.receive.push(Descriptor {
                address,
                length: length as u32,
                options: 0,
            });
            self.receive.submit();
            put
        }

        fn take(&mut self, longest: usize) -> Vec<Vec<u8>> {
            let mut packets = Vec::new();
            let any = receive(&mut self.queue, &self.state, longest, &mut |packet| {
                packets.push(packet.to_vec());
            });
            assert!(any || packets.is_empty());
            packets
        }
    }

    #[test]
    fn frames_are_read_where_they_lie_and_go_back_to_be_filled_again() {
        let mut kernel = Kernel::new();
        for round in 0..10u8 {
            for n in 0..4 {
                assert!(kernel.fill(&frame::tests::frame(&[round, n])));
            }
            assert!(!kernel.fill(&[]), "all frames are used");
            kernel.fill.release();
            assert_eq!(kernel.take(100), [[round, 0], [round, 1], [round, 2], [round, 3]]);
            assert_eq!(kernel.take(100), [[0u8; 0]; 0]);
        }
        let counts = kernel.state.counts();
        assert_eq!((counts.received, counts.bytes, counts.bursts), (40, 80, 10));
    }

    #[test]
    fn frames_go_back_also_where_the_kernel_has_not_said_yet_that_it_took_them() {
        let mut kernel = Kernel::new();
        for round in 0..10u8 {
            for n in 0..4 {
                assert!(kernel.fill(&frame::tests::frame(&[round, n])));
            }
            assert_eq!(kernel.take(100), [[round, 0], [round, 1], [round, 2], [round, 3]]);
            // As the kernel does when it looks for more.
            kernel.fill.release();
        }
    }

    #[test]
    fn a_bad_frame_is_counted_a_long_one_is_no_packet_and_both_go_back() {
        let mut kernel = Kernel::new();
        for _ in 0..10 {
            let mut bad = frame::tests::frame(b"changed on its way");
            bad[50] ^= 1;
            assert!(kernel.fill(&bad) && kernel.fill(&[1; 20]));
            assert!(kernel.fill(&frame::tests::frame(b"long")) && kernel.fill(&frame::tests::frame(b"fit")));
            assert_eq!(kernel.take(3), [&b""[..], b"fit"]);
            kernel.fill.release();
        }
        let counts = kernel.state.counts();
        assert_eq!(
            (counts.received, counts.truncated, counts.bad_frames),
            (20, 10, 20)
        );
    }

    #[test]
    fn a_descriptor_that_points_outside_the_memory_is_counted_and_harms_nothing() {
        let mut kernel = Kernel::new();
        assert!(kernel.hand_over(u64::MAX - 5, 100) && kernel.hand_over(FRAMES as u64 * FRAME as u64, 100));
        assert_eq!(kernel.take(100), [[0u8; 0]; 0]);
        let address = kernel.fill.pop().unwrap();
        kernel.fill.release();
        assert!(kernel.hand_over(address + HEADROOM as u64, usize::from(u16::MAX)));
        assert_eq!(kernel.take(100), [[0u8; 0]; 0]);
        assert_eq!(kernel.state.counts().bad_frames, 3);
    }
}
