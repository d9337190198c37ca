//! The memory that frames lie in (the kernel's UMEM): one mapping, cut into frames of one size.
//!
//! At any moment a [`Frame`] is either ours, as a value of that type, or the kernel's, as a number in a ring. So whoever has
//! the value may read and write the frame's bytes.

use super::error::XdpError;
use super::frame;
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a huge page, as a power of two.
const HUGE_PAGE: u8 = 21;

/// Bytes of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Bytes that the kernel leaves free before a frame that it writes.
pub const HEADROOM: usize = 256;

/// Bytes of a frame where that is enough.
const FRAME: usize = 2048;
/// Bytes of the largest frame: a page's.
pub(super) const LARGEST_FRAME: usize = 4096;

/// The size of frames that hold so many bytes, headroom and all; `None` if none does.
pub(super) fn frame_size(needed: usize) -> Option<usize> {
    [FRAME, LARGEST_FRAME].into_iter().find(|&size| needed <= size)
}

/// The size of a receiver's frames, in which packets of so many bytes fit behind their headers and the headroom. A sender is held
/// to it too: what fits no receiver's frame reaches none.
pub(super) fn receiving_frame_size(longest: usize) -> Result<usize, XdpError> {
    let around = HEADROOM + frame::HEADERS;
    frame_size(around + longest).ok_or(XdpError::TooLong {
        length: longest,
        most: LARGEST_FRAME - around,
    })
}

/// Bits of an address within a memory; above them stands, in a [`Frame`], which memory it is of.
const ADDRESS: u32 = 40;

/// Frames of one size in one piece of memory.
#[derive(Debug)]
pub struct Umem {
    memory: MmapRaw,
    /// What no other memory of this process has, above [`ADDRESS`] bits.
    tag: u64,
    frame_size: usize,
    huge: bool,
}

/// A frame that is ours: which [`Umem`] it is of, and its address there.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame(u64);

