//! What AF_XDP leaves to others on the same host, and what it refuses to share.

use crate::bed::{
    RECEIVING, Receiver, SENDING, XDP, at, hearing, hosts, line, open, open_sender, ordinary, sender, until,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use twinline_line::{Io, LineReceiver, LineSender, ReceiverOptions, SenderOptions, Transport};

/// Bytes of the stream that goes on beside a line.
const STREAM: usize = 20_000_000;

fn byte(at: usize) -> u8 {
    (at * 31 + at / 251) as u8
}

/// Sends a ping to `to` and waits for its answer.
fn ping(socket: &Socket, to: SocketAddr, number: u16) {
    let mut request = vec![8, 0, 0, 0, 0x77, 0x11];
    request.extend(number.to_be_bytes());
    let mut sum: u32 = request
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    sum = (sum >> 16) + (sum & 0xffff);
    request[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    socket.send_to(&request, &to.into()).unwrap();
    loop {
        let mut buffer = [MaybeUninit::new(0u8); 256];
        let length = socket.recv(&mut buffer).expect("the answer to a ping");
        // SAFETY: all of it was initialised.
        let answer: Vec<u8> = buffer[..length]
            .iter()
            .map(|byte| unsafe { byte.assume_init() })
            .collect();
        if answer[20] == 0 && answer[24..28] == request[4..8] {
            return;
        }
    }
}

#[test]
fn a_tcp_stream_pings_and_another_group_go_on_untouched_beside_a_line() {
    let Some(networks) = hosts(2) else { return };
    for (number, receiver) in XDP.into_iter().enumerate() {
        let mut from = hearing(&networks, &line(0), receiver);
        let mut to = sender(&networks, &line(0), Io::Xdp);
        let other = Ipv4Addr::new(239, 77, 5, 99);
        // The same port as the line's: its group alone is ours.
        let port = line(0).port;
        let beside = ordinary(&networks, "line-a", other, port);
        let stranger = networks
            .host(SENDING)
            .within(|| {
                let socket = std::net::UdpSocket::bind(at(&networks, 0, SENDING, 0)).unwrap();
                socket.connect((other, port)).unwrap();
                socket
            })
            .unwrap();
        let server = at(&networks, 0, RECEIVING, 18_000 + number as u16);
        let listening = networks
            .host(RECEIVING)
            .within(|| TcpListener::bind(server).unwrap())
            .unwrap();
        let mut stream = networks
            .host(SENDING)
            .within(|| TcpStream::connect(server).unwrap())
            .unwrap();
        let pinging = networks
            .host(SENDING)
            .within(|| {
                let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                socket
            })
            .unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let reading = scope.spawn(move || {
                let (mut stream, _) = listening.accept().unwrap();
                let mut bytes = Vec::with_capacity(STREAM);
                stream.read_to_end(&mut bytes).unwrap();
                bytes
            });
            let writing = scope.spawn(move || {
                let bytes: Vec<u8> = (0..STREAM).map(byte).collect();
                stream.write_all(&bytes).unwrap();
            });
            let over = &over;
            let lively = scope.spawn(move || {
                let (mut sent, mut came, mut last) = (0u64, 0u64, None);
                let mut take = |packets: Vec<Vec<u8>>| {
                    for packet in packets {
                        let number = u64::from_le_bytes(packet.try_into().unwrap());
                        assert!(Some(number) > last, "in order");
                        last = Some(number);
                        came += 1;
                    }
                    (came, last)
                };
                while !over.load(Ordering::Relaxed) {
                    to.send(&sent.to_le_bytes());
                    sent += 1;
                    take(from.now());
                    thread::sleep(Duration::from_micros(50));
                }
                // Where the stream fills a queue of the kernel's, a packet may be lost; not the last one, nor many.
                to.send(&sent.to_le_bytes());
                until(|| take(from.now()).1 == Some(sent));
                (sent, take(Vec::new()).0)
            });
            for number in 0..50u8 {
                ping(&pinging, at(&networks, 0, RECEIVING, 0).into(), u16::from(number));
                stranger.send(&[number]).unwrap();
                let mut heard = [0; 8];
                assert_eq!(beside.recv(&mut heard).unwrap(), 1);
                assert_eq!(heard[0], number);
            }
            writing.join().unwrap();
            let bytes = reading.join().unwrap();
            assert_eq!(bytes.len(), STREAM);
            assert!(bytes.into_iter().enumerate().all(|(at, read)| read == byte(at)));
            over.store(true, Ordering::Relaxed);
            let (sent, came) = lively.join().unwrap();
            assert!(sent > 50 && came > sent / 2, "{came} of {sent}");
        });
    }
}

