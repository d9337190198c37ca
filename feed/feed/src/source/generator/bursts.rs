//! Times between messages, in the bursts of a real market: short gaps follow short ones.
//!
//! [`GAPS`] counts, over the real hour (AAPL on NASDAQ, 21 June 2012, 09:30 to 10:30: 91,997 messages, 39 ms apart on
//! average, a sixteenth of them within the same nanosecond, half less than 0.5 ms), how long a gap was, by how long the
//! one before it was. Gaps are drawn from that chain, and stretched to the mean that is asked for.

use twinline_line::random::Random;

/// Classes of gaps: class 0 is below 2^10 ns, class n from 2^(n+9) ns to twice that.
const CLASSES: usize = 23;
/// Classes that are taken together for the gap before.
const TOGETHER: usize = 3;
/// Groups of classes.
const GROUPS: usize = CLASSES.div_ceil(TOGETHER);

/// How many gaps of each class followed a gap of each group of classes. A test counts them anew.
#[rustfmt::skip]
const GAPS: [[u32; CLASSES]; GROUPS] = [
    [1333, 276, 311, 400, 489, 569, 384, 1089, 477, 530, 1124, 461, 364, 304, 284, 327, 324, 429, 362, 268, 97, 23, 1],
    [1129, 182, 187, 204, 355, 956, 877, 786, 473, 484, 1232, 466, 377, 438, 321, 287, 243, 263, 236, 196, 62, 9, 0],
    [2049, 491, 536, 505, 609, 1374, 1849, 2235, 1674, 1692, 1921, 1186, 958, 868, 838, 832, 712, 712, 603, 507, 167, 43, 1],
    [812, 97, 177, 294, 306, 877, 1071, 1828, 1174, 1284, 2496, 1670, 1102, 1028, 933, 959, 760, 686, 634, 422, 161, 42, 3],
    [576, 97, 214, 377, 318, 809, 781, 1462, 584, 334, 1194, 548, 640, 713, 619, 629, 533, 516, 509, 344, 123, 26, 2],
    [866, 68, 110, 182, 160, 624, 836, 1780, 727, 272, 650, 361, 328, 601, 415, 496, 634, 689, 709, 477, 172, 36, 1],
    [576, 40, 60, 59, 75, 211, 402, 1284, 524, 206, 429, 250, 160, 407, 215, 237, 379, 519, 602, 455, 269, 62, 6],
    [39, 0, 0, 4, 0, 5, 11, 35, 20, 9, 12, 5, 3, 19, 13, 6, 10, 12, 20, 18, 14, 4, 0],
];

/// The class of a gap in nanoseconds.
#[cfg(test)]
fn class(gap: u64) -> usize {
    (u64::BITS - gap.leading_zeros()).saturating_sub(10) as usize
}

/// The shortest gap of a class, and one more than the longest, in nanoseconds.
const fn bounds(class: usize) -> (u64, u64) {
    if class == 0 {
        (0, 1 << 10)
    } else {
        (1 << (class + 9), 1 << (class + 10))
    }
}

/// The mean of what is drawn before it is stretched, in nanoseconds.
fn drawn_mean() -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for of_group in &GAPS {
        for (class, times) in of_group.iter().enumerate() {
            let (shortest, end) = bounds(class);
            sum += f64::from(*times) * (shortest + end) as f64 / 2.0;
            count += f64::from(*times);
        }
    }
    sum / count
}

/// Draws gaps.
#[derive(Debug)]
pub(super) struct Bursts {
    /// The counts of each row, summed up to each class.
    sums: [[u32; CLASSES]; GROUPS],
    /// Group of the gap before.
    before: usize,
    /// What a drawn nanosecond becomes.
    stretch: f64,
    /// Part of a nanosecond that is owed, so that rounding does not add up.
    rest: f64,
}

impl Bursts {
    /// Gaps of `mean` nanoseconds on average.
    pub(super) fn new(mean: f64) -> Self {
        let mut sums = GAPS;
        for row in &mut sums {
            let mut sum = 0;
            for entry in row {
                sum += *entry;
                *entry = sum;
            }
        }
        Self {
            sums,
            before: 0,
            stretch: mean / drawn_mean(),
            rest: 0.0,
        }
    }

    /// The next gap, in nanoseconds.
    #[inline]
    pub(super) fn next(&mut self, random: &mut Random) -> u64 {
        let row = &self.sums[self.before];
        let place = random.below(u64::from(row[CLASSES - 1])) as u32;
        let class = row.partition_point(|sum| *sum <= place);
        self.before = class / TOGETHER;
        let (shortest, end) = bounds(class);
        let gap = (shortest + random.below(end - shortest)) as f64 * self.stretch + self.rest;
        self.rest = gap.fract();
        gap as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::lobster::LobsterFile;
    use crate::source::pace::Pace;
    use crate::source::{EventSink, Source, SourceState};
    use std::path::Path;
    use twinline_wire::{Frame, Message};

    /// Source times of messages, taken from where each of the real hour's templates has them: the first eight bytes.
    struct Times(Vec<u64>);

    impl EventSink for Times {
        fn push<M: Message>(&mut self, message: &M) {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&message.as_bytes()[..8]);
            self.0.push(u64::from_le_bytes(bytes));
        }

        fn push_frame(&mut self, _frame: &Frame<'_>) {}

        // An event's messages have one time: it counts once.
        fn end_event(&mut self, _source: u16, position: u64) {
            self.0.truncate(position as usize);
        }
    }

    fn counted(times: &[u64]) -> [[u32; CLASSES]; GROUPS] {
        let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mut counts = [[0; CLASSES]; GROUPS];
        for pair in gaps.windows(2) {
            counts[class(pair[0]) / TOGETHER][class(pair[1])] += 1;
        }
        counts
    }

    #[test]
    fn the_table_is_what_the_real_hour_counts() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let path = root.join("../shared/data/aapl-20120621-0930-1030.lobster-messages.csv.gz");
        if !path.exists() {
            assert!(
                std::env::var_os("CI").is_none(),
                "in CI the real data must be there"
            );
            eprintln!("skipped: {} is not there", path.display());
            return;
        }
        let mut file = LobsterFile::open(&path, 1, None, Pace::Max).unwrap();
        let mut times = Times(Vec::new());
        while file.poll(0, &mut times).unwrap() != SourceState::End {}
        assert_eq!(times.0.len(), 91_997);
        assert_eq!(counted(&times.0), GAPS);
    }

    #[test]
    fn the_mean_is_as_asked_and_the_bursts_are_as_in_the_table() {
        let mut bursts = Bursts::new(50_000.0);
        let mut random = Random::new(5);
        let gaps: Vec<u64> = (0..400_000).map(|_| bursts.next(&mut random)).collect();
        let mean = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64;
        assert!((48_000.0..52_000.0).contains(&mean), "{mean}");
        // Within a burst short gaps follow short ones, more often than after long ones.
        let mut bursts = Bursts::new(drawn_mean());
        let mut time = 0;
        let times: Vec<u64> = (0..400_000)
            .map(|_| {
                time += bursts.next(&mut random);
                time
            })
            .collect();
        for (drawn, table) in counted(&times).iter().zip(&GAPS) {
            let (all_drawn, all): (u32, u32) = (drawn.iter().sum(), table.iter().sum());
            for (drawn, table) in drawn.iter().zip(table) {
                let (drawn, table) = (
                    f64::from(*drawn) / f64::from(all_drawn),
                    f64::from(*table) / f64::from(all),
                );
                assert!((drawn - table).abs() < 0.03, "{drawn} {table}");
            }
        }
    }
}
