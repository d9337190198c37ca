//! `cargo bench -p twinline-benches --bench book -- FILE [ROUNDS]`: messages a second through full books.

use std::hint::black_box;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    let path = arguments.next().map_or_else(
        || {
            PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("../../shared/data/aapl-20120621-0930-1030.itch50.gz")
        },
        PathBuf::from,
    );
    let rounds: usize = arguments.next().map_or(Ok(5), |text| text.parse())?;
    if !path.exists() {
        println!("skipped: {} is not there; name an ITCH 5.0 file", path.display());
        return Ok(());
    }
    let itch = twinline_benches::book::load(&path)?;
    for _ in 0..rounds {
        let run = twinline_benches::book::run(&itch, |change| _ = black_box(change.best));
        let nanoseconds = run.elapsed.as_nanos() as f64;
        println!(
            "{} messages, {} changes, {} live orders: {:.2} million messages/s, {:.1} ns each",
            run.messages,
            run.changes,
            run.books.live_orders(),
            run.messages as f64 * 1e3 / nanoseconds,
            nanoseconds / run.messages as f64
        );
    }
    let run = twinline_benches::book::snapshot(1_000_000);
    println!(
        "snapshot of a million live orders: {:.1} MB, encoded in {:.1} ms, decoded in {:.1} ms",
        run.bytes as f64 / 1e6,
        run.encode.as_secs_f64() * 1e3,
        run.decode.as_secs_f64() * 1e3
    );
    Ok(())
}
