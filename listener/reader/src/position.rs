//! Where a program stands in a channel's stream, as text that can be kept anywhere.

use std::fmt;
use std::str::FromStr;

/// The place of the next message: all before it were had.
///
/// As text it is `SESSION:EPOCH:SEQUENCE`. It means the same in every journal of the channel, a publisher's or any listener's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The session; 0 before the first message.
    pub session: u32,
    /// The epoch of the message had last.
    pub epoch: u32,
    /// The sequence of the next message.
    pub sequence: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.session, self.epoch, self.sequence)
    }
}

/// Text that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no position: it must be SESSION:EPOCH:SEQUENCE, three numbers")]
pub struct PositionError(String);

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let wrong = || PositionError(text.to_owned());
        let mut parts = text.trim().split(':');
        let mut part = || parts.next().ok_or_else(wrong);
        let (session, epoch, sequence) = (part()?, part()?, part()?);
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self {
            session: session.parse().map_err(|_| wrong())?,
            epoch: epoch.parse().map_err(|_| wrong())?,
            sequence: sequence.parse().map_err(|_| wrong())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_as_text_and_other_text_is_refused() {
        let position = Position {
            session: u32::MAX,
            epoch: 7,
            sequence: u64::MAX,
        };
        assert_eq!(position.to_string().parse(), Ok(position));
        assert_eq!(" 20260717:1:42\n".parse::<Position>().unwrap().sequence, 42);
        for wrong in [
            "",
            "1",
            "1:2",
            "1:2:3:4",
            "1:2:-3",
            "a:2:3",
            "1:2:18446744073709551616",
        ] {
            let error = wrong.parse::<Position>().unwrap_err();
            assert!(error.to_string().contains(&format!("{wrong:?}")), "{error}");
        }
    }
}
