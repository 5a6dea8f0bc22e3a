//! Which orchestrator to try next, and how long to wait: the pure part of [`crate::connect`].

use crate::address::{self, Address};
use std::time::Duration;

/// Addresses learnt from servers that are kept.
const MOST_LEARNT: usize = 32;
/// Pause after the first round in which nobody could be reached.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Configured and learnt addresses.
#[derive(Debug)]
pub(crate) struct Pool {
    configured: Vec<Address>,
    learnt: Vec<Address>,
}

impl Pool {
    pub(crate) fn new(configured: Vec<Address>) -> Pool {
        Pool { configured, learnt: Vec::new() }
    }

    /// Takes over other configured addresses. What was learnt came with credentials that are of no use any more.
    /// False when nothing changed.
    pub(crate) fn reconfigure(&mut self, configured: Vec<Address>) -> bool {
        if configured.is_empty() || configured == self.configured {
            return false;
        }
        *self = Pool::new(configured);
        true
    }

    /// The order of one round: configured addresses shuffled, then learnt ones shuffled. Learnt ones come last for
    /// they may be private to the server's own network.
    pub(crate) fn round(&self, random: &mut fastrand::Rng) -> Vec<Address> {
        let (mut configured, mut learnt) = (self.configured.clone(), self.learnt.clone());
        random.shuffle(&mut configured);
        random.shuffle(&mut learnt);
        configured.append(&mut learnt);
        configured
    }

    /// Takes over what a server announces about its cluster. It replaces what was learnt before; the credentials
    /// are those that this server accepted. Announcements that are no addresses are skipped.
    pub(crate) fn learn(&mut self, announced: &[String], from: &Address) {
        if announced.is_empty() {
            return;
        }
        self.learnt.clear();
        for text in announced {
            let Ok(mut found) = address::parse(text) else { continue };
            found.tls = from.tls;
            found.credentials = from.credentials.clone();
            let known = self.configured.iter().chain(&self.learnt).any(|a| a.is_same_place(&found));
            if !known && self.learnt.len() < MOST_LEARNT {
                self.learnt.push(found);
            }
        }
    }
}

/// Pauses between rounds: 250 ms, doubling to 15 s, each a quarter longer or shorter so that a thousand nodes do not
/// come back in the same instant.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failed: u32,
}

impl Backoff {
    /// The pause after one more failed round.
    pub(crate) fn next(&mut self, random: &mut fastrand::Rng) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failed.min(10)).min(LONGEST_PAUSE);
        self.failed = self.failed.saturating_add(1);
        pause.mul_f64(0.75 + random.f64() / 2.0)
    }

    /// Rounds that failed since the last success.
    pub(crate) fn failed(&self) -> u32 {
        self.failed
    }

    /// A round succeeded.
    pub(crate) fn reset(&mut self) {
        self.failed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Credentials, parse_addresses};

    #[test]
    fn learnt_addresses_come_last_and_show_what_was_accepted() {
        let mut pool = Pool::new(parse_addresses(&["mine@a,b,c"], &Credentials::token("shared")).unwrap());
        let from = pool.configured[0].clone();
        let announced = ["10.0.0.9:4222", "b:4222", "not an address", "10.0.0.9"].map(str::to_owned);
        pool.learn(&announced, &from);
        pool.learn(&[], &from);
        assert_eq!(pool.learnt.iter().map(Address::to_string).collect::<Vec<_>>(), ["10.0.0.9:4222"]);
        assert_eq!(pool.learnt[0].credentials, Credentials::Token("mine".into()));
        let many: Vec<String> = (0..100).map(|n| format!("h{n}")).collect();
        pool.learn(&many, &from);
        assert_eq!(pool.learnt.len(), MOST_LEARNT);
        let mut random = fastrand::Rng::with_seed(7);
        let firsts: std::collections::BTreeSet<String> =
            (0..50).map(|_| pool.round(&mut random)[0].to_string()).collect();
        assert_eq!(firsts.len(), 3, "not shuffled, or learnt ones first: {firsts:?}");
    }

    #[test]
    fn corrected_credentials_replace_everything() {
        let mut pool = Pool::new(parse_addresses(&["a,b"], &Credentials::token("wrong")).unwrap());
        let from = pool.configured[0].clone();
        pool.learn(&["c:4222".to_owned()], &from);
        assert!(!pool.reconfigure(parse_addresses(&["a,b"], &Credentials::token("wrong")).unwrap()));
        assert!(!pool.reconfigure(Vec::new()));
        assert_eq!(pool.learnt.len(), 1);
        assert!(pool.reconfigure(parse_addresses(&["a,b"], &Credentials::token("right")).unwrap()));
        let round = pool.round(&mut fastrand::Rng::with_seed(7));
        assert_eq!(round.len(), 2);
        assert!(round.iter().all(|a| a.credentials == Credentials::Token("right".into())));
    }

    #[test]
    fn pauses_double_to_the_longest_and_start_again() {
        let (mut backoff, mut random) = (Backoff::default(), fastrand::Rng::with_seed(7));
        for expected in [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000] {
            let pause = backoff.next(&mut random).as_millis();
            assert!((expected * 3 / 4..=expected * 5 / 4).contains(&pause), "{expected}: {pause}");
        }
        assert_eq!(backoff.failed(), 8);
        backoff.reset();
        assert!(backoff.next(&mut random).as_millis() <= 313);
        (0..100).for_each(|_| assert!(backoff.next(&mut random) <= LONGEST_PAUSE.mul_f64(1.25)));
    }
}
