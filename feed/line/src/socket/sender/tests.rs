//! Where bursts are refused.

use super::*;
use crate::{ReceiverOptions, SocketReceiver};

/// Both ends of a line on loopback.
fn ends(test: u8) -> (SocketSender, SocketReceiver) {
    let port = 40_000 + (std::process::id() % 20_000) as u16;
    let line: LineAddress = format!("239.100.9.{test}:{port}@lo").parse().unwrap();
    let interface = line.find_interface().unwrap();
    let receiver = SocketReceiver::open(&line, &ReceiverOptions::default()).unwrap();
    (
        SocketSender::open(
            &line,
            interface.as_ref(),
            SenderOptions::default(),
            Transport::Socket { why: None },
        )
        .unwrap(),
        receiver,
    )
}

/// Lengths and first bytes of what came.
fn heard(receiver: &SocketReceiver) -> Vec<(usize, u8)> {
    let mut buffer = [0; 1024];
    let mut heard = Vec::new();
    while let Some(length) = receiver.recv(&mut buffer) {
        heard.push((length, buffer[0]));
    }
    heard
}

#[test]
fn a_kernel_that_refuses_bursts_gets_their_packets_one_by_one_from_then_on_and_it_is_said_once() {
    let (sender, receiver) = ends(1);
    // Datagrams without a checksum cannot be cut up: the kernel says EINVAL, as for an interface that cannot.
    sys::set_option(sender.socket.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
    assert!(sender.state.segments() && sender.state.segmentation_refused().is_none());
    let packets: Vec<u8> = (0..300).map(|at| (at / 128) as u8).collect();
    for _ in 0..2 {
        assert_eq!(sender.send_burst(Burst::new(&packets, 128)), 3);
    }
    assert!(!sender.state.segments());
    let why = sender
        .state
        .segmentation_refused()
        .and_then(|error| error.raw_os_error());
    assert_eq!(why, Some(libc::EINVAL));
    assert!(sender.state.segmentation_refused().is_none(), "said once");
    let counts = sender.state.counts();
    assert_eq!(
        (counts.sent, counts.bytes, counts.errors, counts.bursts),
        (6, 600, 0, 0)
    );
    assert!(sender.state.health_change().is_none(), "the line works");
    let each = [(128, 0), (128, 1), (44, 2)];
    assert_eq!(heard(&receiver), [each, each].concat());
}
