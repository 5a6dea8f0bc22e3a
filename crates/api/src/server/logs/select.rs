//! Which executions of a job are shown.

use super::wish::Wish;
use bacalhau_model::error::code;
use bacalhau_model::{ComputeState, Error, Execution, Job};
use bacalhau_store::orchestrator::Versions;
use std::collections::BTreeMap;

/// Bacalhau 1.9's choice of one: the execution asked for; else the most recently changed one, preferring those that did
/// not fail. `executions` begin with that. `None` when it is worth waiting for one.
pub(super) fn one(job: &Job, executions: Vec<Execution>, wish: &Wish) -> Result<Option<Execution>, Error> {
    let (id, version, wanted) = (&job.id, job.version, &wish.execution_id);
    if !wanted.is_empty() {
        let found = executions.into_iter().find(|e| &e.id == wanted);
        let missing = || {
            failed(job, format!("unable to find execution {wanted} in job {id} and job version {version}"))
        };
        return found.map(Some).ok_or_else(missing);
    }
    let fine = executions.iter().find(|e| !e.compute_state.state_type.is_discarded());
    if let Some(found) = fine {
        return Ok(Some(found.clone()));
    }
    let over = job.is_terminal();
    if over || !wish.follow {
        return executions.into_iter().next().map(Some).ok_or_else(|| none(job, wish));
    }
    Ok(None)
}

/// There are no executions.
pub(super) fn none(job: &Job, wish: &Wish) -> Error {
    let (name, id) = (&job.name, &job.id);
    let version = match wish.versions {
        Versions::One(wanted) => wanted,
        Versions::All | Versions::Latest => job.version,
    };
    let why = match job.state.message.trim() {
        "" => String::new(),
        why => format!(": {why}"),
    };
    let text = format!("no executions found for job {name} with ID {id}, and version {version}");
    if job.is_terminal() {
        return failed(job, format!("{text}{why}"));
    }
    failed(job, format!("{text}: it is {}{why}", job.state.state_type)).hint(match job.schedule {
        Some(_) => {
            format!("Its runs are jobs of their own; the latest are listed by: bacalhau job describe {id}")
        }
        None => "Use --follow to wait for its output".to_owned(),
    })
}

fn failed(job: &Job, why: String) -> Error {
    Error::new(code::NOT_FOUND, format!("failed to open log stream for job {}: {why}", job.id))
}

/// All that are shown at first, in the order of partitions: of several attempts at the same thing the one that tells
/// most, unless all are wanted.
pub(super) fn all(job: &Job, executions: Vec<Execution>, wish: &Wish) -> Vec<Execution> {
    let on_all_nodes = is_on_all_nodes(job);
    let mut chosen: BTreeMap<(u64, i64, String, String), Execution> = BTreeMap::new();
    let latest = wish.versions == Versions::Latest;
    // One that is not replaced yet belongs to the latest version, too.
    let serves = |e: &Execution| latest && !e.is_terminal();
    for execution in executions.into_iter().filter(|e| is_wanted(job, e.job_version, wish) || serves(e)) {
        let node = if on_all_nodes { execution.node_id.clone() } else { String::new() };
        let attempt = match wish.all_attempts {
            true => format!("{:020} {}", execution.create_time, execution.id),
            false => String::new(),
        };
        let version = if latest { 0 } else { execution.job_version };
        let key = (version, execution.partition_index, node, attempt);
        let rank = |e: &Execution| (tells(e.compute_state.state_type), e.create_time, e.attempt);
        match chosen.get(&key) {
            Some(known) if rank(known) >= rank(&execution) => {}
            _ => {
                chosen.insert(key, execution);
            }
        }
    }
    chosen.into_values().collect()
}

/// Whether executions of a version are wanted. Those of earlier versions that the latest keeps belong to it.
pub(super) fn is_wanted(job: &Job, version: u64, wish: &Wish) -> bool {
    match wish.versions {
        Versions::All => true,
        Versions::Latest => job.kept_versions().contains(&version),
        Versions::One(wanted) => version == wanted,
    }
}

