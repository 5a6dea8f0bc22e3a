//! Executions that may still change, found by ID, by deadline and by node without a look at all of them.

use super::evaluate;
use super::settings::Settings;
use bacalhau_model::execution::{DesiredState, Execution};
use bacalhau_model::{Job, Resources};
use bacalhau_store::orchestrator::PendingMessage;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An execution that may still change.
#[derive(Clone, Debug)]
pub struct Live {
    /// The record, without its job. Shared with the change that stores it, until it changes again.
    pub execution: Arc<Execution>,
    /// Set aside on the node for it.
    pub reserved: Resources,
    /// Message the node has not acknowledged.
    pub pending: Option<PendingMessage>,
    /// Its node reports when the task begins to run. Not stored: it follows from the node.
    pub tells_progress: bool,
    /// Time of the latest line that its node had for the history, by the node's clock; earlier ones are repetitions.
    pub last_line: i64,
    /// Changed through its set only, which orders by it.
    deadline: i64,
}

impl Live {
    /// An execution whose current phase is overdue at `deadline`, nanoseconds since 1970; `i64::MAX` when it has no limit.
    pub fn new(
        execution: Execution,
        reserved: Resources,
        pending: Option<PendingMessage>,
        deadline: i64,
    ) -> Live {
        Live {
            execution: Arc::new(execution),
            reserved,
            pending,
            tells_progress: false,
            last_line: 0,
            deadline,
        }
    }

    /// The same with its deadline. `tells_progress` says whether its node reports when the task begins to run.
    pub(crate) fn on_node(mut self, tells_progress: bool, settings: &Settings, job: &Job, now: i64) -> Live {
        self.tells_progress = tells_progress;
        self.deadline = evaluate::deadline(settings, &self, job, now);
        self
    }

    /// The record, to change. Its node and its ID never change.
    pub fn execution_mut(&mut self) -> &mut Execution {
        Arc::make_mut(&mut self.execution)
    }

    /// When the current phase is overdue, nanoseconds since 1970; `i64::MAX` when it has no limit.
    pub fn deadline(&self) -> i64 {
        self.deadline
    }

    /// True once its node was told to run it.
    pub fn is_approved(&self) -> bool {
        self.execution.compute_state.state_type.is_executing()
            || self.execution.desired_state.state_type == DesiredState::Running
    }

    /// Since when it runs as far as the orchestrator knows, nanoseconds since 1970; `None` before. Where the node does not
    /// tell it counts from the acceptance of its bid.
    pub fn running_since(&self) -> Option<i64> {
        let execution = &self.execution;
        if self.tells_progress || execution.start_time > 0 {
            return Some(execution.start_time).filter(|at| *at > 0);
        }
        if execution.compute_state.state_type.is_executing() {
            return Some(execution.modify_time);
        }
        let approved = execution.desired_state.state_type == DesiredState::Running;
        approved.then_some(execution.create_time)
    }
}

/// Live executions of one job.
#[derive(Clone, Debug, Default)]
pub struct LiveSet {
    /// Boxed, because the nodes of the tree have room for eleven: a job with one execution would pay for all.
    by_id: BTreeMap<String, Box<Live>>,
    /// Those with a limit, by deadline.
    due: BTreeSet<(i64, String)>,
    /// How many there are on each node.
    on_node: BTreeMap<String, usize>,
}

impl LiveSet {
    /// Adds an execution.
    pub fn insert(&mut self, live: Live) {
        let id = live.execution.id.clone();
        if live.deadline < i64::MAX {
            self.due.insert((live.deadline, id.clone()));
        }
        *self.on_node.entry(live.execution.node_id.clone()).or_default() += 1;
        self.by_id.insert(id, Box::new(live));
    }

    /// Takes an execution out.
    pub fn remove(&mut self, id: &str) -> Option<Live> {
        let (id, live) = self.by_id.remove_entry(id)?;
        self.due.remove(&(live.deadline, id));
        if let Some(count) = self.on_node.get_mut(&live.execution.node_id) {
            *count -= 1;
            if *count == 0 {
                self.on_node.remove(&live.execution.node_id);
            }
        }
        Some(*live)
    }

