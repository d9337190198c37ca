//! The receiving end of a line through AF_XDP.

use super::device::Device;
use super::error::XdpError;
use super::frame;
use super::program::{Mode, Program};
use super::ring::Descriptor;
use super::socket::{self, Queue, Receiving};
use super::umem::HEADROOM;
use crate::receiver::{BufferReport, Drops, ReceiverOptions, ReceiverState};
use crate::socket::join;
use crate::{Interface, Io, JOIN, LineAddress, Transport};
use socket2::{Domain, Protocol, Socket, Type};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Most frames that are taken from a queue before the next one is looked at.
const AT_ONCE: usize = 64;

/// Bytes of a frame where that is enough.
const FRAME: usize = 2048;
/// Bytes of the largest frame: a page's.
const LARGEST_FRAME: usize = 4096;

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
        let frame_size = frame_size(longest)?;
        let count = device.queues()[0];
        let queues = match &options.queues[..] {
            [] => (0..count).collect(),
            queues => queues.to_vec(),
        };
        queues
            .iter()
            .try_for_each(|&queue| device.check_queue(queue, count))?;
        let attach = |mode| Program::attach(&device, line, &options.sources, count, mode);
        let native = options.mode != Some(Mode::Generic);
        let (program, mode) = match native.then(|| attach(Mode::Native)) {
            Some(Ok(program)) => (program, Mode::Native),
            Some(Err(error @ XdpError::NotNative { .. })) => {
                if options.io == Io::Auto || options.mode == Some(Mode::Native) {
                    return Err(error);
                }
                (attach(Mode::Generic)?, Mode::Generic)
            }
            Some(Err(error)) => return Err(error),
            None => (attach(Mode::Generic)?, Mode::Generic),
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
        let kept = queue.fill.push(frame.give());
        debug_assert!(kept, "there are more places than frames");
    }
    queue.look_ahead();
    queue.receive.release();
    queue.fill.submit();
    queue.wake();
    state.received(packets, bytes);
    true
}

/// Bytes of a frame that holds a packet of this length.
fn frame_size(longest: usize) -> Result<usize, XdpError> {
    let needed = HEADROOM + frame::HEADERS + longest;
    match needed {
        0..=FRAME => Ok(FRAME),
        needed if needed <= LARGEST_FRAME => Ok(LARGEST_FRAME),
        _ => Err(XdpError::TooLong {
            length: longest,
            most: LARGEST_FRAME - HEADROOM - frame::HEADERS,
        }),
    }
}

/// An ordinary socket that joins the group.
fn membership(line: &LineAddress, device: &Device, options: &ReceiverOptions) -> Result<Socket, XdpError> {
    let joined = || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        join(&socket, line, Some(&device.interface), &options.sources)?;
        Ok(socket)
    };
    joined().map_err(|cause| XdpError::new(device.name(), JOIN, cause))
}
