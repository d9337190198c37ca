//! What a line goes through: an ordinary socket, or AF_XDP where the interface allows it.

use crate::xdp::{Mode, XdpError};
use crate::{LineAddress, LineError};
use std::fmt;

/// Through what a line is to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// AF_XDP where the interface and the permissions allow it, otherwise a socket. For receiving only where the driver has
    /// native support.
    Auto,
    /// An ordinary socket.
    #[default]
    Socket,
    /// AF_XDP, or an error.
    Xdp,
}

impl Io {
    /// Opens one end of a line by `xdp` or by `socket`, which is told why.
    pub(crate) fn open<T>(
        self,
        address: &LineAddress,
        xdp: impl FnOnce() -> Result<T, XdpError>,
        socket: impl FnOnce(Transport) -> Result<T, LineError>,
    ) -> Result<T, LineError> {
        let opened = match self {
            Io::Socket => return socket(Transport::Socket { why: None }),
            Io::Auto | Io::Xdp => xdp(),
        };
        match opened {
            Err(source) if self == Io::Auto && !source.deafens_sockets() => socket(Transport::Socket {
                why: Some(source.to_string()),
            }),
            opened => opened.map_err(|source| LineError::xdp(address, source)),
        }
    }
}

/// Through what a line goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// An ordinary socket.
    Socket {
        /// Why not AF_XDP, if that was to be tried.
        why: Option<String>,
    },
    /// AF_XDP.
    Xdp {
        /// The interface.
        interface: String,
        /// Its queues.
        queues: Vec<u32>,
        /// How the program that picks a receiver's packets runs; `None` for a sender, which needs none.
        mode: Option<Mode>,
        /// The network card reads and writes our memory itself.
        zero_copy: bool,
        /// That memory is in huge pages.
        huge_pages: bool,
    },
}

impl Transport {
    /// `socket` or `xdp`.
    pub fn name(&self) -> &'static str {
        match self {
            Transport::Socket { .. } => "socket",
            Transport::Xdp { .. } => "xdp",
        }
    }

    /// True if it is AF_XDP.
    pub fn is_xdp(&self) -> bool {
        matches!(self, Transport::Xdp { .. })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transport::Socket { why: None } => f.write_str("a socket"),
            Transport::Socket { why: Some(why) } => write!(f, "a socket, not AF_XDP: {why}"),
            Transport::Xdp {
                interface,
                queues,
                mode,
                zero_copy,
                huge_pages,
            } => {
                let queues: Vec<String> = queues.iter().map(u32::to_string).collect();
                let plural = if queues.len() > 1 { "queues" } else { "queue" };
                write!(f, "AF_XDP on {interface}, {plural} {}", queues.join(", "))?;
                if let Some(mode) = mode {
                    write!(f, ", {mode} program")?;
                }
                f.write_str(if *zero_copy { ", zero-copy" } else { ", copy mode" })?;
                f.write_str(if *huge_pages { ", huge pages" } else { "" })
            }
        }
    }
}
