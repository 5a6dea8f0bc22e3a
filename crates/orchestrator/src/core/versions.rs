//! New versions of a job: everything anew, scaled in place, rolled out, or gone back.

use super::Core;
use super::end::Cause;
use super::entry::JobEntry;
use super::io::Output;
use super::live::{Live, LiveSet};
use super::record::{self, job_event, scheduling};
use super::rollout;
use bacalhau_model::event::detail;
use bacalhau_model::job::meta;
use bacalhau_model::state::State;
use bacalhau_model::{Event, Job, JobState, diff};
use bacalhau_store::orchestrator::Change;
use std::sync::Arc;

impl Core {
    /// Gives the job a new version with `spec`, stops what ran of the old one and starts over.
    pub(crate) fn start_over<T>(
        &mut self,
        now: i64,
        id: &str,
        spec: &Job,
        (message, event): (&str, Event),
        out: &mut Output<T>,
    ) -> u64 {
        let Some(mut entry) = self.jobs.remove(id) else { return 0 };
        let job = Arc::new(next_version(&entry.job, spec, message, now));
        let version = job.version;
        self.put_version(&entry.job, &job, out);
        // The end of the old executions belongs to the old version's bookkeeping but to the new version's history.
        self.stop_all(&mut entry, Cause::JobUpdated, now, out);
        self.replace(entry, job, event, (LiveSet::default(), LiveSet::default()), now, out);
        version
    }

    /// A version that differs in its count only: executions go on, surplus ones are stopped, missing ones are placed.
    pub(crate) fn scale<T>(
        &mut self,
        now: i64,
        id: &str,
        spec: &Job,
        (message, event): (&str, Event),
        out: &mut Output<T>,
    ) {
        let Some(mut entry) = self.jobs.remove(id) else { return };
        self.waiting.remove(id);
        let mut state = entry.job.state.clone();
        if entry.previous.is_none() {
            // How the version before came about is not about this one.
            state.message.clear();
        }
        let mut job = next_version(&entry.job, spec, message, now);
        entry.kept.insert(job.version);
        job.keep_versions(&entry.kept);
        for key in [meta::ROLLS_FROM, meta::GOES_BACK] {
            if let Some(value) = entry.job.meta.get(key).filter(|_| entry.previous.is_some()) {
                job.meta.insert(key.to_owned(), value.clone());
            }
        }
        job.state = state;
        let job = Arc::new(job);
        self.put_version(&entry.job, &job, out);
        let before = entry.job.count;
        entry.job = job;
        (entry.version_started, entry.queued_since) = (now, None);
        job_event(&mut entry, event, now, out);
        if let Some(text) = entry.keeps_count_of(before) {
            job_event(&mut entry, scheduling(text, now), now, out);
        }
        for id in entry.surplus(entry.job.count) {
            self.stop_execution(&mut entry, &id, Cause::NotNeeded, now, out);
        }
        entry.done.truncate(entry.job.count);
        entry.recount();
        self.jobs.insert(id.to_owned(), entry);
        self.dirty.insert(id.to_owned());
    }

    /// A version that replaces the running executions one after the other; see [`super::rollout`]. Gives its number.
    pub(crate) fn roll_out<T>(
        &mut self,
        now: i64,
        id: &str,
        spec: &Job,
        (message, event): (&str, Event),
        out: &mut Output<T>,
    ) -> u64 {
        let Some(mut entry) = self.jobs.remove(id) else { return 0 };
        // An update of an update that is not finished goes back, if it must, to where the first one started, and not to one
        // that failed.
        let started = entry.previous.clone().filter(|_| !entry.goes_back());
        let previous = started.unwrap_or_else(|| Arc::clone(&entry.job));
        let mut job = next_version(&entry.job, spec, message, now);
        job.meta.insert(meta::ROLLS_FROM.to_owned(), previous.version.to_string());
        job.state.state_type = JobState::Running;
        job.state.details.insert(detail::ROLLOUT.to_owned(), format!("0/{}", job.count));
        let (version, job) = (job.version, Arc::new(job));
        self.put_version(&entry.job, &job, out);
        let not_started: Vec<String> = entry
            .all_live()
            .filter(|live| !live.is_approved() || live.execution.partition_index >= job.count.max(1))
            .map(|live| live.execution.id.clone())
            .collect();
        for id in not_started {
            self.stop_execution(&mut entry, &id, Cause::JobUpdated, now, out);
        }
        let mut old = std::mem::take(&mut entry.live);
        old.append(std::mem::take(&mut entry.old));
        self.replace(entry, job, event, (LiveSet::default(), old), now, out);
        if let Some(entry) = self.jobs.get_mut(id) {
            job_event(entry, rollout::started(previous.version, now), now, out);
            entry.previous = Some(previous);
        }
        version
    }

