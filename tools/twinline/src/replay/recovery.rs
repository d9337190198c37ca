//! Asking recovery services, one after the other, until everything is had or all of them have said why not.

use super::origin::{Missing, Span, Take};
use super::wanted::{Range, uncovered};
use crate::exit::Failure;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};
use twinline_recovery::client::{ClientEvent, CloseReason, RecoveryClient};
use twinline_recovery::{ClientConfig, range};
use twinline_wire::Packet;
use twinline_wire::field::{CodeDef, LogoutReason, RejectCode};

/// Messages asked for at a time: what is held in memory until it is complete.
const PART: u64 = 1 << 15;
/// The longest part, where part after part holds nothing.
const LONGEST_PART: u64 = 1 << 20;
/// Ranges in a request, if the service allows as many.
const RANGES: usize = 64;
/// How often a service is asked for what it left out before it is given up.
const TRIES: usize = 50;

/// What a service said of itself.
#[derive(Clone, Copy, Debug)]
struct Head {
    session: u32,
    oldest: u64,
    next: u64,
    max_ranges: usize,
}

/// Recovery services.
pub(super) struct Recovery {
    client: RecoveryClient,
    channel: u16,
    addresses: Vec<SocketAddr>,
    /// By service; `None` while it is not connected.
    heads: Vec<Option<Head>>,
    /// Why a service is not connected.
    closed: Vec<String>,
    patience: Duration,
    request: u32,
}

/// A part that a service refuses.
#[derive(Clone, Debug)]
struct Refused {
    begin: u64,
    end: u64,
    code: RejectCode,
    retry_after: Duration,
    reason: String,
}

/// What a service answered to a request.
#[derive(Debug, Default)]
struct Answer {
    refused: Vec<Refused>,
    done: bool,
}

/// Packets by sequence, with the sequence after their last message.
type Held = BTreeMap<u64, (u64, Vec<u8>)>;

impl Recovery {
    /// Connects to all of `addresses`; those that have not answered after `patience` are left out.
    ///
    /// # Errors
    /// If none answers.
    pub(super) fn connect(
        addresses: &[SocketAddr],
        name: &str,
        channel: u16,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let mut recovery = Self {
            client: RecoveryClient::new(&ClientConfig::new(name, channel), addresses)?,
            channel,
            addresses: addresses.to_vec(),
            heads: vec![None; addresses.len()],
            closed: vec!["it did not answer".into(); addresses.len()],
            patience,
            request: 0,
        };
        let deadline = Instant::now() + patience;
        while recovery.heads.iter().any(Option::is_none) && Instant::now() < deadline {
            recovery.turn(&[], &mut Held::new(), &mut Answer::default())?;
        }
        if recovery.heads.iter().all(Option::is_none) {
            let each = addresses.iter().zip(&recovery.closed);
            let each: Vec<_> = each.map(|(address, why)| format!("{address}: {why}")).collect();
            return Err(Failure::peer(format!(
                "no recovery service answered within {patience:?} ({}): check the address, and that `twinline recover` runs there",
                each.join("; ")
            )));
        }
        Ok(recovery)
    }

    pub(super) fn channel(&self) -> u16 {
        self.channel
    }

    pub(super) fn span(&mut self, session: Option<u32>) -> Result<Span, Failure> {
        let heads = self.heads.iter().flatten();
        let newest = heads.max_by_key(|head| (head.session, head.next)).copied();
        let Some(head) = newest.filter(|head| head.session > 0) else {
            return Err(Failure::error(
                "the recovery service has no session yet: nothing was published",
            ));
        };
        match session {
            Some(session) if session != head.session => Err(Failure::usage(format!(
                "the service tells only how far its newest session {} is: name the sequences of session {session} with --sequence A..B",
                head.session
            ))),
            _ => Ok(Span {
                session: head.session,
                oldest: head.oldest,
                next: head.next,
            }),
        }
    }

    pub(super) fn fetch(&mut self, whole: Range, take: &mut Take<'_>) -> Result<Vec<Missing>, Failure> {
        let mut missing = Vec::new();
        let mut taken = 0;
        let mut begin = whole.begin;
        let mut step = PART;
        while begin < whole.end {
            let end = whole.end.min(begin.saturating_add(step));
            let mut held = Held::new();
            missing.extend(self.part(Range { begin, end, ..whole }, &mut held)?);
            for (sequence, (end, bytes)) in &held {
                // One that reaches into two parts comes with both.
                if *sequence < taken {
                    continue;
                }
                taken = *end;
                let packet = Packet::parse(bytes)?;
                if take(&packet)?.is_break() {
                    return Ok(missing);
                }
            }
            step = match held.is_empty() {
                // A long void, or an end far behind what there is.
                true => (step * 2).min(LONGEST_PART),
                false => PART,
            };
            if held.is_empty() && self.is_behind_the_end(whole.session, begin, &missing) {
                // Every part from here on would be refused for the same reason.
                if let Some(last) = missing.last_mut() {
                    last.range.end = whole.end;
                }
                break;
            }
            begin = end;
        }
        Ok(missing)
    }

