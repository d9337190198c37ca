//! The protocol under every interleaving and every order of memory that loom finds: a writer that goes round a tiny ring while
//! a reader stands in it.

use crate::cursor::{Cursor, Found};
use crate::memory::{Memory, Ring};
use crate::record::Origin;
use crate::writer::Writer;
use loom::model::Builder;
use loom::thread;
use std::sync::Arc;
use twinline_wire::Stamp;

/// Words of the control page that the protocol uses.
const CONTROL: usize = 48;
/// Bytes of records.
const CAPACITY: usize = 512;

fn write(writer: &mut Writer, sequence: u64) {
    let stamp = Stamp {
        session: 1,
        epoch: sequence as u32,
        epoch_base: sequence,
        sequence,
        sending_time: sequence,
        ..Stamp::default()
    };
    // Says its sequence in every part, and is now short, now full, now over the ring's end.
    let frames = sequence.to_ne_bytes().repeat(1 + sequence as usize % 2);
    writer.messages(&stamp, sequence + 1, Origin::LineA, sequence, &frames, 1);
}

/// The next record's sequence; every part of it must say the same.
fn read(cursor: &mut Cursor) -> Option<u64> {
    match cursor.advance() {
        Found::Record => {
            let record = cursor.record();
            let sequence = record.sequence;
            assert_eq!(
                (record.receive_time, record.sending_time),
                (sequence + 1, sequence)
            );
            assert_eq!((record.epoch_base, u64::from(record.epoch)), (sequence, sequence));
            assert_eq!(
                record.frames,
                sequence.to_ne_bytes().repeat(1 + sequence as usize % 2)
            );
            Some(sequence)
        }
        Found::Nothing => None,
        Found::Overrun => {
            cursor.restart();
            None
        }
    }
}

/// `before` records are written before the reader, which stands at the first, starts to read; `during` while it does.
fn model(before: u64, during: u64, polls: usize) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let ring = Arc::new(Ring::new(Memory::new(CONTROL + CAPACITY / 8), CONTROL));
        let mut writer = Writer::new(Arc::clone(&ring));
        let mut cursor = Cursor::new(ring, 128);
        for sequence in 1..=before {
            write(&mut writer, sequence);
        }
        let writer = thread::spawn(move || {
            for sequence in before + 1..=before + during {
                write(&mut writer, sequence);
            }
        });
        let mut last = 0;
        for _ in 0..polls {
            if let Some(sequence) = read(&mut cursor) {
                assert!(sequence > last, "in order, and none twice");
                last = sequence;
            }
        }
        writer.join().expect("the writer ends");
        // Whatever happened, it finds its way to the newest.
        for _ in 0..before + during + 2 {
            last = read(&mut cursor).unwrap_or(last);
        }
        assert_eq!(last, before + during);
    });
}

#[test]
fn a_reader_in_step_sees_every_record_whole() {
    model(0, 2, 2);
}

#[test]
fn a_reader_that_is_being_overrun_never_sees_a_torn_record() {
    model(3, 2, 2);
}

#[test]
fn a_reader_that_was_overrun_finds_its_way() {
    model(6, 1, 2);
}
