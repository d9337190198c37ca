//! `cargo bench -p twinline-benches --bench fanout`: from the first listener that has a message to the last, 1 to 60 of
//! them in network namespaces. Needs root.

mod print;

use twinline_benches::fanout::{Options, run};
use twinline_benches::harness::watch::Watch;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    print::print(&run(&Options::default(), &Watch::silent())?);
    Ok(())
}
