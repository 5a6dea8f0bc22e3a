//! Which partitions of a job still need an execution.
//!
//! Partitions are numbers 0..Count. Those never placed are one number (the next one), so that a job of a million
//! partitions costs memory only for what was placed and came back.

use std::collections::BTreeSet;

/// Partitions without a live or completed execution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unplaced {
    next: i64,
    count: i64,
    returned: BTreeSet<i64>,
}

impl Unplaced {
    /// All of 0..`count`.
    pub fn all(count: i64) -> Unplaced {
        Unplaced { next: 0, count, returned: BTreeSet::new() }
    }

    /// 0..`count` without those that are `taken`.
    pub fn without(count: i64, taken: &BTreeSet<i64>) -> Unplaced {
        let next = taken.range(..count).next_back().map_or(0, |last| last + 1);
        let returned = (0..next).filter(|p| !taken.contains(p)).collect();
        Unplaced { next, count, returned }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.returned.len() + usize::try_from(self.count - self.next).unwrap_or(0)
    }

    /// True when every partition has an execution.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True when the partition is one of them.
    pub fn contains(&self, partition: i64) -> bool {
        self.returned.contains(&partition) || (self.next..self.count).contains(&partition)
    }

    /// The first `limit`, lowest first.
    pub fn first(&self, limit: usize) -> Vec<i64> {
        self.returned.iter().copied().chain(self.next..self.count).take(limit).collect()
    }

    /// A partition got an execution.
    pub fn take(&mut self, partition: i64) {
        if !self.returned.remove(&partition) && partition >= self.next && partition < self.count {
            self.returned.extend(self.next..partition);
            self.next = partition + 1;
        }
    }

    /// A partition's execution ended without a result.
    pub fn give_back(&mut self, partition: i64) {
        if (0..self.next).contains(&partition) {
            self.returned.insert(partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(count in 0i64..20, steps in proptest::collection::vec((any::<bool>(), 0i64..22), 0..60)) {
            let mut unplaced = Unplaced::all(count);
            let mut model: BTreeSet<i64> = (0..count).collect();
            let mut taken = BTreeSet::new();
            for (take, partition) in steps {
                if take {
                    unplaced.take(partition);
                    if model.remove(&partition) { taken.insert(partition); }
                } else if taken.remove(&partition) {
                    unplaced.give_back(partition);
                    model.insert(partition);
                }
                prop_assert_eq!(unplaced.len(), model.len());
                prop_assert_eq!(unplaced.first(100), model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(Unplaced::without(count, &taken).first(100), unplaced.first(100));
            }
        }
    }
}
