//! Two byte queues in memory that an engine and its publisher share, one each way: all of this package's unsafe code.
//!
//! The memory is a sealed memory file that the publisher makes for one connection and hands to the engine over a Unix
//! socket ([`transport`](super::transport)), so there is no stale file to find, and nobody can cut it off below us.
//!
//! ```text
//! byte 0     magic, version, capacities (written before the file is handed over)
//! byte 64    written by the engine        byte 128   read by the publisher
//! byte 192   written by the publisher     byte 256   read by the engine        (counts of bytes; never fall)
//! byte 4096  the engine's bytes, then the publisher's
//! ```
//!
//! Each count has a cache line of its own and one writer. Who writes stores its count (release) behind the bytes; who
//! reads stores its own behind having copied them out. Both keep the other's count as last seen and look again only when
//! that says that there is nothing, so in steady flow a cache line moves once a batch.

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{self, MemfdFlags, SealFlags};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The letters `TWENGINE`.
const MAGIC: u64 = u64::from_le_bytes(*b"TWENGINE");
/// Version of the layout.
const VERSION: u64 = 1;
/// Bytes that the engine can be ahead. A power of two.
const FROM_ENGINE: usize = 1 << 20;
/// Bytes that the publisher can be ahead. A power of two.
const FROM_PUBLISHER: usize = 1 << 12;
const DATA_AT: usize = 4096;
const FILE_LEN: usize = DATA_AT + FROM_ENGINE + FROM_PUBLISHER;

/// What stands in the first cache line.
const HEAD: [u64; 4] = [MAGIC, VERSION, FROM_ENGINE as u64, FROM_PUBLISHER as u64];

/// The memory of a connection.
#[derive(Debug)]
struct Memory(MmapRaw);

impl Memory {
    fn map(file: &File) -> io::Result<Arc<Self>> {
        let raw = MmapOptions::new().len(FILE_LEN).populate().map_raw(file)?;
        Ok(Arc::new(Self(raw)))
    }

    /// The eight bytes at `at`.
    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(
            at.is_multiple_of(8) && at + 8 <= DATA_AT,
            "an aligned place in the first page"
        );
        // SAFETY: inside the mapping of FILE_LEN bytes and aligned, as just asserted; mapped as long as `self` lives, and
        // the file cannot shrink (sealed). These words are only ever accessed as atomics.
        unsafe { AtomicU64::from_ptr(self.0.as_mut_ptr().add(at).cast()) }
    }
}

/// Where a queue is in the memory.
#[derive(Clone, Copy, Debug)]
struct Place {
    written: usize,
    read: usize,
    data: usize,
    capacity: usize,
}

const ENGINE_TO_PUBLISHER: Place = Place {
    written: 64,
    read: 128,
    data: DATA_AT,
    capacity: FROM_ENGINE,
};
const PUBLISHER_TO_ENGINE: Place = Place {
    written: 192,
    read: 256,
    data: DATA_AT + FROM_ENGINE,
    capacity: FROM_PUBLISHER,
};

impl Place {
    /// A stretch of `length` bytes behind `count` bytes, cut at the queue's end: its offset in the memory, and its length.
    fn stretch(&self, count: u64, length: usize) -> (usize, usize) {
        let at = (count & (self.capacity as u64 - 1)) as usize;
        (self.data + at, length.min(self.capacity - at))
    }
}

/// One end of both queues.
#[derive(Debug)]
pub(super) struct Queues {
    memory: Arc<Memory>,
    out: Place,
    input: Place,
    /// Bytes written, and bytes of them that the other side had read when last seen.
    written: u64,
    taken: u64,
    /// Bytes read, and bytes that the other side had written when last seen.
    read: u64,
    given: u64,
}

