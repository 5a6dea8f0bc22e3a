//! When a schedule is due: reads the cron expression and the time zone, and computes. Pure: no clock, and the time
//! zones are in the binary.
//!
//! Where a clock change makes a local time vanish or come twice, `croner` decides, as Vixie cron did: a fixed time (no
//! `*` or step in second, minute and hour) that vanishes is due right after the gap, and one that comes twice is due
//! the first time only; an interval (`*/10 * * * *`) skips the gap and is due in both passes.

use super::settings::SECOND;
use bacalhau_model::error::code;
use bacalhau_model::policy::Schedule;
use bacalhau_model::{Error, Time};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};

/// Longest cron expression, bytes.
const LONGEST: usize = 256;
/// Due times looked at to find the latest one. Reached only by expressions that list very odd seconds.
const MOST_STEPS: usize = 100_000;
/// Spans before now in which the latest due time is looked for, shortest first, nanoseconds.
const SPANS: [i64; 3] = [60 * SECOND, 3600 * SECOND, CATCH_UP];

/// A due time that was missed by more than this (nanoseconds) is not made up for.
pub(crate) const CATCH_UP: i64 = 24 * 3600 * SECOND;

/// A schedule that can be computed with.
#[derive(Debug)]
pub struct Calendar {
    cron: Cron,
    zone: TimeZone,
}

impl Calendar {
    /// Reads a schedule. Fails with a hint when the expression or the zone makes no sense, or is never due.
    pub fn read(schedule: &Schedule) -> Result<Calendar, Error> {
        let (text, zone) = (schedule.cron.trim(), schedule.time_zone.trim());
        let refused = |why: String| {
            Error::new(code::BAD_REQUEST, format!("Schedule.Cron {:?} cannot be used: {why}", shown(text)))
                .hint(
                    "Write minute, hour, day of month, month and day of week, with an optional second before \
                     them: \"30 2 * * *\" is half past two every night, \"*/10 * * * * *\" every ten seconds",
                )
        };
        if text.len() > LONGEST {
            return Err(refused(format!("it has {} bytes, at most {LONGEST} are taken", text.len())));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|why| refused(why.to_string()))?;
        let calendar = Calendar { cron, zone: time_zone(zone)? };
        match calendar.next(0) {
            Some(_) => Ok(calendar),
            None => Err(refused("it is never due".to_owned())),
        }
    }

    /// The first due time after `now`, both nanoseconds since 1970. Due times are whole seconds.
    pub fn next(&self, now: i64) -> Option<i64> {
        let found = self.cron.find_next_occurrence(&self.at(now)?, false).ok()?;
        found.timestamp().as_second().checked_mul(SECOND).filter(|at| *at > now)
    }

    /// The latest due time from `due`, which is one, to `now`; nanoseconds since 1970. It is exact up to
    /// [`CATCH_UP`] before now; before that it may be `due` itself.
    pub fn latest(&self, due: i64, now: i64) -> i64 {
        for span in SPANS {
            let mut found = None;
            let mut from = due.max(now.saturating_sub(span).saturating_sub(1));
            for _ in 0..MOST_STEPS {
                match self.next(from).filter(|at| *at <= now) {
                    Some(at) => (found, from) = (Some(at), at),
                    None => break,
                }
            }
            if let Some(at) = found {
                return at;
            }
        }
        due
    }

    /// A time as people in the schedule's zone read it: `2026-11-28 11:28:00 CET`.
    pub fn show(&self, at: i64) -> String {
        self.at(at).map(|at| at.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()).unwrap_or_default()
    }

    fn at(&self, nanos: i64) -> Option<Zoned> {
        // Whole seconds: the library counts a search from the second that follows.
        let at = Timestamp::from_second(nanos.div_euclid(SECOND)).ok()?;
        Some(at.to_zoned(self.zone.clone()))
    }
}

