//! What is wanted: ranges of sequences, from the command line or from a list of gaps.

pub(super) use crate::diff::Range;
use serde_json::Value as Json;

/// Ranges in order, those that touch or overlap made one.
pub(super) fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.retain(|range| range.begin < range.end);
    ranges.sort_unstable();
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.session == range.session && range.begin <= last.end => {
                last.end = last.end.max(range.end);
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// The parts of `ranges`, which are of one session, that none of `held` covers; both in order.
pub(super) fn uncovered(ranges: &[Range], held: impl Iterator<Item = (u64, u64)> + Clone) -> Vec<Range> {
    let mut open = Vec::new();
    for range in ranges {
        let mut at = range.begin;
        for (begin, end) in held.clone() {
            if begin >= range.end || end <= at {
                continue;
            }
            if begin > at {
                open.push(Range {
                    begin: at,
                    end: begin,
                    ..*range
                });
            }
            at = at.max(end);
        }
        if at < range.end {
            open.push(Range { begin: at, ..*range });
        }
    }
    open
}

/// Reads a list of gaps. Each line is a range (`100..200`, or `session 3 100..200` as `diff` writes it, several with
/// commas between them), or a JSON object with `begin` and `end`, which is how `listen --print` writes its loss notices;
/// other messages, notices and its figures are passed over. A range without a session is of `session`.
///
/// The error names the line.
pub(super) fn read_gaps(text: &str, session: Option<u32>) -> Result<Vec<Range>, String> {
    let mut ranges = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        let read = match line {
            "" => Ok(Vec::new()),
            _ if line.starts_with('#') => Ok(Vec::new()),
            _ if line.starts_with('{') => of_json(line, session),
            _ => line
                .split(',')
                .map(|part| of_text(part.trim(), session))
                .collect(),
        };
        ranges.extend(read.map_err(|reason| format!("line {number} of the list of gaps: {reason}"))?);
    }
    Ok(ranges)
}

fn of_text(text: &str, session: Option<u32>) -> Result<Range, String> {
    let wrong = || format!("{text:?} is no range: write 100..200 or session 3 100..200");
    let (named, range) = match text.strip_prefix("session ") {
        Some(rest) => {
            let (number, range) = rest.split_once(' ').ok_or_else(wrong)?;
            (Some(number.parse().map_err(|_| wrong())?), range.trim())
        }
        None => (None, text),
    };
    let (begin, end) = range.split_once("..").ok_or_else(wrong)?;
    let (begin, end) = (
        begin.parse().map_err(|_| wrong())?,
        end.parse().map_err(|_| wrong())?,
    );
    if begin >= end {
        return Err(format!(
            "{text:?} holds nothing: the end is the sequence after the last"
        ));
    }
    let session = named.or(session).ok_or_else(|| no_session(text))?;
    Ok(Range { session, begin, end })
}

fn of_json(line: &str, session: Option<u32>) -> Result<Vec<Range>, String> {
    let object: Json = serde_json::from_str(line).map_err(|error| format!("it is no JSON: {error}"))?;
    let is_loss = matches!(object["name"].as_str(), Some("Lost" | "Void"));
    // The figures that `listen --print --json` ends with name their command.
    let is_other = object.get("type").is_some() || object.get("command").is_some();
    if is_other && !is_loss {
        return Ok(Vec::new());
    }
    let place = if object["fields"].is_object() {
        &object["fields"]
    } else {
        &object
    };
    let (Some(begin), Some(end)) = (place["begin"].as_u64(), place["end"].as_u64()) else {
        return Err("it has no begin and end".into());
    };
    let named = object["session"]
        .as_u64()
        .and_then(|number| u32::try_from(number).ok());
    let session = named.or(session).ok_or_else(|| no_session(line))?;
    Ok(vec![Range { session, begin, end }])
}

fn no_session(text: &str) -> String {
    format!("{text:?} names no session: give it with --session")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(begin: u64, end: u64) -> Range {
        Range {
            session: 1,
            begin,
            end,
        }
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let merged = merged(vec![
            range(5, 9),
            range(1, 3),
            range(3, 4),
            range(8, 12),
            range(7, 7),
        ]);
        assert_eq!(merged, [range(1, 4), range(5, 12)]);
    }

    #[test]
    fn gaps_are_read_as_diff_and_as_listeners_write_them() {
        let text = "# noted by hand\n100..200\n\nsession 3 5..8, session 3 9..10\n\
            {\"type\":\"notice\",\"name\":\"Lost\",\"session\":7,\"fields\":{\"begin\":4,\"end\":6,\"reason\":\"TimedOut\"}}\n\
            {\"type\":\"message\",\"name\":\"Trade\",\"session\":7,\"sequence\":6}\n\
            {\"begin\":1,\"end\":2}\n";
        let of = |session, begin, end| Range { session, begin, end };
        let expected = vec![
            of(1, 100, 200),
            of(3, 5, 8),
            of(3, 9, 10),
            of(7, 4, 6),
            of(1, 1, 2),
        ];
        assert_eq!(read_gaps(text, Some(1)), Ok(expected));
        for (wrong, named) in [
            ("\n100", "line 2"),
            ("5..5", "holds nothing"),
            ("{\"begin\":1}", "no begin and end"),
            ("{", "no JSON"),
        ] {
            let error = read_gaps(&format!("\n{wrong}").replace("\n\n", "\n"), Some(1)).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
        assert!(read_gaps("1..2", None).unwrap_err().contains("--session"));
    }

    proptest! {
        #[test]
        fn what_is_held_and_what_is_not_make_up_the_ranges(
            ranges in proptest::collection::vec((0_u64..60, 0_u64..20), 0..5),
            held in proptest::collection::vec((0_u64..60, 1_u64..9), 0..6),
        ) {
            let ranges = merged(ranges.iter().map(|(begin, length)| range(*begin, begin + length)).collect());
            let mut held: Vec<(u64, u64)> = held.iter().map(|(begin, length)| (*begin, begin + length)).collect();
            held.sort_unstable();
            let open = uncovered(&ranges, held.iter().copied());
            let within = |ranges: &[Range], at| ranges.iter().any(|range| (range.begin..range.end).contains(&at));
            for at in 0..100 {
                let is_held = held.iter().any(|(begin, end)| (*begin..*end).contains(&at));
                prop_assert_eq!(within(&open, at), within(&ranges, at) && !is_held);
            }
        }

        #[test]
        fn no_list_is_a_panic(text in ".{0,80}") {
            let _ = read_gaps(&text, Some(1));
        }
    }
}
