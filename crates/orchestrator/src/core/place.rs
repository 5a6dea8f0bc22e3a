//! Chooses nodes for partitions. A pure function of the job, the nodes and a seed.
//!
//! Room is counted against what the plans so far have set aside, not against the last heartbeat. Among nodes that
//! can run the job the best is the one that meets its preferences, then the one on which no attempt of the job
//! failed, then the one with the smallest load; equal ones are spread at random.

use super::bits::Bits;
use super::entry::JobEntry;
use super::fleet::{Loads, steps};
use super::node::NodeEntry;
use super::nodes::Nodes;
use super::settings::Settings;
use super::suitable;
use bacalhau_model::Resources;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

/// Reasons told in full at most. Those of further nodes are told in brief, so that a text stays readable and cheap however
/// different the nodes are.
const MOST_REASONS: usize = 5;

/// Why a node that is held for a job that waits takes nothing else.
pub(crate) const KEPT_FREE: &str = "node is kept free for a job that has waited longer";

/// What could be placed.
#[derive(Debug, Default)]
pub struct Placement {
    /// (partition, node), in the order of the partitions.
    pub chosen: Vec<(i64, String)>,
    /// Partitions that wanted a node and found none.
    pub left_over: Vec<i64>,
}

/// Nodes that gave the same reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// How many they are.
    pub count: usize,
    /// ID of the first of them.
    pub example: String,
}

/// Why partitions could not be placed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shortage {
    /// Partitions that wanted a node.
    pub requested: usize,
    /// Nodes that may get work.
    pub available: usize,
    /// Nodes that could take at least one of them.
    pub suitable: usize,
    /// Reason to the nodes that gave it.
    pub reasons: BTreeMap<String, Group>,
    /// True when more room on some node would help; false when only another node would.
    pub room_would_help: bool,
}

/// Places up to `settings.placements_per_step` of the job's unplaced partitions.
pub fn place(
    entry: &JobEntry,
    nodes: &mut Nodes,
    settings: &Settings,
    random: &mut fastrand::Rng,
) -> Placement {
    let wanted = entry.unplaced.first(settings.placements_per_step);
    if wanted.is_empty() {
        return Placement::default();
    }
    let tiers = tiers(entry, nodes);
    let mut loads = nodes.take_loads();
    loads.clear();
    if !tiers.is_empty() {
        nodes.loads(&entry.request, &mut loads);
    }
    let choice = Choice { entry, nodes, settings, tiers, loads: &loads };
    let placement = match wanted.as_slice() {
        [partition] => choice.one(*partition, random),
        _ => choice.many(&wanted, random),
    };
    nodes.keep_loads(loads);
    placement
}

/// The nodes that may get work of the job, best first: those that meet its preferences and on which none of its
/// attempts failed; the rest of those that meet them; then the same two of the others.
fn tiers(entry: &JobEntry, nodes: &mut Nodes) -> Vec<Bits> {
    let candidates = nodes.candidates(entry);
    let mut tried = Bits::default();
    for (node_id, _) in entry.failures.keys() {
        nodes.slot(node_id).into_iter().for_each(|slot| tried.set(slot, true));
    }
    let others = candidates.all.without(&candidates.favoured);
    let by_preference = [candidates.favoured, others];
    let tiers = by_preference.into_iter().flat_map(|tier| [tier.without(&tried), tier.and(&tried)]);
    tiers.filter(|tier| !tier.is_empty()).collect()
}

/// All that a choice looks at.
struct Choice<'a> {
    entry: &'a JobEntry,
    nodes: &'a Nodes,
    settings: &'a Settings,
    /// Slots, best tier first.
    tiers: Vec<Bits>,
    /// By slot: how full it would be with one execution more.
    loads: &'a Loads,
}

/// A candidate in the heap: best first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// (tier, load, chance, slot), lowest first.
    key: Reverse<(usize, u32, u32, usize)>,
    /// Executions planned for it.
    planned: u32,
}

