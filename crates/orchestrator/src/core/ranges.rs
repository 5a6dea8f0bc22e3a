//! A set of numbers that mostly come in order, such as completed partitions, in memory for its gaps only.

use std::collections::BTreeMap;

/// Numbers, kept as ranges that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// First to last, both included.
    ranges: BTreeMap<i64, i64>,
    len: i64,
}

impl Ranges {
    /// Adds a number. False when it was there.
    pub fn insert(&mut self, number: i64) -> bool {
        if self.contains(number) {
            return false;
        }
        let last = self.ranges.remove(&(number + 1)).unwrap_or(number);
        match self.ranges.range_mut(..number).next_back() {
            Some((_, before)) if *before + 1 == number => *before = last,
            _ => {
                self.ranges.insert(number, last);
            }
        }
        self.len += 1;
        true
    }

    /// True when the number is in the set.
    pub fn contains(&self, number: i64) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, last)| *last >= number)
    }

    /// How many numbers there are.
    pub fn len(&self) -> i64 {
        self.len
    }

    /// Drops all numbers from `end` on.
    pub fn truncate(&mut self, end: i64) {
        let beyond = self.ranges.split_off(&end);
        self.len -= beyond.iter().map(|(first, last)| last - first + 1).sum::<i64>();
        if let Some((_, last)) = self.ranges.iter_mut().next_back()
            && *last >= end
        {
            self.len -= *last - end + 1;
            *last = end - 1;
        }
    }

    /// All numbers in order.
    pub fn iter(&self) -> impl Iterator<Item = i64> {
        self.ranges.iter().flat_map(|(first, last)| *first..=*last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(numbers in proptest::collection::vec(0i64..40, 0..60), end in 0i64..40) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(ranges.insert(number), model.insert(number));
            }
            prop_assert_eq!(ranges.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            ranges.truncate(end);
            model.retain(|n| *n < end);
            prop_assert_eq!(ranges.len() as usize, model.len());
            prop_assert!((0..40).all(|n| ranges.contains(n) == model.contains(&n)));
        }
    }
}
