//! A power cut, done to a journal's files: what was synced stays, of the rest any page may be old, new, torn or damaged.

use crate::faults::Fault;
use crate::rng::Rng;
use std::cmp::Ordering;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use twinline_wire::Packet;
use twinline_wire::header::{HEADER_LEN, align_up, checksum, flags};

const PAGE: usize = 4096;
/// Where a journal's control file has the durable position.
const SYNCED_AT: usize = 192;

/// Spoils the journal in `dir` beyond what its control file says is durable. Says in which way. `mend`: the planted bug of
/// a journal that does not check: a packet that was flipped gets a right checksum.
pub(crate) fn cut(dir: &Path, rng: &mut Rng, mend: bool) -> io::Result<Fault> {
    let way = *rng.pick(&[Fault::PowerCutTorn, Fault::PowerCutZeroed, Fault::PowerCutFlipped]);
    let (synced_segment, synced_at) = synced(dir)?;
    let mut segments: Vec<PathBuf> = fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    segments.retain(|path| path.extension().is_some_and(|ext| ext == "seg"));
    segments.sort();
    let mut torn = false;
    for path in segments {
        let name = path.file_stem().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.parse::<u64>().ok()).unwrap_or(0);
        let durable = match number.cmp(&synced_segment) {
            Ordering::Less => continue,
            Ordering::Equal => synced_at,
            Ordering::Greater => 0,
        };
        let bytes = fs::read(&path)?;
        let mut spoilt = bytes.clone();
        spoil(
            &mut spoilt,
            durable,
            written(&bytes).max(durable),
            way,
            rng,
            &mut torn,
        );
        if mend {
            self::mend(&mut spoilt, durable);
        }
        if spoilt != bytes {
            OpenOptions::new()
                .write(true)
                .open(path)?
                .write_all_at(&spoilt, 0)?;
        }
    }
    Ok(way)
}

/// Drops `writer`, the journal in `dir`, as a kill does: what was not durable before is not made durable by it.
pub(crate) fn kill<T>(dir: &Path, writer: T) -> io::Result<()> {
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open(dir.join("control"))?;
    let mut word = [0; 8];
    control.read_exact_at(&mut word, SYNCED_AT as u64)?;
    drop(writer);
    control.write_all_at(&word, SYNCED_AT as u64)
}

/// Makes the checksums of the packets behind `durable` right.
fn mend(bytes: &mut [u8], durable: usize) {
    let mut at = durable;
    while let Ok(packet) = Packet::trusted_prefix(bytes.get(at..).unwrap_or_default()) {
        let length = packet.bytes().len();
        let sum = checksum(packet.bytes());
        bytes[at + HEADER_LEN - 4..at + HEADER_LEN].copy_from_slice(&sum.to_le_bytes());
        at += align_up(length);
    }
}

/// Segment and offset up to which the journal is durable.
fn synced(dir: &Path) -> io::Result<(u64, usize)> {
    let control = fs::read(dir.join("control"))?;
    let word = control
        .get(SYNCED_AT..SYNCED_AT + 8)
        .and_then(|word| word.try_into().ok());
    let word = u64::from_le_bytes(word.ok_or(io::ErrorKind::UnexpectedEof)?);
    Ok((word >> 32, ((word & 0xffff_ffff) << 6) as usize))
}

/// Where a segment's packets end.
fn written(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Ok(packet) = Packet::trusted_prefix(bytes.get(end..).unwrap_or_default()) {
        if packet.header().flags & flags::SEGMENT_END != 0 {
            break;
        }
        end += align_up(packet.bytes().len());
    }
    end
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
