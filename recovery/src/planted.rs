//! Bugs put in on purpose, to see that the simulator catches them. Only with the feature `planted-bugs` can one be
//! selected, for the thread that selects it; without it every question is answered "no" when the code is compiled.

/// Lets one bug of the enum `$bug` at a time be planted, for the thread that plants it.
#[doc(hidden)]
#[macro_export]
macro_rules! planted_bugs {
    ($bug:ident) => {
        #[cfg(any(test, feature = "planted-bugs"))]
        mod select {
            use super::$bug;
            use std::cell::Cell;

            thread_local! {
                static PLANTED: Cell<Option<$bug>> = const { Cell::new(None) };
            }

            /// Plants `bug` on this thread, instead of any other.
            pub fn plant(bug: Option<$bug>) {
                PLANTED.set(bug);
            }

            pub(crate) fn is_planted(bug: $bug) -> bool {
                PLANTED.get() == Some(bug)
            }
        }

        #[cfg(any(test, feature = "planted-bugs"))]
        pub(crate) use select::is_planted;
        #[cfg(any(test, feature = "planted-bugs"))]
        pub use select::plant;

        /// No: bugs are not compiled in.
        #[cfg(not(any(test, feature = "planted-bugs")))]
        #[inline(always)]
        pub(crate) const fn is_planted(_: $bug) -> bool {
            false
        }
    };
}

/// A bug in a replica, or in catching up from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// What is held is acknowledged before it is durable.
    AcknowledgedTooEarly,
    /// What an epoch made void stays in the journal.
    VoidTailKept,
    /// A publisher that heals from its replicas stops after one packet.
    HealedTooShort,
}

planted_bugs!(Bug);
