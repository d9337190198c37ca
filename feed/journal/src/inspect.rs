//! What `twinline journal info|verify` shows.

use crate::chain::Chain;
use crate::control::Position;
use crate::recover::walk;
use crate::seek::Segments;
use crate::segment::{self, Segment};
use crate::{JournalError, files};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use twinline_wire::Packet;
use twinline_wire::header::flags;

/// A journal, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The channel.
    pub channel: u16,
    /// The longest packet in bytes.
    pub max_packet: usize,
    /// Bytes of a segment.
    pub segment_size: usize,
    /// Segments that hold packets.
    pub segments: u64,
    /// Bytes of all segment files, the prepared one too.
    pub bytes: u64,
    /// Everything before this place is durable: index of the segment, offset in it.
    pub synced: (u64, u64),
    /// How often a writer has opened the journal or discarded packets.
    pub generation: u64,
    /// True while a writer holds the journal.
    pub locked: bool,
    /// The writer's process id; of the last writer if none is.
    pub holder: Option<u32>,
    /// The sessions, oldest first.
    pub sessions: Vec<SessionInfo>,
}

/// What is held of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// The session.
    pub session: u32,
    /// The oldest sequence held.
    pub oldest: u64,
    /// The sequence after the last one held.
    pub next: u64,
    /// True if the last message is EndOfSession.
    pub ended: bool,
    /// Each epoch that packets are held of, with its base.
    pub epochs: Vec<(u32, u64)>,
}

/// What checking every packet found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Segments read.
    pub segments: u64,
    /// Packets with messages, right and in order.
    pub packets: u64,
    /// Messages in them.
    pub messages: u64,
    /// Listener's notices.
    pub notices: u64,
    /// Bytes of all these packets.
    pub bytes: u64,
    /// What a power cut tore: it stands behind the synced position, and the next writer cuts it off.
    pub torn: Option<Break>,
    /// The first thing that is wrong; nothing after it was read.
    pub broken: Option<Break>,
}

/// Something wrong in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// The segment's file.
    pub segment: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What.
    pub reason: String,
}

/// Describes the journal in `dir`, also while it is written.
///
/// # Errors
/// If there is no journal, or a segment cannot be read.
pub fn info(dir: &Path) -> Result<Info, JournalError> {
    let segments = Segments::open(dir)?;
    let made = segments.made;
    let synced = segments.control.synced();
    let (locked, holder) = files::writer(dir);
    let mut info = Info {
        channel: made.channel,
        max_packet: made.max_packet,
        segment_size: made.segment_size,
        segments: 0,
        bytes: 0,
        synced: (synced.index(), synced.at() as u64),
        generation: segments.control.generation(),
        locked,
        holder,
        sessions: Vec::new(),
    };
    for index in files::segments(dir)? {
        info.bytes += made.segment_size as u64;
        // Retired since the directory was listed, or not to be believed yet.
        let Some(segment) = segments.segment(index)? else {
            continue;
        };
        info.segments += u64::from(describe(&segments, &segment, &mut info.sessions)?);
    }
    for session in &mut info.sessions {
        if let Some(span) = segments.span(session.session)? {
            (session.next, session.ended) = (span.next, span.ended);
        }
    }
    Ok(info)
}

/// Adds a segment to the sessions. False if it is empty.
fn describe(
    segments: &Segments,
    segment: &Arc<Segment>,
    sessions: &mut Vec<SessionInfo>,
) -> Result<bool, JournalError> {
    let Some(first) = segment.first()? else {
        return Ok(false);
    };
    let number = first.header().session.get();
    if sessions.last().is_none_or(|last| last.session != number) {
        sessions.push(SessionInfo {
            session: number,
            oldest: first.sequence(),
            next: first.end(),
            ended: false,
            epochs: Vec::new(),
        });
    }
    let session = sessions
        .last_mut()
        .expect("one was just pushed if there was none");
    let (first, end) = (first.header().epoch.get(), segments.end_of(segment.clone())?);
    if first == end.chain.tail.epoch && session.epochs.last().is_some_and(|&(epoch, _)| epoch == first) {
        return Ok(true);
    }
    let mut at = 0;
    while let Some(packet) = segment.packet(at)? {
        let header = packet.header();
        let epoch = (header.epoch.get(), header.epoch_base.get());
        if header.flags & flags::LOCAL == 0 && session.epochs.last() != Some(&epoch) {
            session.epochs.push(epoch);
        }
        at += twinline_wire::header::align_up(packet.bytes().len());
    }
    Ok(true)
}

