//! A segment: packets, the sparse index, the end mark; and how a reader sees one.

use crate::chain::Chain;
use crate::control::{Made, Position};
use crate::files;
use crate::map::{Map, WriteMap};
use crate::{JournalError, Tail};
use std::fs::File;
use std::path::{Path, PathBuf};
use twinline_wire::header::{
    self, ALIGN, HEADER_LEN, MAX_PACKET_LEN, PacketHeader, align_up, first_word, flags,
};
use twinline_wire::{Packet, U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

/// The index has one entry for each block of this many bytes.
const BLOCK: usize = 1 << 16;
/// Sequence and offset, eight bytes each.
const ENTRY: usize = 16;
/// The smallest and the largest segment, in bytes.
const SIZES: std::ops::RangeInclusive<usize> = 1 << 16..=1 << 34;

/// Where the parts of a segment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) size: usize,
    pub(crate) max_packet: usize,
    /// Packets end here, the index begins.
    pub(crate) data_end: usize,
    /// The end mark.
    pub(crate) mark_at: usize,
}

impl Geometry {
    /// Of the segments of a journal.
    pub(crate) fn new(made: &Made) -> Result<Self, JournalError> {
        let (size, max_packet) = (made.segment_size, made.max_packet);
        let wrong = |what, value: usize, must| JournalError::Config {
            what,
            value: value as u64,
            must,
        };
        if !SIZES.contains(&size) || !size.is_multiple_of(4096) {
            return Err(wrong(
                "a segment size of",
                size,
                "a multiple of 4096, from 65536 (64 KiB) to 17179869184 (16 GiB)",
            ));
        }
        if !(ALIGN..=MAX_PACKET_LEN).contains(&max_packet) || !max_packet.is_multiple_of(ALIGN) {
            return Err(wrong(
                "a packet limit of",
                max_packet,
                "a multiple of 64, from 64 to 8896 bytes",
            ));
        }
        let mark_at = size - ALIGN;
        Ok(Self {
            size,
            max_packet,
            data_end: mark_at - align_up(size.div_ceil(BLOCK) * ENTRY),
            mark_at,
        })
    }

    fn entry_at(&self, block: usize) -> usize {
        self.data_end + block * ENTRY
    }

    fn blocks(&self) -> usize {
        self.data_end.div_ceil(BLOCK)
    }
}

/// The block of the index that `at` falls in.
pub(crate) fn block(at: usize) -> usize {
    at / BLOCK
}

/// Notes in the index that the packet at `at` is the first of its block, if it is: `indexed` counts the blocks done.
#[inline]
pub(crate) fn note_in_index(
    map: &WriteMap,
    geometry: &Geometry,
    indexed: &mut usize,
    at: usize,
    sequence: u64,
) {
    let block = at / BLOCK;
    if block < *indexed {
        return;
    }
    *indexed = block + 1;
    let entry = geometry.entry_at(block);
    map.store_long(entry + 8, at as u64);
    map.store_long(entry, sequence);
}

/// What an end mark says: where the packets end, and how the journal stood there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndMark {
    /// Where packets end.
    pub(crate) at: usize,
    /// How the journal stood.
    pub(crate) chain: Chain,
    /// The last packet's sending time.
    pub(crate) time: u64,
}

const ENDED: u64 = 1;
const LOOSE: u64 = 2;
const INCOMPLETE: u64 = 4;

/// Commits the end mark: a header with count 0, and behind it where packets end and what the header has no room for.
pub(crate) fn write_end_mark(map: &mut WriteMap, geometry: &Geometry, channel: u16, mark: &EndMark) {
    let tail = &mark.chain.tail;
    let mut header = PacketHeader {
        magic: U16::new(header::MAGIC),
        version: header::VERSION,
        flags: flags::SEGMENT_END,
        channel: U16::new(channel),
        session: U32::new(tail.session),
        epoch: U32::new(tail.epoch),
        epoch_base: U64::new(tail.epoch_base),
        sequence: U64::new(tail.next),
        sending_time: U64::new(mark.time),
        length: U16::new(ALIGN as u16),
        ..PacketHeader::default()
    };
    let bits = (u64::from(tail.ended) * ENDED)
        | (u64::from(mark.chain.loose) * LOOSE)
        | (u64::from(mark.chain.incomplete) * INCOMPLETE);
    let mut packet = [0; ALIGN];
    packet[HEADER_LEN..HEADER_LEN + 8].copy_from_slice(&(mark.at as u64).to_le_bytes());
    packet[HEADER_LEN + 8..].copy_from_slice(&bits.to_le_bytes());
    packet[..HEADER_LEN].copy_from_slice(header.as_bytes());
    header.checksum = U32::new(header::checksum(&packet));
    packet[..HEADER_LEN].copy_from_slice(header.as_bytes());
    map.slot(geometry.mark_at, ALIGN)[4..].copy_from_slice(&packet[4..]);
    map.store_word(geometry.mark_at, first_word(flags::SEGMENT_END));
}

