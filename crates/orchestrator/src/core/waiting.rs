//! Jobs that wait for room or for a node: in which order they get it, and who is asked when something becomes free.
//!
//! **Order.** Every job has a turn, fixed when it starts to wait: the time since when it waits, earlier by
//! [`Settings::ageing`] for each point of priority. So a higher priority goes first among jobs of an age, and no job is
//! overtaken for ever. Of one namespace and priority only one job at a time counts with its true age; each further one
//! counts as [`Settings::fair_pace`] later than the one before it, so that a namespace with a long queue does not make
//! the others wait until it is empty.
//!
//! **Classes.** Jobs of one class ask for the same things, so when the first of a class does not fit, none of it does.

use super::entry::JobEntry;
use super::seeded::Map;
use super::settings::Settings;
use bacalhau_model::Resources;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// When it is a job's turn: virtual time, then order of arrival. Lower first.
pub(crate) type Turn = (i64, u64);

/// The waiting jobs.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    of: Map<Arc<str>, Waiter>,
    arrivals: u64,
    /// Last virtual time given away, and how many wait, by namespace and priority.
    lanes: Map<(Arc<str>, i64), (i64, usize)>,
    /// Number of a class by what its jobs ask for.
    numbers: Map<Arc<str>, u32>,
    classes: Map<u32, Class>,
    next_class: u32,
    /// Jobs by class and turn.
    members: BTreeMap<(u32, Turn), Arc<str>>,
    /// First job of every class.
    heads: BTreeSet<(Turn, u32)>,
    least: Least,
    /// Jobs that wait although their queue timeout does not let them: for a node that may return.
    impatient: BTreeSet<Arc<str>>,
    pass: Option<Pass>,
}

#[derive(Debug)]
struct Waiter {
    class: u32,
    turn: Turn,
    lane: (Arc<str>, i64),
}

#[derive(Debug)]
struct Class {
    key: Arc<str>,
    size: usize,
    request: [u64; 4],
}

/// A walk over the heads, because some nodes can take more than before.
#[derive(Debug)]
struct Pass {
    /// Slots of these nodes.
    gained: BTreeSet<usize>,
    /// Heads up to here were looked at.
    after: Option<(Turn, u32)>,
}

/// The smallest amount that any class asks for, in every dimension: a node with less room is of no use to anybody.
#[derive(Debug, Default)]
struct Least([BTreeMap<u64, usize>; 4]);

impl Least {
    fn add(&mut self, request: [u64; 4]) {
        for (counts, amount) in self.0.iter_mut().zip(request) {
            *counts.entry(amount).or_default() += 1;
        }
    }

    fn remove(&mut self, request: [u64; 4]) {
        for (counts, amount) in self.0.iter_mut().zip(request) {
            if let Some(count) = counts.get_mut(&amount) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&amount);
                }
            }
        }
    }

    fn fits_in(&self, room: [u64; 4]) -> bool {
        self.0
            .iter()
            .zip(room)
            .all(|(counts, room)| counts.first_key_value().is_some_and(|(least, _)| *least <= room))
    }
}

/// Amounts as integers, the CPU in thousandths, rounded by `round`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn integers(r: &Resources, round: fn(f64) -> f64) -> [u64; 4] {
    [round(r.cpu * 1_000.0) as u64, r.memory, r.disk, r.gpu]
}

impl Waiting {
    /// The job waits from now on, or still. `patient` says that its queue timeout lets it.
    pub(crate) fn insert(&mut self, entry: &JobEntry, patient: bool, settings: &Settings) {
        let id: Arc<str> = match self.of.get_key_value(entry.job.id.as_str()) {
            Some((id, _)) => Arc::clone(id),
            None => entry.job.id.as_str().into(),
        };
        match patient {
            true => self.impatient.remove(&id),
            false => self.impatient.insert(Arc::clone(&id)),
        };
        let key = class_of(entry);
        let known = self.of.get(&id).and_then(|waiter| self.classes.get(&waiter.class));
        if known.is_some_and(|class| *class.key == *key) {
            return;
        }
        let turn = match self.of.get(&id).map(|waiter| waiter.turn) {
            // It asks for something else now, but keeps its turn.
            Some(turn) => turn,
            None => self.turn(entry, settings),
        };
        self.leave_class(&id);
        let class = self.class(key, entry);
        self.members.insert((class, turn), Arc::clone(&id));
        self.renew_head(class, Some(turn));
        let lane = (Arc::from(entry.job.namespace.as_str()), entry.job.priority);
        self.of.insert(id, Waiter { class, turn, lane });
    }

    /// A new turn.
    fn turn(&mut self, entry: &JobEntry, settings: &Settings) -> Turn {
        let since = entry.queued_since.unwrap_or(entry.version_started);
        let lane = (Arc::from(entry.job.namespace.as_str()), entry.job.priority);
        let (last, waiting) = self.lanes.entry(lane).or_insert((since, 0));
        let at = if *waiting == 0 { since } else { since.max(last.saturating_add(settings.fair_pace)) };
        (*last, *waiting) = (at, *waiting + 1);
        self.arrivals += 1;
        (at.saturating_sub(entry.job.priority.saturating_mul(settings.ageing)), self.arrivals)
    }

