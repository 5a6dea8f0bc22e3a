//! A set of small numbers as bits. Reads beyond its end say no.

/// Bits in a word.
const WORD: usize = 64;

/// The set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// Adds or removes a number.
    pub(crate) fn set(&mut self, number: usize, on: bool) {
        let (word, bit) = (number / WORD, 1_u64 << (number % WORD));
        if word >= self.0.len() && on {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word = if on { *word | bit } else { *word & !bit };
        }
    }

    /// True when the number is in it.
    pub(crate) fn contains(&self, number: usize) -> bool {
        self.0.get(number / WORD).is_some_and(|word| word >> (number % WORD) & 1 == 1)
    }

    /// True when nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// What is in both.
    pub(crate) fn and(&self, other: &Bits) -> Bits {
        Bits(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    /// What is in this one only.
    pub(crate) fn without(&self, other: &Bits) -> Bits {
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        Bits(self.0.iter().zip(others).map(|(a, b)| a & !b).collect())
    }

    /// The numbers, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(index, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                rest &= rest.wrapping_sub(1);
                (bit < u64::BITS).then_some(index * WORD + bit as usize)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(a in proptest::collection::btree_set(0usize..200, 0..40), b in proptest::collection::btree_set(0usize..400, 0..40)) {
            let bits = |set: &BTreeSet<usize>| {
                let mut bits = Bits::default();
                set.iter().for_each(|n| bits.set(*n, true));
                bits
            };
            let (x, y) = (bits(&a), bits(&b));
            prop_assert_eq!(x.iter().collect::<Vec<_>>(), a.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(x.and(&y).iter().collect::<BTreeSet<_>>(), &a & &b);
            prop_assert_eq!(x.without(&y).iter().collect::<BTreeSet<_>>(), &a - &b);
            prop_assert_eq!(x.is_empty(), a.is_empty());
            prop_assert_eq!((0..500).filter(|n| x.contains(*n)).count(), a.len());
        }
    }
}
