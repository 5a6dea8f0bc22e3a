//! Jobs with a schedule: they never run themselves but make a run, a job of its own, whenever one is due.
//!
//! When the next run is due stands in the details of the job's state. The run and the due time after it are stored in
//! the same step, so no due time can lead to two runs, whenever the process dies. The name of a run holds its due
//! time, which guards against a clock that was set back.

use super::Core;
use super::calendar::{self, CATCH_UP, Calendar, compact};
use super::entry::JobEntry;
use super::io::Output;
use super::record::{self, job_event, scheduling};
use super::related::{Fact, Reference, time_detail};
use super::timers::Due;
use bacalhau_model::job::meta;
use bacalhau_model::policy::{Overlap, Schedule};
use bacalhau_model::state::State;
use bacalhau_model::{Error, Job, JobState};
use std::sync::Arc;

/// Detail of a scheduled job's state: when the next run is due.
const NEXT_RUN: &str = "NextRun";
/// Detail of a scheduled job's state: IDs of the latest runs, newest first, with blanks between them.
const LATEST_RUNS: &str = "LatestRuns";
/// Runs named there.
const MOST_NAMED: usize = 5;
/// Detail of a history line: ID of the run it is about.
const RUN_ID: &str = "RunID";
/// Unfinished runs of one schedule at most, where they may overlap.
const MOST_RUNS: usize = 100;

/// When the next run of a job is due, nanoseconds since 1970; `None` for jobs without a schedule, and before the
/// first look.
pub(crate) fn next_run(job: &Job) -> Option<i64> {
    job.schedule.as_ref().filter(|_| !job.is_terminal()).and_then(|_| time_detail(job, NEXT_RUN))
}

/// The largest run that a scheduled job will make, to check whether it can travel.
pub(crate) fn largest_run(job: &Job) -> Job {
    let id = bacalhau_model::ids::from_random("j-", u128::MAX);
    run_of(job, job, run_name(job, 0, Some(&id)), id)
}

/// Name of the run for a due time. A run that a user asked for has a part of its ID in its name.
fn run_name(job: &Job, at: i64, id: Option<&str>) -> String {
    let tail = id.map(|id| format!("-{}", bacalhau_model::ids::short(id).trim_start_matches("j-")));
    format!("{}-{}{}", job.name, compact(at), tail.unwrap_or_default())
}

/// A run of `job` with the work of `spec`.
fn run_of(job: &Job, spec: &Job, name: String, id: String) -> Job {
    let mut run = Job {
        id,
        name,
        namespace: job.namespace.clone(),
        schedule: None,
        depends_on: Vec::new(),
        state: State::default(),
        ..spec.clone()
    };
    run.meta.remove(meta::DEPENDS_ON);
    run.meta.remove(meta::VERSION_TIME);
    run.meta.insert(meta::SCHEDULED_BY.to_owned(), job.id.clone());
    run
}

impl Core {
    /// Does what is due for a job with a schedule, and sees to it that it is looked at when the next run is due.
    pub(crate) fn keep_schedule<T>(&mut self, entry: &mut JobEntry, now: i64, out: &mut Output<T>) {
        let Some(schedule) = entry.job.schedule.clone() else { return };
        let due = next_run(&entry.job);
        if let Some(at) = due.filter(|at| *at > now) {
            self.timers.set(Due::Job(entry.job.id.clone()), Some(at));
            return;
        }
        let next = Calendar::read(&schedule).map(|calendar| {
            let made = due.and_then(|due| self.run_due(entry, &schedule, &calendar, due, now, out));
            (made, calendar.next(now), calendar)
        });
        match next {
            Ok((made, Some(at), calendar)) => {
                self.set_next_run(entry, (at, &calendar.show(at)), made, now, out);
                if due.is_none() {
                    let text = format!("The first run is due at {}", calendar.show(at));
                    job_event(entry, scheduling(text, now), now, out);
                }
            }
            // Submissions are checked, so this takes a program that reads schedules differently.
            Ok((_, None, _)) => self.fail_job(entry, scheduling("The schedule is never due", now), now, out),
            Err(error) => self.fail_job(entry, scheduling(error.message, now), now, out),
        }
    }

    fn set_next_run<T>(
        &mut self,
        entry: &mut JobEntry,
        (at, shown): (i64, &str),
        made: Option<String>,
        now: i64,
        out: &mut Output<T>,
    ) {
        let mut state = State::with_message(JobState::Running, format!("Next run at {shown}"));
        state.details.insert(NEXT_RUN.to_owned(), calendar::text(at));
        let before = entry.job.state.details.get(LATEST_RUNS).map_or("", String::as_str);
        let latest: Vec<&str> = made.as_deref().into_iter().chain(before.split(' ')).collect();
        let latest: Vec<&str> = latest.into_iter().filter(|id| !id.is_empty()).take(MOST_NAMED).collect();
        if !latest.is_empty() {
            state.details.insert(LATEST_RUNS.to_owned(), latest.join(" "));
        }
        record::set_state(entry, state, now, out);
        self.related.set_due(&entry.job.id, Some(at));
        self.timers.set(Due::Job(entry.job.id.clone()), Some(at));
    }