    /// One execution.
    pub fn get(&self, id: &str) -> Option<&Live> {
        self.by_id.get(id).map(Box::as_ref)
    }

    /// One execution, to change. Its node and its ID never change.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Live> {
        self.by_id.get_mut(id).map(Box::as_mut)
    }

    /// All, by ID.
    pub fn values(&self) -> impl Iterator<Item = &Live> {
        self.by_id.values().map(Box::as_ref)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many there are on a node.
    pub fn on_node(&self, node_id: &str) -> usize {
        self.on_node.get(node_id).copied().unwrap_or(0)
    }

    /// Sets when an execution is overdue.
    pub fn set_deadline(&mut self, id: &str, deadline: i64) {
        let Some(live) = self.by_id.get_mut(id) else { return };
        self.due.remove(&(live.deadline, id.to_owned()));
        live.deadline = deadline;
        if deadline < i64::MAX {
            self.due.insert((deadline, id.to_owned()));
        }
    }

    /// Sets the deadlines of all.
    pub fn set_deadlines(&mut self, of: impl Fn(&Live) -> i64) {
        for live in self.by_id.values_mut() {
            live.deadline = of(live);
        }
        let limited = self.by_id.values().filter(|live| live.deadline < i64::MAX);
        self.due = limited.map(|live| (live.deadline, live.execution.id.clone())).collect();
    }

    /// Sets which of them are on nodes that report how far they are.
    pub fn set_tells_progress(&mut self, tells: impl Fn(&str) -> bool) {
        for live in self.by_id.values_mut() {
            live.tells_progress = tells(&live.execution.node_id);
        }
    }

    /// Sets what is set aside for those whose version is known.
    pub fn set_reserved(&mut self, by_version: &BTreeMap<u64, Resources>) {
        for live in self.by_id.values_mut() {
            if let Some(reserved) = by_version.get(&live.execution.job_version) {
                live.reserved.clone_from(reserved);
            }
        }
    }

    /// The first deadline; `i64::MAX` when there is none.
    pub fn next_deadline(&self) -> i64 {
        self.due.first().map_or(i64::MAX, |(at, _)| *at)
    }

    /// Executions that are overdue.
    pub fn overdue(&self, now: i64) -> impl Iterator<Item = &Live> {
        let due = self.due.iter().take_while(move |(at, _)| *at <= now);
        due.filter_map(|(_, id)| self.by_id.get(id).map(Box::as_ref))
    }

    /// Takes all of another set.
    pub fn append(&mut self, other: LiveSet) {
        other.by_id.into_values().for_each(|live| self.insert(*live));
    }

    /// Those that belong here, and the others.
    pub fn divide(self, belongs: impl Fn(&Live) -> bool) -> (LiveSet, LiveSet) {
        let (mut here, mut others) = (LiveSet::default(), LiveSet::default());
        for live in self.by_id.into_values() {
            let home = if belongs(&live) { &mut here } else { &mut others };
            home.insert(*live);
        }
        (here, others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_indexes_agree_with_the_executions(steps in proptest::collection::vec((0u8..6, 0i64..5, any::<bool>()), 0..60)) {
            let mut set = LiveSet::default();
            for (number, at, insert) in steps {
                let id = format!("e-{number}");
                let deadline = if at == 4 { i64::MAX } else { at };
                match (insert, set.get(&id).is_some()) {
                    (true, true) => set.set_deadline(&id, deadline),
                    (true, false) => {
                        let execution = Execution { id, node_id: format!("n{}", number % 3), ..Execution::default() };
                        set.insert(Live::new(execution, Resources::default(), None, deadline));
                    }
                    (false, _) => drop(set.remove(&id)),
                }
            }
            prop_assert_eq!(set.next_deadline(), set.values().map(Live::deadline).min().unwrap_or(i64::MAX));
            let overdue = set.values().filter(|live| live.deadline() <= 2).count();
            prop_assert_eq!(set.overdue(2).count(), overdue);
            for node in ["n0", "n1", "n2"] {
                let on_it = set.values().filter(|live| live.execution.node_id == node).count();
                prop_assert_eq!(set.on_node(node), on_it);
            }
        }
    }
}
