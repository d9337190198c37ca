//! The reading end of the protocol.
//!
//! Nothing that is read counts before the intent was looked at *behind* the copy: a commit word, too, may be what a lap
//! later left there. Also where the commit word is zero the intent is looked at, or a reader that was overrun would wait
//! for ever.
//!
//! What is asked for in advance is a hint to the cache and no part of the protocol.

use crate::layout::{ALIGN, ANCHOR_AT, INTENT_AT, align_up};
use crate::memory::{Ring, prefetch};
use crate::record::{Commit, Context, FULL, Kind, Record, SHORT, kind};
use crate::sync::{Ordering, fence};
use std::sync::Arc;
use zerocopy::IntoBytes;

/// Bytes of a record that are asked for before it is there.
const FETCHED: usize = 256;

/// Reads records.
#[derive(Debug)]
pub(crate) struct Cursor {
    ring: Arc<Ring>,
    /// Bytes of records that the ring holds.
    capacity: usize,
    /// Bytes of records before the next one.
    position: u64,
    /// The record before.
    last: Commit,
    context: Context,
    /// The record read last.
    copy: Box<[u64]>,
}

/// What a [`Cursor`] finds.
#[derive(Debug)]
pub(crate) enum Found {
    /// A record, which is now the cursor's own copy: [`Cursor::record`].
    Record,
    /// Nothing new yet.
    Nothing,
    /// What stands here was overwritten.
    Overrun,
}

impl Cursor {
    /// A cursor at the newest full record; `longest` is that of the longest record in bytes.
    pub(crate) fn new(ring: Arc<Ring>, longest: usize) -> Self {
        let mut cursor = Self {
            capacity: ring.capacity(),
            ring,
            position: 0,
            last: Commit::default(),
            context: Context::default(),
            copy: vec![0; longest.div_ceil(8).max(FULL)].into_boxed_slice(),
        };
        cursor.restart();
        cursor
    }

    /// Goes to the newest full record.
    pub(crate) fn restart(&mut self) {
        self.position = self.ring.control(ANCHOR_AT).load(Ordering::Acquire);
    }

    /// Bytes of records before the next one.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// True if there is something to read, or the cursor was overrun.
    pub(crate) fn is_due(&self) -> bool {
        let at = self.position as usize & (self.capacity - 1);
        self.ring.data()[at / 8].load(Ordering::Acquire) != 0 || self.is_overrun()
    }

    #[inline]
    fn is_overrun(&self) -> bool {
        let intent = self.ring.control(INTENT_AT).load(Ordering::Relaxed);
        intent > self.position + self.capacity as u64
    }

    /// Copies the next record, if there is one, and goes behind it.
    #[inline]
    pub(crate) fn advance(&mut self) -> Found {
        loop {
            let data = self.ring.data();
            let begin = (self.position as usize & (self.capacity - 1)) / 8;
            let commit = Commit(data[begin].load(Ordering::Acquire));
            if commit.0 == 0 {
                // A record like the one before would reach into these lines: asked for together with the first, they come
                // with it rather than behind it.
                for line in (ALIGN..self.last.length().min(FETCHED)).step_by(ALIGN) {
                    if let Some(word) = data.get(begin + line / 8) {
                        prefetch(word);
                    }
                }
                return match self.is_overrun() {
                    true => Found::Overrun,
                    false => Found::Nothing,
                };
            }
            let words = commit.length().div_ceil(8);
            let copied = commit.kind() != kind::PAD;
            if copied {
                // What cannot be a record's length is not one's: the check below will say so.
                let (Some(record), Some(copy)) =
                    (data.get(begin + 1..begin + words), self.copy.get_mut(1..words))
                else {
                    return Found::Overrun;
                };
                for (word, copy) in record.iter().zip(copy) {
                    *copy = word.load(Ordering::Relaxed);
                }
            }
            // Whatever was copied of a later lap was written behind its intent, which is seen now.
            fence(Ordering::Acquire);
            if self.is_overrun() {
                return Found::Overrun;
            }
            self.position += align_up(commit.length()) as u64;
            self.last = commit;
            if copied {
                if commit.kind() != kind::SHORT {
                    self.context = Context {
                        session: self.copy[3] as u32,
                        epoch: (self.copy[3] >> 32) as u32,
                        epoch_base: self.copy[4],
                    };
                }
                return Found::Record;
            }
        }
    }

    /// The record that [`advance`](Self::advance) found last.
    #[inline]
    pub(crate) fn record(&self) -> Record<'_> {
        let commit = self.last;
        let short = commit.kind() == kind::SHORT;
        let header = if short { SHORT } else { FULL };
        let receive_time = self.copy[2];
        let frames = self.copy.as_bytes();
        Record {
            kind: match commit.kind() {
                kind::NOTICE => Kind::Notice,
                _ => Kind::Messages,
            },
            origin: commit.origin(),
            session: self.context.session,
            epoch: self.context.epoch,
            epoch_base: self.context.epoch_base,
            sequence: self.copy[1],
            sending_time: match short {
                true => receive_time.wrapping_sub(u64::from(commit.delay())),
                false => self.copy[5],
            },
            receive_time,
            location: (!short).then(|| self.copy[6]),
            frames: frames.get(8 * header..commit.length()).unwrap_or_default(),
        }
    }
}