impl Choice<'_> {
    /// Chooses for one partition, without building a heap.
    fn one(mut self, partition: i64, random: &mut fastrand::Rng) -> Placement {
        for mut tier in std::mem::take(&mut self.tiers) {
            while let Some(slot) = self.least_loaded(&tier, random) {
                if let Some(node) = self.nodes.at(slot)
                    && self.has_room(node, 1)
                    && !exhausted(self.entry, node, partition, self.settings)
                {
                    let chosen = vec![(partition, node.state.info.node_id.clone())];
                    return Placement { chosen, left_over: Vec::new() };
                }
                tier.set(slot, false);
            }
        }
        Placement { chosen: Vec::new(), left_over: vec![partition] }
    }

    /// One of the slots with the smallest load, each with the same chance. `None` when all are full.
    fn least_loaded(&self, tier: &Bits, random: &mut fastrand::Rng) -> Option<usize> {
        let (mut least, mut equals) = (self.fullest(), Vec::new());
        for slot in tier.iter() {
            let load = self.loads.of(slot);
            if load < least {
                least = load;
                equals.clear();
            }
            if load == least {
                equals.push(slot);
            }
        }
        let lucky = if equals.len() > 1 { random.usize(..equals.len()) } else { 0 };
        equals.get(lucky).copied()
    }

    /// The load above which there is no room, with a little more for the estimate's error.
    #[allow(clippy::cast_possible_truncation)]
    fn fullest(&self) -> u32 {
        steps(self.settings.oversubscription as f32).saturating_add(16)
    }

    /// Chooses for several partitions.
    fn many(self, wanted: &[i64], random: &mut fastrand::Rng) -> Placement {
        let fullest = self.fullest();
        let mut candidates = Vec::new();
        for (number, tier) in self.tiers.iter().enumerate() {
            for slot in tier.iter() {
                let load = self.loads.of(slot);
                if load <= fullest {
                    let key = Reverse((number, load, random.u32(..), slot));
                    candidates.push(Candidate { key, planned: 0 });
                }
            }
        }
        let mut heap = BinaryHeap::from(candidates);
        let mut placement = Placement::default();
        for partition in wanted {
            match self.pick(*partition, &mut heap) {
                Some(node_id) => placement.chosen.push((*partition, node_id)),
                None => placement.left_over.push(*partition),
            }
        }
        placement
    }

    /// Takes the best candidate with room that may still try this partition, and puts it back with its new load.
    fn pick(&self, partition: i64, heap: &mut BinaryHeap<Candidate>) -> Option<String> {
        let mut set_aside = Vec::new();
        let mut chosen = None;
        while let Some(candidate) = heap.pop() {
            let Reverse((tier, _, chance, slot)) = candidate.key;
            let planned = candidate.planned + 1;
            let Some(node) = self.nodes.at(slot).filter(|node| self.has_room(node, planned)) else {
                continue; // Full for this job: no later partition will fit either.
            };
            if exhausted(self.entry, node, partition, self.settings) {
                set_aside.push(candidate);
                continue;
            }
            chosen = Some(node.state.info.node_id.clone());
            let load = node.load_with(&self.entry.request.scaled(f64::from(planned + 1)));
            #[allow(clippy::cast_possible_truncation)]
            let load = steps(load as f32);
            heap.push(Candidate { key: Reverse((tier, load, chance, slot)), planned });
            break;
        }
        heap.extend(set_aside);
        chosen
    }

    /// True when `executions` of the job fit onto the node on top of what it has. Exact.
    fn has_room(&self, node: &NodeEntry, executions: u32) -> bool {
        let lasting = self.entry.job_type.is_long_running();
        node.has_room_for(&self.entry.request, executions, lasting, self.settings.oversubscription)
    }
}

/// True when everything that the job has to place had all its tries on the node.
pub(crate) fn all_exhausted(entry: &JobEntry, node: &NodeEntry, settings: &Settings) -> bool {
    let wanted = entry.unplaced.first(settings.placements_per_step);
    !wanted.is_empty() && wanted.iter().all(|partition| exhausted(entry, node, *partition, settings))
}

/// True when this partition had all its tries on the node.
fn exhausted(entry: &JobEntry, node: &NodeEntry, partition: i64, settings: &Settings) -> bool {
    if entry.failures.is_empty() {
        return false;
    }
    let key = (node.state.info.node_id.clone(), partition);
    // A policy says by itself how often it is tried; see `backoff`.
    !entry.retries.has_policy()
        && entry.failures.get(&key).is_some_and(|tries| *tries >= settings.tries_per_node)
}

