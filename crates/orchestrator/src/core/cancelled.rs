//! Stopped executions whose node has not acknowledged it. The node is told until it does, however long it is away.

use bacalhau_model::Event;
use bacalhau_model::execution::Execution;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One of them.
#[derive(Debug)]
pub(super) struct Cancelled {
    pub(super) execution: Arc<Execution>,
    pub(super) reason: Event,
}

/// All of them, found by ID, by node and by job without a look at the others.
#[derive(Debug, Default)]
pub(super) struct Cancellations {
    by_id: BTreeMap<String, Cancelled>,
    by_node: BTreeSet<(String, String)>,
    by_job: BTreeSet<(String, String)>,
}

impl Cancellations {
    /// Adds one, or replaces it.
    pub(super) fn insert(&mut self, cancelled: Cancelled) {
        let Execution { id, node_id, job_id, .. } = &*cancelled.execution;
        self.by_node.insert((node_id.clone(), id.clone()));
        if !job_id.is_empty() {
            self.by_job.insert((job_id.clone(), id.clone()));
        }
        self.by_id.insert(id.clone(), cancelled);
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, id: &str) -> Option<Cancelled> {
        let cancelled = self.by_id.remove(id)?;
        let Execution { node_id, job_id, .. } = &*cancelled.execution;
        self.by_node.remove(&(node_id.clone(), id.to_owned()));
        self.by_job.remove(&(job_id.clone(), id.to_owned()));
        Some(cancelled)
    }

    /// One of them.
    pub(super) fn get(&self, id: &str) -> Option<&Cancelled> {
        self.by_id.get(id)
    }

    /// True while the execution is one of them.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// All, by ID.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Cancelled)> {
        self.by_id.iter()
    }

    /// Those that the node has to be told of, by ID.
    pub(super) fn on_node(&self, node_id: &str) -> impl Iterator<Item = &Cancelled> {
        of(&self.by_node, node_id).filter_map(|id| self.by_id.get(id))
    }

    /// The job is deleted: its executions belong to no job any more, as after a restart.
    pub(super) fn leave_job(&mut self, job_id: &str) {
        for id in of(&self.by_job, job_id).cloned().collect::<Vec<_>>() {
            self.by_job.remove(&(job_id.to_owned(), id.clone()));
            if let Some(cancelled) = self.by_id.get_mut(&id) {
                let execution = Arc::make_mut(&mut cancelled.execution);
                execution.job_id.clear();
                execution.namespace.clear();
            }
        }
    }
}

/// What an index has for a key.
fn of<'a>(index: &'a BTreeSet<(String, String)>, key: &str) -> impl Iterator<Item = &'a String> {
    let key = key.to_owned();
    let from = (key.clone(), String::new());
    index.range(from..).take_while(move |(of, _)| *of == key).map(|(_, id)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cancelled(id: &str, node: &str, job: &str) -> Cancelled {
        let execution =
            Execution { id: id.into(), node_id: node.into(), job_id: job.into(), ..Execution::default() };
        Cancelled { execution: Arc::new(execution), reason: Event::default() }
    }

    #[test]
    fn each_is_found_by_its_node_and_its_job() {
        let mut all = Cancellations::default();
        for (id, node, job) in [("a", "n1", "j1"), ("b", "n1", "j2"), ("c", "n2", "j1"), ("d", "n10", "")] {
            all.insert(cancelled(id, node, job));
        }
        all.insert(cancelled("a", "n1", "j1"));
        let on = |all: &Cancellations, node: &str| {
            all.on_node(node).map(|c| format!("{}{}", c.execution.id, c.execution.job_id)).collect::<Vec<_>>()
        };
        assert_eq!(on(&all, "n1"), ["aj1", "bj2"]);
        all.leave_job("j1");
        assert_eq!((on(&all, "n1"), on(&all, "n2")), (vec!["a".into(), "bj2".into()], vec!["c".into()]));
        assert!(all.remove("a").is_some() && all.remove("a").is_none());
        assert_eq!((on(&all, "n1").len(), on(&all, "n").len(), all.len()), (1, 0, 3));
        ["b", "c", "d"].iter().for_each(|id| drop(all.remove(id)));
        assert!(all.by_node.is_empty() && all.by_job.is_empty());
    }
}
