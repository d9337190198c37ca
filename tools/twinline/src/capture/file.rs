//! Capture files: reading pcap and pcapng packet by packet, and writing pcapng.
//!
//! The reader takes what it is given as hostile: it holds one block at a time, believes no length beyond its limit, and
//! says at which packet and which byte a file breaks off.
//!
//! Why not a crate: read against version 0.17 of pcap-parser, which is the one that is kept up. It wants a stream's first
//! read to hold the whole first block, takes a packet that is longer than its block for one that is still to come, and
//! knows neither times in powers of two nor a big-endian time offset.

use std::io::{self, Read, Write};

/// The largest block or packet that is believed, in bytes.
const MAX_BLOCK: usize = 1 << 20;
/// Interfaces that one section may describe.
const MAX_INTERFACES: usize = 4096;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const OPTION_NAME: u16 = 2;
const OPTION_RESOLUTION: u16 = 9;
const OPTION_OFFSET: u16 = 14;

/// Link type of Ethernet, which we write.
pub(crate) const ETHERNET: u16 = 1;

/// Why a capture cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureError {
    /// Another kind of file.
    #[error("{0} is neither a pcap nor a pcapng capture (nor one in gzip): is it the right file?")]
    NotACapture(String),
    /// It breaks off.
    #[error(
        "{name} is cut: it ends within packet {packet}, whose record begins at byte offset {offset}; what stands before was decoded"
    )]
    Cut {
        /// The file.
        name: String,
        /// The packet that is not whole, from 1.
        packet: u64,
        /// Where its record begins.
        offset: u64,
    },
    /// It holds what cannot be.
    #[error(
        "{name} is damaged at byte offset {offset}, before packet {packet}: {reason}; what stands before was decoded"
    )]
    Damaged {
        /// The file.
        name: String,
        /// The packet that would have come, from 1.
        packet: u64,
        /// Where.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The system refuses.
    #[error("cannot read {name} at byte offset {offset}: {cause}")]
    Io {
        /// The file.
        name: String,
        /// Where.
        offset: u64,
        /// What the system says.
        cause: io::Error,
    },
}

/// A network interface in a capture.
#[derive(Clone, Debug)]
pub(crate) struct CapturedOn {
    /// Its name; empty if the file has none.
    pub(crate) name: String,
    /// What its packets begin with, as tcpdump numbers them.
    pub(crate) link: u16,
    /// Units of its times in a second.
    units: u64,
    /// What to add to its times, in seconds.
    offset: i64,
}

/// A packet of a capture.
#[derive(Debug)]
pub(crate) struct Captured<'a> {
    /// Its number in the file, from 1.
    pub(crate) number: u64,
    /// When it was captured, in nanoseconds since the Unix epoch, if the file says.
    pub(crate) time: Option<u64>,
    /// Where.
    pub(crate) interface: &'a CapturedOn,
    /// As far as it was captured.
    pub(crate) bytes: &'a [u8],
}

enum Kind {
    Pcap,
    PcapNg,
}

/// Reads a capture.
pub(crate) struct CaptureReader {
    name: String,
    input: Box<dyn Read>,
    kind: Kind,
    big: bool,
    interfaces: Vec<CapturedOn>,
    /// Bytes consumed.
    offset: u64,
    /// Packets read.
    packets: u64,
    block: Vec<u8>,
}

/// What a block said.
enum Found {
    Packet {
        time: Option<u64>,
        interface: usize,
        begin: usize,
        end: usize,
    },
    Nothing,
}

impl CaptureReader {
    /// Begins to read a capture that errors call `name`.
    pub(crate) fn new(name: &str, input: Box<dyn Read>) -> Result<Self, CaptureError> {
        let mut reader = Self {
            name: name.into(),
            input,
            kind: Kind::PcapNg,
            big: false,
            interfaces: Vec::new(),
            offset: 0,
            packets: 0,
            block: Vec::new(),
        };
        let no = || CaptureError::NotACapture(name.into());
        if reader.fill(0, 4)? < 4 {
            return Err(no());
        }
        let magic = [reader.block[0], reader.block[1], reader.block[2], reader.block[3]];
        let (big, units) = match magic {
            [0xd4, 0xc3, 0xb2, 0xa1] => (false, 1_000_000),
            [0xa1, 0xb2, 0xc3, 0xd4] => (true, 1_000_000),
            [0x4d, 0x3c, 0xb2, 0xa1] => (false, 1_000_000_000),
            [0xa1, 0xb2, 0x3c, 0x4d] => (true, 1_000_000_000),
            [0x0a, 0x0d, 0x0d, 0x0a] => {
                reader.next_block(4)?;
                return Ok(reader);
            }
            _ => return Err(no()),
        };
        (reader.kind, reader.big) = (Kind::Pcap, big);
        if reader.fill(4, 24)? < 24 {
            return Err(no());
        }
        reader.interfaces.push(CapturedOn {
            name: String::new(),
            link: reader.u32(20) as u16,
            units,
            offset: 0,
        });
        reader.offset = 24;
        Ok(reader)
    }

