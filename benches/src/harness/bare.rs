//! The barest ends of a line: what any program pays that sends and receives so. A packet is nothing but bytes with a number in
//! it.
//!
//! Through a socket that is connected, and one that is bound and has joined. Or through AF_XDP: frames are written and the
//! kernel called; they are taken from the receive ring and given back. Headers are never looked at, and change with a packet's
//! length alone; UDP has no checksum.

use super::error::BenchError;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddrV4, UdpSocket};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use twinline_line::xdp::ring::Descriptor;
use twinline_line::xdp::socket::{Queue, Receiving, Sending};
use twinline_line::xdp::{Device, Mode, Program, XdpError};
use twinline_line::{Interface, LineAddress, LineError};

/// Bytes of Ethernet, IPv4 and UDP headers.
const HEADERS: usize = 42;
/// Bytes of a frame.
const FRAME: usize = 2048;
/// Frames at each end: as many as the rings of libxdp have places by default.
const FRAMES: u32 = 2048;
/// Most frames that are taken before their places are given back.
const AT_ONCE: usize = 64;
/// Calls for a burst, at most: the kernel takes 32 frames in one, and says that there are more.
const CALLS: usize = 64;
/// A socket's receive buffer: as large as a listener's.
const BUFFER: usize = twinline_line::DEFAULT_RECEIVE_BUFFER;
/// Where a packet has its number: where ours has its sequence.
const NUMBER_AT: usize = 16;

/// The number of a packet; one that is too short has the greatest there is.
#[inline]
pub(crate) fn number_of(packet: &[u8]) -> u64 {
    let number = packet.get(NUMBER_AT..).and_then(<[u8]>::first_chunk);
    number.map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
}

/// Numbers a packet.
#[inline]
pub(crate) fn set_number(packet: &mut [u8], number: u64) {
    packet[NUMBER_AT..NUMBER_AT + 8].copy_from_slice(&number.to_le_bytes());
}

/// One end of a line on a socket that does not wait, in the calling thread's network namespace.
pub(crate) fn socket(line: &LineAddress, receive: bool) -> Result<UdpSocket, BenchError> {
    let interface = line.find_interface()?;
    let index = interface.as_ref().map_or(0, |interface| interface.index);
    let group = SocketAddrV4::new(line.group, line.port);
    let open = || -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if receive {
            socket.set_reuse_address(true)?;
            socket.set_multicast_all_v4(false)?;
            // As much as the system grants: what is lost is counted.
            let _ = socket.set_recv_buffer_size(BUFFER);
            socket.bind(&group.into())?;
            socket.join_multicast_v4_n(&line.group, &InterfaceIndexOrAddress::Index(index))?;
        } else {
            socket.set_multicast_loop_v4(true)?;
            if let Some(interface) = &interface {
                socket.set_multicast_if_v4(&interface.address)?;
                socket.bind(&SocketAddrV4::new(interface.address, 0).into())?;
            }
            socket.connect(&group.into())?;
        }
        Ok(socket.into())
    };
    open().map_err(BenchError::io(format!("open the floor's sockets for {line}")))
}

/// The sending end through AF_XDP.
#[derive(Debug)]
pub(crate) struct BareSender {
    sending: Sending,
    headers: [u8; HEADERS],
    /// Bytes of the packet that they are for.
    length: usize,
}

impl BareSender {
    /// In the calling thread's network namespace.
    pub(crate) fn open(line: &LineAddress) -> Result<Self, BenchError> {
        let interface = interface(line)?;
        Ok(Self {
            sending: Sending::open(queue(&interface), FRAMES, FRAME).map_err(fail(line))?,
            headers: headers(line, &interface),
            length: usize::MAX,
        })
    }

    /// Sends one packet. What the kernel refuses never comes.
    #[inline]
    pub(crate) fn send(&mut self, packet: &[u8]) {
        self.sending.reclaim();
        if self.put(packet) {
            self.sending.transmit.submit();
            let _ = self.sending.wake();
        }
    }

    /// Sends `packet` once with each of these numbers, with one call to the kernel, and another where it says that it did not
    /// take all. What there is no frame for never comes.
    #[inline]
    pub(crate) fn send_burst(&mut self, packet: &mut [u8], numbers: Range<u64>) {
        for number in numbers {
            set_number(packet, number);
            if !self.put(packet) {
                break;
            }
        }
        self.sending.transmit.submit();
        for _ in 0..CALLS {
            if self.sending.wake().is_ok() || self.sending.transmit.waiting() == 0 {
                break;
            }
            // It may be that it waits for frames to be taken back.
            self.sending.reclaim();
        }
        self.sending.reclaim();
    }

