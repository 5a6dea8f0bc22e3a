//! A moment as Bacalhau 1.9 prints it: RFC 3339 with up to nine fraction digits and the sender's own offset.

use jiff::Timestamp;
use jiff::tz::Offset;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// A moment with nanosecond precision. The offset is kept so that a decoded value prints the same text again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time {
    at: Timestamp,
    offset_seconds: i32,
}

impl Time {
    /// The unset time, `0001-01-01T00:00:00Z`.
    pub const ZERO: Time = Time { at: Timestamp::constant(-62_135_596_800, 0), offset_seconds: 0 };

    /// From nanoseconds since 1970, UTC.
    pub fn from_unix_nanos(nanos: i64) -> Time {
        let at = Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Time::ZERO.at);
        Time { at, offset_seconds: 0 }
    }

    /// Nanoseconds since 1970; saturates outside the years 1677..2262, so [`Time::ZERO`] gives `i64::MIN`.
    pub fn unix_nanos(self) -> i64 {
        let nanos = self.at.as_nanosecond();
        i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
    }

    /// True for the unset time.
    pub fn is_zero(self) -> bool {
        self.at == Time::ZERO.at
    }

    /// Parses RFC 3339.
    pub fn parse(text: &str) -> Result<Time, String> {
        let at: Timestamp = text.parse().map_err(|e| format!("not an RFC 3339 time: {text:?}: {e}"))?;
        Ok(Time { at, offset_seconds: offset_of(text) })
    }
}

impl Default for Time {
    fn default() -> Self {
        Time::ZERO
    }
}

/// The offset at the end of a valid RFC 3339 text, in seconds; 0 for `Z`.
fn offset_of(text: &str) -> i32 {
    let Some(tail) = text.len().checked_sub(6).and_then(|at| text.get(at..)) else { return 0 };
    let sign = match tail.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return 0,
    };
    let number =
        |range: std::ops::Range<usize>| tail.get(range).and_then(|t| t.parse::<i32>().ok()).unwrap_or(0);
    sign * (number(1..3) * 3600 + number(4..6) * 60)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Offset::from_seconds(self.offset_seconds) {
            Ok(offset) if self.offset_seconds != 0 => write!(f, "{}", self.at.display_with_offset(offset)),
            _ => write!(f, "{}", self.at),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Time;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                Time::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_read() {
        for text in [
            "0001-01-01T00:00:00Z",
            "2026-11-22T20:51:58.922305868Z",
            "2026-08-20T10:00:00.123456789+02:00",
            "2026-08-19T22:40:29.9-03:30",
            "1970-01-01T00:00:00Z",
        ] {
            assert_eq!(Time::parse(text).unwrap().to_string(), text);
        }
        assert!(Time::parse("").is_err());
        assert!(Time::parse("yesterday").is_err());
        assert!(Time::ZERO.is_zero());
    }
}