    /// True if nothing comes from `begin` on, of which all was refused: the session ends before it, or is not known.
    fn is_behind_the_end(&self, session: u32, begin: u64, missing: &[Missing]) -> bool {
        let of_session = self.heads.iter().flatten().filter(|head| head.session == session);
        let next = of_session.map(|head| head.next).max();
        let unknown = missing
            .last()
            .is_some_and(|last| last.code == Some(RejectCode::UNKNOWN_SESSION));
        unknown || next.is_some_and(|next| begin >= next)
    }

    /// Asks each service for what the ones before it did not have.
    fn part(&mut self, part: Range, held: &mut Held) -> Result<Vec<Missing>, Failure> {
        let mut open = vec![part];
        let mut missing = Vec::new();
        let mut refused: Vec<Refused> = Vec::new();
        for service in 0..self.addresses.len() {
            let mut tries = 0;
            while !open.is_empty() && tries < TRIES && self.heads[service].is_some() {
                let before: u64 = open.iter().map(|range| range.end - range.begin).sum();
                let answer = self.ask(service, &open, held)?;
                let covered = held.iter().map(|(begin, (end, _))| (*begin, *end));
                open = uncovered(&open, covered);
                let void = answer
                    .refused
                    .iter()
                    .filter(|refused| refused.code == RejectCode::VOID);
                for void in void.clone() {
                    let named = |range: &Range| range.begin < void.end && void.begin < range.end;
                    for range in open.iter().filter(|range| named(range)) {
                        missing.push(Missing::void(Range {
                            begin: range.begin.max(void.begin),
                            end: range.end.min(void.end),
                            ..*range
                        }));
                    }
                }
                open = uncovered(&open, void.map(|void| (void.begin, void.end)));
                let after: u64 = open.iter().map(|range| range.end - range.begin).sum();
                let busy = answer
                    .refused
                    .iter()
                    .find(|refused| refused.code == RejectCode::OVER_LIMITS);
                let wait = busy.map(|refused| refused.retry_after);
                let final_words = answer
                    .refused
                    .iter()
                    .any(|refused| refused.code != RejectCode::OVER_LIMITS);
                refused = answer.refused;
                match wait {
                    Some(wait) => thread::sleep(wait.min(Duration::from_secs(1))),
                    // It said all that it has to say.
                    None if after == before || (final_words && answer.done) => break,
                    None => {}
                }
                tries = if after < before { 0 } else { tries + 1 };
            }
        }
        missing.extend(open.iter().flat_map(|range| self.why(range, &refused)));
        missing.sort_by_key(|missing| missing.range);
        Ok(missing)
    }

    /// A range that nobody gave, cut up by the reasons of the last service that was asked.
    fn why(&self, range: &Range, refused: &[Refused]) -> Vec<Missing> {
        let mut parts: Vec<Missing> = refused
            .iter()
            .filter(|refused| refused.begin < range.end && range.begin < refused.end)
            .map(|refused| Missing {
                range: Range {
                    begin: range.begin.max(refused.begin),
                    end: range.end.min(refused.end),
                    ..*range
                },
                void: false,
                reason: match (name(&RejectCode::DEF, refused.code.0), refused.reason.as_str()) {
                    (code, "") => code.into(),
                    (code, words) => format!("{code}: {words}"),
                },
                code: Some(refused.code),
            })
            .collect();
        parts.sort_by_key(|missing| missing.range);
        let covered: Vec<_> = parts
            .iter()
            .map(|part| (part.range.begin, part.range.end))
            .collect();
        let silent = uncovered(&[*range], covered.into_iter());
        parts.extend(silent.into_iter().map(|range| Missing {
            range,
            void: false,
            reason: format!("no service gave it ({})", self.closed.join("; ")),
            code: None,
        }));
        parts
    }

    /// One request to one service, until it is answered or the service is gone.
    fn ask(&mut self, service: usize, open: &[Range], held: &mut Held) -> Result<Answer, Failure> {
        let mut answer = Answer::default();
        let Some(head) = self.heads[service] else {
            return Ok(answer);
        };
        let ranges: Vec<_> = open
            .iter()
            .take(head.max_ranges.min(RANGES))
            .map(|open| range(open.begin, open.end))
            .collect();
        self.request += 1;
        self.client
            .submit(service, self.request, open[0].session, &ranges)?;
        let mut deadline = Instant::now() + self.patience;
        let mut had = held.len();
        while !answer.done && self.heads[service].is_some() {
            self.turn(open, held, &mut answer)?;
            if held.len() > had {
                (had, deadline) = (held.len(), Instant::now() + self.patience);
            }
            if Instant::now() > deadline {
                self.closed[service] = format!("{} does not go on answering", self.addresses[service]);
                self.heads[service] = None;
            }
        }
        Ok(answer)
    }

