//! Chooses nodes for partitions. A pure function of the job, the nodes and a seed.
//!
//! Room is counted against what the plans so far have set aside, not against the last heartbeat. Among nodes that
//! can run the job the best is the one that meets its preferences, then the one on which no attempt of the job
//! failed, then the one with the smallest load; equal ones are spread at random.

use super::entry::JobEntry;
use super::nodes::{NodeEntry, Nodes};
use super::settings::Settings;
use super::suitable;
use bacalhau_model::Resources;
use std::collections::{BTreeMap, BinaryHeap};

/// What could be placed.
#[derive(Debug, Default)]
pub struct Placement {
    /// (partition, node), in the order of the partitions.
    pub chosen: Vec<(i64, String)>,
    /// Partitions that wanted a node and found none.
    pub left_over: Vec<i64>,
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
    pub reasons: BTreeMap<String, Vec<String>>,
    /// True when more room on some node would help; false when only another node would.
    pub room_would_help: bool,
}

/// A candidate in the heap: best first.
struct Candidate<'a> {
    favoured: bool,
    untried: bool,
    load: f64,
    tie: u32,
    node: &'a NodeEntry,
    taken: Resources,
}

impl Candidate<'_> {
    fn key(&self) -> (bool, bool, i64, u32) {
        // Load as an integer of millionths: a total order without the oddities of floats.
        #[allow(clippy::cast_possible_truncation)]
        let load = -(self.load * 1e6) as i64;
        (self.favoured, self.untried, load, self.tie)
    }
}

impl PartialEq for Candidate<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Candidate<'_> {}
impl PartialOrd for Candidate<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Candidate<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Places up to `settings.placements_per_step` of the job's unplaced partitions.
pub fn place(entry: &JobEntry, nodes: &Nodes, settings: &Settings, random: &mut fastrand::Rng) -> Placement {
    let wanted = entry.unplaced.first(settings.placements_per_step);
    let mut heap = BinaryHeap::new();
    for node in nodes.schedulable().filter(|n| suitable::unsuitable(entry, n).is_none()) {
        let id = &node.state.info.node_id;
        heap.push(Candidate {
            favoured: suitable::is_favoured(entry, &node.state.info),
            untried: !entry.failures.keys().any(|(failed, _)| failed == id),
            load: node.load_with(&entry.request),
            tie: random.u32(..),
            node,
            taken: Resources::default(),
        });
    }
    let mut placement = Placement::default();
    for partition in wanted {
        match pick(entry, partition, &mut heap, settings) {
            Some(node_id) => placement.chosen.push((partition, node_id)),
            None => placement.left_over.push(partition),
        }
    }
    placement
}

/// Takes the best candidate with room that may still try this partition, and puts it back with its new load.
fn pick(
    entry: &JobEntry,
    partition: i64,
    heap: &mut BinaryHeap<Candidate<'_>>,
    settings: &Settings,
) -> Option<String> {
    let mut set_aside = Vec::new();
    let mut chosen = None;
    while let Some(mut candidate) = heap.pop() {
        let with_this = candidate.taken.plus(&entry.request);
        if !candidate.node.has_room(&with_this, settings.oversubscription) {
            continue; // Full for this job: no later partition will fit either.
        }
        if exhausted(entry, candidate.node, partition, settings) {
            set_aside.push(candidate);
            continue;
        }
        chosen = Some(candidate.node.state.info.node_id.clone());
        candidate.load = candidate.node.load_with(&with_this.plus(&entry.request));
        candidate.taken = with_this;
        heap.push(candidate);
        break;
    }
    heap.extend(set_aside);
    chosen
}

/// True when this partition had all its tries on the node.
fn exhausted(entry: &JobEntry, node: &NodeEntry, partition: i64, settings: &Settings) -> bool {
    let key = (node.state.info.node_id.clone(), partition);
    // A policy says by itself how often it is tried; see `backoff`.
    !entry.retries.has_policy()
        && entry.failures.get(&key).is_some_and(|tries| *tries >= settings.tries_per_node)
}

/// Says why `left_over` partitions found no node, node by node. Empty for "all nodes" jobs, which have no partitions.
pub fn explain(entry: &JobEntry, nodes: &Nodes, settings: &Settings, left_over: &[i64]) -> Shortage {
    let mut result = Shortage {
        requested: entry.unplaced.len(),
        available: nodes.schedulable().count(),
        ..Shortage::default()
    };
    for node in nodes.schedulable() {
        let reason = suitable::unsuitable(entry, node).or_else(|| {
            let tried =
                !left_over.is_empty() && left_over.iter().all(|p| exhausted(entry, node, *p, settings));
            tried.then(|| "job already executed on this node more than once".to_owned())
        });
        let reason = reason.or_else(|| {
            result.room_would_help = true;
            (!node.has_room(&entry.request, settings.oversubscription)).then(|| busy(node))
        });
        match reason {
            Some(reason) => {
                result.reasons.entry(reason).or_default().push(node.state.info.node_id.clone());
            }
            None => result.suitable += 1,
        }
    }
    result
}

pub(crate) fn busy(node: &NodeEntry) -> String {
    let max = &node.state.info.compute_node_info.max_capacity;
    let free = max.minus(&node.reserved);
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
        reasons.sort_by_key(|(reason, nodes)| (std::cmp::Reverse(nodes.len()), (*reason).clone()));
        for (reason, nodes) in reasons {
            text.push_str(&match nodes.as_slice() {
                [node] => format!("\n• Node {}: {reason}", bacalhau_model::ids::short(node)),
                many => format!("\n• {} of {} nodes: {reason}", many.len(), self.available),
            });
        }
        text
    }
}
