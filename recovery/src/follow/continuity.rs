//! Which packet of a tail may follow what is held already. Pure.
//!
//! A publisher's stream has no holes but those that an EpochStart explains, and one sequence of one epoch is one message of
//! one packet for ever. So whatever else comes contradicts what is held, and nothing of it is taken.

use twinline_journal::Tail;
use twinline_wire::header::PacketHeader;
use twinline_wire::session::{EndOfSession, EpochStart};
use twinline_wire::{Message, Packet};

/// What is held of a stream: where it ends, and its last packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Where it ends.
    pub tail: Tail,
    /// The header of the last packet; its checksum stands for the rest of it.
    pub last: PacketHeader,
}

/// What a packet does to what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It goes on behind it.
    Goes,
    /// It opens an epoch that made void what is held from this sequence on: that goes first.
    Cuts(u64),
    /// It is the last packet held.
    Known,
}

/// Why a packet is not of the stream that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Something is missing before it.
    #[error(
        "session {session} goes on at {found}, but {expected} comes next and no epoch start explains the hole"
    )]
    Hole {
        /// The session.
        session: u32,
        /// What comes next.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// It is of a session or an epoch that is over.
    #[error("session {session} epoch {epoch} is over, and sequence {sequence} of it comes")]
    Over {
        /// The packet's session.
        session: u32,
        /// Its epoch.
        epoch: u32,
        /// Its sequence.
        sequence: u64,
    },
    /// It stands where other bytes are held.
    #[error("session {session} sequence {sequence} is another packet there than the one that is held")]
    Differs {
        /// The session.
        session: u32,
        /// The sequence.
        sequence: u64,
    },
    /// A packet's epoch has another base, or does not begin as an epoch does.
    #[error("session {session} sequence {sequence}: epoch {epoch} does not begin there")]
    Epoch {
        /// The session.
        session: u32,
        /// The packet's epoch.
        epoch: u32,
        /// Its sequence.
        sequence: u64,
    },
    /// It comes after the end of its session.
    #[error("session {session} sequence {sequence} comes after the session's end")]
    Ended {
        /// The session.
        session: u32,
        /// The sequence.
        sequence: u64,
    },
}

/// The valid end that a packet states, if it opens an epoch.
fn valid_end(packet: &Packet<'_>) -> Option<u64> {
    let header = packet.header();
    let (_, frame) = packet.messages().next()?;
    let start = frame.view::<EpochStart>()?;
    let opens = start.epoch.get() == header.epoch.get()
        && packet.sequence() == header.epoch_base.get()
        && start.valid_end.get() <= packet.sequence();
    opens.then(|| start.valid_end.get())
}

impl Held {
    /// What is held if this packet is the first.
    pub fn first(packet: &Packet<'_>) -> Self {
        let header = packet.header();
        let last = packet.messages().last();
        Self {
            tail: Tail {
                session: header.session.get(),
                epoch: header.epoch.get(),
                epoch_base: header.epoch_base.get(),
                next: packet.end(),
                ended: last.is_some_and(|(_, frame)| frame.template() == EndOfSession::TEMPLATE),
            },
            last: *header,
        }
    }

