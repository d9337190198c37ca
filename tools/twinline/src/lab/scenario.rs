//! What can happen in the lab: each scenario's faults, when they come, and what is expected of them.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use std::time::Duration;

/// What happens while the publisher publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    Steady,
    LineADies,
    BurstLoss,
    RecoveryDies,
    SlowServer,
    Flood,
    RollingRestart,
}

/// Something that is done to the network or to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The publisher's port on line A goes down.
    LineADown,
    /// Whatever the publisher sends vanishes, on both lines; or no longer.
    Cut(bool),
    /// kill -9 of the recovery service.
    KillRecovery,
    /// It is started again.
    StartRecovery,
    /// The links of server 1 carry half of what a line carries; or everything again.
    Narrow(bool),
    /// A stranger sends junk to both groups; or no longer.
    Flood(bool),
    /// This server's listener is ended, by SIGTERM or (`killed`) by SIGKILL, and started again.
    Restart { server: usize, killed: bool },
}

/// When what is done, and what the view says from then on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// After the first message.
    pub(super) at: Duration,
    pub(super) action: Action,
    pub(super) says: String,
}

impl ValueEnum for Scenario {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Steady,
            Self::LineADies,
            Self::BurstLoss,
            Self::RecoveryDies,
            Self::SlowServer,
            Self::Flood,
            Self::RollingRestart,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.does()))
    }
}

impl Scenario {
    /// Its name, as it is typed.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::LineADies => "line-a-dies",
            Self::BurstLoss => "burst-loss",
            Self::RecoveryDies => "recovery-dies",
            Self::SlowServer => "slow-server",
            Self::Flood => "flood",
            Self::RollingRestart => "rolling-restart",
        }
    }

    /// What happens.
    pub(super) fn does(self) -> &'static str {
        match self {
            Self::Steady => "nothing but what the flags ask for: --loss, --late",
            Self::LineADies => "half way the publisher's link to line A goes down, and stays down",
            Self::BurstLoss => {
                "five times all that the publisher sends vanishes for a moment, on both lines at once"
            }
            Self::RecoveryDies => {
                "the recovery service is killed (-9) and started again later; both lines have a hole before, meanwhile and after"
            }
            Self::SlowServer => {
                "for a while the links of server 1 carry half of what a line carries; the rest is dropped"
            }
            Self::Flood => {
                "a stranger floods both lines' groups with junk, some of which looks like ours, for ten minutes at most"
            }
            Self::RollingRestart => {
                "one server's listener after the other is ended and started again, every second one by kill -9"
            }
        }
    }

    /// What must come of it, besides what must always: equal journals, and no announced loss.
    pub(super) fn expects(self) -> &'static str {
        match self {
            Self::Steady => {
                "nothing is lost; with --loss every line loses something at every server, with --late it has something late"
            }
            Self::LineADies => {
                "every server notices that line A is silent and has the second half from line B; nothing is lost"
            }
            Self::BurstLoss => {
                "every server loses the same on both lines and has it from recovery; nothing is lost"
            }
            Self::RecoveryDies => {
                "every server sees its recovery connections fail, keeps its gaps open, and has them filled by the new service; \
                 nothing is lost"
            }
            Self::SlowServer => {
                "server 1 has from recovery what its links dropped, and the others do not lose with it; nothing is lost"
            }
            Self::Flood => "every server counts the junk, by reason, and drops it; nothing is lost",
            Self::RollingRestart => {
                "every server goes on in its journal where it stopped and has from recovery what it slept through; nothing is lost"
            }
        }
    }

    /// Holes that it makes in both lines at once.
    pub(super) fn holes(self) -> u64 {
        let steps = self.steps(Duration::from_secs(10), 1);
        steps
            .iter()
            .filter(|step| step.action == Action::Cut(true))
            .count() as u64
    }

    /// What is done when, in a run of so many servers in which the publisher takes `length`.
    pub(super) fn steps(self, length: Duration, servers: usize) -> Vec<Step> {
        let at = |share: f64| length.mul_f64(share);
        let step = |at: Duration, action: Action, says: &str| Step {
            at,
            action,
            says: says.into(),
        };
        match self {
            Self::Steady => Vec::new(),
            Self::LineADies => vec![step(at(0.5), Action::LineADown, "line A is dead")],
            Self::BurstLoss => [0.15, 0.3, 0.45, 0.6, 0.75]
                .into_iter()
                .flat_map(|share| hole(at(share), length))
                .collect(),
            Self::RecoveryDies => {
                // Well below the time after which a listener gives a gap up.
                let outage = at(0.4).min(Duration::from_secs(4));
                let dead = at(0.3);
                let mut steps = hole(at(0.15), length);
                steps.push(step(dead, Action::KillRecovery, "recovery is dead"));
                steps.extend(hole(dead + outage / 3, length));
                steps.push(step(dead + outage, Action::StartRecovery, "recovery is back"));
                steps.extend(hole(at(0.85), length));
                steps
            }
            Self::SlowServer => vec![
                step(
                    at(0.25),
                    Action::Narrow(true),
                    "server 1's links carry half of it",
                ),
                step(
                    // A gap must not be given up before recovery has a way.
                    at(0.25) + at(0.35).min(Duration::from_secs(4)),
                    Action::Narrow(false),
                    "server 1's links carry everything again",
                ),
            ],
            Self::Flood => vec![
                step(at(0.25), Action::Flood(true), "a stranger floods both lines"),
                step(at(0.75), Action::Flood(false), "the flood is over"),
            ],
            Self::RollingRestart => (1..=servers)
                .map(|server| {
                    let killed = server.is_multiple_of(2);
                    let how = if killed { "killed" } else { "stopped" };
                    Step {
                        at: at(0.15 + 0.65 * (server - 1) as f64 / servers as f64),
                        action: Action::Restart { server, killed },
                        says: format!("server {server} is {how} and started again"),
                    }
                })
                .collect(),
        }
    }
}

