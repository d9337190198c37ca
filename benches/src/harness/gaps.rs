//! Time that was stolen from a thread that never sleeps.

/// Two looks further apart than this, in nanoseconds, were not the thread's own doing. A turn of any loop that is watched
/// here takes less, the dearest system call in it included, and what the kernel does behind the sends: it frees the routes
/// that multicast sends have looked up, a hundred at once every few milliseconds, which takes 70 to 150 us of the sender's core.
pub const GAP: u64 = 200_000;

/// Sums what is missing between the looks of one thread. Times are nanoseconds of one clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gaps {
    last: u64,
    stolen: u64,
}

impl Gaps {
    /// Watches from `now` on.
    pub fn new(now: u64) -> Self {
        Self { last: now, stolen: 0 }
    }

    /// The thread turns. To be called in every turn of its loop.
    #[inline]
    pub fn look(&mut self, now: u64) {
        let gap = now.saturating_sub(self.last);
        if gap > GAP {
            self.stolen += gap;
        }
        self.last = now;
    }

    /// What was stolen so far, in nanoseconds.
    pub fn stolen(&self) -> u64 {
        self.stolen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_longer_than_a_turn_counts_as_stolen() {
        let mut gaps = Gaps::new(1_000);
        gaps.look(1_000 + GAP);
        assert_eq!(gaps.stolen(), 0);
        gaps.look(2_000 + 3 * GAP);
        gaps.look(2_500 + 3 * GAP);
        assert_eq!(gaps.stolen(), 2 * GAP + 1_000);
    }
}
