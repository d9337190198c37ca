//! The floor of recovery: the barest programs that move the same bytes over TCP on loopback.

use super::Result;
use super::bed::{CORE, LISTENER_CORE};
use crate::harness::clock::Clock;
use crate::harness::slice::{Slice, latencies};
use std::hint::black_box;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use twinline_feed::run::pin;

/// How the two ends of a bare request and reply wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waits {
    /// The one that asks spins on its socket, as a listener's thread does on the lines; otherwise it sleeps in `recv`.
    pub(crate) client_spins: bool,
    /// The one that answers spins; otherwise it sleeps in `recv`, as a service does.
    pub(crate) server_spins: bool,
}

/// Two ends of a connection on loopback.
pub(crate) fn connection() -> Result<[TcpStream; 2]> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
    }
    Ok([client, server])
}

/// Reads until `buffer` is full; spins on a socket that does not wait. False at the end of the stream.
fn read_full(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<bool> {
    let mut have = 0;
    while have < buffer.len() {
        match stream.read(&mut buffer[have..]) {
            Ok(0) => return Ok(false),
            Ok(count) => have += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                std::hint::spin_loop();
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// So many requests of `request` bytes, each answered with `reply` bytes, `apart` from one another.
pub(crate) fn request_reply(
    waits: Waits,
    [request, reply]: [usize; 2],
    count: usize,
    apart: Duration,
    clock: &Clock,
) -> Result<Slice> {
    let [mut client, mut server] = connection()?;
    client.set_nonblocking(waits.client_spins)?;
    server.set_nonblocking(waits.server_spins)?;
    thread::scope(|scope| {
        let answering = named("bare answer").spawn_scoped(scope, move || -> Result<()> {
            let _ = pin(CORE);
            let (mut asked, answer) = (vec![0; request], vec![1; reply]);
            while read_full(&mut server, &mut asked)? {
                server.write_all(&answer)?;
            }
            Ok(())
        })?;
        let asking = named("bare ask").spawn_scoped(scope, move || -> Result<Slice> {
            let _ = pin(LISTENER_CORE);
            let (question, mut answer) = (vec![0; request], vec![0; reply]);
            let mut latency = latencies();
            let (began, mut lost) = (clock.now(), 0);
            for _ in 0..count {
                if waits.client_spins {
                    let until = Instant::now() + apart;
                    while Instant::now() < until {
                        std::hint::spin_loop();
                    }
                } else {
                    thread::sleep(apart);
                }
                let asked = clock.now();
                client.write_all(&question)?;
                match read_full(&mut client, &mut answer)? {
                    true => latency.saturating_record(clock.now() - asked),
                    false => lost += 1,
                }
            }
            Ok(Slice {
                began,
                took: clock.now() - began,
                latency,
                stolen: 0,
                lost,
            })
        })?;
        let slice = asking.join().map_err(|_| "the asking thread panicked")?;
        answering.join().map_err(|_| "the answering thread panicked")??;
        slice
    })
}

/// A thread's name shows in profiles.
fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.into())
}

/// Bytes of one write and of one read of a bare stream.
const CHUNK: usize = 256 << 10;

/// Sends `bytes` so many times over one connection, to a thread that adds all their words up. How long that took.
pub(crate) fn stream(bytes: &[u8], times: usize) -> Result<Duration> {
    let [mut client, mut server] = connection()?;
    thread::scope(|scope| {
        let start = Instant::now();
        let sending = named("bare send").spawn_scoped(scope, move || -> Result<()> {
            let _ = pin(CORE);
            for _ in 0..times {
                for chunk in bytes.chunks(CHUNK) {
                    server.write_all(chunk)?;
                }
            }
            Ok(())
        })?;
        let receiving = named("bare receive").spawn_scoped(scope, move || -> Result<usize> {
            let _ = pin(LISTENER_CORE);
            let mut buffer = vec![0; CHUNK];
            let (mut sum, mut received) = (0u64, 0);
            loop {
                let count = client.read(&mut buffer)?;
                if count == 0 {
                    black_box(sum);
                    return Ok(received);
                }
                received += count;
                let (words, _) = buffer[..count].as_chunks::<8>();
                sum = words
                    .iter()
                    .fold(sum, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
            }
        })?;
        sending.join().map_err(|_| "the sending thread panicked")??;
        let received = receiving.join().map_err(|_| "the receiving thread panicked")??;
        let took = start.elapsed();
        match received == bytes.len() * times {
            true => Ok(took),
            false => Err("the bare stream lost bytes".into()),
        }
    })
}