/// Checks every packet of the journal in `dir`: checksum, frames, continuity, end marks. Also while it is written.
///
/// # Errors
/// If there is no journal, or a file cannot be read. A break is no error, it is the report.
pub fn verify(dir: &Path) -> Result<VerifyReport, JournalError> {
    let mut segments = Segments::open(dir)?;
    // Everything that is there is looked at.
    segments.limit = None;
    let trusted = segments.control.is_of_this_boot();
    let mut check = Check {
        dir,
        segments: &segments,
        synced: segments.control.synced(),
        trusted,
        report: VerifyReport::default(),
        chain: None,
    };
    let mut before = None;
    for index in files::segments(dir)? {
        if let Some(before) = before
            && before + 1 != index
        {
            check.stop(before + 1, 0, "the segment is missing");
            break;
        }
        match check.segment(index) {
            Ok(State::Complete) => before = Some(index),
            Ok(State::Last) => break,
            Ok(State::Retired) => (before, check.chain) = (None, None),
            Err(JournalError::Damaged {
                segment,
                offset,
                reason,
            }) => {
                check.report.broken = Some(Break {
                    segment,
                    offset,
                    reason,
                });
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(check.report)
}

/// What became of a segment's check.
enum State {
    /// The next one goes on.
    Complete,
    /// The journal ends in it, or it is broken.
    Last,
    /// It went since the directory was listed.
    Retired,
}

struct Check<'a> {
    dir: &'a Path,
    segments: &'a Segments,
    /// What stands before this was durable when the check began.
    synced: Position,
    /// True if no power cut can have torn anything since.
    trusted: bool,
    report: VerifyReport,
    chain: Option<Chain>,
}

impl Check<'_> {
    fn segment(&mut self, index: u64) -> Result<State, JournalError> {
        let Some(segment) = self.segments.segment(index)? else {
            return Ok(State::Retired);
        };
        let made = &self.segments.made;
        // In this order: the mark is the last thing that is written.
        let mark = segment::end_mark(&segment.map, &segment.geometry, made.channel);
        let report = &mut self.report;
        let walk = walk(
            &segment.map,
            &segment.geometry,
            made.channel,
            self.chain,
            |_, packet| {
                count(report, packet);
            },
        );
        report.segments += u64::from(walk.packets > 0);
        self.chain = walk.chain;
        match (walk.broken, mark) {
            (Some(reason), _) => self.stop(index, walk.at, &reason),
            (None, Err(reason)) => self.stop(index, segment.geometry.mark_at, reason),
            (None, Ok(Some(mark))) if mark.at == walk.at && Some(mark.chain) == walk.chain => {
                return Ok(State::Complete);
            }
            (None, Ok(Some(_))) => self.stop(index, walk.at, "a packet is missing"),
            (None, Ok(None)) if self.synced > Position::new(index, walk.at) => {
                self.stop(index, walk.at, "a packet is missing");
            }
            (None, Ok(None)) => {}
        }
        Ok(State::Last)
    }

    /// Something is wrong: a break, or what a power cut tore.
    fn stop(&mut self, index: u64, at: usize, reason: &str) {
        let torn = !self.trusted && Position::new(index, at - at % 64) >= self.synced;
        let found = match torn {
            true => &mut self.report.torn,
            false => &mut self.report.broken,
        };
        found.get_or_insert_with(|| Break {
            segment: files::segment_path(self.dir, index),
            offset: at as u64,
            reason: reason.to_owned(),
        });
    }
}

fn count(report: &mut VerifyReport, packet: &Packet<'_>) {
    let header = packet.header();
    let messages = u64::from(header.count.get());
    report.packets += u64::from(messages > 0);
    report.notices += u64::from(messages == 0);
    report.messages += messages;
    report.bytes += packet.bytes().len() as u64;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JournalWriter;
    use crate::testing::{CHANNEL, Stream, config, fill};
    use std::sync::atomic::{AtomicBool, Ordering};
    use twinline_wire::Message;
    use twinline_wire::session::LineEvent;

    #[test]
    fn a_journal_is_described_while_it_is_written_and_after() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
        let mut first = Stream::new(3);
        fill(&mut writer, &mut first, 200);
        writer.append(&first.new_epoch(5000)).unwrap();
        fill(&mut writer, &mut first, 200);
        writer.append(&first.end_of_session()).unwrap();
        writer
            .append(&first.notice(&LineEvent::NULL, first.next))
            .unwrap();
        let mut second = Stream::new(4);
        fill(&mut writer, &mut second, 10);
        let found = info(dir.path()).unwrap();
        let session = |session, next, ended, epochs: &[_]| SessionInfo {
            session,
            oldest: 1,
            next,
            ended,
            epochs: epochs.to_vec(),
        };
        let sessions = [
            session(3, first.next, true, &[(1, 1), (2, 5000)]),
            session(4, second.next, false, &[(1, 1)]),
        ];
        assert_eq!(found.sessions, sessions);
        assert_eq!(
            (found.channel, found.max_packet, found.segment_size),
            (CHANNEL, 1408, 1 << 16)
        );
        assert_eq!((found.bytes, found.locked), (found.segments << 16, true));
        let report = verify(dir.path()).unwrap();
        assert_eq!(
            (report.packets, report.notices, report.segments),
            (412, 1, found.segments)
        );
        assert_eq!(report.messages, 598 + 602 + 28);
        drop(writer);
        let after = info(dir.path()).unwrap();
        assert_eq!((after.locked, after.holder), (false, Some(std::process::id())));
        assert!(after.synced > found.synced);
    }

    #[test]
    fn checking_goes_on_while_segments_are_retired() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut keep = config();
        keep.retention.segments = Some(3);
        let mut writer = JournalWriter::open(dir.path(), keep).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                fill(&mut writer, &mut Stream::new(1), 10_000);
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                let report = verify(dir.path()).unwrap();
                assert_eq!((report.broken, report.torn), (None, None));
                info(dir.path()).unwrap();
            }
        });
    }
}
