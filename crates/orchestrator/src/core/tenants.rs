//! The live executions on one node, found by job.
//!
//! A busy node has thousands. They are ordered by a hash of the job's ID first: numbers that lie side by side are compared
//! without a look at the IDs, which lie anywhere in memory. The order is the same in every process.

use foldhash::fast::FixedState;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::BuildHasher;

/// How an execution holds its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    /// For good: it is one of a service or daemon.
    Lasting,
    /// Until it ends; it may wait in the node's queue for other executions to end.
    Waiting,
    /// Until it ends; its node says that it runs.
    Runs,
}

/// Executions by job, with their stay.
#[derive(Clone, Debug, Default)]
pub struct Tenants(BTreeMap<(u64, String, String), Stay>);

impl Tenants {
    /// Adds an execution; false when it is there already.
    pub(crate) fn insert(&mut self, job_id: &str, execution_id: &str, stay: Stay) -> bool {
        match self.0.entry(key(job_id, execution_id)) {
            Entry::Vacant(place) => {
                place.insert(stay);
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    /// Takes an execution out; `None` when it is not there.
    pub(crate) fn remove(&mut self, job_id: &str, execution_id: &str) -> Option<Stay> {
        self.0.remove(&key(job_id, execution_id))
    }

    /// How an execution stays, to change; `None` when it is not there.
    pub(crate) fn stay_mut(&mut self, job_id: &str, execution_id: &str) -> Option<&mut Stay> {
        self.0.get_mut(&key(job_id, execution_id))
    }

    /// The executions of one job.
    pub(crate) fn of_job(&self, job_id: &str) -> impl Iterator<Item = &str> {
        let later = self.0.range(key(job_id, "")..);
        later.take_while(move |((_, of, _), _)| of == job_id).map(|((_, _, id), _)| id.as_str())
    }

    /// All: (job, execution).
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.keys().map(|(_, job_id, execution_id)| (job_id.as_str(), execution_id.as_str()))
    }

    /// The same, for a loop that changes the node.
    pub(crate) fn to_vec(&self) -> Vec<(String, String)> {
        self.iter().map(|(job_id, execution_id)| (job_id.to_owned(), execution_id.to_owned())).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn key(job_id: &str, execution_id: &str) -> (u64, String, String) {
    (FixedState::default().hash_one(job_id), job_id.to_owned(), execution_id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_found_by_job() {
        let mut tenants = Tenants::default();
        for (job, execution) in [("a", "1"), ("b", "2"), ("a", "3"), ("ab", "4")] {
            assert!(tenants.insert(job, execution, Stay::Waiting));
            assert!(!tenants.insert(job, execution, Stay::Lasting));
        }
        assert_eq!(tenants.of_job("a").collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(tenants.of_job("c").count(), 0);
        *tenants.stay_mut("b", "2").unwrap() = Stay::Runs;
        assert_eq!((tenants.remove("b", "1"), tenants.remove("b", "2")), (None, Some(Stay::Runs)));
        let mut all = tenants.to_vec();
        all.sort();
        let pair = |job: &str, execution: &str| (job.to_owned(), execution.to_owned());
        assert_eq!(all, [pair("a", "1"), pair("a", "3"), pair("ab", "4")]);
        assert_eq!(tenants.len(), 3);
    }
}
