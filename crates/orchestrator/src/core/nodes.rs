//! All nodes, and their index for placing.

use super::entry::JobEntry;
use super::fleet::{Candidates, Fleet, Loads};
use super::node::NodeEntry;
use super::place::Shortage;
use super::tenants::Stay;
use bacalhau_model::execution::Execution;
use bacalhau_model::node::protocol;
use bacalhau_model::{Job, Resources, Task};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All nodes, in a fixed order so that equal inputs give equal plans, and their index for placing.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    slots: Vec<Option<NodeEntry>>,
    vacant: Vec<usize>,
    by_id: BTreeMap<String, usize>,
    fleet: Fleet,
    /// Slots that may have changed since the index was brought up to date.
    touched: BTreeSet<usize>,
    /// Slots that may take more, or other, jobs than when they were last asked for.
    gained: BTreeSet<usize>,
    /// A node that takes nothing but the named job.
    held: Option<(usize, String)>,
    /// Room for working out loads.
    loads: Loads,
    /// Counts everything that may change an explanation.
    epoch: u64,
    /// The latest explanation: when it was true, and for which job.
    explained: Option<(u64, Arc<Job>, Arc<Shortage>)>,
}

impl Nodes {
    /// One node.
    pub fn get(&self, id: &str) -> Option<&NodeEntry> {
        self.at(self.slot(id)?)
    }

    /// True when the node reports how far its executions are.
    pub fn tells_progress(&self, id: &str) -> bool {
        self.get(id).is_some_and(|node| node.state.info.speaks(protocol::EXECUTION_PROGRESS))
    }

