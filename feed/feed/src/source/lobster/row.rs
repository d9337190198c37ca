//! One line of a LOBSTER message file as numbers: time, type, order, size, price x 10,000, direction.
//!
//! The format is LOBSTER's "message" file as its own documentation describes it. Everything is read as whole numbers, so
//! that nothing is lost in a floating point number; times are rounded to nanoseconds, half up.

use super::PRICE_UNIT;
use twinline_wire::field::{Field, Price, Side, Status};

/// What a row tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Nanoseconds after midnight.
    pub(super) time: u64,
    pub(super) what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Type 1: an order enters.
    Add(Order),
    /// Type 2: an order loses part of its size.
    Reduce(Order),
    /// Type 3: an order goes, with what is left of it.
    Delete(Order),
    /// Type 4: an order is executed, in part or whole.
    Execute(Order),
    /// Type 5: an order that nobody saw is executed.
    Hidden(Order),
    /// Type 6: an auction's trade; the side is absent where LOBSTER writes -1 for want of one.
    Cross { size: u64, price: Price, side: Side },
    /// Type 7: trading halts, is quoted again, goes on.
    Status(Status),
}

/// An order, or the part of it that a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) id: u64,
    pub(super) size: u32,
    pub(super) price: Price,
    pub(super) side: Side,
}

impl What {
    /// Position of the type in counts: its number less one.
    pub(super) fn index(&self) -> usize {
        match self {
            Self::Add(_) => 0,
            Self::Reduce(_) => 1,
            Self::Delete(_) => 2,
            Self::Execute(_) => 3,
            Self::Hidden(_) => 4,
            Self::Cross { .. } => 5,
            Self::Status(_) => 6,
        }
    }
}

/// Reads a line without its end; the error says what is wrong with it and what belongs there.
pub(super) fn parse(line: &[u8]) -> Result<Row, String> {
    let mut fields = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let mut all = [&[][..]; 6];
    for (number, field) in all.iter_mut().enumerate() {
        *field = fields.next().ok_or_else(|| {
            format!("it has {number} fields instead of 6: time,type,order,size,price,direction")
        })?;
    }
    if fields.next().is_some() {
        return Err("it has more than 6 fields: time,type,order,size,price,direction".into());
    }
    let [time, kind, id, size, price, direction] = all;
    let time = nanoseconds(time)
        .ok_or_else(|| wrong("time", time, "seconds after midnight, as in 34200.004241176"))?;
    let order = || -> Result<Order, String> {
        Ok(Order {
            id: number(id).ok_or_else(|| wrong("order", id, "a number from 0 on"))?,
            size: number(size).ok_or_else(|| wrong("size", size, "a number from 0 to 4,294,967,294"))?,
            price: self::price(price)?,
            side: side(direction)?,
        })
    };
    let what = match kind {
        b"1" => What::Add(order()?),
        b"2" => What::Reduce(order()?),
        b"3" => What::Delete(order()?),
        b"4" => What::Execute(order()?),
        b"5" => What::Hidden(order()?),
        b"6" => cross(id, size, price, direction)?,
        b"7" => halt(id, size, price, direction)?,
        _ => return Err(wrong("type", kind, "a number from 1 to 7")),
    };
    Ok(Row { time, what })
}

/// LOBSTER writes -1 for the order, and for the direction where there is none.
fn cross(id: &[u8], size: &[u8], price: &[u8], direction: &[u8]) -> Result<What, String> {
    if id != b"-1" {
        return Err(wrong("order", id, "-1, as a cross (type 6) has none"));
    }
    Ok(What::Cross {
        size: number(size).ok_or_else(|| wrong("size", size, "a number from 0 on"))?,
        price: self::price(price)?,
        side: if side(direction)? == Side::BUY {
            Side::BUY
        } else {
            Side::NULL
        },
    })
}

fn halt(id: &[u8], size: &[u8], price: &[u8], direction: &[u8]) -> Result<What, String> {
    for (name, field, must) in [
        ("order", id, "0"),
        ("size", size, "0"),
        ("direction", direction, "-1"),
    ] {
        if field != must.as_bytes() {
            return Err(wrong(
                name,
                field,
                &format!("{must}, as a halt (type 7) has none"),
            ));
        }
    }
    Ok(What::Status(match price {
        b"-1" => Status::HALTED,
        b"0" => Status::QUOTATION_ONLY,
        b"1" => Status::TRADING,
        _ => {
            return Err(wrong(
                "price",
                price,
                "-1 (halt), 0 (quotation) or 1 (trading), as the type is 7",
            ));
        }
    }))
}

fn wrong(name: &str, field: &[u8], expected: &str) -> String {
    let field = String::from_utf8_lossy(&field[..field.len().min(40)]);
    format!("the {name} is {field:?} and should be {expected}")
}

