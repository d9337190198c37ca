//! Where the lines are: multicast groups on the loopback interface that no other run uses.

use crate::Failure;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use twinline_line::LineAddress;

/// A group and a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(pub(crate) SocketAddrV4);

impl Place {
    /// Number `number` of this process. The port is free; it is not held, because OpenPGM wants it for itself.
    pub(crate) fn new(number: u8) -> Result<Self, Failure> {
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let [.., high, low] = std::process::id().to_be_bytes();
        // The last part is odd: Aeron takes the even one behind it for its own use.
        let group = Ipv4Addr::new(239, 64 + number, high, low | 1);
        Ok(Self(SocketAddrV4::new(group, port)))
    }

    /// As an address of a line of ours.
    pub(crate) fn line(&self) -> Result<LineAddress, Failure> {
        Ok(format!("{}@127.0.0.1", self.0).parse()?)
    }
}
