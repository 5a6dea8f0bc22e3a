//! What clients send along and may not decide: it is dropped, and they are told.

use crate::job::{Job, JobState, JobType, meta};
use crate::state::State;

/// Drops what a submission may not say. Gives a warning for each such thing, in Bacalhau 1.9's words.
pub fn sanitize(job: &mut Job) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut ignored = |what: &str, sent: bool| {
        if sent {
            warnings.push(format!("job {what} is ignored when submitting a job"));
        }
    };
    ignored("state", job.state.state_type != JobState::Undefined);
    ignored("revision", job.revision > 0);
    ignored("version", job.version > 0);
    ignored("create time", job.create_time > 0);
    ignored("modify time", job.modify_time > 0);
    job.state = State::default();
    (job.revision, job.version, job.create_time, job.modify_time) = (0, 0, 0, 0);
    let one_shot = job.job_type().filter(|t| matches!(t, JobType::Batch | JobType::Ops));
    if let Some(kind) = one_shot.filter(|_| !job.id.is_empty()) {
        warnings.push(format!("job ID is ignored when submitting a {} job", kind.as_str()));
        job.id.clear();
    }
    if job.tasks.len() > 1 {
        warnings.push("only one task is supported per job".to_owned());
        job.tasks.truncate(1);
    }
    job.meta.retain(|key, _| {
        let reserved = key.starts_with(meta::PREFIX);
        if reserved {
            warnings.push(format!("job meta key {key:?} is reserved and will be ignored"));
        }
        !reserved
    });
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Task;

    #[test]
    fn everything_is_dropped_and_said() {
        let mut job = Job {
            id: "j-x".into(),
            r#type: "batch".into(),
            version: 3,
            revision: 2,
            create_time: 1,
            modify_time: 1,
            state: State::new(JobState::Running),
            tasks: vec![Task::default(), Task::default()],
            ..Job::default()
        };
        job.meta.insert("bacalhau.org/x".into(), "y".into());
        job.meta.insert("mine".into(), "y".into());
        let warnings = sanitize(&mut job);
        assert_eq!(
            warnings,
            [
                "job state is ignored when submitting a job",
                "job revision is ignored when submitting a job",
                "job version is ignored when submitting a job",
                "job create time is ignored when submitting a job",
                "job modify time is ignored when submitting a job",
                "job ID is ignored when submitting a batch job",
                "only one task is supported per job",
                "job meta key \"bacalhau.org/x\" is reserved and will be ignored",
            ]
        );
        assert_eq!((job.id.as_str(), job.tasks.len(), job.meta.len()), ("", 1, 1));
        assert!(sanitize(&mut job).is_empty());
    }

    #[test]
    fn an_unnamed_job_sent_back_keeps_its_name() {
        // Its name is its ID. Clients read a job, change it and send it: that must stay an update of the same job.
        let mut job = Job { id: "j-1".into(), name: "j-1".into(), r#type: "batch".into(), ..Job::default() };
        sanitize(&mut job);
        assert_eq!((job.id.as_str(), job.name.as_str()), ("", "j-1"));
        let mut job = Job { id: "mine".into(), r#type: "service".into(), ..Job::default() };
        assert!(sanitize(&mut job).is_empty());
        assert_eq!(job.id, "mine");
    }
}
