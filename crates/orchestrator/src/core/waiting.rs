//! Jobs that wait for room or for a node, grouped by what they wait for.
//!
//! Jobs of one class ask for the same things, so when the first of a class does not fit, none of the class does.
//! A wake-up therefore costs one look per class and one per job that was placed, however many jobs wait.

use super::entry::JobEntry;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Order inside a class and between the heads of classes: higher priority first, then older, then by ID.
type Place = (Reverse<i64>, i64, String);

/// The waiting jobs.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    classes: BTreeMap<String, BTreeSet<Place>>,
    of: BTreeMap<String, (String, Place)>,
}

impl Waiting {
    /// The job waits from now on. Its class and place are taken afresh each time.
    pub(crate) fn insert(&mut self, entry: &JobEntry) {
        self.remove(&entry.job.id);
        let class = class_of(entry);
        let since = entry.queued_since.unwrap_or(entry.version_started);
        let place = (Reverse(entry.job.priority), since, entry.job.id.clone());
        self.classes.entry(class.clone()).or_default().insert(place.clone());
        self.of.insert(entry.job.id.clone(), (class, place));
    }

    /// The job does not wait any more.
    pub(crate) fn remove(&mut self, job_id: &str) {
        let Some((class, place)) = self.of.remove(job_id) else { return };
        if let Some(members) = self.classes.get_mut(&class) {
            members.remove(&place);
            if members.is_empty() {
                self.classes.remove(&class);
            }
        }
    }

    /// True while the job waits.
    pub(crate) fn contains(&self, job_id: &str) -> bool {
        self.of.contains_key(job_id)
    }

    /// Classes with the place of their first job, best first.
    pub(crate) fn heads(&self) -> BTreeSet<(Place, String)> {
        self.classes
            .iter()
            .filter_map(|(class, members)| members.first().map(|place| (place.clone(), class.clone())))
            .collect()
    }

    /// The first job of a class.
    pub(crate) fn head_of(&self, class: &str) -> Option<Place> {
        self.classes.get(class).and_then(|members| members.first().cloned())
    }
}

/// Everything that decides where a job fits. A job with failed or refused attempts is a class of its own.
fn class_of(entry: &JobEntry) -> String {
    if !entry.failures.is_empty() || !entry.refused.is_empty() || entry.job_type.is_on_all_nodes() {
        return entry.job.id.clone();
    }
    let mut class = format!(
        "{} {} {} {}|",
        entry.request.cpu, entry.request.memory, entry.request.disk, entry.request.gpu
    );
    for requirement in &entry.job.constraints {
        class.push_str(&format!("{requirement};"));
    }
    if let Some(task) = entry.job.task() {
        class.push_str(&format!("|{}|{}|", task.engine.r#type, task.publisher.r#type));
        for input in &task.input_sources {
            class.push_str(&input.source.r#type);
            class.push(',');
        }
    }
    class
}
