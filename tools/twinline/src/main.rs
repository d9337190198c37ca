//! The twinline command.
fn main() {}
