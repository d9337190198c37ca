//! Where the journal of a listener ends for its readers, whatever place its notices have in it.

use crate::control::Position;
use crate::testing::{Stream, config, fill};
use crate::{Head, JournalConfig, JournalReader, JournalWriter, info};
use twinline_wire::Message;
use twinline_wire::field::SessionState;
use twinline_wire::session::{LineEvent, SessionEvent};

/// Bytes of a block of the index.
const BLOCK: usize = 1 << 16;

/// A notice about the session.
fn event(state: SessionState) -> SessionEvent {
    SessionEvent {
        state,
        ..SessionEvent::NULL
    }
}

/// Appends ticks until the journal stands at `to` in its segment.
fn fill_to(writer: &mut JournalWriter, stream: &mut Stream, to: usize) {
    loop {
        let left = to - Position::from(writer.location()).at();
        let length = match left {
            0 => return,
            1..=1408 => left,
            _ => 1024.min(left - 256),
        };
        writer.append(&stream.ticks(1, length)).unwrap();
    }
}

fn append_notice<M: Message>(writer: &mut JournalWriter, stream: &mut Stream, notice: &M) {
    let notice = stream.notice(notice, stream.next);
    writer.append(&notice).unwrap();
}

/// A reader that has looked before, and one that looks for the first time, both see the journal end where the writer does.
fn check_head(writer: &JournalWriter, watcher: &mut JournalReader, stream: &Stream, ended: bool) {
    let expected = Head {
        session: 1,
        epoch: 1,
        epoch_base: 1,
        next: stream.next,
        ended,
        oldest: 1,
    };
    assert_eq!(watcher.head().unwrap(), Some(expected), "followed");
    let mut fresh = JournalReader::open(watcher.dir()).unwrap();
    assert_eq!(fresh.head().unwrap(), Some(expected), "found");
    assert_eq!(fresh.session(1).unwrap().unwrap().ended, ended);
    assert_eq!(info(watcher.dir()).unwrap().sessions[0].ended, ended);
    let tail = writer.tail().unwrap();
    assert_eq!((tail.next, tail.ended), (expected.next, ended));
}

#[test]
fn the_head_is_known_wherever_a_block_of_the_index_begins_with_notices() {
    let config = JournalConfig {
        segment_size: 1 << 20,
        ..config()
    };
    // The block begins with the first notice, the second, or what comes behind; or with a message before them.
    for before in (0..=512).step_by(64) {
        for state in [SessionState::ENDED, SessionState::ABANDONED] {
            let dir = tempfile::tempdir().unwrap();
            let mut writer = JournalWriter::open(dir.path(), config.clone()).unwrap();
            let mut stream = Stream::new(1);
            fill(&mut writer, &mut stream, 1);
            let mut watcher = JournalReader::open(dir.path()).unwrap();
            check_head(&writer, &mut watcher, &stream, false);
            fill_to(&mut writer, &mut stream, BLOCK - before);
            append_notice(&mut writer, &mut stream, &LineEvent::NULL);
            append_notice(&mut writer, &mut stream, &LineEvent::NULL);
            check_head(&writer, &mut watcher, &stream, false);
            fill_to(&mut writer, &mut stream, 3 * BLOCK - before);
            if state == SessionState::ENDED {
                writer.append(&stream.end_of_session()).unwrap();
            }
            append_notice(&mut writer, &mut stream, &event(state));
            append_notice(&mut writer, &mut stream, &LineEvent::NULL);
            check_head(&writer, &mut watcher, &stream, true);
        }
    }
}

#[test]
fn a_session_has_ended_also_where_a_segment_begins_with_the_notice_of_it() {
    for state in [SessionState::ENDED, SessionState::ABANDONED] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
        let mut stream = Stream::new(1);
        fill(&mut writer, &mut stream, 1);
        let mut watcher = JournalReader::open(dir.path()).unwrap();
        check_head(&writer, &mut watcher, &stream, false);
        // Behind the last message there is no room for another packet of full length.
        fill_to(&mut writer, &mut stream, 64_000);
        match state {
            SessionState::ENDED => writer.append(&stream.end_of_session()).unwrap(),
            _ => writer.append(&stream.ticks(1, 128)).unwrap(),
        };
        assert!(writer.is_full());
        append_notice(&mut writer, &mut stream, &event(state));
        assert_eq!(Position::from(writer.location()).index(), 1);
        check_head(&writer, &mut watcher, &stream, true);
        append_notice(&mut writer, &mut stream, &LineEvent::NULL);
        check_head(&writer, &mut watcher, &stream, true);
    }
}
