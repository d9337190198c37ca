//! A stranger who sends junk to both groups, as fast as is bearable here.

use super::network::LINES;
use crate::exit::Failure;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use twinline_line::{Io, LineAddress, LineError, LineSender, SendOutcome, SenderOptions};
use twinline_namespaces::Namespace;
use twinline_wire::header::{MAGIC, VERSION};

/// Datagrams that all servers together are handed a second, on each line: what two cores bear besides the feed.
const DELIVERIES: usize = 60_000;
/// Whatever happens, it does not go on for longer.
const LONGEST: Duration = Duration::from_secs(600);
const TURN: Duration = Duration::from_millis(2);

/// A running flood.
pub(super) struct Flood {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, String>>,
}

impl Flood {
    /// Starts it on a host.
    pub(super) fn start(
        host: &Namespace,
        lines: &[(Ipv4Addr, u16); 2],
        servers: usize,
    ) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, host, lines) = (Arc::clone(&stop), host.clone(), *lines);
        let rate = DELIVERIES / servers.max(1);
        let work = move || {
            let sent = host.within(|| send(&lines, rate, &stopped).map_err(|error| error.to_string()));
            sent.map_err(|error| error.to_string())?
        };
        let thread = thread::Builder::new().name("flood".into()).spawn(work);
        let thread = thread.map_err(|cause| Failure::error(format!("cannot start a thread: {cause}")))?;
        Ok(Self { stop, thread })
    }

    /// Ends it; how many datagrams went out on each line.
    pub(super) fn end(self) -> Result<u64, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(sent) => sent.map_err(|text| Failure::error(format!("the flood: {text}"))),
            Err(_) => Err(Failure::error("the flood panicked")),
        }
    }
}

/// Sends until it is told to stop, `rate` datagrams a second on each line.
fn send(lines: &[(Ipv4Addr, u16); 2], rate: usize, stop: &AtomicBool) -> Result<u64, LineError> {
    let open = |line: usize| {
        let (group, port) = lines[line];
        let address = LineAddress {
            group,
            port,
            interface: Some(LINES[line].into()),
        };
        let options = SenderOptions {
            io: Io::Socket,
            ..SenderOptions::default()
        };
        LineSender::open(&address, options)
    };
    let mut senders = [open(0)?, open(1)?];
    let junk = [noise(), look_alike()];
    let start = Instant::now();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) && start.elapsed() < LONGEST {
        let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
        while sent < due {
            let datagram = &junk[(sent % 2) as usize];
            for sender in &mut senders {
                // A full queue is the flood's own loss.
                let _: SendOutcome = sender.send(datagram);
            }
            sent += 1;
        }
        thread::sleep(TURN);
    }
    Ok(sent)
}

/// Bytes that are nothing.
fn noise() -> Vec<u8> {
    (0..200_u32)
        .map(|byte| (byte.wrapping_mul(197) >> 1) as u8 | 1)
        .collect()
}

/// Begins as our packets do and is none.
fn look_alike() -> Vec<u8> {
    let mut bytes = noise();
    bytes[..2].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[2] = VERSION;
    bytes
}
