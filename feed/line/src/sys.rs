//! The few kernel interfaces that have no safe wrapper: listing interfaces, receiving with the true length, and the
//! socket options that `socket2` does not know.

use crate::Interface;
use std::ffi::CStr;
use std::io;
use std::net::Ipv4Addr;
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

/// Receives one datagram into `buffer` and returns its true length, which is more than the buffer's if it did not fit.
#[inline]
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes into `buffer`.
    let received = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_TRUNC | libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
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
