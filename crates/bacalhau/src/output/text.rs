//! Small texts for people: times and ages. Times are UTC.

use bacalhau_model::Time;

const SECOND: i64 = 1_000_000_000;

/// RFC 3339 text of a moment, always UTC.
fn utc(nanos: i64) -> String {
    Time::from_unix_nanos(nanos).to_string()
}

/// `15:04:05`.
pub(crate) fn clock(nanos: i64) -> String {
    utc(nanos).get(11..19).unwrap_or_default().to_owned()
}

/// `15:04:05.000`.
pub(crate) fn clock_millis(nanos: i64) -> String {
    format!("{}.{:03}", clock(nanos), nanos.rem_euclid(SECOND) / 1_000_000)
}

/// `2006-01-02 15:04:05`.
pub(crate) fn date_time(nanos: i64) -> String {
    utc(nanos).get(..19).unwrap_or_default().replace('T', " ")
}

/// `45s ago`, `14m19s ago`, `2h5m ago`, `3d2h ago`; the second unit is dropped when it is 0.
pub(crate) fn ago(nanos: i64, now: i64) -> String {
    format!("{} ago", span(now.saturating_sub(nanos).max(0) / SECOND))
}

/// Seconds as two units at most.
fn span(seconds: i64) -> String {
    let (big, big_unit, small, small_unit) = match seconds {
        0..60 => return format!("{seconds}s"),
        60..3600 => (seconds / 60, 'm', seconds % 60, 's'),
        3600..86400 => (seconds / 3600, 'h', seconds % 3600 / 60, 'm'),
        _ => (seconds / 86400, 'd', seconds % 86400 / 3600, 'h'),
    };
    if small == 0 { format!("{big}{big_unit}") } else { format!("{big}{big_unit}{small}{small_unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let at = 1_785_597_170_986_123_456; // 2026-08-01T15:12:50.986123456Z
        assert_eq!(clock(at), "15:12:50");
        assert_eq!(clock_millis(at), "15:12:50.986");
        assert_eq!(date_time(at), "2026-08-01 15:12:50");
        for (seconds, text) in [
            (0, "0s"),
            (45, "45s"),
            (859, "14m19s"),
            (7500, "2h5m"),
            (266_400, "3d2h"),
            (86400, "1d"),
            (60, "1m"),
        ] {
            assert_eq!(ago(at, at + seconds * SECOND), format!("{text} ago"));
        }
        assert_eq!(ago(at, 0), "0s ago");
    }
}
