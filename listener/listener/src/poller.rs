//! Which of the two lines is looked at when, and what comes of it packet by packet.

use twinline_line::{Line, LineReceiver};

/// Empty polls of the line that was first last time, before the other one is looked at.
const OTHER_LINE: u32 = 16;

/// Polls both lines by turns, the one that is usually first by far the most often: an empty look at the other one costs
/// more than it brings, since each message is delivered by whichever comes first.
#[derive(Debug)]
pub struct LinePoller {
    receivers: [LineReceiver; 2],
    /// Bytes of the longest packet.
    longest: usize,
    preferred: Line,
    /// Polls since anything came.
    empty: u32,
    /// When each line had nothing last.
    drained: [u64; 2],
}

impl LinePoller {
    /// Polls lines A and B, whose packets have at most `longest` bytes.
    pub fn new(receivers: [LineReceiver; 2], longest: usize) -> Self {
        Self {
            receivers,
            longest,
            preferred: Line::A,
            empty: 0,
            drained: [0; 2],
        }
    }

    /// Looks at one line, and at both if that one has something or has had nothing for long, or if `both` are wanted; `take` is
    /// given each packet, as it came, and says whether it brought anything new. True if there was any. `now` as for
    /// [`drained`](Self::drained).
    #[inline]
    pub fn poll(&mut self, now: u64, both: bool, mut take: impl FnMut(Line, &[u8]) -> bool) -> bool {
        let other = self.preferred.other();
        let first = self.receive(self.preferred, now, &mut take);
        if first.is_none() && !both && !self.empty.is_multiple_of(OTHER_LINE) {
            self.empty += 1;
            return false;
        }
        let second = self.receive(other, now, &mut take);
        // The line that alone brought something new is polled first from now on. Not the one that alone had something: that
        // is B with each copy of what A has brought, and the next message would be found late on A.
        if second == Some(true) && first != Some(true) {
            self.preferred = other;
        }
        let any = first.is_some() || second.is_some();
        self.empty = u32::from(!any);
        any
    }

    /// When each line had nothing last: all that had come on it until then was taken.
    pub fn drained(&self) -> [u64; 2] {
        self.drained
    }

    /// Takes what `line` has in one piece: a packet, or under load many. Whether that was new, if there was anything.
    #[inline]
    fn receive(&mut self, line: Line, now: u64, take: &mut impl FnMut(Line, &[u8]) -> bool) -> Option<bool> {
        let mut new = false;
        let any = self.receivers[line.index()].receive(self.longest, |packet| new |= take(line, packet));
        if !any {
            self.drained[line.index()] = now;
        }
        any.then_some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use twinline_line::{Burst, LineAddress, LineSender, ReceiverOptions, SenderOptions};
    use twinline_wire::{OpenPacket, Stamp};

    const SIZE: usize = 192;

    fn packet(sequence: u64) -> Vec<u8> {
        let stamp = Stamp {
            sequence,
            ..Stamp::default()
        };
        let mut bytes = vec![0; SIZE];
        OpenPacket::new().finish_whole(&mut bytes, stamp, SIZE);
        bytes
    }

    #[test]
    fn the_line_that_brings_something_new_is_polled_first_and_a_burst_is_taken_packet_by_packet() {
        let port = 41_000 + (std::process::id() % 19_000) as u16;
        let lines: [LineAddress; 2] = [1, 2].map(|n| format!("239.77.9.{n}:{port}@lo").parse().unwrap());
        let options = ReceiverOptions::default();
        let receivers = lines
            .each_ref()
            .map(|line| LineReceiver::open(line, &options, SIZE).unwrap());
        let [mut a, mut b] = lines
            .each_ref()
            .map(|line| LineSender::open(line, SenderOptions::default()).unwrap());
        let mut poller = LinePoller::new(receivers, SIZE);
        let mut known = HashSet::new();
        // Polls until something came, at most so often; says what, and after how many polls.
        let mut polls = |most: u32| {
            let mut came = Vec::new();
            let needed = (1..=most).find(|_| {
                poller.poll(1, false, |line, bytes| {
                    came.push((line, bytes.to_vec()));
                    known.insert(bytes.to_vec())
                })
            });
            (needed, came)
        };
        assert_eq!(polls(20), (None, Vec::new()));
        b.send(&packet(1));
        let (needed, came) = polls(OTHER_LINE);
        assert!(needed.is_some_and(|needed| needed > 1), "{needed:?}");
        assert_eq!(came, [(Line::B, packet(1))]);
        let burst: Vec<Vec<u8>> = (2..40).map(packet).collect();
        assert_eq!(polls(5).0, None);
        b.send_burst(Burst::new(&burst.concat(), SIZE));
        let (needed, came) = polls(1);
        assert_eq!(needed, Some(1), "B is first now");
        assert!(
            came.into_iter()
                .eq(burst.into_iter().map(|packet| (Line::B, packet)))
        );
        assert_eq!(polls(5).0, None);
        b.send(&packet(41));
        a.send(&packet(41));
        let (_, came) = polls(1);
        assert_eq!(came, [(Line::B, packet(41)), (Line::A, packet(41))]);
        a.send(&packet(41));
        let (_, came) = polls(OTHER_LINE);
        assert_eq!(came, [(Line::A, packet(41))]);
        b.send(&packet(42));
        assert_eq!(
            polls(1).0,
            Some(1),
            "what A alone had was not new: B is still first"
        );
    }

    #[test]
    fn a_line_is_drained_when_it_had_nothing_and_both_are_looked_at_where_that_is_wanted() {
        let port = 41_000 + (std::process::id() % 19_000) as u16;
        let lines: [LineAddress; 2] = [3, 4].map(|n| format!("239.77.9.{n}:{port}@lo").parse().unwrap());
        let options = ReceiverOptions::default();
        let receivers = lines
            .each_ref()
            .map(|line| LineReceiver::open(line, &options, SIZE).unwrap());
        let mut b = LineSender::open(&lines[1], SenderOptions::default()).unwrap();
        let mut poller = LinePoller::new(receivers, SIZE);
        let mut poll = |now: u64, both: bool| {
            let came = poller.poll(now, both, |_, _| false);
            (came, poller.drained())
        };
        assert_eq!(poll(1, false), (false, [1, 1]), "the first time both");
        assert_eq!(poll(2, false), (false, [2, 1]));
        assert_eq!(poll(3, true), (false, [3, 3]));
        b.send(&packet(1));
        assert_eq!(poll(4, false), (false, [4, 3]));
        assert_eq!(poll(5, true), (true, [5, 3]));
    }
}