fn side(field: &[u8]) -> Result<Side, String> {
    match field {
        b"1" => Ok(Side::BUY),
        b"-1" => Ok(Side::SELL),
        _ => Err(wrong("direction", field, "1 (buy) or -1 (sell)")),
    }
}

fn price(field: &[u8]) -> Result<Price, String> {
    let (negative, digits) = match field {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let units = number::<u64>(digits)
        .and_then(|units| i64::try_from(units).ok())
        .and_then(|units| units.checked_mul(PRICE_UNIT))
        .ok_or_else(|| wrong("price", field, "a whole number: the price x 10,000"))?;
    Ok(Price::new(if negative { -units } else { units }))
}

/// Digits and nothing else. The largest number of its kind stands for none on the wire, so it is no number here.
fn number<N: TryFrom<u64>>(digits: &[u8]) -> Option<N> {
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })?;
    let largest = match size_of::<N>() {
        4 => u64::from(u32::MAX),
        _ => u64::MAX,
    };
    if value == largest {
        return None;
    }
    N::try_from(value).ok()
}

/// Seconds with any number of decimals, rounded to nanoseconds.
fn nanoseconds(field: &[u8]) -> Option<u64> {
    let mut parts = field.splitn(2, |byte| *byte == b'.');
    let seconds: u64 = number(parts.next()?)?;
    let decimals = parts.next().unwrap_or_default();
    if !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut nanos = (0..9).fold(0_u64, |nanos, at| {
        nanos * 10 + u64::from(decimals.get(at).map_or(0, |digit| digit - b'0'))
    });
    // The tenth decimal alone decides, whatever stands behind it.
    nanos += u64::from(decimals.get(9).is_some_and(|digit| *digit >= b'5'));
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_to_nanoseconds() {
        for (text, nanos) in [
            ("34200", 34_200_000_000_000),
            ("34200.", 34_200_000_000_000),
            ("34200.00426064", 34_200_004_260_640),
            ("34200.004241176", 34_200_004_241_176),
            ("34200.0042411764999", 34_200_004_241_176),
            ("34200.0042411765", 34_200_004_241_177),
            ("0.9999999999", 1_000_000_000),
        ] {
            assert_eq!(nanoseconds(text.as_bytes()), Some(nanos), "{text}");
        }
        for text in [
            "",
            ".5",
            "-1.0",
            "3.42e4",
            "1.2.3",
            "99999999999999999999",
            "18446744074.0",
        ] {
            assert_eq!(nanoseconds(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn each_type_is_read() {
        let order = Order {
            id: 16_113_575,
            size: 18,
            price: Price::new(585_330_000_000),
            side: Side::BUY,
        };
        let what = |line: &str| parse(line.as_bytes()).expect(line).what;
        assert_eq!(what("34200.0,1,16113575,18,5853300,1"), What::Add(order));
        assert_eq!(what("34200.0, 2, 16113575, 18, 5853300, 1"), What::Reduce(order));
        assert_eq!(what("34200.0,3,16113575,18,5853300,1"), What::Delete(order));
        assert_eq!(what("34200.0,4,16113575,18,5853300,1"), What::Execute(order));
        assert_eq!(what("34200.0,5,16113575,18,5853300,1"), What::Hidden(order));
        let side = Side::NULL;
        let (size, price) = (5_000_000_000, Price::new(100_000));
        assert_eq!(what("1,6,-1,5000000000,1,-1"), What::Cross { size, price, side });
        assert_eq!(what("1,7,0,0,-1,-1"), What::Status(Status::HALTED));
        assert_eq!(what("1,7,0,0,0,-1"), What::Status(Status::QUOTATION_ONLY));
        assert_eq!(what("1,7,0,0,1,-1"), What::Status(Status::TRADING));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_belongs_there() {
        for (line, named) in [
            ("34200.0,1,5", "3 fields instead of 6"),
            ("34200.0,1,5,6,7,1,8", "more than 6 fields"),
            ("noon,1,5,6,7,1", "the time is \"noon\""),
            ("1,8,5,6,7,1", "the type is \"8\""),
            ("1,1,-5,6,7,1", "the order is \"-5\""),
            ("1,1,5,6.5,7,1", "the size is \"6.5\""),
            ("1,1,5,4294967295,7,1", "the size is \"4294967295\""),
            ("1,1,5,6,99999999999999999,1", "the price is"),
            ("1,1,5,6,7,0", "the direction is \"0\""),
            ("1,6,5,6,7,1", "-1, as a cross"),
            ("1,7,0,0,2,-1", "as the type is 7"),
            ("1,7,0,0,1,1", "the direction is \"1\""),
        ] {
            let error = parse(line.as_bytes()).expect_err(line);
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
