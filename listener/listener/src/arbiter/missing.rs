//! What an arbiter misses: derived each time from its position, its window and what it knows to exist, never stored.

use super::Arbiter;
use super::ranges::Span;

impl Arbiter {
    /// Only heartbeats spoke of what is beyond the packets seen, and no service knows it: it is taken back. False if
    /// there is nothing to take back.
    pub fn withdraw_announced(&mut self) -> bool {
        let known = self.highest();
        if self.is_closing() || self.is_between() || self.announced <= known {
            return false;
        }
        self.announced = known;
        self.last_heartbeat = None;
        true
    }

    /// The end of what must be delivered.
    fn must_reach(&self) -> u64 {
        if self.is_closing() {
            // Where an overtaken session ended is known once a service has called the rest void.
            return self
                .closed
                .as_slice()
                .last()
                .filter(|span| span.end == u64::MAX)
                .map_or(u64::MAX, |span| span.begin);
        }
        self.highest().max(self.announced)
    }

    /// Writes what is missing into `out` (cleared first), in order, up to its capacity.
    pub fn missing(&self, out: &mut Vec<Span>) {
        out.clear();
        if self.is_between() {
            out.push(Span::new(1, u64::MAX));
            return;
        }
        let reach = self.must_reach();
        if self.session == 0 || self.ended || self.is_held() {
            return;
        }
        if !self.may_deliver() {
            // Nothing else is of use before it. Heartbeats may announce an epoch whose start is not published yet.
            if reach > self.base {
                out.push(Span::new(self.base, self.base + 1));
            }
            return;
        }
        let mut from = self.next;
        let mut add = |begin: u64, end: u64| {
            let mut begin = begin;
            // Holes are few; void ranges closed by recovery are few too.
            while begin < end && out.len() < out.capacity() {
                if let Some(hole) = self.epochs.hole(begin).or_else(|| self.closed.containing(begin)) {
                    begin = hole.end;
                    continue;
                }
                let holes = self.epochs.holes().chain(self.closed.as_slice().iter().copied());
                let stop = holes
                    .map(|hole| hole.begin)
                    .filter(|&at| at > begin)
                    .min()
                    .unwrap_or(end)
                    .min(end);
                out.push(Span::new(begin, stop));
                begin = stop;
            }
        };
        for early in self.window.iter() {
            let end = early.end.min(self.limit(early.epoch));
            if early.begin > from {
                add(from, early.begin);
            }
            from = from.max(end);
        }
        if from < reach {
            add(from, reach);
        }
    }

    /// True if anything is missing: a cheap check for the hot loop.
    #[inline]
    pub fn is_missing_something(&self) -> bool {
        if self.is_held() {
            return false;
        }
        !self.ended && (self.next < self.shown.max(self.announced) || self.is_closing()) || self.is_between()
    }
}
