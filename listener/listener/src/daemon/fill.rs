//! What the listener's thread says of itself.

use super::Listener;
use crate::report::{Report, Standing};
use hdrhistogram::Histogram;
use std::sync::atomic::Ordering;
use twinline_line::Line;

impl Listener {
    pub(super) fn fill(&self, report: &mut Report) {
        report.turns = self.turns;
        report.standing = Standing {
            behind: self.arbiter.known_end() - self.arbiter.position().next,
            caught_up: self.chase.is_caught_up(self.now()),
            stale: self.arbiter.is_stale(),
            stalled: self.arbiter.stalled(),
            incomplete: self.arbiter.is_incomplete(),
            awaits_state: self.arbiter.is_held() || self.arbiter.awaits_state(),
        };
        report.window = [self.arbiter.window_len(), self.window];
        copy(&mut report.gap_fill_times, self.policy.fill_times());
        for (report, behind) in report.line_behind.iter_mut().zip(self.arbiter.line_behind()) {
            copy(report, behind);
        }
        report.position = self.arbiter.position();
        report.arbiter = *self.arbiter.stats();
        report.lines = self.arbiter.line_stats();
        report.gaps = *self.policy.stats();
        report.open_gaps = self.policy.open_gaps();
        report.notices = self.output.record.notices;
        report.bytes = self.output.record.bytes;
        self.output.fill(&mut report.fair);
        copy(&mut report.latency, &self.output.record.latency);
        report.impairer = self
            .impairer
            .as_ref()
            .map(|impairer| Line::ALL.map(|line| impairer.fates(line)));
        if let Some(fetcher) = &self.fetcher {
            let stats = fetcher.stats();
            report.queues = fetcher.queues();
            report.recovery_connected = stats.connected();
            report.recovery_failures = stats.failures.load(Ordering::Relaxed);
            report.recovery_bad_packets = stats.bad_packets.load(Ordering::Relaxed);
        }
        report.states = *self.states.stats();
    }
}

fn copy(to: &mut Histogram<u64>, from: &Histogram<u64>) {
    to.reset();
    // Same bounds: nothing is out of range.
    let _ = to.add(from);
}
