//! Bugs put in on purpose, one at a time, to see that a run catches them: in the arbiter (see
//! [`twinline_listener::planted`]), in replicas (see [`twinline_recovery::planted`]), and at the seams between the state machines.

use twinline_listener::planted::Bug;
use twinline_recovery::planted::Bug as ReplicaBug;

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// One in the arbiter.
    Arbiter(Bug),
    /// One in a replica.
    Replica(ReplicaBug),
    /// Heartbeats name sequences that are not sent yet.
    HeartbeatOvertakes,
    /// The last packet of a burst is never sent.
    BurstCutShort,
    /// Gaps are declared lost while a service has them.
    LossTooEarly,
    /// The journal takes a packet of its torn end for good.
    TornTailAccepted,
    /// A publisher that starts again leaves out a source event.
    EventLeftOut,
    /// What is not published yet is called void.
    UnpublishedCalledVoid,
    /// What is no longer kept is called void.
    TooOldCalledVoid,
    /// A snapshot says that it holds a message more than it does.
    StateTooHigh,
    /// A snapshot says that it holds a message less than it does.
    StateTooLow,
    /// Fair release releases before a message's moment.
    ReleasedTooEarly,
}

impl Plant {
    /// All of them.
    pub const ALL: &'static [Plant] = &[
        Plant::Arbiter(Bug::OlderEpochAccepted),
        Plant::Arbiter(Bug::VoidNotSaid),
        Plant::Arbiter(Bug::FillTrimmedTooFar),
        Plant::Arbiter(Bug::DuplicatePassed),
        Plant::Arbiter(Bug::HeartbeatBelieved),
        Plant::Arbiter(Bug::GapForgotten),
        Plant::Arbiter(Bug::SessionBelieved),
        Plant::Arbiter(Bug::StartNotAwaited),
        Plant::Arbiter(Bug::EndTooEarly),
        Plant::Arbiter(Bug::CutStateAccepted),
        Plant::Arbiter(Bug::SkipNotSaid),
        Plant::HeartbeatOvertakes,
        Plant::BurstCutShort,
        Plant::LossTooEarly,
        Plant::TornTailAccepted,
        Plant::EventLeftOut,
        Plant::UnpublishedCalledVoid,
        Plant::TooOldCalledVoid,
        Plant::Arbiter(Bug::OldSessionForgotten),
        Plant::Arbiter(Bug::SessionsMissedNotSaid),
        Plant::Arbiter(Bug::GapInSessions),
        Plant::Replica(ReplicaBug::AcknowledgedTooEarly),
        Plant::Replica(ReplicaBug::VoidTailKept),
        Plant::Replica(ReplicaBug::HealedTooShort),
        Plant::StateTooHigh,
        Plant::StateTooLow,
        Plant::ReleasedTooEarly,
    ];
}