/// The end mark of a mapped segment: `None` if it is not committed, an error if it is not right.
pub(crate) fn end_mark(
    map: &Map,
    geometry: &Geometry,
    channel: u16,
) -> Result<Option<EndMark>, &'static str> {
    let Some(bytes) = map.committed(geometry.mark_at, geometry.size) else {
        return Ok(None);
    };
    let Ok((header, body)) = PacketHeader::ref_from_prefix(bytes) else {
        return Err("no end mark where one should be");
    };
    if header.magic.get() != header::MAGIC
        || header.version != header::VERSION
        || header.flags != flags::SEGMENT_END
        || header.channel.get() != channel
        || body.len() != 16
        || header.checksum.get() != header::checksum(bytes)
    {
        return Err("no end mark where one should be");
    }
    let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| body[at + byte]));
    let tail = Tail {
        session: header.session.get(),
        epoch: header.epoch.get(),
        epoch_base: header.epoch_base.get(),
        next: header.sequence.get(),
        ended: long(8) & ENDED != 0,
    };
    let at = long(0);
    if at > geometry.data_end as u64 || !at.is_multiple_of(ALIGN as u64) {
        return Err("an end mark that names no place in its segment");
    }
    Ok(Some(EndMark {
        at: at as usize,
        chain: Chain {
            tail,
            loose: long(8) & LOOSE != 0,
            incomplete: long(8) & INCOMPLETE != 0,
        },
        time: header.sending_time.get(),
    }))
}

/// Where nothing of the segment `index` is to be believed any more, if the journal is believed up to `limit`; `None`: from its
/// start on.
fn limit_in(index: u64, limit: Option<Position>) -> Option<usize> {
    match limit {
        Some(limit) if index > limit.index() => None,
        Some(limit) if index == limit.index() => Some(limit.at()),
        _ => Some(usize::MAX),
    }
}

/// The file of a segment, with the shared lock; `None` if there is none (any more).
fn open_file(path: &Path, geometry: &Geometry) -> Result<Option<File>, JournalError> {
    let Some(file) = files::open_shared(path)? else {
        return Ok(None);
    };
    let length = file.metadata().map_err(JournalError::io("look at", path))?.len();
    if length != geometry.size as u64 {
        return Err(JournalError::Damaged {
            segment: path.to_owned(),
            offset: length.min(geometry.size as u64),
            reason: format!("the file has {length} bytes, not {}", geometry.size),
        });
    }
    Ok(Some(file))
}

/// A segment as readers see it. While it exists, the segment is not recycled.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) index: u64,
    pub(crate) map: Map,
    pub(crate) geometry: Geometry,
    channel: u16,
    path: PathBuf,
    /// Nothing at or beyond this offset is to be believed.
    limit: usize,
    /// Holds the shared lock.
    _file: File,
}

impl Segment {
    /// Opens a segment; `None` if it does not exist (any more). What stands at or beyond `limit` is not looked at.
    pub(crate) fn open(
        dir: &Path,
        index: u64,
        made: &Made,
        limit: Option<Position>,
    ) -> Result<Option<Self>, JournalError> {
        let geometry = Geometry::new(made)?;
        let path = files::segment_path(dir, index);
        let Some(limit) = limit_in(index, limit) else {
            return Ok(None);
        };
        let Some(file) = open_file(&path, &geometry)? else {
            return Ok(None);
        };
        let map = Map::open(&file).map_err(JournalError::io("map", &path))?;
        Ok(Some(Self {
            index,
            map,
            geometry,
            channel: made.channel,
            path,
            limit,
            _file: file,
        }))
    }

