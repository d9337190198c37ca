//! An AF_XDP socket: one queue of an interface, with the memory and the four rings between it and us.
//!
//! Frames that are to be filled go to the kernel through the fill ring and come back, received, through the receive ring; frames
//! to be sent go through the transmit ring and come back through the completion ring. A socket here either receives or sends.

use super::error::XdpError;
use super::ring::{Consumer, Descriptor, Offsets, Producer};
use super::umem::{Frame, HEADROOM, Umem};
use memmap2::{MmapOptions, MmapRaw};
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING,
    XDP_UMEM_PGOFF_FILL_RING, XdpOptionsFlags, XdpRingOffset, XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, socket_with, sockopt};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long what another process has is asked for again.
const LETTING_GO: Duration = Duration::from_secs(1);
/// Between two times of asking.
const AGAIN: Duration = Duration::from_millis(10);

/// Bytes of what comes next that are brought nearer: a short packet with its headers.
const NEAR: usize = 192;

/// Entries of the rings that a socket does not use, but must have.
const UNUSED: u32 = 2;

/// Entries of the ring through which so many frames go to the kernel. It may hand a frame back before it says that it has taken
/// it out of the ring: until then the ring must have a second place for each.
pub(super) const fn places(frames: u32) -> u32 {
    2 * frames
}

/// A queue of an interface.
#[derive(Clone, Copy, Debug)]
pub struct Queue<'i> {
    /// The interface's name.
    pub interface: &'i str,
    /// Its number in the kernel.
    pub index: u32,
    /// The queue's number.
    pub queue: u32,
}

/// A socket that receives.
#[derive(Debug)]
pub struct Receiving {
    /// The frames' memory.
    pub umem: Umem,
    /// Frames to be filled.
    pub fill: Producer<u64>,
    /// Frames that were received.
    pub receive: Consumer<Descriptor>,
    /// The socket.
    pub socket: Arc<OwnedFd>,
    /// Where what comes next will probably lie.
    pub(super) next: u64,
}

/// A socket that sends.
#[derive(Debug)]
pub struct Sending {
    /// The frames' memory.
    pub umem: Umem,
    /// Frames to be sent.
    pub transmit: Producer<Descriptor>,
    /// Frames that were sent.
    pub completion: Consumer<u64>,
    /// The socket.
    pub socket: Arc<OwnedFd>,
    /// Frames that are ours.
    pub free: Vec<Frame>,
}

impl Receiving {
    /// A socket that receives from a queue, with so many frames of so many bytes, all of them ready to be filled; both are
    /// powers of two. Nothing comes before a program sends it here.
    ///
    /// # Errors
    /// If the queue is in use or does not exist, there is no permission or no memory.
    pub fn open(queue: Queue<'_>, frames: u32, frame_size: usize) -> Result<Self, XdpError> {
        let fail = |what| move |cause: io::Error| XdpError::new(queue.interface, what, cause);
        let (umem, free) =
            Umem::new(frames as usize, frame_size).map_err(|cause| XdpError::Memory { cause })?;
        let socket = open(queue, &umem, places(frames), UNUSED)?;
        sockopt::set_xdp_rx_ring_size(&socket, frames)
            .map_err(|error| fail("make the receive ring")(error.into()))?;
        let offsets = sockopt::xdp_mmap_offsets(&socket)
            .map_err(|error| fail("ask for the rings' offsets")(error.into()))?;
        let map = |offsets, place, size: u32, entry| {
            map(&socket, offsets, place, size, entry).map_err(fail("map a ring"))
        };
        let (memory, at) = map(
            &offsets.fr,
            XDP_UMEM_PGOFF_FILL_RING,
            places(frames),
            size_of::<u64>(),
        )?;
        let mut fill = Producer::new(memory, at, places(frames));
        let (memory, at) = map(&offsets.rx, XDP_PGOFF_RX_RING, frames, size_of::<Descriptor>())?;
        let receive = Consumer::new(memory, at, frames);
        for frame in free {
            let filled = fill.push(umem.give(frame));
            debug_assert!(filled, "there are more places than frames");
        }
        fill.submit();
        let socket = bound(Copying::IfNeeded, queue, socket)?;
        Ok(Self {
            umem,
            fill,
            receive,
            socket,
            next: HEADROOM as u64,
        })
    }

    /// Gives a frame back to be filled again, once that is submitted.
    ///
    /// # Panics
    /// If it is a frame of another memory.
    #[inline]
    pub fn give_back(&mut self, frame: Frame) {
        let kept = self.fill.push(self.umem.give(frame));
        debug_assert!(kept, "there are more places than frames");
    }

