//! What was taken from a thread that spun on each core.

use crate::doctor::cores::place;
use crate::doctor::finding::{Finding, HOST, Severity};
use crate::doctor::spin::Jitter;
use crate::units::show_nanos;

const WHY: &str = "what came in the meantime waited so long; cores that are set aside, without tick and interrupts, show next to nothing (cpu.isolated, cpu.tick, cpu.interrupts)";
/// More of a core's time than this is a burden, not chance.
const LITTLE_SHARE: f64 = 0.01;

/// Looks at what each core showed; none if nothing was measured.
pub(in crate::doctor) fn check(measured: &[(usize, Result<Jitter, String>)]) -> Vec<Finding> {
    if measured.is_empty() {
        let found = "not measured (--jitter 0s)";
        return vec![Finding::ok("jitter.gaps", HOST, found, WHY).is(Severity::Note)];
    }
    measured.iter().map(|(core, seen)| one(*core, seen)).collect()
}

fn one(core: usize, seen: &Result<Jitter, String>) -> Finding {
    let found = |text: String| Finding::ok("jitter.gaps", place(&[core]), text, WHY);
    let jitter = match seen {
        Ok(jitter) => jitter,
        Err(why) => return found(format!("not measured: {why}")).is(Severity::Note),
    };
    let rate = |count: u64| count as f64 / (jitter.elapsed_ns.max(1) as f64 / 1e9);
    let share = jitter.taken_ns as f64 / jitter.elapsed_ns.max(1) as f64;
    let ticks = match jitter.ticks {
        Some(ticks) => format!(", {:.0} timer ticks a second", rate(ticks)),
        None => String::new(),
    };
    let text = format!(
        "gaps a second over 1 us {:.1}, over 10 us {:.1}, over 100 us {:.1}; longest {}; {:.2}% taken{ticks}",
        rate(jitter.over_1us),
        rate(jitter.over_10us),
        rate(jitter.over_100us),
        show_nanos(jitter.longest_ns),
        share * 100.0,
    );
    let severity = match (rate(jitter.over_100us), rate(jitter.over_10us)) {
        (long, _) if long >= 1.0 || share > LITTLE_SHARE => Severity::Slow,
        (_, middle) if middle >= 1.0 => Severity::Note,
        _ => Severity::Ok,
    };
    found(text).is(severity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(over_10us: u64, over_100us: u64, taken_ns: u64) -> Result<Jitter, String> {
        Ok(Jitter {
            elapsed_ns: 2_000_000_000,
            over_1us: 500,
            over_10us,
            over_100us,
            longest_ns: 1_500_000,
            taken_ns,
            ticks: Some(500),
        })
    }

    #[test]
    fn long_gaps_and_much_time_taken_are_slow_and_a_few_short_ones_fine() {
        let of = |seen| check(&[(3, seen)]).remove(0);
        assert_eq!(of(seen(1, 0, 1_000)).severity, Severity::Ok);
        assert_eq!(of(seen(2, 0, 1_000)).severity, Severity::Note);
        assert_eq!(of(seen(2, 2, 1_000)).severity, Severity::Slow);
        assert_eq!(of(seen(0, 0, 30_000_000)).severity, Severity::Slow);
        let found = of(seen(2, 0, 1_000_000));
        assert_eq!(found.place, "core 3");
        assert_eq!(
            found.found,
            "gaps a second over 1 us 250.0, over 10 us 1.0, over 100 us 0.0; longest 1.5 ms; 0.05% taken, 250 timer ticks a second"
        );
    }

    #[test]
    fn what_was_not_measured_is_said_not_judged() {
        for finding in [
            check(&[]).remove(0),
            check(&[(9, Err("there is no core 9".into()))]).remove(0),
        ] {
            assert!(finding.severity == Severity::Note && finding.found.starts_with("not measured"));
        }
    }
}
