//! Why AF_XDP cannot be had, and what to do about it.

use std::io;

/// Why a line cannot go through AF_XDP; [`remedy`](Self::remedy) says what to do.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// The line's address leaves the interface open.
    #[error("the address names no interface")]
    NoInterface,
    /// Loopback: what is sent there through AF_XDP reaches nobody.
    #[error("{interface} is the loopback interface")]
    Loopback {
        /// The interface.
        interface: String,
    },
    /// No frames of Ethernet go over it: a tunnel, say.
    #[error("{interface} is no Ethernet link")]
    NotEthernet {
        /// The interface.
        interface: String,
    },
    /// Not allowed.
    #[error("no permission to {what}")]
    Permission {
        /// What was being done.
        what: &'static str,
    },
    /// The driver has no native support.
    #[error("the driver of {interface} cannot run a program natively ({cause})")]
    NotNative {
        /// The interface.
        interface: String,
        /// What the system says.
        cause: io::Error,
    },
    /// Another program of ours takes the same line.
    #[error(
        "another listener on this host takes {line} from {interface} through AF_XDP, before any socket sees it"
    )]
    LineTaken {
        /// The interface.
        interface: String,
        /// The group and port.
        line: String,
    },
    /// A program is attached already.
    #[error("{interface} has an XDP program already ({program}), and can have only one")]
    ProgramThere {
        /// The interface.
        interface: String,
        /// Its name, or number.
        program: String,
    },
    /// The queue is in use.
    #[error("queue {queue} of {interface} is in use by another AF_XDP socket, and can have only one")]
    QueueTaken {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// There is no such queue.
    #[error("{interface} has no queue {queue}, only {count} of them")]
    NoQueue {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// How many there are.
        count: u32,
    },
    /// A socket hears the line, and would hear nothing more of it.
    #[error("a socket on this host hears {line} already, and would hear nothing beside AF_XDP")]
    SocketHears {
        /// The group and port.
        line: String,
    },
    /// Too many groups joined, or sources of one.
    #[error("cannot join the group: the limit {limit} is reached")]
    TooManyGroups {
        /// The kernel's setting.
        limit: &'static str,
    },
    /// A packet does not fit a frame.
    #[error("packets of {length} bytes do not fit a frame of AF_XDP, {most} bytes do")]
    TooLong {
        /// The longest packet.
        length: usize,
        /// What fits.
        most: usize,
    },
    /// The kernel cannot.
    #[error("this kernel has no AF_XDP")]
    NoKernelSupport,
    /// No memory may be locked.
    #[error("no memory is to be had for the frames ({cause})")]
    Memory {
        /// What the system says.
        cause: io::Error,
    },
    /// Anything else that the system says.
    #[error("cannot {what} on {interface} ({cause})")]
    System {
        /// The interface.
        interface: String,
        /// What was being done.
        what: &'static str,
        /// What the system says.
        cause: io::Error,
    },
}

impl XdpError {
    /// The error for what the system said while doing `what` on `interface`.
    pub(super) fn new(interface: &str, what: &'static str, cause: io::Error) -> Self {
        match cause.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => XdpError::Permission { what },
            Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ENOSYS) => XdpError::NoKernelSupport,
            Some(libc::ENOMEM | libc::ENOBUFS) => XdpError::Memory { cause },
            _ => XdpError::System {
                interface: interface.into(),
                what,
                cause,
            },
        }
    }

    /// What to do.
    pub fn remedy(&self) -> &'static str {
        match self {
            XdpError::NoInterface => "write it behind an @, as in 239.1.1.1:5001@eth0",
            XdpError::Loopback { .. } => {
                "use a socket on it (--io socket), or name the network card's interface"
            }
            XdpError::NotEthernet { .. } => "use a socket on it (--io socket)",
            XdpError::Permission { .. } => {
                "run as root, or give the program CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and CAP_IPC_LOCK \
                 (setcap cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock+ep PROGRAM)"
            }
            XdpError::NotNative { .. } => {
                "a generic one works on any interface, later than that (--io xdp --xdp-mode generic)"
            }
            XdpError::LineTaken { .. } => "read from that listener's ring, or run both with --io socket",
            XdpError::ProgramThere { .. } => {
                "stop what attached it, put this line on another interface, or use a socket (--io socket)"
            }
            XdpError::QueueTaken { .. } => {
                "stop that program, name another queue (--xdp-queues), or use a socket (--io socket)"
            }
            XdpError::NoQueue { .. } => "name others (--xdp-queues), or use a socket (--io socket)",
            XdpError::SocketHears { .. } => {
                "end the other program, or take the line from it all the same (--io xdp)"
            }
            XdpError::TooManyGroups { .. } => "raise that limit (sysctl -w NAME=200)",
            XdpError::TooLong { .. } => "lower --packet-size at both ends, or use a socket (--io socket)",
            XdpError::NoKernelSupport => {
                "use a socket (--io socket); Linux 5.11 or newer with CONFIG_XDP_SOCKETS has it"
            }
            XdpError::Memory { .. } => {
                "raise the limit of locked memory (ulimit -l), give the program CAP_IPC_LOCK, or ask for a smaller \
                 --receive-buffer"
            }
            XdpError::System { .. } => {
                "use a socket (--io socket); twinline doctor shows what the interface can do"
            }
        }
    }

    /// True where a socket would open all the same, and then hear nothing.
    pub(crate) fn deafens_sockets(&self) -> bool {
        matches!(self, XdpError::LineTaken { .. })
    }
}
