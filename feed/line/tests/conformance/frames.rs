//! What a line's program takes of frames that are not as they should be, and what reaches the kernel.

use crate::bed::{Hosts, RECEIVING, Receiver, SENDING, XDP, hearing, hosts, line, ordinary};
use twinline_line::LineAddress;
use twinline_line::xdp::socket::{Queue, Sending};
use twinline_namespaces::Networks;

/// Line A over a cable: a bridge drops some of these frames itself, and keeps a VLAN's tag beside a frame instead of in it.
fn cable() -> LineAddress {
    LineAddress {
        interface: Some("cable".into()),
        ..line(0)
    }
}

fn cabled() -> Option<Hosts> {
    let mut networks = hosts(2)?;
    networks.connect("cable", SENDING, RECEIVING).unwrap();
    Some(networks)
}

/// Writes frames byte by byte.
struct Raw(Sending);

impl Raw {
    fn open(networks: &Networks) -> Self {
        let host = networks.host(SENDING);
        let index = host
            .within(|| cable().find_interface().unwrap().unwrap().index)
            .unwrap();
        let queue = Queue {
            interface: "cable",
            index,
            queue: 0,
        };
        Self(host.within(|| Sending::open(queue, 64, 2048)).unwrap().unwrap())
    }

    fn send(&mut self, frame: &[u8]) {
        self.0.reclaim();
        let mut place = self.0.free.pop().expect("few are sent");
        self.0.umem.bytes_mut(&mut place)[..frame.len()].copy_from_slice(frame);
        assert!(self.0.put(place, frame.len()));
        self.0.transmit.submit();
        self.0.wake().unwrap();
    }
}

/// The sum of RFC 1071.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// A frame of line A with right checksums.
#[derive(Clone)]
struct Frame {
    ethernet: Vec<u8>,
    ip: Vec<u8>,
    udp: Vec<u8>,
}

impl Frame {
    fn new(payload: &[u8]) -> Self {
        let mut frame = Self {
            ethernet: vec![1, 0, 0x5e, 77, 5, 1, 2, 0, 0, 0, 0, 1, 8, 0],
            ip: vec![
                0x45, 0, 0, 0, 0x12, 0x34, 0, 0, 1, 17, 0, 0, 10, 77, 1, 1, 239, 77, 5, 1,
            ],
            udp: [&[0x42, 0x68, 0x42, 0x69, 0, 0, 0, 0], payload].concat(),
        };
        let length = frame.udp.len() as u16;
        frame.udp[4..6].copy_from_slice(&length.to_be_bytes());
        frame.finish_udp();
        frame.finish_ip();
        frame
    }

    fn pseudo(&self) -> Vec<u8> {
        [&self.ip[12..20], &[0, 17], &self.udp[4..6]].concat()
    }

    fn finish_udp(&mut self) {
        self.udp[6..8].fill(0);
        let sum = !sum(&[self.pseudo(), self.udp.clone()].concat());
        self.udp[6..8].copy_from_slice(&sum.to_be_bytes());
    }

    /// Length, header length and checksum.
    fn finish_ip(&mut self) {
        let length = (self.ip.len() + self.udp.len()) as u16;
        self.ip[2..4].copy_from_slice(&length.to_be_bytes());
        self.ip[0] = 0x40 | (self.ip.len() / 4) as u8;
        self.sum_ip();
    }