    /// Puts a packet into the transmit ring; false if no frame is free.
    #[inline]
    fn put(&mut self, packet: &[u8]) -> bool {
        if packet.len() != self.length {
            self.length = packet.len();
            set_length(&mut self.headers, packet.len());
        }
        let sending = &mut self.sending;
        let Some(mut frame) = sending.free.pop() else {
            return false;
        };
        let bytes = sending.umem.bytes_mut(&mut frame);
        bytes[..HEADERS].copy_from_slice(&self.headers);
        bytes[HEADERS..HEADERS + packet.len()].copy_from_slice(packet);
        sending.put(frame, HEADERS + packet.len())
    }
}

/// The receiving end through AF_XDP.
#[derive(Debug)]
pub(crate) struct BareReceiver {
    _program: Program,
    receiving: Receiving,
}

impl BareReceiver {
    /// In the calling thread's network namespace.
    pub(crate) fn open(line: &LineAddress) -> Result<Self, BenchError> {
        let interface = interface(line)?;
        let open = || -> Result<Self, XdpError> {
            let device = Device::find(Some(&interface))?;
            let program = Program::attach(&device, line, &[], 1, Mode::Native)?;
            let receiving = Receiving::open(queue(&interface), FRAMES, FRAME)?;
            let queue = program.send_to(0, receiving.socket.as_fd());
            queue.map_err(|cause| XdpError::System {
                interface: interface.name.clone(),
                what: "send frames to a socket",
                cause,
            })?;
            Ok(Self {
                _program: program,
                receiving,
            })
        };
        open().map_err(fail(line))
    }

    /// Hands one packet, if one is there, to `take`, where it lies.
    #[inline]
    pub(crate) fn receive<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let taken = self.take(take)?;
        self.give_back();
        Some(taken)
    }

    /// Hands what is there to `take`, 64 packets at most; true if there was anything.
    #[inline]
    pub(crate) fn receive_all(&mut self, mut take: impl FnMut(&[u8])) -> bool {
        let mut any = false;
        for _ in 0..AT_ONCE {
            if self.take(&mut take).is_none() {
                break;
            }
            any = true;
        }
        if any {
            self.give_back();
        }
        any
    }

    #[inline]
    fn take<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let receiving = &mut self.receiving;
        let Descriptor { address, length, .. } = receiving.receive.pop()?;
        // SAFETY: the kernel hands a frame over when it has filled it, and does so once.
        let frame = unsafe { receiving.umem.claim(address) }?;
        let begin = address as usize % FRAME;
        let packet = receiving
            .umem
            .bytes(&frame)
            .get(begin + HEADERS..begin + length as usize);
        let taken = take(packet.unwrap_or_default());
        receiving.give_back(frame);
        Some(taken)
    }

    /// Gives the places and the frames of what was taken back.
    #[inline]
    fn give_back(&mut self) {
        self.receiving.receive.release();
        self.receiving.fill.submit();
    }
}

impl AsFd for BareReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiving.socket.as_fd()
    }
}

fn interface(line: &LineAddress) -> Result<Interface, BenchError> {
    line.find_interface()?
        .ok_or_else(|| BenchError::Broken(format!("{line} names no interface")))
}

fn queue(interface: &Interface) -> Queue<'_> {
    Queue {
        interface: &interface.name,
        index: interface.index,
        queue: 0,
    }
}

fn fail(line: &LineAddress) -> impl FnOnce(XdpError) -> BenchError {
    let address = line.to_string();
    |source| LineError::Xdp { address, source }.into()
}

/// Headers that a line's program picks; the lengths are still to be set.
fn headers(line: &LineAddress, from: &Interface) -> [u8; HEADERS] {
    let mut bytes = [0; HEADERS];
    let group = line.group.octets();
    bytes[..6].copy_from_slice(&[1, 0, 0x5e, group[1] & 0x7f, group[2], group[3]]);
    // An address of nobody: no host replies.
    bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    bytes[12..14].copy_from_slice(&[8, 0]);
    bytes[14] = 0x45;
    bytes[22] = 1;
    bytes[23] = libc::IPPROTO_UDP as u8;
    bytes[26..30].copy_from_slice(&from.address.octets());
    bytes[30..34].copy_from_slice(&group);
    bytes[34..36].copy_from_slice(&line.port.to_be_bytes());
    bytes[36..38].copy_from_slice(&line.port.to_be_bytes());
    bytes
}

/// The lengths for a packet, and the checksum of the IPv4 header (RFC 1071): a bridge may look at them.
fn set_length(headers: &mut [u8; HEADERS], packet: usize) {
    headers[16..18].copy_from_slice(&((packet + 28) as u16).to_be_bytes());
    headers[38..40].copy_from_slice(&((packet + 8) as u16).to_be_bytes());
    headers[24..26].fill(0);
    let (halves, _) = headers[14..34].as_chunks::<2>();
    let sum: u32 = halves
        .iter()
        .map(|&half| u32::from(u16::from_be_bytes(half)))
        .sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    headers[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
