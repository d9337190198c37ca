//! The released mark: how far a stream may be shown to lines, fills and readers.

use std::sync::{Mutex, PoisonError};
use twinline_journal::Head;

/// A place in the stream: everything of older sessions lies before it, and of `session` what is below `next`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The session; 0: nothing lies before it.
    pub session: u32,
    /// The first sequence that does not lie before it.
    pub next: u64,
}

impl Mark {
    /// `next` in `session`.
    pub fn new(session: u32, next: u64) -> Self {
        Self { session, next }
    }
}

impl From<Head> for Mark {
    fn from(head: Head) -> Self {
        Self::new(head.session, head.next)
    }
}

/// A mark that one thread moves and others look at, a few hundred times a second.
#[derive(Debug, Default)]
pub struct SharedMark(Mutex<Mark>);

impl SharedMark {
    /// Where it stands.
    pub fn get(&self) -> Mark {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves it.
    pub fn set(&self, mark: Mark) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = mark;
    }
}
