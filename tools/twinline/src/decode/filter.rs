//! What `decode` shows of what it finds: filters on packets and on messages, and the symbols that definitions name.

use clap::Args;
use std::collections::HashMap;
use std::ops::ControlFlow;
use twinline_line::Line;
use twinline_wire::market::InstrumentDefinition;
use twinline_wire::message::{self, Value};
use twinline_wire::{Frame, Packet};

/// Filters; what passes all of them is shown.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct Filter {
    /// Messages of this instrument: its symbol, once a definition named it, or its number; may be given several times
    #[arg(long, value_name = "SYMBOL|NUMBER", value_delimiter = ',')]
    symbol: Vec<String>,
    /// Messages of this template: its name or id, as in AddOrder or 12; may be given several times
    #[arg(long, value_name = "NAME|ID", value_delimiter = ',', value_parser = template)]
    template: Vec<u16>,
    /// Messages from sequence A up to but not B: A..B, A.. or ..B
    #[arg(long, value_name = "A..B", value_parser = sequences)]
    sequence: Option<(u64, u64)>,
    /// Packets of this session
    #[arg(long, value_name = "NUMBER")]
    session: Option<u32>,
    /// Packets of this channel
    #[arg(long, value_name = "NUMBER")]
    channel: Option<u16>,
    /// Packets sent from FROM up to but not TO, each in UTC (2026-11-24T08:30:00Z), in nanoseconds since 1970, or a time
    /// of day (08:30:00.5); one of the two may be left out
    #[arg(long, value_name = "FROM..TO", value_parser = times)]
    time: Option<Times>,
    /// Packets of this line
    #[arg(long, value_name = "a|b", value_parser = line)]
    line: Option<Line>,
}

/// A span of sending times.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Times {
    from: Option<Moment>,
    to: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    /// Nanoseconds since the Unix epoch.
    At(u64),
    /// Nanoseconds since midnight UTC.
    OfDay(u64),
}

impl Times {
    /// Both ends in nanoseconds since the Unix epoch; times of day are those of the day of `time`.
    pub(crate) fn on_day_of(self, time: u64) -> (Option<u64>, Option<u64>) {
        let at = |moment: Moment| match moment {
            Moment::At(at) => at,
            Moment::OfDay(at) => time - time % DAY + at,
        };
        (self.from.map(at), self.to.map(at))
    }
}

const DAY: u64 = 86_400_000_000_000;

impl Moment {
    fn is_after(self, time: u64) -> bool {
        match self {
            Moment::At(at) => time < at,
            Moment::OfDay(at) => time % DAY < at,
        }
    }
}

impl Filter {
    /// Only these sequences of this session pass from now on.
    pub(crate) fn limit_to(&mut self, session: u32, sequences: (u64, u64)) {
        (self.session, self.sequence) = (Some(session), Some(sequences));
    }

    /// The one session that passes, if one was named.
    pub(crate) fn session(&self) -> Option<u32> {
        self.session
    }

    /// The one channel that passes, if one was named.
    pub(crate) fn channel(&self) -> Option<u16> {
        self.channel
    }

    /// True if a packet of this header may be shown.
    pub(crate) fn takes_packet(&self, packet: &Packet<'_>, line: Option<Line>) -> bool {
        let header = packet.header();
        let time = header.sending_time.get();
        self.session.is_none_or(|session| header.session.get() == session)
            && self.channel.is_none_or(|channel| header.channel.get() == channel)
            && (self.line.is_none() || line == self.line)
            && self.time.is_none_or(|times| {
                !times.from.is_some_and(|from| from.is_after(time))
                    && times.to.is_none_or(|to| to.is_after(time))
            })
    }

    /// True if a packet without messages may be shown: none of the filters asks for something in a message.
    pub(crate) fn takes_empty(&self, packet: &Packet<'_>) -> bool {
        self.symbol.is_empty() && self.template.is_empty() && self.takes_sequence(packet.sequence())
    }

