//! Whether retries, rolling updates, schedules and dependencies make sense.

use crate::job::{Job, JobType};
use crate::policy::{OnFailure, Overlap};
use std::collections::BTreeSet;

/// Dependencies of one job at most; a graph of jobs is meant to be looked at by people.
const MOST_DEPENDENCIES: usize = 100;
/// A pause, a probation or a limit of more than a year (seconds) is a mistake.
const LONGEST: i64 = 366 * 24 * 3600;

/// All problems of the job's policies, without the cron expression and the time zone, which the orchestrator reads.
pub(super) fn problems(job: &Job) -> Vec<String> {
    let mut errors = Vec::new();
    let long_running = JobType::parse(&job.r#type).is_some_and(JobType::is_long_running);
    let mut in_range = |what: &str, value: i64| {
        if !(0..=LONGEST).contains(&value) {
            errors.push(format!("{what} must be between 0 and {LONGEST}, not {value}"));
        }
    };
    if let Some(retry) = job.task().and_then(|task| task.retry.as_ref()) {
        in_range("Retry.MaxAttempts", retry.max_attempts);
        in_range("Retry.Backoff", retry.backoff);
        in_range("Retry.MaxBackoff", retry.max_backoff);
    }
    if let Some(update) = &job.update {
        in_range("Update.MaxParallel", update.max_parallel);
        in_range("Update.HealthyAfter", update.healthy_after);
        if !long_running {
            errors
                .push(format!("Update is for service and daemon jobs; a {} job ends by itself", job.r#type));
        }
    }
    if let Some(schedule) = &job.schedule {
        if schedule.cron.trim().is_empty() {
            errors.push("Schedule.Cron is missing".to_owned());
        }
        if Overlap::parse(&schedule.overlap).is_none() {
            errors
                .push(format!("Schedule.Overlap must be skip, allow or replace, not {:?}", schedule.overlap));
        }
        if long_running {
            errors
                .push(format!("Schedule is for batch and ops jobs; a {} job runs all the time", job.r#type));
        }
        if !job.depends_on.is_empty() {
            errors.push("a job has either a Schedule or DependsOn, not both".to_owned());
        }
    }
    errors.extend(dependency_problems(job));
    errors
}

fn dependency_problems(job: &Job) -> Vec<String> {
    let (mut errors, mut seen) = (Vec::new(), BTreeSet::new());
    if job.depends_on.len() > MOST_DEPENDENCIES {
        errors.push(format!(
            "DependsOn names {} jobs, at most {MOST_DEPENDENCIES} are taken",
            job.depends_on.len()
        ));
    }
    for dependency in &job.depends_on {
        let name = &dependency.job;
        if name.is_empty() {
            errors.push("DependsOn has an entry without Job".to_owned());
        } else if *name == job.name || *name == job.id {
            errors.push(format!("job {name} cannot depend on itself"));
        } else if !seen.insert(name) {
            errors.push(format!("DependsOn names {name} twice"));
        }
        if OnFailure::parse(&dependency.on_failure).is_none() {
            errors.push(format!(
                "OnFailure of {name} must be fail, stop or run, not {:?}",
                dependency.on_failure
            ));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Dependency, RetryPolicy, Schedule, UpdatePolicy};
    use crate::task::Task;

    fn job(kind: &str) -> Job {
        Job { name: "n".into(), r#type: kind.into(), tasks: vec![Task::default()], ..Job::default() }
    }

    #[test]
    fn sensible_policies_pass() {
        let mut batch = job("batch");
        batch.tasks[0].retry = Some(RetryPolicy { max_attempts: 3, backoff: 5, ..RetryPolicy::default() });
        batch.depends_on = vec![Dependency { job: "first".into(), on_failure: "Run".into() }];
        assert_eq!(problems(&batch), Vec::<String>::new());
        let mut service = job("service");
        service.update = Some(UpdatePolicy { max_parallel: 2, healthy_after: 10, auto_revert: true });
        assert_eq!(problems(&service), Vec::<String>::new());
    }

    #[test]
    fn each_problem_is_named() {
        let mut batch = job("batch");
        batch.tasks[0].retry = Some(RetryPolicy { max_attempts: -1, ..RetryPolicy::default() });
        batch.update = Some(UpdatePolicy::default());
        batch.depends_on =
            ["n", "a", "a", ""].map(|name| Dependency { job: name.into(), on_failure: "x".into() }).into();
        let text = problems(&batch).join("\n");
        for part in [
            "MaxAttempts",
            "service and daemon",
            "depend on itself",
            "a twice",
            "without Job",
            "OnFailure of a",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let mut service = job("service");
        service.schedule = Some(Schedule { overlap: "maybe".into(), ..Schedule::default() });
        let text = problems(&service).join("\n");
        for part in ["Cron is missing", "Overlap must be", "batch and ops"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
