//! The floor: the least that can be done with a multicast socket. A connected one sends, one that never sleeps receives.

use crate::Failure;
use crate::ends::{Message, Receiving, SIZE, Sending};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{Error, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use twinline_line::DEFAULT_RECEIVE_BUFFER;

/// The end that sends.
#[derive(Debug)]
pub(crate) struct UdpSend(UdpSocket);

/// The end that receives.
#[derive(Debug)]
pub(crate) struct UdpReceive {
    socket: UdpSocket,
    buffer: [u8; SIZE + 1],
}

/// Sends to `group` through loopback.
pub(crate) fn sender(group: SocketAddrV4) -> Result<UdpSend, Failure> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into())?;
    socket.connect(&group.into())?;
    Ok(UdpSend(socket.into()))
}

/// Receives from `group` on loopback, with a buffer as large as our lines have.
pub(crate) fn receiver(group: SocketAddrV4) -> Result<UdpReceive, Failure> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_recv_buffer_size(DEFAULT_RECEIVE_BUFFER)?;
    socket.bind(&group.into())?;
    socket.join_multicast_v4(group.ip(), &Ipv4Addr::LOCALHOST)?;
    Ok(UdpReceive {
        socket: socket.into(),
        buffer: [0; SIZE + 1],
    })
}

impl Sending for UdpSend {
    #[inline]
    fn push(&mut self, message: Message) -> Result<bool, Failure> {
        taken(self.0.send(&message.bytes()))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    #[inline]
    fn turn(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

impl Receiving for UdpReceive {
    #[inline]
    fn poll(&mut self, _: u64, took: &mut impl FnMut(Option<Message>)) -> Result<(), Failure> {
        match self.socket.recv(&mut self.buffer) {
            Ok(length) => took(Message::of(&self.buffer[..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// True if it was sent; no room is no error.
fn taken(sent: Result<usize, Error>) -> Result<bool, Failure> {
    match sent {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error.into()),
    }
}