    /// Makes the run that is due, or says in the history why not. Of several missed due times the latest counts.
    /// Gives the ID of the run.
    fn run_due<T>(
        &mut self,
        entry: &mut JobEntry,
        schedule: &Schedule,
        calendar: &Calendar,
        due: i64,
        now: i64,
        out: &mut Output<T>,
    ) -> Option<String> {
        let at = calendar.latest(due, now);
        let shown = calendar.show(at);
        if at > due {
            let first = calendar.show(due);
            let text = format!("Runs due from {first} on were missed, the latest at {shown} stands for them");
            job_event(entry, scheduling(text, now), now, out);
        }
        let (job, name) = (Arc::clone(&entry.job), run_name(&entry.job, at, None));
        let made = if now.saturating_sub(at) > CATCH_UP {
            let hours = CATCH_UP / super::SECOND / 3600;
            Err(format!("was missed by more than {hours}h"))
        } else {
            match self.taken(&job, &name) {
                // It took place before the clock was set back.
                Some(Some(by)) if by == job.id => return None,
                Some(_) => Err(format!("is left out because there is a job named {name}")),
                None => {
                    let id = self.new_id("j-");
                    self.start_run(&job, run_of(&job, &job, name.clone(), id), schedule, now, out)
                }
            }
        };
        match made {
            Ok(id) => {
                let event = scheduling(format!("Run {name} started"), now).with(RUN_ID, id.clone());
                job_event(entry, event, now, out);
                Some(id)
            }
            Err(why) => {
                job_event(entry, scheduling(format!("The run due at {shown} {why}"), now), now, out);
                None
            }
        }
    }

    /// Submits a run unless the overlap policy is against it. Gives its ID, or why not.
    fn start_run<T>(
        &mut self,
        job: &Job,
        run: Job,
        schedule: &Schedule,
        now: i64,
        out: &mut Output<T>,
    ) -> Result<String, String> {
        let unfinished: Vec<(String, String)> = self
            .related
            .runs(&job.id)
            .filter_map(|id| self.jobs.get(id))
            .map(|entry| (entry.job.id.clone(), entry.job.name.clone()))
            .collect();
        match (Overlap::parse(&schedule.overlap).unwrap_or_default(), unfinished.first()) {
            (Overlap::Skip, Some((_, name))) => {
                return Err(format!("is skipped because run {name} has not ended"));
            }
            (Overlap::Allow, _) if unfinished.len() >= MOST_RUNS => {
                return Err(format!("is skipped because {MOST_RUNS} runs have not ended"));
            }
            (Overlap::Replace, _) => {
                for (id, _) in &unfinished {
                    self.stop_job(now, id, &format!("Replaced by run {}", run.name), out);
                }
            }
            _ => {}
        }
        self.create(now, run, out).map_err(|error| format!("cannot be made: {}", error.message))
    }

    /// Whether a job of that name exists, and which schedule made it.
    fn taken(&self, job: &Job, name: &str) -> Option<Option<String>> {
        let by = |job: &Job| job.meta.get(meta::SCHEDULED_BY).cloned();
        let held = self.job_named(&job.namespace, name).and_then(|id| self.jobs.get(id));
        let reference = Reference::Named { namespace: job.namespace.clone(), name: name.to_owned() };
        let stored = || self.related.fact(&reference)?.as_ref().map(|fact: &Fact| fact.scheduled_by.clone());
        held.map(|entry| by(&entry.job)).or_else(stored)
    }

    /// Makes a run of a scheduled job because a user asks for it, with the work of `spec`. Gives the run's ID.
    pub(crate) fn run_now<T>(
        &mut self,
        now: i64,
        job_id: &str,
        spec: &Job,
        out: &mut Output<T>,
    ) -> Result<String, Error> {
        let found = self.jobs.get(job_id).map(|entry| Arc::clone(&entry.job));
        let Some((job, schedule)) =
            found.and_then(|job| job.schedule.clone().map(|schedule| (job, schedule)))
        else {
            return Err(Error::plain(format!("job {job_id} has no schedule")).status(409));
        };
        let id = self.new_id("j-");
        let name = run_name(&job, now, Some(&id));
        let made = self.start_run(&job, run_of(&job, spec, name.clone(), id), &schedule, now, out);
        let id = made.map_err(|why| {
            Error::plain(format!("a run of job {} now {why}", job.name))
                .status(409)
                .hint("Stop that run first, or set Schedule.Overlap to allow or replace")
        })?;
        if let Some(mut entry) = self.jobs.remove(job_id) {
            let event =
                scheduling(format!("Run {name} started at user request"), now).with(RUN_ID, id.clone());
            job_event(&mut entry, event, now, out);
            if let Some((at, calendar)) = next_run(&job).zip(Calendar::read(&schedule).ok()) {
                self.set_next_run(&mut entry, (at, &calendar.show(at)), Some(id.clone()), now, out);
            }
            self.jobs.insert(job_id.to_owned(), entry);
        }
        Ok(id)
    }

    /// Names of the runs that are due, as far as they are not known here.
    pub(crate) fn names_of_due_runs(&self, now: i64) -> Vec<Reference> {
        let name = |id: &String| {
            let job = &self.jobs.get(id)?.job;
            let calendar = Calendar::read(job.schedule.as_ref()?).ok()?;
            let name = run_name(job, calendar.latest(next_run(job)?, now), None);
            self.job_named(&job.namespace, &name).is_none().then(|| (job.namespace.clone(), name))
        };
        let names = self.related.due(now).filter_map(name);
        let names = names.map(|(namespace, name)| Reference::Named { namespace, name });
        names.filter(|reference| self.related.fact(reference).is_none()).collect()
    }
}
