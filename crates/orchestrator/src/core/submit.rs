//! What users ask for: submit, update, rerun, stop.

use super::Core;
use super::end::Cause;
use super::entry::JobEntry;
use super::io::{Output, Reply, Rerun, Submitted};
use super::record::{self, job_event, scheduling};
use super::versions;
use bacalhau_model::error::code;
use bacalhau_model::event::{detail, topic};
use bacalhau_model::state::State;
use bacalhau_model::{Error, Event, Job, JobState, Time, diff};
use bacalhau_store::orchestrator::{Change, StoredJob};
use std::sync::Arc;

impl Core {
    pub(crate) fn submit<T>(
        &mut self,
        now: i64,
        job: Job,
        (stored, id_taken): (Option<StoredJob>, bool),
        force: bool,
        token: T,
        out: &mut Output<T>,
    ) {
        let existing = self.job_named(&job.namespace, &job.name).map(str::to_owned);
        let existing = existing.or_else(|| stored.map(|s| self.adopt(now, s)));
        let mut job = job;
        let id = existing.clone().unwrap_or_else(|| job.id.clone());
        let result = match existing {
            _ if let Err(error) = self.resolve_dependencies(&mut job, &id) => Err(error),
            Some(id) => self.update(now, &id, job, force, out),
            None if id_taken || self.jobs.contains_key(&job.id) => Err(taken(&job.id)),
            None => self.create(now, job, out),
        };
        let evaluation_id = self.new_id("");
        let result = result.map(|job_id| Submitted { job_id, evaluation_id, warnings: Vec::new() });
        out.reply(token, Reply::Submitted(result));
    }

    /// Brings a finished job back into memory. Its old executions are of no concern to a new version.
    fn adopt(&mut self, now: i64, stored: StoredJob) -> String {
        let id = stored.job.id.clone();
        if !self.jobs.contains_key(&id)
            && let Some(entry) = JobEntry::new(Arc::new(stored.job), stored.next_history_seq, now)
        {
            self.names.insert((entry.job.namespace.clone(), entry.job.name.clone()), id.clone());
            self.finished.push((self.batch, id.clone()));
            self.jobs.insert(id.clone(), Box::new(entry));
        }
        id
    }

    pub(crate) fn create<T>(&mut self, now: i64, mut job: Job, out: &mut Output<T>) -> Result<String, Error> {
        job.version = 1;
        job.revision = 1;
        job.state = State::new(JobState::Pending);
        job.create_time = now;
        job.modify_time = now;
        let id = job.id.clone();
        let job = Arc::new(job);
        let mut entry = JobEntry::new(Arc::clone(&job), 1, now).ok_or_else(|| {
            Error::new(code::BAD_REQUEST, "job has no task, an unknown type or unreadable resources")
        })?;
        out.changes.push(Change::PutJob(Arc::clone(&job)));
        let event = Event::new(topic::SUBMISSION, "Job submitted", Time::from_unix_nanos(now));
        job_event(&mut entry, event, now, out);
        self.names.insert((job.namespace.clone(), job.name.clone()), id.clone());
        self.related.note(&job);
        self.jobs.insert(id.clone(), Box::new(entry));
        self.dirty.insert(id.clone());
        Ok(id)
    }

    fn update<T>(
        &mut self,
        now: i64,
        id: &str,
        job: Job,
        force: bool,
        out: &mut Output<T>,
    ) -> Result<String, Error> {
        let Some(entry) = self.jobs.get(id) else { return Err(not_found(id)) };
        let old = &entry.job;
        same_type(old, &job)?;
        if !force && diff::same_spec(old, &job) {
            return Err(Error::plain(format!(
                "no changes detected for new job spec. Job Name: '{}', Job Id: '{}'",
                old.name, old.id
            ))
            .status(409)
            .hint("Use the --force flag to override this warning"));
        }
        if old.schedule.is_some() {
            // A run that was due before the update takes place as it was meant.
            self.evaluate(now, id, out);
        }
        let Some(entry) = self.jobs.get(id) else { return Err(not_found(id)) };
        let old = &entry.job;
        let event = Event::new(topic::SUBMISSION, "Job updated", Time::from_unix_nanos(now));
        let why = ("Job update requested by user", event);
        // A job of which nothing runs or ran has nothing to scale or to roll; it starts over.
        let goes_on = entry.goes_on();
        // With force a batch job starts over: what has begun of it knows another number of partitions.
        let may_scale = !entry.job_type.is_on_all_nodes() && (entry.job_type.is_long_running() || !force);
        if goes_on && versions::only_count_differs(old, &job) && may_scale {
            self.scale(now, id, &job, why, out);
        } else if goes_on && entry.should_roll(&job) {
            self.roll_out(now, id, &job, why, out);
        } else {
            self.start_over(now, id, &job, why, out);
        }
        Ok(id.to_owned())
    }

