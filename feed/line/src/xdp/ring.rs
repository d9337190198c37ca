//! The rings through which frames change hands: single producer, single consumer, in memory that is shared with the kernel.
//!
//! The producer writes entries and then its position; the consumer reads entries up to there and then writes its own. Both
//! positions only grow, and wrap at 2^32. Each side keeps a copy of the other's position and looks again only when that
//! says that there is nothing (the layout is that of `Documentation/networking/af_xdp.rst`).

use memmap2::MmapRaw;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A flag word says so where the kernel must be called before it goes on.
const NEEDS_WAKEUP: u32 = 1;

/// A frame that is received or to be sent (`struct xdp_desc`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Descriptor {
    /// Where in the memory it begins.
    pub address: u64,
    /// Its bytes.
    pub length: u32,
    /// Flags; 0.
    pub options: u32,
}

/// Where the parts of a ring are in its mapping.
#[derive(Clone, Copy, Debug)]
pub struct Offsets {
    /// The producer's position.
    pub producer: usize,
    /// The consumer's position.
    pub consumer: usize,
    /// The flags, if this kernel has any.
    pub flags: Option<usize>,
    /// The first entry.
    pub entries: usize,
}

/// A ring of entries `T` in shared memory.
#[derive(Debug)]
struct Ring<T> {
    /// What the pointers point into.
    _memory: Arc<MmapRaw>,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: Option<NonNull<AtomicU32>>,
    entries: NonNull<T>,
    size: u32,
    entry: PhantomData<T>,
}

// SAFETY: its pointers point into a mapping that it keeps, which any thread may use; the positions are atomic, and an entry
// is only touched by the one [`Producer`] or [`Consumer`] that has the ring, through a mutable borrow.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy + FromBytes + IntoBytes> Ring<T> {
    /// The ring of `size` entries, a power of two, in `memory`.
    ///
    /// # Panics
    /// If a part is not within the memory, or not aligned.
    fn new(memory: Arc<MmapRaw>, at: Offsets, size: u32) -> Self {
        assert!(size.is_power_of_two(), "a ring's size is a power of two");
        let word = |offset| Self::part::<AtomicU32>(&memory, offset, 1);
        Self {
            producer: word(at.producer),
            consumer: word(at.consumer),
            flags: at.flags.map(word),
            entries: Self::part::<T>(&memory, at.entries, size as usize),
            size,
            entry: PhantomData,
            _memory: memory,
        }
    }

    /// A pointer to `count` values at `offset`.
    fn part<P>(memory: &MmapRaw, offset: usize, count: usize) -> NonNull<P> {
        let end = count
            .checked_mul(size_of::<P>())
            .and_then(|bytes| bytes.checked_add(offset));
        assert!(
            end.is_some_and(|end| end <= memory.len()),
            "a ring lies within its memory"
        );
        // SAFETY: within the mapping, as was just checked.
        let pointer = unsafe { memory.as_mut_ptr().add(offset) }.cast::<P>();
        assert!(pointer.is_aligned(), "a ring's parts are aligned");
        NonNull::new(pointer).expect("a mapping is not at address 0")
    }

    #[inline]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: aligned and within the mapping that `self` keeps; only ever accessed as an atomic.
        unsafe { self.producer.as_ref() }
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.consumer.as_ref() }
    }

    #[inline]
    fn needs_wakeup(&self) -> bool {
        // SAFETY: as for `producer`.
        let flags = self.flags.map(|flags| unsafe { flags.as_ref() });
        flags.is_some_and(|flags| flags.load(Ordering::Relaxed) & NEEDS_WAKEUP != 0)
    }

    /// The entry at a position.
    #[inline]
    fn entry(&self, position: u32) -> *mut T {
        // SAFETY: less than `size`, so within the entries that were checked to be in the mapping.
        unsafe { self.entries.as_ptr().add((position & (self.size - 1)) as usize) }
    }
}

/// The end of a ring where entries are put in.
#[derive(Debug)]
pub struct Producer<T> {
    ring: Ring<T>,
    /// Where the next entry goes.
    next: u32,
    /// What has been consumed, as far as we know.
    consumed: u32,
}

impl<T: Copy + FromBytes + IntoBytes> Producer<T> {
    /// The producing end of the ring of `size` entries in `memory`, of which nobody else has that end.
    ///
    /// # Panics
    /// If the ring is not within the memory.
    pub(super) fn new(memory: Arc<MmapRaw>, at: Offsets, size: u32) -> Self {
        let ring = Ring::new(memory, at, size);
        Self {
            next: ring.producer().load(Ordering::Relaxed),
            consumed: ring.consumer().load(Ordering::Acquire),
            ring,
        }
    }

    /// How many more entries there is room for; the kernel is looked at if less than `wanted`, as far as we know.
    #[inline]
    pub fn room(&mut self, wanted: u32) -> u32 {
        let known = self.ring.size - self.next.wrapping_sub(self.consumed);
        if known >= wanted {
            return known;
        }
        self.consumed = self.ring.consumer().load(Ordering::Acquire);
        self.ring.size - self.next.wrapping_sub(self.consumed)
    }

