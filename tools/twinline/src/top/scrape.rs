//! Getting metrics pages: a thread for each daemon, so that one that does not answer keeps nobody else waiting.
//!
//! One GET of a page needs no HTTP client: the request is HTTP/1.0, so the answer is a head and one body up to the
//! connection's end.

use super::page::Page;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// A daemon that has not answered in so long, from connecting to the page's last byte, is down.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);
/// No page of ours is longer.
const LONGEST: usize = 8 << 20;

/// What came of asking a daemon.
#[derive(Debug)]
pub(super) struct Scrape {
    /// Which one, in the order of the targets.
    pub(super) daemon: usize,
    /// When the answer was there.
    pub(super) at: Instant,
    /// The page, or why there is none.
    pub(super) result: Result<Page, String>,
}

/// Asks all targets every so often, for ever or so many times. The threads end when the receiver is dropped.
///
/// # Errors
/// If a thread cannot be started.
pub(super) fn start(targets: &[String], every: Duration, times: Option<u32>) -> io::Result<Receiver<Scrape>> {
    let (scrapes, receiver) = channel();
    for (daemon, target) in targets.iter().enumerate() {
        let (target, scrapes) = (target.clone(), scrapes.clone());
        thread::Builder::new()
            .name(format!("scrape {daemon}"))
            .spawn(move || ask_again(daemon, &target, every, times, &scrapes))?;
    }
    Ok(receiver)
}

fn ask_again(daemon: usize, target: &str, every: Duration, times: Option<u32>, scrapes: &Sender<Scrape>) {
    let mut next = Instant::now();
    let mut left = times;
    while left != Some(0) {
        let result = page(target);
        let at = Instant::now();
        if scrapes.send(Scrape { daemon, at, result }).is_err() {
            return;
        }
        left = left.map(|left| left - 1);
        if left != Some(0) {
            // What took longer than a turn is not caught up on.
            next = (next + every).max(Instant::now());
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
}

/// A daemon's page.
fn page(target: &str) -> Result<Page, String> {
    let body = get(target)?;
    let page = Page::parse(&body)?;
    match page.value("twinline_build_info", &[]) {
        Some(_) => Ok(page),
        None => {
            Err("who answers is no Twinline daemon: name the port that it was given with --metrics".into())
        }
    }
}

/// The body of `GET /metrics`.
fn get(target: &str) -> Result<String, String> {
    let deadline = Instant::now() + TIMEOUT;
    let addresses = target.to_socket_addrs().map_err(|cause| cause.to_string())?;
    let mut stream = connect(addresses, deadline)?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {target}\r\nAccept: text/plain\r\n\r\n");
    stream
        .set_write_timeout(Some(TIMEOUT))
        .and_then(|()| stream.write_all(request.as_bytes()))
        .map_err(in_words)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(no_answer());
        }
        let read = stream
            .set_read_timeout(Some(left))
            .and_then(|()| stream.read(&mut buffer));
        match read {
            Ok(0) => return body(&answer),
            Ok(bytes) => answer.extend_from_slice(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(in_words(error)),
        }
        if answer.len() > LONGEST {
            return Err(format!("the answer is longer than {LONGEST} bytes"));
        }
    }
}

fn connect(addresses: impl Iterator<Item = SocketAddr>, deadline: Instant) -> Result<TcpStream, String> {
    let mut failed = "the name has no address".to_string();
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = in_words(error),
        }
    }
    Err(failed)
}

fn no_answer() -> String {
    format!("no answer within {} s", TIMEOUT.as_secs())
}

fn in_words(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => no_answer(),
        io::ErrorKind::ConnectionRefused => "connection refused: nobody listens there".into(),
        io::ErrorKind::ConnectionReset => "connection reset".into(),
        _ => error.to_string(),
    }
}

/// The body of a whole answer.
fn body(answer: &[u8]) -> Result<String, String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let begin = match head.parse(answer) {
        Ok(httparse::Status::Complete(begin)) => begin,
        Ok(httparse::Status::Partial) => return Err("the connection ended before the answer did".into()),
        Err(why) => return Err(format!("who answers speaks no HTTP: {why}")),
    };
    let body = &answer[begin..];
    let (code, reason) = (head.code.unwrap_or(0), head.reason.unwrap_or(""));
    if code != 200 {
        return Err(format!("the answer is no page: {code} {reason}"));
    }
    for header in head.headers.iter() {
        let value = String::from_utf8_lossy(header.value);
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(format!("the answer comes {value}, which was not asked for"));
        }
        if header.name.eq_ignore_ascii_case("content-length") && value.trim().parse() != Ok(body.len()) {
            let came = body.len();
            return Err(format!("the answer was cut: {came} of {value} bytes came"));
        }
    }
    String::from_utf8(body.into()).map_err(|_| "the page is no text".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that says these bytes to one client, and then closes or waits.
    fn server(answer: &'static [u8], stays: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer);
            if stays {
                // Until the client goes.
                let _ = stream.read(&mut request);
            }
        });
        address
    }

    #[test]
    fn a_page_is_fetched_and_read() {
        let at = server(
            b"HTTP/1.1 200 OK\r\nContent-Length: 33\r\nContent-Type: text/plain\r\n\r\ntwinline_build_info{daemon=\"x\"} 1",
            false,
        );
        let page = page(&at).unwrap();
        assert_eq!(page.value("twinline_build_info", &[("daemon", "x")]), Some(1.0));
    }

    #[test]
    fn a_daemon_that_does_not_answer_is_told_from_one_that_answers_wrongly() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let cases: [(String, &str); 7] = [
            (free.to_string(), "connection refused"),
            (server(b"HTTP/1.1 200 OK\r\n", true), "no answer within 2 s"),
            (server(b"HTTP/1.1 503 Busy\r\n\r\n", false), "503 Busy"),
            (server(b"SSH-2.0-x\r\n\r\n", false), "speaks no HTTP"),
            (server(b"", false), "the connection ended"),
            (
                server(b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nx 1\n", false),
                "cut: 4 of 9",
            ),
            (
                server(b"HTTP/1.0 200 OK\r\n\r\nx 1\n", false),
                "no Twinline daemon",
            ),
        ];
        for (target, expected) in cases {
            let error = page(&target).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn who_hangs_keeps_nobody_else_waiting() {
        let hangs = server(b"", true);
        let answers = server(b"HTTP/1.0 200 OK\r\n\r\ntwinline_build_info 1\n", false);
        let scrapes: Vec<Scrape> = start(&[hangs, answers], Duration::ZERO, Some(1))
            .unwrap()
            .iter()
            .collect();
        assert_eq!(scrapes.len(), 2);
        assert_eq!(scrapes[0].daemon, 1, "the one that answers comes first");
        assert!(scrapes[0].result.is_ok() && scrapes[1].result.is_err());
    }
}
