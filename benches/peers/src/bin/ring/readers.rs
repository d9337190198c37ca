//! What a record costs the writer while programs read it: none, 1, 4 or 16 of them.
//!
//! Each reader is a process. It sleeps in `wait` while there is nothing, is woken by the ring's keeper, and compares every
//! message. All readers and all keepers are on core 1, so that the writer has core 0 to itself: what is measured is what
//! readers do to its cache, not that they take its core.

use crate::ends::{Received, create_ring, read_record, write_record};
use crate::payload::{Payloads, SMALL};
use serde::Serialize;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use twinline_benches::harness::median::Median;
use twinline_ring::{Liveness, RingReader, RingWriter};

/// Attached readers of each group.
const GROUPS: [usize; 4] = [0, 1, 4, 16];
/// Bytes of a ring: it holds a burst many times over.
const CAPACITY: usize = 16 << 20;
/// Records of a burst.
const RECORDS: u64 = 20_000;

/// What the writer of a ring pays.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WriterCost {
    /// Attached readers.
    pub(crate) readers: usize,
    /// Nanoseconds a record.
    pub(crate) nanoseconds: Median,
    /// Against no readers, in the same round.
    pub(crate) ratio: Median,
    /// Records that all readers together had, and times that one was overrun.
    pub(crate) read: u64,
    pub(crate) overruns: u64,
}

struct Group {
    ring: RingWriter,
    readers: Vec<(Child, BufReader<ChildStdout>)>,
    times: Vec<f64>,
    written: u64,
}

/// The groups, their readers waiting.
pub(crate) struct Groups(Vec<Group>);

impl Groups {
    /// Makes a ring for each group in `dir`. Keepers and readers run where the calling thread does.
    pub(crate) fn start(dir: &Path) -> Result<Self, Box<dyn Error>> {
        let group = |readers: usize| -> Result<Group, Box<dyn Error>> {
            let dir = dir.join(format!("readers-{readers}"));
            let ring = create_ring(&dir, CAPACITY)?;
            let readers = (0..readers).map(|_| start_reader(&dir));
            Ok(Group {
                ring,
                readers: readers.collect::<Result<_, _>>()?,
                times: Vec::new(),
                written: 0,
            })
        };
        Ok(Self(GROUPS.into_iter().map(group).collect::<Result<_, _>>()?))
    }

    /// Measures in `rounds` rounds, a burst to each ring in each.
    pub(crate) fn measure(mut self, rounds: usize) -> Result<Vec<WriterCost>, Box<dyn Error>> {
        let payloads = Payloads::<SMALL>::new();
        // Once round each ring first, so that all of it is in use.
        for round in 0..rounds + 4 {
            for group in &mut self.0 {
                let start = Instant::now();
                for number in group.written..group.written + RECORDS {
                    write_record(&mut group.ring, &payloads, number);
                }
                if round >= 4 {
                    group
                        .times
                        .push(start.elapsed().as_nanos() as f64 / RECORDS as f64);
                }
                group.written += RECORDS;
                group.ring.beat();
                thread::sleep(Duration::from_millis(1 + group.readers.len() as u64 / 2));
            }
        }
        let floor = self.0[0].times.clone();
        self.0.into_iter().map(|group| group.finish(&floor)).collect()
    }
}

impl Group {
    /// Closes the ring and asks the readers what they had.
    fn finish(self, floor: &[f64]) -> Result<WriterCost, Box<dyn Error>> {
        drop(self.ring);
        let mut cost = WriterCost {
            readers: self.readers.len(),
            nanoseconds: Median::of(&self.times),
            ratio: Median::of_ratios(&self.times, floor),
            read: 0,
            overruns: 0,
        };
        for (mut child, mut answer) in self.readers {
            let mut line = String::new();
            answer.read_line(&mut line)?;
            child.wait()?;
            let numbers: Vec<u64> = line.split(' ').flat_map(|word| word.trim().parse()).collect();
            let &[read, overruns] = numbers.as_slice() else {
                return Err(format!("a reader: {}", line.trim()).into());
            };
            if overruns == 0 && read != self.written {
                return Err(
                    format!("a reader had {read} of {} records, and no overrun", self.written).into(),
                );
            }
            cost.read += read;
            cost.overruns += overruns;
        }
        Ok(cost)
    }
}

fn start_reader(dir: &Path) -> Result<(Child, BufReader<ChildStdout>), Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("--reader")
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut answers = BufReader::new(child.stdout.take().ok_or("a child without stdout")?);
    answers.read_line(&mut String::new())?;
    Ok((child, answers))
}

/// The process of a reader: says that it is there, reads until the ring is closed, and tells what it had.
pub(crate) fn reader_process(dir: &Path) -> Result<(), Box<dyn Error>> {
    let payloads = Payloads::<SMALL>::new();
    let mut ring = RingReader::open(dir, 1, "reader")?;
    println!("ready");
    let (mut read, mut overruns, mut expected, mut behind_overrun) = (0_u64, 0_u64, 0, false);
    loop {
        match read_record(&mut ring, &payloads) {
            Received::Message(number) if number == expected || behind_overrun && number > expected => {
                (expected, behind_overrun) = (number + 1, false);
                read += 1;
            }
            Received::Overrun => (overruns, behind_overrun) = (overruns + 1, true),
            Received::Nothing if ring.liveness() == Liveness::Closed => break,
            Received::Nothing => ring.wait(Duration::from_secs(1)),
            wrong => return Err(format!("{wrong:?} in place of message {expected}").into()),
        }
    }
    println!("{read} {overruns}");
    Ok(())
}
