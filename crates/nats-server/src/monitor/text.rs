//! Times and durations in the words of the NATS server.

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

/// Relates the two clocks of the system: the state is kept in the one that never jumps, people want the other.
pub(super) struct Clock {
    started: (Instant, SystemTime),
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock { started: (Instant::now(), SystemTime::now()) }
    }

    /// The time of an event, in UTC with fractions of a second, e.g. `2026-02-01T10:00:00.5Z`.
    pub(super) fn at(&self, instant: Instant) -> String {
        let (origin, time) = self.started;
        stamp(match instant.checked_duration_since(origin) {
            Some(after) => time + after,
            None => time - origin.saturating_duration_since(instant),
        })
    }

    pub(super) fn now(&self) -> String {
        stamp(SystemTime::now())
    }

    pub(super) fn started(&self) -> String {
        stamp(self.started.1)
    }

    /// Since the start.
    pub(super) fn uptime(&self) -> Duration {
        self.started.0.elapsed()
    }
}

fn stamp(time: SystemTime) -> String {
    // Outside the years -9999..9999 there is nothing better to say.
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// Whole seconds in units up to years: `1y2d3h4m5s`, without leading zeros.
pub(super) fn long(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let units =
        [(days / 365, 'y'), (days % 365, 'd'), (hours % 24, 'h'), (minutes % 60, 'm'), (seconds % 60, 's')];
    let first = units.iter().position(|(value, _)| *value > 0).unwrap_or(units.len() - 1);
    units.iter().skip(first).map(|(value, unit)| format!("{value}{unit}")).collect()
}

/// A short time to the microsecond: `340µs`, `1.5ms`, `2.25s`.
pub(super) fn short(duration: Duration) -> String {
    let micros = duration.as_micros();
    let (unit, name) = match micros {
        0..1000 => return format!("{micros}µs"),
        1000..1_000_000 => (1000, "ms"),
        _ => (1_000_000, "s"),
    };
    let (whole, rest) = (micros / unit, micros % unit);
    let digits = if unit == 1000 { format!("{rest:03}") } else { format!("{rest:06}") };
    match digits.trim_end_matches('0') {
        "" => format!("{whole}{name}"),
        digits => format!("{whole}.{digits}{name}"),
    }
}

/// Bytes from clients, as text for JSON.
pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let seconds = [0, 59, 60, 3661, 86_400, 366 * 86_400 + 7];
        let words = ["0s", "59s", "1m0s", "1h1m1s", "1d0h0m0s", "1y1d0h0m7s"];
        for (seconds, words) in seconds.into_iter().zip(words) {
            assert_eq!(long(Duration::from_secs(seconds)), words);
        }
        let micros = [0, 340, 1000, 1500, 999_999, 1_000_000, 2_250_000, 61_000_001];
        let words = ["0µs", "340µs", "1ms", "1.5ms", "999.999ms", "1s", "2.25s", "61.000001s"];
        for (micros, words) in micros.into_iter().zip(words) {
            assert_eq!(short(Duration::from_micros(micros)), words);
        }
    }

    #[test]
    fn times() {
        let clock = Clock::new();
        let before = clock.at(clock.started.0 - Duration::from_secs(1));
        let after = clock.at(clock.started.0 + Duration::from_secs(1));
        assert!(before < clock.started() && clock.started() < after, "{before} {after}");
        assert!(after.ends_with('Z') && after.get(10..11) == Some("T"));
    }
}
