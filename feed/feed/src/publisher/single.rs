//! One market message that is published by itself: the short way of what is published most often where each message counts.
//!
//! It does what [`event`](Publisher::event) and [`flush`](Publisher::flush) do, in a packet that was never open. Code that is
//! not run is not fetched, and what is fetched between two sends displaces the kernel's: see `docs/benchmarks.md`.

use super::{Lines, Phase, PublishError, Publisher};
use twinline_wire::Message;

impl<L: Lines> Publisher<L> {
    /// Publishes one market message, a source event of its own, at once. Its position is the number of messages
    /// published like this in the session: after a restart, [`position`](Self::position) of the configured source says
    /// how many are safe.
    ///
    /// # Errors
    /// If it was not published; see [`PublishError`].
    #[inline]
    pub fn publish<M: Message>(&mut self, message: &M, now: u64) -> Result<(), PublishError> {
        let usual = self.phase == Phase::Live
            && self.unsent.is_empty()
            && self.packing.takes_alone::<M>(self.config.source);
        match usual {
            true => self.publish_alone(message, now),
            false => self.publish_batch(core::slice::from_ref(message), now),
        }
    }

    fn publish_alone<M: Message>(&mut self, message: &M, now: u64) -> Result<(), PublishError> {
        self.check_reserve()?;
        let sealed = self.seal(now, 0, |packing, slot| packing.alone(slot, message))?;
        self.send(sealed.at, sealed.length, now);
        self.settle(&sealed);
        self.count_events(1, now);
        Ok(())
    }
}
