//! What a crash left: finds the last packet that is whole and continues the ones before, and cuts off what is behind it.

use crate::chain::{self, Chain};
use crate::control::{ControlWriter, Made, Position};
use crate::map::{Map, WriteMap};
use crate::prepare::Finished;
use crate::segment::{self, Geometry};
use crate::{JournalError, Recovery, discard, files};
use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use twinline_wire::Packet;

/// A walk over a segment's packets from its start, each wholly checked.
#[derive(Debug)]
pub(crate) struct Walk {
    /// Where it stopped.
    pub(crate) at: usize,
    /// How the journal stands there.
    pub(crate) chain: Option<Chain>,
    /// What is wrong with the packet there; `None` if nothing is committed there.
    pub(crate) broken: Option<String>,
    /// Packets passed.
    pub(crate) packets: u64,
    /// The last one's sending time.
    pub(crate) time: u64,
}

/// Walks a segment, with `chain` as the one before it left it, and calls `visit` with each good packet and its place.
pub(crate) fn walk(
    map: &Map,
    geometry: &Geometry,
    channel: u16,
    chain: Option<Chain>,
    mut visit: impl FnMut(usize, &Packet<'_>),
) -> Walk {
    let mut walk = Walk {
        at: 0,
        chain,
        broken: None,
        packets: 0,
        time: 0,
    };
    while let Some(bytes) = map.committed(walk.at, geometry.data_end) {
        let packet = match Packet::parse_prefix(bytes) {
            Ok(packet) if packet.bytes().len() <= geometry.max_packet => packet,
            Ok(_) => return broken(walk, "longer than a packet may be"),
            Err(error) => return broken(walk, &error.to_string()),
        };
        match chain::follow_packet(walk.chain.as_ref(), walk.at == 0, channel, &packet) {
            Ok(chain) => walk.chain = Some(chain),
            Err(reason) => return broken(walk, reason),
        }
        visit(walk.at, &packet);
        walk.packets += 1;
        walk.time = packet.header().sending_time.get();
        walk.at += twinline_wire::header::align_up(bytes.len());
    }
    walk
}

fn broken(mut walk: Walk, reason: &str) -> Walk {
    walk.broken = Some(reason.to_owned());
    walk
}

/// A journal after recovery, ready for the next packet.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The segment being written.
    pub(crate) index: u64,
    pub(crate) map: WriteMap,
    /// Where the next packet goes in it.
    pub(crate) at: usize,
    /// How many blocks its index covers.
    pub(crate) indexed: usize,
    pub(crate) chain: Option<Chain>,
    /// The last packet's sending time.
    pub(crate) time: u64,
    /// Finished segments, oldest first.
    pub(crate) finished: VecDeque<Finished>,
    pub(crate) report: Recovery,
}

/// Recovers the journal in `dir`, whose writer lock is held. On return everything it holds is durable and recorded.
pub(crate) fn recover(dir: &Path, control: &ControlWriter, made: &Made) -> Result<Recovered, JournalError> {
    let mut scan = Scan {
        dir,
        made,
        geometry: Geometry::new(made)?,
        synced: control.read().synced(),
        chain: None,
        time: 0,
        finished: VecDeque::new(),
        report: Recovery::default(),
    };
    files::remove(&files::temporary_path(dir))?;
    let indexes = scan.names()?;
    let mut current = None;
    for &index in &indexes {
        // The last durable segment and everything after it is read wholly.
        if index + 1 < scan.synced.index() {
            scan.pass(index)?;
        } else if let Some(tail) = scan.read(index)? {
            current = Some(scan.cut(index, tail, &indexes)?);
            break;
        }
    }
    let (index, map, at, indexed) = match current {
        Some(current) => current,
        None => scan.create(indexes.last().map_or(scan.synced.index(), |last| last + 1))?,
    };
    files::sync_dir(dir)?;
    control.set_first(indexes.first().copied().unwrap_or(index));
    control.set_synced(Position::new(index, at));
    control.claim();
    control.next_generation();
    control.flush()?;
    Ok(Recovered {
        index,
        map,
        at,
        indexed,
        chain: scan.chain,
        time: scan.time,
        finished: scan.finished,
        report: scan.report,
    })
}

