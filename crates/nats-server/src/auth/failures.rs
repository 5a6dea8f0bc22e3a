//! Failed log-ins by address: one log line per address and minute, and patience with those who keep trying. An address
//! of IPv6 stands for its network of 64 bits, for whoever has one has all of them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Addresses remembered at most, so that a flood from many addresses cannot fill memory.
const MAX_REMEMBERED: usize = 1024;
/// One log line per address in this time; also how long failures are remembered.
const WINDOW: Duration = Duration::from_secs(60);
/// Failures per address and window that are answered at once: a fleet behind one address may share a mistake.
const FREE: u32 = 16;
/// Added to the answer's delay with each further failure.
const STEP: Duration = Duration::from_millis(50);
/// Longest delay.
const LONGEST: Duration = Duration::from_secs(2);

/// What to do about one more failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Treatment {
    /// It is worth a log line.
    pub(crate) log: bool,
    /// The client is told, and cut off, only after this.
    pub(crate) delay: Duration,
}

struct Failures {
    since: Instant,
    count: u32,
}

/// The failures of the last minute.
#[derive(Default)]
pub(crate) struct FailureTable {
    by_address: HashMap<IpAddr, Failures>,
}

impl FailureTable {
    /// Notes a failure.
    pub(crate) fn note(&mut self, addr: IpAddr, now: Instant) -> Treatment {
        let addr = origin(addr);
        let is_old = |failures: &Failures| now.saturating_duration_since(failures.since) >= WINDOW;
        if self.by_address.len() >= MAX_REMEMBERED && !self.by_address.contains_key(&addr) {
            self.by_address.retain(|_, failures| !is_old(failures));
            if self.by_address.len() >= MAX_REMEMBERED {
                // So many addresses at once are one attack: nothing is gained by logging each.
                return Treatment { log: false, delay: LONGEST };
            }
        }
        let failures = self.by_address.entry(addr).or_insert(Failures { since: now, count: 0 });
        if is_old(failures) {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
        let delay = STEP.saturating_mul(failures.count.saturating_sub(FREE)).min(LONGEST);
        Treatment { log: failures.count == 1, delay }
    }
}

/// What is remembered of an address.
fn origin(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V4(addr) => addr.into(),
        IpAddr::V6(addr) => Ipv6Addr::from_bits(addr.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_address_and_window_and_slower_and_slower() {
        let mut table = FailureTable::default();
        let (start, addr) = (Instant::now(), IpAddr::from([127, 0, 0, 1]));
        assert_eq!(table.note(addr, start), Treatment { log: true, delay: Duration::ZERO });
        for _ in 1..FREE {
            assert_eq!(table.note(addr, start), Treatment { log: false, delay: Duration::ZERO });
        }
        assert_eq!(table.note(addr, start).delay, STEP);
        for _ in 0..100 {
            table.note(addr, start);
        }
        assert_eq!(
            table.note(addr, start + Duration::from_secs(59)),
            Treatment { log: false, delay: LONGEST }
        );
        assert!(table.note(IpAddr::from([127, 0, 0, 2]), start).log);
        assert_eq!(table.note(addr, start + WINDOW), Treatment { log: true, delay: Duration::ZERO });
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let mut table = FailureTable::default();
        let now = Instant::now();
        for n in 0..100_u32 {
            let addr: IpAddr = Ipv6Addr::from_bits((0x2001_0db8 << 96) | u128::from(n)).into();
            assert_eq!(table.note(addr, now).log, n == 0);
        }
        let mapped = std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped();
        assert!(table.note(mapped.into(), now).log && !table.note([10, 0, 0, 1].into(), now).log);
        assert!(table.note([10, 0, 0, 2].into(), now).log);
    }

    #[test]
    fn memory_is_bounded() {
        let mut table = FailureTable::default();
        let start = Instant::now();
        for n in 0..10_000_u32 {
            table.note(IpAddr::from(n.to_be_bytes()), start);
        }
        assert!(table.by_address.len() <= MAX_REMEMBERED);
        assert!(table.note(IpAddr::from([1, 2, 3, 4]), start + WINDOW).log);
    }
}