/// A hole in both lines.
fn hole(at: Duration, length: Duration) -> Vec<Step> {
    let step = |at, on, says: &str| Step {
        at,
        action: Action::Cut(on),
        says: says.into(),
    };
    let long = (length / 50).clamp(Duration::from_millis(50), Duration::from_millis(500));
    vec![
        step(at, true, "both lines have a hole"),
        step(at + long, false, "both lines are whole"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_does_its_steps_in_order_and_while_the_publisher_publishes() {
        for length in [3, 10, 600].map(Duration::from_secs) {
            for servers in [1, 3, 40] {
                for &scenario in Scenario::value_variants() {
                    let steps = scenario.steps(length, servers);
                    assert!(steps.is_sorted_by_key(|step| step.at), "{scenario:?}: {steps:?}");
                    assert!(
                        steps.iter().all(|step| step.at < length.mul_f64(0.95)),
                        "{scenario:?}"
                    );
                    assert_eq!(steps.is_empty(), scenario == Scenario::Steady);
                }
            }
        }
    }

    #[test]
    fn scenarios_have_as_many_holes_as_they_cut() {
        let holes = |scenario: Scenario| scenario.holes();
        assert_eq!(holes(Scenario::BurstLoss), 5);
        assert_eq!(holes(Scenario::RecoveryDies), 3);
        assert_eq!(holes(Scenario::SlowServer), 0);
    }

    #[test]
    fn what_is_taken_away_comes_back_before_a_listener_gives_up() {
        let steps = Scenario::RecoveryDies.steps(Duration::from_secs(600), 3);
        let when = |action| {
            steps
                .iter()
                .find(|step| step.action == action)
                .map(|step| step.at)
        };
        let outage = when(Action::StartRecovery).unwrap() - when(Action::KillRecovery).unwrap();
        assert!(outage < Duration::from_secs(10), "the listener's --gap-timeout");
    }
}