    /// What `packet` does to what is held. `confirmed`: whoever it is from has shown that it holds our last packet, or what
    /// came after it.
    ///
    /// # Errors
    /// If it is not of the stream that is held.
    pub fn step(&self, packet: &Packet<'_>, confirmed: bool) -> Result<Step, Contradiction> {
        let header = packet.header();
        let (session, epoch, sequence) = (header.session.get(), header.epoch.get(), packet.sequence());
        let tail = &self.tail;
        let hole = |expected| Contradiction::Hole {
            session,
            expected,
            found: sequence,
        };
        if session > tail.session {
            // A session begins at 1, or, where a power cut took its beginning, with an epoch that says so.
            let begins = sequence == 1 || valid_end(packet).is_some_and(|end| end <= 1);
            return if begins { Ok(Step::Goes) } else { Err(hole(1)) };
        }
        if (session, epoch) < (tail.session, tail.epoch) {
            return Err(Contradiction::Over {
                session,
                epoch,
                sequence,
            });
        }
        if epoch > tail.epoch {
            let Some(valid_end) = valid_end(packet).filter(|_| sequence >= tail.next) else {
                return Err(Contradiction::Epoch {
                    session,
                    epoch,
                    sequence,
                });
            };
            return match valid_end {
                end if end > tail.next => Err(hole(tail.next)),
                end if end < tail.next => Ok(Step::Cuts(end)),
                _ if tail.ended => Err(Contradiction::Ended { session, sequence }),
                _ => Ok(Step::Goes),
            };
        }
        let differs = Contradiction::Differs { session, sequence };
        if header.epoch_base.get() != tail.epoch_base {
            return Err(Contradiction::Epoch {
                session,
                epoch,
                sequence,
            });
        }
        match sequence {
            _ if *header == self.last => Ok(Step::Known),
            at if at < tail.next => Err(differs),
            at if at > tail.next || !confirmed => Err(hole(tail.next)),
            _ if tail.ended => Err(Contradiction::Ended { session, sequence }),
            _ => Ok(Step::Goes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinline_wire::session::SourcePosition;
    use twinline_wire::{OpenPacket, Stamp};

    /// A packet of two messages, or the start of an epoch.
    fn packet(session: u32, epoch: u32, base: u64, sequence: u64, valid_end: Option<u64>) -> Vec<u8> {
        let mut buffer = vec![0; 1408];
        let mut open = OpenPacket::new();
        match valid_end {
            Some(valid_end) => {
                let start = EpochStart {
                    valid_end: valid_end.into(),
                    epoch: epoch.into(),
                };
                assert!(open.push(&mut buffer, &start));
            }
            None => {
                for position in [sequence, sequence + 1] {
                    let position = SourcePosition {
                        position: position.into(),
                        source: 1.into(),
                    };
                    assert!(open.push(&mut buffer, &position));
                }
            }
        }
        let stamp = Stamp {
            flags: 0,
            channel: 1,
            session,
            epoch,
            epoch_base: base,
            sequence,
            sending_time: 1,
        };
        let length = open.finish_whole(&mut buffer, stamp, 0);
        buffer.truncate(length);
        buffer
    }

    fn parsed(bytes: &[u8]) -> Packet<'_> {
        Packet::parse(bytes).unwrap()
    }

    /// Session 3, epoch 2 from 100 on, up to 112.
    fn held() -> Held {
        Held::first(&parsed(&packet(3, 2, 100, 110, None)))
    }

    #[test]
    fn the_next_packet_goes_on_once_the_last_one_was_confirmed() {
        let next = packet(3, 2, 100, 112, None);
        assert_eq!(held().step(&parsed(&next), true), Ok(Step::Goes));
        assert!(matches!(
            held().step(&parsed(&next), false),
            Err(Contradiction::Hole { expected: 112, .. })
        ));
        let same = packet(3, 2, 100, 110, None);
        assert_eq!(held().step(&parsed(&same), false), Ok(Step::Known));
    }

    #[test]
    fn other_bytes_at_a_sequence_that_is_held_are_a_contradiction() {
        let mut other = held();
        other.last.checksum.set(other.last.checksum.get() ^ 1);
        let same = packet(3, 2, 100, 110, None);
        assert!(matches!(
            other.step(&parsed(&same), false),
            Err(Contradiction::Differs { sequence: 110, .. })
        ));
        let overlapping = packet(3, 2, 100, 111, None);
        assert!(matches!(
            held().step(&parsed(&overlapping), true),
            Err(Contradiction::Differs { sequence: 111, .. })
        ));
    }

    #[test]
    fn a_hole_is_explained_by_an_epoch_start_only() {
        let far = packet(3, 2, 100, 120, None);
        assert!(matches!(
            held().step(&parsed(&far), true),
            Err(Contradiction::Hole { .. })
        ));
        let start = packet(3, 3, 500, 500, Some(112));
        assert_eq!(held().step(&parsed(&start), false), Ok(Step::Goes));
        let start = packet(3, 3, 500, 500, Some(105));
        assert_eq!(held().step(&parsed(&start), false), Ok(Step::Cuts(105)));
        let start = packet(3, 3, 500, 500, Some(113));
        assert!(matches!(
            held().step(&parsed(&start), true),
            Err(Contradiction::Hole { expected: 112, .. })
        ));
        let no_start = packet(3, 3, 500, 500, None);
        assert!(matches!(
            held().step(&parsed(&no_start), true),
            Err(Contradiction::Epoch { .. })
        ));
    }

    #[test]
    fn what_is_over_does_not_come_back() {
        for old in [packet(3, 1, 1, 112, None), packet(2, 9, 1, 500, None)] {
            assert!(matches!(
                held().step(&parsed(&old), true),
                Err(Contradiction::Over { .. })
            ));
        }
    }

    #[test]
    fn a_session_comes_from_its_beginning() {
        let first = packet(4, 1, 1, 1, Some(1));
        assert_eq!(held().step(&parsed(&first), false), Ok(Step::Goes));
        let after_a_power_cut = packet(4, 2, 4096, 4096, Some(1));
        assert_eq!(held().step(&parsed(&after_a_power_cut), false), Ok(Step::Goes));
        let later = packet(4, 1, 1, 7, None);
        assert!(matches!(
            held().step(&parsed(&later), false),
            Err(Contradiction::Hole { expected: 1, .. })
        ));
    }

    #[test]
    fn nothing_follows_the_end_of_a_session() {
        let mut ended = held();
        ended.tail.ended = true;
        let next = packet(3, 2, 100, 112, None);
        assert!(matches!(
            ended.step(&parsed(&next), true),
            Err(Contradiction::Ended { .. })
        ));
        // But an end that a power cut took is cut off.
        let start = packet(3, 3, 500, 500, Some(105));
        assert_eq!(ended.step(&parsed(&start), true), Ok(Step::Cuts(105)));
    }
}
