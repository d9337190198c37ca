//! `cargo bench -p twinline-benches`: prints what each piece of a message's way costs on this machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let title = "piece (median of 400 interleaved rounds)";
    println!("{title:<52}       time               of the floor  goal");
    for measure in twinline_benches::micro(400)? {
        let goal = measure.goal.map_or(String::new(), |goal| {
            let reached = goal.reached(measure.nanoseconds.median);
            format!("{} ns, not beyond {}: {reached:?}", goal.goal, goal.limit)
        });
        println!(
            "{:<52} {:>7.2} ns  a {:<10} {:>10.1} x  {goal}",
            measure.name, measure.nanoseconds.median, measure.unit, measure.to_floor.median
        );
    }
    Ok(())
}
