//! `cargo bench -p twinline-benches`: prints what each piece of a message's way costs on this machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "{:<52} {:>10}  {:<12} {:>12}",
        "piece (median of 200 interleaved rounds)", "time", "", "of the floor"
    );
    for measure in twinline_benches::micro(200)? {
        println!(
            "{:<52} {:>7.2} ns  a {:<10} {:>10.1} x",
            measure.name, measure.nanoseconds, measure.unit, measure.to_floor
        );
    }
    Ok(())
}
