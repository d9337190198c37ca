//! Many packets at once, straight from the mapped memory, for bulk sends.

use crate::map::Run;
use std::ops::Deref;
use twinline_wire::Packet;
use twinline_wire::header::align_up;

/// Whole packets of one session, back to back, each at a multiple of 64 bytes from the first, with zeros between. Keeps
/// its memory mapped.
#[derive(Clone, Debug)]
pub struct Region {
    run: Run,
    first: (u32, u64),
    end: u64,
}

impl Region {
    pub(crate) fn new(run: Run, first: (u32, u64), end: u64) -> Self {
        Self { run, first, end }
    }

    /// Session, and sequence of the first packet.
    pub fn first(&self) -> (u32, u64) {
        self.first
    }

    /// The sequence after the last message.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The packets.
    pub fn packets(&self) -> impl Iterator<Item = Packet<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let packet = Packet::trusted_prefix(self.run.get(at..)?).ok()?;
            at += align_up(packet.bytes().len());
            Some(packet)
        })
    }
}

impl Deref for Region {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.run
    }
}