#[test]
fn two_listeners_on_one_host_hear_the_same_line_on_two_interfaces() {
    let Some(networks) = hosts(2) else { return };
    let [on_a, mut on_b] = [line(0), line(0)];
    on_b.interface = Some("line-b".into());
    let mut from = [
        hearing(&networks, &on_a, Receiver::Native),
        hearing(&networks, &on_b, Receiver::Generic),
    ];
    for (n, line) in [&on_a, &on_b].into_iter().enumerate() {
        sender(&networks, line, Io::Xdp).send(&[n as u8]);
        assert_eq!(from[n].next(1), [[n as u8]]);
        assert!(from[1 - n].now().is_empty());
    }
}

#[test]
fn on_one_interface_a_second_listener_is_refused_with_the_reason_and_the_first_goes_on() {
    let Some(networks) = hosts(2) else { return };
    let mut first = hearing(&networks, &line(0), Receiver::Native);
    let mut to = sender(&networks, &line(0), Io::Socket);
    let refused = |line, io| {
        let options = ReceiverOptions {
            io,
            ..ReceiverOptions::default()
        };
        networks
            .host(RECEIVING)
            .within(|| LineReceiver::open(&line, &options, 1408))
            .unwrap()
            .expect_err("it is refused")
            .to_string()
    };
    // A socket would open, and hear nothing.
    for io in [Io::Xdp, Io::Auto, Io::Socket] {
        let why = refused(line(0), io);
        assert!(
            why.contains("another listener") && why.contains("239.77.5.1:17001"),
            "{why}"
        );
        assert!(why.contains("ring") && why.contains("--io socket"), "{why}");
    }
    let mut other = line(0);
    other.port = 17_003;
    let why = refused(other.clone(), Io::Xdp);
    assert!(
        why.contains("has an XDP program already") && why.contains("--io socket"),
        "{why}"
    );
    // Another line does reach a socket beside the program, and `auto` says why it is one.
    let auto = ReceiverOptions {
        io: Io::Auto,
        ..ReceiverOptions::default()
    };
    let mut beside = networks
        .host(RECEIVING)
        .within(|| LineReceiver::open(&other, &auto, 1408))
        .unwrap()
        .unwrap();
    let told = beside.state().transport().to_string();
    assert!(told.contains("a socket, not AF_XDP: line-a has"), "{told}");
    sender(&networks, &other, Io::Socket).send(b"other");
    let mut came = Vec::new();
    until(|| beside.receive(1408, |packet| came.push(packet.to_vec())));
    assert_eq!(came, [b"other"]);
    to.send(b"first");
    assert_eq!(first.next(1), [b"first"]);
}

#[test]
fn a_queue_has_one_sender_and_the_second_is_told_so_or_takes_a_socket() {
    let Some(networks) = hosts(2) else { return };
    let _first = sender(&networks, &line(0), Io::Xdp);
    let open = |io| {
        let options = SenderOptions {
            io,
            ..SenderOptions::default()
        };
        open_sender(&networks, &line(0), options)
    };
    let why = open(Io::Xdp).unwrap_err().to_string();
    assert!(
        why.contains("queue 0 of line-a is in use by another AF_XDP socket"),
        "{why}"
    );
    assert!(
        why.contains("--xdp-queues") && why.contains("--io socket"),
        "{why}"
    );
    let mut second = open(Io::Auto).unwrap();
    let told = second.state().transport().to_string();
    assert!(told.contains("queue 0 of line-a is in use"), "{told}");
    let mut from = hearing(&networks, &line(0), Receiver::Native);
    second.send(b"by a socket");
    assert_eq!(from.next(1), [b"by a socket"]);
}

