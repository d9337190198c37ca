//! The publisher's lines as they go onto the network.

use crate::publisher::{Line, Lines};
use std::sync::Arc;
use twinline_line::{Burst, LineAddress, LineError, LineSender, SenderOptions, SenderState};

/// Lines A and B, as multicast.
#[derive(Debug)]
pub struct NetworkLines {
    senders: [LineSender; 2],
}

impl NetworkLines {
    /// Opens both lines, each with its options.
    ///
    /// # Errors
    /// If a group is not multicast, an interface does not exist, or the system refuses.
    pub fn open(a: &LineAddress, b: &LineAddress, options: [SenderOptions; 2]) -> Result<Self, LineError> {
        Ok(Self {
            senders: [LineSender::open(a, options[0])?, LineSender::open(b, options[1])?],
        })
    }

    /// The counts and the health of lines A and B, for other threads.
    pub fn states(&self) -> [Arc<SenderState>; 2] {
        self.senders.each_ref().map(|sender| Arc::clone(sender.state()))
    }
}

impl Lines for NetworkLines {
    #[inline]
    fn send(&mut self, line: Line, burst: Burst<'_>) -> usize {
        self.senders[line.index()].send_burst(burst)
    }
}
