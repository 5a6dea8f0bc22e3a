//! Durations as Go writes them: `1h30m0s`, `100ms`, `2.5s`. Exact to the nanosecond.

use std::time::Duration;

/// Units in nanoseconds. Both Greek letters that look like mu are taken.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration of up to 2^63-1 nanoseconds (292 years), which is what Go holds. `None` for anything that Go would
/// not take, and for negative ones. `0` needs no unit.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut rest = text;
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c| !is_number(c))?);
        let (unit, tail) = tail.split_at(tail.find(is_number).unwrap_or(tail.len()));
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        nanos = nanos.checked_add(amount(number, *factor)?)?;
        rest = tail;
    }
    (!text.is_empty() && i64::try_from(nanos).is_ok()).then(|| Duration::from_nanos(nanos))
}

/// A decimal number of units in nanoseconds, rounded down. `5`, `5.`, `.5` and `1.25` are numbers, `.` is none.
fn amount(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(unit)?;
    // More than 15 digits are less than a nanosecond of any unit.
    let digits = fraction.get(..fraction.len().min(15))?;
    if !digits.is_empty() {
        let part =
            digits.parse::<u128>().ok()? * u128::from(unit) / 10_u128.pow(u32::try_from(digits.len()).ok()?);
        nanos = nanos.checked_add(u64::try_from(part).ok()?)?;
    }
    Some(nanos)
}

/// Writes a duration as Go does.
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let fraction = |value: u128, unit: u128| {
        let (whole, part) = (value / unit, value % unit);
        let digits = unit.ilog10() as usize;
        let text = format!("{whole}.{part:0digits$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match nanos {
        0..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(nanos, 1_000_000)),
        _ => {
            let seconds = nanos / 1_000_000_000;
            let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
            let rest = fraction(nanos % 60_000_000_000, 1_000_000_000);
            match (hours, minutes) {
                (0, 0) => format!("{rest}s"),
                (0, _) => format!("{minutes}m{rest}s"),
                _ => format!("{hours}h{minutes}m{rest}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, nanos) in [
            ("1m0s", 60_000_000_000),
            ("2h45m", 9_900_000_000_000),
            ("1h2m3.5s", 3_723_500_000_000),
            ("100ms", 100_000_000),
            ("1.5µs", 1_500),
            ("1.5μs", 1_500),
            ("1.5us", 1_500),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("+3ns", 3),
            ("0", 0),
            ("0s", 0),
            ("0.1h", 360_000_000_000),
            ("0.000000000000000000001s", 0),
            ("9223372036854775807ns", i64::MAX as u64),
            // A number that floating point would round to ...740992.
            ("2501h59m59.254740993s", 9_007_199_254_740_993),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "1x",
            "-1s",
            "1.2.3s",
            ".s",
            "1s2",
            "1 s",
            "1S",
            "ms",
            "1mss",
            "٣s",
            "9223372036854775808ns",
            "99999999h",
            "99999999999999999999999999s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn writes_as_go_does() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (100_000_000, "100ms"),
            (30_000_000_000, "30s"),
            (60_000_000_000, "1m0s"),
            (1_500_000_000, "1.5s"),
            (3_600_000_000_000, "1h0m0s"),
            (86_400_000_000_000, "24h0m0s"),
            (3_723_500_000_000, "1h2m3.5s"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanos)), text);
        }
    }

    proptest! {
        #[test]
        fn parse_reads_what_format_writes(nanos in prop_oneof![0..=i64::MAX as u64, 0..10_000_000_000_u64]) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&format(duration)), Some(duration));
        }

        #[test]
        fn parse_never_panics(text in "([0-9.]{0,30}(h|m|s|ms|µs|ns)?){0,4}|\\PC{0,20}") {
            let _ = parse(&text);
        }
    }
}
