//! What must have come of a scenario: that every stream is whole, and that the faults were really there, as each part
//! counted them.

use super::cluster::Outcome;
use super::network::Faults;
use super::scenario::Scenario;
use crate::summary::Summary;
use crate::units::show_count;
use serde::Serialize;

/// One thing that was expected.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Check {
    /// What was expected, and what was found.
    pub(super) what: String,
    /// True if it was.
    pub(super) holds: bool,
}

/// All that was expected of a scenario, in a run with these faults besides.
pub(super) fn check(scenario: Scenario, faults: Faults, outcome: &Outcome) -> Vec<Check> {
    let facts = Facts(outcome);
    let mut checks = vec![
        Check {
            what: "every server's journal is the publisher's, message for message".into(),
            holds: outcome.equal,
        },
        facts.all("no server announced a message as lost or void", |server| {
            let bad = announced(server);
            (bad, bad == 0)
        }),
    ];
    // Of a few packets none may be hit.
    let is_hit = |share: f64| share * outcome.publisher.packets as f64 >= 20.0;
    for (line, name) in ["A", "B"].into_iter().enumerate() {
        if is_hit(faults.loss) {
            let what = format!("every server lost messages on line {name}");
            checks.push(facts.all(&what, |server| at_least_one(lost(server, line))));
        }
        if is_hit(faults.late) {
            let what = format!("every server had messages late on line {name}");
            checks.push(facts.all(&what, |server| at_least_one(late(server, line))));
        }
    }
    match scenario {
        Scenario::Steady => {}
        Scenario::LineADies => facts.line_a_dies(&mut checks),
        Scenario::BurstLoss => facts.holes(scenario, &mut checks),
        Scenario::RecoveryDies => facts.recovery_dies(&mut checks),
        Scenario::SlowServer => facts.slow_server(faults, &mut checks),
        Scenario::Flood => facts.flood(&mut checks),
        Scenario::RollingRestart => facts.restarts(&mut checks),
    }
    checks
}

struct Facts<'o>(&'o Outcome);

impl Facts<'_> {
    /// A check of each server: what was counted there, and whether that is good.
    fn all(&self, what: &str, of: impl Fn(&[Summary]) -> (u64, bool)) -> Check {
        self.some(what, self.0.servers.iter().map(|server| of(server)))
    }

    fn some(&self, what: &str, counts: impl Iterator<Item = (u64, bool)>) -> Check {
        let (mut least, mut most, mut holds) = (u64::MAX, 0, true);
        for (count, good) in counts {
            (least, most, holds) = (least.min(count), most.max(count), holds && good);
        }
        let found = match least < most {
            true => format!("{} to {}", show_count(least), show_count(most)),
            false => show_count(most),
        };
        Check {
            what: format!("{what}: {found}"),
            holds,
        }
    }

    fn line_a_dies(&self, checks: &mut Vec<Check>) {
        let published = self.0.publisher.messages;
        checks.push(self.all(
            "line A brought every server some messages, and at least a tenth of them not",
            |server| {
                let brought = total(server, |run| run.heard().map_or(0, |[a, _]| a.received));
                (brought, brought > 0 && brought <= published * 9 / 10)
            },
        ));
        checks.push(self.all("every server noticed that a line is silent", |server| {
            at_least_one(notices(server, "line_stalled"))
        }));
    }

    fn holes(&self, scenario: Scenario, checks: &mut Vec<Check>) {
        checks.push(on_both_lines(
            "packets vanished in the holes of both lines",
            self.0.dropped.cut,
        ));
        checks.push(self.all("every server had messages from recovery", |server| {
            at_least_one(recovered(server))
        }));
        checks.push(
            self.all("every server had gaps filled, one a hole or more", |server| {
                let filled = total(server, |run| run.gaps.as_ref().map_or(0, |gaps| gaps.filled));
                (filled, filled >= scenario.holes())
            }),
        );
    }

    fn recovery_dies(&self, checks: &mut Vec<Check>) {
        self.holes(Scenario::RecoveryDies, checks);
        checks.push(self.all(
            "every server saw its connections to the recovery service fail",
            |server| {
                at_least_one(total(server, |run| {
                    run.recovery
                        .as_ref()
                        .and_then(|counts| counts.get("failures").copied())
                        .unwrap_or(0)
                }))
            },
        ));
        let after = self.0.recovery.get(1);
        let served = after.map_or(0, |run| {
            run.recovery
                .as_ref()
                .and_then(|counts| counts.get("requests").copied())
                .unwrap_or(0)
        });
        checks.push(self.some(
            "the recovery service that was started again was asked",
            [at_least_one(served)].into_iter(),
        ));
    }

    fn slow_server(&self, faults: Faults, checks: &mut Vec<Check>) {
        checks.push(on_both_lines(
            "server 1's narrow links dropped packets",
            self.0.dropped.narrowed,
        ));
        let slow = self.0.servers.iter().take(1);
        checks.push(self.some(
            "server 1 had messages from recovery",
            slow.map(|server| at_least_one(recovered(server))),
        ));
        // Where a busy machine drops something on its own, that is not much.
        if faults.loss + faults.late == 0.0 {
            let both = |server: &[Summary]| lost(server, 0) + lost(server, 1);
            let most = self.0.servers.first().map_or(0, |server| both(server)) / 10;
            let others = self.0.servers.iter().skip(1).map(|server| both(server));
            checks.push(self.some(
                "no other server lost a tenth of what server 1 did on its lines",
                others.map(|lost| (lost, lost <= most)),
            ));
        }
    }

    fn flood(&self, checks: &mut Vec<Check>) {
        let sent = self.0.junk;
        checks.push(self.all(
            &format!(
                "of {} datagrams of junk on each line every server refused most (the kernel may have dropped some)",
                show_count(sent)
            ),
            |server| {
                let refused = total(server, |run| {
                    run.heard().map_or(0, |lines| {
                        lines.iter().map(|line| line.dropped.values().sum::<u64>()).sum()
                    })
                });
                // Both lines bring it.
                (refused, sent > 0 && refused > sent)
            },
        ));
    }

    fn restarts(&self, checks: &mut Vec<Check>) {
        let published = self.0.publisher.messages;
        checks.push(self.all("every server was started twice", |server| {
            (server.len() as u64, server.len() == 2)
        }));
        checks.push(self.all(
            "every server went on where it stopped: messages of its second run",
            |server| {
                let second = server.last().map_or(0, |run| run.messages);
                (second, second > 0 && second < published)
            },
        ));
        checks.push(
            self.all("every server had from recovery what it slept through", |server| {
                at_least_one(recovered(server))
            }),
        );
    }
}

