//! The recovery thread: keeps a connection to every recovery service, sends what the gap policy asks for, and hands the
//! answers to the line thread in memory that was reserved at the start.
//!
//! When the line thread falls behind, no buffer is free: this thread waits, stops reading its sockets, and the services
//! wait in turn.

use crate::arbiter::ranges::Span;
use crate::gaps::{Refusal, Request};
use crossbeam::queue::ArrayQueue;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use twinline_recovery::client::{
    ClientConfig, ClientError, ClientEvent, RecoveryClient, RequestError, SubmitError,
};

/// Packets on their way to the line thread at most.
const PACKETS: usize = 512;
/// Requests on their way to the services at most.
const REQUESTS: usize = 16;
/// The thread looks for requests and for the stop flag at least this often.
const TURN: Duration = Duration::from_millis(20);

/// What a recovery service answered, or what became of it.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Logged in.
    Connected { service: usize },
    /// The connection is gone, and with it all that was asked.
    Disconnected { service: usize },
    /// A packet: `buffer[..length]`. Give the buffer back.
    Packet {
        request: u32,
        buffer: Box<[u8]>,
        length: usize,
    },
    /// A part that is refused.
    Reject { request: u32, refusal: Refusal },
    /// The request is done.
    Complete { request: u32 },
    /// How far a service is.
    Head {
        session: u32,
        epoch: u32,
        epoch_base: u64,
        next: u64,
    },
}

/// Counters of the recovery thread.
#[derive(Debug, Default)]
pub(crate) struct FetchStats {
    /// A bit for each service that is connected now.
    connected: AtomicU64,
    /// Connections lost, or refused.
    pub(crate) failures: AtomicU64,
    /// Packets from services that were not intact.
    pub(crate) bad_packets: AtomicU64,
}

impl FetchStats {
    /// Services connected now.
    pub(crate) fn connected(&self) -> u64 {
        self.connected.load(Ordering::Relaxed).count_ones().into()
    }
}

/// What the two threads share.
#[derive(Debug)]
struct Shared {
    requests: ArrayQueue<Request>,
    answers: ArrayQueue<Answer>,
    buffers: ArrayQueue<Box<[u8]>>,
    stats: FetchStats,
    stop: AtomicBool,
}

