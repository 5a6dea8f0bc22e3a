//! One way to write each thing: what is stored does not depend on how the user spelled it.

use crate::job::{Job, JobType};
use crate::network::NetworkConfig;

/// The namespace of jobs that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Fills in what every job has and cleans up texts. Idempotent.
pub fn normalize(job: &mut Job) {
    if job.namespace.is_empty() {
        job.namespace = DEFAULT_NAMESPACE.to_owned();
    }
    if job.name.is_empty() {
        job.name.clone_from(&job.id);
    }
    if job.job_type().is_some_and(JobType::is_on_all_nodes) {
        job.count = 0;
    }
    for task in &mut job.tasks {
        task.resources = task.resources.normalized();
        for spec in [&mut task.engine, &mut task.publisher] {
            trim(&mut spec.r#type);
        }
        for input in &mut task.input_sources {
            trim(&mut input.source.r#type);
        }
        let network = task.network.get_or_insert_with(NetworkConfig::default);
        for domain in &mut network.domains {
            *domain = domain.trim().to_lowercase();
        }
    }
}

fn trim(text: &mut String) {
    if text.trim().len() != text.len() {
        *text = text.trim().to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::NetworkType;
    use crate::task::{InputSource, Task};
    use crate::{ResourcesConfig, SpecConfig};

    fn job(r#type: &str) -> Job {
        let input =
            InputSource { source: SpecConfig::new(" s3 "), target: "/in".into(), ..Default::default() };
        let task = Task {
            name: "main".into(),
            engine: SpecConfig::new(" Docker\n"),
            publisher: SpecConfig::new("local "),
            input_sources: vec![input],
            resources: ResourcesConfig { cpu: "500 M".into(), memory: "1\nGB".into(), ..Default::default() },
            ..Task::default()
        };
        Job { id: "x".into(), r#type: r#type.into(), count: 3, tasks: vec![task], ..Job::default() }
    }

    #[test]
    fn what_every_stored_job_has() {
        let mut job = job("batch");
        normalize(&mut job);
        assert_eq!((job.namespace.as_str(), job.name.as_str(), job.count), ("default", "x", 3));
        let task = &job.tasks[0];
        assert_eq!((task.engine.r#type.as_str(), task.publisher.r#type.as_str()), ("Docker", "local"));
        assert_eq!(task.input_sources[0].source.r#type, "s3");
        assert_eq!((task.resources.cpu.as_str(), task.resources.memory.as_str()), ("500m", "1gb"));
        assert_eq!(crate::json::to_string(&task.network).unwrap(), r#"{"Type":"Default"}"#);

        let again = job.clone();
        normalize(&mut job);
        assert_eq!(job, again, "a second time changes nothing");
    }

    #[test]
    fn what_was_chosen_stays() {
        let mut job = job("batch");
        (job.name, job.namespace, job.count) = ("n".into(), "team".into(), 0);
        let domains = vec![" Example.COM".to_owned()];
        job.tasks[0].network = Some(NetworkConfig { r#type: NetworkType::Http, domains, ports: Vec::new() });
        normalize(&mut job);
        assert_eq!((job.name.as_str(), job.namespace.as_str(), job.count), ("n", "team", 0));
        assert_eq!(job.tasks[0].network().domains, ["example.com"]);
    }

    #[test]
    fn jobs_on_all_nodes_have_no_count() {
        for (kind, count) in [("ops", 0), ("daemon", 0), ("service", 3)] {
            let mut job = job(kind);
            normalize(&mut job);
            assert_eq!(job.count, count, "{kind}");
        }
    }
}
