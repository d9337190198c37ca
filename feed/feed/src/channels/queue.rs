//! The way from a source's thread to a channel's: a few buffers that go to and fro.
//!
//! A batch holds framed messages; behind the messages of each source event stands a SourcePosition, which ends it. A full
//! batch goes one way, the emptied buffer comes back: nothing is allocated once all of them are made, and where none is
//! empty the source waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use twinline_wire::header::MAX_PACKET_LEN;

/// Buffers of a queue.
const BATCHES: usize = 4;

/// A batch this long is handed over before the next event.
pub(super) const FULL: usize = 32 << 10;

/// Messages on their way.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Whole source events, framed.
    pub(super) bytes: Vec<u8>,
    /// The source has said everything: no batch follows.
    pub(super) last: bool,
}

/// The source's end.
#[derive(Debug)]
pub(super) struct Writer {
    /// The batch being filled.
    pub(super) open: Batch,
    full: SyncSender<Batch>,
    empty: Receiver<Batch>,
    spare: Vec<Batch>,
    committed: Arc<AtomicU64>,
}

/// The channel's end.
#[derive(Debug)]
pub(super) struct Reader {
    full: Receiver<Batch>,
    empty: SyncSender<Batch>,
    committed: Arc<AtomicU64>,
}

/// What came of handing a batch over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handed {
    /// It is on its way.
    Over,
    /// The channel is behind: try again.
    Full,
    /// The channel takes nothing any more.
    Gone,
}

/// What a channel finds in its queue.
#[derive(Debug)]
pub(super) enum Found {
    Batch(Batch),
    Nothing,
    /// Nothing, and the source's thread is over.
    Gone,
}

/// A queue whose channel has the source in its journal up to `committed`.
pub(super) fn queue(committed: u64) -> (Writer, Reader) {
    let (full, filled) = sync_channel(BATCHES);
    let (empty, emptied) = sync_channel(BATCHES);
    // An event that fits a packet never makes a batch grow.
    let batch = || Batch {
        bytes: Vec::with_capacity(FULL + 2 * MAX_PACKET_LEN),
        last: false,
    };
    let committed = Arc::new(AtomicU64::new(committed));
    let writer = Writer {
        open: batch(),
        full,
        empty: emptied,
        spare: (1..BATCHES).map(|_| batch()).collect(),
        committed: Arc::clone(&committed),
    };
    let reader = Reader {
        full: filled,
        empty,
        committed,
    };
    (writer, reader)
}

impl Writer {
    /// True if the channel has emptied all that it was given: it waits.
    pub(super) fn is_awaited(&mut self) -> bool {
        self.spare.extend(self.empty.try_iter());
        self.spare.len() == BATCHES - 1
    }

    /// Hands the open batch over and opens an empty one.
    pub(super) fn hand_over(&mut self) -> Handed {
        self.spare.extend(self.empty.try_iter());
        let Some(next) = self.spare.pop() else {
            // Nobody gives back what nobody reads.
            return match self.empty.try_recv() {
                Err(TryRecvError::Disconnected) => Handed::Gone,
                Err(TryRecvError::Empty) => Handed::Full,
                Ok(batch) => {
                    self.spare.push(batch);
                    Handed::Full
                }
            };
        };
        match self.full.try_send(std::mem::replace(&mut self.open, next)) {
            Ok(()) => Handed::Over,
            Err(TrySendError::Full(batch)) => {
                self.spare.push(std::mem::replace(&mut self.open, batch));
                Handed::Full
            }
            Err(TrySendError::Disconnected(batch)) => {
                self.spare.push(batch);
                Handed::Gone
            }
        }
    }

    /// How far the source is in the channel's journal.
    pub(super) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }
}

impl Reader {
    /// The next batch.
    pub(super) fn next(&mut self) -> Found {
        match self.full.try_recv() {
            Ok(batch) => Found::Batch(batch),
            Err(TryRecvError::Empty) => Found::Nothing,
            Err(TryRecvError::Disconnected) => Found::Gone,
        }
    }

    /// Gives an emptied buffer back.
    pub(super) fn give_back(&mut self, mut batch: Batch) {
        batch.bytes.clear();
        batch.last = false;
        // There is room for all buffers; a source that is over needs none.
        let _ = self.empty.try_send(batch);
    }

    /// Says how far the source is in the journal.
    pub(super) fn commit(&self, position: u64) {
        self.committed.store(position, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_go_round_and_a_channel_that_is_behind_makes_the_source_wait() {
        let (mut writer, mut reader) = queue(0);
        let mut handed = 0_u8;
        assert!(writer.is_awaited());
        loop {
            writer.open.bytes.push(handed);
            if writer.hand_over() != Handed::Over {
                break;
            }
            handed += 1;
        }
        assert_eq!(usize::from(handed), BATCHES - 1);
        assert!(!writer.is_awaited());
        for expected in 0..100 {
            let Found::Batch(batch) = reader.next() else {
                panic!("a batch");
            };
            assert_eq!(batch.bytes, [expected]);
            reader.give_back(batch);
            assert_eq!(writer.hand_over(), Handed::Over);
            writer.open.bytes.push(expected + handed + 1);
        }
        drop(reader);
        assert_eq!(writer.hand_over(), Handed::Gone);
    }

    #[test]
    fn what_was_handed_over_is_there_after_the_source_is_gone() {
        let (mut writer, mut reader) = queue(0);
        writer.open.last = true;
        assert_eq!(writer.hand_over(), Handed::Over);
        drop(writer);
        assert!(matches!(reader.next(), Found::Batch(Batch { last: true, .. })));
        assert!(matches!(reader.next(), Found::Gone));
    }
}
