//! Packets that were made elsewhere, by a publisher or in memory, are checked and copied into the journal.

use super::{Committed, JournalWriter};
use crate::JournalError;
use crate::chain::{self, Chain};
use twinline_wire::Packet;
use twinline_wire::header::PacketHeader;

impl JournalWriter {
    /// Copies a whole packet made elsewhere (a listener's, a replica's) and commits it. A higher session begins a new
    /// segment. Its checksum is taken as checked.
    ///
    /// # Errors
    /// Those of [`slot`](Self::slot), and [`JournalError::NotNext`] with nothing changed.
    pub fn append(&mut self, packet: &[u8]) -> Result<(), JournalError> {
        match Packet::trusted_prefix(packet) {
            Ok(checked) if checked.bytes().len() == packet.len() && self.goes_on(checked.header()) => {
                self.append_usual(packet, checked.header())
            }
            _ => self.append_any(packet),
        }
    }

    /// True if a packet with this header is the next one as most are, and has its place in this segment.
    #[inline]
    fn goes_on(&self, header: &PacketHeader) -> bool {
        header.channel.get() == self.made.channel
            && usize::from(header.length.get()) <= self.geometry.max_packet
            && self
                .chain
                .as_ref()
                .is_some_and(|chain| chain.goes_on(header, header.flags))
            && !self.is_full()
    }

    /// Appends a packet that [goes on](Self::goes_on).
    #[inline]
    fn append_usual(&mut self, packet: &[u8], header: &PacketHeader) -> Result<(), JournalError> {
        self.slot()?[4..packet.len()].copy_from_slice(&packet[4..]);
        if let Some(chain) = &mut self.chain {
            chain.go_on(header.end());
        }
        self.put(packet.len(), Committed::of(header, header.flags));
        self.make_ready();
        Ok(())
    }

    /// Appends any packet that may be.
    #[inline(never)]
    fn append_any(&mut self, packet: &[u8]) -> Result<(), JournalError> {
        let (header, chain) = match self.check_next(packet) {
            Ok(next) => next,
            Err(reason) => {
                let dir = self.dir.clone();
                return Err(JournalError::NotNext { dir, reason });
            }
        };
        if self
            .chain
            .is_some_and(|before| chain.tail.session > before.tail.session)
        {
            self.start_session()?;
        }
        self.slot()?[4..packet.len()].copy_from_slice(&packet[4..]);
        self.commit(packet.len(), header.flags);
        self.make_ready();
        Ok(())
    }

    /// Checks that a packet can be appended: its header, and how the journal stands behind it.
    fn check_next<'a>(&self, bytes: &'a [u8]) -> Result<(&'a PacketHeader, Chain), String> {
        let packet = Packet::trusted_prefix(bytes).map_err(|error| error.to_string())?;
        let header = packet.header();
        if packet.bytes().len() != bytes.len() {
            return Err("it has trailing bytes".to_owned());
        }
        if bytes.len() > self.geometry.max_packet {
            return Err(format!(
                "it has {} bytes, the limit is {}",
                bytes.len(),
                self.geometry.max_packet
            ));
        }
        if header.channel.get() != self.made.channel {
            return Err(format!(
                "it is of channel {}, not {}",
                header.channel, self.made.channel
            ));
        }
        chain::follow(self.chain.as_ref(), true, header, header.flags, bytes)
            .map(|chain| (header, chain))
            .map_err(|reason| {
                let place = self.chain.map_or(0, |chain| chain.tail.next);
                format!(
                    "{reason} (it begins at sequence {}, the journal stands at {place})",
                    header.sequence
                )
            })
    }
}
