//! Why AF_XDP cannot be had. Each says what to do.

use std::io;

/// Why a line cannot go through AF_XDP.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// The line's address leaves the interface open.
    #[error("the address names no interface: write it behind an @, as in 239.1.1.1:5001@eth0")]
    NoInterface,
    /// Loopback.
    #[error(
        "{interface} is the loopback interface, {why}: use a socket on it (--io socket), or name the network card's interface"
    )]
    Loopback {
        /// The interface.
        interface: String,
        /// What it cannot.
        why: &'static str,
    },
    /// Not allowed.
    #[error(
        "no permission to {what}: run as root, or give the program CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and CAP_IPC_LOCK \
         (setcap cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock+ep PROGRAM)"
    )]
    Permission {
        /// What was being done.
        what: &'static str,
    },
    /// The driver has no native support.
    #[error(
        "the driver of {interface} cannot run a program natively ({cause}): a generic one is slower than that, \
         --io xdp --xdp-mode generic takes it all the same"
    )]
    NotNative {
        /// The interface.
        interface: String,
        /// What the system says.
        cause: io::Error,
    },
    /// Another program of ours takes the same line.
    #[error(
        "another listener on this host takes {line} from {interface} through AF_XDP, before any socket sees it: read from that \
         listener's ring, or run both with --io socket"
    )]
    LineTaken {
        /// The interface.
        interface: String,
        /// The group and port.
        line: String,
    },
    /// A program is attached already.
    #[error(
        "interface {interface} has an XDP program already ({program}), and can have only one: stop what attached it, put this \
         line on another interface, or use a socket (--io socket)"
    )]
    ProgramThere {
        /// The interface.
        interface: String,
        /// Its name, or number.
        program: String,
    },
    /// The queue is in use.
    #[error(
        "queue {queue} of {interface} is in use by another AF_XDP socket, and can have only one: stop that program, name \
         another queue (--xdp-queues), or use a socket (--io socket)"
    )]
    QueueTaken {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// There is no such queue.
    #[error("{interface} has no queue {queue}, only {count} of them: name others (--xdp-queues)")]
    NoQueue {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// How many there are.
        count: u32,
    },
    /// A packet does not fit a frame.
    #[error(
        "packets of {length} bytes do not fit a frame of AF_XDP, {most} bytes do: lower --packet-size at both ends, or use \
         a socket (--io socket)"
    )]
    TooLong {
        /// The longest packet.
        length: usize,
        /// What fits.
        most: usize,
    },
    /// The kernel cannot.
    #[error(
        "this kernel has no AF_XDP (Linux 5.11 or newer with CONFIG_XDP_SOCKETS has it): use a socket (--io socket)"
    )]
    NoKernelSupport,
    /// No memory may be locked.
    #[error(
        "no memory to be had for the frames ({cause}): raise the limit of locked memory (ulimit -l), or ask for a smaller \
         --receive-buffer"
    )]
    Memory {
        /// What the system says.
        cause: io::Error,
    },
    /// Anything else that the system says.
    #[error("cannot {what} on {interface}: {cause}")]
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

    /// True where a socket would open all the same, and then hear nothing.
    pub(crate) fn deafens_sockets(&self) -> bool {
        matches!(self, XdpError::LineTaken { .. })
    }
}
