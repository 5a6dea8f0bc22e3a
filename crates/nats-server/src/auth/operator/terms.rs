//! What the terms in a document mean: subjects, limits, networks, transports, times of the day.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::jwt::{Permission, Permissions, Response, Terms};
use crate::users::{self, AllowResponses, Rules};

use super::{ConnectionType, Refusal};

/// A number of a document: below zero is no limit.
pub(super) fn limit(number: i64) -> Option<usize> {
    usize::try_from(number).ok()
}

/// Permissions in the form of the rest of the server.
pub(super) fn permissions(given: &Permissions) -> users::Permissions {
    users::Permissions {
        publish: rules(&given.publish),
        subscribe: rules(&given.subscribe),
        allow_responses: given.responses.as_ref().map(responses),
    }
}

fn rules(given: &Permission) -> Rules {
    let allow = Some(given.allow.clone()).filter(|list| !list.is_empty());
    Rules { allow, deny: given.deny.clone() }
}

/// Zero is the default here and no limit there.
fn responses(given: &Response) -> AllowResponses {
    let default = AllowResponses::default();
    AllowResponses {
        max: match given.max {
            0 => default.max,
            max => u64::try_from(max).unwrap_or(0),
        },
        expires: match given.ttl {
            0 => default.expires,
            nanos => u64::try_from(nanos).map_or(Duration::ZERO, Duration::from_nanos),
        },
    }
}

/// May it be connected in this way?
pub(super) fn check_connection_type(terms: &Terms, connection_type: ConnectionType) -> Result<(), Refusal> {
    let allowed = &terms.allowed_connection_types;
    if allowed.is_empty() || allowed.iter().any(|name| name.eq_ignore_ascii_case(connection_type.name())) {
        return Ok(());
    }
    Err(Refusal::ConnectionType(allowed.clone()))
}

/// May it connect from there?
pub(super) fn check_source(terms: &Terms, addr: IpAddr) -> Result<(), Refusal> {
    let addr = addr.to_canonical();
    for network in &terms.src {
        let bad = || Refusal::Unsupported(format!("{network:?} in src is not a network like 10.0.0.0/8"));
        if contains(network, addr).ok_or_else(bad)? {
            return Ok(());
        }
    }
    if terms.src.is_empty() { Ok(()) } else { Err(Refusal::Source(addr)) }
}

/// Is the address in the network? `None`: that is no network.
fn contains(network: &str, addr: IpAddr) -> Option<bool> {
    let (base, length) = network.trim().split_once('/')?;
    let (base, length): (IpAddr, u32) = (base.parse().ok()?, length.parse().ok()?);
    let bits = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => (u128::from(u32::from(addr)), 32),
        IpAddr::V6(addr) => (u128::from(addr), 128),
    };
    let ((base, width), (addr, other_width)) = (bits(base), bits(addr));
    let shift = u32::checked_sub(width, length)?;
    // Shifting by the whole width leaves nothing: every address is in a network of length 0.
    let prefix = |bits: u128| bits.checked_shr(shift).unwrap_or(0);
    Some(width == other_width && prefix(base) == prefix(addr))
}

/// May it be connected now? Until when, in seconds since 1970, if that depends on the time of the day.
///
/// The end is reckoned in seconds from now: on the two days a year that are longer or shorter it is an hour off.
pub(super) fn check_time_of_day(terms: &Terms, now: i64) -> Result<Option<i64>, Refusal> {
    const DAY: i64 = 24 * 60 * 60;
    if terms.times.is_empty() {
        return Ok(None);
    }
    let unsupported = |problem: String| Refusal::Unsupported(problem);
    let zone = match terms.times_location.as_str() {
        // A machine on which nobody has set a time zone lives by UTC; so say other NATS servers.
        "" => TimeZone::system(),
        "UTC" => TimeZone::UTC,
        name => TimeZone::get(name)
            .map_err(|_| unsupported(format!("time zone {name:?}, which this machine does not know")))?,
    };
    let clock = Timestamp::from_second(now).map_err(|_| unsupported("times of the day".to_owned()))?;
    let clock = clock.to_zoned(zone).time();
    let second = i64::from(clock.hour()) * 3600 + i64::from(clock.minute()) * 60 + i64::from(clock.second());
    for range in &terms.times {
        let read = |text: &str| {
            second_of_day(text).ok_or_else(|| unsupported(format!("{text:?} is not a time like 15:04:05")))
        };
        let (start, end) = (read(&range.start)?, read(&range.end)?);
        let left = match start <= end {
            true => (start..end).contains(&second).then_some(end - second),
            // Over midnight: the evening part, or the morning part.
            false if second >= start => Some(DAY - second + end),
            false => (second < end).then_some(end - second),
        };
        if let Some(left) = left {
            return Ok(Some(now.saturating_add(left)));
        }
    }
    Err(Refusal::TimeOfDay)
}