    /// Waits a little for what services say, and notes it. Packets that hold nothing of what is `wanted` are passed over,
    /// whoever sends them.
    fn turn(&mut self, wanted: &[Range], held: &mut Held, answer: &mut Answer) -> Result<(), Failure> {
        let Self {
            client,
            heads,
            closed,
            request,
            ..
        } = self;
        client.poll(Duration::from_millis(20), &mut |service, event| match event {
            ClientEvent::Accepted {
                session,
                oldest,
                next,
                max_ranges,
                ..
            } => {
                heads[service] = Some(Head {
                    session,
                    oldest,
                    next,
                    max_ranges,
                });
            }
            ClientEvent::Heartbeat { session, next, .. } => {
                if let Some(head) = heads[service].as_mut().filter(|head| head.session == session) {
                    head.next = next;
                }
            }
            ClientEvent::Packet { request_id, packet }
                if request_id == *request && holds_any(&packet, wanted) =>
            {
                held.insert(packet.sequence(), (packet.end(), packet.bytes().to_vec()));
            }
            ClientEvent::Reject {
                request_id,
                begin,
                end,
                code,
                retry_after_ms,
                next_session,
                reason,
                ..
            } if request_id == *request => answer.refused.push(Refused {
                begin,
                end,
                // Of a session that is not held, no part need be asked for, whyever.
                code: if next_session.is_some() {
                    RejectCode::UNKNOWN_SESSION
                } else {
                    code
                },
                retry_after: Duration::from_millis(retry_after_ms.into()),
                reason: reason.into(),
            }),
            ClientEvent::Complete { request_id, .. } if request_id == *request => answer.done = true,
            ClientEvent::Closed { reason } => {
                heads[service] = None;
                closed[service] = match reason {
                    CloseReason::Logout { reason, text } => {
                        format!("it refused: {} {text}", name(&LogoutReason::DEF, reason.0))
                    }
                    CloseReason::Protocol(error) => format!("it does not speak our protocol: {error}"),
                    CloseReason::Silent => "it fell silent".into(),
                    CloseReason::Disconnected => "the connection was lost".into(),
                    CloseReason::Unreachable => "it cannot be reached".into(),
                };
            }
            ClientEvent::BadPacket { .. }
            | ClientEvent::Packet { .. }
            | ClientEvent::Reject { .. }
            | ClientEvent::SnapshotPart { .. }
            | ClientEvent::Complete { .. }
            // Asked for by nobody here.
            | ClientEvent::CaughtUp { .. } => {}
        })?;
        Ok(())
    }
}

/// True if the packet has a message of one of these ranges.
fn holds_any(packet: &Packet<'_>, ranges: &[Range]) -> bool {
    let session = packet.header().session.get();
    let of_packet = |range: &Range| {
        range.session == session && packet.sequence() < range.end && range.begin < packet.end()
    };
    ranges.iter().any(of_packet)
}

/// A code in words.
fn name(of: &CodeDef, value: u8) -> &'static str {
    let known = of.values.iter().find(|(known, _)| *known == value);
    known.map_or("unknown", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinline_wire::market::PriceTick;
    use twinline_wire::{Message, OpenPacket, Stamp};

    #[test]
    fn a_packet_that_nobody_asked_for_is_not_taken() {
        let mut buffer = [0; 256];
        let mut open = OpenPacket::new();
        assert!(open.push(&mut buffer, &PriceTick::NULL) && open.push(&mut buffer, &PriceTick::NULL));
        let stamp = Stamp {
            channel: 1,
            session: 3,
            epoch: 1,
            epoch_base: 1,
            sequence: 9,
            sending_time: 5,
            flags: 0,
        };
        let length = open.finish_whole(&mut buffer, stamp, 0);
        let packet = Packet::parse(&buffer[..length]).unwrap();
        let range = |session, begin, end| Range { session, begin, end };
        for (wanted, holds) in [
            (range(3, 10, 20), true),
            (range(3, 1, 10), true),
            (range(3, 1, 9), false),
            (range(3, 11, 20), false),
            (range(4, 9, 11), false),
        ] {
            assert_eq!(holds_any(&packet, &[wanted]), holds, "{wanted}");
        }
        assert!(!holds_any(&packet, &[]));
    }
}
