//! The memory of a ring: a file that several processes map, as atomic words. All of this package's unsafe code.
//!
//! The contract that makes it sound: the file is as long as it is mapped and never shrinks (it is made under another name,
//! at its full length, allocated, and only then gets its own; nobody cuts it), and every word of it is only ever
//! accessed as an atomic, by every process.

use crate::sync::AtomicU64;
#[cfg(not(loom))]
use crate::sync::Ordering;
#[cfg(not(loom))]
use memmap2::{MmapOptions, MmapRaw};
#[cfg(not(loom))]
use std::fs::File;
#[cfg(not(loom))]
use std::ops::Range;
#[cfg(not(loom))]
use std::sync::atomic::AtomicU32;

/// The words of a mapped file. Readers hold it mapped read-only, and must not store.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct Memory {
    raw: MmapRaw,
}

#[cfg(not(loom))]
impl Memory {
    /// Maps all of `file` for writing, every page of it there already.
    pub(crate) fn writable(file: &File) -> std::io::Result<Self> {
        let raw = MmapOptions::new().populate().map_raw(file)?;
        Ok(Self { raw })
    }

    /// Maps all of `file` for reading only.
    pub(crate) fn read_only(file: &File) -> std::io::Result<Self> {
        let raw = MmapOptions::new().populate().map_raw_read_only(file)?;
        Ok(Self { raw })
    }

    /// All words.
    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        let words = self.raw.len() / size_of::<AtomicU64>();
        // SAFETY: a mapping is page aligned and `words` words long; it lives as long as `self`, and the file does not shrink
        // (the contract above). All accesses are atomic, by every process. On a read-only mapping only loads happen, which
        // for eight bytes write nothing.
        unsafe { std::slice::from_raw_parts(self.raw.as_mut_ptr().cast(), words) }
    }

    /// The first half of word `at` as a word that can be slept on.
    pub(crate) fn bell(&self, at: usize) -> &AtomicU32 {
        let word = self.words()[at].as_ptr().cast::<u32>();
        // SAFETY: the first four bytes of an aligned word of the mapping, which lives as long as `self`. Words that are slept
        // on are only ever accessed through this, as 32-bit atomics.
        unsafe { AtomicU32::from_ptr(word) }
    }
}

/// Writes `text` into words: its length, then its bytes, as many as there is room for.
#[cfg(not(loom))]
pub(crate) fn put_text(words: &[AtomicU64], text: &[u8]) {
    let [length, room @ ..] = words else { return };
    let text = &text[..text.len().min(8 * room.len())];
    length.store(text.len() as u64, Ordering::Relaxed);
    for (word, bytes) in room.iter().zip(text.chunks(8)) {
        let mut value = [0; 8];
        value[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
    }
}

/// The text that [`put_text`] wrote into these words.
#[cfg(not(loom))]
pub(crate) fn text(words: &[AtomicU64]) -> Vec<u8> {
    let [length, room @ ..] = words else {
        return Vec::new();
    };
    let values = room.iter().map(|word| word.load(Ordering::Relaxed));
    let mut bytes: Vec<u8> = values.flat_map(u64::to_ne_bytes).collect();
    bytes.truncate(usize::try_from(length.load(Ordering::Relaxed)).unwrap_or(usize::MAX));
    bytes
}

/// The words of a ring that is model-checked.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct Memory {
    words: Vec<AtomicU64>,
}

#[cfg(loom)]
impl Memory {
    #[cfg(test)]
    pub(crate) fn new(words: usize) -> Self {
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) fn words(&self) -> &[AtomicU64] {
        &self.words
    }
}

/// A ring's words: the control page's and the records'.
#[derive(Debug)]
pub(crate) struct Ring {
    memory: Memory,
    /// Words of the control page.
    control: usize,
}

impl Ring {
    /// The ring in `memory`, whose control page has `control` words.
    pub(crate) fn new(memory: Memory, control: usize) -> Self {
        Self { memory, control }
    }

    /// The control page's word `at`.
    #[inline]
    pub(crate) fn control(&self, at: usize) -> &AtomicU64 {
        &self.memory.words()[at]
    }

    /// The control page's words in this range.
    #[cfg(not(loom))]
    pub(crate) fn control_words(&self, range: Range<usize>) -> &[AtomicU64] {
        &self.memory.words()[range]
    }

    /// The records' words.
    #[inline]
    pub(crate) fn data(&self) -> &[AtomicU64] {
        &self.memory.words()[self.control..]
    }

    /// Bytes of records.
    pub(crate) fn capacity(&self) -> usize {
        size_of_val(self.data())
    }
}

/// Asks for the cache line of `word`, which will be read soon.
#[inline]
pub(crate) fn prefetch(word: &AtomicU64) {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    // SAFETY: a hint to the processor. It reads nothing into the program, and the address is that of a reference.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(word.as_ptr().cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    let _ = word;
}
