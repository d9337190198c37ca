//! What is true: every message that the journal validly holds, read from it as it grows and cut where it is cut.

use crate::source::Expected;
use std::collections::BTreeMap;
use std::path::Path;
use twinline_journal::{JournalError, JournalReader, Seek};
use twinline_wire::session::{EndOfSession, EpochStart};
use twinline_wire::{Message, Packet};

/// One valid message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) epoch: u32,
    at: usize,
    length: usize,
}

/// The valid messages of one session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) entries: Vec<Entry>,
    bytes: Vec<u8>,
    /// Each epoch's base, of epochs whose EpochStart is valid.
    pub(crate) bases: BTreeMap<u32, u64>,
    pub(crate) ended: bool,
}

impl Session {
    /// The sequence after the last valid message.
    pub(crate) fn end(&self) -> u64 {
        self.entries.last().map_or(1, |entry| entry.sequence + 1)
    }

    pub(crate) fn bytes(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.at..entry.at + entry.length]
    }

    /// The message with this sequence, if it is valid.
    pub(crate) fn get(&self, sequence: u64) -> Option<&Entry> {
        let at = self
            .entries
            .binary_search_by_key(&sequence, |entry| entry.sequence);
        at.ok().map(|at| &self.entries[at])
    }

    /// The first valid message in `begin..end`.
    pub(crate) fn first_in(&self, begin: u64, end: u64) -> Option<&Entry> {
        let at = self.entries.partition_point(|entry| entry.sequence < begin);
        self.entries.get(at).filter(|entry| entry.sequence < end)
    }

    fn add(&mut self, packet: &Packet<'_>) -> Result<(), String> {
        let epoch = packet.header().epoch.get();
        if packet.sequence() < self.end() {
            return Err(format!(
                "the journal holds {} after {}",
                packet.sequence(),
                self.end()
            ));
        }
        for (sequence, frame) in packet.messages() {
            if frame.template() == EpochStart::TEMPLATE {
                self.bases.insert(epoch, sequence);
            }
            self.ended |= frame.template() == EndOfSession::TEMPLATE;
            self.entries.push(Entry {
                sequence,
                epoch,
                at: self.bytes.len(),
                length: frame.bytes().len(),
            });
            self.bytes.extend_from_slice(frame.bytes());
        }
        Ok(())
    }

    fn cut(&mut self, end: u64) {
        let keep = self.entries.partition_point(|entry| entry.sequence < end);
        if keep < self.entries.len() {
            self.entries.truncate(keep);
            self.ended = false;
            self.bases.retain(|_, base| *base < end);
        }
    }
}

/// Follows the publisher's journal.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) sessions: BTreeMap<u32, Session>,
    reader: Option<JournalReader>,
}

impl Ledger {
    /// Lets go of the journal's files.
    pub(crate) fn detach(&mut self) {
        self.reader = None;
    }

    /// The publisher has recovered the journal in `dir`: what it no longer holds never was.
    pub(crate) fn attach(&mut self, dir: &Path, synced: (u32, u64)) -> Result<(), String> {
        let mut reader = JournalReader::open(dir).map_err(explain)?;
        let (session, next) = match reader.head().map_err(explain)? {
            Some(head) => (head.session, head.next),
            None => (0, 1),
        };
        if (session, next) < synced {
            return Err(format!(
                "the journal ends at session {session} sequence {next} after a power cut, synced was {synced:?}"
            ));
        }
        self.sessions.retain(|&number, _| number <= session);
        if let Some(last) = self.sessions.get_mut(&session) {
            last.cut(next);
            let found = reader.seek(session, last.end()).map_err(explain)?;
            if !matches!(found, Seek::Found | Seek::NotYet) {
                return Err(format!(
                    "session {session} sequence {} is not found: {found:?}",
                    last.end()
                ));
            }
        }
        self.reader = Some(reader);
        self.follow()
    }

    /// Reads what the journal has more.
    pub(crate) fn follow(&mut self) -> Result<(), String> {
        let Some(reader) = &mut self.reader else {
            return Ok(());
        };
        while let Some(packet) = reader.next().map_err(explain)? {
            Packet::parse(packet.bytes())
                .map_err(|error| format!("the journal holds a bad packet: {error}"))?;
            let session = self.sessions.entry(packet.header().session.get()).or_default();
            if packet.end() > session.end() || packet.sequence() >= session.end() {
                session.add(&packet)?;
            }
        }
        Ok(())
    }

    /// Checks that the journal still holds what it held when it was read first.
    pub(crate) fn check_journal(&self, dir: &Path) -> Result<(), String> {
        let mut again = Ledger {
            sessions: BTreeMap::new(),
            reader: Some(JournalReader::open(dir).map_err(explain)?),
        };
        again.follow()?;
        for (number, session) in &again.sessions {
            let before = self.sessions.get(number);
            let same = |entry: &Entry| {
                let known = before.and_then(|known| Some((known, known.get(entry.sequence)?)));
                known.is_some_and(|(known, old)| {
                    old.epoch == entry.epoch && known.bytes(old) == session.bytes(entry)
                })
            };
            if let Some(entry) = session.entries.iter().find(|&entry| !same(entry)) {
                return Err(format!(
                    "the journal's session {number} sequence {} has changed",
                    entry.sequence
                ));
            }
        }
        Ok(())
    }

    /// Checks that the journal holds every source message once, in the order of its source, however often the publisher
    /// was interrupted.
    pub(crate) fn check_sources(&self, seed: u64) -> Result<(), String> {
        for (&number, session) in &self.sessions {
            let mut expected = Expected::new(seed, number);
            for entry in &session.entries {
                let Some((frame, _)) = twinline_wire::Frame::split(session.bytes(entry)) else {
                    return Err(format!(
                        "session {number} sequence {}: not a frame",
                        entry.sequence
                    ));
                };
                if (10..60).contains(&frame.template()) && !expected.is_next(&frame) {
                    return Err(format!(
                        "session {number} sequence {}: not the source's next message",
                        entry.sequence
                    ));
                }
            }
            if session.ended && !expected.is_whole() {
                return Err(format!("session {number}: the last source event is not whole"));
            }
        }
        Ok(())
    }
}

fn explain(error: JournalError) -> String {
    format!("the journal: {error}")
}