    /// A version with the spec of `previous`, whose executions go on. What has proven that it runs of the present version
    /// serves until its turn comes, as in any rolling update; the rest is stopped.
    pub(crate) fn go_back<T>(
        &mut self,
        entry: &mut JobEntry,
        previous: &Arc<Job>,
        (message, event): (&str, Event),
        now: i64,
        out: &mut Output<T>,
    ) {
        let mut job = next_version(&entry.job, previous, message, now);
        let mut kept = previous.kept_versions();
        kept.insert(job.version);
        job.keep_versions(&kept);
        job.meta.insert(meta::GOES_BACK.to_owned(), true.to_string());
        job.meta.insert(meta::ROLLS_FROM.to_owned(), entry.job.version.to_string());
        let is_kept = |live: &Live| kept.contains(&live.execution.job_version);
        let failed = entry.all_live().filter(|live| !is_kept(live) && !rollout::serves(entry, live, now));
        for id in failed.map(|live| live.execution.id.clone()).collect::<Vec<_>>() {
            self.stop_execution(entry, &id, Cause::JobUpdated, now, out);
        }
        let mut all = std::mem::take(&mut entry.old);
        all.append(std::mem::take(&mut entry.live));
        let (live, serving) = all.divide(is_kept);
        let left = (!serving.is_empty()).then(|| Arc::clone(&entry.job));
        if left.is_some() {
            job.state.details.insert(detail::ROLLOUT.to_owned(), format!("{}/{}", live.len(), job.count));
        }
        let job = Arc::new(job);
        self.put_version(&entry.job, &job, out);
        if let Some(fresh) = fresh(entry, job, event, (live, serving), now, out) {
            *entry = fresh;
            entry.previous = left;
        }
        if entry.all_live().next().is_some() {
            record::set_state(entry, State::with_message(JobState::Running, message), now, out);
        }
    }

    /// Stores a new version and lets those who depend on the job know that it is not finished.
    fn put_version<T>(&mut self, old: &Job, new: &Arc<Job>, out: &mut Output<T>) {
        self.related.forget(old);
        self.related.note(new);
        self.wake_waiters(&new.id);
        out.changes.push(Change::PutJob(Arc::clone(new)));
    }

    fn replace<T>(
        &mut self,
        entry: Box<JobEntry>,
        job: Arc<Job>,
        event: Event,
        executions: (LiveSet, LiveSet),
        now: i64,
        out: &mut Output<T>,
    ) {
        let id = job.id.clone();
        self.waiting.remove(&id);
        let entry = fresh(&entry, job, event, executions, now, out).map_or(entry, Box::new);
        self.jobs.insert(id.clone(), entry);
        self.dirty.insert(id);
    }
}

impl JobEntry {
    /// True when something of the job runs or ran, so that a new version has something to scale or to roll.
    pub(crate) fn goes_on(&self) -> bool {
        !self.job.is_terminal() && (self.completed > 0 || self.all_live().next().is_some())
    }

    /// True when a rolling update failed and this version is the way back.
    pub(crate) fn goes_back(&self) -> bool {
        self.job.meta.contains_key(meta::GOES_BACK)
    }

    /// What to know about a batch job that was scaled after some of it has begun.
    fn keeps_count_of(&self, before: i64) -> Option<String> {
        let begun = self.live.len() + self.done.iter().count();
        (!self.job_type.is_long_running() && begun > 0).then(|| {
            format!(
                "Count changed from {before} to {}: partitions that were begun before go on, and were told \
                 BACALHAU_PARTITION_COUNT={before}. Where that matters, submit with --force to start over",
                self.job.count
            )
        })
    }

    /// Live executions that a count leaves no place for.
    pub(crate) fn surplus(&self, count: i64) -> Vec<String> {
        let surplus = self.all_live().filter(|live| live.execution.partition_index >= count);
        surplus.map(|live| live.execution.id.clone()).collect()
    }
}

/// Bookkeeping of a new version, with executions that live on in it and others that it replaces.
fn fresh<T>(
    entry: &JobEntry,
    job: Arc<Job>,
    event: Event,
    (live, old): (LiveSet, LiveSet),
    now: i64,
    out: &mut Output<T>,
) -> Option<JobEntry> {
    let mut fresh = JobEntry::new(job, entry.next_history_seq, now)?;
    job_event(&mut fresh, event, now, out);
    fresh.used.extend(live.values().map(|live| live.execution.node_id.clone()));
    (fresh.live, fresh.old) = (live, old);
    fresh.recount();
    Some(fresh)
}

/// The job with the next number, the identity of `job` and everything else of `spec`.
fn next_version(job: &Job, spec: &Job, message: &str, now: i64) -> Job {
    let mut next = Job {
        id: job.id.clone(),
        name: job.name.clone(),
        namespace: job.namespace.clone(),
        r#type: job.r#type.clone(),
        version: job.version + 1,
        revision: job.revision + 1,
        create_time: job.create_time,
        modify_time: now,
        state: State::with_message(JobState::Pending, message),
        ..spec.clone()
    };
    for key in [meta::KEEPS_VERSIONS, meta::ROLLS_FROM, meta::GOES_BACK] {
        next.meta.remove(key);
    }
    next.meta.insert(meta::VERSION_TIME.to_owned(), now.to_string());
    next
}

/// True when the count is all that changes.
pub(crate) fn only_count_differs(old: &Job, new: &Job) -> bool {
    old.count != new.count && diff::same_spec(old, &Job { count: old.count, ..new.clone() })
}