/// Whether there may be output of several executions, so that a reader wants to know whose it is.
pub(super) fn may_be_many(job: &Job, shown: usize) -> bool {
    shown > 1 || job.count > 1 || is_on_all_nodes(job)
}

fn is_on_all_nodes(job: &Job) -> bool {
    job.job_type().is_some_and(|kind| kind.is_on_all_nodes())
}

/// Whether the output of an execution in this state is to be read now, told only how it ended, or waited for.
pub(super) fn has_run(state: &str) -> bool {
    use ComputeState::{BidAccepted, Completed, Publishing, Running};
    [BidAccepted, Running, Publishing, Completed].iter().any(|known| known.as_str() == state)
}

fn tells(state: ComputeState) -> u8 {
    match state {
        state if state.is_executing() || state == ComputeState::Completed => 2,
        ComputeState::Failed | ComputeState::Cancelled => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution(id: &str, partition: i64, attempt: u64, state: ComputeState) -> Execution {
        let mut execution = Execution {
            id: id.into(),
            job_version: 1,
            partition_index: partition,
            attempt,
            create_time: i64::try_from(attempt).unwrap(),
            ..Execution::default()
        };
        execution.compute_state.state_type = state;
        execution
    }

    fn wish(all_attempts: bool) -> Wish {
        Wish {
            namespace: String::new(),
            execution_id: String::new(),
            follow: false,
            tail: false,
            versions: Versions::Latest,
            all: true,
            all_attempts,
            last_lines: None,
            since: 0,
            details: true,
            timestamps: false,
            resume: false,
        }
    }

    #[test]
    fn a_job_with_a_schedule_never_prints() {
        let hint = |job: &Job| none(job, &wish(false)).hint;
        let mut job = Job { id: "j-1".into(), ..Job::default() };
        assert_eq!(hint(&job), "Use --follow to wait for its output");
        job.schedule = Some(bacalhau_model::Schedule::default());
        assert!(hint(&job).ends_with("bacalhau job describe j-1"), "{}", hint(&job));
    }

    #[test]
    fn the_attempt_that_tells_most_is_shown() {
        let job = Job { version: 1, r#type: "batch".into(), ..Job::default() };
        let mut old = execution("old", 0, 9, ComputeState::Completed);
        old.job_version = 0;
        let executions = vec![
            execution("c", 1, 1, ComputeState::BidAccepted),
            execution("a1", 0, 1, ComputeState::Failed),
            execution("a2", 0, 2, ComputeState::Failed),
            execution("a3", 0, 3, ComputeState::New),
            old,
            execution("d1", 2, 1, ComputeState::Failed),
            execution("d2", 2, 2, ComputeState::Completed),
        ];
        let ids = |wish: &Wish| -> Vec<String> {
            all(&job, executions.clone(), wish).into_iter().map(|e| e.id).collect()
        };
        assert_eq!(ids(&wish(false)), ["a2", "c", "d2"]);
        assert_eq!(ids(&wish(true)), ["a1", "a2", "a3", "c", "d1", "d2"]);
    }

    #[test]
    fn what_goes_on_in_the_latest_version_belongs_to_it() {
        let mut job = Job { version: 3, r#type: "service".into(), ..Job::default() };
        job.keep_versions(&[1, 3].into());
        let of_version = |version, partition, state| {
            let id = format!("{version}/{partition}");
            Execution { job_version: version, ..execution(&id, partition, 1, state) }
        };
        let executions = vec![
            of_version(1, 0, ComputeState::BidAccepted),
            of_version(1, 1, ComputeState::Completed),
            of_version(2, 2, ComputeState::BidAccepted),
            of_version(2, 3, ComputeState::Failed),
            of_version(3, 4, ComputeState::BidAccepted),
        ];
        let shown: Vec<String> = all(&job, executions, &wish(false)).into_iter().map(|e| e.id).collect();
        assert_eq!(shown, ["1/0", "1/1", "2/2", "3/4"]);
    }
}
