//! The packet journal.
