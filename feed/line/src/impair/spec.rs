//! What an impairer is to do, as text: `loss=2%,both=0.5%,dup=1%,reorder=1%,corrupt=0.1%,line=a,seed=7`.

use crate::Line;
use std::fmt;
use std::str::FromStr;

/// Shares of packets that meet each fault, in percent, and the seed that decides which. Whatever is not named is 0, the
/// seed 1, and both lines meet the faults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    /// Lost on one line: each line's packets independently.
    pub loss: f64,
    /// Lost on both lines.
    pub both: f64,
    /// Delivered twice.
    pub dup: f64,
    /// Held back until later packets of the line have passed.
    pub reorder: f64,
    /// Delivered with one bit flipped, so that the checksum takes it out.
    pub corrupt: f64,
    /// The only line whose packets meet a fault of that line's own (all but `both`).
    pub line: Option<Line>,
    /// Decides which packets; the same seed on the same packets does the same.
    pub seed: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            loss: 0.0,
            both: 0.0,
            dup: 0.0,
            reorder: 0.0,
            corrupt: 0.0,
            line: None,
            seed: 1,
        }
    }
}

/// A specification that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "impairment {part:?}: {what}; write for example loss=2%,both=0.5%,dup=1%,reorder=1%,corrupt=0.1%,seed=7"
)]
pub struct SpecError {
    /// The part that is wrong.
    pub part: String,
    /// What is wrong with it.
    pub what: &'static str,
}

impl Spec {
    /// The same faults for receiver number `index` of several: the seed is another for each (`seed + index`), so
    /// receivers lose different packets. That goes for `both` too: what one receiver loses on both of its lines, another
    /// may have; it is never lost at the publisher.
    #[must_use]
    pub fn for_receiver(self, index: u64) -> Self {
        Self {
            seed: self.seed.wrapping_add(index),
            ..self
        }
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut spec = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let wrong = |what| SpecError {
                part: part.into(),
                what,
            };
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| wrong("it is not NAME=VALUE"))?;
            if seen.contains(&key) {
                return Err(wrong("it is there twice"));
            }
            seen.push(key);
            let share = match key {
                "loss" => &mut spec.loss,
                "both" => &mut spec.both,
                "dup" => &mut spec.dup,
                "reorder" => &mut spec.reorder,
                "corrupt" => &mut spec.corrupt,
                "seed" => {
                    spec.seed = value
                        .parse()
                        .map_err(|_| wrong("the seed is not a whole number"))?;
                    continue;
                }
                "line" => {
                    spec.line = match value {
                        "a" => Some(Line::A),
                        "b" => Some(Line::B),
                        _ => return Err(wrong("the line is not a or b")),
                    };
                    continue;
                }
                _ => return Err(wrong("there is no such fault: loss, both, dup, reorder, corrupt")),
            };
            *share = value
                .strip_suffix('%')
                .and_then(|number| number.parse().ok())
                .filter(|percent| (0.0..=100.0).contains(percent))
                .ok_or_else(|| wrong("the value is not a percentage from 0% to 100%"))?;
        }
        if spec.loss + spec.dup + spec.reorder + spec.corrupt > 100.0 {
            return Err(SpecError {
                part: text.into(),
                what: "loss, dup, reorder and corrupt are more than 100% together, and a packet meets one of them",
            });
        }
        Ok(spec)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, share) in [
            ("loss", self.loss),
            ("both", self.both),
            ("dup", self.dup),
            ("reorder", self.reorder),
            ("corrupt", self.corrupt),
        ] {
            if share > 0.0 {
                write!(f, "{name}={share}%,")?;
            }
        }
        if let Some(line) = self.line {
            write!(f, "line={},", ["a", "b"][line.index()])?;
        }
        write!(f, "seed={}", self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_of_a_specification_can_be_left_out() {
        let spec: Spec = "loss=2%,both=0.5%,dup=1%,reorder=1%,corrupt=0.1%,seed=7"
            .parse()
            .unwrap();
        let all = (
            spec.loss,
            spec.both,
            spec.dup,
            spec.reorder,
            spec.corrupt,
            spec.seed,
        );
        assert_eq!(all, (2.0, 0.5, 1.0, 1.0, 0.1, 7));
        let spec: Spec = "both=100%".parse().unwrap();
        assert_eq!((spec.loss, spec.both, spec.seed), (0.0, 100.0, 1));
        assert_eq!("seed=9, loss=0%".parse::<Spec>().unwrap().seed, 9);
    }

    #[test]
    fn a_specification_is_printed_as_it_is_read() {
        for text in [
            "loss=2%,both=0.5%,dup=1%,reorder=1%,corrupt=0.1%,seed=7",
            "loss=2%,line=b,seed=4",
            "seed=3",
        ] {
            assert_eq!(text.parse::<Spec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_specification_says_which_part_and_what_is_wrong() {
        for (text, part, what) in [
            ("loss=2%,delay=1%", "delay=1%", "no such fault"),
            ("loss=2", "loss=2", "percentage"),
            ("loss=101%", "loss=101%", "percentage"),
            ("loss=-1%", "loss=-1%", "percentage"),
            ("loss=NaN%", "loss=NaN%", "percentage"),
            ("loss=%", "loss=%", "percentage"),
            ("loss=2%,line=c", "line=c", "not a or b"),
            ("seed=x", "seed=x", "whole number"),
            ("loss", "loss", "NAME=VALUE"),
            ("", "", "NAME=VALUE"),
            ("loss=1%,loss=2%", "loss=2%", "twice"),
            ("loss=60%,dup=50%", "loss=60%,dup=50%", "more than 100%"),
        ] {
            let error = text.parse::<Spec>().unwrap_err();
            assert_eq!(error.part, part);
            assert!(error.to_string().contains(what), "{text:?}: {error}");
        }
    }
}