    fn class(&mut self, key: String, entry: &JobEntry) -> u32 {
        let key: Arc<str> = key.into();
        let number = *self.numbers.entry(Arc::clone(&key)).or_insert_with(|| {
            self.next_class += 1;
            self.next_class
        });
        let least = &mut self.least;
        let class = self.classes.entry(number).or_insert_with(|| {
            let request = integers(&entry.request, f64::floor);
            least.add(request);
            Class { key, size: 0, request }
        });
        class.size += 1;
        number
    }

    /// The first of a class may be another one now; `came` is a turn that was added.
    fn renew_head(&mut self, class: u32, came: Option<Turn>) {
        let mut members = self.members.range((class, (i64::MIN, 0))..=(class, (i64::MAX, u64::MAX)));
        let Some(((_, first), _)) = members.next() else { return };
        let first = *first;
        if came == Some(first)
            && let Some(((_, second), _)) = members.next()
        {
            self.heads.remove(&(*second, class));
        }
        self.heads.insert((first, class));
    }

    /// The job does not wait any more.
    pub(crate) fn remove(&mut self, job_id: &str) {
        self.impatient.remove(job_id);
        self.leave_class(job_id);
        let Some(waiter) = self.of.remove(job_id) else { return };
        if let Some((_, waiting)) = self.lanes.get_mut(&waiter.lane) {
            *waiting -= 1;
            if *waiting == 0 {
                self.lanes.remove(&waiter.lane);
            }
        }
    }

    fn leave_class(&mut self, job_id: &str) {
        let Some(&Waiter { class: number, turn, .. }) = self.of.get(job_id) else { return };
        self.members.remove(&(number, turn));
        let was_head = self.heads.remove(&(turn, number));
        let Some(class) = self.classes.get_mut(&number) else { return };
        class.size -= 1;
        if class.size > 0 {
            if was_head {
                self.renew_head(number, None);
            }
        } else if let Some(class) = self.classes.remove(&number) {
            self.numbers.remove(&class.key);
            self.least.remove(class.request);
        }
    }

    /// True while the job waits.
    pub(crate) fn contains(&self, job_id: &str) -> bool {
        self.of.contains_key(job_id)
    }

    /// The first of the job's class.
    pub(crate) fn leader(&self, job_id: &str) -> Option<&Arc<str>> {
        let class = self.of.get(job_id)?.class;
        self.members.range((class, (i64::MIN, 0))..).next().map(|(_, first)| first)
    }

    /// True when no job waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Jobs that wait for a node that may return.
    pub(crate) fn impatient(&self) -> impl Iterator<Item = String> {
        self.impatient.iter().map(|id| id.to_string())
    }

    /// First jobs of the classes, in the order of their turns.
    pub(crate) fn heads(&self) -> impl Iterator<Item = &Arc<str>> {
        self.heads.iter().filter_map(|(turn, class)| self.members.get(&(*class, *turn)))
    }

    /// True when a node with this much room may be of use to somebody.
    pub(crate) fn may_use(&self, room: &Resources) -> bool {
        self.least.fits_in(integers(room, f64::ceil))
    }

    /// Slots of the nodes that the present pass is about; empty without one.
    pub(crate) fn gained(&self) -> impl Iterator<Item = usize> {
        self.pass.iter().flat_map(|pass| pass.gained.iter().copied())
    }

    /// True while a pass is not finished.
    pub(crate) fn is_passing(&self) -> bool {
        self.pass.is_some()
    }

    /// Starts a pass for nodes that can take more than before.
    pub(crate) fn begin_pass(&mut self, gained: BTreeSet<usize>) {
        self.pass = Some(Pass { gained, after: None });
    }

    /// The next job to look at in this pass; `None` ends it.
    pub(crate) fn next_in_pass(&mut self) -> Option<Arc<str>> {
        let pass = self.pass.as_mut()?;
        let from = pass.after.map_or(Bound::Unbounded, Bound::Excluded);
        let next =
            (!pass.gained.is_empty()).then(|| self.heads.range((from, Bound::Unbounded)).next()).flatten();
        let Some(next) = next else {
            self.pass = None;
            return None;
        };
        pass.after = Some(*next);
        self.members.get(&(next.1, next.0)).cloned()
    }

    /// Leaves nodes out of the rest of the pass that are of no use any more.
    pub(crate) fn keep_gained(&mut self, keep: impl Fn(&Waiting, usize) -> bool) {
        let Some(mut pass) = self.pass.take() else { return };
        pass.gained.retain(|slot| keep(self, *slot));
        self.pass = Some(pass);
    }
}

/// Everything that decides where a job fits. A job with failed or refused attempts is a class of its own.
fn class_of(entry: &JobEntry) -> String {
    use std::fmt::Write as _;
    if !entry.failures.is_empty() || !entry.refused.is_empty() || entry.job_type.is_on_all_nodes() {
        return entry.job.id.clone();
    }
    let Resources { cpu, memory, disk, gpu, .. } = &entry.request;
    // What lasts needs more room than what passes: see `NodeEntry::has_room_for`.
    let lasts = if entry.job_type.is_long_running() { "lasts" } else { "passes" };
    let mut class = format!("{lasts} {cpu} {memory} {disk} {gpu}|");
    for requirement in &entry.job.constraints {
        // Writing into a String does not fail.
        let _ = write!(class, "{requirement};");
    }
    if let Some(task) = entry.job.task() {
        let _ = write!(class, "|{}|{}|", task.engine.r#type, task.publisher.r#type);
        for input in &task.input_sources {
            class.push_str(&input.source.r#type);
            class.push(',');
        }
    }
    class
}