    /// Brings what has just come nearer. The kernel fills frames in the order in which they were given to it, so it is known
    /// where that lies before the ring has said so, and a fetch from another core's cache is saved. A wrong guess costs
    /// nothing.
    #[inline]
    pub(super) fn prefetch(&self) {
        self.umem.prefetch(self.next, NEAR);
    }

    /// Notes where what comes next will lie.
    #[inline]
    pub(super) fn look_ahead(&mut self) {
        self.next = self.fill.at(self.receive.position()) + HEADROOM as u64;
    }

    /// Calls the kernel where it waits for that before it fills more frames.
    #[inline]
    pub fn wake(&mut self) {
        if self.fill.needs_wakeup() {
            let _ = rustix::net::recv(&self.socket, &mut [0u8; 0], RecvFlags::DONTWAIT);
        }
    }
}

impl Sending {
    /// A socket that sends by a queue, with so many frames of so many bytes, both powers of two: by zero-copy where the driver
    /// binds it so and then sends, too. (Some do the first but not the second as long as no program is attached.)
    ///
    /// # Errors
    /// If the queue is in use or does not exist, there is no permission or no memory.
    pub fn open(queue: Queue<'_>, frames: u32, frame_size: usize) -> Result<Self, XdpError> {
        match Self::open_by(Copying::None, queue, frames, frame_size) {
            Ok(sending) if sending.call().is_ok() => return Ok(sending),
            Err(taken @ XdpError::QueueTaken { .. }) => return Err(taken),
            // What was bound must be let go before the queue is bound again.
            refused => drop(refused),
        }
        Self::open_by(Copying::ByKernel, queue, frames, frame_size)
    }

    fn open_by(copying: Copying, queue: Queue<'_>, frames: u32, frame_size: usize) -> Result<Self, XdpError> {
        let fail = |what| move |cause: io::Error| XdpError::new(queue.interface, what, cause);
        // Zero-copy, what the queue receives for the kernel is received into our memory, too: that must have room for it.
        let received = match copying {
            Copying::None => frames,
            _ => 0,
        };
        let fill = received.max(UNUSED);
        let (umem, mut free) = Umem::new((frames + received) as usize, frame_size)
            .map_err(|cause| XdpError::Memory { cause })?;
        let received = free.split_off(frames as usize);
        let socket = open(queue, &umem, fill, frames)?;
        sockopt::set_xdp_tx_ring_size(&socket, places(frames))
            .map_err(|error| fail("make the transmit ring")(error.into()))?;
        let offsets = sockopt::xdp_mmap_offsets(&socket)
            .map_err(|error| fail("ask for the rings' offsets")(error.into()))?;
        let map = |offsets, place, size: u32, entry| {
            map(&socket, offsets, place, size, entry).map_err(fail("map a ring"))
        };
        let (memory, at) = map(
            &offsets.cr,
            XDP_UMEM_PGOFF_COMPLETION_RING,
            frames,
            size_of::<u64>(),
        )?;
        let completion = Consumer::new(memory, at, frames);
        let (memory, at) = map(
            &offsets.tx,
            XDP_PGOFF_TX_RING,
            places(frames),
            size_of::<Descriptor>(),
        )?;
        let transmit = Producer::new(memory, at, places(frames));
        let (memory, at) = map(&offsets.fr, XDP_UMEM_PGOFF_FILL_RING, fill, size_of::<u64>())?;
        let mut fill = Producer::new(memory, at, fill);
        for frame in received {
            // The program passes on what the kernel fills them with, and the kernel then fills them again.
            let filled = fill.push(umem.give(frame));
            debug_assert!(filled, "there are as many places as frames");
        }
        fill.submit();
        let socket = bound(copying, queue, socket)?;
        Ok(Self {
            umem,
            transmit,
            completion,
            socket,
            free,
        })
    }

    /// Gives a frame, of which so many bytes are to be sent, once that is submitted. False if the ring is full: then the frame is
    /// lost, but there are more places than frames.
    ///
    /// # Panics
    /// If it is a frame of another memory.
    #[inline]
    pub fn put(&mut self, frame: Frame, length: usize) -> bool {
        self.transmit.push(Descriptor {
            address: self.umem.give(frame),
            length: length as u32,
            options: 0,
        })
    }

    /// Takes back the frames that were sent.
    #[inline]
    pub fn reclaim(&mut self) {
        let before = self.free.len();
        while let Some(address) = self.completion.pop() {
            // SAFETY: the kernel gives a frame back when it was sent, and does so once.
            self.free.extend(unsafe { self.umem.claim(address) });
        }
        if self.free.len() > before {
            self.completion.release();
        }
    }

