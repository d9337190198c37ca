//! The rule that spreads symbols over channels.

use core::str::FromStr;

/// Which channel a symbol goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// Evenly, by a hash of the symbol that is the same in every build and on every machine.
    #[default]
    Hash,
    /// By a list of names, ranges and the rest.
    List(List),
}

/// A list of names, ranges and the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    names: Vec<(String, u16)>,
    ranges: Vec<Range>,
    rest: u16,
}

/// Symbols that begin with `from` to `to`, both included.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    from: String,
    to: String,
    channel: u16,
}

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpreadError {
    /// A part of it cannot be read.
    #[error("{part:?} is no part of a rule: write a range as A-F=1, a name as TSLA=2, the rest as *=3")]
    Part {
        /// The part.
        part: String,
    },
    /// A range is empty.
    #[error("{from}-{to} begins after its end: write {to}-{from}, or a name with a hyphen in quotes")]
    Empty {
        /// The range's first beginning.
        from: String,
        /// Its last.
        to: String,
    },
    /// Two parts speak of the same symbols.
    #[error("{one} and {other} both cover some symbols: let every symbol have one channel")]
    Overlap {
        /// One part.
        one: String,
        /// The other.
        other: String,
    },
    /// Symbols are left over.
    #[error("the rule does not say where all other symbols go: add *=CHANNEL")]
    NoRest,
    /// It names a channel that is not published.
    #[error(
        "the rule names channel {channel}, which is not one of those published ({})",
        list(published)
    )]
    UnknownChannel {
        /// The channel.
        channel: u16,
        /// Those published.
        published: Vec<u16>,
    },
}

