//! Values with units, as they stand on the command line: `100ms`, `64MiB`.

use std::num::NonZeroU64;
use std::time::Duration;

const DURATIONS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

const SIZES: &[(&str, u64)] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

const RATES: &[(&str, u64)] = &[("k", 1_000), ("M", 1_000_000)];

const LINE_RATES: &[(&str, u64)] = &[("M", 1_000_000), ("G", 1_000_000_000)];
const LEAST_LINE_RATE: u64 = 10_000_000;

/// A duration: a number and one of `ns us ms s m h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    with_unit(text, DURATIONS)
        .map(Duration::from_nanos)
        .ok_or_else(|| format!("{text:?} is not a duration: write 250us, 100ms, 10s, 5m or 1h"))
}

/// A number of bytes: a whole number, or a number and one of `B KiB MiB GiB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let bytes = text.parse().ok().or_else(|| with_unit(text, SIZES));
    bytes.ok_or_else(|| format!("{text:?} is not a size: write 4096, 64KiB, 64MiB or 1GiB"))
}

/// A number of bytes that fits this machine.
pub(crate) fn size_in_memory(text: &str) -> Result<usize, String> {
    usize::try_from(size(text)?).map_err(|_| format!("{text} is more than this machine can address"))
}

/// Messages a second: a whole number, or a number and one of `k M`; `/s` may stand behind it.
pub(crate) fn rate(text: &str) -> Result<NonZeroU64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let rate = number.parse().ok().or_else(|| with_unit(number, RATES));
    rate.and_then(NonZeroU64::new)
        .ok_or_else(|| format!("{text:?} is not a rate: write 500, 20k or 1.5M, messages a second"))
}

/// Bits a second of a line: a whole number, or a number and one of `M G`. Not so few that one burst would hold up the
/// heartbeats.
pub(crate) fn line_rate(text: &str) -> Result<NonZeroU64, String> {
    let rate = text.parse().ok().or_else(|| with_unit(text, LINE_RATES));
    rate.filter(|rate| *rate >= LEAST_LINE_RATE)
        .and_then(NonZeroU64::new)
        .ok_or_else(|| {
            format!("{text:?} is not a line's rate: write 800M or 9.5G, bits a second, 10M or more")
        })
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(*factor);
    }
    let number: f64 = number.parse().ok()?;
    let value = number * *factor as f64;
    (value < u64::MAX as f64).then_some(value as u64)
}

/// `bytes` for people: `1.5 MiB`.
pub(crate) fn show_bytes(bytes: u64) -> String {
    let unit = SIZES.iter().rev().find(|(_, factor)| bytes >= *factor);
    match unit {
        Some(("B", _)) | None => format!("{bytes} B"),
        Some((name, factor)) => format!("{:.1} {name}", bytes as f64 / *factor as f64),
    }
}

/// Nanoseconds for people: `4.2 us`.
pub(crate) fn show_nanos(nanos: u64) -> String {
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => format!("{:.1} us", nanos as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", nanos as f64 / 1e6),
        _ => format!("{:.2} s", nanos as f64 / 1e9),
    }
}

/// A count for people: `1,234,567`.
pub(crate) fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_take_fractions() {
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["100", "", "ms", "-1s", "1d", "1.2.3s", "99999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_lines_rate_takes_a_unit_or_none_and_has_a_least() {
        let rate = |text| line_rate(text).map(NonZeroU64::get).ok();
        assert_eq!(rate("9.5G"), Some(9_500_000_000));
        assert_eq!(rate("800M"), Some(800_000_000));
        assert_eq!(rate("10000000"), Some(10_000_000));
        for wrong in ["9999999", "0", "9.9M", "10", "1T", "fast", "1G/s"] {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn rates_take_a_unit_or_none() {
        for (text, messages) in [("500", 500), ("20k", 20_000), ("1.5M/s", 1_500_000), ("7/s", 7)] {
            assert_eq!(rate(text), Ok(NonZeroU64::new(messages).unwrap()), "{text}");
        }
        for wrong in ["", "0", "k", "20K", "-5", "1e3", "0.0001k"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_take_a_unit_or_none() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("0.5KiB"), Ok(512));
        for wrong in ["", "64MB", "MiB", "-1", "1e3"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn figures_are_shown_in_a_unit_that_suits_them() {
        assert_eq!(show_bytes(1023), "1023 B");
        assert_eq!(show_bytes(3 << 19), "1.5 MiB");
        assert_eq!(show_nanos(4_230), "4.2 us");
        assert_eq!(show_nanos(2_000_000_000), "2.00 s");
        assert_eq!(show_count(1_234_567), "1,234,567");
        assert_eq!(show_count(12), "12");
    }
}
