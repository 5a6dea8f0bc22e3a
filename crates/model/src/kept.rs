//! Which versions' executions count for a job: its own, and earlier ones that run the same thing.
//!
//! A version that only changes the count, or that goes back to an earlier one, does not restart what runs already. It
//! names the versions whose executions it keeps in its metadata, as a list of numbers and ranges: `1-3,5`.

use crate::job::{Job, meta};
use std::collections::BTreeSet;

/// Versions that a job may keep at most; after so many changes of its count an update starts anew.
pub const MOST_KEPT: usize = 10_000;

impl Job {
    /// Versions whose executions count for this version, itself included.
    pub fn kept_versions(&self) -> BTreeSet<u64> {
        let mut versions = self.meta.get(meta::KEEPS_VERSIONS).map_or_else(BTreeSet::new, |text| parse(text));
        versions.insert(self.version);
        versions
    }

    /// Names the versions whose executions count for this version; a job that keeps none has no such metadata.
    pub fn keep_versions(&mut self, versions: &BTreeSet<u64>) {
        let others: BTreeSet<u64> = versions.iter().copied().filter(|v| *v != self.version).collect();
        if others.is_empty() {
            self.meta.remove(meta::KEEPS_VERSIONS);
        } else {
            self.meta.insert(meta::KEEPS_VERSIONS.to_owned(), render(&others));
        }
    }
}

/// What cannot be read is left out: a version too few means a restart, not a loss.
fn parse(text: &str) -> BTreeSet<u64> {
    let mut versions = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u64>(), last.parse::<u64>()) {
            versions.extend((first..=last).take(MOST_KEPT.saturating_sub(versions.len())));
        }
    }
    versions
}

fn render(versions: &BTreeSet<u64>) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for version in versions {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *version => *last = *version,
            _ => ranges.push((*version, *version)),
        }
    }
    let texts = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_kept_is_read_back(versions in proptest::collection::btree_set(1u64..60, 0..30), own in 1u64..60) {
            let mut job = Job { version: own, ..Job::default() };
            job.keep_versions(&versions);
            let mut expected = versions;
            expected.insert(own);
            prop_assert_eq!(job.kept_versions(), expected);
        }

        #[test]
        fn any_text_is_bounded(text in "[0-9,-]{0,60}") {
            prop_assert!(parse(&text).len() <= MOST_KEPT);
        }
    }

    #[test]
    fn ranges_are_short() {
        assert_eq!(render(&[1, 2, 3, 5].into()), "1-3,5");
        assert!(!Job { version: 2, ..Job::default() }.meta.contains_key(meta::KEEPS_VERSIONS));
    }
}