/// A check that something was counted on each line.
fn on_both_lines(what: &str, [a, b]: [u64; 2]) -> Check {
    Check {
        what: format!("{what}: A {}, B {}", show_count(a), show_count(b)),
        holds: a > 0 && b > 0,
    }
}

fn at_least_one(count: u64) -> (u64, bool) {
    (count, count > 0)
}

/// A count of all runs of a server's listener.
pub(super) fn total(runs: &[Summary], of: impl Fn(&Summary) -> u64) -> u64 {
    runs.iter().map(of).sum()
}

/// Messages that a server announced as lost or void.
pub(super) fn announced(runs: &[Summary]) -> u64 {
    total(runs, |run| {
        run.loss.as_ref().map_or(0, |loss| loss.lost + loss.void)
    })
}

/// Messages that a line never brought while a listener ran.
pub(super) fn lost(runs: &[Summary], line: usize) -> u64 {
    total(runs, |run| run.heard().map_or(0, |lines| lines[line].lost))
}

/// Messages that came on a line after later ones.
fn late(runs: &[Summary], line: usize) -> u64 {
    total(runs, |run| run.heard().map_or(0, |lines| lines[line].late))
}

/// Messages that recovery brought.
pub(super) fn recovered(runs: &[Summary]) -> u64 {
    total(runs, |run| {
        run.delivered.as_ref().map_or(0, |delivered| delivered.recovery)
    })
}

fn notices(runs: &[Summary], kind: &str) -> u64 {
    total(runs, |run| {
        run.notices
            .as_ref()
            .and_then(|counts| counts.get(kind).copied())
            .unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::{DeliveredSummary, GapsSummary};
    use clap::ValueEnum;

    /// Nothing but what these parts say of themselves.
    fn outcome(publisher: Summary, servers: Vec<Summary>, equal: bool) -> Outcome {
        Outcome {
            publisher,
            recovery: vec![Summary::new("recovery service")],
            servers: servers.into_iter().map(|server| vec![server]).collect(),
            diff: Summary::default(),
            equal,
            spread: Default::default(),
            dropped: Default::default(),
            junk: 0,
        }
    }

    fn published() -> Summary {
        Summary {
            messages: 1_000,
            packets: 1_000,
            ..Summary::new("publisher")
        }
    }

    const NONE: Faults = Faults {
        loss: 0.0,
        late: 0.0,
        rate: 1_000,
    };

    #[test]
    fn a_fault_that_was_not_there_is_found_out() {
        let servers = ["server 1", "server 2"].map(Summary::new);
        let outcome = outcome(published(), servers.into(), true);
        let holds = |scenario, faults| check(scenario, faults, &outcome).iter().all(|check| check.holds);
        for &scenario in Scenario::value_variants() {
            assert_eq!(
                holds(scenario, NONE),
                scenario == Scenario::Steady,
                "{scenario:?}"
            );
        }
        for faults in [Faults { loss: 0.1, ..NONE }, Faults { late: 0.1, ..NONE }] {
            assert!(!holds(Scenario::Steady, faults), "{faults:?}");
        }
    }

    #[test]
    fn what_is_lost_at_random_is_not_taken_for_the_scenarios_own_fault() {
        let servers = ["server 1", "server 2"].map(|name| {
            let mut server = Summary::new(name);
            server.gaps = Some(GapsSummary {
                filled: 50,
                ..GapsSummary::default()
            });
            server.delivered = Some(DeliveredSummary {
                recovery: 100,
                ..DeliveredSummary::default()
            });
            server
        });
        let mut outcome = outcome(published(), servers.into(), true);
        outcome.dropped.all = [100, 100];
        let faults = Faults { loss: 0.01, ..NONE };
        let holds =
            |scenario, outcome: &Outcome| check(scenario, faults, outcome).iter().all(|check| check.holds);
        for scenario in [Scenario::BurstLoss, Scenario::SlowServer] {
            assert!(!holds(scenario, &outcome), "{scenario:?}");
        }
        outcome.dropped.cut = [50, 50];
        assert!(holds(Scenario::BurstLoss, &outcome));
        assert!(!holds(Scenario::SlowServer, &outcome));
        outcome.dropped.narrowed = [20, 20];
        assert!(holds(Scenario::SlowServer, &outcome));
    }

    #[test]
    fn a_stream_that_is_not_whole_is_found_out() {
        let mut server = Summary::new("server 1");
        server.loss = Some(crate::summary::LossSummary {
            lost: 1,
            ..Default::default()
        });
        let outcome = outcome(Summary::new("publisher"), vec![server], false);
        let checks = check(Scenario::Steady, NONE, &outcome);
        assert!(checks.iter().all(|check| !check.holds), "{checks:?}");
    }
}
