//! How packets reach a network and come back.
//!
//! Two redundant multicast [lines](Line), A and B, carry the same packets. A publisher has a [`LineSender`] for each, a
//! listener a [`LineReceiver`] for each. What is below them is chosen with [`Io`]: non-blocking UDP [sockets](socket), or
//! [AF_XDP](xdp), which passes the kernel's network stack by. IPv4 only (multicast market data is). They know nothing of
//! what a packet holds. The [`impair`] module stands between a receiver and what reads from it, and does to packets what bad
//! networks do, repeatably.

pub mod address;
mod burst;
pub mod impair;
mod io;
mod pace;
pub mod queue;
pub mod random;
mod receiver;
mod sender;
pub mod socket;
mod sys;
pub mod xdp;

pub use address::{Interface, LineAddress};
pub use burst::Burst;
pub use io::{Io, Transport};
pub use receiver::{
    BufferReport, DEFAULT_RECEIVE_BUFFER, LineReceiver, ReceiverCounts, ReceiverOptions, ReceiverState,
};
pub use sender::{LineHealth, LineSender, SendOutcome, SenderCounts, SenderOptions, SenderState};
pub use socket::{Heard, SocketReceiver};

use std::fmt;
use std::net::Ipv4Addr;
use xdp::XdpError;

/// What is being done when a group is joined.
pub(crate) const JOIN: &str = "join the group";

/// The kernel's setting that is too low where there is no room to join a group, from all senders or from these.
pub(crate) fn join_limit(senders: &[Ipv4Addr]) -> &'static str {
    match senders {
        [] => "net.ipv4.igmp_max_memberships",
        _ => "net.ipv4.igmp_max_msf",
    }
}

/// One of the two redundant lines of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Line {
    /// The first line; sent on first.
    A = 0,
    /// The second line.
    B = 1,
}

impl Line {
    /// Both, in sending order.
    pub const ALL: [Line; 2] = [Line::A, Line::B];

    /// 0 for A, 1 for B.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The line that is not this one.
    pub const fn other(self) -> Line {
        match self {
            Line::A => Line::B,
            Line::B => Line::A,
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Line::A => "A",
            Line::B => "B",
        })
    }
}

/// Why a line cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The text is not a line's address.
    #[error(
        "{text:?} is not a line's address: {what}; write GROUP:PORT@INTERFACE, as in 239.1.1.1:5001@eth0"
    )]
    Address {
        /// What was given.
        text: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The group is a host's address.
    #[error(
        "{group} is not a multicast group: take one from 224.0.0.0 to 239.255.255.255 \
         (239.0.0.0 and up are for private use)"
    )]
    NotMulticast {
        /// What was given.
        group: Ipv4Addr,
    },
    /// No such interface.
    #[error("interface {name} does not exist, or has no IPv4 address: take one of {known}")]
    NoInterface {
        /// What was given.
        name: String,
        /// Those that exist, with their addresses.
        known: String,
    },
    /// Another program has the port for itself.
    #[error(
        "port {port} of group {group} is in use by a program that does not share it: stop it (`ss -ulpn` names it) \
         or take another port"
    )]
    PortInUse {
        /// The line's group.
        group: Ipv4Addr,
        /// The line's port.
        port: u16,
    },
    /// The system does not let us.
    #[error(
        "no permission to {what} for {address}: ports below 1024 need CAP_NET_BIND_SERVICE; otherwise ask what \
         sandbox or firewall forbids it"
    )]
    Permission {
        /// The line.
        address: String,
        /// What was being done.
        what: &'static str,
    },
    /// There is no route to the group.
    #[error("no route to {address}: name the interface, as in {address}@eth0")]
    NoRoute {
        /// The line.
        address: String,
    },
    /// Too many groups joined.
    #[error(
        "cannot join {address}: too many groups, or senders of one; raise the limit with `sysctl -w {limit}=200`"
    )]
    TooManyGroups {
        /// The line.
        address: String,
        /// The kernel's setting.
        limit: &'static str,
    },
    /// AF_XDP is asked for and cannot be had, or another program's takes the line.
    #[error("cannot open {address}: {source}: {}", source.remedy())]
    Xdp {
        /// The line.
        address: String,
        /// Why, and what to do.
        source: XdpError,
    },
    /// Anything else that the system says.
    #[error("cannot {what} for {address}: {cause}")]
    Socket {
        /// The line.
        address: String,
        /// What was being done.
        what: &'static str,
        /// What the system says.
        cause: std::io::Error,
    },
}

impl LineError {
    fn xdp(address: &LineAddress, source: XdpError) -> Self {
        LineError::Xdp {
            address: address.to_string(),
            source,
        }
    }

    /// The error for what the system said while doing `what` for the line at `address`.
    fn new(address: &LineAddress, what: &'static str, cause: std::io::Error) -> Self {
        let text = address.to_string();
        match cause.raw_os_error() {
            Some(libc::EADDRINUSE) => LineError::PortInUse {
                group: address.group,
                port: address.port,
            },
            Some(libc::EACCES | libc::EPERM) => LineError::Permission { address: text, what },
            Some(libc::ENODEV | libc::ENETUNREACH) if address.interface.is_none() => {
                LineError::NoRoute { address: text }
            }
            _ => LineError::Socket {
                address: text,
                what,
                cause,
            },
        }
    }
}
