//! Times as the NATS server's configuration writes them: `1h30m`, `500ms`, `1.5s`.

use std::time::Duration;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
];

/// Reads a time; the flag says that it is below zero. `None`: it is not a time, or longer than 292 years.
pub(super) fn parse(text: &str) -> Option<(Duration, bool)> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some((Duration::ZERO, false));
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        nanos = nanos.checked_add(scaled(number, *scale)?)?;
        rest = next;
    }
    (nanos <= i64::MAX as u64).then_some((Duration::from_nanos(nanos), negative && nanos > 0))
}

/// `number` units of `scale` nanoseconds. What is below a nanosecond is cut off.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(scale)?;
    let mut place = scale;
    for digit in fraction.bytes() {
        // Each digit is worth a tenth of the one before; exact, because all units are multiples of powers of ten.
        place /= 10;
        nanos = nanos.checked_add(place.checked_mul(u64::from(digit - b'0'))?)?;
    }
    Some(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let cases = [
            ("10s", 10_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5ms", 500_000),
            ("2us", 2_000),
            ("3µs", 3_000),
            ("7ns", 7),
            ("0", 0),
            ("1.0000000019s", 1_000_000_001),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse(text), Some((Duration::from_nanos(nanos), false)), "{text}");
        }
        assert_eq!(parse("-2s"), Some((Duration::from_secs(2), true)));
        for text in ["", "-", "5", "5x", "s", ".s", "1.2.3s", "1 s", "99999999999h", "1d", "s1", "1s2"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
