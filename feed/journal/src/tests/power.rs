//! A power cut: what was synced is there, the rest is torn, zeroed, flipped, missing or what a recycled file held before.
//! Always a prefix of what was written that includes everything synced, and never anything else.

use crate::control::Control;
use crate::testing::{Stream, config, fill, read_all};
use crate::{JournalConfig, JournalError, JournalReader, JournalWriter, Retention, files};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

fn retained() -> JournalConfig {
    JournalConfig {
        retention: Retention {
            segments: Some(4),
            ..Retention::default()
        },
        ..config()
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// What happens to a piece of a file that was not synced.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Keep,
    Zero,
    Flip(u8),
    Noise(u8),
    /// What stood there when the copy `old` was made: the write never reached the device.
    Old,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => Just(Damage::Keep),
        1 => Just(Damage::Zero),
        1 => (0..8u8).prop_map(Damage::Flip),
        1 => any::<u8>().prop_map(Damage::Noise),
        2 => Just(Damage::Old),
    ]
}

/// Does damage, piece by piece, to everything that was not synced.
fn tear(dir: &Path, old: &Path, plan: &[Damage], piece: usize) {
    let (control, _) = Control::open(dir).unwrap();
    let synced = control.synced();
    let mut plan = plan.iter().cycle();
    for index in files::segments(dir).unwrap() {
        let path = files::segment_path(dir, index);
        let begin = match index.cmp(&synced.index()) {
            std::cmp::Ordering::Less => continue,
            std::cmp::Ordering::Equal => synced.at(),
            std::cmp::Ordering::Greater => 0,
        };
        let mut bytes = fs::read(&path).unwrap();
        // The file whose space this one has: what a recycled one held before.
        let before = fs::read(files::segment_path(old, index)).or_else(|_| {
            let first = files::segments(old).unwrap()[0];
            fs::read(files::segment_path(old, first))
        });
        let before = before.unwrap();
        let mut at = begin;
        while at < bytes.len() {
            let end = (at / piece * piece + piece).min(bytes.len());
            let part = &mut bytes[at..end];
            match plan.next().unwrap() {
                Damage::Keep => {}
                Damage::Zero => part.fill(0),
                Damage::Flip(bit) => part[part.len() / 2] ^= 1 << bit,
                Damage::Noise(seed) => {
                    for (place, byte) in part.iter_mut().enumerate() {
                        *byte = (place as u8).wrapping_mul(31).wrapping_add(*seed);
                    }
                }
                Damage::Old => part.copy_from_slice(&before[at..end]),
            }
            at = end;
        }
        fs::write(&path, bytes).unwrap();
    }
}

/// Makes the journal look as if the machine had been started since.
fn forget_boot(dir: &Path) {
    let file = fs::OpenOptions::new()
        .write(true)
        .open(dir.join("control"))
        .unwrap();
    file.write_all_at(&[9; 16], 48).unwrap();
}

/// What one run does before the power is cut.
#[derive(Clone, Copy, Debug)]
enum Step {
    Append(usize),
    Sync,
    Reopen,
    NewSession,
    NewEpoch(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..90usize).prop_map(Step::Append),
        2 => Just(Step::Sync),
        1 => Just(Step::Reopen),
        1 => Just(Step::NewSession),
        1 => (0..500u64).prop_map(Step::NewEpoch),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn after_a_power_cut_everything_synced_is_there_and_nothing_that_was_not_written(
        steps in prop::collection::vec(step(), 1..14),
        old_at in 0..10usize,
        plan in prop::collection::vec(damage(), 1..40),
        piece in prop_oneof![Just(64usize), Just(512), Just(4096), Just(20_000)],
    ) {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let (live, old, torn) = (dir.path().join("live"), dir.path().join("old"), dir.path().join("torn"));
        fs::create_dir(&old).unwrap();
        fs::create_dir(&torn).unwrap();
        let mut writer = JournalWriter::open(&live, retained()).unwrap();
        let mut stream = Stream::new(1);
        let mut written = fill(&mut writer, &mut stream, 3);
        for (number, step) in steps.iter().enumerate() {
            match *step {
                Step::Append(packets) => written.extend(fill(&mut writer, &mut stream, packets)),
                Step::Sync => writer.sync().unwrap(),
                Step::Reopen => {
                    drop(writer);
                    writer = JournalWriter::open(&live, retained()).unwrap();
                }
                Step::NewSession => {
                    stream = Stream::new(stream.session + 1);
                    written.extend(fill(&mut writer, &mut stream, 1));
                }
                Step::NewEpoch(leap) => {
                    let packet = stream.new_epoch(stream.next + leap);
                    writer.append(&packet).unwrap();
                    written.push(packet);
                }
            }
            if number == old_at {
                copy(&live, &old);
            }
        }
        if steps.len() <= old_at {
            copy(&live, &old);
        }
        // What is synced now must be there after the cut.
        copy(&live, &torn);
        tear(&torn, &old, &plan, piece);

        forget_boot(&torn);
        let synced = read_all(&mut JournalReader::open(&torn).unwrap());
        prop_assert!(crate::verify(&torn).unwrap().broken.is_none());
        let writer = JournalWriter::open(&torn, retained()).unwrap();
        let mut reader = JournalReader::open(&torn).unwrap();
        let read = read_all(&mut reader);
        let oldest = written.iter().position(|packet| Some(packet) == read.first());
        let oldest = oldest.unwrap_or(written.len() - read.len());
        prop_assert!(read.len() >= synced.len() && read[..synced.len()] == synced);
        prop_assert!(written[oldest..].starts_with(&read), "a prefix of what was written");
        prop_assert_eq!(reader.head().unwrap().map(|head| head.next), writer.tail().map(|tail| tail.next));
        drop(writer);

        // And it goes on, as a publisher does after a power cut: with a new epoch.
        let mut writer = JournalWriter::open(&torn, retained()).unwrap();
        prop_assert_eq!(writer.recovered().torn_bytes, 0, "cut once and for all");
        if let Some(tail) = writer.tail() {
            let mut stream = Stream { session: tail.session, epoch: tail.epoch, base: tail.epoch_base, next: tail.next };
            let start = stream.new_epoch(10_000);
            writer.append(&start).unwrap();
            let more = fill(&mut writer, &mut stream, 30);
            let expected: Vec<_> = [start].into_iter().chain(more).collect();
            prop_assert_eq!(read_all(&mut reader), expected);
        }
        prop_assert!(crate::verify(&torn).unwrap().broken.is_none());
    }

