//! From what a user sent to what the core takes: checks, defaults, identity, size.

use bacalhau_model::defaults::JobDefaults;
use bacalhau_model::error::code;
use bacalhau_model::job::meta;
use bacalhau_model::{Error, Job, ids, normalize, sanitize, validate};
use bacalhau_wire::messages;

/// What comes along with a submission.
#[derive(Clone, Debug, Default)]
pub struct SubmitOptions {
    /// Take it even when nothing changed.
    pub force: bool,
    /// Instance ID of the client, may be empty.
    pub client_instance_id: String,
    /// Installation ID of the client, may be empty.
    pub client_installation_id: String,
}

/// What the orchestrator adds.
pub(super) struct Context<'a> {
    pub(super) node_id: &'a str,
    pub(super) instance_id: &'a str,
    pub(super) defaults: &'a JobDefaults,
    pub(super) max_payload: usize,
}

/// A job that the core can take.
pub(super) struct Prepared {
    pub(super) job: Job,
    /// The user chose the ID, so it may be taken.
    pub(super) own_id: bool,
    pub(super) warnings: Vec<String>,
}

/// Checks and completes a job.
pub(super) fn prepare(
    mut job: Job,
    options: &SubmitOptions,
    context: &Context<'_>,
) -> Result<Prepared, Error> {
    validate::submission(&job)
        .map_err(|errors| Error::new(code::BAD_REQUEST, errors.join("\n")).component("APIServer"))?;
    normalize::normalize(&mut job);
    let warnings = sanitize::sanitize(&mut job);
    let own_id = !job.id.is_empty();
    if !own_id {
        job.id = ids::new_job_id();
    }
    if job.name.is_empty() {
        job.name = job.id.clone();
    }
    add_meta(&mut job, options, context);
    context.defaults.apply(&mut job);
    let late = validate::complete(&job);
    late.map_err(|errors| Error::new(code::BAD_REQUEST, errors.join("\n")).component("JobStore"))?;
    messages::check_fits(&job, context.max_payload)?;
    Ok(Prepared { job, own_id, warnings })
}

fn add_meta(job: &mut Job, options: &SubmitOptions, context: &Context<'_>) {
    let entries = [
        (meta::ORCHESTRATOR_ID, context.node_id),
        (meta::REQUESTER_ID, context.node_id),
        (meta::SERVER_INSTANCE_ID, context.instance_id),
        (meta::CLIENT_INSTANCE_ID, options.client_instance_id.as_str()),
        (meta::CLIENT_INSTALLATION_ID, options.client_installation_id.as_str()),
    ];
    for (key, value) in entries.into_iter().filter(|(_, value)| !value.is_empty()) {
        job.meta.insert(key.to_owned(), value.to_owned());
    }
}