    /// Becomes another segment of its journal, in the memory that it has: allocates nothing unless its map is held elsewhere.
    /// False if that one does not exist (any more); then, and after an error, it is what it was.
    pub(crate) fn reopen(&mut self, index: u64, limit: Option<Position>) -> Result<bool, JournalError> {
        let Some(limit) = limit_in(index, limit) else {
            return Ok(false);
        };
        files::set_segment_path(&mut self.path, index);
        let opened = open_file(&self.path, &self.geometry).and_then(|file| {
            let Some(file) = file else { return Ok(false) };
            self.map
                .reopen(&file)
                .map_err(JournalError::io("map", &self.path))?;
            (self.index, self.limit, self._file) = (index, limit, file);
            Ok(true)
        });
        files::set_segment_path(&mut self.path, self.index);
        opened
    }

    /// Where packets end at most.
    pub(crate) fn end(&self) -> usize {
        self.geometry.data_end.min(self.limit)
    }

    /// The packet at `at`, if one is committed there.
    #[inline]
    pub(crate) fn packet(&self, at: usize) -> Result<Option<Packet<'_>>, JournalError> {
        let Some(bytes) = self.map.committed(at, self.end()) else {
            return Ok(None);
        };
        match Packet::trusted_prefix(bytes) {
            Ok(packet) => Ok(Some(packet)),
            Err(error) => Err(self.damaged(at, error.to_string())),
        }
    }

    /// True if something is committed at `at`.
    #[inline]
    pub(crate) fn is_committed(&self, at: usize) -> bool {
        at + HEADER_LEN <= self.end() && self.map.word(at) != 0
    }

    /// The first packet.
    pub(crate) fn first(&self) -> Result<Option<Packet<'_>>, JournalError> {
        self.packet(0)
    }

    /// The end mark, if the journal goes on in the next segment.
    pub(crate) fn end_mark(&self) -> Result<Option<EndMark>, JournalError> {
        if self.limit <= self.geometry.data_end {
            return Ok(None);
        }
        end_mark(&self.map, &self.geometry, self.channel)
            .map_err(|reason| self.damaged(self.geometry.mark_at, reason.to_owned()))
    }

    /// True once the end mark is committed.
    pub(crate) fn has_end_mark(&self) -> bool {
        self.limit > self.geometry.data_end && self.map.word(self.geometry.mark_at) != 0
    }

    /// Damage at `offset`.
    pub(crate) fn damaged(&self, offset: usize, reason: String) -> JournalError {
        JournalError::Damaged {
            segment: self.path.clone(),
            offset: offset as u64,
            reason,
        }
    }

    /// Where a walk to the first packet that is at or beyond `sequence` may start: a packet below it, or the first one.
    pub(crate) fn start_below(&self, sequence: u64) -> usize {
        self.last_entry(|entry| entry < sequence, |_| true)
    }

    /// Where a walk to the end may start: a packet with messages, which says by itself how the journal stands behind it, or
    /// the first one.
    pub(crate) fn start_near_end(&self) -> usize {
        self.last_entry(|_| true, |packet| packet.header().flags & flags::LOCAL == 0)
    }

    /// The place that the last index entry names of which `wanted` holds (it does up to some entry), and whose packet is
    /// `good`; or 0.
    fn last_entry(&self, wanted: impl Fn(u64) -> bool, good: impl Fn(&Packet<'_>) -> bool) -> usize {
        let sequence = |block| self.map.long(self.geometry.entry_at(block));
        let (mut low, mut high) = (0, self.geometry.blocks());
        while low < high {
            let middle = (low + high) / 2;
            let entry = sequence(middle);
            if entry != 0 && wanted(entry) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (0..low)
            .rev()
            .find_map(|block| self.checked_entry(block, &good))
            .unwrap_or(0)
    }

    /// The place that an index entry names, if a whole packet of that sequence stands there that is `good`: the index is a
    /// hint.
    fn checked_entry(&self, block: usize, good: impl Fn(&Packet<'_>) -> bool) -> Option<usize> {
        let entry = self.geometry.entry_at(block);
        let at = usize::try_from(self.map.long(entry + 8)).ok()?;
        if at / BLOCK != block || !at.is_multiple_of(ALIGN) {
            return None;
        }
        let packet = Packet::parse_prefix(self.map.committed(at, self.end())?).ok()?;
        (packet.sequence() == self.map.long(entry) && good(&packet)).then_some(at)
    }
}
