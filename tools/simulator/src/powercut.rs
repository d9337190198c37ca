//! A power cut, done to a journal's files: what was synced stays, of the rest any page may be old, new, torn or damaged.

use crate::faults::Fault;
use crate::rng::Rng;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use twinline_wire::Packet;
use twinline_wire::header::{align_up, flags};

const PAGE: usize = 4096;

/// Spoils the journal in `dir` beyond what was durable: all packets of older sessions, and of session `synced.0` those
/// below sequence `synced.1`. Says in which way.
pub(crate) fn cut(dir: &Path, synced: (u32, u64), rng: &mut Rng) -> io::Result<Fault> {
    let way = *rng.pick(&[Fault::PowerCutTorn, Fault::PowerCutZeroed, Fault::PowerCutFlipped]);
    let mut segments: Vec<PathBuf> = fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    segments.retain(|path| path.extension().is_some_and(|ext| ext == "seg"));
    segments.sort();
    let segments = segments
        .into_iter()
        .map(|path| fs::read(&path).map(|bytes| (extents(&bytes, synced), bytes, path)))
        .collect::<io::Result<Vec<_>>>()?;
    // A segment before one that holds something durable is durable with its end mark.
    let first = segments
        .iter()
        .rposition(|((durable, _), ..)| *durable > 0)
        .unwrap_or(0);
    let mut torn = false;
    for ((durable, end), bytes, path) in &segments[first..] {
        let mut spoilt = bytes.clone();
        spoil(&mut spoilt, *durable, *end, way, rng, &mut torn);
        if spoilt != *bytes {
            OpenOptions::new()
                .write(true)
                .open(path)?
                .write_all_at(&spoilt, 0)?;
        }
    }
    Ok(way)
}

/// Where the durable packets of a segment end, and where all packets do.
fn extents(bytes: &[u8], synced: (u32, u64)) -> (usize, usize) {
    let (mut durable, mut end) = (0, 0);
    while let Ok(packet) = Packet::trusted_prefix(bytes.get(end..).unwrap_or_default()) {
        if packet.header().flags & flags::SEGMENT_END != 0 {
            break;
        }
        end += align_up(packet.bytes().len());
        if (packet.header().session.get(), packet.end()) <= synced {
            durable = end;
        }
    }
    (durable, end)
}

fn spoil(bytes: &mut [u8], durable: usize, end: usize, way: Fault, rng: &mut Rng, torn: &mut bool) {
    let length = bytes.len();
    match way {
        Fault::PowerCutTorn => {
            // Written back in order up to some byte: the rest never reached the disk.
            if *torn || durable < end {
                let from = if *torn {
                    0
                } else {
                    rng.range(durable as u64, end as u64) as usize
                };
                bytes[from..].fill(0);
                *torn = true;
            }
        }
        Fault::PowerCutZeroed => {
            let mut from = durable;
            while from < length {
                let to = length.min((from / PAGE + 1) * PAGE);
                if rng.one_in(2) {
                    bytes[from..to].fill(0);
                }
                from = to;
            }
        }
        _ => {
            for _ in 0..rng.range(1, 8) {
                if durable < end {
                    let bit = rng.range(8 * durable as u64, 8 * end as u64 - 1) as usize;
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }
        }
    }
}
