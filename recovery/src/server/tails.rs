//! The tails that the clients of a service have open: how many there may be, and who is how far.

use crate::Mark;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use twinline_wire::field::TailKind;

/// One open tail, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailStatus {
    /// The client's name.
    pub client: String,
    /// What it is.
    pub kind: TailKind,
    /// What was put on its way: all before this.
    pub sent: Mark,
    /// What it said that it holds durably: all before this.
    pub acknowledged: Option<Mark>,
}

/// All open tails of a service.
#[derive(Debug)]
pub struct Tails {
    limit: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    tails: BTreeMap<u64, TailStatus>,
}

impl Tails {
    /// No tails yet, and at most `limit` at once.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            open: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tails that are open now.
    pub fn list(&self) -> Vec<TailStatus> {
        self.lock().tails.values().cloned().collect()
    }

    /// True while no tail is open.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().tails.is_empty()
    }

    /// A place for one more tail; `None` if there are as many as may be.
    pub(super) fn take_seat(self: &Arc<Self>, status: TailStatus) -> Option<Seat> {
        let mut open = self.lock();
        if open.tails.len() >= self.limit {
            return None;
        }
        open.last += 1;
        let number = open.last;
        open.tails.insert(number, status);
        Some(Seat {
            tails: Arc::clone(self),
            number,
        })
    }
}

/// One tail's place among all, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    tails: Arc<Tails>,
    number: u64,
}

impl Seat {
    fn update(&self, change: impl FnOnce(&mut TailStatus)) {
        if let Some(status) = self.tails.lock().tails.get_mut(&self.number) {
            change(status);
        }
    }

    pub(super) fn sent(&self, to: Mark) {
        self.update(|status| status.sent = to);
    }

    pub(super) fn acknowledged(&self, to: Mark) {
        self.update(|status| status.acknowledged = Some(to));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.tails.lock().tails.remove(&self.number);
    }
}
