//! Memory shared with other processes: all of the journal's unsafe code.
//!
//! The contract that makes it sound, kept by the modules above and stated once here:
//! 1. A file of a journal never shrinks, so a mapped byte can always be read. Its space is allocated when it is made.
//! 2. Commit words, end marks, index entries and the control file's counters are only ever read and written as atomics.
//! 3. The bytes of a packet are written before its commit word is, by the one writer (`writer.lock`), and never again
//!    while any reader may have them mapped: a segment is recycled only under its exclusive lock, and every
//!    [`Map`] of another process or reader holds the shared one.

use memmap2::{Advice, MmapOptions, MmapRaw};
use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use twinline_wire::header::{HEADER_LEN, PacketHeader, align_up};

const PAGE: usize = 4096;
const LENGTH_AT: usize = offset_of!(PacketHeader, length);

/// A mapped file, for reading. A clone shares the mapping.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    raw: Arc<MmapRaw>,
}

impl Map {
    /// Maps all of `file`, read-only.
    pub(crate) fn open(file: &File) -> io::Result<Self> {
        let raw = Arc::new(MmapOptions::new().map_raw_read_only(file)?);
        Ok(Self { raw })
    }

    /// Maps all of `file` in place of what is mapped; allocates nothing unless a clone is held.
    pub(crate) fn reopen(&mut self, file: &File) -> io::Result<()> {
        let raw = MmapOptions::new().map_raw_read_only(file)?;
        match Arc::get_mut(&mut self.raw) {
            Some(own) => *own = raw,
            None => self.raw = Arc::new(raw),
        }
        Ok(())
    }

    /// Bytes mapped.
    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    /// The address of byte `at`, of which `size` bytes are used, aligned to it.
    fn address(&self, at: usize, size: usize) -> *mut u8 {
        assert!(
            at.is_multiple_of(size) && at.checked_add(size).is_some_and(|end| end <= self.len()),
            "an aligned place in the map"
        );
        // SAFETY: `at` is inside the mapping, as just asserted.
        unsafe { self.raw.as_mut_ptr().add(at) }
    }

    /// The four bytes at `at`; what was written before they were stored can be read.
    #[inline]
    pub(crate) fn word(&self, at: usize) -> u32 {
        let word = self.address(at, 4).cast::<u32>();
        // SAFETY: in the mapping and aligned (`address`; mappings are page aligned); the mapping lives as long as
        // `self`. Atomic by rule 2. On a read-only mapping only loads happen, and a 4-byte load writes nothing.
        u32::from_le(unsafe { AtomicU32::from_ptr(word) }.load(Ordering::Acquire))
    }

    /// The eight bytes at `at`.
    #[inline]
    pub(crate) fn long(&self, at: usize) -> u64 {
        let long = self.address(at, 8).cast::<u64>();
        // SAFETY: as in `word`.
        u64::from_le(unsafe { AtomicU64::from_ptr(long) }.load(Ordering::Acquire))
    }

    /// The packet committed at `at`: from its header as many bytes as it names, but not beyond `limit` and never less
    /// than a header. `None` while nothing is committed there.
    #[inline]
    pub(crate) fn committed(&self, at: usize, limit: usize) -> Option<&[u8]> {
        assert!(limit <= self.len(), "the limit is inside the map");
        if at + HEADER_LEN > limit || self.word(at) == 0 {
            return None;
        }
        // SAFETY: [at, at + HEADER_LEN) is in the mapping. The commit word was seen set, so by rule 3 these bytes were
        // written before it (acquire pairs with the writer's release) and do not change while `self` is mapped.
        let header = unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(at), HEADER_LEN) };
        let length = usize::from(u16::from_le_bytes([header[LENGTH_AT], header[LENGTH_AT + 1]]));
        let length = length.clamp(HEADER_LEN, limit - at);
        // SAFETY: as above, for the packet's own bytes, clamped to the mapping.
        Some(unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(at), length) })
    }

    /// The committed packets from `at` on that fit `max_bytes` bytes and end before `limit`, at least one; `visit` sees
    /// each and may refuse it and with it all later ones. `None` if there is none.
    pub(crate) fn run(
        &self,
        at: usize,
        limit: usize,
        max_bytes: usize,
        mut visit: impl FnMut(&[u8]) -> bool,
    ) -> Option<Run> {
        let (mut next, mut end) = (at, at);
        while let Some(packet) = self.committed(next, limit) {
            let fits = end == at || next + packet.len() - at <= max_bytes;
            if !fits || !visit(packet) {
                break;
            }
            end = next + packet.len();
            next = align_up(end);
        }
        (end > at).then(|| Run {
            map: self.clone(),
            begin: at,
            end,
        })
    }

    /// Writes the bytes from `begin` to `end` to the device.
    pub(crate) fn flush(&self, begin: usize, end: usize) -> io::Result<()> {
        let begin = begin - begin % PAGE;
        self.raw.flush_range(begin, end - begin)
    }
}

/// Committed packets back to back, each at a 64-byte boundary. Keeps the mapping.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    map: Map,
    begin: usize,
    end: usize,
}

impl Deref for Run {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: in the mapping (`run`, through `committed`), which lives as long as `self`. Every packet in it was
        // seen committed, so it is immutable by rule 3; so is what stands between two packets, which was written before
        // the later one was committed, or never.
        unsafe { std::slice::from_raw_parts(self.map.raw.as_ptr().add(self.begin), self.end - self.begin) }
    }
}

