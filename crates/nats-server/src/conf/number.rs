//! Words without quotes that are more than text: booleans, numbers with units of size, dates.

use super::value::Value;

/// Units of size in lower case: decimal with one letter, binary with more.
const UNITS: [(&str, i64); 24] = [
    ("k", 1000),
    ("kb", 1 << 10),
    ("ki", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1 << 20),
    ("mi", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1 << 30),
    ("gi", 1 << 30),
    ("gib", 1 << 30),
    ("t", 1_000_000_000_000),
    ("tb", 1 << 40),
    ("ti", 1 << 40),
    ("tib", 1 << 40),
    ("p", 1_000_000_000_000_000),
    ("pb", 1 << 50),
    ("pi", 1 << 50),
    ("pib", 1 << 50),
    ("e", 1_000_000_000_000_000_000),
    ("eb", 1 << 60),
    ("ei", 1 << 60),
    ("eib", 1 << 60),
];

/// Reads a word that stood without quotes. What looks like nothing else is text, so that addresses and durations need
/// no quotes.
///
/// # Errors
/// A number beyond 64 bits, or a date that does not exist.
pub(super) fn word(text: &str) -> Result<Value, &'static str> {
    for (names, value) in [(["true", "yes", "on"], true), (["false", "no", "off"], false)] {
        if names.iter().any(|name| text.eq_ignore_ascii_case(name)) {
            return Ok(Value::Bool(value));
        }
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(Value::Text(text.to_owned()));
    }
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (number, unit) = text.split_at(text.len() - digits.len() + end);
    if let Some(scale) = scale(unit) {
        let scaled = number.parse::<i64>().ok().and_then(|number| number.checked_mul(scale));
        let value = scaled.ok_or("the number is out of range: it does not fit into 64 bits")?;
        return Ok(Value::Integer { value, unit: !unit.is_empty() });
    }
    let fraction = unit.strip_prefix('.').unwrap_or_default();
    if !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit()) {
        let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
        return value.map(Value::Float).ok_or("the number is out of range");
    }
    if has_shape(text, "0000-00-00T00:00:00Z") {
        if !is_date(text) {
            return Err("there is no such date");
        }
        return Ok(Value::Date(text.to_owned()));
    }
    Ok(Value::Text(text.to_owned()))
}

fn scale(unit: &str) -> Option<i64> {
    if unit.is_empty() {
        return Some(1);
    }
    UNITS.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name)).map(|(_, scale)| *scale)
}

fn has_shape(text: &str, shape: &str) -> bool {
    let same = |(byte, expected)| if expected == b'0' { u8::is_ascii_digit(&byte) } else { byte == expected };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(same)
}

/// Does a text of the right shape name a moment?
fn is_date(text: &str) -> bool {
    let part = |from: usize, to: usize| text.get(from..to).and_then(|part| part.parse::<u32>().ok());
    let (Some(year), Some(month), Some(day)) = (part(0, 4), part(5, 7), part(8, 10)) else { return false };
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    let below = |from: usize, to: usize, limit| part(from, to).is_some_and(|value| value < limit);
    (1..=days).contains(&day) && below(11, 13, 24) && below(14, 16, 60) && below(17, 19, 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(text: &str) -> Option<i64> {
        match word(text) {
            Ok(Value::Integer { value, .. }) => Some(value),
            _ => None,
        }
    }

    #[test]
    fn units_scale() {
        let cases = [
            ("0", 0),
            ("-5", -5),
            ("-5k", -5000),
            ("1KB", 1024),
            ("2m", 2_000_000),
            ("2MiB", 2 << 20),
            ("1gi", 1 << 30),
            ("1tb", 1 << 40),
            ("3p", 3_000_000_000_000_000),
            ("1eib", 1 << 60),
            ("9223372036854775807", i64::MAX),
        ];
        for (text, value) in cases {
            assert_eq!(integer(text), Some(value), "{text}");
        }
        for text in ["9223372036854775808", "16eb", "-9223372036854775809"] {
            assert!(word(text).is_err(), "{text}");
        }
    }

    #[test]
    fn other_words_keep_their_kind() {
        for text in
            ["abc", "10s", "1m30s", "1.2.3.4:80", "0x10", "5%", "-x", "2022-01-01", "truex", "1.", "é"]
        {
            assert!(word(text) == Ok(Value::Text(text.to_owned())), "{text}");
        }
        assert!(word("-1.5") == Ok(Value::Float(-1.5)) && word("YES") == Ok(Value::Bool(true)));
        assert!(word("oFF") == Ok(Value::Bool(false)));
        assert!(matches!(word("2024-02-29T23:59:59Z"), Ok(Value::Date(_))));
        for text in ["2023-02-29T00:00:00Z", "2023-13-01T00:00:00Z", "2023-01-01T24:00:00Z"] {
            assert!(word(text).is_err(), "{text}");
        }
    }
}