    /// Calls the kernel to send what it was given, where it waits for that: in copy mode always.
    ///
    /// # Errors
    /// What the kernel says; what is in the ring stays there.
    #[inline]
    pub fn wake(&self) -> io::Result<()> {
        match self.transmit.needs_wakeup() {
            true => self.call(),
            false => Ok(()),
        }
    }

    #[inline]
    fn call(&self) -> io::Result<()> {
        rustix::net::send(&self.socket, &[], SendFlags::DONTWAIT)?;
        Ok(())
    }
}

/// A socket with memory registered, and fill and completion rings of these sizes.
fn open(queue: Queue<'_>, umem: &Umem, fill: u32, completion: u32) -> Result<OwnedFd, XdpError> {
    let fail = |what| move |error: rustix::io::Errno| XdpError::new(queue.interface, what, error.into());
    let socket = socket_with(
        AddressFamily::XDP,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(fail("make an AF_XDP socket"))?;
    let memory = XdpUmemReg {
        addr: umem.address(),
        len: umem.length() as u64,
        chunk_size: umem.frame_size() as u32,
        headroom: 0,
        flags: XdpUmemRegFlags::empty(),
        tx_metadata_len: 0,
    };
    sockopt::set_xdp_umem_reg(&socket, memory).map_err(fail("register the frames' memory"))?;
    sockopt::set_xdp_umem_fill_ring_size(&socket, fill).map_err(fail("make the fill ring"))?;
    sockopt::set_xdp_umem_completion_ring_size(&socket, completion)
        .map_err(fail("make the completion ring"))?;
    Ok(socket)
}

/// Maps a ring of `size` entries.
fn map(
    socket: &OwnedFd,
    offsets: &XdpRingOffset,
    place: u64,
    size: u32,
    entry: usize,
) -> io::Result<(Arc<MmapRaw>, Offsets)> {
    let at = Offsets {
        producer: offsets.producer as usize,
        consumer: offsets.consumer as usize,
        flags: offsets.flags.map(|flags| flags as usize),
        entries: offsets.desc as usize,
    };
    let memory = MmapOptions::new()
        .offset(place)
        .len(at.entries + size as usize * entry)
        .populate()
        .map_raw(socket.as_raw_fd())?;
    Ok((Arc::new(memory), at))
}

/// Who moves packets between a socket's memory and the network card.
#[derive(Clone, Copy, Debug)]
enum Copying {
    /// The card itself, zero-copy; an error where the driver cannot let it.
    None,
    /// The card where the driver can let it, else the kernel.
    IfNeeded,
    /// The kernel.
    ByKernel,
}

/// Binds a socket to a queue.
fn bound(copying: Copying, queue: Queue<'_>, socket: OwnedFd) -> Result<Arc<OwnedFd>, XdpError> {
    let flags = SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP
        | match copying {
            Copying::None => SocketAddrXdpFlags::XDP_ZEROCOPY,
            Copying::IfNeeded => SocketAddrXdpFlags::empty(),
            Copying::ByKernel => SocketAddrXdpFlags::XDP_COPY,
        };
    let address = SocketAddrXdp::new(flags, queue.index, queue.queue);
    let bind = || bind(&socket, &address).map_err(io::Error::from);
    let is_taken = |error: &io::Error| error.raw_os_error() == Some(libc::EBUSY);
    match patiently(bind, is_taken) {
        Ok(()) => Ok(Arc::new(socket)),
        Err(error) if is_taken(&error) => Err(XdpError::QueueTaken {
            interface: queue.interface.into(),
            queue: queue.queue,
        }),
        Err(error) => Err(XdpError::new(
            queue.interface,
            "bind an AF_XDP socket to a queue",
            error,
        )),
    }
}

/// Tries for a moment again while it fails for what another process has: the kernel takes that long to let go of what a killed one
/// had.
pub(super) fn patiently<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    is_taken: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let started = Instant::now();
    loop {
        match attempt() {
            Err(error) if is_taken(&error) && started.elapsed() < LETTING_GO => std::thread::sleep(AGAIN),
            done => return done,
        }
    }
}

/// True if the network card reads and writes the frames' memory itself.
pub(super) fn is_zero_copy(socket: impl AsFd) -> bool {
    sockopt::xdp_options(socket).is_ok_and(|options| options.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY))
}

/// Frames that the kernel dropped because nobody took them fast enough. The times that the fill ring was empty are not added: a
/// frame that the kernel would have copied is among the dropped then, and a network card that writes to our memory counts
/// what it drops itself.
pub(super) fn drops(socket: impl AsFd) -> u64 {
    sockopt::xdp_statistics(socket).map_or(0, |counts| counts.rx_dropped + counts.rx_ring_full.unwrap_or(0))
}