/// A zone by its name; UTC without one.
fn time_zone(name: &str) -> Result<TimeZone, Error> {
    if name.is_empty() {
        return Ok(TimeZone::UTC);
    }
    TimeZoneDatabase::bundled().get(name).map_err(|_| {
        Error::new(code::BAD_REQUEST, format!("Schedule.TimeZone {:?} is not known", shown(name)))
            .hint("Use a name of the IANA time zone database such as Europe/Berlin or America/New_York, or leave it out for UTC")
    })
}

/// The beginning of a text, for messages.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A time for names: `20261128T102800Z`.
pub(crate) fn compact(nanos: i64) -> String {
    let at = Timestamp::from_second(nanos.div_euclid(SECOND)).unwrap_or_default();
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// A time for records: RFC 3339.
pub(crate) fn text(nanos: i64) -> String {
    Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default().to_string()
}

/// Reads what [`text`] wrote, nanoseconds since 1970.
pub(crate) fn parse(text: &str) -> Option<i64> {
    Time::parse(text).ok().map(Time::unix_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn calendar(cron: &str, zone: &str) -> Calendar {
        Calendar::read(&Schedule { cron: cron.into(), time_zone: zone.into(), ..Schedule::default() })
            .unwrap()
    }

    /// The first `count` due times after `from`, as UTC.
    fn due(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let calendar = calendar(cron, zone);
        let next = |at: &i64| calendar.next(*at);
        std::iter::successors(Some(parse(from).unwrap()), next).skip(1).take(count).map(text).collect()
    }

    #[test]
    fn expressions_with_and_without_seconds() {
        assert_eq!(
            due("*/10 * * * * *", "", "2026-11-28T10:28:00.5Z", 2),
            ["2026-11-28T10:28:10Z", "2026-11-28T10:28:20Z"]
        );
        assert_eq!(due("30 2 * * *", "UTC", "2026-11-28T10:28:00Z", 1), ["2026-11-29T02:30:00Z"]);
        assert_eq!(due("@daily", "Asia/Kolkata", "2026-11-28T10:28:00Z", 1), ["2026-11-28T18:30:00Z"]);
        assert_eq!(due("0 0 29 2 *", "", "2026-11-28T10:28:00Z", 1), ["2028-02-29T00:00:00Z"]);
        // Day of month and day of week: either, as everywhere.
        assert_eq!(
            due("0 0 1 * MON", "", "2026-11-28T00:00:00Z", 2),
            ["2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"]
        );
    }

    #[test]
    fn what_the_guide_shows() {
        for (cron, first) in [
            ("0 9-17 * * MON-FRI", "2026-11-30T09:00:00Z"),
            ("0 0 L * *", "2026-11-30T00:00:00Z"),
            ("0 12 * * MON#1", "2026-12-07T12:00:00Z"),
            ("0 8 15W * *", "2026-12-15T08:00:00Z"),
            ("@monthly", "2026-12-01T00:00:00Z"),
            ("@yearly", "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(due(cron, "", "2026-11-28T10:28:00Z", 1), [first], "{cron}");
        }
    }

    #[test]
    fn clock_changes() {
        // Berlin, 29 March 2026: 02:00 CET is followed by 03:00 CEST. 25 October 2026: 02:00-03:00 comes twice.
        let zone = "Europe/Berlin";
        assert_eq!(
            due("30 2 * * *", zone, "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
            "a fixed time that does not exist is due right after the gap"
        );
        assert_eq!(
            due("30 2 * * *", zone, "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"],
            "a fixed time that exists twice is due once"
        );
        assert_eq!(
            due("*/30 * * * *", zone, "2026-10-24T23:59:00Z", 5),
            [
                "2026-10-25T00:00:00Z",
                "2026-10-25T00:30:00Z",
                "2026-10-25T01:00:00Z",
                "2026-10-25T01:30:00Z",
                "2026-10-25T02:00:00Z"
            ],
            "an interval goes on"
        );
        assert_eq!(
            due("*/30 2 * * *", zone, "2026-03-28T12:00:00Z", 1),
            ["2026-03-30T00:00:00Z"],
            "an interval skips the gap"
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_hint() {
        let long = "1,".repeat(200);
        for (cron, zone, why) in [
            ("", "", "Cron"),
            ("every day", "", "Schedule.Cron \"every day\" cannot be used"),
            ("61 * * * *", "", "cannot be used"),
            ("0 0 0 1 1 * 2030", "", "cannot be used"),
            ("0 0 30 2 *", "", "it is never due"),
            (long.as_str(), "", "at most 256"),
            ("0 0 * * *", "Mars/Base", "Schedule.TimeZone \"Mars/Base\" is not known"),
        ] {
            let schedule = Schedule { cron: cron.into(), time_zone: zone.into(), ..Schedule::default() };
            let error = Calendar::read(&schedule).unwrap_err();
            assert!(error.message.contains(why), "{error:?}");
            assert!(!error.hint.is_empty() && error.http_status() == 400, "{error:?}");
        }
    }

    #[test]
    fn the_latest_due_time() {
        let now = parse("2026-11-28T10:28:05Z").unwrap();
        let day = |text| parse(text).unwrap();
        for (cron, since, latest) in [
            ("* * * * * *", "2026-11-01T00:00:00Z", "2026-11-28T10:28:05Z"),
            ("*/10 * * * *", "2026-11-28T10:00:00Z", "2026-11-28T10:20:00Z"),
            ("0 2 * * *", "2026-11-01T02:00:00Z", "2026-11-28T02:00:00Z"),
            ("0 2 1 * *", "2026-11-01T02:00:00Z", "2026-11-01T02:00:00Z"),
            ("28 10 * * *", "2026-11-28T10:28:00Z", "2026-11-28T10:28:00Z"),
        ] {
            assert_eq!(text(calendar(cron, "").latest(day(since), now)), latest, "{cron}");
        }
    }

    #[test]
    fn times_for_people_and_names() {
        let at = parse("2026-11-28T10:28:00Z").unwrap();
        assert_eq!(calendar("* * * * *", "Europe/Berlin").show(at), "2026-11-28 11:28:00 CET");
        assert_eq!(calendar("* * * * *", "").show(at), "2026-11-28 10:28:00 UTC");
        assert_eq!((compact(at).as_str(), text(at).as_str()), ("20261128T102800Z", "2026-11-28T10:28:00Z"));
    }

    proptest! {
        #[test]
        fn due_times_only_grow(seconds in 1_700_000_000_i64..1_900_000_000, nanos in 0..SECOND,
            which in 0..5_usize, zone in 0..4_usize) {
            let cron = ["*/7 * * * * *", "*/10 * * * *", "30 2 * * *", "0 */6 * * SUN", "59 23 L * *"][which];
            let zone = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"][zone];
            let calendar = calendar(cron, zone);
            let now = seconds * SECOND + nanos;
            let next = calendar.next(now).unwrap();
            prop_assert!(next > now && next % SECOND == 0);
            let after = calendar.next(next).unwrap();
            prop_assert!(after > next);
            // Asked at any moment before it is due, the answer is the same.
            prop_assert_eq!(calendar.next(now + (next - now - 1) / 2).unwrap(), next);
            prop_assert_eq!(calendar.latest(next, after - 1), next);
            prop_assert_eq!(calendar.latest(next, after), after);
        }

        #[test]
        fn no_text_panics(cron in ".{0,40}", zone in ".{0,20}") {
            let _ = Calendar::read(&Schedule { cron, time_zone: zone, ..Schedule::default() });
        }

        #[test]
        fn no_expression_takes_long(cron in "[0-9*/,LW#? -]{5,24}") {
            let _ = Calendar::read(&Schedule { cron, ..Schedule::default() });
        }
    }
}