    pub(crate) fn rerun<T>(
        &mut self,
        now: i64,
        job_id: &str,
        spec: &Job,
        stored: Option<StoredJob>,
        token: T,
        out: &mut Output<T>,
    ) {
        if let Some(stored) = stored {
            self.adopt(now, stored);
        }
        let state = self.jobs.get(job_id).map(|e| e.job.state.state_type);
        let result = match state {
            None => Err(not_found(job_id)),
            Some(state @ (JobState::Undefined | JobState::Pending | JobState::Queued)) => {
                Err(Error::plain(format!("cannot rerun job in state {state}"))
                    .status(409)
                    .hint("try to use the job run command instead of the job rerun command"))
            }
            // A schedule goes on; a run now is what the user wants.
            Some(JobState::Running) if self.jobs.get(job_id).is_some_and(|e| e.job.schedule.is_some()) => {
                self.run_now(now, job_id, spec, out).map(|run| Rerun {
                    evaluation_id: self.new_id(""),
                    job_version: 1,
                    run: Some(run),
                })
            }
            Some(_) if let Err(error) = self.check_cycle(spec, job_id) => Err(error),
            Some(_) => {
                let event = Event::new(topic::SUBMISSION, "Job rerun requested", Time::from_unix_nanos(now))
                    .with(detail::REASON, "job rerun");
                let why = ("job rerun", event);
                let rolls = self.jobs.get(job_id).is_some_and(|e| e.goes_on() && e.should_roll(spec));
                let job_version = match rolls {
                    true => self.roll_out(now, job_id, spec, why, out),
                    false => self.start_over(now, job_id, spec, why, out),
                };
                Ok(Rerun { evaluation_id: self.new_id(""), job_version, run: None })
            }
        };
        out.reply(token, Reply::Rerun(result));
    }

    pub(crate) fn stop<T>(
        &mut self,
        now: i64,
        job_id: &str,
        reason: &str,
        stored: Option<StoredJob>,
        token: T,
        out: &mut Output<T>,
    ) {
        let state = match self.jobs.get(job_id) {
            Some(entry) => Some(entry.job.state.state_type),
            None => stored.map(|s| s.job.state.state_type),
        };
        let result = match state {
            None => Err(not_found(job_id)),
            Some(JobState::Stopped) => Ok(String::new()),
            Some(JobState::Failed) => Err(Error::new(
                "ConflictJobState",
                format!("job {job_id} is in terminal state Failed and cannot transition to Stopped"),
            )
            .component("JobStore")
            .status(409)),
            Some(state) if state.is_terminal() => {
                Err(Error::plain(format!("cannot stop job in state {state}")).status(409))
            }
            Some(_) => {
                self.stop_job(now, job_id, reason, out);
                Ok(self.new_id(""))
            }
        };
        out.reply(token, Reply::Stopped(result));
    }

    pub(crate) fn stop_job<T>(&mut self, now: i64, job_id: &str, reason: &str, out: &mut Output<T>) {
        let Some(mut entry) = self.jobs.remove(job_id) else { return };
        record::set_state(&mut entry, State::with_message(JobState::Stopped, reason), now, out);
        let event = scheduling("Job requested to stop before completion", now).with(detail::REASON, reason);
        job_event(&mut entry, event, now, out);
        self.finish(&mut entry);
        self.stop_all(&mut entry, Cause::JobStopped, now, out);
        self.jobs.insert(job_id.to_owned(), entry);
    }
}

/// A job keeps its type: what is stored of its executions means something else with another one.
pub(crate) fn same_type(old: &Job, new: &Job) -> Result<(), Error> {
    if old.r#type == new.r#type {
        return Ok(());
    }
    let (name, from, to) = (&old.name, &old.r#type, &new.r#type);
    let text = format!("cannot change the type of job {name} from {from} to {to}");
    Err(Error::new(code::BAD_REQUEST, text)
        .hint("Submit it under another name, or delete the record of the old job first: bacalhau job delete"))
}

fn taken(id: &str) -> Error {
    Error::new(code::RESOURCE_IN_USE, format!("job already exists: {id}"))
        .component("JobStore")
        .hint("A job is updated by its name. Leave the ID out, or choose one that no other job has")
}

fn not_found(id: &str) -> Error {
    Error::new(code::NOT_FOUND, format!("job not found: {id}")).component("JobStore")
}