/// The line thread's end.
#[derive(Debug)]
pub(crate) struct Fetcher {
    shared: Arc<Shared>,
    waker: Arc<mio::Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Fetcher {
    /// Starts the thread.
    pub(crate) fn start(
        config: &ClientConfig,
        services: &[SocketAddr],
        max_packet: usize,
    ) -> Result<Self, ClientError> {
        let client = RecoveryClient::new(config, services)?;
        let shared = Arc::new(Shared {
            requests: ArrayQueue::new(REQUESTS),
            answers: ArrayQueue::new(2 * PACKETS),
            buffers: ArrayQueue::new(PACKETS),
            stats: FetchStats::default(),
            stop: AtomicBool::new(false),
        });
        for _ in 0..PACKETS {
            // The queue has room for exactly these.
            let _ = shared.buffers.push(vec![0; max_packet].into_boxed_slice());
        }
        let waker = client.waker();
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("recovery".into())
            .spawn(move || serve(client, &of_thread))
            .map_err(ClientError::Poll)?;
        Ok(Self {
            shared,
            waker,
            thread: Some(thread),
        })
    }

    /// Sends a request. One that finds no room is given up by the gap policy as slow, and asked again.
    pub(crate) fn ask(&self, request: &Request) {
        if self.shared.requests.push(*request).is_ok() {
            // Without the wake-up the thread finds it a little later.
            let _ = self.waker.wake();
        }
    }

    /// The next answer, if there is one.
    #[inline]
    pub(crate) fn answer(&self) -> Option<Answer> {
        self.shared.answers.pop()
    }

    /// Gives back the buffer of an [`Answer::Packet`].
    pub(crate) fn give_back(&self, buffer: Box<[u8]>) {
        // There are no more buffers than places.
        let _ = self.shared.buffers.push(buffer);
    }

    /// Requests and answers that wait for the other thread, each with the most that can.
    pub(crate) fn queues(&self) -> [[usize; 2]; 2] {
        let Shared {
            requests, answers, ..
        } = &*self.shared;
        [
            [requests.len(), requests.capacity()],
            [answers.len(), answers.capacity()],
        ]
    }

    pub(crate) fn stats(&self) -> &FetchStats {
        &self.shared.stats
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut client: RecoveryClient, shared: &Shared) {
    while !shared.stop.load(Ordering::Acquire) {
        while let Some(request) = shared.requests.pop() {
            submit(&mut client, &request, shared);
        }
        let polled = client.poll(TURN, &mut |service, event| on_event(service, event, shared));
        if polled.is_err() {
            // The system has no room for waiting on sockets just now; the lines go on, recovery tries again.
            thread::sleep(TURN);
        }
    }
    client.close();
}

fn submit(client: &mut RecoveryClient, request: &Request, shared: &Shared) {
    let mut ranges = [twinline_recovery::range(0, 0); crate::gaps::MAX_RANGES];
    for (range, span) in ranges.iter_mut().zip(request.ranges()) {
        *range = twinline_recovery::range(span.begin, span.end);
    }
    let ranges = &ranges[..request.ranges().len()];
    let mut submit = |ranges| client.submit(request.service, request.id, request.session, ranges);
    let submitted = match submit(ranges) {
        // What is left out is asked for again once the rest is answered.
        Err(SubmitError::Request(RequestError::TooManyRanges { allowed, .. })) if allowed > 0 => {
            submit(&ranges[..allowed])
        }
        submitted => submitted,
    };
    if submitted.is_err() {
        // Not connected any more, or busy: the gaps are free to be asked for again.
        put(shared, Answer::Complete { request: request.id });
    }
}

fn on_event(service: usize, event: ClientEvent<'_>, shared: &Shared) {
    match event {
        ClientEvent::Accepted {
            session,
            epoch,
            epoch_base,
            next,
            ..
        } => {
            shared.stats.connected.fetch_or(1 << service, Ordering::Relaxed);
            put(shared, Answer::Connected { service });
            put(
                shared,
                Answer::Head {
                    session,
                    epoch,
                    epoch_base,
                    next,
                },
            );
        }
        ClientEvent::Heartbeat {
            session,
            epoch,
            epoch_base,
            next,
        } => {
            put(
                shared,
                Answer::Head {
                    session,
                    epoch,
                    epoch_base,
                    next,
                },
            );
        }
        ClientEvent::Packet { request_id, packet } => {
            let bytes = packet.bytes();
            let Some(mut buffer) = free_buffer(shared) else {
                return;
            };
            if let Some(room) = buffer.get_mut(..bytes.len()) {
                room.copy_from_slice(bytes);
                put(
                    shared,
                    Answer::Packet {
                        request: request_id,
                        buffer,
                        length: bytes.len(),
                    },
                );
            } else {
                shared.stats.bad_packets.fetch_add(1, Ordering::Relaxed);
                let _ = shared.buffers.push(buffer);
            }
        }
        // States come over a connection of their own.
        ClientEvent::SnapshotPart { .. } => {}
        ClientEvent::BadPacket { .. } => {
            shared.stats.bad_packets.fetch_add(1, Ordering::Relaxed);
        }
        ClientEvent::Reject {
            request_id,
            begin,
            end,
            code,
            retry_after_ms,
            next_session,
            ..
        } => {
            let refusal = Refusal {
                span: Span::new(begin, end),
                code,
                retry_after: u64::from(retry_after_ms) * 1_000_000,
                next_session,
            };
            put(
                shared,
                Answer::Reject {
                    request: request_id,
                    refusal,
                },
            );
        }
        // A listener asks for no tail.
        ClientEvent::CaughtUp { .. } => {}
        ClientEvent::Complete { request_id, .. } => put(shared, Answer::Complete { request: request_id }),
        ClientEvent::Closed { .. } => {
            shared
                .stats
                .connected
                .fetch_and(!(1 << service), Ordering::Relaxed);
            shared.stats.failures.fetch_add(1, Ordering::Relaxed);
            put(shared, Answer::Disconnected { service });
        }
    }
}

/// A buffer, as soon as the line thread gives one back; none when everything stops.
fn free_buffer(shared: &Shared) -> Option<Box<[u8]>> {
    loop {
        if let Some(buffer) = shared.buffers.pop() {
            return Some(buffer);
        }
        if shared.stop.load(Ordering::Acquire) {
            return None;
        }
        thread::sleep(Duration::from_micros(50));
    }
}

/// Hands an answer over, as soon as there is room.
fn put(shared: &Shared, answer: Answer) {
    let mut answer = answer;
    while let Err(back) = shared.answers.push(answer) {
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        answer = back;
        thread::sleep(Duration::from_micros(50));
    }
}
