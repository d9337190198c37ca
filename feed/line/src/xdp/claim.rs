//! Who hears a line on this host, as far as processes must know it of each other: a line that a program takes from an interface
//! no socket there hears any more.
//!
//! The kernel tells what the programs of others are only to the administrator. So a listener through AF_XDP binds a socket to a name
//! that says which line it takes where. The kernel keeps such names for each network namespace, and forgets them with the process.

use super::socket::patiently;
use crate::{Interface, LineAddress, sys};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as unix, UnixDatagram};

/// That this process takes a line from an interface, until this is dropped.
#[derive(Debug)]
pub(super) struct Claim(#[expect(dead_code, reason = "it is bound, and that is all")] UnixDatagram);

impl Claim {
    /// Says so.
    ///
    /// # Errors
    /// If another process says so of itself, and goes on with it.
    pub(super) fn take(interface: &Interface, line: &LineAddress) -> io::Result<Self> {
        let name = name(interface, line)?;
        let is_taken = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
        patiently(|| UnixDatagram::bind_addr(&name), is_taken).map(Self)
    }
}

/// True if a process takes the line from the interface now.
pub(super) fn is_taken(interface: &Interface, line: &LineAddress) -> bool {
    let reach = || UnixDatagram::unbound()?.connect_addr(&name(interface, line)?);
    reach().is_ok()
}

fn name(interface: &Interface, line: &LineAddress) -> io::Result<unix::SocketAddr> {
    let name = format!("twinline-xdp-{}-{}", interface.index, line.endpoint());
    unix::SocketAddr::from_abstract_name(name)
}

/// The interface on which the kernel joins a group for which none is named.
pub(super) fn routed(line: &LineAddress) -> Option<Interface> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((line.group, line.port)).ok()?;
    let from = socket.local_addr().ok()?.ip();
    let interfaces = sys::interfaces().ok()?;
    interfaces
        .into_iter()
        .find(|interface| IpAddr::from(interface.address) == from)
}

/// True if a socket of this host is bound to the line, or to its port alone: it would hear nothing more of it.
pub(super) fn socket_hears(line: &LineAddress) -> bool {
    // As the kernel prints it: the address as a number of this machine, whose bytes lie in the network's order.
    let bound = |address: Ipv4Addr| format!("{:08X}:{:04X}", u32::from_ne_bytes(address.octets()), line.port);
    let wanted = [line.group, Ipv4Addr::UNSPECIFIED].map(bound);
    let sockets = fs::read_to_string("/proc/thread-self/net/udp").unwrap_or_default();
    let mut local = sockets.lines().filter_map(|line| line.split_whitespace().nth(1));
    local.any(|local| wanted.iter().any(|wanted| wanted == local))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> Interface {
        let line: LineAddress = "239.77.6.1:17006@lo".parse().unwrap();
        line.find_interface().unwrap().unwrap()
    }

    #[test]
    fn a_claim_is_seen_by_others_for_its_line_alone_and_ends_with_its_owner() {
        let [line, other] = ["239.77.6.1:17006", "239.77.6.1:17007"].map(|line| line.parse().unwrap());
        let claim = Claim::take(&loopback(), &line).unwrap();
        assert!(is_taken(&loopback(), &line));
        assert!(!is_taken(&loopback(), &other));
        let again = Claim::take(&loopback(), &line).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
        drop(claim);
        assert!(!is_taken(&loopback(), &line));
        Claim::take(&loopback(), &line).unwrap();
    }

    #[test]
    fn a_socket_that_hears_a_line_is_found_by_group_and_port() {
        let line: LineAddress = "239.77.6.2:17008".parse().unwrap();
        assert!(!socket_hears(&line));
        let socket = UdpSocket::bind((line.group, line.port)).unwrap();
        assert!(socket_hears(&line));
        assert!(!socket_hears(&"239.77.6.3:17008".parse().unwrap()));
        assert!(!socket_hears(&"239.77.6.2:17009".parse().unwrap()));
        drop(socket);
        let _any = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, line.port)).unwrap();
        assert!(socket_hears(&line));
    }
}
