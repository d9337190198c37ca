//! The list of gaps follows what the arbiter misses; what is known of a gap stays with its parts.

use super::{Gap, GapPolicy, MAX_GAPS, MAX_SERVICES};
use crate::arbiter::Arbiter;
use crate::arbiter::ranges::Span;

impl GapPolicy {
    /// Brings the list of gaps in line with what the arbiter misses; what is known of a gap stays with its parts.
    pub(super) fn reconcile(&mut self, arbiter: &Arbiter, now: u64) {
        arbiter.missing(&mut self.missing);
        std::mem::swap(&mut self.gaps, &mut self.before);
        self.gaps.clear();
        let session = arbiter.wanted_session();
        if session != self.session {
            self.next_sessions = [None; MAX_SERVICES];
            self.session = session;
            self.before.clear();
            self.open.clear();
        }
        let mut from = 0;
        for &span in &self.missing {
            while self
                .before
                .get(from)
                .is_some_and(|gap| gap.span.end <= span.begin)
            {
                from += 1;
            }
            let mut begin = span.begin;
            let mut at = from;
            while begin < span.end && self.gaps.len() < MAX_GAPS {
                match self.before.get(at) {
                    Some(old) if old.span.begin < span.end => {
                        if begin < old.span.begin {
                            let part = Span::new(begin, old.span.begin);
                            begin = part.end;
                            open_gap(&mut self.gaps, part, now);
                            continue;
                        }
                        let part = Span::new(begin, old.span.end.min(span.end));
                        let since = if part == old.span { old.since } else { now };
                        self.gaps.push(Gap {
                            span: part,
                            since,
                            ..*old
                        });
                        begin = part.end;
                        at += 1;
                    }
                    _ => {
                        open_gap(&mut self.gaps, Span::new(begin, span.end), now);
                        begin = span.end;
                    }
                }
            }
        }
        self.count_changes(now);
        let head = self.gaps.first().map_or(0, |gap| gap.span.begin);
        if head != self.head_since.0 {
            self.head_since = (head, now);
        }
    }

    fn count_changes(&mut self, now: u64) {
        let overlaps = |gap: &Gap, others: &[Gap]| {
            let at = others.partition_point(|other| other.span.end <= gap.span.begin);
            others
                .get(at)
                .is_some_and(|other| other.span.begin < gap.span.end)
        };
        self.stats.opened += self
            .gaps
            .iter()
            .filter(|gap| !overlaps(gap, &self.before))
            .count() as u64;
        let given_up = std::mem::replace(&mut self.given_up, Span::new(0, 0));
        for closed in self.before.iter().filter(|gap| !overlaps(gap, &self.gaps)) {
            if closed.span.begin < given_up.end && given_up.begin < closed.span.end {
                continue;
            }
            if closed.asked {
                self.stats.filled += 1;
                let time = now.saturating_sub(closed.noticed);
                self.fill_times.saturating_record(time.max(1));
            } else {
                self.stats.closed_by_lines += 1;
            }
        }
    }
}

/// A new gap; or more of the one before it, if that grows at its end and nobody was asked for it yet.
fn open_gap(gaps: &mut Vec<Gap>, span: Span, now: u64) {
    if let Some(last) = gaps.last_mut()
        && last.span.end == span.begin
        && !last.asked
    {
        last.span.end = span.end;
        return;
    }
    gaps.push(Gap {
        span,
        since: now,
        noticed: now,
        retry_at: 0,
        request: 0,
        too_old: 0,
        unpublished: 0,
        avoid: 0,
        asked: false,
    });
}