#[test]
fn auto_leaves_a_line_to_the_sockets_that_hear_it_and_says_so() {
    let Some(networks) = hosts(2) else { return };
    let mut beside = hearing(&networks, &line(0), Receiver::Socket);
    let by = |io| ReceiverOptions {
        io,
        ..ReceiverOptions::default()
    };
    let mut to = sender(&networks, &line(0), Io::Socket);
    let mut from = open(&networks, RECEIVING, &line(0), &by(Io::Auto)).unwrap();
    let told = from.state().transport().to_string();
    assert!(
        told.contains("a socket on this host hears 239.77.5.1:17001"),
        "{told}"
    );
    to.send(b"for both");
    assert_eq!(beside.next(1), [b"for both"]);
    assert_eq!(from.next(1), [b"for both"]);
    drop(from);

    let mut from = open(&networks, RECEIVING, &line(0), &by(Io::Xdp)).unwrap();
    to.send(b"for one");
    assert_eq!(from.next(1), [b"for one"]);
}

#[test]
fn a_sender_whose_packets_fit_no_frame_is_refused_or_gets_a_socket() {
    let Some(networks) = hosts(1) else { return };
    let open = |io, longest| {
        let options = SenderOptions {
            io,
            longest,
            ..SenderOptions::default()
        };
        open_sender(&networks, &line(0), options)
    };
    let why = open(Io::Xdp, 3_799).unwrap_err().to_string();
    assert!(
        why.contains("3799 bytes do not fit") && why.contains("--packet-size"),
        "{why}"
    );
    let sender = open(Io::Auto, 3_799).unwrap();
    assert!(!sender.state().transport().is_xdp());
    assert!(open(Io::Auto, 3_798).unwrap().state().transport().is_xdp());
}

#[test]
fn too_many_senders_of_a_group_are_refused_with_the_limit_to_raise() {
    let Some(networks) = hosts(2) else { return };
    for io in [Io::Socket, Io::Xdp] {
        let options = ReceiverOptions {
            io,
            sources: (1..=100).map(|host| Ipv4Addr::new(10, 77, 1, host)).collect(),
            ..ReceiverOptions::default()
        };
        let why = open(&networks, RECEIVING, &line(0), &options)
            .err()
            .unwrap()
            .to_string();
        assert!(why.contains("net.ipv4.igmp_max_msf"), "{why}");
    }
}

#[test]
fn loopback_and_an_address_without_an_interface_are_refused_or_get_a_socket_that_says_why() {
    if hosts(1).is_none() {
        return;
    }
    for (address, part) in [
        ("239.77.5.7:17007@lo", "loopback"),
        ("239.77.5.7:17007", "names no interface"),
    ] {
        let line = address.parse().unwrap();
        let open = |io| {
            let options = SenderOptions {
                io,
                ..SenderOptions::default()
            };
            LineSender::open(&line, options)
        };
        let why = open(Io::Xdp).unwrap_err().to_string();
        assert!(why.contains(part), "{why}");
        let sender = open(Io::Auto).unwrap();
        let Transport::Socket { why: Some(why) } = sender.state().transport() else {
            panic!("{:?}", sender.state().transport());
        };
        assert!(why.contains(part), "{why}");
    }
    // Nothing is native there; a generic program hears it.
    let line = "239.77.5.8:17008@lo".parse().unwrap();
    let open = |options| LineReceiver::open(&line, &options, 1408);
    let auto = open(ReceiverOptions {
        io: Io::Auto,
        ..ReceiverOptions::default()
    });
    let told = auto.unwrap().state().transport().to_string();
    assert!(told.contains("cannot run a program natively"), "{told}");
}

#[test]
fn a_longer_packet_than_a_frame_holds_is_refused_before_anything_is_attached() {
    let Some(networks) = hosts(2) else { return };
    let options = Receiver::Native.options();
    let error = networks
        .host(RECEIVING)
        .within(|| LineReceiver::open(&line(0), &options, 8896))
        .unwrap()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("8896 bytes do not fit") && error.contains("3798"),
        "{error}"
    );
    assert!(open(&networks, RECEIVING, &line(0), &options).is_ok());
}