/// A mapped file, for the one writer. Not `Clone`: `&mut self` is the right to write what is not committed.
#[derive(Debug)]
pub(crate) struct WriteMap {
    map: Map,
}

impl Deref for WriteMap {
    type Target = Map;

    fn deref(&self) -> &Map {
        &self.map
    }
}

impl WriteMap {
    /// Maps all of `file`, which its caller has the sole right to write, and does so only once.
    pub(crate) fn open(file: &File) -> io::Result<Self> {
        let raw = Arc::new(MmapOptions::new().map_raw(file)?);
        Ok(Self { map: Map { raw } })
    }

    /// The same mapping for reading and flushing.
    pub(crate) fn share(&self) -> Map {
        self.map.clone()
    }

    /// Makes every page present and writable now, so that no write to it waits later.
    pub(crate) fn prefault(&self) -> io::Result<()> {
        match self.map.raw.advise(Advice::PopulateWrite) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            result => return result,
        }
        // A kernel before 5.14: touch each page without changing it.
        for at in (0..self.len()).step_by(PAGE) {
            let word = self.map.address(at, 4).cast::<u32>();
            // SAFETY: in the mapping, aligned, writable; an atomic add of zero changes nothing.
            unsafe { AtomicU32::from_ptr(word) }.fetch_add(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Stores the four bytes at `at`, after everything written before.
    #[inline]
    pub(crate) fn store_word(&self, at: usize, value: u32) {
        let word = self.map.address(at, 4).cast::<u32>();
        // SAFETY: in the mapping, aligned, writable (`open`); atomic by rule 2.
        unsafe { AtomicU32::from_ptr(word) }.store(value.to_le(), Ordering::Release);
    }

    /// Stores the eight bytes at `at`, after everything written before.
    #[inline]
    pub(crate) fn store_long(&self, at: usize, value: u64) {
        let long = self.map.address(at, 8).cast::<u64>();
        // SAFETY: as in `store_word`.
        unsafe { AtomicU64::from_ptr(long) }.store(value.to_le(), Ordering::Release);
    }

    /// The `length` bytes at `at`, to be written: nothing of them is committed, or no reader has the file mapped.
    #[inline]
    pub(crate) fn slot(&mut self, at: usize, length: usize) -> &mut [u8] {
        assert!(
            at.checked_add(length).is_some_and(|end| end <= self.len()),
            "the slot is inside the map"
        );
        // SAFETY: in the mapping, writable. The only Rust reference to these bytes: `&mut self`, one `WriteMap` a file,
        // and readers form references to committed packets only (rule 3). What they look at here is the first word,
        // through atomics and their own mapping.
        unsafe { std::slice::from_raw_parts_mut(self.map.raw.as_mut_ptr().add(at), length) }
    }

    /// Asks the processor for the cache line at `at`, which is to be written soon. Beyond the map it does nothing.
    #[inline]
    pub(crate) fn prefetch(&self, at: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            let line = self.map.raw.as_mut_ptr().wrapping_add(at).cast::<i8>();
            // SAFETY: a prefetch reads and writes nothing that a program can see, whatever the address.
            unsafe { core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_ET0 }>(line) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }

    /// The same bytes, to be read by the writer.
    #[inline]
    pub(crate) fn written(&self, at: usize, length: usize) -> &[u8] {
        assert!(
            at.checked_add(length).is_some_and(|end| end <= self.len()),
            "the bytes are inside the map"
        );
        // SAFETY: in the mapping; only the holder of `&mut self` writes packet bytes, so nobody does now.
        unsafe { std::slice::from_raw_parts(self.map.raw.as_ptr().add(at), length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinline_wire::header::first_word;

    fn file(size: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        file
    }

    #[test]
    fn what_is_committed_through_one_map_is_read_through_another() {
        let file = file(8192);
        let mut writer = WriteMap::open(&file).unwrap();
        let reader = Map::open(&file).unwrap();
        writer.prefault().unwrap();
        let slot = writer.slot(64, 100);
        slot[4..].fill(7);
        slot[LENGTH_AT..LENGTH_AT + 2].copy_from_slice(&100u16.to_le_bytes());
        assert_eq!(reader.committed(64, 8192), None);
        writer.store_word(64, first_word(0));
        let bytes = reader.committed(64, 8192).unwrap();
        assert_eq!((bytes.len(), bytes[99]), (100, 7));
        writer.flush(64, 164).unwrap();
    }

    #[test]
    fn a_length_beyond_the_limit_or_below_a_header_is_clamped() {
        let file = file(8192);
        let mut writer = WriteMap::open(&file).unwrap();
        writer.store_word(0, 1);
        assert_eq!(writer.committed(0, 8192).unwrap().len(), HEADER_LEN);
        writer.slot(0, 64)[LENGTH_AT..LENGTH_AT + 2].fill(0xff);
        assert_eq!(writer.committed(0, 4096).unwrap().len(), 4096);
        assert_eq!(writer.committed(0, HEADER_LEN - 1), None);
    }

    #[test]
    #[should_panic(expected = "inside the map")]
    fn a_slot_beyond_the_end_panics() {
        WriteMap::open(&file(4096)).unwrap().slot(4000, 97);
    }

    #[test]
    #[should_panic(expected = "an aligned place")]
    fn a_word_that_is_not_aligned_panics() {
        Map::open(&file(4096)).unwrap().word(2);
    }
}
