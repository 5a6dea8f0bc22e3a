//! Requests per second and client address: a token bucket each, in a table that cannot grow without end.
//!
//! Addresses are those of the peers: what a header claims about the client could be made up.

use super::options::Rate;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses remembered at most. Further ones share a bucket until others are full again and forgotten.
const MOST_CLIENTS: usize = 16_384;
/// Shortest time between two searches for addresses to forget.
const SWEEP: Duration = Duration::from_secs(1);

/// Says who may ask now.
#[derive(Debug)]
pub(super) struct RateLimiter {
    rate: Option<Rate>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    buckets: HashMap<IpAddr, Bucket>,
    swept: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl RateLimiter {
    pub(super) fn new(rate: Option<Rate>) -> RateLimiter {
        RateLimiter { rate, table: Mutex::default() }
    }

    /// Takes a token of the client's bucket; false when there is none.
    pub(super) fn admit(&self, client: IpAddr, now: Instant) -> bool {
        let Some(rate) = self.rate else { return true };
        let client = client.to_canonical();
        if client.is_loopback() && !rate.loopback {
            return true;
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let key = table.key_for(network_of(client), rate, now);
        let full = Bucket { tokens: f64::from(rate.burst), at: now };
        let bucket = table.buckets.entry(key).or_insert(full);
        *bucket = bucket.refilled(rate, now);
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
        }
        admitted
    }
}

impl Table {
    /// The client's own key, or the shared one when the table is full.
    fn key_for(&mut self, client: IpAddr, rate: Rate, now: Instant) -> IpAddr {
        if self.buckets.len() < MOST_CLIENTS || self.buckets.contains_key(&client) {
            return client;
        }
        if self.swept.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP) {
            self.swept = Some(now);
            self.buckets.retain(|_, bucket| bucket.refilled(rate, now).tokens < f64::from(rate.burst));
        }
        if self.buckets.len() < MOST_CLIENTS { client } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) }
    }
}

impl Bucket {
    fn refilled(self, rate: Rate, now: Instant) -> Bucket {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        let tokens = self.tokens + since * f64::from(rate.per_second);
        Bucket { tokens: tokens.min(f64::from(rate.burst)), at: now }
    }
}

/// One customer of IPv6 has a whole network of 64 bits to ask from.
fn network_of(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 2, loopback: false };

    #[test]
    fn bursts_are_taken_and_refilled() {
        let limiter = RateLimiter::new(Some(RATE));
        let (client, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let start = Instant::now();
        assert!(limiter.admit(client, start) && limiter.admit(client, start));
        assert!(!limiter.admit(client, start));
        assert!(limiter.admit(other, start));
        let later = start + Duration::from_millis(100);
        assert!(limiter.admit(client, later));
        assert!(!limiter.admit(client, later));
    }

    #[test]
    fn this_machine_is_trusted_unless_told() {
        let start = Instant::now();
        for loopback in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let client = loopback.parse().unwrap();
            let trusting = RateLimiter::new(Some(RATE));
            assert!((0..100).all(|_| trusting.admit(client, start)));
            let strict = RateLimiter::new(Some(Rate { loopback: true, ..RATE }));
            assert_eq!((0..100).filter(|_| strict.admit(client, start)).count(), 2);
        }
    }

    #[test]
    fn one_network_is_one_client() {
        let limiter = RateLimiter::new(Some(RATE));
        let start = Instant::now();
        let admitted =
            (0..100).filter(|n| limiter.admit(format!("2001:db8::{n:x}").parse().unwrap(), start)).count();
        assert_eq!(admitted, 2);
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let limiter = RateLimiter::new(Some(RATE));
        let start = Instant::now();
        let client =
            |n: usize| IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(n).unwrap()));
        for n in 0..MOST_CLIENTS + 10 {
            limiter.admit(client(n), start);
        }
        let known = || limiter.table.lock().unwrap().buckets.len();
        // The shared bucket is one more.
        assert_eq!(known(), MOST_CLIENTS + 1);
        assert!(!limiter.admit(client(MOST_CLIENTS + 11), start));
        let later = start + Duration::from_secs(5);
        assert!(limiter.admit(client(MOST_CLIENTS + 12), later));
        assert!(known() < 3, "{}", known());
    }
}