/// The segment being written: index, mapping, where the next packet goes, blocks indexed.
type Current = (u64, WriteMap, usize, usize);

struct Scan<'a> {
    dir: &'a Path,
    made: &'a Made,
    geometry: Geometry,
    synced: Position,
    chain: Option<Chain>,
    time: u64,
    finished: VecDeque<Finished>,
    report: Recovery,
}

impl Scan<'_> {
    fn path(&self, index: u64) -> PathBuf {
        files::segment_path(self.dir, index)
    }

    fn damaged(&self, index: u64, offset: usize, reason: &str) -> JournalError {
        JournalError::Damaged {
            segment: self.path(index),
            offset: offset as u64,
            reason: reason.to_owned(),
        }
    }

    /// The segments. They have consecutive numbers and reach to the synced position; what stands behind a gap after that
    /// is removed.
    fn names(&mut self) -> Result<Vec<u64>, JournalError> {
        let mut indexes = files::segments(self.dir)?;
        let gap = indexes.windows(2).position(|pair| pair[1] != pair[0] + 1);
        if let Some(last) = gap {
            for &torn in &indexes[last + 1..] {
                if torn <= self.synced.index() {
                    return Err(self.damaged(indexes[last] + 1, 0, "the segment is missing"));
                }
            }
            for torn in indexes.drain(last + 1..).rev() {
                files::remove(&files::segment_path(self.dir, torn))?;
                self.report.torn_segments += 1;
            }
        }
        let reached = indexes.last().is_some_and(|&last| last >= self.synced.index());
        if !reached && self.synced != Position::default() {
            return Err(self.damaged(self.synced.index(), 0, "the segment is missing"));
        }
        Ok(indexes)
    }

    fn open(&self, index: u64) -> Result<WriteMap, JournalError> {
        let path = self.path(index);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(files::write_error("open", &path))?;
        let length = file.metadata().map_err(JournalError::io("look at", &path))?.len();
        if length != self.geometry.size as u64 {
            return Err(self.damaged(index, 0, &format!("the file has {length} bytes")));
        }
        WriteMap::open(&file).map_err(JournalError::io("map", &path))
    }

    fn finish(&mut self, index: u64, time: u64) {
        self.finished.push_back(Finished {
            index,
            time,
            map: None,
        });
    }

    /// Passes a segment well before the synced position: its first packet continues, its end mark is right.
    fn pass(&mut self, index: u64) -> Result<(), JournalError> {
        let map = self.open(index)?.share();
        let first = map.committed(0, self.geometry.data_end);
        let first = first.ok_or("no packet at its start").and_then(|bytes| {
            let packet = Packet::parse_prefix(bytes).map_err(|_| "no packet at its start")?;
            chain::follow_packet(self.chain.as_ref(), true, self.made.channel, &packet)
        });
        first.map_err(|reason| self.damaged(index, 0, reason))?;
        let mark = segment::end_mark(&map, &self.geometry, self.made.channel)
            .and_then(|mark| mark.ok_or("no end mark where one should be"))
            .map_err(|reason| self.damaged(index, self.geometry.mark_at, reason))?;
        self.chain = Some(mark.chain);
        self.time = mark.time;
        self.finish(index, mark.time);
        Ok(())
    }

    /// Reads a segment wholly. Returns where the journal ends in it, or `None` if it is complete up to its end mark.
    fn read(&mut self, index: u64) -> Result<Option<Tail>, JournalError> {
        let map = self.open(index)?;
        let mut entries = Entries::default();
        let geometry = self.geometry;
        let walk = walk(&map, &geometry, self.made.channel, self.chain, |at, packet| {
            entries.note(at, packet.sequence());
        });
        self.report.segments += 1;
        self.report.packets += walk.packets;
        let mark = segment::end_mark(&map, &geometry, self.made.channel);
        let complete = walk.broken.is_none()
            && matches!(mark, Ok(Some(mark)) if mark.at == walk.at && Some(mark.chain) == walk.chain);
        if !complete && Position::new(index, walk.at) < self.synced {
            let reason = walk.broken.as_deref().unwrap_or("a packet is missing");
            return Err(self.damaged(index, walk.at, reason));
        }
        self.chain = walk.chain;
        if walk.packets > 0 {
            self.time = walk.time;
        }
        if complete {
            let indexed = entries.write(&map, &geometry);
            debug_assert!(indexed > 0, "a complete segment holds packets");
            map.flush(0, map.len())
                .map_err(JournalError::io("sync", &self.path(index)))?;
            self.finish(index, self.time);
            return Ok(None);
        }
        // Readers of this boot may have seen what looks committed, so it is not overwritten.
        let seen = walk.broken.is_some() || map.word(geometry.mark_at) != 0;
        Ok(Some(Tail {
            map,
            at: walk.at,
            entries,
            seen,
        }))
    }

    /// Cuts off everything behind `tail` in the segment `index`, and all segments after it.
    fn cut(&mut self, index: u64, tail: Tail, indexes: &[u64]) -> Result<Current, JournalError> {
        for &later in indexes.iter().rev().take_while(|&&later| later > index) {
            // A prepared segment is empty; anything else was torn off.
            let held = self
                .open(later)
                .map(|map| map.word(0) != 0 || map.word(self.geometry.mark_at) != 0);
            self.report.torn_segments += u64::from(held.unwrap_or(true));
            files::remove(&self.path(later))?;
        }
        let Tail {
            mut map,
            at,
            entries,
            seen,
        } = tail;
        self.report.torn_bytes += torn(map.written(at, self.geometry.data_end - at));
        if seen {
            map = discard::rewrite(self.dir, &self.geometry, index, at)?;
        } else {
            files::fill_holes(self.dir, index, self.geometry.size)?;
            zero(&mut map, at, self.geometry.size);
        }
        let indexed = entries.write(&map, &self.geometry);
        map.flush(0, map.len())
            .and_then(|()| map.prefault())
            .map_err(JournalError::io("sync", &self.path(index)))?;
        Ok((index, map, at, indexed))
    }

    /// Makes the segment `index`, which does not exist.
    fn create(&self, index: u64) -> Result<Current, JournalError> {
        let map = discard::rewrite(self.dir, &self.geometry, index, 0)?;
        Ok((index, map, 0, 0))
    }
}

