//! A fast hash for subjects and subscription ids, keyed per process.
//!
//! Subjects come from the network, so the key must stay secret and differ per process: a fixed hash would let a
//! client choose subjects that all collide. It must never be used where a cryptographic digest is needed.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

/// A map keyed by byte strings from the network.
pub(crate) type ByteMap<V> = HashMap<Box<[u8]>, V, Keyed>;

/// The two secret words, drawn from the operating system's randomness through the standard library.
#[derive(Clone, Copy)]
pub(crate) struct Keyed {
    start: u64,
    factor: u64,
}

impl Default for Keyed {
    fn default() -> Self {
        let word = || RandomState::new().build_hasher().finish();
        // An odd factor keeps the multiplication from losing the low bits.
        Self { start: word(), factor: word() | 1 }
    }
}

impl BuildHasher for Keyed {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded { state: self.start, factor: self.factor }
    }
}

/// Folds eight bytes at a time with a 64x64 to 128 bit multiplication.
pub(crate) struct Folded {
    state: u64,
    factor: u64,
}

impl Folded {
    #[inline]
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.state ^ word).wrapping_mul(u128::from(self.factor));
        // Both halves are kept: the high one carries what the low one loses.
        self.state = (product as u64) ^ ((product >> 64) as u64) ^ word.rotate_left(23);
    }
}

impl Hasher for Folded {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let last = rest.iter().fold(rest.len() as u64, |word, byte| (word << 8) | u64::from(*byte));
            self.mix(last);
        }
    }

    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    #[inline]
    fn finish(&self) -> u64 {
        // The table uses the top and the bottom bits; one more fold spreads the last word over both.
        let product = u128::from(self.state).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (product as u64) ^ ((product >> 64) as u64)
    }
}

/// Smaller maps keep their memory.
const KEEP: usize = 4 * 1024;

/// Gives memory back when less than a quarter is used.
pub(crate) fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V, Keyed>) {
    if map.capacity() > KEEP && map.len() < map.capacity() / 4 {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn near_subjects_do_not_collide() {
        let keyed = Keyed::default();
        let seen: HashSet<u64> =
            (0..100_000).map(|i| keyed.hash_one(format!("bench.{i}").as_bytes())).collect();
        assert_eq!(seen.len(), 100_000);
        let low: HashSet<u64> = seen.iter().map(|hash| hash & 0xffff).collect();
        assert!(low.len() > 40_000, "low bits are spread: {}", low.len());
    }

    #[test]
    fn two_keys_differ() {
        assert_ne!(Keyed::default().hash_one(b"foo"), Keyed::default().hash_one(b"foo"));
    }
}
