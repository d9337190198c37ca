//! Lines through AF_XDP: frames go between a network interface's queue and our own memory, past the kernel's network
//! stack.
//!
//! The modules have the kernel's own names for things. [`umem`] is the memory that frames lie in; a [`ring`] hands frames to
//! the kernel or back; a [`socket`] is one queue of an interface with its rings; a [`program`] picks a line's frames out
//! of all that the interface receives, and is loaded and attached through [`bpf`]. A [`frame`] is what lies in memory: Ethernet,
//! IPv4 and UDP headers and a packet. [`device`] asks what an interface is. [`XdpReceiver`] and [`XdpSender`] are made of
//! these. A [`claim`] tells other processes which line is taken.
//!
//! What to know of it: one socket has an interface's queue for itself, and one program the interface. Frames that are sent do
//! not reach listeners on the same host, and a program does not see what a socket on the same host sends. A packet is at most a
//! memory page less 298 bytes long.

mod bpf;
mod claim;
mod device;
mod error;
mod frame;
mod program;
mod receiver;
pub mod ring;
mod sender;
pub mod socket;
pub mod umem;

pub use device::Device;
pub use error::XdpError;
pub(crate) use program::check_for_sockets;
pub use program::{Mode, Program};
pub(crate) use receiver::{Queues, XdpReceiver};
pub(crate) use sender::XdpSender;
