//! What was found, for people: by theme, each finding on a line, and below those that are not fine why it matters and the
//! command that mends it.

use super::finding::{Finding, Severity, THEMES};
use serde::Serialize;
use std::fmt::Write;

/// How many findings there are of each severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    /// Would lose data.
    pub(super) loss: usize,
    /// Cost time.
    pub(super) slow: usize,
    /// Worth knowing.
    pub(super) note: usize,
    /// Fine.
    pub(super) ok: usize,
}

impl Counts {
    pub(super) fn of(findings: &[Finding]) -> Self {
        let count = |severity| {
            findings
                .iter()
                .filter(|finding| finding.severity == severity)
                .count()
        };
        Self {
            loss: count(Severity::Loss),
            slow: count(Severity::Slow),
            note: count(Severity::Note),
            ok: count(Severity::Ok),
        }
    }
}

/// All findings as text, the worst of each theme first, and the counts last.
pub(super) fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    let widest = |of: fn(&Finding) -> usize| findings.iter().map(of).max().unwrap_or(0);
    let (check, place) = (
        widest(|finding| finding.check.len()),
        widest(|finding| finding.place.len()),
    );
    for (theme, title) in THEMES {
        let mut of_theme: Vec<&Finding> = findings
            .iter()
            .filter(|finding| finding.theme() == theme)
            .collect();
        if of_theme.is_empty() {
            continue;
        }
        of_theme.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let _ = writeln!(text, "{title}");
        for finding in of_theme {
            let _ = writeln!(
                text,
                "  {:4}  {:check$}  {:place$}  {}",
                finding.severity, finding.check, finding.place, finding.found
            );
            if finding.severity > Severity::Ok {
                let _ = writeln!(text, "        why: {}", finding.why);
            }
            if let Some(command) = &finding.command {
                let _ = writeln!(text, "        mend: {command}");
            }
        }
        text.push('\n');
    }
    let counts = Counts::of(findings);
    let _ = writeln!(
        text,
        "{} would lose data, {} cost time, {} worth knowing, {} fine",
        counts.loss, counts.slow, counts.note, counts.ok
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_a_theme_comes_first_with_why_and_the_command_and_the_counts_last() {
        let findings = [
            Finding::ok("cpu.tick", "host", "none", "it interrupts"),
            Finding::ok("interface.up", "eth0", "up", "nothing comes"),
            Finding::ok("interface.mtu", "eth10", "MTU 1000", "too long")
                .is(Severity::Loss)
                .mend("ip link"),
            Finding::ok("interface.ring", "eth0", "256", "small").is(Severity::Slow),
        ];
        assert_eq!(
            text(&findings),
            "Interfaces\n  \
             LOSS  interface.mtu   eth10  MTU 1000\n        why: too long\n        mend: ip link\n  \
             SLOW  interface.ring  eth0   256\n        why: small\n  \
             ok    interface.up    eth0   up\n\n\
             Cores\n  \
             ok    cpu.tick        host   none\n\n\
             1 would lose data, 1 cost time, 0 worth knowing, 2 fine\n"
        );
    }
}
