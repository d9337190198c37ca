//! `cargo bench -p twinline-benches --bench recovery [-- ROUNDS]`: gap to filled, bulk replay and many clients at once,
//! beside bare TCP.

use twinline_benches::recovery::{Options, run};

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let rounds = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let mut options = Options::default();
    if let Some(rounds) = rounds {
        options.rounds = rounds.parse()?;
    }
    let section = run(&options)?;
    for how in &section.how {
        println!("{how}");
    }
    for figure in &section.figures {
        let goal = figure.goal.map_or(String::new(), |goal| {
            format!(
                "goal {}, limit {}: {:?}",
                goal.goal,
                goal.limit,
                goal.reached(figure.value.middle())
            )
        });
        println!("{:<66} {:?} {} {goal}", figure.name, figure.value, figure.unit);
    }
    for of in &section.distributions {
        let at = [0.5, 0.9, 0.99, 1.0].map(|quantile| format!("{:.1}", of.at(quantile) as f64 / 1e3));
        println!(
            "{:<40} n {:>6}  p50 p90 p99 max us  {}",
            of.name,
            of.count,
            at.join("  ")
        );
    }
    Ok(())
}