    /// True if the message may be shown.
    pub(crate) fn takes_message(&self, sequence: u64, frame: &Frame<'_>, symbols: &Symbols) -> bool {
        self.takes_sequence(sequence)
            && (self.template.is_empty() || self.template.contains(&frame.template()))
            && (self.symbol.is_empty()
                || frame
                    .instrument()
                    .is_some_and(|number| symbols.is_one_of(number, &self.symbol)))
    }

    fn takes_sequence(&self, sequence: u64) -> bool {
        self.sequence
            .is_none_or(|(begin, end)| (begin..end).contains(&sequence))
    }
}

/// Names of instruments, as definitions said them.
#[derive(Debug, Default)]
pub(crate) struct Symbols(HashMap<(u16, u32), String>, u16);

impl Symbols {
    /// Learns what the packet's definitions say. Numbers are those of its channel.
    pub(crate) fn learn(&mut self, packet: &Packet<'_>) {
        self.1 = packet.header().channel.get();
        for (_, frame) in packet.messages() {
            if let Some(definition) = frame.view::<InstrumentDefinition>() {
                let symbol = definition.symbol.as_str().to_string();
                self.0.insert((self.1, definition.instrument.get()), symbol);
            }
        }
    }

    /// The symbol of an instrument of the packet learned last.
    pub(crate) fn name(&self, instrument: u32) -> Option<&str> {
        self.0.get(&(self.1, instrument)).map(String::as_str)
    }

    fn is_one_of(&self, instrument: u32, wanted: &[String]) -> bool {
        let name = self.name(instrument);
        wanted
            .iter()
            .any(|text| Some(text.as_str()) == name || text.parse() == Ok(instrument))
    }
}

fn template(text: &str) -> Result<u16, String> {
    let by_name = message::TEMPLATES
        .iter()
        .find(|known| known.name.eq_ignore_ascii_case(text));
    by_name
        .map(|known| known.template)
        .or_else(|| text.parse().ok())
        .ok_or_else(|| {
            let names: Vec<_> = message::TEMPLATES
                .iter()
                .filter(|known| known.template < 70)
                .map(|known| known.name)
                .collect();
            format!(
                "{text:?} is no template: take an id or one of {}",
                names.join(", ")
            )
        })
}

pub(crate) fn sequences(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("{text:?} is not a range of sequences: write 100..200, 100.. or ..200");
    let (begin, end) = text.split_once("..").ok_or_else(wrong)?;
    let read = |text: &str, none: u64| match text {
        "" => Ok(none),
        _ => text.parse().map_err(|_| wrong()),
    };
    let range = (read(begin, 0)?, read(end, u64::MAX)?);
    if range.0 < range.1 {
        Ok(range)
    } else {
        Err(wrong())
    }
}

fn line(text: &str) -> Result<Line, String> {
    match text {
        "a" | "A" => Ok(Line::A),
        "b" | "B" => Ok(Line::B),
        _ => Err(format!("{text:?} is not a line: write a or b")),
    }
}

pub(crate) fn times(text: &str) -> Result<Times, String> {
    let wrong = || {
        format!(
            "{text:?} is not a span of time: write FROM..TO with 2026-11-24T08:30:00Z, 08:30:00 (both UTC) or nanoseconds"
        )
    };
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let read = |text: &str| match text {
        "" => Ok(None),
        _ => moment(text).map(Some).ok_or_else(wrong),
    };
    Ok(Times {
        from: read(from)?,
        to: read(to)?,
    })
}

fn moment(text: &str) -> Option<Moment> {
    if let Ok(nanos) = text.parse() {
        return Some(Moment::At(nanos));
    }
    let Some((date, time)) = text.split_once(['T', ' ']) else {
        return of_day(text).map(Moment::OfDay);
    };
    let mut parts = date.splitn(3, '-').map(str::parse::<u16>);
    let mut part = || parts.next()?.ok();
    let days = days_of(part()?, part()?, part()?)?;
    let nanos = of_day(time.strip_suffix(['Z', 'z'])?)?;
    Some(Moment::At(days.checked_mul(DAY)?.checked_add(nanos)?))
}

