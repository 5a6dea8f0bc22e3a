//! Jobs that wait for others to end.
//!
//! Names become IDs when a job is submitted, so that a later job of the same name is another one. While a job waits it
//! is Pending, and the details of its state say which of the others have ended; a job that was waited for has ended, or
//! has a detail there, or is unfinished and in memory. Nothing else has to survive a restart.

use super::Core;
use super::calendar;
use super::end::Cause;
use super::entry::JobEntry;
use super::io::Output;
use super::record::{self, job_event, scheduling};
use super::related::{Reference, time_detail};
use bacalhau_model::error::code;
use bacalhau_model::event::detail;
use bacalhau_model::job::meta;
use bacalhau_model::policy::OnFailure;
use bacalhau_model::state::State;
use bacalhau_model::{Error, Job, JobState};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Detail of a waiting job's state: IDs of the jobs that ended well enough, with blanks between them.
const ENDED: &str = "DependenciesEnded";
/// Detail of a job's state: when it stopped waiting.
const RELEASED: &str = "DependenciesEndedAt";
/// Jobs that one may depend on, directly or not.
const MOST_JOBS: usize = 10_000;
/// Finished jobs that are looked up to find a cycle among them. Jobs never wait for each other in a cycle of which one
/// is finished, so that is a courtesy.
const MOST_LOOK_UPS: usize = 200;

/// IDs of the jobs that a job depends on, in the order of `DependsOn`. IDs have no blanks.
pub(crate) fn ids(job: &Job) -> impl Iterator<Item = &str> {
    let text = if job.depends_on.is_empty() { None } else { job.meta.get(meta::DEPENDS_ON) };
    text.map_or("", String::as_str).split(' ').filter(|id| !id.is_empty())
}

/// True while a job waits for others.
pub(crate) fn waits(job: &Job) -> bool {
    !job.depends_on.is_empty()
        && job.state.state_type == JobState::Pending
        && !job.state.details.contains_key(RELEASED)
}

/// When a job stopped waiting, if its state still says so; nanoseconds since 1970.
pub(crate) fn released_at(job: &Job) -> Option<i64> {
    time_detail(job, RELEASED)
}

/// How a job that is waited for stands.
enum Standing {
    Unfinished,
    Ended(JobState),
    Gone,
}

impl Core {
    /// True while a job has to wait for others. Lets it go, or ends it, when they have ended.
    pub(crate) fn waits_for_others<T>(
        &mut self,
        entry: &mut JobEntry,
        now: i64,
        out: &mut Output<T>,
    ) -> bool {
        let job = Arc::clone(&entry.job);
        let before: BTreeSet<&str> =
            job.state.details.get(ENDED).map_or("", String::as_str).split(' ').collect();
        let (mut ended, mut unfinished) = (Vec::new(), Vec::new());
        let mut ids = ids(&job);
        for dependency in &job.depends_on {
            let id = ids.next().unwrap_or_default();
            let how = match self.standing(id, before.contains(id)) {
                Standing::Unfinished => {
                    unfinished.push(dependency.job.as_str());
                    continue;
                }
                Standing::Ended(JobState::Completed) => "completed",
                Standing::Ended(JobState::Stopped) => "was stopped",
                Standing::Ended(_) => "failed",
                Standing::Gone => "does not exist any more",
            };
            let policy = OnFailure::parse(&dependency.on_failure).unwrap_or_default();
            if how != "completed" && policy != OnFailure::Run {
                let text = format!("dependency {} {how}", dependency.job);
                self.end_waiting(entry, policy, text, now, out);
                return true;
            }
            ended.push(id);
        }
        let mut details = BTreeMap::from([(ENDED.to_owned(), ended.join(" "))]);
        if unfinished.is_empty() {
            details.insert(RELEASED.to_owned(), calendar::text(now));
            let state = State { state_type: JobState::Pending, message: String::new(), details };
            self.related.stop_waiting(&entry.job);
            record::set_state(entry, state, now, out);
            job_event(entry, scheduling("All dependencies have ended", now), now, out);
            entry.version_started = now;
            return false;
        }
        let state = State {
            state_type: JobState::Pending,
            message: format!("Waiting for {}", unfinished.join(", ")),
            details,
        };
        if state != entry.job.state {
            let first = !entry.job.state.details.contains_key(ENDED);
            let event = scheduling(state.message.clone(), now);
            record::set_state(entry, state, now, out);
            if first {
                job_event(entry, event, now, out);
            }
        }
        true
    }

