//! How jobs hang together: who waits for whom, which runs a schedule made, and when which schedule is due.
//!
//! Everything here follows from the jobs themselves and is built again at a restart. Of finished jobs the core knows
//! nothing; what a step needs to know of them is looked up by its host ([`Reference`], [`super::Core::learn`]) and
//! holds until the batch is sealed.

use super::seeded::Map;
use super::{calendar, depends, schedule};
use bacalhau_model::job::meta;
use bacalhau_model::{Job, JobState};
use std::collections::{BTreeMap, BTreeSet};

/// A job that a step asks about. Whoever drives the core looks it up in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// By its name.
    Named {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// By its full ID.
    Id(String),
}

/// What is to be known of a finished job.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) state: JobState,
    pub(crate) scheduled_by: Option<String>,
    /// IDs of the jobs it depends on.
    pub(crate) depends_on: Vec<String>,
}

impl Fact {
    pub(crate) fn of(job: &Job) -> Fact {
        Fact {
            id: job.id.clone(),
            name: job.name.clone(),
            namespace: job.namespace.clone(),
            state: job.state.state_type,
            scheduled_by: job.meta.get(meta::SCHEDULED_BY).cloned(),
            depends_on: depends::ids(job).map(str::to_owned).collect(),
        }
    }
}

/// The links.
#[derive(Debug, Default)]
pub(crate) struct Related {
    /// Job to the jobs that wait for its end.
    waiters: BTreeMap<String, BTreeSet<String>>,
    /// Scheduled job to its unfinished runs.
    runs: BTreeMap<String, BTreeSet<String>>,
    /// Scheduled jobs by the time that their next run is due.
    agenda: BTreeSet<(i64, String)>,
    due: Map<String, i64>,
    /// What was looked up for this batch; `None` for what does not exist.
    facts: BTreeMap<Reference, Option<Fact>>,
}

impl Related {
    /// A job, or a new version of it, is unfinished from now on.
    pub(crate) fn note(&mut self, job: &Job) {
        if depends::waits(job) {
            for id in depends::ids(job) {
                self.waiters.entry(id.to_owned()).or_default().insert(job.id.clone());
            }
        }
        if let Some(by) = job.meta.get(meta::SCHEDULED_BY) {
            self.runs.entry(by.clone()).or_default().insert(job.id.clone());
        }
        self.set_due(&job.id, schedule::next_run(job));
    }

    /// A job is finished, or is about to have a new version.
    pub(crate) fn forget(&mut self, job: &Job) {
        self.stop_waiting(job);
        if let Some(by) = job.meta.get(meta::SCHEDULED_BY) {
            remove(&mut self.runs, by, &job.id);
        }
        self.set_due(&job.id, None);
    }

    /// A job waits for no other any more.
    pub(crate) fn stop_waiting(&mut self, job: &Job) {
        for id in depends::ids(job) {
            remove(&mut self.waiters, id, &job.id);
        }
    }

    /// Jobs that wait for the end of this one.
    pub(crate) fn waiters(&self, id: &str) -> impl Iterator<Item = &String> {
        self.waiters.get(id).into_iter().flatten()
    }

    /// Unfinished runs of a scheduled job.
    pub(crate) fn runs(&self, id: &str) -> impl Iterator<Item = &String> {
        self.runs.get(id).into_iter().flatten()
    }

    /// When the next run of a scheduled job is due, nanoseconds since 1970.
    pub(crate) fn set_due(&mut self, id: &str, at: Option<i64>) {
        if let Some(old) = self.due.remove(id) {
            self.agenda.remove(&(old, id.to_owned()));
        }
        if let Some(at) = at {
            self.agenda.insert((at, id.to_owned()));
            self.due.insert(id.to_owned(), at);
        }
    }

    /// Scheduled jobs whose next run is due.
    pub(crate) fn due(&self, now: i64) -> impl Iterator<Item = &String> {
        self.agenda.iter().take_while(move |(at, _)| *at <= now).map(|(_, id)| id)
    }

    /// Takes what a look-up found.
    pub(crate) fn learn(&mut self, reference: Reference, found: Option<&Job>) {
        if let Some(job) = found {
            self.facts.insert(Reference::Id(job.id.clone()), Some(Fact::of(job)));
        }
        self.facts.insert(reference, found.map(Fact::of));
    }

    /// What a look-up found; `None` when there was none.
    pub(crate) fn fact(&self, reference: &Reference) -> Option<&Option<Fact>> {
        self.facts.get(reference)
    }

    /// Number of look-ups.
    pub(crate) fn looked_up(&self) -> usize {
        self.facts.len()
    }

    /// What was looked up may not hold for the next batch.
    pub(crate) fn seal(&mut self) {
        self.facts.clear();
    }
}

fn remove(sets: &mut BTreeMap<String, BTreeSet<String>>, key: &str, value: &str) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

/// Where a scheduled job's next run is written: a detail of its state.
pub(crate) fn time_detail(job: &Job, key: &str) -> Option<i64> {
    job.state.details.get(key).and_then(|text| calendar::parse(text))
}