    /// The next packet; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Captured<'_>>, CaptureError> {
        loop {
            let found = match self.kind {
                Kind::Pcap => self.next_record()?,
                Kind::PcapNg => self.next_block(0)?,
            };
            let Some(found) = found else { return Ok(None) };
            let Found::Packet {
                time,
                interface,
                begin,
                end,
            } = found
            else {
                continue;
            };
            let (Some(interface), Some(bytes)) = (self.interfaces.get(interface), self.block.get(begin..end))
            else {
                return Err(self.damaged("a packet names an interface or a length that is not there"));
            };
            self.packets += 1;
            return Ok(Some(Captured {
                number: self.packets,
                time,
                interface,
                bytes,
            }));
        }
    }

    /// A record of a pcap file.
    fn next_record(&mut self) -> Result<Option<Found>, CaptureError> {
        match self.fill(0, 16)? {
            0 => return Ok(None),
            16 => {}
            _ => return Err(self.cut()),
        }
        let length = self.u32(8) as usize;
        if length > MAX_BLOCK {
            return Err(self.damaged("a packet is longer than any can be"));
        }
        let (seconds, part) = (u64::from(self.u32(0)), u64::from(self.u32(4)));
        let scale = self.interfaces.first().map_or(1, |on| 1_000_000_000 / on.units);
        if self.fill(16, 16 + length)? < 16 + length {
            return Err(self.cut());
        }
        self.offset += 16 + length as u64;
        Ok(Some(Found::Packet {
            time: Some(seconds * 1_000_000_000 + part * scale),
            interface: 0,
            begin: 16,
            end: 16 + length,
        }))
    }

    /// A block of a pcapng file, of which the first `have` bytes are read.
    fn next_block(&mut self, have: usize) -> Result<Option<Found>, CaptureError> {
        match self.fill(have, 12)? {
            0 => return Ok(None),
            12 => {}
            _ => return Err(self.cut()),
        }
        // A section says in which order its bytes are; its type reads the same in both.
        let section = self.u32(0) == SECTION;
        if section {
            self.big = match self.block[8..12] {
                [0x1a, 0x2b, 0x3c, 0x4d] => true,
                [0x4d, 0x3c, 0x2b, 0x1a] => false,
                _ => return Err(self.damaged("a section without a byte order")),
            };
            debug_assert_eq!(self.u32(8), BYTE_ORDER);
            self.interfaces.clear();
        }
        let length = self.u32(4) as usize;
        if !(12..=MAX_BLOCK).contains(&length) || !length.is_multiple_of(4) {
            return Err(self.damaged("a block's length cannot be"));
        }
        if self.fill(12, length)? < length {
            return Err(self.cut());
        }
        if self.u32(length - 4) as usize != length {
            return Err(self.damaged("a block's two lengths differ"));
        }
        let found = self.read_block(self.u32(0), length - 4);
        let found = found.ok_or_else(|| self.damaged("a block is shorter than what it must hold"))?;
        self.offset += length as u64;
        Ok(Some(found))
    }

    /// What the block says whose body ends at `end`; `None` if it is too short for its type.
    fn read_block(&mut self, kind: u32, end: usize) -> Option<Found> {
        let whole = |least: usize| (end >= least).then_some(());
        match kind {
            INTERFACE => {
                whole(16)?;
                let on = self.interface(end);
                if self.interfaces.len() < MAX_INTERFACES {
                    self.interfaces.push(on);
                }
                Some(Found::Nothing)
            }
            ENHANCED_PACKET => {
                whole(28)?;
                self.packet(self.u32(8) as usize, Some(12), self.u32(20) as usize, 28, end)
            }
            OLD_PACKET => {
                whole(28)?;
                self.packet(usize::from(self.u16(8)), Some(12), self.u32(20) as usize, 28, end)
            }
            SIMPLE_PACKET => {
                whole(12)?;
                let held = (self.u32(8) as usize).min(end - 12);
                self.packet(0, None, held, 12, end)
            }
            _ => Some(Found::Nothing),
        }
    }

    fn packet(
        &self,
        interface: usize,
        time_at: Option<usize>,
        held: usize,
        begin: usize,
        end: usize,
    ) -> Option<Found> {
        if held > end - begin {
            return None;
        }
        let on = self.interfaces.get(interface)?;
        let time = time_at.and_then(|at| {
            let ticks = u128::from(self.u32(at)) << 32 | u128::from(self.u32(at + 4));
            let nanos = ticks * 1_000_000_000 / u128::from(on.units);
            let nanos = i128::try_from(nanos).ok()? + i128::from(on.offset) * 1_000_000_000;
            u64::try_from(nanos).ok()
        });
        Some(Found::Packet {
            time,
            interface,
            begin,
            end: begin + held,
        })
    }

    /// The interface that the block describes.
    fn interface(&self, end: usize) -> CapturedOn {
        let mut on = CapturedOn {
            name: String::new(),
            link: self.u16(8),
            units: 1_000_000,
            offset: 0,
        };
        let mut at = 16;
        while at + 4 <= end {
            let (code, length) = (self.u16(at), usize::from(self.u16(at + 2)));
            let Some(value) = self
                .block
                .get(at + 4..at + 4 + length)
                .filter(|_| at + 4 + length <= end)
            else {
                break;
            };
            match (code, value) {
                (0, _) => break,
                (OPTION_NAME, name) => on.name = String::from_utf8_lossy(name).trim_end_matches('\0').into(),
                (OPTION_RESOLUTION, [power]) => {
                    let units = match power & 0x80 {
                        0 => 10_u64.checked_pow(u32::from(*power)),
                        _ => 2_u64.checked_pow(u32::from(power & 0x7f)),
                    };
                    on.units = units.unwrap_or(on.units);
                }
                (OPTION_OFFSET, bytes) if bytes.len() == 8 => {
                    let [high, low] = [self.u32(at + 4), self.u32(at + 8)];
                    let (high, low) = if self.big { (high, low) } else { (low, high) };
                    on.offset = (u64::from(high) << 32 | u64::from(low)) as i64;
                }
                _ => {}
            }
            at += 4 + length.next_multiple_of(4);
        }
        on
    }

    /// Fills the block from `have` up to `want` bytes; returns how many there are then.
    fn fill(&mut self, have: usize, want: usize) -> Result<usize, CaptureError> {
        self.block.resize(want.max(have), 0);
        let mut filled = have;
        while filled < want {
            match self.input.read(&mut self.block[filled..want]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A gzip stream that breaks off: the bytes before are good.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(self.cut());
                }
                Err(cause) => {
                    return Err(CaptureError::Io {
                        name: self.name.clone(),
                        offset: self.offset + filled as u64,
                        cause,
                    });
                }
            }
        }
        Ok(filled)
    }

    fn cut(&self) -> CaptureError {
        CaptureError::Cut {
            name: self.name.clone(),
            packet: self.packets + 1,
            offset: self.offset,
        }
    }

    fn damaged(&self, reason: &'static str) -> CaptureError {
        CaptureError::Damaged {
            name: self.name.clone(),
            packet: self.packets + 1,
            offset: self.offset,
            reason,
        }
    }

    /// The integer at `at`, which is within the block.
    fn u32(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.block[at..at + 4]);
        if self.big {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }

    fn u16(&self, at: usize) -> u16 {
        let bytes = [self.block[at], self.block[at + 1]];
        if self.big {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }
    }
}

