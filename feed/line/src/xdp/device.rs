//! What an interface is, asked of the kernel through routing netlink (the files under `/sys` show the interfaces of whoever
//! mounted them, which need not be those of our network namespace).

use super::error::XdpError;
use crate::{Interface, sys};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};
use std::io;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const ARPHRD_ETHER: u32 = 1;
const ARPHRD_LOOPBACK: u32 = 772;
const IFLA_ADDRESS: u16 = 1;
const IFLA_MTU: u16 = 4;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;

/// Bytes of a netlink message's header.
const HEADER: usize = 16;
/// Bytes of the link's description that follows it, before the attributes.
const LINK: usize = 16;

/// An interface as AF_XDP needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name and number, and the address that packets sent through it bear.
    pub(super) interface: Interface,
    link: Link,
}

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Link {
    /// `ARPHRD_*`.
    kind: u32,
    hardware: [u8; 6],
    mtu: usize,
    program: Option<u32>,
}

impl Device {
    /// What the kernel says of an interface.
    ///
    /// # Errors
    /// If there is none, or it is gone.
    pub fn find(interface: Option<&Interface>) -> Result<Self, XdpError> {
        let interface = interface.ok_or(XdpError::NoInterface)?.clone();
        let link = ask(interface.index)
            .map_err(|cause| XdpError::new(&interface.name, "ask what the interface is", cause))?;
        match link.kind {
            ARPHRD_ETHER | ARPHRD_LOOPBACK => Ok(Self { interface, link }),
            _ => Err(XdpError::NotEthernet {
                interface: interface.name,
            }),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.interface.name
    }

    /// Its hardware address.
    pub(super) fn hardware(&self) -> [u8; 6] {
        self.link.hardware
    }

    /// Most bytes of an IPv4 packet.
    pub(super) fn mtu(&self) -> usize {
        self.link.mtu
    }

    /// True if it is the loopback interface.
    pub(super) fn is_loopback(&self) -> bool {
        self.link.kind == ARPHRD_LOOPBACK
    }

    /// The number of the XDP program that is attached to it.
    pub(super) fn program(&self) -> Option<u32> {
        self.link.program
    }

    /// How many queues it receives from and sends by; one where the driver does not say.
    pub(super) fn queues(&self) -> [u32; 2] {
        sys::queues(self.name()).map_or([1, 1], |queues| queues.map(|count| count.max(1)))
    }

    /// That it has a queue of this number, of so many.
    pub(super) fn check_queue(&self, queue: u32, count: u32) -> Result<(), XdpError> {
        match queue < count {
            true => Ok(()),
            false => Err(XdpError::NoQueue {
                interface: self.name().into(),
                queue,
                count,
            }),
        }
    }
}

/// Asks the kernel for the link of this number.
fn ask(index: u32) -> io::Result<Link> {
    let mut request = [0; HEADER + LINK];
    request[..4].copy_from_slice(&((HEADER + LINK) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    request[HEADER + 4..HEADER + 8].copy_from_slice(&index.to_ne_bytes());
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // NETLINK_ROUTE is the protocol with number 0.
        None,
    )?;
    sendto(
        &socket,
        &request,
        SendFlags::empty(),
        &SocketAddrNetlink::new(0, 0),
    )?;
    let mut answer = vec![0; 32 << 10];
    let (_, length) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    link(&answer[..length.min(answer.len())])
}

/// Reads an answer.
fn link(answer: &[u8]) -> io::Result<Link> {
    let wrong = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = number(answer.get(4..6)).ok_or_else(wrong)?;
    if kind == u32::from(NLMSG_ERROR) {
        let code = number(answer.get(HEADER..HEADER + 4)).ok_or_else(wrong)?;
        return Err(io::Error::from_raw_os_error((code as i32).wrapping_neg()));
    }
    let length = number(answer.get(..4)).ok_or_else(wrong)? as usize;
    let answer = answer.get(..length).ok_or_else(wrong)?;
    let device_type = number(answer.get(HEADER + 2..HEADER + 4)).ok_or_else(wrong)?;
    let attributes = answer.get(HEADER + LINK..).ok_or_else(wrong)?;
    if kind != u32::from(RTM_NEWLINK) {
        return Err(wrong());
    }
    let mut link = Link {
        kind: device_type,
        ..Link::default()
    };
    for (kind, value) in Attributes(attributes) {
        match kind {
            // Other links have addresses of other lengths.
            IFLA_ADDRESS => link.hardware = value.try_into().unwrap_or_default(),
            IFLA_MTU => link.mtu = number(Some(value)).ok_or_else(wrong)? as usize,
            IFLA_XDP => {
                let programs = [IFLA_XDP_PROG_ID, IFLA_XDP_DRV_PROG_ID, IFLA_XDP_SKB_PROG_ID];
                link.program = Attributes(value)
                    .find(|(kind, _)| programs.contains(kind))
                    .and_then(|(_, value)| number(Some(value)));
            }
            _ => {}
        }
    }
    Ok(link)
}

/// A number of two or four bytes.
fn number(bytes: Option<&[u8]>) -> Option<u32> {
    let bytes = bytes?;
    match bytes.len() {
        2 => bytes.try_into().ok().map(u16::from_ne_bytes).map(u32::from),
        _ => bytes.try_into().ok().map(u32::from_ne_bytes),
    }
}

/// Attributes one after the other: length, type, value, each at a multiple of four bytes. Ends where one is malformed.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = number(self.0.get(..2))? as usize;
        let kind = number(self.0.get(2..4))? as u16;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The two highest bits say how the value is made up.
        Some((kind & 0x3fff, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_known_as_such() {
        let line: crate::LineAddress = "239.1.1.1:1@lo".parse().unwrap();
        let device = Device::find(line.find_interface().unwrap().as_ref()).unwrap();
        assert!(device.is_loopback() && device.mtu() > 1500, "{device:?}");
        assert!(device.queues()[0] >= 1);
        assert!(matches!(
            device.check_queue(1, 1),
            Err(XdpError::NoQueue {
                queue: 1,
                count: 1,
                ..
            })
        ));
    }

    #[test]
    fn a_tunnel_is_told_from_ethernet_by_its_type_whatever_its_address() {
        for (kind, address) in [
            (1_u32, &[2, 0, 0, 0, 0, 7][..]),
            (768, &[10, 0, 0, 1]),
            (65_534, &[]),
        ] {
            let mut answer = vec![0; HEADER + LINK];
            answer[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
            answer[HEADER + 2..HEADER + 4].copy_from_slice(&(kind as u16).to_ne_bytes());
            answer.extend((4 + address.len() as u16).to_ne_bytes());
            answer.extend(IFLA_ADDRESS.to_ne_bytes());
            answer.extend(address);
            let length = answer.len() as u32;
            answer[..4].copy_from_slice(&length.to_ne_bytes());
            let link = link(&answer).unwrap();
            assert_eq!((link.kind, &link.hardware[..] == address), (kind, kind == 1));
        }
    }

    #[test]
    fn an_interface_that_is_gone_is_an_error_and_so_is_an_answer_that_is_cut_off() {
        let gone = ask(2_000_000_000).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ENODEV));
        for length in 0..HEADER + LINK {
            let mut answer = vec![0; length];
            if let Some(kind) = answer.get_mut(4..6) {
                kind.copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
            }
            assert!(link(&answer).is_err(), "{length}");
        }
    }

    #[test]
    fn attributes_are_read_one_after_the_other_until_one_is_malformed() {
        let bytes = [5, 0, 1, 0, 7, 0, 0, 0, 8, 0, 4, 0x80, 1, 2, 3, 4, 2, 0, 9, 9];
        let read: Vec<_> = Attributes(&bytes).collect();
        assert_eq!(read, [(1, &[7][..]), (4, &[1, 2, 3, 4][..])]);
    }
}
