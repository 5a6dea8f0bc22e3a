//! The hash maps of the core. What they hash are names and IDs, some of which users choose, so nobody outside knows the
//! seed; and a decision looks into a dozen of them, so hashing is quick.

use foldhash::SharedSeed;
use foldhash::fast::{RandomState, SeedableRandomState};
use std::collections::HashMap;

/// A map whose order nobody looks at.
pub(crate) type Map<K, V> = HashMap<K, V, RandomState>;

/// A map whose order a seed decides: it is the same in every run with that seed.
pub(crate) type SeededMap<K, V> = HashMap<K, V, SeedableRandomState>;

/// An empty map in the order of that seed.
pub(crate) fn seeded_map<K, V>(seed: u64) -> SeededMap<K, V> {
    HashMap::with_hasher(SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()))
}
