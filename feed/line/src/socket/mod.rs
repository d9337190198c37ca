//! Lines through the kernel's own network stack: non-blocking UDP sockets.

mod receiver;
mod sender;

pub use receiver::{Heard, SocketReceiver};
pub(crate) use receiver::{MAX_RECEIVE, join};
pub(crate) use sender::SocketSender;
