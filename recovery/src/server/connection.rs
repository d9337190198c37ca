//! One client's socket around its [`ServerSession`]: reads while the session takes bytes, writes heads and packets
//! with one system call, and never waits.

use super::limits::Quota;
use super::session::ServerSession;
use super::store::Store;
use crate::nanos;
use mio::net::TcpStream;
use socket2::SockRef;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::net::Shutdown;
use std::time::Duration;
use twinline_wire::field::LogoutReason;

/// Bytes moved for one client before another has its turn.
const TURN: usize = 256 << 10;
/// The same while it is sent a snapshot: whoever has a gap filled meanwhile waits for no more than this.
const SNAPSHOT_TURN: usize = 64 << 10;
/// A client that was told goodbye has so long to close: closing at once could take the words from it.
const LINGER: Duration = Duration::from_millis(500);

/// What becomes of a connection after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It waits for its socket, or for the time.
    Wait,
    /// It could go on at once.
    Again,
    /// It is over.
    Close,
}

pub(super) struct Connection {
    stream: TcpStream,
    pub(super) session: ServerSession,
    /// There may be bytes to read.
    pub(super) readable: bool,
    /// The socket may take bytes.
    pub(super) writable: bool,
    /// It stands in the queue for a turn.
    pub(super) queued: bool,
    /// Turned away when it came: it counts as no client.
    pub(super) refused: bool,
    /// All is said; closed at this time at the latest.
    linger_until: Option<u64>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, session: ServerSession) -> Self {
        Self {
            stream,
            session,
            readable: true,
            writable: true,
            queued: false,
            refused: false,
            linger_until: None,
        }
    }

    /// Moves bytes both ways, up to a turn's share.
    pub(super) fn turn(&mut self, now: u64, store: &mut Store) -> Turn {
        if let Some(until) = self.linger_until {
            return if now < until && self.discard() {
                Turn::Wait
            } else {
                Turn::Close
            };
        }
        let (mut moved, mut waited) = (0, false);
        loop {
            let (Ok(read), Ok(written)) = (self.read(), self.write(now, store)) else {
                return Turn::Close;
            };
            moved += read + written;
            if self.session.is_over() {
                return self.say_goodbye(now);
            }
            let share = if self.session.has_snapshot() {
                SNAPSHOT_TURN
            } else {
                TURN
            };
            if moved >= share {
                return Turn::Again;
            }
            if read + written == 0 {
                if waited {
                    return Turn::Wait;
                }
                // Only now: what came while this thread was held up counts as heard.
                self.session.on_time(now);
                waited = true;
            }
        }
    }

    /// One read, if the session takes bytes; how many came. An error (also the end of the stream) ends the connection.
    fn read(&mut self) -> io::Result<usize> {
        let room = self.session.input_room();
        if !self.readable || room.is_empty() {
            return Ok(0);
        }
        match self.stream.read(room) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.session.on_read(count);
                Ok(count)
            }
            Err(error) => {
                self.readable = false;
                waits(error)
            }
        }
    }

    /// One write of what the session has to say; how many bytes the socket took. An error ends the connection.
    fn write(&mut self, now: u64, store: &mut Store) -> io::Result<usize> {
        let output = self.session.poll_output(now, store);
        if !self.writable || output.is_empty() {
            return Ok(0);
        }
        let parts = [
            IoSlice::new(output.head),
            IoSlice::new(output.packets),
            IoSlice::new(output.control),
        ];
        match SockRef::from(&self.stream).send_vectored_with_flags(&parts, libc::MSG_NOSIGNAL) {
            Ok(count) => {
                self.session.consumed(count, now);
                Ok(count)
            }
            Err(error) => {
                self.writable = false;
                waits(error)
            }
        }
    }

    /// Closes our direction, and waits for the client to close its own. One that does not read is dropped at once, with
    /// what the system still holds for it.
    fn say_goodbye(&mut self, now: u64) -> Turn {
        if self.session.cut() == Some(LogoutReason::SLOW) {
            // Without it the system would go on holding megabytes for a client that does not read.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
            return Turn::Close;
        }
        if self.session.cut().is_none() || self.stream.shutdown(Shutdown::Write).is_err() {
            return Turn::Close;
        }
        self.linger_until = Some(now + nanos(LINGER));
        self.readable = true;
        if self.discard() { Turn::Wait } else { Turn::Close }
    }

    /// Reads and drops a little of what still comes; false at the end of it.
    fn discard(&mut self) -> bool {
        let mut bytes = [0; 4096];
        for _ in 0..16 {
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return waits(error).is_ok(),
            }
        }
        true
    }

    /// Tells the client that the service stops, as far as its socket takes that at once.
    pub(super) fn stop(&mut self, now: u64) {
        self.session.log_out(LogoutReason::STOPPING, "the service stops");
        let mut store = Store::new(None, Quota::new(None, now));
        while matches!(self.write(now, &mut store), Ok(1..)) {}
        // It is closed next anyway.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

/// Nothing was moved, if that is all that the error says.
fn waits(error: io::Error) -> io::Result<usize> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(0),
        _ => Err(error),
    }
}