    #[test]
    fn damage_to_what_was_synced_is_never_taken_for_a_torn_tail(
        packets in 1..300usize,
        place in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
        let written = fill(&mut writer, &mut Stream::new(1), packets);
        drop(writer);
        // Flip one bit of one packet, of the last segments, which are read wholly.
        let segments = files::segments(dir.path()).unwrap();
        let per_segment = 64;
        let first = (segments.len().saturating_sub(2) * per_segment).min(written.len() - 1);
        let number = first + place.index(written.len() - first);
        let packet = &written[number];
        let found = segments.iter().find_map(|&index| {
            let path = files::segment_path(dir.path(), index);
            let bytes = fs::read(&path).unwrap();
            let at = bytes.chunks(64).position(|chunk| chunk[..48] == packet[..48])? * 64;
            Some((path, bytes, at))
        });
        let (path, mut bytes, at) = found.unwrap();
        let offset = place.index(packet.len());
        bytes[at + offset] ^= 1 << bit;
        fs::write(&path, &bytes).unwrap();
        let report = crate::verify(dir.path()).unwrap();
        let broken = report.broken.expect("verify finds it");
        prop_assert_eq!((&broken.segment, broken.offset), (&path, at as u64));
        let error = JournalWriter::open(dir.path(), config()).unwrap_err();
        prop_assert!(
            matches!(&error, JournalError::Damaged { segment, offset, .. } if *segment == path && *offset == at as u64),
            "{error}"
        );
        prop_assert_eq!(fs::read(&path).unwrap(), bytes, "nothing was written over");
    }
}

#[test]
fn a_missing_segment_below_the_synced_position_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = JournalWriter::open(dir.path(), config()).unwrap();
    fill(&mut writer, &mut Stream::new(1), 400);
    drop(writer);
    let segments = files::segments(dir.path()).unwrap();
    for gone in [segments[2], *segments.last().unwrap()] {
        let path = files::segment_path(dir.path(), gone);
        let aside = dir.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        let error = JournalWriter::open(dir.path(), config()).unwrap_err();
        assert!(
            matches!(&error, JournalError::Damaged { segment, .. } if *segment == path),
            "{error}"
        );
        fs::rename(&aside, &path).unwrap();
    }
    JournalWriter::open(dir.path(), config()).unwrap();
}

#[test]
fn every_packet_is_durable_before_it_is_committed_if_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig {
        sync: crate::SyncPolicy::EveryPacket,
        ..config()
    };
    let mut writer = JournalWriter::open(dir.path(), config).unwrap();
    let mut stream = Stream::new(1);
    for _ in 0..80 {
        fill(&mut writer, &mut stream, 1);
        let info = crate::info(dir.path()).unwrap();
        let report = crate::verify(dir.path()).unwrap();
        assert_eq!(info.sessions[0].next, stream.next);
        assert!(report.broken.is_none());
    }
    let torn = tempfile::tempdir().unwrap();
    copy(dir.path(), torn.path());
    forget_boot(torn.path());
    assert_eq!(read_all(&mut JournalReader::open(torn.path()).unwrap()).len(), 80);
}
