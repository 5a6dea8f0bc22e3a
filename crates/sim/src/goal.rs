//! What a cluster without faults must come to: M1.

use crate::compute::NodeHost;
use crate::disk::{JobFile, OrchestratorDisk, waited_for};
use crate::orchestrator::OrchestratorHost;
use bacalhau_model::event::detail;
use bacalhau_model::execution::{ComputeState, Execution};
use bacalhau_model::{Job, JobType, Membership, NodeState};
use bacalhau_orchestrator::core::Core;
use std::collections::BTreeSet;

/// The first thing that is not as it must be, if any.
pub(crate) fn unmet(orchestrator: &OrchestratorHost, nodes: &[NodeHost]) -> Option<String> {
    let Some(core) = &orchestrator.core else { return Some("the orchestrator is down".to_owned()) };
    if !orchestrator.is_quiet() || !orchestrator.is_delivered() {
        return Some("the orchestrator has something to write or to send".to_owned());
    }
    let busy = |node: &&NodeHost| !node.gone && (node.core.is_none() || !node.is_quiet() || !node.is_idle());
    if let Some(node) = nodes.iter().find(busy) {
        return Some(format!("{} is down or busy", node.id));
    }
    orchestrator
        .disk
        .jobs
        .values()
        .find_map(|file| job(core, &orchestrator.disk, file))
        .or_else(|| nodes.iter().filter(|node| !node.gone).find_map(|node| holds(core, node)))
        .or_else(|| cancelled(orchestrator, core))
}

/// Each job has what it needs.
fn job(core: &Core, disk: &OrchestratorDisk, file: &JobFile) -> Option<String> {
    let job = file.latest().filter(|job| !job.is_terminal())?;
    let (id, state) = (&job.id, job.state.state_type);
    if job.schedule.is_some() {
        return Some(format!("{id} has a schedule"));
    }
    if let Some(other) =
        waited_for(job).find(|other| disk.jobs.get(*other).is_some_and(|file| !file.is_final()))
    {
        // Whether that one can go on is looked at by itself.
        return (live_of(file) > 0).then(|| format!("{id} waits for {other} and runs"));
    }
    let kept = job.kept_versions();
    let running: Vec<&Execution> = file.live().filter(|execution| runs(execution)).collect();
    let live = live_of(file);
    match job.job_type()? {
        JobType::Batch | JobType::Ops if live == 0 && waits(core, file, job) => None,
        JobType::Batch | JobType::Ops => Some(format!("{id} is {state}")),
        _ if running.len() != live => Some(format!("{id} has {live} executions, {} run", running.len())),
        JobType::Service => {
            let count = usize::try_from(job.count).unwrap_or(0);
            if running.len() == count && running.iter().all(|e| kept.contains(&e.job_version)) {
                let rolls = job.state.details.contains_key(detail::ROLLOUT);
                return rolls.then(|| format!("{id} is being updated"));
            }
            core.nodes().find(|node| has_room(core, file, job, node)).map(|node| {
                format!("{id} has {} of {count} executions, {} has room", running.len(), node.info.node_id)
            })
        }
        JobType::Daemon => {
            let on: BTreeSet<&str> = running.iter().map(|execution| execution.node_id.as_str()).collect();
            let bare = core
                .nodes()
                .find(|node| !on.contains(node.info.node_id.as_str()) && has_room(core, file, job, node));
            bare.map(|node| format!("{id} does not run on {}", node.info.node_id))
        }
    }
}

fn live_of(file: &JobFile) -> usize {
    file.live().count()
}

