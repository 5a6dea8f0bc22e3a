//! Durations as Go writes them: `1h30m0s`, `100ms`, `2.5s`.

use std::time::Duration;

/// Units, longest name first where one is the start of another.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3_600e9),
];

/// Reads a duration; `None` for anything Go would not take, and for negative ones. `0` needs no unit.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, tail) = rest.split_at(end);
        let amount: f64 = digits.parse().ok()?;
        let (name, factor) =
            UNITS.iter().filter(|(name, _)| tail.starts_with(name)).max_by_key(|(name, _)| name.len())?;
        nanos += amount * factor;
        rest = tail.strip_prefix(name)?;
    }
    // i64 nanoseconds is what Go holds.
    (!text.is_empty() && nanos < 9.2e18).then(|| Duration::from_nanos(nanos.round() as u64))
}

/// Writes a duration as Go does.
#[allow(clippy::cast_precision_loss)]
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
    fn as_go_does() {
        for (text, millis) in
            [("1m0s", 60_000), ("2h45m", 9_900_000), ("1.5s", 1_500), ("100ms", 100), ("0", 0)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "1x", "-1s", "1.2.3s", "1s2", "99999999h"] {
            assert_eq!(parse(text), None, "{text}");
        }
        for (millis, text) in
            [(0, "0s"), (30_000, "30s"), (86_400_000, "24h0m0s"), (60_000, "1m0s"), (1_500, "1.5s")]
        {
            assert_eq!(format(Duration::from_millis(millis)), text);
        }
        assert_eq!(format(Duration::from_nanos(1_500)), "1.5µs");
    }

    proptest! {
        #[test]
        fn parse_reads_what_format_writes(millis in 0_u64..10_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&format(duration)), Some(duration));
        }

        #[test]
        fn parse_never_panics(text in ".{0,20}") {
            let _ = parse(&text);
        }
    }
}
