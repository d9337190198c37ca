//! The floor of recovery: the barest programs that move the same bytes over TCP on loopback.

use crate::harness::clock::Clock;
use crate::harness::error::BenchError;
use crate::harness::slice::{Slice, latencies};
use crate::harness::threads::{join, spawn};
use std::hint::black_box;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// How the two ends of a bare request and reply wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waits {
    /// The one that asks spins on its socket, as a listener's thread does on the lines; otherwise it sleeps in `recv`.
    pub(crate) client_spins: bool,
    /// The one that answers spins; otherwise it sleeps in `recv`, as a service does.
    pub(crate) server_spins: bool,
}

/// Two ends of a connection on loopback.
pub(crate) fn connection() -> io::Result<[TcpStream; 2]> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
    }
    Ok([client, server])
}

/// Reads until `buffer` is full; spins on a socket that does not wait. False at the end of the stream.
fn read_full(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<bool> {
    let mut have = 0;
    while have < buffer.len() {
        match stream.read(&mut buffer[have..]) {
            Ok(0) => return Ok(false),
            Ok(count) => have += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                std::hint::spin_loop();
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// For what the system says of the bare connection.
fn failed(cause: io::Error) -> BenchError {
    BenchError::io("talk over a bare TCP connection on loopback")(cause)
}

/// So many requests of `request` bytes, each answered with `reply` bytes, `apart` from one another, answered on the first
/// core and asked on the second.
pub(crate) fn request_reply(
    waits: Waits,
    [request, reply]: [usize; 2],
    count: usize,
    apart: Duration,
    cores: [Option<usize>; 2],
    clock: &Clock,
) -> Result<Slice, BenchError> {
    let [mut client, mut server] = connection().map_err(failed)?;
    client.set_nonblocking(waits.client_spins).map_err(failed)?;
    server.set_nonblocking(waits.server_spins).map_err(failed)?;
    let mut answer = move || -> io::Result<()> {
        let (mut asked, answer) = (vec![0; request], vec![1; reply]);
        while read_full(&mut server, &mut asked)? {
            server.write_all(&answer)?;
        }
        Ok(())
    };
    let mut ask = move || -> io::Result<Slice> {
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
    };
    thread::scope(|scope| {
        let answering = spawn(scope, "bare answer", cores[0], move || answer().map_err(failed))?;
        let asking = spawn(scope, "bare ask", cores[1], move || ask().map_err(failed))?;
        let slice = join(asking);
        join(answering)?;
        slice
    })
}

/// Bytes of one write and of one read of a bare stream.
const CHUNK: usize = 256 << 10;

/// Sends `bytes` so many times over one connection, from the first core, to a thread on the second that adds all their
/// words up. How long that took.
pub(crate) fn stream(bytes: &[u8], times: usize, cores: [Option<usize>; 2]) -> Result<Duration, BenchError> {
    let [mut client, mut server] = connection().map_err(failed)?;
    let mut send = move || -> io::Result<()> {
        for _ in 0..times {
            for chunk in bytes.chunks(CHUNK) {
                server.write_all(chunk)?;
            }
        }
        Ok(())
    };
    let mut receive = move || -> io::Result<usize> {
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
    };
    thread::scope(|scope| {
        let start = Instant::now();
        let sending = spawn(scope, "bare send", cores[0], move || send().map_err(failed))?;
        let receiving = spawn(scope, "bare receive", cores[1], move || receive().map_err(failed))?;
        let sent = join(sending);
        let received = join(receiving)?;
        sent?;
        match received == bytes.len() * times {
            true => Ok(start.elapsed()),
            false => Err(BenchError::Broken("the bare stream lost bytes".into())),
        }
    })
}