fn list(channels: &[u16]) -> String {
    let texts: Vec<_> = channels.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

impl Range {
    fn holds(&self, symbol: &str) -> bool {
        symbol >= self.from.as_str() && begins_by(symbol, &self.to)
    }
}

/// True if `symbol` begins with `last` or stands before all that do.
fn begins_by(symbol: &str, last: &str) -> bool {
    let length = symbol.len().min(last.len());
    symbol.as_bytes()[..length] <= last.as_bytes()[..]
}

impl FromStr for Spread {
    type Err = SpreadError;

    fn from_str(text: &str) -> Result<Self, SpreadError> {
        if text.trim() == "hash" {
            return Ok(Self::Hash);
        }
        let mut names: Vec<(String, u16)> = Vec::new();
        let mut ranges: Vec<Range> = Vec::new();
        let mut rest = None;
        for part in text.split(',').map(str::trim) {
            let bad = || SpreadError::Part { part: part.into() };
            let overlap = |one: String, other: &str| SpreadError::Overlap {
                one,
                other: other.into(),
            };
            let (what, channel) = part.rsplit_once('=').ok_or_else(bad)?;
            let channel = channel.trim().parse().map_err(|_| bad())?;
            let what = what.trim();
            if what.is_empty() {
                return Err(bad());
            }
            if what == "*" {
                if rest.replace(channel).is_some() {
                    return Err(overlap("*".into(), "*"));
                }
            } else if let Some((from, to)) = what.split_once('-').filter(|_| !what.starts_with('"')) {
                let (from, to) = (from.to_string(), to.to_string());
                if from.is_empty() || to.is_empty() {
                    return Err(bad());
                }
                if !begins_by(&from, &to) {
                    return Err(SpreadError::Empty { from, to });
                }
                let clash = |other: &&Range| begins_by(&from, &other.to) && begins_by(&other.from, &to);
                if let Some(other) = ranges.iter().find(clash) {
                    return Err(overlap(format!("{}-{}", other.from, other.to), what));
                }
                ranges.push(Range { from, to, channel });
            } else {
                let name = what.trim_matches('"');
                if names.iter().any(|(other, _)| other == name) {
                    return Err(overlap(name.into(), name));
                }
                names.push((name.into(), channel));
            }
        }
        let rest = rest.ok_or(SpreadError::NoRest)?;
        Ok(Self::List(List { names, ranges, rest }))
    }
}

impl Spread {
    /// That the rule names only channels of `published`.
    ///
    /// # Errors
    /// [`SpreadError::UnknownChannel`].
    pub fn check(&self, published: &[u16]) -> Result<(), SpreadError> {
        let Self::List(list) = self else {
            return Ok(());
        };
        let ranges = list.ranges.iter().map(|range| range.channel);
        let names = list.names.iter().map(|&(_, channel)| channel);
        match ranges
            .chain(names)
            .chain([list.rest])
            .find(|channel| !published.contains(channel))
        {
            None => Ok(()),
            Some(channel) => Err(SpreadError::UnknownChannel {
                channel,
                published: published.to_vec(),
            }),
        }
    }

    /// The place in `channels` of the one that `symbol` goes to. A name counts before a range.
    pub fn of_symbol(&self, symbol: &str, channels: &[u16]) -> usize {
        let list = match self {
            Self::Hash => return even(symbol.as_bytes(), channels),
            Self::List(list) => list,
        };
        let name = list.names.iter().find(|(name, _)| name == symbol);
        let range = || list.ranges.iter().find(|range| range.holds(symbol));
        let channel = match name {
            Some(&(_, channel)) => channel,
            None => range().map_or(list.rest, |range| range.channel),
        };
        place(channel, channels)
    }

    /// The same for an instrument of which only the number is known, because nothing named it: by its hash, or with the
    /// rest.
    pub fn of_number(&self, instrument: u32, channels: &[u16]) -> usize {
        match self {
            Self::Hash => even(&instrument.to_le_bytes(), channels),
            Self::List(list) => place(list.rest, channels),
        }
    }
}

/// The place of `channel`, which is one of `channels` after [`Spread::check`].
fn place(channel: u16, channels: &[u16]) -> usize {
    channels.iter().position(|&at| at == channel).unwrap_or(0)
}

/// FNV-1a, folded.
fn even(bytes: &[u8], channels: &[u16]) -> usize {
    let hash = bytes.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    ((hash ^ hash >> 32) % channels.len() as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNELS: [u16; 3] = [1, 2, 3];

    fn channel(rule: &str, symbol: &str) -> u16 {
        let rule: Spread = rule.parse().unwrap();
        rule.check(&CHANNELS).unwrap();
        CHANNELS[rule.of_symbol(symbol, &CHANNELS)]
    }

    #[test]
    fn symbols_go_by_name_then_by_range_then_to_the_rest() {
        let rule = "A-F=1, G-M=2, TSLA=2, \"BRK-B\"=3, FOX=3, *=3";
        for (symbol, at) in [
            ("A", 1),
            ("AAPL", 1),
            ("FZZZ", 1),
            ("FOX", 3),
            ("FOXA", 1),
            ("G", 2),
            ("MSFT", 2),
            ("N", 3),
            ("TSLA", 2),
            ("TSLAX", 3),
            ("BRK-B", 3),
            ("1", 3),
            ("", 3),
        ] {
            assert_eq!(channel(rule, symbol), at, "{symbol}");
        }
    }

    #[test]
    fn ranges_may_be_of_longer_beginnings() {
        let rule = "AA-AM=1,AN-B=2,*=3";
        for (symbol, at) in [
            ("A", 3),
            ("AAPL", 1),
            ("AMZN", 1),
            ("ANET", 2),
            ("BZ", 2),
            ("C", 3),
        ] {
            assert_eq!(channel(rule, symbol), at, "{symbol}");
        }
    }

    #[test]
    fn the_hash_is_the_same_for_ever_and_uses_all_channels() {
        let of = |symbol: &str| Spread::Hash.of_symbol(symbol, &CHANNELS);
        assert_eq!(["AAPL", "MSFT", "TSLA", "IBM"].map(of), [0, 1, 1, 1]);
        let mut counts = [0; 3];
        for n in 0..3000 {
            counts[of(&format!("S{n:04}"))] += 1;
        }
        assert!(
            counts.iter().all(|&count| (800..1200).contains(&count)),
            "{counts:?}"
        );
    }

    #[test]
    fn what_is_no_rule_is_refused_with_what_to_do() {
        let refused = |text: &str| Spread::from_str(text).unwrap_err();
        assert!(matches!(refused("A-F"), SpreadError::Part { .. }));
        assert!(matches!(refused("A-F=x"), SpreadError::Part { .. }));
        assert!(matches!(refused("A-F=1,,*=2"), SpreadError::Part { .. }));
        assert!(matches!(refused(""), SpreadError::Part { .. }));
        assert!(matches!(refused("A-=1,*=2"), SpreadError::Part { .. }));
        assert_eq!(refused("A-F=1"), SpreadError::NoRest);
        assert!(matches!(refused("F-A=1,*=2"), SpreadError::Empty { .. }));
        assert!(matches!(refused("A-F=1,F-M=2,*=3"), SpreadError::Overlap { .. }));
        assert!(matches!(
            refused("A-C=1,AB-AC=2,*=3"),
            SpreadError::Overlap { .. }
        ));
        assert!(matches!(refused("X=1,X=2,*=3"), SpreadError::Overlap { .. }));
        assert!(matches!(refused("*=1,*=2"), SpreadError::Overlap { .. }));
        let error = Spread::from_str("A-F=1,*=9")
            .unwrap()
            .check(&CHANNELS)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the rule names channel 9, which is not one of those published (1, 2, 3)"
        );
    }
}
