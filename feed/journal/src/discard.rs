//! Cutting off committed packets: never by writing over what readers may have mapped, always by a new file in its place.

use crate::chain::{self, Chain};
use crate::control::{Made, Position};
use crate::map::WriteMap;
use crate::prepare::Preparer;
use crate::recover::Entries;
use crate::segment::{Geometry, Segment};
use crate::{JournalError, failpoint, files};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use twinline_wire::header::{align_up, flags};
use twinline_wire::session::EpochStart;

/// Makes the segment `index` a new file that holds the first `keep` bytes of the old one (if there is one) and zeros.
/// It is durable, and replaces the old one at once; readers keep what they have mapped. The index is left empty.
pub(crate) fn rewrite(
    dir: &Path,
    geometry: &Geometry,
    index: u64,
    keep: usize,
) -> Result<WriteMap, JournalError> {
    let (temporary, path) = (files::temporary_path(dir), files::segment_path(dir, index));
    let file = files::allocate(dir, geometry.size)?;
    let mut map = WriteMap::open(&file).map_err(JournalError::io("map", &temporary))?;
    if keep > 0 {
        File::open(&path)
            .and_then(|old| old.read_exact_at(map.slot(0, keep), 0))
            .map_err(JournalError::io("read", &path))?;
    }
    file.sync_all().map_err(JournalError::io("sync", &temporary))?;
    files::rename(&temporary, &path)?;
    files::sync_dir(dir)?;
    map.prefault().map_err(JournalError::io("fill", &path))?;
    Ok(map)
}

/// Where a journal ends after a cut.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) index: u64,
    pub(crate) map: WriteMap,
    pub(crate) indexed: usize,
    /// Where the next packet goes in it.
    pub(crate) at: usize,
    /// How the journal stands there.
    pub(crate) chain: Option<Chain>,
    /// The last packet's sending time, if one is left in the segment.
    pub(crate) time: Option<u64>,
    /// Messages cut off.
    pub(crate) messages: u64,
}

/// Cuts what the session `session`, the newest, holds from `sequence` on. `last` is the segment being written. If it
/// fails before anything was changed, everything is as it was.
pub(crate) fn cut(
    preparer: &mut Preparer,
    made: &Made,
    session: u32,
    sequence: u64,
    last: u64,
) -> Result<Cut, JournalError> {
    let dir = preparer.dir.clone();
    let first = preparer.finished.front().map_or(last, |oldest| oldest.index);
    let index = find(&dir, made, session, sequence, first, last)?;
    let open = |index| {
        Segment::open(&dir, index, made, None)?.ok_or_else(|| JournalError::Damaged {
            segment: files::segment_path(&dir, index),
            offset: 0,
            reason: "the segment is missing".to_owned(),
        })
    };
    let before = match index > first {
        true => open(index - 1)?.end_mark()?.map(|mark| mark.chain),
        false => None,
    };
    let segment = open(index)?;
    let kept = keep(&segment, made, before, sequence)?;
    let mut messages = count(&segment, kept.at)?;
    for later in index + 1..=last {
        messages += count(&open(later)?, 0)?;
    }

    // From here on files change. First nothing behind the cut counts as durable; then the newest goes first, so that
    // a crash at any point leaves a journal that ends somewhere at or behind the cut, and is cut again.
    let position = Position::new(index, kept.at);
    let control = preparer.control.clone();
    control.set_synced(position.min(control.read().synced()));
    control.flush()?;
    failpoint::hit("journal.discard.begun");
    let prepared = files::segments(&dir)?.into_iter().rev();
    for later in prepared.take_while(|&later| later > index) {
        files::remove(&files::segment_path(&dir, later))?;
    }
    failpoint::hit("journal.discard.removed");
    let map = rewrite(&dir, &preparer.geometry, index, kept.at)?;
    failpoint::hit("journal.discard.rewritten");
    let indexed = kept.entries.write(&map, &preparer.geometry);
    preparer.finished.retain(|finished| finished.index < index);
    preparer.syncer.reset(position, map.share());
    control.set_synced(position);
    control.next_generation();
    control.flush()?;
    Ok(Cut {
        index,
        map,
        indexed,
        at: kept.at,
        chain: kept.chain,
        time: kept.time,
        messages,
    })
}

/// The segment that `sequence` stands in, or that begins with the first packet after it: where the oldest packet held of the
/// session opens an epoch whose valid end is at or below `sequence`, nothing is missing before it.
fn find(
    dir: &Path,
    made: &Made,
    session: u32,
    sequence: u64,
    first: u64,
    last: u64,
) -> Result<u64, JournalError> {
    let mut oldest = sequence;
    let mut opens = None;
    for index in (first..=last).rev() {
        let Some(segment) = Segment::open(dir, index, made, None)? else {
            break;
        };
        let Some(packet) = segment.first()? else { continue };
        if packet.header().session.get() != session {
            break;
        }
        oldest = packet.sequence();
        if oldest <= sequence {
            return Ok(index);
        }
        let start = packet.messages().next();
        let start = start.and_then(|(_, frame)| Some(frame.view::<EpochStart>()?.valid_end.get()));
        opens = start.filter(|&valid_end| valid_end <= sequence).map(|_| index);
    }
    if let Some(index) = opens {
        return Ok(index);
    }
    Err(JournalError::NotHeld { sequence, oldest })
}

/// What stays of a segment.
struct Kept {
    at: usize,
    chain: Option<Chain>,
    time: Option<u64>,
    entries: Entries,
}

/// Finds the first packet to go, and how the journal stands before it.
fn keep(segment: &Segment, made: &Made, before: Option<Chain>, sequence: u64) -> Result<Kept, JournalError> {
    let mut kept = Kept {
        at: 0,
        chain: before,
        time: None,
        entries: Entries::default(),
    };
    while let Some(packet) = segment.packet(kept.at)? {
        let header = packet.header();
        let notice = header.flags & flags::LOCAL != 0;
        if packet.end() > sequence || (notice && packet.sequence() >= sequence) {
            if packet.sequence() < sequence {
                return Err(JournalError::InsidePacket {
                    sequence,
                    begin: packet.sequence(),
                    end: packet.end(),
                });
            }
            break;
        }
        let chain = chain::follow_packet(kept.chain.as_ref(), kept.at == 0, made.channel, &packet)
            .map_err(|reason| segment.damaged(kept.at, reason.to_owned()))?;
        kept.chain = Some(chain);
        kept.time = Some(header.sending_time.get());
        kept.entries.note(kept.at, packet.sequence());
        kept.at += align_up(packet.bytes().len());
    }
    Ok(kept)
}

/// The messages in a segment from `at` on.
fn count(segment: &Segment, mut at: usize) -> Result<u64, JournalError> {
    let mut messages = 0;
    while let Some(packet) = segment.packet(at)? {
        messages += u64::from(packet.header().count.get());
        at += align_up(packet.bytes().len());
    }
    Ok(messages)
}