    /// Puts an entry in, which the kernel sees with the next [`submit`](Self::submit). False if there is no room.
    #[inline]
    pub(super) fn push(&mut self, entry: T) -> bool {
        if self.room(1) == 0 {
            return false;
        }
        // SAFETY: beyond what was submitted and not beyond a ring's size from what was consumed: the other end does not
        // look at it.
        unsafe { self.ring.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// The entry at a position: the last one that was put in there.
    #[inline]
    pub(super) fn at(&self, position: u32) -> T {
        // SAFETY: the other end never writes entries, and this one does so through a mutable borrow. Any bits are a `T`.
        unsafe { self.ring.entry(position).read() }
    }

    /// Lets the other end see what was put in.
    #[inline]
    pub fn submit(&mut self) {
        self.ring.producer().store(self.next, Ordering::Release);
    }

    /// Entries that were put in and not consumed yet.
    #[inline]
    pub fn waiting(&mut self) -> u32 {
        self.ring.size - self.room(self.ring.size)
    }

    /// True if the kernel must be called before it takes more.
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }
}

/// The end of a ring where entries are taken out.
#[derive(Debug)]
pub struct Consumer<T> {
    ring: Ring<T>,
    /// The next entry to be taken.
    next: u32,
    /// What has been produced, as far as we know.
    produced: u32,
}

impl<T: Copy + FromBytes + IntoBytes> Consumer<T> {
    /// The consuming end of the ring of `size` entries in `memory`, of which nobody else has that end.
    ///
    /// # Panics
    /// If the ring is not within the memory.
    pub(super) fn new(memory: Arc<MmapRaw>, at: Offsets, size: u32) -> Self {
        let ring = Ring::new(memory, at, size);
        Self {
            next: ring.consumer().load(Ordering::Relaxed),
            produced: ring.producer().load(Ordering::Acquire),
            ring,
        }
    }

    /// Takes an entry out, whose place the other end has again with the next [`release`](Self::release).
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: produced, as the acquiring load says, and not released: the other end does not write it. Any bits are a `T`.
        let entry = unsafe { self.ring.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// True if there is nothing to be taken out.
    #[inline]
    pub fn is_empty(&mut self) -> bool {
        if self.next == self.produced {
            self.produced = self.ring.producer().load(Ordering::Acquire);
        }
        self.next == self.produced
    }

    /// How many entries were taken out, modulo 2^32.
    #[inline]
    pub(super) fn position(&self) -> u32 {
        self.next
    }

    /// Gives the places of what was taken out back.
    #[inline]
    pub fn release(&mut self) {
        self.ring.consumer().store(self.next, Ordering::Release);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use memmap2::MmapOptions;

    /// Both ends of a ring in ordinary memory, as if one were the kernel's; its positions begin at `start`.
    pub(crate) fn pair<T: Copy + FromBytes + IntoBytes>(size: u32, start: u32) -> (Producer<T>, Consumer<T>) {
        let at = Offsets {
            producer: 0,
            consumer: 64,
            flags: Some(128),
            entries: 192,
        };
        let length = at.entries + size as usize * size_of::<T>();
        let mut memory = MmapOptions::new().len(length).map_anon().unwrap();
        for position in [at.producer, at.consumer] {
            memory[position..position + 4].copy_from_slice(&start.to_ne_bytes());
        }
        let memory: Arc<MmapRaw> = Arc::new(memory.into());
        (
            Producer::new(Arc::clone(&memory), at, size),
            Consumer::new(memory, at, size),
        )
    }

    #[test]
    fn what_is_put_in_comes_out_once_submitted_and_its_place_is_free_once_released() {
        let (mut producer, mut consumer) = pair::<u64>(4, 0);
        assert_eq!(producer.room(4), 4);
        for entry in 1..=4 {
            assert!(producer.push(entry));
        }
        assert!(!producer.push(5), "full");
        assert_eq!(consumer.pop(), None, "not submitted");
        producer.submit();
        assert!(!consumer.is_empty());
        assert_eq!([consumer.pop(), consumer.pop()], [Some(1), Some(2)]);
        assert_eq!(
            producer.at(consumer.position()),
            3,
            "what comes next can be foreseen"
        );
        assert_eq!(producer.room(1), 0, "not released");
        consumer.release();
        assert_eq!((producer.room(2), producer.waiting()), (2, 2));
        assert!(producer.push(5));
        producer.submit();
        assert_eq!(
            [consumer.pop(), consumer.pop(), consumer.pop(), consumer.pop()],
            [Some(3), Some(4), Some(5), None]
        );
    }

    #[test]
    fn positions_go_on_past_their_greatest_value() {
        let (mut producer, mut consumer) = pair::<u64>(8, u32::MAX - 9);
        for round in 0..10u64 {
            for entry in 0..7 {
                assert!(producer.push(round * 7 + entry));
            }
            producer.submit();
            for entry in 0..7 {
                assert_eq!(consumer.pop(), Some(round * 7 + entry));
            }
            assert_eq!(consumer.pop(), None);
            consumer.release();
        }
    }

    #[test]
    fn two_threads_pass_everything_on_in_order() {
        let (mut producer, mut consumer) = pair::<Descriptor>(64, 0);
        let sender = std::thread::spawn(move || {
            let mut next = 0;
            while next < 200_000u64 {
                let entry = Descriptor {
                    address: next,
                    length: next as u32 ^ 7,
                    options: 0,
                };
                match producer.push(entry) {
                    true => next += 1,
                    false => std::thread::yield_now(),
                }
                producer.submit();
            }
        });
        let mut next = 0;
        while next < 200_000u64 {
            let Some(entry) = consumer.pop() else {
                consumer.release();
                std::thread::yield_now();
                continue;
            };
            assert_eq!((entry.address, entry.length), (next, next as u32 ^ 7));
            next += 1;
            if next.is_multiple_of(16) {
                consumer.release();
            }
        }
        sender.join().unwrap();
    }

    #[test]
    #[should_panic(expected = "within its memory")]
    fn a_ring_that_does_not_fit_its_memory_is_refused() {
        let memory: Arc<MmapRaw> = Arc::new(MmapOptions::new().len(4096).map_anon().unwrap().into());
        let at = Offsets {
            producer: 0,
            consumer: 64,
            flags: None,
            entries: 192,
        };
        let _ = Producer::<u64>::new(memory, at, 512);
    }
}
