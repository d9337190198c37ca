//! ZeroMQ over PGM in UDP (epgm): reliable multicast in user space by OpenPGM, with an input/output thread on each side.

use crate::Failure;
use crate::ends::{Message, Receiving, SIZE, Sending};
use crate::libzmq::{Kind, Setting, Socket};
use std::net::SocketAddrV4;

/// Kilobits a second that it may send, and milliseconds for which what was sent can be had again; together they size its
/// windows. The rate is more than it reaches (its default is 100); ten times that, and it never catches up once it is behind.
const RATE: i32 = 1_000_000;
const RECOVERY: i32 = 1_000;
/// Messages that wait to be sent, before no more are taken.
const QUEUE: i32 = 10_000;
/// Bytes of the sockets' buffers, as our lines have.
const BUFFER: i32 = twinline_line::DEFAULT_RECEIVE_BUFFER as i32;
/// Milliseconds that a receive sleeps at most.
const SLEEP: i32 = 1;

/// The end that sends.
pub(crate) struct ZeromqSend(Socket);

/// The end that receives.
pub(crate) struct ZeromqReceive {
    socket: Socket,
    buffer: [u8; SIZE + 1],
}

fn socket(kind: Kind, group: SocketAddrV4) -> Result<Socket, Failure> {
    let mut socket = Socket::new(kind)?;
    for (setting, value) in [
        (Setting::Rate, RATE),
        (Setting::Recovery, RECOVERY),
        // What is lost is to be lost on the way, not in a queue.
        (Setting::SendQueue, QUEUE),
        (Setting::ReceiveQueue, 0),
        (Setting::SendBuffer, BUFFER),
        (Setting::ReceiveBuffer, BUFFER),
        (Setting::Linger, 0),
        (Setting::ReceiveTimeout, SLEEP),
    ] {
        socket.set(setting, value)?;
    }
    if let Kind::Publish = kind {
        socket.set(Setting::NoDrop, 1)?;
    }
    socket.connect(&format!("epgm://127.0.0.1;{}:{}", group.ip(), group.port()))?;
    Ok(socket)
}

/// Sends to `group`.
pub(crate) fn sender(group: SocketAddrV4) -> Result<ZeromqSend, Failure> {
    Ok(ZeromqSend(socket(Kind::Publish, group)?))
}

/// Receives from `group`.
pub(crate) fn receiver(group: SocketAddrV4) -> Result<ZeromqReceive, Failure> {
    let mut socket = socket(Kind::Subscribe, group)?;
    socket.subscribe_all()?;
    Ok(ZeromqReceive {
        socket,
        buffer: [0; SIZE + 1],
    })
}

impl Sending for ZeromqSend {
    const ALONE: bool = false;

    fn push(&mut self, message: Message) -> Result<bool, Failure> {
        let sent = self.0.try_send(&message.bytes())?;
        if !sent {
            self.turn()?;
        }
        Ok(sent)
    }

    fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// Its other thread may have the core.
    fn turn(&mut self) -> Result<(), Failure> {
        std::thread::yield_now();
        Ok(())
    }
}

impl Receiving for ZeromqReceive {
    const ALONE: bool = false;

    fn poll(&mut self, _: u64, took: &mut impl FnMut(Option<Message>)) -> Result<(), Failure> {
        if let Some(length) = self.socket.receive(&mut self.buffer)? {
            took(self.buffer.get(..length).and_then(Message::of));
        }
        Ok(())
    }
}