/// `HH:MM:SS` with up to nine decimals, in nanoseconds.
fn of_day(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let mut nanos = 0;
    let mut places = 0;
    for (field, limit) in whole.split(':').zip([24, 60, 60]) {
        let value: u64 = field.parse().ok().filter(|value| *value < limit)?;
        (nanos, places) = (nanos * 60 + value, places + 1);
    }
    if places != 3 || whole.split(':').count() != 3 || part.is_empty() || part.len() > 9 {
        return None;
    }
    let part: u64 = part
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| format!("{part:0<9}").parse().ok())??;
    Some(nanos * 1_000_000_000 + part)
}

/// Days from 1970-01-01 to a date that is not before it.
fn days_of(year: u16, month: u16, day: u16) -> Option<u64> {
    let leap = |year: u16| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = |year| {
        [
            31,
            if leap(year) { 29 } else { 28 },
            31,
            30,
            31,
            30,
            31,
            31,
            30,
            31,
            30,
            31,
        ]
    };
    let length = *lengths(year).get(usize::from(month.checked_sub(1)?))?;
    if !(1970..=2500).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    let years: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let months: u16 = lengths(year).iter().take(usize::from(month) - 1).sum();
    Some(years + u64::from(months) + u64::from(day) - 1)
}

/// A sending or receive time in UTC, as in `2026-11-24T08:30:00.000000001Z`.
pub(crate) fn show_time(nanos: u64) -> String {
    // Days from 0000-03-01, whose years end with February.
    let days = nanos / DAY + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let of_day = nanos % DAY;
    let (seconds, part) = (of_day / 1_000_000_000, of_day % 1_000_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{part:09}Z")
}

/// A field's value as text without quotes; nothing if it is absent.
pub(crate) fn show_value(value: Value<'_>) -> String {
    match value {
        Value::Absent => String::new(),
        Value::Unsigned(number) => number.to_string(),
        Value::Price(price) => price.to_string(),
        Value::Text(text) => text.into(),
        Value::Code(name) => name.into(),
        Value::Flags(bits, definition) => {
            let names = definition.values.iter().filter(|(bit, _)| bits & (1 << bit) != 0);
            names.map(|(_, name)| *name).collect::<Vec<_>>().join("|")
        }
    }
}

/// What reading goes on or stops with.
pub(crate) type Flow = ControlFlow<()>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_three_ways_and_shown_again() {
        assert_eq!(
            moment("1353744000000000001"),
            Some(Moment::At(1_353_744_000_000_000_001))
        );
        assert_eq!(moment("00:00:01.5"), Some(Moment::OfDay(1_500_000_000)));
        for (text, nanos) in [
            ("1970-01-01T00:00:00.000000000Z", 0),
            ("2000-02-29T23:59:59.000000000Z", 951_868_799_000_000_000),
            ("2026-11-24T08:30:00.000000001Z", 1_795_509_000_000_000_001),
        ] {
            assert_eq!(moment(text), Some(Moment::At(nanos)), "{text}");
            assert_eq!(show_time(nanos), text);
        }
        for wrong in [
            "",
            "8",
            "08:30",
            "24:00:00",
            "2026-02-29T00:00:00Z",
            "2026-11-24T08:30:00",
            "x..y",
            "1:2:3:4",
        ] {
            assert!(!matches!(moment(wrong), Some(Moment::OfDay(_))), "{wrong}");
        }
        assert!(times("08:00:00").is_err() && times("a..b").is_err());
    }

    #[test]
    fn ranges_of_sequences_and_templates_are_read() {
        assert_eq!(sequences("5..9"), Ok((5, 9)));
        assert_eq!(sequences("5.."), Ok((5, u64::MAX)));
        assert!(sequences("9..5").is_err() && sequences("5").is_err() && sequences("a..").is_err());
        assert_eq!(template("addorder"), Ok(12));
        assert_eq!(template("12"), Ok(12));
        assert!(template("nonsense").unwrap_err().contains("AddOrder"));
    }
}
