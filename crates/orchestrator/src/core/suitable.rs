//! Whether a node can run a job at all, and why not. Pure functions of the job and the node.
//!
//! Only facts that do not change with load are looked at here; room is the business of [`super::place`].

use super::entry::JobEntry;
use super::node::NodeEntry;
use bacalhau_model::{Job, NodeInfo, Requirement, Resources, SpecConfig};

/// Oldest version of a compute node that understands what this orchestrator sends: major 1.
const OLDEST_MAJOR: u32 = 1;

/// Why `node` can never run this version of the job, or `None` when it can.
pub fn unsuitable(entry: &JobEntry, node: &NodeEntry) -> Option<String> {
    let info = &node.state.info;
    let task = entry.job.task()?;
    let offer = &info.compute_node_info;
    if entry.refused.contains(&info.node_id) {
        return Some("job rejected".to_owned());
    }
    supports(&task.engine, &offer.execution_engines)
        .or_else(|| supports(&task.publisher, &offer.publishers))
        .or_else(|| task.input_sources.iter().find_map(|i| supports(&i.source, &offer.storage_sources)))
        .or_else(|| labels(entry, info))
        .or_else(|| too_big(&entry.request, &offer.max_job_requirements))
        .or_else(|| version(info))
}

/// [`unsuitable`] in a few words that are the same for all nodes.
pub(crate) fn unsuitable_in_brief(entry: &JobEntry, node: &NodeEntry) -> Option<&'static str> {
    let info = &node.state.info;
    let task = entry.job.task()?;
    let offer = &info.compute_node_info;
    if entry.refused.contains(&info.node_id) {
        Some("job rejected")
    } else if !offers(&task.engine, &offer.execution_engines) {
        Some("does not support the engine")
    } else if !offers(&task.publisher, &offer.publishers) {
        Some("does not support the publisher")
    } else if !task.input_sources.iter().all(|input| offers(&input.source, &offer.storage_sources)) {
        Some("does not support an input source")
    } else if !labels_match(&entry.job, info) {
        Some("labels don't match required selectors")
    } else if !entry.request.fits_in(&offer.max_job_requirements) {
        Some("job requires more than the maximum available")
    } else {
        version(info).map(|_| "Bacalhau version is incompatible")
    }
}

/// The same answer as that of [`unsuitable`] without the words, refusals and sizes: what all jobs with equal needs share.
pub(crate) fn suits(job: &Job, info: &NodeInfo) -> bool {
    let Some(task) = job.task() else { return false };
    let offer = &info.compute_node_info;
    offers(&task.engine, &offer.execution_engines)
        && offers(&task.publisher, &offer.publishers)
        && task.input_sources.iter().all(|input| offers(&input.source, &offer.storage_sources))
        && labels_match(job, info)
        && version(info).is_none()
}

/// Nothing is asked for, or it is among what is offered.
fn offers(spec: &SpecConfig, offered: &[String]) -> bool {
    spec.is_empty() || offered.iter().any(|name| spec.is_type(name))
}

/// `does not support X, only A, B` when a named type is not offered.
fn supports(spec: &SpecConfig, offered: &[String]) -> Option<String> {
    if offers(spec, offered) {
        return None;
    }
    let mut names: Vec<&str> = offered.iter().map(String::as_str).collect();
    names.sort_unstable();
    Some(match names.is_empty() {
        true => format!("does not support {}", spec.r#type.trim()),
        false => format!("does not support {}, only {}", spec.r#type.trim(), names.join(", ")),
    })
}

fn labels_match(job: &Job, info: &NodeInfo) -> bool {
    job.constraints.iter().filter(|c| !c.is_favour()).all(|c| c.matches(&info.labels))
}

/// Labels must match every selector that is not a mere preference.
fn labels(entry: &JobEntry, info: &NodeInfo) -> Option<String> {
    if labels_match(&entry.job, info) {
        return None;
    }
    let required = entry.job.constraints.iter().filter(|c| !c.is_favour());
    let labels: Vec<String> = info.labels.iter().map(|(k, v)| format!("{k}:{v}")).collect();
    let selectors: Vec<String> = required.map(selector).collect();
    Some(format!(
        "labels map[{}] don't match required selectors [{}]",
        labels.join(" "),
        selectors.join(", ")
    ))
}

/// As Bacalhau 1.9 writes it in reasons: with spaces around signs of equality, unlike in lists.
fn selector(constraint: &Requirement) -> String {
    match (constraint.operator.as_str(), constraint.values.first()) {
        (sign @ ("=" | "==" | "!="), Some(value)) => format!("{} {sign} {value}", constraint.key),
        _ => constraint.to_string(),
    }
}

/// One job may ask for at most what the node's `MaxJobRequirements` say.
fn too_big(request: &Resources, most: &Resources) -> Option<String> {
    let mut reasons = Vec::new();
    let mut compare = |fits: bool, what: &str, asked: String, most: String| {
        if !fits {
            reasons.push(format!("more {what} ({asked}) than the maximum available ({most})"));
        }
    };
    let none = Resources::default();
    let only = |r: Resources| r.fits_in(most);
    compare(
        only(Resources { cpu: request.cpu, ..none.clone() }),
        "CPU",
        request.cpu.to_string(),
        most.cpu.to_string(),
    );
    compare(request.memory <= most.memory, "memory", bytes(request.memory), bytes(most.memory));
    compare(request.disk <= most.disk, "disk", bytes(request.disk), bytes(most.disk));
    compare(request.gpu <= most.gpu, "GPUs", request.gpu.to_string(), most.gpu.to_string());
    (!reasons.is_empty()).then(|| format!("job requires {}", reasons.join(" and ")))
}

/// Version numbers compare as numbers; unknown and development versions pass.
fn version(info: &NodeInfo) -> Option<String> {
    let version = &info.bacalhau_version;
    let major: u32 = version.major.parse().ok()?;
    let development = major == 0 && (version.minor == "0" || version.minor.is_empty());
    (major < OLDEST_MAJOR && !development).then(|| "Bacalhau version is incompatible".to_owned())
}

/// Bytes for people, decimal.
pub(crate) fn bytes(amount: u64) -> String {
    bacalhau_model::quantity::format_bytes(amount)
}

/// Preferences of the job that the node meets: all `favour_` selectors or nothing.
pub(crate) fn favours(job: &Job, info: &NodeInfo) -> bool {
    let mut favours = job.constraints.iter().filter(|c| c.is_favour()).peekable();
    favours.peek().is_some() && favours.all(|c| c.matches_favour(&info.labels))
}