/// Nothing can be done for what is left of the job: every node that may run it is full of services and daemons, which
/// never end, or there is no such node.
fn waits(core: &Core, file: &JobFile, job: &Job) -> bool {
    let everywhere = job.job_type() == Some(JobType::Ops);
    let kept = job.kept_versions();
    // An ops job is done with a node once it completed there; a failed attempt may be made again.
    let done_with = |node: &NodeState| {
        let mine = |e: &Execution| e.node_id == node.info.node_id && kept.contains(&e.job_version);
        everywhere && file.executions.values().any(|(e, _)| mine(e))
    };
    // All attempts of a partition on a node are used up after two.
    let tried = |node: &NodeState| {
        let failed = |e: &Execution| {
            e.node_id == node.info.node_id && e.compute_state.state_type == ComputeState::Failed
        };
        file.executions.values().filter(|(e, _)| kept.contains(&e.job_version) && failed(e)).count() > 1
    };
    core.nodes().all(|node| done_with(node) || tried(node) || !has_room(core, file, job, node))
}

fn runs(execution: &Execution) -> bool {
    let state = execution.compute_state.state_type;
    // Ops and daemon executions are told to run with the question.
    state.is_executing() || state == ComputeState::New
}

/// The node may run another execution of the job.
fn has_room(core: &Core, file: &JobFile, job: &Job, node: &NodeState) -> bool {
    let matches = job.constraints.iter().all(|c| c.is_favour() || c.matches(&node.info.labels));
    let request = job.task().and_then(|task| task.resources.parse().ok()).unwrap_or_default();
    let alone = request.fits_in(&node.info.compute_node_info.max_job_requirements);
    let refused = file.executions.values().any(|(e, _)| {
        e.node_id == node.info.node_id
            && e.compute_state.state_type == ComputeState::AskForBidRejected
            && job.kept_versions().contains(&e.job_version)
    });
    let lasting = job.job_type().is_some_and(JobType::is_long_running);
    let room = core.has_room(&node.info.node_id, &request, lasting);
    node.is_schedulable() && !refused && matches && alone && room
}

/// A node that takes part is connected and holds what is live on it, and nothing else.
fn holds(core: &Core, node: &NodeHost) -> Option<String> {
    let known = core.nodes().find(|state| state.info.node_id == node.id);
    if known.is_some_and(|state| state.membership == Membership::Rejected) {
        return None;
    }
    let Some(known) = known.filter(|_| node.is_connected()) else {
        return Some(format!("{} is not connected", node.id));
    };
    if known.connection_state.status != bacalhau_model::Connection::Connected {
        return Some(format!("{} thinks that it is connected", node.id));
    }
    if known.drain.as_ref().is_some_and(|drain| drain.finished.is_none()) {
        return Some(format!("{} is being drained", node.id));
    }
    let live = core.live_executions().filter(|(_, execution)| execution.node_id == node.id);
    let live: BTreeSet<&str> = live.map(|(_, execution)| execution.id.as_str()).collect();
    let slots = node.core.iter().flat_map(|core| core.slots());
    let held: BTreeSet<&str> = slots.map(|slot| slot.execution.id.as_str()).collect();
    if live != held {
        return Some(format!("{} holds {held:?}, live on it are {live:?}", node.id));
    }
    node.core.iter().filter(|_| node.tells_progress).flat_map(|core| core.slots()).find_map(|slot| {
        let (id, state) = (&slot.execution.id, slot.state());
        let (_, believed) = core.live_executions().find(|(_, execution)| execution.id == *id)?;
        let believed = believed.compute_state.state_type;
        // One that starts anew after a restart of its node is Running all the while.
        let told = believed >= state || slot.execution.start_time == 0;
        (!told).then(|| format!("{id} on {} is {state}, the orchestrator believes {believed}", node.id))
    })
}

/// No connected node is owed a cancellation.
fn cancelled(orchestrator: &OrchestratorHost, core: &Core) -> Option<String> {
    let connected: BTreeSet<&str> =
        core.nodes().filter(|node| node.is_schedulable()).map(|node| node.info.node_id.as_str()).collect();
    let files = orchestrator.disk.jobs.values();
    let open = files.flat_map(|file| file.open.iter().filter_map(|id| file.executions.get(id)));
    let mut owed = open.filter(|(e, _)| e.is_terminal() && connected.contains(e.node_id.as_str()));
    owed.next().map(|(e, pending)| format!("{pending:?} of {} waits for {}", e.id, e.node_id))
}
