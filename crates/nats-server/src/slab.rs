//! A table of slots addressed by small numbers, reused after removal. After a flood its memory is given back.
//!
//! It never hands out the same number twice while the first holder is in it; it does not protect against an old
//! number that is used after its slot was given to somebody else, so owners must forget numbers when they remove.

/// Values by number; numbers are dense, so they serve as poll tokens and as cheap references.
pub(crate) struct Slab<T> {
    slots: Vec<Option<T>>,
    /// Numbers that were given back. Some may be beyond the end by now, or in use again.
    free: Vec<u32>,
}

/// A table with less room than this keeps it.
const KEEP: usize = 4 * 1024;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Stores `value` and returns its number.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        while let Some(key) = self.free.pop() {
            if let Some(slot @ None) = self.slots.get_mut(key as usize) {
                *slot = Some(value);
                return key;
            }
        }
        self.slots.push(Some(value));
        (self.slots.len() - 1) as u32
    }

    #[inline]
    pub(crate) fn get(&self, key: u32) -> Option<&T> {
        self.slots.get(key as usize).and_then(Option::as_ref)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        self.slots.get_mut(key as usize).and_then(Option::as_mut)
    }

    /// Takes the value out and frees its number.
    pub(crate) fn remove(&mut self, key: u32) -> Option<T> {
        let value = self.slots.get_mut(key as usize).and_then(Option::take)?;
        if key as usize + 1 < self.slots.len() {
            self.free.push(key);
            return Some(value);
        }
        // Every slot that is popped here was pushed once, so this costs nothing over time.
        let before = self.slots.len();
        while let Some(None) = self.slots.last() {
            self.slots.pop();
        }
        shrink(&mut self.slots);
        if before - self.slots.len() > self.free.len() / 2 {
            let end = self.slots.len();
            self.free.retain(|key| (*key as usize) < end);
            shrink(&mut self.free);
        }
        Some(value)
    }

    /// How many values are stored.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// What is in the `slots` slots from `from` on, and the slot to go on with, if there are more.
    pub(crate) fn scan(&self, from: u32, slots: u32) -> (impl Iterator<Item = (u32, &T)>, Option<u32>) {
        let end = (from.saturating_add(slots) as usize).min(self.slots.len());
        let found = self.slots.get(from as usize..end).unwrap_or_default();
        let found = (from..).zip(found).filter_map(|(key, slot)| Some((key, slot.as_ref()?)));
        (found, (end < self.slots.len()).then_some(end as u32))
    }

    /// The numbers in use, in order.
    pub(crate) fn keys(&self) -> Vec<u32> {
        self.slots.iter().enumerate().filter(|(_, slot)| slot.is_some()).map(|(key, _)| key as u32).collect()
    }
}

/// Gives memory back when less than a quarter is used.
fn shrink<T>(list: &mut Vec<T>) {
    if list.capacity() > KEEP && list.len() < list.capacity() / 4 {
        list.shrink_to(list.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn numbers_are_reused() {
        let mut slab = Slab::default();
        let a = slab.insert("a");
        let b = slab.insert("b");
        assert_eq!(slab.remove(a), Some("a"));
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.insert("c"), a);
        assert_eq!(slab.get(b), Some(&"b"));
        assert_eq!((slab.len(), slab.keys()), (2, vec![a, b]));
    }

    #[test]
    fn a_flood_leaves_no_memory_behind() {
        let mut slab = Slab::default();
        let kept = slab.insert(0);
        for order in [false, true] {
            let mut keys: Vec<u32> = (0..100_000).map(|value| slab.insert(value)).collect();
            assert!(!keys.contains(&kept), "numbers in use are not given out again");
            if order {
                keys.reverse();
            }
            for key in keys {
                assert!(slab.remove(key).is_some());
            }
            assert!(slab.slots.capacity() <= KEEP && slab.free.capacity() <= KEEP);
            assert_eq!((slab.len(), slab.get(kept)), (1, Some(&0)));
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in proptest::collection::vec((any::<bool>(), 0u32..40), 0..400)) {
            let (mut slab, mut map) = (Slab::default(), BTreeMap::new());
            for (value, (insert, key)) in steps.into_iter().enumerate() {
                if insert {
                    prop_assert_eq!(map.insert(slab.insert(value), value), None, "given out twice");
                } else {
                    prop_assert_eq!(slab.remove(key), map.remove(&key));
                }
                prop_assert_eq!(slab.keys(), map.keys().copied().collect::<Vec<_>>());
                prop_assert_eq!(slab.len(), map.len());
            }
        }
    }

    #[test]
    fn scans_go_on_where_they_stopped() {
        let mut slab = Slab::default();
        for value in 0..5 {
            slab.insert(value);
        }
        slab.remove(1);
        let (found, next) = slab.scan(0, 2);
        assert_eq!((found.collect::<Vec<_>>(), next), (vec![(0, &0)], Some(2)));
        let (found, next) = slab.scan(2, 9);
        assert_eq!((found.collect::<Vec<_>>(), next), (vec![(2, &2), (3, &3), (4, &4)], None));
        assert_eq!(slab.scan(77, 9).0.count(), 0);
    }
}