impl Umem {
    /// So many frames of `frame_size` bytes, a power of two from 2,048 to a page's size. In huge pages where the system has any.
    ///
    /// # Errors
    /// If there is no memory.
    ///
    /// # Panics
    /// If it is the process's sixteen millionth, or longer than a terabyte.
    pub fn new(frames: usize, frame_size: usize) -> io::Result<(Self, Vec<Frame>)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let length = frames * frame_size;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(
            number < 1 << (u64::BITS - ADDRESS) && length <= 1 << ADDRESS,
            "a frame's number says which memory it is of"
        );
        let tag = number << ADDRESS;
        let mut options = MmapOptions::new();
        options.len(length);
        let in_huge_pages = (length.is_multiple_of(1 << HUGE_PAGE))
            .then(|| options.clone().huge(Some(HUGE_PAGE)).populate().map_anon().ok())
            .flatten();
        let huge = in_huge_pages.is_some();
        let memory = match in_huge_pages {
            Some(memory) => memory,
            None => {
                let memory = options.map_anon()?;
                // Pages that were not set aside may come as huge ones too: each frame is in another, and to look up where a
                // small one is costs as much as to fetch its first bytes. Where the kernel cannot, they are small.
                let _ = memory.advise(Advice::HugePage);
                // A kernel before 5.14 cannot; then the registration makes them.
                let _ = memory.advise(Advice::PopulateWrite);
                memory
            }
        };
        let umem = Self {
            memory: memory.into(),
            tag,
            frame_size,
            huge,
        };
        let frames = (0..frames).map(|number| Frame((number * frame_size) as u64 | tag));
        Ok((umem, frames.collect()))
    }

    /// Where it begins, for the kernel.
    pub(super) fn address(&self) -> u64 {
        self.memory.as_ptr() as u64
    }

    /// Bytes of all frames.
    pub fn length(&self) -> usize {
        self.memory.len()
    }

    /// Bytes of a frame.
    pub fn frame_size(&self) -> usize {
        self.frame_size
    }

    /// True if it is in huge pages.
    pub fn is_huge(&self) -> bool {
        self.huge
    }

    /// The frame that an address from the kernel lies in; `None` if it is not in this memory.
    ///
    /// # Safety
    /// The kernel has just given the frame back: no other [`Frame`] stands for it, and the kernel does not touch it.
    #[inline]
    pub unsafe fn claim(&self, address: u64) -> Option<Frame> {
        let frame = address & !(self.frame_size as u64 - 1);
        (frame < self.memory.len() as u64).then_some(Frame(frame | self.tag))
    }

    /// The address of a frame of this memory, with which it goes to the kernel.
    ///
    /// # Panics
    /// If it is a frame of another memory.
    #[inline]
    pub(super) fn give(&self, frame: Frame) -> u64 {
        self.place(&frame) as u64
    }

    /// The bytes of a frame of this memory.
    ///
    /// # Panics
    /// If it is a frame of another memory.
    #[inline]
    pub fn bytes<'f>(&'f self, frame: &'f Frame) -> &'f [u8] {
        let at = self.place(frame);
        // SAFETY: in the mapping, which lives as long as `self`; the frame is ours as long as the value that stands for it is
        // borrowed, so nobody writes it.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(at), self.frame_size) }
    }

    /// The bytes of a frame of this memory, to be written.
    ///
    /// # Panics
    /// If it is a frame of another memory.
    #[inline]
    pub fn bytes_mut<'f>(&'f self, frame: &'f mut Frame) -> &'f mut [u8] {
        let at = self.place(frame);
        // SAFETY: as in `bytes`, and the value that stands for the frame is borrowed by nobody else.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().add(at), self.frame_size) }
    }

    /// Has the first bytes of a frame that is not ours brought nearer, where `address` is in it.
    #[inline]
    pub(super) fn prefetch(&self, address: u64, bytes: usize) {
        #[cfg(target_arch = "x86_64")]
        for at in (0..bytes).step_by(LINE) {
            let line = self.memory.as_ptr().wrapping_add(address as usize + at);
            // SAFETY: a prefetch reads and writes nothing that a program can see, whatever the address.
            unsafe { core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(line.cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (address, bytes);
    }

    fn place(&self, frame: &Frame) -> usize {
        // Of a frame of another memory something above the address is left.
        let at = frame.0 ^ self.tag;
        assert!(
            at < self.memory.len() as u64,
            "a frame is used with the memory that it is of"
        );
        at as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Huge pages of the machine, set aside until dropped.
    struct HugePages(String);

    impl HugePages {
        const PLACE: &str = "/proc/sys/vm/nr_hugepages";

        /// `None` if we may not.
        fn set_aside(more: u32) -> Option<Self> {
            let before = std::fs::read_to_string(Self::PLACE).ok()?.trim().to_owned();
            let wanted = before.parse::<u32>().ok()? + more;
            std::fs::write(Self::PLACE, wanted.to_string()).ok()?;
            Some(Self(before))
        }

        fn free() -> u32 {
            let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
            let line = memory
                .lines()
                .find(|line| line.starts_with("HugePages_Free"))
                .unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        }
    }

    impl Drop for HugePages {
        fn drop(&mut self) {
            let _ = std::fs::write(Self::PLACE, &self.0);
        }
    }

    #[test]
    fn frames_lie_in_huge_pages_where_the_machine_has_any_to_spare() {
        let Some(_aside) = HugePages::set_aside(2) else {
            assert!(std::env::var_os("CI").is_none(), "CI is root");
            eprintln!("skipped: to set huge pages aside needs root");
            return;
        };
        // A machine whose memory is in pieces may have none.
        let any = HugePages::free() >= 2;
        let (umem, mut frames) = Umem::new(2048, 2048).unwrap();
        assert_eq!(umem.is_huge(), any);
        for frame in &mut frames {
            umem.bytes_mut(frame).fill(1);
        }
        let (small, _) = Umem::new(4, 2048).unwrap();
        assert!(!small.is_huge(), "not a whole page");
    }

    #[test]
    fn frames_lie_side_by_side_and_an_address_anywhere_in_one_claims_it() {
        let (umem, mut frames) = Umem::new(8, 2048).unwrap();
        for (number, frame) in frames.iter_mut().enumerate() {
            umem.bytes_mut(frame).fill(number as u8);
        }
        for (number, frame) in frames.iter().enumerate() {
            assert_eq!(umem.bytes(frame), [number as u8; 2048]);
        }
        let addresses: Vec<u64> = frames.into_iter().map(|frame| umem.give(frame)).collect();
        assert_eq!(addresses, [0, 2048, 4096, 6144, 8192, 10240, 12288, 14336]);
        // SAFETY: all frames were given away above, and no kernel has them.
        let claimed = unsafe { umem.claim(2048 + 256) }.unwrap();
        assert_eq!(umem.bytes(&claimed)[0], 1);
        // SAFETY: as above.
        assert_eq!(unsafe { umem.claim(8 * 2048) }, None);
    }

    #[test]
    #[should_panic(expected = "a frame is used with the memory that it is of")]
    fn a_frame_is_of_one_memory_alone() {
        let (_one, mut frames) = Umem::new(2, 2048).unwrap();
        let (other, _) = Umem::new(2, 2048).unwrap();
        other.bytes_mut(&mut frames[0])[0] = 1;
    }
}