/// Writes the beginning of a pcapng file: a section, and an Ethernet interface with times in nanoseconds for each name.
pub(crate) fn write_head(out: &mut impl Write, names: &[&str]) -> io::Result<usize> {
    let mut body = Vec::new();
    body.extend_from_slice(&BYTE_ORDER.to_le_bytes());
    body.extend_from_slice(&1_u16.to_le_bytes());
    body.extend_from_slice(&0_u16.to_le_bytes());
    body.extend_from_slice(&u64::MAX.to_le_bytes());
    option(
        &mut body,
        4,
        concat!("twinline ", env!("CARGO_PKG_VERSION")).as_bytes(),
    );
    option(&mut body, 0, &[]);
    let mut written = write_block(out, SECTION, &body)?;
    for name in names {
        body.clear();
        body.extend_from_slice(&u32::from(ETHERNET).to_le_bytes());
        body.extend_from_slice(&0_u32.to_le_bytes());
        option(&mut body, OPTION_NAME, name.as_bytes());
        option(&mut body, OPTION_RESOLUTION, &[9]);
        option(&mut body, 0, &[]);
        written += write_block(out, INTERFACE, &body)?;
    }
    Ok(written)
}

/// Writes a packet that came on the interface of this number at `time`, in nanoseconds since the Unix epoch.
pub(crate) fn write_packet(
    out: &mut impl Write,
    interface: usize,
    time: u64,
    frame: &[u8],
) -> io::Result<usize> {
    let mut body = Vec::with_capacity(frame.len() + 24);
    for word in [
        interface as u32,
        (time >> 32) as u32,
        time as u32,
        frame.len() as u32,
        frame.len() as u32,
    ] {
        body.extend_from_slice(&word.to_le_bytes());
    }
    body.extend_from_slice(frame);
    write_block(out, ENHANCED_PACKET, &body)
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&(value.len() as u16).to_le_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Writes one block and returns its length. In one piece: a reader of a growing file finds whole blocks.
fn write_block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<usize> {
    let length = 12 + body.len().next_multiple_of(4);
    let mut block = Vec::with_capacity(length);
    block.extend_from_slice(&kind.to_le_bytes());
    block.extend_from_slice(&(length as u32).to_le_bytes());
    block.extend_from_slice(body);
    block.resize(length - 4, 0);
    block.extend_from_slice(&(length as u32).to_le_bytes());
    out.write_all(&block)?;
    Ok(length)
}