/// Says why `left_over` partitions found no node, node by node. Empty for "all nodes" jobs, which have no partitions.
///
/// Jobs that ask for the same things while nothing happens to any node get the same answer without another look.
pub fn explain(entry: &JobEntry, nodes: &mut Nodes, settings: &Settings, left_over: &[i64]) -> Arc<Shortage> {
    let requested = entry.unplaced.len();
    let usual = entry.failures.is_empty() && entry.refused.is_empty();
    if let Some(known) = nodes.explained(entry).filter(|known| usual && known.requested == requested) {
        return known;
    }
    let candidates = nodes.candidates(entry).all;
    let mut result = Shortage { requested, ..Shortage::default() };
    let mut known = Known::default();
    for (slot, node) in nodes.schedulable_slots() {
        result.available += 1;
        let suits = candidates.contains(slot) || nodes.is_held_from(slot, entry);
        let tried =
            suits && !left_over.is_empty() && left_over.iter().all(|p| exhausted(entry, node, *p, settings));
        result.room_would_help |= suits && !tried;
        let reason = if !suits {
            known.unsuitable(entry, nodes.facts(slot), node)
        } else if tried {
            Some("job already executed on this node more than once".into())
        } else if nodes.is_held_from(slot, entry) {
            Some(KEPT_FREE.into())
        } else {
            let room = entry.fits_on(node, settings.oversubscription);
            (!room).then(|| known.busy(node))
        };
        match reason {
            Some(reason) => result.add(reason, &node.state.info.node_id),
            None => result.suitable += 1,
        }
    }
    let result = Arc::new(result);
    if usual {
        nodes.remember_explained(entry, Arc::clone(&result));
    }
    result
}

/// Reasons that were told in full.
#[derive(Default)]
struct Known {
    /// By what decides about it: nodes with equal facts give equal reasons.
    unsuitable: Vec<(u64, String)>,
    busy: Vec<(Resources, String)>,
}

impl Known {
    fn unsuitable(&mut self, entry: &JobEntry, facts: u64, node: &NodeEntry) -> Option<Cow<'static, str>> {
        let refused = entry.refused.contains(&node.state.info.node_id);
        if let Some((_, reason)) = self.unsuitable.iter().find(|(of, _)| *of == facts && !refused) {
            return Some(reason.clone().into());
        }
        if refused || self.unsuitable.len() >= MOST_REASONS {
            return suitable::unsuitable_in_brief(entry, node).map(Cow::from);
        }
        let reason = suitable::unsuitable(entry, node)?;
        self.unsuitable.push((facts, reason.clone()));
        Some(reason.into())
    }

    fn busy(&mut self, node: &NodeEntry) -> Cow<'static, str> {
        let free = node.state.info.compute_node_info.max_capacity.minus(&node.reserved);
        if let Some((_, reason)) = self.busy.iter().find(|(amount, _)| *amount == free) {
            return reason.clone().into();
        }
        if self.busy.len() >= MOST_REASONS {
            return "node busy".into();
        }
        let reason = busy(node);
        self.busy.push((free, reason.clone()));
        reason.into()
    }
}

/// Why a node has no room, in words.
pub(crate) fn busy(node: &NodeEntry) -> String {
    let free = node.state.info.compute_node_info.max_capacity.minus(&node.reserved);
    format!("node busy with available capacity {}", amounts(&free))
}

/// `{CPU: 0.5, Memory: 512 MB}`.
pub(crate) fn amounts(r: &Resources) -> String {
    let mut parts = vec![format!("CPU: {}", (r.cpu * 1000.0).round() / 1000.0)];
    parts.push(format!("Memory: {}", suitable::bytes(r.memory)));
    parts.push(format!("Disk: {}", suitable::bytes(r.disk)));
    if r.gpu > 0 {
        parts.push(format!("GPU: {}", r.gpu));
    }
    format!("{{{}}}", parts.join(", "))
}

impl Shortage {
    fn add(&mut self, reason: Cow<'static, str>, node_id: &str) {
        if let Some(group) = self.reasons.get_mut(reason.as_ref()) {
            group.count += 1;
            return;
        }
        let group = Group { count: 1, example: node_id.to_owned() };
        self.reasons.insert(reason.into_owned(), group);
    }

    /// The stable text that users and scripts know: each distinct reason once, most nodes first.
    pub fn text(&self, on_all_nodes: bool) -> String {
        let mut text = if on_all_nodes {
            format!("not matching nodes to run job out of {} available nodes.", self.available)
        } else {
            format!(
                "not enough nodes to run job. requested: {}, available: {}, suitable: {}.",
                self.requested, self.available, self.suitable
            )
        };
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        // Stable, so those with equally many nodes stay in the order of their words.
        reasons.sort_by_key(|(_, nodes)| Reverse(nodes.count));
        for (reason, nodes) in reasons {
            text.push_str(&match nodes.count {
                1 => format!("\n• Node {}: {reason}", bacalhau_model::ids::short(&nodes.example)),
                many => format!("\n• {many} of {} nodes: {reason}", self.available),
            });
        }
        text
    }
}
