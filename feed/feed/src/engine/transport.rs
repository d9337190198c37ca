//! How the bytes of the dialogue travel: over local TCP, or through shared memory beside a Unix socket.
//!
//! Shared memory is made for each connection and handed over the Unix socket, which stays open for one thing: it ends
//! when either process does. So a connection means the same both ways, and so does its end.

use super::queue::Queues;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// While nothing comes it is asked this often whether the other side still lives.
const ALIVE_EVERY: Duration = Duration::from_millis(1);

/// Where an engine and its publisher meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineAddress {
    /// Over local TCP.
    Tcp(SocketAddr),
    /// Through shared memory, handed over at this Unix socket.
    Shared(PathBuf),
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Shared(path) => path.display().fmt(f),
        }
    }
}

/// A connection; nothing on it waits.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Shared(Shared),
}

/// Queues in shared memory, and the socket that tells whether the other side lives.
#[derive(Debug)]
pub(super) struct Shared {
    queues: Queues,
    socket: UnixStream,
    asked: Instant,
}

impl Stream {
    /// Connects, as an engine.
    ///
    /// # Errors
    /// If nobody is there; `InvalidData` if what is there is no publisher.
    pub(super) fn connect(address: &EngineAddress, patience: Duration) -> io::Result<Self> {
        match address {
            EngineAddress::Tcp(address) => Self::tcp(TcpStream::connect_timeout(address, patience)?),
            EngineAddress::Shared(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_read_timeout(Some(patience))?;
                let queues = Queues::attach(&receive(&socket)?)?;
                Self::shared(queues, socket)
            }
        }
    }

    fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    fn shared(queues: Queues, socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self::Shared(Shared {
            queues,
            socket,
            asked: Instant::now(),
        }))
    }
}

impl Shared {
    /// False once the other side is gone.
    fn is_alive(&mut self) -> bool {
        let now = Instant::now();
        if now < self.asked + ALIVE_EVERY {
            return true;
        }
        self.asked = now;
        // Nothing is ever said on it.
        matches!(self.socket.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let shared = match self {
            Self::Tcp(stream) => return stream.read(bytes),
            Self::Shared(shared) => shared,
        };
        match shared.queues.read(bytes)? {
            0 if shared.is_alive() => Err(ErrorKind::WouldBlock.into()),
            // It may have written between our look and its end.
            0 => shared.queues.read(bytes),
            read => Ok(read),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Shared(shared) => match shared.queues.write(bytes)? {
                0 if shared.is_alive() => Err(ErrorKind::WouldBlock.into()),
                0 => Err(ErrorKind::BrokenPipe.into()),
                written => Ok(written),
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where engines connect; nothing on it waits.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Shared { socket: UnixListener, path: PathBuf },
}

impl Listener {
    pub(super) fn bind(address: &EngineAddress) -> io::Result<Self> {
        match address {
            EngineAddress::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(listener))
            }
            EngineAddress::Shared(path) => {
                remove_deserted(path)?;
                let socket = UnixListener::bind(path)?;
                socket.set_nonblocking(true)?;
                let path = path.clone();
                Ok(Self::Shared { socket, path })
            }
        }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> io::Result<EngineAddress> {
        Ok(match self {
            Self::Tcp(listener) => EngineAddress::Tcp(listener.local_addr()?),
            Self::Shared { path, .. } => EngineAddress::Shared(path.clone()),
        })
    }

    /// The next engine that wants to connect; `WouldBlock` if there is none.
    pub(super) fn accept(&self) -> io::Result<Knock> {
        Ok(match self {
            Self::Tcp(listener) => Knock::Tcp(listener.accept()?.0),
            Self::Shared { socket, .. } => Knock::Shared(socket.accept()?.0),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Shared { path, .. } = self {
            // What stays behind after a crash is removed by the next publisher.
            let _ = fs::remove_file(path);
        }
    }
}

/// An engine that knocks: dropped it is turned away.
pub(super) enum Knock {
    Tcp(TcpStream),
    Shared(UnixStream),
}

impl Knock {
    /// Lets it in.
    pub(super) fn open(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream) => Stream::tcp(stream),
            Self::Shared(socket) => {
                let (queues, file) = Queues::create()?;
                send(&socket, &file)?;
                Stream::shared(queues, socket)
            }
        }
    }
}

/// Removes the socket of a publisher that is gone: a file at which nobody listens.
fn remove_deserted(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    if !fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket()) {
        return Ok(());
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// Hands `file` over.
fn send(socket: &UnixStream, file: &File) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = [file.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(ErrorKind::OutOfMemory.into());
    }
    sendmsg(socket, &[IoSlice::new(&[1])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes a file that is handed over.
fn receive(socket: &UnixStream) -> io::Result<File> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    if received.bytes == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    file.map(File::from).ok_or_else(|| ErrorKind::InvalidData.into())
}
