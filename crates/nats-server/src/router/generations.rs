//! Tells which cached results a change among the wildcards can have touched.
//!
//! A pattern that starts with two literal tokens can only match subjects that start with the same two, and so on for
//! one; a pattern that starts with a wildcard can match everything. There is one counter for "everything" and a fixed
//! table of counters for leading tokens, by hash. A result is good while the sum of its three counters is unchanged:
//! counters only grow. Two prefixes in one counter cost a needless match, never a wrong one. So the inbox wildcards
//! that every connecting client brings make stale only the results for that client's own inbox.

use std::hash::BuildHasher;

use crate::hash::Keyed;

const COUNTERS: usize = 4096;

/// The counters.
pub(crate) struct Generations {
    all: u64,
    by_prefix: Vec<u64>,
    keyed: Keyed,
}

/// Which counters concern a literal subject.
#[derive(Clone, Copy)]
pub(crate) struct Watch {
    one: u16,
    two: u16,
}

impl Default for Generations {
    fn default() -> Self {
        Self { all: 0, by_prefix: vec![0; COUNTERS], keyed: Keyed::default() }
    }
}

impl Generations {
    /// The counters for a subject.
    pub(crate) fn watch(&self, subject: &[u8]) -> Watch {
        let (one, two) = prefixes(subject);
        Watch { one: self.counter(one), two: self.counter(two) }
    }

    /// The present state of those counters.
    #[inline]
    pub(crate) fn read(&self, watch: Watch) -> u64 {
        let get = |index: u16| self.by_prefix.get(usize::from(index)).copied().unwrap_or_default();
        // Wrapping cannot bring an old sum back within the life of a process.
        self.all.wrapping_add(get(watch.one)).wrapping_add(get(watch.two))
    }

    /// A pattern was added or removed.
    pub(crate) fn bump(&mut self, pattern: &[u8]) {
        let literal =
            pattern.split(|byte| *byte == b'.').take_while(|token| *token != b"*" && *token != b">");
        let (one, two) = prefixes(pattern);
        let prefix = match literal.take(2).count() {
            0 => {
                self.all += 1;
                return;
            }
            1 => one,
            _ => two,
        };
        let index = usize::from(self.counter(prefix));
        if let Some(counter) = self.by_prefix.get_mut(index) {
            *counter += 1;
        }
    }

    fn counter(&self, prefix: &[u8]) -> u16 {
        (self.keyed.hash_one(prefix) % COUNTERS as u64) as u16
    }
}

/// The first token, and the first two with the dot between them (or as much as there is).
fn prefixes(subject: &[u8]) -> (&[u8], &[u8]) {
    let mut dots = memchr::memchr_iter(b'.', subject);
    let mut next = || dots.next().and_then(|at| subject.get(..at)).unwrap_or(subject);
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_prefix_goes_stale() {
        let mut generations = Generations::default();
        let mine = generations.watch(b"_INBOX.aaaa.1");
        let before = generations.read(mine);
        generations.bump(b"_INBOX.bbbb.*");
        generations.bump(b"other.>");
        // Not certain (counters are shared by hash) but so likely that a failure means a broken prefix: 2 in 4096.
        let after_others = generations.read(mine);
        generations.bump(b"_INBOX.aaaa.*");
        let after_own = generations.read(mine);
        generations.bump(b"_INBOX.>");
        let after_first = generations.read(mine);
        generations.bump(b"*.aaaa.1");
        let after_all = generations.read(mine);
        assert!(after_others <= before + 2);
        assert!(after_own > after_others && after_first > after_own && after_all > after_first);
    }

    #[test]
    fn prefix_of_short_subjects() {
        assert_eq!(prefixes(b"a"), (&b"a"[..], &b"a"[..]));
        assert_eq!(prefixes(b"a.b"), (&b"a"[..], &b"a.b"[..]));
        assert_eq!(prefixes(b"a.b.c"), (&b"a"[..], &b"a.b"[..]));
    }
}