    fn standing(&self, id: &str, ended_before: bool) -> Standing {
        let (held, fact) = (self.jobs.get(id), self.related.fact(&Reference::Id(id.to_owned())));
        let stored = fact.and_then(|fact| fact.as_ref().map(|fact| fact.state));
        match held.map(|entry| entry.job.state.state_type).or(stored) {
            Some(state) if !state.is_terminal() => Standing::Unfinished,
            // Seen to have ended well enough for this job: a failure that the policy allows stays allowed.
            _ if ended_before && held.is_none() => Standing::Ended(JobState::Completed),
            Some(state) => Standing::Ended(state),
            None => Standing::Gone,
        }
    }

    /// Ends a job that will never run.
    fn end_waiting<T>(
        &mut self,
        entry: &mut JobEntry,
        policy: OnFailure,
        text: String,
        now: i64,
        out: &mut Output<T>,
    ) {
        if policy == OnFailure::Fail {
            let event = scheduling(text, now).with(detail::IS_ERROR, "true");
            self.fail_job(entry, event, now, out);
            return;
        }
        record::set_state(entry, State::with_message(JobState::Stopped, text.clone()), now, out);
        job_event(entry, scheduling("Job stopped before it ran", now).with(detail::REASON, text), now, out);
        self.finish(entry);
        self.stop_all(entry, Cause::JobStopped, now, out);
    }

    /// Jobs that wait for this one look again: it ended, or runs again.
    pub(crate) fn wake_waiters(&mut self, id: &str) {
        self.dirty.extend(self.related.waiters(id).cloned());
    }

    /// Finds the jobs that a submission depends on and writes their IDs into it. `id` is the ID that it will have.
    pub(crate) fn resolve_dependencies(&self, job: &mut Job, id: &str) -> Result<(), Error> {
        if job.depends_on.is_empty() {
            return Ok(());
        }
        let mut ids = Vec::new();
        for dependency in &job.depends_on {
            let found = self.named(&job.namespace, &dependency.job).ok_or_else(|| {
                Error::new(
                    code::BAD_REQUEST,
                    format!(
                        "job {} depends on {}, and there is no such job in namespace {}",
                        job.name, dependency.job, job.namespace
                    ),
                )
                .hint("Submit that job first, or put both into one file with --- between them")
            })?;
            if ids.contains(&found) {
                let text = format!("DependsOn of job {} names {} twice", job.name, dependency.job);
                return Err(Error::new(code::BAD_REQUEST, text).hint("Name each job once, by name or by ID"));
            }
            let entry = self.jobs.get(&found).filter(|entry| !entry.job.is_terminal());
            if entry.is_some_and(|e| e.job_type.is_long_running() || e.job.schedule.is_some()) {
                return Err(Error::new(
                    code::BAD_REQUEST,
                    format!("job {} depends on {}, which never ends by itself", job.name, dependency.job),
                )
                .hint("Depend on batch and ops jobs without a schedule"));
            }
            ids.push(found);
        }
        job.meta.insert(meta::DEPENDS_ON.to_owned(), ids.join(" "));
        self.check_cycle(job, id)
    }

