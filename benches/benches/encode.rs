//! `cargo bench -p twinline-benches --bench encode -- [ROUNDS [DIR [FILE]]]`: what an ITCH message costs until it is SBE in
//! the journal.

use std::path::{Path, PathBuf};
use twinline_benches::encode::{Error, Options, run};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    let (rounds, dir, file) = (arguments.next(), arguments.next(), arguments.next());
    let real =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/aapl-20120621-0930-1030.itch50.gz");
    let hour = file.map(PathBuf::from).or(real.exists().then_some(real));
    let mut options = Options::new(hour);
    if let Some(rounds) = rounds {
        options.rounds = rounds.parse()?;
    }
    if let Some(dir) = dir {
        options.dir = dir.into();
    }
    let section = run(&options)?;
    println!("{}", section.title);
    section.how.iter().for_each(|line| println!("  {line}"));
    for figure in &section.figures {
        println!(
            "{:<52} {:>8.2} {}",
            figure.name,
            figure.value.middle(),
            figure.unit
        );
    }
    Ok(())
}
