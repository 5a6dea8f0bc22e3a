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
