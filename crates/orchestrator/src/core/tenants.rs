//! The live executions on one node, found by job.
//!
//! A busy node has thousands. They are ordered by a hash of the job's ID first: numbers that lie side by side are compared
//! without a look at the IDs, which lie anywhere in memory. The order is the same in every process.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

/// Pairs of a job and one of its executions.
#[derive(Clone, Debug, Default)]
pub struct Tenants(BTreeSet<(u64, String, String)>);

impl Tenants {
    /// Adds an execution; false when it is there already.
    pub(crate) fn insert(&mut self, job_id: &str, execution_id: &str) -> bool {
        self.0.insert((hash(job_id), job_id.to_owned(), execution_id.to_owned()))
    }

    /// Takes an execution out; false when it is not there.
    pub(crate) fn remove(&mut self, job_id: &str, execution_id: &str) -> bool {
        self.0.remove(&(hash(job_id), job_id.to_owned(), execution_id.to_owned()))
    }

    /// The executions of one job.
    pub(crate) fn of_job(&self, job_id: &str) -> impl Iterator<Item = &str> {
        let from = (hash(job_id), job_id.to_owned(), String::new());
        self.0.range(from..).take_while(move |(_, of, _)| of == job_id).map(|(_, _, id)| id.as_str())
    }

    /// All: (job, execution).
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(_, job_id, execution_id)| (job_id.as_str(), execution_id.as_str()))
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

fn hash(job_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(job_id.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_found_by_job() {
        let mut tenants = Tenants::default();
        for (job, execution) in [("a", "1"), ("b", "2"), ("a", "3"), ("ab", "4")] {
            assert!(tenants.insert(job, execution));
            assert!(!tenants.insert(job, execution));
        }
        assert_eq!(tenants.of_job("a").collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(tenants.of_job("c").count(), 0);
        assert!(!tenants.remove("b", "1") && tenants.remove("b", "2"));
        let mut all = tenants.to_vec();
        all.sort();
        let pair = |job: &str, execution: &str| (job.to_owned(), execution.to_owned());
        assert_eq!(all, [pair("a", "1"), pair("a", "3"), pair("ab", "4")]);
        assert_eq!(tenants.len(), 3);
    }
}
