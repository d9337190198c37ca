//! Records how old messages are when they come: from their publishing to here, and from the listener to here.
//!
//! ```sh
//! cargo run --release --example latency -- /dev/shm/twinline 1 1000000    # a million messages of a listener's ring, channel 1
//! cargo run --release --example latency -- /var/lib/twinline/listener     # a recorded journal: only how old it is
//! ```
//!
//! What it shows: spinning on a core of its own; taking the newest rather than the missed, as old messages would measure the
//! overrun and not the way (`Overrun::Skip`); and that times are the clocks': from another host they are as right as its clock is
//! synchronised. Percentiles are printed at the end, in microseconds.

use hdrhistogram::Histogram;
use std::env;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use twinline_reader::{Event, Instruments, NoticeKind, Options, Overrun, Reader, Start, Wait};

type Failed = Box<dyn std::error::Error>;

/// Nanoseconds since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (place, channel, messages) = match &arguments[..] {
        [journal] => (journal, None, u64::MAX),
        [ring, channel] => (ring, Some(channel.parse()?), 1_000_000),
        [ring, channel, messages] => (ring, Some(channel.parse()?), messages.parse()?),
        _ => return Err("usage: latency RING-DIRECTORY CHANNEL [MESSAGES] or latency JOURNAL".into()),
    };
    let options = Options {
        name: "latency".into(),
        start: if channel.is_some() {
            Start::Now
        } else {
            Start::Oldest
        },
        overrun: Overrun::Skip,
        wait: Wait::Spin,
        // Neither books nor symbols: nothing but the way is measured.
        books: Instruments::None,
        symbols: false,
        ..Options::default()
    };
    let mut reader = match channel {
        Some(channel) => Reader::attach(Path::new(place), channel, options)?,
        None => Reader::open_journal(Path::new(place), options)?,
    };
    // From a nanosecond to a day, to three digits.
    let histogram = || Histogram::<u64>::new_with_bounds(1, 86_400_000_000_000, 3);
    let (mut from_sending, mut from_receiving) = (histogram()?, histogram()?);
    let mut missed = 0;
    while from_sending.len() < messages
        && let Some(event) = reader.next()?
    {
        match event {
            Event::Message(message) => {
                let now = now();
                from_sending.saturating_record(now.saturating_sub(message.sending_time).max(1));
                if let Some(received) = message.receive_time {
                    from_receiving.saturating_record(now.saturating_sub(received).max(1));
                }
            }
            Event::Notice(notice) => {
                if let NoticeKind::Missed(range) = notice.kind {
                    missed += range.len().unwrap_or(0);
                }
                eprintln!("{}: {:?}", notice.position, notice.kind);
            }
        }
    }
    println!("microseconds            messages       p50       p90       p99     p99.9    p99.99       max");
    print("sending to here", &from_sending);
    print("listener to here", &from_receiving);
    println!("missed: {missed} messages");
    Ok(())
}

fn print(name: &str, histogram: &Histogram<u64>) {
    if histogram.is_empty() {
        return;
    }
    print!("{name:<20} {:>11}", histogram.len());
    for quantile in [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0] {
        print!(" {:>9.2}", histogram.value_at_quantile(quantile) as f64 / 1000.0);
    }
    println!();
}
