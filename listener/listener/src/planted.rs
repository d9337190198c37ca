//! Bugs put in on purpose, to see that the simulator catches them. Only with the feature `planted-bugs` can one be
//! selected, for the thread that selects it; without it every question is answered "no" when the code is compiled.

/// A bug in the arbiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An older epoch counts beyond what a later one cut off.
    OlderEpochAccepted,
    /// What was delivered and is void is not said.
    VoidNotSaid,
    /// Of a fill that is partly new, one message too many is trimmed.
    FillTrimmedTooFar,
    /// What was delivered is delivered again when it comes on line B.
    DuplicatePassed,
    /// One heartbeat alone is believed.
    HeartbeatBelieved,
    /// A packet that does not fit the window counts as if it were there.
    GapForgotten,
    /// One packet of a higher session is believed.
    SessionBelieved,
    /// A new epoch begins at once, without its EpochStart.
    StartNotAwaited,
    /// The end of the session is announced while gaps are open.
    EndTooEarly,
    /// A session is left as soon as the next one is heard of, whatever is still open in it.
    OldSessionForgotten,
    /// Sessions that nobody has are passed over without a word.
    SessionsMissedNotSaid,
    /// Nobody is asked for sessions that may be between two.
    GapInSessions,
    /// A state that an epoch has cut off is taken.
    CutStateAccepted,
    /// A listener that begins with a state does not say what it skipped.
    SkipNotSaid,
}

twinline_recovery::planted_bugs!(Bug);