/// Where a journal ends in its last segment.
struct Tail {
    map: WriteMap,
    at: usize,
    entries: Entries,
    /// True if something behind it may have been read by someone.
    seen: bool,
}

/// The packets that may stand in a segment's index.
#[derive(Debug, Default)]
pub(crate) struct Entries(Vec<(usize, u64)>);

impl Entries {
    /// Notes a packet; they come in order.
    pub(crate) fn note(&mut self, at: usize, sequence: u64) {
        if self
            .0
            .last()
            .is_none_or(|&(last, _)| segment::block(at) > segment::block(last))
        {
            self.0.push((at, sequence));
        }
    }

    /// Writes the index. Returns the number of blocks it covers.
    pub(crate) fn write(&self, map: &WriteMap, geometry: &Geometry) -> usize {
        let mut indexed = 0;
        for &(at, sequence) in &self.0 {
            segment::note_in_index(map, geometry, &mut indexed, at, sequence);
        }
        indexed
    }
}

/// How many bytes of `bytes` there are up to the last one that is not zero.
fn torn(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last as u64 + 1)
}

/// Zeroes a part of a segment, without touching pages that are zero already.
fn zero(map: &mut WriteMap, begin: usize, end: usize) {
    let mut at = begin;
    while at < end {
        let length = (4096 - at % 4096).min(end - at);
        if map.written(at, length).iter().any(|&byte| byte != 0) {
            map.slot(at, length).fill(0);
        }
        at += length;
    }
}