    /// One node, to change.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut NodeEntry> {
        let slot = self.slot(id)?;
        self.touched.insert(slot);
        self.epoch += 1;
        self.slots.get_mut(slot)?.as_mut()
    }

    /// The node of a slot.
    pub(crate) fn at(&self, slot: usize) -> Option<&NodeEntry> {
        self.slots.get(slot)?.as_ref()
    }

    /// Adds or replaces a node.
    pub fn insert(&mut self, entry: NodeEntry) {
        let id = entry.state.info.node_id.clone();
        let slot = match self.by_id.get(&id) {
            Some(slot) => *slot,
            None => self.vacant.pop().unwrap_or(self.slots.len()),
        };
        self.by_id.insert(id, slot);
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(entry);
        }
        self.touched.insert(slot);
        self.epoch += 1;
    }

    /// Forgets a node.
    pub fn remove(&mut self, id: &str) -> Option<NodeEntry> {
        let slot = self.by_id.remove(id)?;
        self.touched.remove(&slot);
        self.gained.remove(&slot);
        if self.held.as_ref().is_some_and(|(held, _)| *held == slot) {
            self.held = None;
        }
        self.fleet.clear(slot);
        self.vacant.push(slot);
        self.epoch += 1;
        self.slots.get_mut(slot)?.take()
    }

    /// All nodes by ID.
    pub fn iter(&self) -> impl Iterator<Item = &NodeEntry> {
        self.by_id.values().filter_map(|slot| self.at(*slot))
    }

    /// All nodes, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut NodeEntry> {
        self.touched.extend(self.by_id.values());
        self.epoch += 1;
        self.slots.iter_mut().flatten()
    }

    /// Nodes that may get work now, by ID.
    pub fn schedulable(&self) -> impl Iterator<Item = &NodeEntry> {
        self.iter().filter(|n| n.state.is_schedulable())
    }

    /// Sets resources aside for an execution.
    pub(crate) fn reserve(&mut self, execution: &Execution, amount: &Resources, stay: Stay) {
        let Some(slot) = self.slot(&execution.node_id) else { return };
        if let Some(node) = self.slots.get_mut(slot).and_then(Option::as_mut)
            && node.reserve(execution, amount, stay)
        {
            self.fleet.set_used(slot, &node.reserved);
            self.epoch += 1;
        }
    }

    /// The node says that the execution runs. True when services may get room by that.
    pub(crate) fn begins(&mut self, execution: &Execution, amount: &Resources) -> bool {
        let Some(slot) = self.slot(&execution.node_id) else { return false };
        let node = self.slots.get_mut(slot).and_then(Option::as_mut);
        let begins = node.is_some_and(|node| node.begins(execution, amount));
        if begins {
            self.gained.insert(slot);
            self.epoch += 1;
        }
        begins
    }

    /// Gives back what was set aside for an execution.
    pub(crate) fn release(&mut self, execution: &Execution, amount: &Resources) {
        let Some(slot) = self.slot(&execution.node_id) else { return };
        if let Some(node) = self.slots.get_mut(slot).and_then(Option::as_mut)
            && node.release(execution, amount)
        {
            self.fleet.set_used(slot, &node.reserved);
            self.gained.insert(slot);
            self.epoch += 1;
        }
    }

    /// Brings the index up to date.
    fn refresh(&mut self) {
        while let Some(slot) = self.touched.pop_first() {
            if let Some(node) = self.slots.get(slot).and_then(Option::as_ref)
                && self.fleet.update(slot, node)
            {
                self.gained.insert(slot);
            }
        }
    }

    /// Slots of the nodes that may get work of this job now, room aside. For a job that runs on all nodes a node that is
    /// kept free for another job is among them, full.
    pub(crate) fn candidates(&mut self, entry: &JobEntry) -> Candidates {
        self.refresh();
        let slots = &self.slots;
        let node = |slot: usize| slots.get(slot).and_then(Option::as_ref);
        let mut found = self.fleet.candidates(&entry.job, &entry.request, node);
        for id in &entry.refused {
            if let Some(slot) = self.by_id.get(id) {
                found.exclude(*slot);
            }
        }
        if let Some(slot) = self.held_from(&entry.job.id)
            && !entry.job_type.is_on_all_nodes()
        {
            found.exclude(slot);
        }
        found
    }

    /// The same nodes themselves, by ID.
    pub(crate) fn matching(&mut self, entry: &JobEntry) -> Vec<&NodeEntry> {
        let candidates = self.candidates(entry);
        let mut nodes: Vec<&NodeEntry> = candidates.all.iter().filter_map(|slot| self.at(slot)).collect();
        nodes.sort_unstable_by(|a, b| a.state.info.node_id.cmp(&b.state.info.node_id));
        nodes
    }

    /// The slot that this job must leave alone because it is kept free for another.
    fn held_from(&self, job_id: &str) -> Option<usize> {
        self.held.as_ref().filter(|(_, of)| of != job_id).map(|(slot, _)| *slot)
    }

    /// True when one more execution of a job that runs on all nodes may go to this one.
    pub(crate) fn has_room_for(&self, entry: &JobEntry, node_id: &str, oversubscription: f64) -> bool {
        let slot = self.slot(node_id).filter(|slot| self.held_from(&entry.job.id) != Some(*slot));
        slot.and_then(|slot| self.at(slot)).is_some_and(|node| entry.fits_on(node, oversubscription))
    }

    /// Room for loads, to be given back with [`Nodes::keep_loads`].
    pub(crate) fn take_loads(&mut self) -> Loads {
        std::mem::take(&mut self.loads)
    }

    /// Takes room for loads back.
    pub(crate) fn keep_loads(&mut self, loads: Loads) {
        self.loads = loads;
    }

    /// How full each slot would be with `request` on top, see [`Fleet::loads`].
    pub(crate) fn loads(&self, request: &Resources, loads: &mut Loads) {
        self.fleet.loads(request, loads);
    }

    /// The slot of a node.
    pub(crate) fn slot(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// Takes the slots that may take more, or other, jobs than when this was last called.
    pub(crate) fn take_gained(&mut self) -> BTreeSet<usize> {
        self.refresh();
        std::mem::take(&mut self.gained)
    }

    /// Keeps a node free for one job; `None` lets it go, and jobs that wait may profit.
    pub(crate) fn hold(&mut self, held: Option<(usize, String)>) {
        if let Some((slot, _)) = std::mem::replace(&mut self.held, held) {
            self.gained.insert(slot);
        }
        self.epoch += 1;
    }

    /// The node that is kept free, and for which job.
    pub(crate) fn held(&self) -> Option<&(usize, String)> {
        self.held.as_ref()
    }

    /// True when the node of the slot is kept free for another job.
    pub(crate) fn is_held_from(&self, slot: usize, entry: &JobEntry) -> bool {
        self.held_from(&entry.job.id) == Some(slot)
    }

    /// Nodes that may get work now, by ID, with their slots.
    pub(crate) fn schedulable_slots(&self) -> impl Iterator<Item = (usize, &NodeEntry)> {
        let nodes = self.by_id.values().filter_map(|slot| Some((*slot, self.at(*slot)?)));
        nodes.filter(|(_, node)| node.state.is_schedulable())
    }

    /// Equal numbers stand for nodes that suit the same jobs.
    pub(crate) fn facts(&self, slot: usize) -> u64 {
        self.fleet.facts(slot)
    }

    /// Why a job that asks for the same found no node, if nothing happened to any node since.
    pub(crate) fn explained(&self, entry: &JobEntry) -> Option<Arc<Shortage>> {
        let (epoch, job, shortage) = self.explained.as_ref()?;
        let task = |job: &Job| job.task().map(|t| (t.resources.clone(), kinds_of(t)));
        let same = *epoch == self.epoch
            && job.r#type == entry.job.r#type
            && job.constraints == entry.job.constraints
            && task(job) == task(&entry.job);
        same.then(|| Arc::clone(shortage))
    }

    /// Keeps an explanation for the next job that asks for the same.
    pub(crate) fn remember_explained(&mut self, entry: &JobEntry, shortage: Arc<Shortage>) {
        self.explained = Some((self.epoch, Arc::clone(&entry.job), shortage));
    }
}

/// The types of engine, publisher and sources.
fn kinds_of(task: &Task) -> Vec<String> {
    let inputs = task.input_sources.iter().map(|input| &input.source);
    [&task.engine, &task.publisher].into_iter().chain(inputs).map(|spec| spec.r#type.clone()).collect()
}
