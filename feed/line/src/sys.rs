//! The few kernel interfaces that have no safe wrapper: listing interfaces, receiving with the sender's address and a time, sending
//! many packets at once, and the socket options that `socket2` does not know.

use crate::Interface;
use std::ffi::CStr;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd};

/// The machine's interfaces that have an IPv4 address, one entry an address.
pub(crate) fn interfaces() -> io::Result<Vec<Interface>> {
    let mut first = std::ptr::null_mut();
    // SAFETY: `first` is a place for one pointer; the list that it then points at is freed below, once.
    if unsafe { libc::getifaddrs(&mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut next = first;
    // SAFETY: `next` is null or an entry of the list, which lives until `freeifaddrs`.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        if entry.ifa_addr.is_null() || entry.ifa_name.is_null() {
            continue;
        }
        // SAFETY: not null, and every socket address begins with its family.
        if i32::from(unsafe { (*entry.ifa_addr).sa_family }) != libc::AF_INET {
            continue;
        }
        // SAFETY: an address of family AF_INET is a `sockaddr_in`; read unaligned, so its place does not matter.
        let address = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
        // SAFETY: an interface's name is a C string that lives as long as the list.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) };
        found.push(Interface {
            name: name.to_string_lossy().into_owned(),
            // SAFETY: `name` is a C string.
            index: unsafe { libc::if_nametoindex(name.as_ptr()) },
            address: Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)),
        });
    }
    // SAFETY: the list that getifaddrs made; nothing above kept a reference into it.
    unsafe { libc::freeifaddrs(first) };
    Ok(found)
}

/// A datagram with what the kernel knows of it: its true length, who sent it, and when it came, in nanoseconds since the
/// Unix epoch, if the socket has `SO_TIMESTAMPNS`.
pub(crate) fn receive_from(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddrV4, Option<u64>)> {
    /// Room for one time, aligned as control messages must be.
    #[repr(C, align(8))]
    struct Control([u8; 64]);
    let mut control = Control([0; 64]);
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: plain integers and pointers, for all of which zero is a value.
    let mut name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    // SAFETY: the same.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = std::ptr::from_mut(&mut name).cast();
    message.msg_namelen = size_of_val(&name) as libc::socklen_t;
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    let how = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: all that `message` points at lives here, and the kernel writes no more than the lengths beside it.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, how) };
    let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let source = SocketAddrV4::new(
        Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)),
        u16::from_be(name.sin_port),
    );
    let mut time = None;
    // SAFETY: the kernel filled in the header and the control buffer it points at.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(&message) };
    // SAFETY: `next` is null or a control message within the buffer.
    while let Some(entry) = unsafe { next.as_ref() } {
        if (entry.cmsg_level, entry.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
            // SAFETY: a message of this type holds a timespec; read unaligned, so its place does not matter.
            let at = unsafe { libc::CMSG_DATA(next).cast::<libc::timespec>().read_unaligned() };
            time = Some((at.tv_sec as u64).wrapping_mul(1_000_000_000) + at.tv_nsec as u64);
        }
        // SAFETY: both are of this call.
        next = unsafe { libc::CMSG_NXTHDR(&message, next) };
    }
    Ok((length, source, time))
}

/// Sends `bytes` as datagrams of `size` bytes each, the last of what is left, in one call (`UDP_SEGMENT`).
pub(crate) fn send_segmented(socket: BorrowedFd<'_>, bytes: &[u8], size: u16) -> io::Result<usize> {
    /// Room for one size, aligned as control messages must be.
    #[repr(C, align(8))]
    struct Control([u8; 24]);
    let mut control = Control([0; 24]);
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: plain integers and pointers, for all of which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: computes a length from a length.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<u16>() as u32) } as _;
    // SAFETY: the control buffer has room for one header and a 16-bit size: CMSG_SPACE of that is 24 bytes.
    let entry = unsafe { libc::CMSG_FIRSTHDR(&message) };
    // SAFETY: `entry` is the header in that buffer, which is aligned for it; nobody else refers to it.
    let entry = unsafe { &mut *entry };
    entry.cmsg_level = libc::SOL_UDP;
    entry.cmsg_type = libc::UDP_SEGMENT;
    // SAFETY: computes a length from a length.
    entry.cmsg_len = unsafe { libc::CMSG_LEN(size_of::<u16>() as u32) } as _;
    // SAFETY: the data behind the header has room for the size, as said; written unaligned, so its place does not matter.
    unsafe { libc::CMSG_DATA(entry).cast::<u16>().write_unaligned(size) };
    // SAFETY: all that `message` points at lives here, and the kernel only reads it: `bytes`, too, although the type of
    // its pointer would allow more.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_DONTWAIT) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Sets an integer socket option.
pub(crate) fn set_option(socket: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the option's value is an int, as all options that this module's users set are.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `SK_MEMINFO_DROPS` and one more than it: the kernel's array of a socket's memory figures.
const MEMINFO_DROPS: usize = 8;

/// Datagrams that the kernel dropped because the socket's receive buffer was full. 32 bits, so it wraps.
pub(crate) fn kernel_drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut figures = [0u32; MEMINFO_DROPS + 1];
    let mut length = size_of_val(&figures) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `figures`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            figures.as_mut_ptr().cast(),
            &mut length,
        )
    };
    if result == 0 {
        Ok(figures[MEMINFO_DROPS])
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `struct ethtool_channels`.
#[repr(C)]
struct Channels {
    command: u32,
    /// Most receive, transmit, other and combined ones.
    most: [u32; 4],
    receive: u32,
    transmit: u32,
    other: u32,
    combined: u32,
}

/// How many queues an interface receives from and sends by, if its driver says.
pub(crate) fn queues(interface: &str) -> io::Result<[u32; 2]> {
    const ETHTOOL_GCHANNELS: u32 = 0x3c;
    let mut channels = Channels {
        command: ETHTOOL_GCHANNELS,
        most: [0; 4],
        receive: 0,
        transmit: 0,
        other: 0,
        combined: 0,
    };
    // SAFETY: integers and a union of integers and pointers, for all of which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = std::ptr::from_mut(&mut channels).cast();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    // SAFETY: the kernel reads the name and writes no more than a `struct ethtool_channels` at the pointer behind it; both live.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &mut request) } {
        0 => Ok([
            channels.receive + channels.combined,
            channels.transmit + channels.combined,
        ]),
        _ => Err(io::Error::last_os_error()),
    }
}
