//! What a listener delivered: its stream, message by message and notice by notice, in memory that outlives its restarts.

use twinline_listener::arbiter::{NoticeKind, Position};
use twinline_listener::{Delivery, Notice, Origin, Sink};
use twinline_wire::Message;
use twinline_wire::session::EndOfSession;

/// One thing in a listener's stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item {
    Message {
        session: u32,
        epoch: u32,
        base: u64,
        sequence: u64,
        at: u32,
        length: u16,
        end_of_session: bool,
    },
    /// A notice, and when it was said (virtual nanoseconds).
    Notice(Notice, u64),
}

/// A listener's stream, and how much of it a power cut leaves.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) items: Vec<Item>,
    bytes: Vec<u8>,
    synced: usize,
    pub(crate) now: u64,
    pub(crate) recovered: u64,
}

impl Record {
    pub(crate) fn frame(&self, at: u32, length: u16) -> &[u8] {
        &self.bytes[at as usize..][..usize::from(length)]
    }

    /// Everything so far survives a power cut.
    pub(crate) fn sync(&mut self) {
        self.synced = self.items.len();
    }

    /// The power is cut: what was not synced is gone, all of it or the newest part. Returns how many items are.
    pub(crate) fn cut(&mut self, lose: impl FnOnce(u64) -> u64) -> usize {
        let unsynced = self.items.len() - self.synced;
        let lost = lose(unsynced as u64) as usize;
        self.items.truncate(self.items.len() - lost.min(unsynced));
        self.sync();
        lost
    }

    /// Where the listener goes on, as the tail of a listener's journal says it.
    pub(crate) fn position(&self) -> Option<Position> {
        Some(match *self.items.last()? {
            Item::Message {
                session,
                epoch,
                base,
                sequence,
                end_of_session,
                ..
            } => Position {
                session,
                epoch,
                epoch_base: base,
                next: sequence + 1,
                ended: end_of_session,
            },
            Item::Notice(notice, _) => Position {
                session: notice.session,
                epoch: notice.epoch,
                epoch_base: notice.epoch_base,
                next: notice.next,
                ended: self.ended_before(self.items.len()),
            },
        })
    }

    /// True if the last message before item `end` ended its session.
    fn ended_before(&self, end: usize) -> bool {
        self.items[..end]
            .iter()
            .rev()
            .find_map(|item| match item {
                Item::Message { end_of_session, .. } => Some(*end_of_session),
                Item::Notice(notice, _) => matches!(
                    notice.kind,
                    NoticeKind::Session(twinline_wire::field::SessionState::ABANDONED)
                )
                .then_some(true),
            })
            .unwrap_or(false)
    }
}

impl Sink for Record {
    fn deliver(&mut self, delivery: &Delivery<'_>) {
        let header = delivery.packet.header();
        let (skip, take) = (usize::from(delivery.skip), usize::from(delivery.take));
        if delivery.origin == Origin::Recovery {
            self.recovered += u64::from(delivery.take);
        }
        for (sequence, frame) in delivery.packet.messages().skip(skip).take(take) {
            let at = self.bytes.len() as u32;
            self.bytes.extend_from_slice(frame.bytes());
            self.items.push(Item::Message {
                session: header.session.get(),
                epoch: header.epoch.get(),
                base: header.epoch_base.get(),
                sequence,
                at,
                length: frame.bytes().len() as u16,
                end_of_session: frame.template() == EndOfSession::TEMPLATE,
            });
        }
    }

    fn notice(&mut self, notice: &Notice) {
        self.items.push(Item::Notice(*notice, self.now));
    }
}