fn second_of_day(text: &str) -> Option<i64> {
    let mut parts = text.split(':').map(|part| part.parse::<u8>().ok().map(i64::from));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let good = parts.next().is_none() && hour < 24 && minute < 60 && second < 60;
    good.then_some(hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::TimeRange;

    #[test]
    fn networks() {
        let is_in = |network, addr: &str| contains(network, addr.parse().unwrap());
        assert_eq!(is_in("10.0.0.0/8", "10.1.2.3"), Some(true));
        assert_eq!(is_in("10.0.0.0/8", "11.1.2.3"), Some(false));
        assert_eq!(is_in("0.0.0.0/0", "11.1.2.3"), Some(true));
        assert_eq!(is_in("::/0", "11.1.2.3"), Some(false));
        assert_eq!(is_in("::/0", "::1"), Some(true));
        assert_eq!(is_in("127.0.0.1/32", "127.0.0.1"), Some(true));
        assert_eq!(is_in("fd00::/8", "fd12::1"), Some(true));
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "x/8", "::/129"] {
            assert_eq!(is_in(bad, "10.0.0.1"), None, "{bad}");
        }
        let terms = Terms { src: vec!["10.0.0.0/8".into()], ..Terms::default() };
        assert!(check_source(&terms, "::ffff:10.1.1.1".parse().unwrap()).is_ok());
        assert!(check_source(&terms, "192.0.2.1".parse().unwrap()).is_err());
    }

    #[test]
    fn times_of_the_day() {
        let terms = |start: &str, end: &str, zone: &str| Terms {
            times: vec![TimeRange { start: start.into(), end: end.into() }],
            times_location: zone.into(),
            ..Terms::default()
        };
        // 1970-01-01 10:00:00 UTC
        let now = 36_000;
        let at = |terms: &Terms| check_time_of_day(terms, now);
        assert_eq!(at(&Terms::default()), Ok(None));
        assert_eq!(at(&terms("09:00:00", "11:00:00", "UTC")), Ok(Some(now + 3600)));
        assert_eq!(at(&terms("10:00:01", "11:00:00", "UTC")), Err(Refusal::TimeOfDay));
        assert_eq!(at(&terms("09:00:00", "10:00:00", "UTC")), Err(Refusal::TimeOfDay));
        assert_eq!(at(&terms("22:00:00", "11:00:00", "UTC")), Ok(Some(now + 3600)));
        assert_eq!(at(&terms("09:30:00", "09:00:00", "UTC")), Ok(Some(now + 23 * 3600)));
        assert_eq!(at(&terms("22:00:00", "09:00:00", "UTC")), Err(Refusal::TimeOfDay));
        for bad in ["9", "25:00:00", "10:60:00", "10:00:00:00", "", "-1:00:00"] {
            assert!(matches!(at(&terms(bad, "11:00:00", "UTC")), Err(Refusal::Unsupported(_))), "{bad}");
        }
        assert!(matches!(at(&terms("09:00:00", "11:00:00", "Not/There")), Err(Refusal::Unsupported(_))));
    }

    #[test]
    fn transports() {
        let terms = |names: &[&str]| Terms {
            allowed_connection_types: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Terms::default()
        };
        assert!(check_connection_type(&terms(&[]), ConnectionType::WebSocket).is_ok());
        assert!(check_connection_type(&terms(&["MQTT", "standard"]), ConnectionType::Standard).is_ok());
        assert!(check_connection_type(&terms(&["MQTT"]), ConnectionType::Standard).is_err());
        assert!(check_connection_type(&terms(&["STANDARD"]), ConnectionType::WebSocket).is_err());
    }

    #[test]
    fn answers() {
        let of = |max, ttl| responses(&Response { max, ttl });
        assert_eq!(of(0, 0), AllowResponses::default());
        assert_eq!(of(-1, -1), AllowResponses { max: 0, expires: Duration::ZERO });
        assert_eq!(of(5, 1_000_000_000), AllowResponses { max: 5, expires: Duration::from_secs(1) });
    }
}