    fn sum_ip(&mut self) {
        self.ip[10..12].fill(0);
        let sum = !sum(&self.ip);
        self.ip[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    fn bytes(&self) -> Vec<u8> {
        [&self.ethernet[..], &self.ip, &self.udp].concat()
    }
}

#[test]
fn frames_with_any_checksum_that_means_well_are_taken_and_others_are_dropped_and_counted() {
    let Some(networks) = cabled() else { return };
    for receiver in XDP {
        let mut from = hearing(&networks, &cable(), receiver);
        let mut raw = Raw::open(&networks);
        let right = Frame::new(b"a packet of ours");
        let mut none = right.clone();
        none.udp[6..8].fill(0);
        let mut pseudo = right.clone();
        let bare = sum(&pseudo.pseudo());
        pseudo.udp[6..8].copy_from_slice(&bare.to_be_bytes());
        let mut padded = right.bytes();
        padded.resize(80, 0);
        for frame in [right.bytes(), none.bytes(), pseudo.bytes(), padded] {
            raw.send(&frame);
        }
        assert_eq!(
            from.next(4),
            vec![b"a packet of ours".to_vec(); 4],
            "{receiver:?}"
        );

        let mut wrong_udp = right.clone();
        wrong_udp.udp[7] ^= 1;
        let mut wrong_ip = right.clone();
        wrong_ip.ip[11] ^= 1;
        let mut ip_too_long = right.clone();
        ip_too_long.ip[3] += 1;
        ip_too_long.sum_ip();
        let mut udp_too_long = none.clone();
        udp_too_long.udp[5] += 1;
        let mut udp_too_short = none.clone();
        udp_too_short.udp[5] = 7;
        let mut changed = right.clone();
        *changed.udp.last_mut().unwrap() ^= 0x40;
        let wrong = [
            wrong_udp,
            wrong_ip,
            ip_too_long,
            udp_too_long,
            udp_too_short,
            changed,
        ];
        for frame in &wrong {
            raw.send(&frame.bytes());
        }
        raw.send(&right.bytes());
        assert_eq!(from.next(1).len(), 1, "{receiver:?}");
        let counts = from.state().counts();
        assert_eq!((counts.bad_frames, counts.received), (wrong.len() as u64, 5));
        assert_eq!(counts.kernel_drops, 0);
    }
}

#[test]
fn fragments_options_tags_other_ports_and_what_is_too_short_go_on_to_the_kernel() {
    let Some(networks) = cabled() else { return };
    for receiver in XDP {
        let mut from = hearing(&networks, &cable(), receiver);
        // Before the frames are written: an ordinary socket beside it, which gets what the program passes on.
        let group = cable().group;
        let [kernel, beside] = [17_001, 17_002].map(|port| ordinary(&networks, "cable", group, port));
        let heard = || {
            let mut buffer = [0; 2048];
            let length = kernel.recv(&mut buffer).expect("it reaches the kernel");
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        let mut raw = Raw::open(&networks);

        let mut options = Frame::new(b"with options");
        options.ip.extend([1, 1, 1, 0]);
        options.finish_ip();
        raw.send(&options.bytes());
        assert_eq!(heard(), "with options", "{receiver:?}");

        let whole = Frame::new(&[b'f'; 1000]);
        let (mut first, mut second) = (whole.clone(), whole.clone());
        first.udp.truncate(512);
        first.ip[6] = 0x20; // more fragments
        first.finish_ip();
        second.udp.drain(..512);
        second.ip[7] = 64; // 512 bytes, in eights
        second.finish_ip();
        raw.send(&first.bytes());
        raw.send(&second.bytes());
        assert_eq!(heard(), "f".repeat(1000), "{receiver:?}");

        let ours = Frame::new(b"ours");
        let mut tagged = ours.clone();
        tagged.ethernet.splice(12..12, [0x81, 0, 0, 7]);
        let mut other_port = Frame::new(b"to another port");
        other_port.udp[3] += 1;
        other_port.finish_udp();
        let mut other_protocol = ours.clone();
        other_protocol.ip[9] = 47;
        let mut other_type = ours.clone();
        other_type.ethernet[12..14].copy_from_slice(&[0x86, 0xdd]);
        let short = ours.bytes()[..41].to_vec();
        raw.send(&other_port.bytes());
        let mut buffer = [0; 64];
        let length = beside.recv(&mut buffer).expect("it reaches the kernel");
        assert_eq!(&buffer[..length], b"to another port", "{receiver:?}");
        for frame in [tagged, other_protocol, other_type] {
            raw.send(&frame.bytes());
        }
        raw.send(&short);
        raw.send(&ours.bytes());
        assert_eq!(from.next(1), [b"ours"], "{receiver:?}");
        let counts = from.state().counts();
        assert_eq!((counts.received, counts.bad_frames), (1, 0), "{receiver:?}");
    }
}

#[test]
fn what_is_sent_through_af_xdp_has_checksums_that_an_ordinary_socket_insists_on() {
    let Some(networks) = hosts(2) else { return };
    let mut from = hearing(&networks, &line(0), Receiver::Socket);
    let mut to = crate::bed::sender(&networks, &line(0), twinline_line::Io::Xdp);
    for length in [0, 1, 2, 63, 64, 65, 1408, 1471, 1472] {
        let packet: Vec<u8> = (0..length).map(|at| (at * 37) as u8 | 1).collect();
        to.send(&packet);
        assert_eq!(from.next(1), [packet], "{length}");
    }
}
