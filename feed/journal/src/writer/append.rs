//! Packets that were made elsewhere, by a publisher or in memory, are checked and copied into the journal.

use super::{Committed, JournalWriter};
use crate::JournalError;
use crate::chain::{self, Chain};
use twinline_wire::Packet;
use twinline_wire::header::PacketHeader;
use zerocopy::FromBytes;

impl JournalWriter {
    /// Copies a whole packet made elsewhere (a listener's, a replica's) and commits it. A higher session begins a new
    /// segment. Its checksum is taken as checked.
    ///
    /// # Errors
    /// Those of [`slot`](Self::slot), and [`JournalError::NotNext`] with nothing changed.
    pub fn append(&mut self, packet: &[u8]) -> Result<&[u8], JournalError> {
        let (header, chain) = match self.check_next(packet) {
            Ok(next) => next,
            Err(reason) => return self.not_next(reason),
        };
        let goes_on = self
            .chain
            .is_some_and(|before| before.tail.session == chain.tail.session);
        if !goes_on || self.is_full() {
            return self.append_in_next(packet, header.flags);
        }
        self.slot()?[4..packet.len()].copy_from_slice(&packet[4..]);
        Ok(self.put(packet.len(), Committed::of(header, header.flags), chain))
    }

    #[cold]
    fn not_next(&self, reason: String) -> Result<&[u8], JournalError> {
        Err(JournalError::NotNext {
            dir: self.dir.clone(),
            reason,
        })
    }

    /// Appends a packet with which a segment may begin: how the journal stands before it, the end of the one before decides.
    #[cold]
    fn append_in_next(&mut self, packet: &[u8], flags: u8) -> Result<&[u8], JournalError> {
        let (header, _) = PacketHeader::ref_from_prefix(packet).expect("it was checked");
        if self
            .chain
            .is_some_and(|chain| header.session.get() > chain.tail.session)
        {
            self.start_session()?;
        }
        self.slot()?[4..packet.len()].copy_from_slice(&packet[4..]);
        Ok(self.commit(packet.len(), flags))
    }

    /// Checks that a packet can be appended: its header, and how the journal stands behind it.
    #[inline]
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
