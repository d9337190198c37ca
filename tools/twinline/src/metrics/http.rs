//! As much of an HTTP server as three pages need: GET and HEAD, one request a connection.
//!
//! A few threads take connections in turn, and each connection has one short time for everything: whoever is slow, says
//! nothing, or sends what is no request is cut, and whoever opens many connections waits in the kernel's queue. What such a client
//! can do is keep others from the pages, never the daemon from its work. The parser is `httparse`, hyper's; a whole small server
//! such as tiny_http starts a thread for each connection and has no time-outs, which is what must not be here.

use serde_json::Value;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Connections that are answered at once.
const THREADS: usize = 4;
/// A connection has so long, from being taken to being answered.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a request's head at most.
const LONGEST_HEAD: usize = 8 << 10;
/// Headers of a request at most.
const MOST_HEADERS: usize = 64;
/// After a connection could not be taken, for want of file descriptors, say, the next is tried after this.
const PAUSE: Duration = Duration::from_millis(100);

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request<'r> {
    /// The path, without what stands behind a question mark.
    pub(super) path: &'r str,
    /// With `?format=json`, or where JSON is what the client accepts first.
    pub(super) wants_json: bool,
}

/// What it gets.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    content: &'static str,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn text(status: u16, body: String) -> Self {
        Self {
            status,
            content: "text/plain; charset=utf-8",
            body,
        }
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            content: "application/json",
            body: format!("{body}\n"),
        }
    }

    /// A page in Prometheus's text format.
    pub(super) fn metrics(body: String) -> Self {
        Self {
            content: "text/plain; version=0.0.4; charset=utf-8",
            ..Self::text(200, body)
        }
    }

    fn bytes(&self, with_body: bool) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let allow = if self.status == 405 {
            "Allow: GET, HEAD\r\n"
        } else {
            ""
        };
        let mut bytes = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{allow}Connection: close\r\n\r\n",
            self.status,
            self.content,
            self.body.len()
        );
        if with_body {
            bytes += &self.body;
        }
        bytes.into_bytes()
    }
}

/// Answers what comes to `listener`, on threads that end with the process.
pub(super) fn start(
    listener: TcpListener,
    answer: impl Fn(&Request<'_>) -> Answer + Send + Sync + 'static,
) -> io::Result<()> {
    let shared = Arc::new((listener, answer));
    for number in 1..=THREADS {
        let shared = Arc::clone(&shared);
        let thread = thread::Builder::new().name(format!("metrics-{number}"));
        thread.spawn(move || {
            let (listener, answer) = &*shared;
            loop {
                match listener.accept() {
                    // Whatever is wrong with a client is its own affair.
                    Ok((stream, _)) => drop(converse(stream, answer, Instant::now() + PATIENCE)),
                    Err(_) => thread::sleep(PAUSE),
                }
            }
        })?;
    }
    Ok(())
}

/// One connection: a request, an answer, the end.
fn converse(
    mut stream: TcpStream,
    answer: &impl Fn(&Request<'_>) -> Answer,
    until: Instant,
) -> io::Result<()> {
    let mut head = vec![0; LONGEST_HEAD];
    let mut length = 0;
    let reply = loop {
        stream.set_read_timeout(Some(left(until)?))?;
        let read = match stream.read(&mut head[length..]) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        length += read;
        if let Some(reply) = reply(&head[..length], answer) {
            break reply;
        }
        if length == head.len() {
            break Answer::text(431, "the request is too long\n".into()).bytes(true);
        }
    };
    let mut rest = &reply[..];
    while !rest.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        match stream.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    stream.shutdown(Shutdown::Write)?;
    // Closing with something unread would reset the connection, and the answer might not arrive.
    stream.set_read_timeout(Some(left(until)?.min(PAUSE)))?;
    let _ = stream.read(&mut head);
    Ok(())
}

/// The time that is left, which is some.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

/// The reply to a request, once its head is whole.
fn reply(head: &[u8], answer: &impl Fn(&Request<'_>) -> Answer) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {}
        Err(error) => {
            return Some(Answer::text(400, format!("this is no HTTP request: {error}\n")).bytes(true));
        }
    }
    let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    if !matches!(method, "GET" | "HEAD") {
        return Some(Answer::text(405, "there is only something to read here\n".into()).bytes(true));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let accepts_json = parsed.headers.iter().any(|header| {
        header.name.eq_ignore_ascii_case("accept") && header.value.starts_with(b"application/json")
    });
    let request = Request {
        path,
        wants_json: accepts_json || query.split('&').any(|part| part == "format=json"),
    };
    Some(answer(&request).bytes(method == "GET"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn echo(request: &Request<'_>) -> Answer {
        match request.path {
            "/metrics" => Answer::metrics("a 1\n".into()),
            _ => Answer::text(200, format!("{} {}\n", request.path, request.wants_json)),
        }
    }

    fn served() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        start(listener, echo).unwrap();
        address
    }

    /// What comes back for these bytes.
    fn get(address: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(bytes).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn pages_are_got_and_everything_else_is_refused() {
        let address = served();
        let page = get(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(
            page.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"),
            "{page}"
        );
        assert!(page.ends_with("Connection: close\r\n\r\na 1\n"), "{page}");
        let head = get(address, b"HEAD /metrics HTTP/1.1\r\n\r\n");
        assert!(
            head.contains("Content-Length: 4\r\n") && head.ends_with("\r\n\r\n"),
            "{head}"
        );
        for (request, expected) in [
            (&b"GET /x?a=b&format=json HTTP/1.0\r\n\r\n"[..], "/x true\n"),
            (
                b"GET /x HTTP/1.1\r\naccept: application/json\r\n\r\n",
                "/x true\n",
            ),
            (b"GET /x HTTP/1.1\r\naccept: */*\r\n\r\n", "/x false\n"),
            (
                b"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
                "only something to read",
            ),
            (
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n",
                "no HTTP request",
            ),
            (&[b'a'; LONGEST_HEAD], "too long"),
        ] {
            let text = get(address, request);
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_request_in_pieces_is_one_and_one_without_an_end_is_cut() {
        let address = served();
        let mut pieces = TcpStream::connect(address).unwrap();
        for piece in [&b"GET /x HT"[..], b"TP/1.1\r\n", b"\r\n"] {
            pieces.write_all(piece).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
        let mut text = String::new();
        pieces.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("/x false\n"), "{text}");
        // More of them than there are threads, and all are let go: the page is there again.
        let mut silent: Vec<_> = (0..3 * THREADS)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        silent
            .iter_mut()
            .for_each(|stream| stream.write_all(b"GET /").unwrap());
        assert!(get(address, b"GET /metrics HTTP/1.1\r\n\r\n").ends_with("a 1\n"));
        for mut stream in silent {
            let mut nothing = Vec::new();
            // Cut: an end, or a reset.
            let _ = stream.read_to_end(&mut nothing);
            assert!(nothing.is_empty());
        }
    }

    #[test]
    fn a_client_that_does_not_read_is_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        start(listener, |request| match request.path {
            "/large" => Answer::text(200, "x".repeat(64 << 20)),
            _ => echo(request),
        })
        .unwrap();
        let stuck: Vec<_> = (0..THREADS)
            .map(|_| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(b"GET /large HTTP/1.1\r\n\r\n").unwrap();
                stream
            })
            .collect();
        assert!(get(address, b"GET /metrics HTTP/1.1\r\n\r\n").ends_with("a 1\n"));
        drop(stuck);
    }
}