    /// Refuses a job whose dependencies lead back to it.
    pub(crate) fn check_cycle(&self, job: &Job, id: &str) -> Result<(), Error> {
        // Each job that was reached, with the one that led there.
        let mut reached: BTreeMap<String, String> = BTreeMap::new();
        let mut open: Vec<(String, String)> =
            ids(job).map(|first| (first.to_owned(), id.to_owned())).collect();
        while let Some((next, from)) = open.pop() {
            if next == id {
                return Err(self.cycle(job, id, from, &reached));
            }
            if reached.contains_key(&next) {
                continue;
            }
            open.extend(self.depends_on(&next).into_iter().map(|id| (id, next.clone())));
            reached.insert(next, from);
            if reached.len() > MOST_JOBS {
                let text =
                    format!("job {} depends, directly or not, on more than {MOST_JOBS} jobs", job.name);
                return Err(Error::new(code::BAD_REQUEST, text).hint("Use fewer and larger jobs"));
            }
        }
        Ok(())
    }

    /// The error about a cycle that comes back to the job from `last`.
    fn cycle(&self, job: &Job, id: &str, last: String, reached: &BTreeMap<String, String>) -> Error {
        let mut names = vec![job.name.clone()];
        let mut at = last;
        while at != id {
            names.push(self.name_of(&at));
            let Some(from) = reached.get(&at) else { break };
            at.clone_from(from);
        }
        names.push(job.name.clone());
        names.reverse();
        let text = format!("the dependencies of job {} form a cycle: {}", job.name, names.join(" -> "));
        Error::new(code::BAD_REQUEST, text)
            .hint("Each job in it would wait for the next: take one of these dependencies away")
    }

    fn name_of(&self, id: &str) -> String {
        let held = self.jobs.get(id).map(|entry| entry.job.name.clone());
        let stored = || Some(self.related.fact(&Reference::Id(id.to_owned()))?.as_ref()?.name.clone());
        held.or_else(stored).unwrap_or_else(|| id.to_owned())
    }

    fn depends_on(&self, id: &str) -> Vec<String> {
        match (self.jobs.get(id), self.related.fact(&Reference::Id(id.to_owned()))) {
            (Some(entry), _) => ids(&entry.job).map(str::to_owned).collect(),
            (None, Some(Some(fact))) => fact.depends_on.clone(),
            _ => Vec::new(),
        }
    }

    /// ID of the job that a user means: by name, else by full ID, in the namespace.
    fn named(&self, namespace: &str, text: &str) -> Option<String> {
        if let Some(id) = self.job_named(namespace, text) {
            return Some(id.to_owned());
        }
        let by_name = Reference::Named { namespace: namespace.to_owned(), name: text.to_owned() };
        if let Some(Some(fact)) = self.related.fact(&by_name) {
            return Some(fact.id.clone());
        }
        let held = self.jobs.get(text).map(|entry| entry.job.namespace.as_str());
        let fact = self.related.fact(&Reference::Id(text.to_owned()));
        let stored = fact.and_then(|fact| fact.as_ref().map(|fact| fact.namespace.as_str()));
        (held.or(stored)? == namespace).then(|| text.to_owned())
    }

    /// What has to be looked up before a job with dependencies can be submitted or run again, as far as can be told by
    /// now. Looking that up may bring up more; nothing is asked for twice.
    pub(crate) fn unknown_dependencies(&self, job: &Job, resolved: bool) -> Vec<Reference> {
        let mut wanted = BTreeSet::new();
        let mut open = Vec::new();
        if resolved {
            open.extend(ids(job).map(str::to_owned));
        } else {
            for dependency in &job.depends_on {
                let (namespace, name) = (job.namespace.clone(), dependency.job.clone());
                let by_name = Reference::Named { namespace, name };
                match self.named(&job.namespace, &dependency.job) {
                    Some(id) => open.push(id),
                    None if self.related.fact(&by_name).is_none() => drop(wanted.insert(by_name)),
                    None => drop(wanted.insert(Reference::Id(dependency.job.clone()))),
                }
            }
        }
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            if seen.len() >= MOST_JOBS || !seen.insert(id.clone()) {
                continue;
            }
            if !self.jobs.contains_key(&id) {
                wanted.insert(Reference::Id(id.clone()));
            }
            open.extend(self.depends_on(&id));
        }
        wanted.retain(|reference| self.related.fact(reference).is_none());
        if self.related.looked_up() > MOST_LOOK_UPS { Vec::new() } else { wanted.into_iter().collect() }
    }
}
