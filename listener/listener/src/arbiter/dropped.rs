//! Why packets are dropped, and how often.

use twinline_wire::PacketError;

macro_rules! reasons {
    ($($(#[$meta:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// Why a packet that arrived was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Dropped {
            $($(#[$meta])* $name),*
        }

        impl Dropped {
            /// Every reason, in the order of [`DropCounts`].
            pub const ALL: &'static [Dropped] = &[$(Dropped::$name),*];

            /// A short name for counters, in snake case.
            pub fn name(self) -> &'static str {
                match self { $(Dropped::$name => $text),* }
            }
        }
    };
}

reasons! {
    /// Fewer bytes than a header has, or than the header names.
    Truncated = "truncated",
    /// Not a packet of ours.
    Magic = "magic",
    /// A packet layout that this build does not know.
    Version = "version",
    /// More bytes than the header names.
    Trailing = "trailing",
    /// Not intact.
    Checksum = "checksum",
    /// Does not hold together.
    Malformed = "malformed",
    /// Another channel's.
    Channel = "channel",
    /// Of a session below the one being delivered.
    OldSession = "old_session",
    /// Of a higher session, while this one is not complete, and there was no room to keep it. It will be asked for.
    NextSession = "next_session",
    /// Of an older epoch, at or beyond what a later one cut off.
    VoidEpoch = "void_epoch",
    /// Its epoch or base contradicts what is known.
    WrongEpoch = "wrong_epoch",
    /// A listener's notice or a journal's end mark, which never travel.
    Local = "local",
    /// Not believed yet: held until another packet agrees.
    Unconfirmed = "unconfirmed",
    /// The window is full; its range stays missing and will be asked for.
    WindowFull = "window_full",
    /// Beyond the end of the session.
    AfterEnd = "after_end",
}

impl From<PacketError> for Dropped {
    fn from(error: PacketError) -> Self {
        match error {
            PacketError::Truncated => Dropped::Truncated,
            PacketError::Magic => Dropped::Magic,
            PacketError::Version => Dropped::Version,
            PacketError::Trailing => Dropped::Trailing,
            PacketError::Checksum => Dropped::Checksum,
            _ => Dropped::Malformed,
        }
    }
}

/// Packets dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCounts([u64; Dropped::ALL.len()]);

impl DropCounts {
    /// One more.
    pub fn add(&mut self, why: Dropped) {
        self.0[why as usize] += 1;
    }

    /// How many were dropped for this reason.
    pub fn get(&self, why: Dropped) -> u64 {
        self.0[why as usize]
    }

    /// Every reason that occurred, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Dropped, u64)> + '_ {
        Dropped::ALL
            .iter()
            .map(|&why| (why, self.get(why)))
            .filter(|(_, count)| *count > 0)
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}
