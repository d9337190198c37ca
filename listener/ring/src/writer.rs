//! The writing end of the protocol.
//!
//! A record becomes visible with one store of its commit word. Before it, the next record's commit word is zeroed, so that a
//! reader who stands there sees nothing rather than what a lap before left. And before anything is overwritten at
//! all, the intent says how far: whoever finds, after copying, that the intent has passed its place by more than the
//! ring's capacity, throws the copy away.

use crate::layout::{ALIGN, ANCHOR_AT, BEATS_AT, BLOCK, END_AT, INTENT_AT, NEXT_AT, SESSION_AT, align_up};
use crate::memory::Ring;
use crate::record::{Commit, Context, FULL, Origin, SHORT, kind};
use crate::sync::{AtomicU64, Ordering, fence};
use std::sync::Arc;
use twinline_wire::Stamp;

/// Writes records. Never waits, reads nothing that a reader writes.
#[derive(Debug)]
pub(crate) struct Writer {
    ring: Arc<Ring>,
    /// Bytes of records that the ring holds.
    capacity: usize,
    /// Bytes of records written in all.
    end: u64,
    /// Bytes that may have been overwritten.
    intent: u64,
    /// From here on the next record must be a full one.
    full_from: u64,
    context: Context,
    beats: u64,
}

impl Writer {
    /// The writer of a ring that is all zero.
    pub(crate) fn new(ring: Arc<Ring>) -> Self {
        Self {
            capacity: ring.capacity(),
            ring,
            end: 0,
            intent: 0,
            full_from: 0,
            context: Context::default(),
            beats: 0,
        }
    }

    /// Writes messages. `stamp` is their packet's, with the sequence of the first one; `location` is where the journal ends
    /// behind them.
    #[inline]
    pub(crate) fn messages(
        &mut self,
        stamp: &Stamp,
        receive_time: u64,
        origin: Origin,
        location: u64,
        frames: &[u8],
        count: u64,
    ) {
        let context = Context {
            session: stamp.session,
            epoch: stamp.epoch,
            epoch_base: stamp.epoch_base,
        };
        let delay = u32::try_from(receive_time.wrapping_sub(stamp.sending_time));
        match delay {
            Ok(delay) if context == self.context && self.end < self.full_from => {
                let commit = Commit::new(8 * SHORT + frames.len(), kind::SHORT, origin, delay);
                self.put([commit.0, stamp.sequence, receive_time], frames);
            }
            _ => self.full(kind::FULL, stamp, receive_time, origin, location, frames),
        }
        self.tell(stamp.sequence.wrapping_add(count));
    }

    /// Writes a notice.
    pub(crate) fn notice(&mut self, stamp: &Stamp, receive_time: u64, location: u64, frame: &[u8]) {
        let origin = Origin::Listener;
        self.full(kind::NOTICE, stamp, receive_time, origin, location, frame);
        self.tell(stamp.sequence);
    }

    /// A record that says everything; readers can begin with it.
    fn full(
        &mut self,
        kind: u64,
        stamp: &Stamp,
        receive_time: u64,
        origin: Origin,
        location: u64,
        frames: &[u8],
    ) {
        self.context = Context {
            session: stamp.session,
            epoch: stamp.epoch,
            epoch_base: stamp.epoch_base,
        };
        let commit = Commit::new(8 * FULL + frames.len(), kind, origin, 0);
        let header = [
            commit.0,
            stamp.sequence,
            receive_time,
            u64::from(stamp.session) | u64::from(stamp.epoch) << 32,
            stamp.epoch_base,
            stamp.sending_time,
            location,
            0,
        ];
        let at = self.put(header, frames);
        self.full_from = at + BLOCK;
        self.ring.control(ANCHOR_AT).store(at, Ordering::Release);
        // Another session begins with a full record.
        let session = u64::from(stamp.session);
        self.ring.control(SESSION_AT).store(session, Ordering::Relaxed);
    }

    /// Writes a record and returns where.
    #[inline]
    fn put<const WORDS: usize>(&mut self, header: [u64; WORDS], frames: &[u8]) -> u64 {
        let room = align_up(8 * WORDS + frames.len());
        let mut offset = self.end as usize & (self.capacity - 1);
        if offset + room > self.capacity {
            self.pad(offset, self.capacity - offset);
            offset = 0;
        }
        let at = self.end;
        self.claim(room);
        let data = self.ring.data();
        data[((offset + room) & (self.capacity - 1)) / 8].store(0, Ordering::Relaxed);
        let record = &data[offset / 8..(offset + room) / 8];
        let Some((head, body)) = record.split_first_chunk::<WORDS>() else {
            unreachable!("the room holds the header");
        };
        for word in 1..WORDS {
            head[word].store(header[word], Ordering::Relaxed);
        }
        put_bytes(body, frames);
        head[0].store(header[0], Ordering::Release);
        self.end = at + room as u64;
        at
    }

    /// A record that would reach over the ring's end begins at its start.
    #[cold]
    fn pad(&mut self, offset: usize, length: usize) {
        self.claim(length);
        let data = self.ring.data();
        data[0].store(0, Ordering::Relaxed);
        let commit = Commit::new(length, kind::PAD, Origin::Listener, 0);
        data[offset / 8].store(commit.0, Ordering::Release);
        self.end += length as u64;
    }

    /// Says that `room` bytes from the end on, and the commit word behind them, are about to be overwritten.
    #[inline]
    fn claim(&mut self, room: usize) {
        let claimed = self.end + (room + ALIGN) as u64;
        if claimed > self.intent {
            self.intent = claimed.next_multiple_of(BLOCK);
            self.ring.control(INTENT_AT).store(self.intent, Ordering::Relaxed);
            // No word is overwritten before whoever sees it overwritten would see the intent, too.
            fence(Ordering::Release);
        }
    }

    /// For the helper thread and for people: how far it is.
    #[inline]
    fn tell(&self, next: u64) {
        self.ring.control(NEXT_AT).store(next, Ordering::Relaxed);
        self.ring.control(END_AT).store(self.end, Ordering::Release);
    }

    /// Shows that the writing thread turns, whether there is anything to write or not.
    pub(crate) fn beat(&mut self) {
        self.beats += 1;
        self.ring.control(BEATS_AT).store(self.beats, Ordering::Relaxed);
    }
}

/// Stores `bytes` from the first of `words` on; zeros fill up the last word.
#[inline]
fn put_bytes(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    for (word, bytes) in words.iter().zip(whole) {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
    if rest.is_empty() {
        return;
    }
    let last = match bytes.last_chunk::<8>() {
        // Shifts out what the word before has: no call to copy a few bytes.
        Some(last) => (u64::from_le_bytes(*last) >> (64 - 8 * rest.len())).to_le(),
        None => {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            u64::from_ne_bytes(last)
        }
    };
    words[whole.len()].store(last, Ordering::Relaxed);
}
