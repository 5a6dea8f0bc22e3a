//! The nodes as placing sees them: numbered slots, and what decides where a job fits in flat arrays.
//!
//! Whether a node suits a job is judged once for each kind of job and each description of a node, and remembered.
//! How full a node would be with one more execution is worked out for all nodes in one go. That is an estimate good
//! enough to rank by; whoever places checks the room of the one node it chose exactly.

use super::bits::Bits;
use super::node::NodeEntry;
use super::seeded::Map;
use super::suitable;
use bacalhau_model::{Job, Requirement, Resources};
use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// Kinds of jobs remembered at most; beyond that all are forgotten and judged anew.
const MOST_KINDS: usize = 4_096;
/// Changes of nodes that kinds can catch up with; kinds that missed more are judged anew.
const MOST_CHANGES: usize = 1_024;
/// Steps of load in a full node: loads closer than that are equal.
const STEPS: f32 = 1_048_576.0;
/// Stands for one divided by nothing: asking for what a node does not have fills it beyond any limit.
const NONE: f32 = 1e30;

/// What decides, apart from amounts, which nodes suit a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Needs {
    engine: String,
    publisher: String,
    sources: Vec<String>,
    constraints: Vec<Requirement>,
}

impl Needs {
    fn of(job: &Job) -> Option<Needs> {
        let task = job.task()?;
        Some(Needs {
            engine: task.engine.r#type.clone(),
            publisher: task.publisher.r#type.clone(),
            sources: task.input_sources.iter().map(|input| input.source.r#type.clone()).collect(),
            constraints: job.constraints.clone(),
        })
    }

    fn are_of(&self, job: &Job) -> bool {
        job.task().is_some_and(|task| {
            self.constraints == job.constraints
                && self.engine == task.engine.r#type
                && self.publisher == task.publisher.r#type
                && self.sources.iter().eq(task.input_sources.iter().map(|input| &input.source.r#type))
        })
    }

    fn hash(job: &Job) -> u64 {
        let mut hasher = DefaultHasher::new();
        if let Some(task) = job.task() {
            (&task.engine.r#type, &task.publisher.r#type).hash(&mut hasher);
            task.input_sources.iter().for_each(|input| input.source.r#type.hash(&mut hasher));
        }
        job.constraints.hash(&mut hasher);
        hasher.finish()
    }
}

/// Jobs with equal needs.
#[derive(Clone, Debug)]
struct Kind {
    needs: Needs,
    suits: Bits,
    favours: Bits,
    /// Changes of nodes that are taken into account.
    seen: u64,
}

/// One dimension of resources, by slot.
#[derive(Clone, Debug, Default)]
struct Dimension {
    used: Vec<f32>,
    /// One divided by what there is.
    share: Vec<f32>,
}

/// The index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fleet {
    /// Slots whose node may get work now.
    open: Bits,
    /// Hash of everything that kinds and sizes look at, by slot.
    facts: Vec<u64>,
    dimensions: [Dimension; 4],
    /// The different `MaxJobRequirements`, each with the slots that have them.
    sizes: Vec<(Resources, Bits)>,
    kinds: Map<u64, Vec<Kind>>,
    kind_count: usize,
    /// Slots whose facts changed, the latest last, and the number of changes so far.
    changes: VecDeque<usize>,
    change_count: u64,
}

/// How full each slot would be, with room for working it out: as long as the fleet, and needed for every decision, so it is
/// used again and again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loads {
    most: Vec<f32>,
    steps: Vec<u32>,
}

impl Loads {
    /// How full a slot would be, in [`steps`]; as full as can be for one that is not known.
    pub(crate) fn of(&self, slot: usize) -> u32 {
        self.steps.get(slot).copied().unwrap_or(u32::MAX)
    }

    /// Nothing is known.
    pub(crate) fn clear(&mut self) {
        self.steps.clear();
    }
}

/// Which slots a job may use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidates {
    /// All of them.
    pub(crate) all: Bits,
    /// Those that meet the job's preferences, if it has any.
    pub(crate) favoured: Bits,
}

impl Candidates {
    /// Without this slot.
    pub(crate) fn exclude(&mut self, slot: usize) {
        self.all.set(slot, false);
        self.favoured.set(slot, false);
    }
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn amounts(r: &Resources) -> [f32; 4] {
    [r.cpu as f32, r.memory as f32, r.disk as f32, r.gpu as f32]
}

impl Fleet {
    /// Takes a node's present state over. True when it may take more, or other, jobs than before.
    pub(crate) fn update(&mut self, slot: usize, node: &NodeEntry) -> bool {
        let opened = node.state.is_schedulable();
        let was_open = self.is_open(slot);
        self.open.set(slot, opened);
        let facts = facts(node);
        if slot >= self.facts.len() {
            self.facts.resize(slot + 1, 0);
        }
        let known = self.facts.get_mut(slot).map(|known| std::mem::replace(known, facts));
        let changed = known != Some(facts);
        if changed {
            let info = &node.state.info.compute_node_info;
            for (dimension, most) in self.dimensions.iter_mut().zip(amounts(&info.max_capacity)) {
                dimension.used.resize(dimension.used.len().max(slot + 1), 0.0);
                dimension.share.resize(dimension.share.len().max(slot + 1), NONE);
                if let Some(share) = dimension.share.get_mut(slot) {
                    *share = if most > 0.0 { 1.0 / most } else { NONE };
                }
            }
            self.set_size(slot, Some(&info.max_job_requirements));
            self.note_change(slot);
        }
        self.set_used(slot, &node.reserved);
        opened && (changed || !was_open)
    }

    /// The slot is empty from now on.
    pub(crate) fn clear(&mut self, slot: usize) {
        self.open.set(slot, false);
        if let Some(facts) = self.facts.get_mut(slot) {
            *facts = 0;
        }
        self.set_size(slot, None);
        self.note_change(slot);
    }

    /// What is set aside on the node changed.
    pub(crate) fn set_used(&mut self, slot: usize, reserved: &Resources) {
        for (dimension, amount) in self.dimensions.iter_mut().zip(amounts(reserved)) {
            if let Some(used) = dimension.used.get_mut(slot) {
                *used = amount;
            }
        }
    }

    /// Hash of everything that decides which jobs the node suits; 0 for an empty slot.
    pub(crate) fn facts(&self, slot: usize) -> u64 {
        self.facts.get(slot).copied().unwrap_or(0)
    }

    fn is_open(&self, slot: usize) -> bool {
        // Facts of 0 stand for an empty slot.
        self.facts.get(slot).is_some_and(|facts| *facts != 0) && self.open.contains(slot)
    }

    fn set_size(&mut self, slot: usize, size: Option<&Resources>) {
        for (_, slots) in &mut self.sizes {
            slots.set(slot, false);
        }
        self.sizes.retain(|(_, slots)| !slots.is_empty());
        let Some(size) = size else { return };
        match self.sizes.iter_mut().find(|(known, _)| known == size) {
            Some((_, slots)) => slots.set(slot, true),
            None => {
                let mut slots = Bits::default();
                slots.set(slot, true);
                self.sizes.push((size.clone(), slots));
            }
        }
    }

    fn note_change(&mut self, slot: usize) {
        self.change_count += 1;
        self.changes.push_back(slot);
        if self.changes.len() > MOST_CHANGES {
            self.changes.pop_front();
        }
    }

    /// The nodes that may get work of the job now, room aside. `node` tells the node of a slot.
    pub(crate) fn candidates<'n>(
        &mut self,
        job: &Job,
        request: &Resources,
        node: impl Fn(usize) -> Option<&'n NodeEntry>,
    ) -> Candidates {
        let hash = Needs::hash(job);
        let known = self.kinds.get(&hash).is_some_and(|kinds| kinds.iter().any(|k| k.needs.are_of(job)));
        if !known {
            let Some(needs) = Needs::of(job) else { return Candidates::default() };
            if self.kind_count >= MOST_KINDS {
                self.kinds.clear();
                self.kind_count = 0;
            }
            self.kind_count += 1;
            // A kind that has seen nothing is judged from scratch below.
            let kind = Kind { needs, suits: Bits::default(), favours: Bits::default(), seen: 0 };
            self.kinds.entry(hash).or_default().push(kind);
        }
        let found =
            self.kinds.get_mut(&hash).and_then(|kinds| kinds.iter_mut().find(|k| k.needs.are_of(job)));
        let Some(kind) = found else { return Candidates::default() };
        let missed = usize::try_from(self.change_count - kind.seen).unwrap_or(usize::MAX);
        if missed > self.changes.len() {
            (0..self.facts.len()).for_each(|slot| kind.judge(slot, job, node(slot)));
        } else {
            self.changes.iter().rev().take(missed).for_each(|slot| kind.judge(*slot, job, node(*slot)));
        }
        kind.seen = self.change_count;
        let mut all = kind.suits.and(&self.open);
        for (size, slots) in &self.sizes {
            if !request.fits_in(size) {
                all = all.without(slots);
            }
        }
        let favoured = kind.favours.and(&all);
        Candidates { all, favoured }
    }

    /// How full each slot would be with `request` on top: steps of the scarcest resource, see [`steps`].
    pub(crate) fn loads(&self, request: &Resources, loads: &mut Loads) {
        let [cpu, memory, disk, gpu] = &self.dimensions;
        let [a, b, c, d] = amounts(request);
        let shares = |dimension: &'_ Dimension, more: f32, most: &mut [f32]| {
            let nodes = dimension.used.iter().zip(&dimension.share);
            for (most, (used, share)) in most.iter_mut().zip(nodes) {
                let load = (used + more) * share;
                *most = if load > *most { load } else { *most };
            }
        };
        let Loads { most, steps: in_steps } = loads;
        most.clear();
        most.resize(cpu.used.len(), 0.0);
        for (dimension, more) in [(cpu, a), (memory, b), (disk, c), (gpu, d)] {
            shares(dimension, more, most);
        }
        in_steps.clear();
        in_steps.extend(most.iter().map(|load| steps(*load)));
    }
}

impl Kind {
    fn judge(&mut self, slot: usize, job: &Job, node: Option<&NodeEntry>) {
        let info = node.map(|node| &node.state.info);
        self.suits.set(slot, info.is_some_and(|info| suitable::suits(job, info)));
        self.favours.set(slot, info.is_some_and(|info| suitable::favours(job, info)));
    }
}

/// A load as a number of steps, rounded, so that equal loads are equal whatever sums they come from.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) fn steps(load: f32) -> u32 {
    (load * STEPS + 0.5) as u32
}

/// Changes whenever anything changes that decides which jobs a node suits. Never 0.
fn facts(node: &NodeEntry) -> u64 {
    let info = &node.state.info;
    let offer = &info.compute_node_info;
    let mut hasher = DefaultHasher::new();
    (&info.labels, &offer.execution_engines, &offer.publishers, &offer.storage_sources).hash(&mut hasher);
    (&info.bacalhau_version.major, &info.bacalhau_version.minor).hash(&mut hasher);
    for amount in [&offer.max_capacity, &offer.max_job_requirements] {
        (amount.cpu.to_bits(), amount.memory, amount.disk, amount.gpu).hash(&mut hasher);
    }
    hasher.finish().max(1)
}
