//! From what a user sent to what the core takes: checks, defaults, identity, size.

use crate::core::{Calendar, largest_run};
use bacalhau_images::Pinner;
use bacalhau_model::defaults::JobDefaults;
use bacalhau_model::error::code;
use bacalhau_model::job::meta;
use bacalhau_model::{Error, Job, ids, normalize, sanitize, validate};
use bacalhau_wire::messages;
use std::borrow::Cow;

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
    if let Some(schedule) = &job.schedule {
        Calendar::read(schedule)?;
    }
    messages::check_fits(&as_it_will_travel(&job), context.max_payload)?;
    Ok(Prepared { job, own_id, warnings })
}

/// Notes which image a tag stands for now. The runs of a schedule are later, and take what the tag stands for then.
pub(super) async fn pin(job: &mut Job, pinner: &Pinner, max_payload: usize) {
    if job.schedule.is_some() {
        return;
    }
    pinner.pin(job).await;
    // A job that just fits goes without.
    if messages::check_fits(&as_it_will_travel(job), max_payload).is_err() {
        job.meta.remove(meta::IMAGE_DIGEST);
    }
}

/// The job with what the core will add before a node sees it.
fn as_it_will_travel(job: &Job) -> Cow<'_, Job> {
    if job.schedule.is_some() {
        return Cow::Owned(largest_run(job));
    }
    if job.depends_on.is_empty() {
        return Cow::Borrowed(job);
    }
    let mut job = job.clone();
    let ids = "x".repeat(job.depends_on.len() * (validate::MAX_ID + 1));
    job.meta.insert(meta::DEPENDS_ON.to_owned(), ids);
    Cow::Owned(job)
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
