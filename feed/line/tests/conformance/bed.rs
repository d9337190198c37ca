//! Two hosts on two networks, and the transports at either end.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use twinline_line::xdp::Mode;
use twinline_line::{
    Io, LineAddress, LineError, LineReceiver, LineSender, ReceiverOptions, ReceiverState, SenderOptions,
};
use twinline_namespaces::Networks;
use twinline_wire::{OpenPacket, Stamp};

/// Who sends, and who receives.
pub(crate) const SENDING: usize = 1;
pub(crate) const RECEIVING: usize = 2;

/// The longest packet that fits Ethernet's 1,500 bytes.
pub(crate) const LONGEST: usize = 1472;

/// A packet of ours, of a length from 48 on. What is none a socket may get several of in one piece, which then stay one datagram.
pub(crate) fn packet(sequence: u64, length: usize) -> Vec<u8> {
    let stamp = Stamp {
        sequence,
        ..Stamp::default()
    };
    let mut bytes = vec![0; length];
    OpenPacket::new().finish_whole(&mut bytes, stamp, length);
    bytes
}

/// How long something may take that must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a receiver can go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    Socket,
    Native,
    Generic,
}

pub(crate) const RECEIVERS: [Receiver; 3] = [Receiver::Socket, Receiver::Native, Receiver::Generic];
/// With either program.
pub(crate) const XDP: [Receiver; 2] = [Receiver::Native, Receiver::Generic];
pub(crate) const SENDERS: [Io; 2] = [Io::Socket, Io::Xdp];

impl Receiver {
    pub(crate) fn options(self) -> ReceiverOptions {
        let (io, mode) = match self {
            Receiver::Socket => (Io::Socket, None),
            Receiver::Native => (Io::Xdp, Some(Mode::Native)),
            Receiver::Generic => (Io::Xdp, Some(Mode::Generic)),
        };
        ReceiverOptions {
            receive_buffer: 4 << 20,
            io,
            mode,
            ..ReceiverOptions::default()
        }
    }
}

/// The hosts. One test has any at a time: all of them share the kernel's queues, which drop packets where several fill them.
pub(crate) struct Hosts {
    networks: Networks,
    _alone: MutexGuard<'static, ()>,
}

impl Deref for Hosts {
    type Target = Networks;

    fn deref(&self) -> &Networks {
        &self.networks
    }
}

impl DerefMut for Hosts {
    fn deref_mut(&mut self) -> &mut Networks {
        &mut self.networks
    }
}

/// So many hosts; `None`, and a line that says so, where there can be none. In CI there must be.
pub(crate) fn hosts(count: usize) -> Option<Hosts> {
    static ALONE: Mutex<()> = Mutex::new(());
    if let Some(why) = twinline_namespaces::missing() {
        assert!(std::env::var_os("CI").is_none(), "in CI this must run: {why}");
        eprintln!("skipped: {why}");
        return None;
    }
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut networks = Networks::new(&["line-a", "line-b"]).unwrap();
    networks.grow(count).unwrap();
    Some(Hosts {
        networks,
        _alone: alone,
    })
}

/// A line on a network: A has number 0, B 1.
pub(crate) fn line(network: usize) -> LineAddress {
    ["239.77.5.1:17001@line-a", "239.77.5.2:17002@line-b"][network]
        .parse()
        .unwrap()
}

pub(crate) fn sender(networks: &Networks, line: &LineAddress, io: Io) -> LineSender {
    let options = SenderOptions {
        io,
        ..SenderOptions::default()
    };
    let sender = open_sender(networks, line, options).unwrap();
    assert_eq!(sender.state().transport().is_xdp(), io == Io::Xdp);
    sender
}

pub(crate) fn open_sender(
    networks: &Networks,
    line: &LineAddress,
    options: SenderOptions,
) -> Result<LineSender, LineError> {
    networks
        .host(SENDING)
        .within(|| LineSender::open(line, options))
        .unwrap()
}

pub(crate) fn open(
    networks: &Networks,
    host: usize,
    line: &LineAddress,
    options: &ReceiverOptions,
) -> Result<Hearing, LineError> {
    let opened = networks
        .host(host)
        .within(|| LineReceiver::open(line, options, LONGEST))
        .unwrap();
    let receiver = opened?;
    assert_eq!(receiver.state().transport().is_xdp(), options.io == Io::Xdp);
    Ok(Hearing { receiver })
}

pub(crate) fn hearing(networks: &Networks, line: &LineAddress, receiver: Receiver) -> Hearing {
    open(networks, RECEIVING, line, &receiver.options()).unwrap()
}

/// A receiver that is waited for.
pub(crate) struct Hearing {
    receiver: LineReceiver,
}

impl Hearing {
    /// What is there now.
    pub(crate) fn now(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while self
            .receiver
            .receive(LONGEST, |packet| packets.push(packet.to_vec()))
        {}
        packets
    }

    /// The next packets, so many, and that nothing more is there.
    pub(crate) fn next(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        until(|| {
            packets.extend(self.now());
            packets.len() >= count
        });
        packets.extend(self.now());
        packets
    }

    pub(crate) fn state(&self) -> &Arc<ReceiverState> {
        self.receiver.state()
    }
}

/// Waits until `done`; fails when that takes too long.
pub(crate) fn until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "it never comes");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The address of a host on a network, with a port.
pub(crate) fn at(networks: &Networks, network: usize, host: usize, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(networks.address(network, host), port)
}

/// An ordinary socket on the receiving host that has joined a group on an interface.
pub(crate) fn ordinary(
    networks: &Networks,
    interface: &str,
    group: Ipv4Addr,
    port: u16,
) -> std::net::UdpSocket {
    let line: LineAddress = format!("{group}:{port}@{interface}").parse().unwrap();
    networks
        .host(RECEIVING)
        .within(|| {
            let interface = line.find_interface().unwrap().unwrap().address;
            let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
            socket.join_multicast_v4(&group, &interface).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        })
        .unwrap()
}
