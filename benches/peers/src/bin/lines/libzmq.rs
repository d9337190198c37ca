//! The system's libzmq: Debian's has PGM, which the one that crate `zmq` builds has not.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io::{Error, ErrorKind};

#[link(name = "zmq")]
unsafe extern "C" {
    fn zmq_ctx_new() -> *mut c_void;
    fn zmq_ctx_term(context: *mut c_void) -> c_int;
    fn zmq_socket(context: *mut c_void, kind: c_int) -> *mut c_void;
    fn zmq_close(socket: *mut c_void) -> c_int;
    fn zmq_setsockopt(socket: *mut c_void, option: c_int, value: *const c_void, length: usize) -> c_int;
    fn zmq_connect(socket: *mut c_void, endpoint: *const c_char) -> c_int;
    fn zmq_send(socket: *mut c_void, buffer: *const c_void, length: usize, flags: c_int) -> c_int;
    fn zmq_recv(socket: *mut c_void, buffer: *mut c_void, length: usize, flags: c_int) -> c_int;
    fn zmq_errno() -> c_int;
    fn zmq_strerror(error: c_int) -> *const c_char;
}

// From zmq.h.
const DONTWAIT: c_int = 1;
const SUBSCRIBE: c_int = 6;

/// What a socket is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Publish = 1,
    Subscribe = 2,
}

/// What can be set, to a whole number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Setting {
    /// Kilobits a second.
    Rate = 8,
    /// Bytes of the socket's buffer.
    SendBuffer = 11,
    /// Bytes of the socket's buffer.
    ReceiveBuffer = 12,
    /// Milliseconds.
    Recovery = 84,
    /// Milliseconds.
    Linger = 17,
    /// Messages.
    SendQueue = 23,
    /// Messages.
    ReceiveQueue = 24,
    /// Milliseconds.
    ReceiveTimeout = 27,
    /// 1: a publisher whose queue is full takes no message, rather than dropping it.
    NoDrop = 69,
}

/// A socket, and the context with the thread that serves it.
#[derive(Debug)]
pub(crate) struct Socket {
    context: *mut c_void,
    socket: *mut c_void,
}

impl Socket {
    pub(crate) fn new(kind: Kind) -> Result<Self, Error> {
        // SAFETY: it takes nothing and returns a context or null.
        let context = unsafe { zmq_ctx_new() };
        if context.is_null() {
            return Err(error());
        }
        // SAFETY: the context is there.
        let socket = unsafe { zmq_socket(context, kind as c_int) };
        if socket.is_null() {
            let error = error();
            // SAFETY: the context is there, has no socket and is not used again.
            unsafe { zmq_ctx_term(context) };
            return Err(error);
        }
        Ok(Self { context, socket })
    }

    pub(crate) fn set(&mut self, setting: Setting, value: c_int) -> Result<(), Error> {
        self.set_bytes(setting as c_int, &value.to_ne_bytes())
    }

    /// Receives whatever comes.
    pub(crate) fn subscribe_all(&mut self) -> Result<(), Error> {
        self.set_bytes(SUBSCRIBE, &[])
    }

    fn set_bytes(&mut self, option: c_int, value: &[u8]) -> Result<(), Error> {
        // SAFETY: the socket is there, the value has so many bytes, and they are copied.
        done(unsafe { zmq_setsockopt(self.socket, option, value.as_ptr().cast(), value.len()) }).map(drop)
    }

    pub(crate) fn connect(&mut self, endpoint: &str) -> Result<(), Error> {
        let endpoint = CString::new(endpoint)?;
        // SAFETY: the socket is there, the text ends with a zero byte and is copied.
        done(unsafe { zmq_connect(self.socket, endpoint.as_ptr()) }).map(drop)
    }

    /// Sends a message; false if it cannot be taken now.
    pub(crate) fn try_send(&mut self, message: &[u8]) -> Result<bool, Error> {
        // SAFETY: the socket is there, the message has so many bytes, and they are copied.
        let sent = unsafe { zmq_send(self.socket, message.as_ptr().cast(), message.len(), DONTWAIT) };
        Ok(not_now(sent)?.is_some())
    }

    /// Receives a message and returns its length, which may be more than `buffer` holds; `None` if none came in time.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        // SAFETY: the socket is there, and no more is written than the buffer's length.
        let length = unsafe { zmq_recv(self.socket, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        Ok(not_now(length)?.map(|length| length as usize))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: both are there, the socket goes first, as it must, and neither is used again.
        unsafe {
            zmq_close(self.socket);
            zmq_ctx_term(self.context);
        }
    }
}

fn done(result: c_int) -> Result<c_int, Error> {
    if result < 0 { Err(error()) } else { Ok(result) }
}

/// `None` where it is to be tried again.
fn not_now(result: c_int) -> Result<Option<c_int>, Error> {
    match done(result) {
        Ok(result) => Ok(Some(result)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}

fn error() -> Error {
    // SAFETY: it takes nothing.
    let number = unsafe { zmq_errno() };
    let error = Error::from_raw_os_error(number);
    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
        return error;
    }
    // SAFETY: the text is the library's, ends with a zero byte and stays.
    let text = unsafe { CStr::from_ptr(zmq_strerror(number)) };
    Error::other(format!("ZeroMQ: {}", text.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(endpoint: &str) -> Result<[Socket; 2], Error> {
        let (mut publisher, mut subscriber) = (Socket::new(Kind::Publish)?, Socket::new(Kind::Subscribe)?);
        subscriber.subscribe_all()?;
        subscriber.set(Setting::ReceiveTimeout, 10)?;
        for socket in [&mut publisher, &mut subscriber] {
            socket.set(Setting::Linger, 0)?;
            socket.connect(endpoint)?;
        }
        Ok([publisher, subscriber])
    }

    #[test]
    fn a_message_arrives_and_one_that_is_too_long_says_its_whole_length() {
        let place = crate::place::Place::new(9).unwrap().0;
        let [mut publisher, mut subscriber] =
            pair(&format!("epgm://127.0.0.1;{}:{}", place.ip(), place.port())).unwrap();
        let mut buffer = [0; 4];
        // Who listens is heard of a little later.
        let length = (0..1_000).find_map(|_| {
            assert!(publisher.try_send(b"abcdef").unwrap());
            subscriber.receive(&mut buffer).unwrap()
        });
        assert_eq!((length, &buffer), (Some(6), b"abcd"));
    }

    #[test]
    fn an_endpoint_that_is_none_is_refused_with_the_librarys_words() {
        let error = pair("nosuch://place").unwrap_err().to_string();
        assert!(error.starts_with("ZeroMQ: Protocol not supported"), "{error}");
    }
}
