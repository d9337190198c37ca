//! `cargo bench -p twinline-benches --bench recovery [-- ROUNDS]`: gap to filled, bulk replay and many clients at once,
//! beside bare TCP.

mod print;

use twinline_benches::harness::watch::Watch;
use twinline_benches::recovery::{Options, run};

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let rounds = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let mut options = Options::default();
    if let Some(rounds) = rounds {
        options.rounds = rounds.parse()?;
    }
    print::print(&run(&options, &Watch::silent())?);
    Ok(())
}
