//! The kernel's own answers about its network interfaces: netlink, by hand.
//!
//! A request is a header, a fixed part and attributes; answers are the same. That is all that is used here, so that no
//! crate is needed: those that know these families come with an async runtime. What an answer does not hold is not known,
//! never guessed. Nothing is changed by anything here.

pub(super) mod ethtool;
pub(super) mod netdev;
pub(super) mod route;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

const HEADER: usize = 16;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
/// Everything of a kind, not one thing.
pub(super) const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Two bits of an attribute's type say how it is to be read.
const TYPE: u16 = 0x3fff;
const NESTED: u16 = 0x8000;

/// A socket to one part of the kernel.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    /// To the part that `protocol` names; none is the routing tables.
    pub(super) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        // The kernel answers at once; who does not must not hold us up.
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_secs(5)))?;
        Ok(Self { socket })
    }

    /// To generic netlink, where families have names.
    pub(super) fn generic() -> io::Result<Self> {
        Self::open(Some(netlink::GENERIC))
    }

    /// Asks, and returns the answers without their headers.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let mut request = Vec::with_capacity(HEADER + body.len());
        let length = u32::try_from(HEADER + body.len()).map_err(io::Error::other)?;
        request.extend(length.to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend((REQUEST | ACK | flags).to_ne_bytes());
        // Sequence and sender: one request at a time on this socket, so neither tells anything.
        request.extend([0; 8]);
        request.extend(body);
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&self.socket, &request, SendFlags::empty(), &kernel)?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; 1 << 17];
        loop {
            let (received, whole) = rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::TRUNC)?;
            if whole > received {
                return Err(io::Error::other("an answer of the kernel is too long"));
            }
            let mut rest = &buffer[..received];
            while let Some((kind, body, after)) = message(rest) {
                match kind {
                    DONE => return Ok(answers),
                    ERROR => return said(body).map(|()| answers),
                    _ => answers.push(body.to_vec()),
                }
                rest = after;
            }
        }
    }

    /// The number of a family of generic netlink.
    ///
    /// # Errors
    /// If this kernel has no such family.
    pub(super) fn family(&self, name: &str) -> io::Result<u16> {
        const CONTROL: u16 = 0x10;
        const GET_FAMILY: u8 = 3;
        const FAMILY_ID: u16 = 1;
        const FAMILY_NAME: u16 = 2;
        let mut asked = Attributes::behind(&[GET_FAMILY, 1, 0, 0]);
        asked.put(FAMILY_NAME, &[name.as_bytes(), &[0]].concat());
        let answers = self.ask(CONTROL, 0, asked.bytes())?;
        let id = answers
            .first()
            .and_then(|answer| find(generic_attributes(answer), FAMILY_ID));
        id.and_then(|bytes| Some(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?)))
            .ok_or_else(|| io::Error::other("the kernel's answer has no family"))
    }
}

/// Kind and body of the message that `bytes` begin with, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or(&[])))
}

/// What an error message says; 0 is that all went well.
fn said(body: &[u8]) -> io::Result<()> {
    match u32_at(body, 0).map(u32::cast_signed) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::Error::other("an answer of the kernel is cut")),
    }
}

/// A request's fixed part and its attributes.
#[derive(Debug)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    /// After a fixed part, whose length is a multiple of 4.
    pub(super) fn behind(fixed: &[u8]) -> Self {
        Self(fixed.to_vec())
    }

    /// One more.
    pub(super) fn put(&mut self, kind: u16, value: &[u8]) {
        self.0.extend(((value.len() + 4) as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// One more, that has attributes itself.
    pub(super) fn nest(&mut self, kind: u16, inner: &Attributes) {
        self.put(kind | NESTED, &inner.0);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The attributes in `bytes`; it ends with the first that is cut.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & TYPE;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// The attributes of an answer of a generic family.
pub(super) fn generic_attributes(answer: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    attributes(answer.get(4..).unwrap_or(&[]))
}

/// The first attribute of a kind.
pub(super) fn find<'b>(mut all: impl Iterator<Item = (u16, &'b [u8])>, kind: u16) -> Option<&'b [u8]> {
    all.find(|(of, _)| *of == kind).map(|(_, value)| value)
}

/// 32 bits at an offset.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// 64 bits at an offset.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// A text that may end with a zero byte.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_put_and_a_cut_one_ends_them() {
        let mut inner = Attributes::behind(&[]);
        inner.put(1, &7_u32.to_ne_bytes());
        let mut outer = Attributes::behind(&[]);
        outer.put(2, b"eth0\0");
        outer.nest(3, &inner);
        let bytes = outer.bytes();
        let all: Vec<_> = attributes(bytes).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(text(all[0].1), "eth0");
        assert_eq!(
            find(attributes(all[1].1), 1).and_then(|value| u32_at(value, 0)),
            Some(7)
        );
        for cut in 0..bytes.len() {
            assert!(attributes(&bytes[..cut]).count() < 2);
        }
    }

    #[test]
    fn the_kernel_names_the_loopback_interface_and_refuses_a_family_that_is_not() {
        let links = route::links().unwrap();
        assert!(
            links.iter().any(|link| link.name == "lo" && link.is_loopback()),
            "{links:?}"
        );
        let generic = Netlink::generic().unwrap();
        assert!(generic.family("nosuchfamily").is_err());
    }
}
