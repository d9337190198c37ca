//! One client as the service sees it. No I/O and no clock: the shell (or a simulator) moves the bytes and passes the
//! time, in nanoseconds of any clock that only grows.
//!
//! Memory a client: the input buffer, the control buffer (small frames to be sent), the ranges that it may have open,
//! and while it is being answered a place in the mapped journal. A client that asks faster than it reads is not read
//! from: while the control buffer is full, no frame is taken from the input buffer, and then the socket fills.

use super::dialogue::{Dialogue, STEP_LEN, State};
use super::limits::Limits;
use super::output::Output;
use super::stats::Counters;
use super::store::Store;
use crate::buffer::FrameBuffer;
use twinline_wire::field::LogoutReason;

/// The state machine of one client.
pub struct ServerSession {
    input: FrameBuffer,
    dialogue: Dialogue,
}

impl ServerSession {
    /// A client that has just connected to the service of this channel.
    pub fn new(limits: &Limits, channel: u16, now: u64) -> Self {
        Self {
            input: FrameBuffer::new(limits.max_frame()),
            dialogue: Dialogue::new(limits, channel, now),
        }
    }

    /// Bytes came. Returns how many of them were taken: the rest must be offered again after
    /// [`poll_output`](Self::poll_output), and may have to wait until the client reads.
    pub fn on_bytes(&mut self, bytes: &[u8]) -> usize {
        self.input.take_from(bytes)
    }

    /// Where a socket may read into, in place of [`on_bytes`](Self::on_bytes). Empty: do not read now.
    pub(super) fn input_room(&mut self) -> &mut [u8] {
        self.input.room()
    }

    /// `count` bytes were read into [`input_room`](Self::input_room).
    pub(super) fn on_read(&mut self, count: usize) {
        self.input.filled(count);
    }

    fn handle_input(&mut self, now: u64, store: &mut Store) {
        let dialogue = &mut self.dialogue;
        while dialogue.is_open() && dialogue.control.room() >= STEP_LEN {
            let handled = match self.input.next_frame() {
                Ok(None) => return,
                Ok(Some(frame)) => {
                    dialogue.last_frame = now;
                    dialogue.handle(frame, store)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = handled {
                dialogue.protocol_error(error);
            }
        }
    }

    /// Time passes: the end of patience. To be called every 100 ms or so, after what came was handled by
    /// [`poll_output`](Self::poll_output).
    pub fn on_time(&mut self, now: u64) {
        self.dialogue.on_time(now);
    }

    /// Handles what came, and says what is to be sent next; empty if there is nothing.
    pub fn poll_output(&mut self, now: u64, store: &mut Store) -> Output<'_> {
        self.handle_input(now, store);
        self.dialogue.advance(now, store);
        self.dialogue.heartbeat(now, store);
        self.dialogue.output(now)
    }

    /// The first `count` bytes of the output were sent.
    pub fn consumed(&mut self, count: usize, now: u64) {
        self.dialogue.consumed(count, now);
    }

    /// Ends the connection with these words, once what was begun is sent. Counts as a cut.
    pub fn log_out(&mut self, reason: LogoutReason, text: &str) {
        if self.dialogue.is_open() {
            self.dialogue.log_out(reason, text);
        }
    }

    /// True if the connection is to be closed: all is said, or the client does not listen.
    pub fn is_over(&self) -> bool {
        match self.dialogue.state {
            State::New | State::Open => false,
            State::Closing => self.dialogue.data.is_none() && self.dialogue.control.pending().is_empty(),
            State::Closed => true,
        }
    }

    /// True if it has a tail open: [`poll_output`](Self::poll_output) is to be called whenever the journal may have
    /// grown.
    pub fn is_following(&self) -> bool {
        self.dialogue.tail.is_some()
    }

    /// Why the service ended the connection, if it did.
    pub fn cut(&self) -> Option<LogoutReason> {
        self.dialogue.cut
    }

    /// Bytes of memory that it holds beyond the mapped journal; bounded by the [`Limits`].
    pub fn memory(&self) -> usize {
        self.input.capacity() + self.dialogue.memory()
    }

    /// True while it waits for a snapshot, or is sent one.
    pub(super) fn has_snapshot(&self) -> bool {
        self.dialogue.has_snapshot()
    }

    /// What was counted since this was called last.
    pub fn take_counters(&mut self) -> Counters {
        std::mem::take(&mut self.dialogue.counters)
    }
}
