//! The publisher's lines as sockets.

use crate::publisher::{Line, Lines};
use std::sync::Arc;
use twinline_line::{Burst, LineAddress, LineError, LineSender, SenderOptions};

/// Lines A and B as multicast sockets. A clone shares them, so that another thread can read their counts and health.
#[derive(Clone, Debug)]
pub struct SocketLines {
    senders: [Arc<LineSender>; 2],
}

impl SocketLines {
    /// Opens a socket for each line.
    ///
    /// # Errors
    /// If a group is not multicast, an interface does not exist, or the system refuses.
    pub fn open(a: &LineAddress, b: &LineAddress, options: SenderOptions) -> Result<Self, LineError> {
        Ok(Self {
            senders: [
                Arc::new(LineSender::open(a, options)?),
                Arc::new(LineSender::open(b, options)?),
            ],
        })
    }

    /// The sender of `line`.
    pub fn sender(&self, line: Line) -> &LineSender {
        &self.senders[line.index()]
    }
}

impl Lines for SocketLines {
    #[inline]
    fn send(&mut self, line: Line, burst: Burst<'_>) -> usize {
        self.senders[line.index()].send_burst(burst)
    }
}
