//! Clients of a recovery service that count what they are sent: the real client, any number of them on one thread.

use super::feed::{PATIENCE, SESSION};
use crate::harness::bed::CHANNEL;
use crate::harness::error::BenchError;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use twinline_recovery::client::ClientEvent;
use twinline_recovery::{ClientConfig, RecoveryClient, range};
use twinline_wire::field::CompleteStatus;

/// Messages that one request asks for: a little less than what a service answers at most by default.
const REQUEST: u64 = 900_000;
/// Requests of a client that are open at once: the next one waits at the service when one is answered.
const OPEN: usize = 2;

pub(super) struct Clients {
    client: RecoveryClient,
    each: Vec<Client>,
}

/// One connection, and what it has.
#[derive(Clone, Default)]
struct Client {
    /// Next sequence to be asked for.
    ask: u64,
    /// Next sequence to come.
    next: u64,
    end: u64,
    open: usize,
    bytes: u64,
    /// What went wrong.
    trouble: Option<&'static str>,
    done: Option<Duration>,
}

/// What clients were sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    /// From the first request to the end of the last answer.
    pub(super) took: Duration,
    /// Bytes of packets, of all of them together.
    pub(super) bytes: u64,
}

impl Clients {
    /// So many, connected.
    pub(super) fn connect(service: SocketAddr, count: usize) -> Result<Self, BenchError> {
        let config = ClientConfig::new("bench", CHANNEL);
        let mut clients = Self {
            client: RecoveryClient::new(&config, &vec![service; count]).map_err(BenchError::recovery)?,
            each: vec![Client::default(); count],
        };
        let until = Instant::now() + PATIENCE;
        while !(0..count).all(|at| clients.client.is_ready(at)) {
            if Instant::now() > until {
                return Err(BenchError::Broken("the recovery service lets nobody in".into()));
            }
            clients
                .client
                .poll(Duration::from_millis(10), &mut |_, _| {})
                .map_err(BenchError::recovery)?;
        }
        Ok(clients)
    }

    /// All ask for `from..to` at once and wait for it.
    pub(super) fn ask(&mut self, from: u64, to: u64) -> Result<Received, BenchError> {
        let start = Instant::now();
        self.each.fill(Client {
            ask: from,
            next: from,
            end: to,
            ..Client::default()
        });
        loop {
            for (at, each) in self.each.iter_mut().enumerate() {
                while each.open < OPEN && each.ask < to {
                    let end = to.min(each.ask + REQUEST);
                    // Its number only has to be none that is open.
                    let number = (each.ask % u64::from(u32::MAX)) as u32 + 1;
                    self.client
                        .submit(at, number, SESSION, &[range(each.ask, end)])
                        .map_err(BenchError::recovery)?;
                    (each.ask, each.open) = (end, each.open + 1);
                }
            }
            if self.each.iter().all(|each| each.done.is_some()) {
                break;
            }
            if start.elapsed() > PATIENCE {
                return Err(BenchError::Broken("recovery does not answer in time".into()));
            }
            let each = &mut self.each;
            let mut take = |at: usize, event: ClientEvent<'_>| each[at].take(&event, start);
            self.client
                .poll(Duration::from_millis(100), &mut take)
                .map_err(BenchError::recovery)?;
            if let Some(trouble) = self.each.iter().find_map(|each| each.trouble) {
                return Err(BenchError::Broken(trouble.into()));
            }
        }
        Ok(Received {
            took: self
                .each
                .iter()
                .filter_map(|each| each.done)
                .max()
                .unwrap_or_default(),
            bytes: self.each.iter().map(|each| each.bytes).sum(),
        })
    }

    /// Keeps the connections for so long.
    pub(super) fn idle(&mut self, time: Duration) -> Result<(), BenchError> {
        self.client
            .poll(time, &mut |_, _| {})
            .map_err(BenchError::recovery)
    }
}

impl Client {
    fn take(&mut self, event: &ClientEvent<'_>, start: Instant) {
        match event {
            ClientEvent::Packet { packet, .. } => {
                // Where one request ends and the next begins, the same packet may come twice.
                if packet.sequence() > self.next || packet.end() < self.next {
                    self.trouble = Some("packets are missing in an answer, or came twice");
                }
                self.next = packet.end();
                self.bytes += packet.bytes().len() as u64;
            }
            ClientEvent::Complete { status, .. } => {
                self.open -= 1;
                if *status != CompleteStatus::COMPLETE {
                    self.trouble = Some("an answer in part: the service's limits are too low");
                }
                if self.next >= self.end && self.open == 0 && self.ask >= self.end {
                    self.done = Some(start.elapsed());
                }
            }
            ClientEvent::Reject { .. } => self.trouble = Some("a request was refused"),
            ClientEvent::BadPacket { .. } => self.trouble = Some("a packet came damaged"),
            ClientEvent::Closed { .. } => self.trouble = Some("the connection was lost"),
            _ => {}
        }
    }
}
