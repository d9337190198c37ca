//! What the service counts: plain numbers in the state machine, atomics where other threads read them.

use crate::{Mark, SharedMark};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use twinline_journal::JournalError;
use twinline_wire::field::{LogoutReason, RejectCode};

/// Codes of rejects and reasons of cuts are small numbers, and index arrays of this size; index 0 is any other.
const CODES: usize = 16;

/// What happened in a session since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Logins that were accepted.
    pub logins: u64,
    /// Requests for ranges.
    pub requests: u64,
    /// Requests for tails.
    pub tails: u64,
    /// Messages sent, in packets.
    pub messages: u64,
    /// Packets sent.
    pub packets: u64,
    /// Bytes of packets sent.
    pub bytes: u64,
    /// Frames, or parts of them, that made no sense.
    pub malformed: u64,
    /// Rejects by their code.
    pub rejects: [u64; CODES],
    /// Connections that the service ended, by the reason.
    pub cuts: [u64; CODES],
}

impl Counters {
    pub(super) fn rejected(&mut self, code: RejectCode) {
        self.rejects[slot(code.0)] += 1;
        if code == RejectCode::MALFORMED {
            self.malformed += 1;
        }
    }

    pub(super) fn cut(&mut self, reason: LogoutReason) {
        self.cuts[slot(reason.0)] += 1;
    }
}

/// The service's counters, for any thread to read.
#[derive(Debug, Default)]
pub struct Stats {
    /// Turns of the service's thread: it works while they grow.
    pub turns: AtomicU64,
    /// Clients connected now.
    pub clients: AtomicU64,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections turned away because there were too many.
    pub refused: AtomicU64,
    /// Times that a connection could not be accepted, for want of file descriptors, say.
    pub accept_errors: AtomicU64,
    /// Logins that were accepted.
    pub logins: AtomicU64,
    /// Requests for ranges.
    pub requests: AtomicU64,
    /// Requests for tails.
    pub tails: AtomicU64,
    /// Messages sent, in packets.
    pub messages: AtomicU64,
    /// Packets sent.
    pub packets: AtomicU64,
    /// Bytes of packets sent.
    pub bytes: AtomicU64,
    /// Frames, or parts of them, that made no sense.
    pub malformed: AtomicU64,
    /// Times that the journal was not there or could not be read.
    pub journal_errors: AtomicU64,
    /// How far the journal was when it was last looked at, ten times a second.
    head: SharedMark,
    journal_error: Mutex<Option<String>>,
    rejects: [AtomicU64; CODES],
    cuts: [AtomicU64; CODES],
}

impl Stats {
    /// Rejects sent with this code.
    pub fn rejects(&self, code: RejectCode) -> u64 {
        self.rejects[slot(code.0)].load(Ordering::Relaxed)
    }

    /// Clients that the service cut for this reason.
    pub fn cuts(&self, reason: LogoutReason) -> u64 {
        self.cuts[slot(reason.0)].load(Ordering::Relaxed)
    }

    /// How far the journal was when it was last looked at, ten times a second.
    pub fn head(&self) -> Mark {
        self.head.get()
    }

    pub(super) fn set_head(&self, head: Mark) {
        self.head.set(head);
    }

    /// What is wrong with the journal: it is not there yet, or could not be read when it was last asked for.
    pub fn last_journal_error(&self) -> Option<String> {
        self.journal_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn journal_failed(&self, error: &JournalError) {
        self.journal_errors.fetch_add(1, Ordering::Relaxed);
        *self.journal_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }

    /// The journal that was waited for is there.
    pub(super) fn journal_found(&self) {
        *self.journal_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Adds what a session counted.
    pub fn add(&self, counters: &Counters) {
        let pairs = [
            (&self.logins, counters.logins),
            (&self.requests, counters.requests),
            (&self.tails, counters.tails),
            (&self.messages, counters.messages),
            (&self.packets, counters.packets),
            (&self.bytes, counters.bytes),
            (&self.malformed, counters.malformed),
        ];
        let rejects = self.rejects.iter().zip(counters.rejects);
        let cuts = self.cuts.iter().zip(counters.cuts);
        for (total, count) in pairs.into_iter().chain(rejects).chain(cuts) {
            if count > 0 {
                total.fetch_add(count, Ordering::Relaxed);
            }
        }
    }
}

fn slot(code: u8) -> usize {
    let code = usize::from(code);
    if code < CODES { code } else { 0 }
}