impl Queues {
    /// The publisher's end of new queues, and the memory file to hand to the engine.
    pub(super) fn create() -> io::Result<(Self, File)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(fs::memfd_create("twinline-engine", flags)?);
        file.set_len(FILE_LEN as u64)?;
        let memory = Memory::map(&file)?;
        for (at, value) in (0..).step_by(8).zip(HEAD) {
            memory.word(at).store(value.to_le(), Ordering::Relaxed);
        }
        fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((Self::new(memory, PUBLISHER_TO_ENGINE, ENGINE_TO_PUBLISHER), file))
    }

    /// The engine's end of the queues in `file`.
    ///
    /// # Errors
    /// `InvalidData` if they are of another version, or no queues.
    pub(super) fn attach(file: &File) -> io::Result<Self> {
        let sealed = fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
        if !sealed || file.metadata()?.len() != FILE_LEN as u64 {
            return Err(ErrorKind::InvalidData.into());
        }
        let memory = Memory::map(file)?;
        for (at, value) in (0..).step_by(8).zip(HEAD) {
            if u64::from_le(memory.word(at).load(Ordering::Relaxed)) != value {
                return Err(ErrorKind::InvalidData.into());
            }
        }
        Ok(Self::new(memory, ENGINE_TO_PUBLISHER, PUBLISHER_TO_ENGINE))
    }

    fn new(memory: Arc<Memory>, out: Place, input: Place) -> Self {
        Self {
            memory,
            out,
            input,
            written: 0,
            taken: 0,
            read: 0,
            given: 0,
        }
    }

    /// Copies as much of `bytes` into the queue as there is room for.
    ///
    /// # Errors
    /// `InvalidData` if the other side has written over the counts.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut room = self.room();
        if room < bytes.len() {
            self.taken = u64::from_le(self.memory.word(self.out.read).load(Ordering::Acquire));
            room = self.room();
        }
        if room > self.out.capacity {
            return Err(ErrorKind::InvalidData.into());
        }
        let length = bytes.len().min(room);
        let (at, first) = self.out.stretch(self.written, length);
        let (begin, rest) = bytes[..length].split_at(first);
        for (at, part) in [(at, begin), (self.out.data, rest)] {
            // SAFETY: `stretch` and `length <= capacity` keep both parts inside the queue's data, which is inside the
            // mapping; a slice of ours does not overlap it, for nobody ever makes references to shared memory. The
            // other side has read these bytes (acquire above) and reads them again only behind the store below. One
            // that does not keep to that reads, or makes us read, garbage; it is checked as all that arrives is.
            unsafe {
                let into = self.memory.0.as_mut_ptr().add(at);
                into.copy_from_nonoverlapping(part.as_ptr(), part.len());
            }
        }
        self.written += length as u64;
        self.memory
            .word(self.out.written)
            .store(self.written.to_le(), Ordering::Release);
        Ok(length)
    }

    /// Bytes that can be written, as last seen. More than the capacity if the other side claims nonsense.
    fn room(&self) -> usize {
        let waiting = self.written.wrapping_sub(self.taken);
        (self.out.capacity as u64).wrapping_sub(waiting) as usize
    }

    /// Copies what is there into `bytes`, as far as it fits; 0 if nothing is there.
    ///
    /// # Errors
    /// `InvalidData` if the other side has written over the counts.
    pub(super) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.given == self.read {
            self.given = u64::from_le(self.memory.word(self.input.written).load(Ordering::Acquire));
        }
        let waiting = self.given.wrapping_sub(self.read);
        if waiting > self.input.capacity as u64 {
            return Err(ErrorKind::InvalidData.into());
        }
        let length = bytes.len().min(waiting as usize);
        if length == 0 {
            return Ok(0);
        }
        let (at, first) = self.input.stretch(self.read, length);
        let (begin, rest) = bytes[..length].split_at_mut(first);
        for (at, part) in [(at, begin), (self.input.data, rest)] {
            // SAFETY: inside the mapping and not overlapping, as in `write`. The other side wrote these bytes before the
            // count that was loaded with acquire, and writes them again only behind the store below.
            unsafe {
                let from = self.memory.0.as_ptr().add(at);
                from.copy_to_nonoverlapping(part.as_mut_ptr(), part.len());
            }
        }
        self.read += length as u64;
        self.memory
            .word(self.input.read)
            .store(self.read.to_le(), Ordering::Release);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::thread;
    use twinline_line::random::Random;

    fn pair() -> (Queues, Queues) {
        let (publisher, file) = Queues::create().unwrap();
        let engine = Queues::attach(&file).unwrap();
        (publisher, engine)
    }

    /// Writes `total` bytes that their place decides, in pieces of many lengths.
    fn pour(queues: &mut Queues, total: usize) {
        let mut random = Random::new(3);
        let mut sent = 0;
        while sent < total {
            let length = (1 + random.below(9_000) as usize).min(total - sent);
            let piece: Vec<u8> = (sent..sent + length).map(|at| (at * 31 % 251) as u8).collect();
            let mut done = 0;
            while done < length {
                done += queues.write(&piece[done..]).unwrap();
            }
            sent += length;
        }
    }

    fn drain(queues: &mut Queues, total: usize) {
        let mut random = Random::new(4);
        let mut room = vec![0; 10_000];
        let mut got = 0;
        while got < total {
            let wanted = 1 + random.below(9_999) as usize;
            let read = queues.read(&mut room[..wanted]).unwrap();
            for byte in &room[..read] {
                assert_eq!(*byte, (got * 31 % 251) as u8, "byte {got}");
                got += 1;
            }
        }
        assert_eq!(queues.read(&mut room).unwrap(), 0);
    }

    #[test]
    fn every_byte_comes_once_and_in_order_both_ways_at_the_same_time() {
        let (mut publisher, mut engine) = pair();
        let (there, back) = (50_000_000, 1_000_000);
        thread::scope(|scope| {
            scope.spawn(move || {
                pour(&mut engine, there);
                drain(&mut engine, back);
            });
            drain(&mut publisher, there);
            pour(&mut publisher, back);
        });
    }

    #[test]
    fn a_full_queue_takes_nothing_until_something_was_read() {
        let (mut publisher, mut engine) = pair();
        let bytes = vec![7; FROM_ENGINE];
        assert_eq!(engine.write(&bytes[..FROM_ENGINE - 1]).unwrap(), FROM_ENGINE - 1);
        assert_eq!(engine.write(&bytes).unwrap(), 1);
        assert_eq!(engine.write(&bytes).unwrap(), 0);
        let mut room = [0; 10];
        assert_eq!(publisher.read(&mut room).unwrap(), 10);
        assert_eq!(engine.write(&bytes).unwrap(), 10);
        assert_eq!(engine.write(&bytes).unwrap(), 0);
        assert_eq!(publisher.read(&mut []).unwrap(), 0);
    }

    #[test]
    fn counts_that_make_no_sense_are_an_error_and_never_read_elsewhere() {
        for nonsense in [1 << 40, u64::MAX, FROM_ENGINE as u64 + 1] {
            let (mut publisher, engine) = pair();
            engine.memory.word(64).store(nonsense, Ordering::Relaxed);
            assert!(publisher.read(&mut [0; 64]).is_err());
            // Read before it was written; for u64::MAX that is less than a queue's length, and harmless.
            engine.memory.word(256).store(nonsense >> 1, Ordering::Relaxed);
            assert!(publisher.write(&[0; 8192]).is_err());
        }
    }

    #[test]
    fn what_is_no_queue_or_of_another_version_is_not_attached() {
        let (publisher, file) = Queues::create().unwrap();
        publisher.memory.word(8).store(2, Ordering::Relaxed);
        assert!(Queues::attach(&file).is_err());
        let unsealed: OwnedFd = fs::memfd_create("x", MemfdFlags::ALLOW_SEALING).unwrap();
        let unsealed = File::from(unsealed);
        unsealed.set_len(FILE_LEN as u64).unwrap();
        assert!(Queues::attach(&unsealed).is_err());
        assert!(Queues::attach(&tempfile::tempfile().unwrap()).is_err());
    }
}
