//! Nodes: list, look at, approve, reject, delete, cordon, uncordon, drain.

use super::App;
use super::input::{Id, Input};
use super::reply::{Answer, Failure, Json, bad_request};
use axum::extract::State;
use bacalhau_model::error::code;
use bacalhau_model::{Error, NodeState, NodeType, Resources, selector};
use bacalhau_orchestrator::NodeAction;
use serde::Serialize;
use std::cmp::Ordering;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    next_token: String,
    nodes: Vec<NodeState>,
}

pub(super) async fn list(State(app): State<App>, input: Input) -> Answer {
    let labels = selector::parse(&input.texts("labels").join(",")).map_err(bad_request)?;
    // The underscore form is what the published description of the API says.
    let filter = |name: &str| -> Result<String, Failure> {
        let text = input.text(name)?;
        let text = if text.is_empty() { input.text(&name.replace('-', "_"))? } else { text };
        Ok(text.to_uppercase())
    };
    let (approval, status) = (filter("filter-approval")?, filter("filter-status")?);
    let order = order_of(&input.text("order_by")?)?;
    let (reverse, limit) = (input.boolean("reverse")?, input.small_number("limit")?);
    let mut nodes = app.backend()?.nodes().await?;
    nodes.retain(|n| labels.iter().all(|l| l.matches(&n.info.labels)));
    nodes.retain(|n| approval.is_empty() || n.membership.as_str() == approval);
    nodes.retain(|n| status.is_empty() || n.connection.as_str() == status);
    nodes.sort_by(|a, b| order(a, b).then_with(|| a.info.node_id.cmp(&b.info.node_id)));
    if reverse {
        nodes.reverse();
    }
    if limit != 0 {
        nodes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    Json::of_many(Page { next_token: String::new(), nodes }).await
}

type Order = fn(&NodeState, &NodeState) -> Ordering;

fn order_of(text: &str) -> Result<Order, Failure> {
    fn free(node: &NodeState) -> &Resources {
        &node.info.compute_node_info.available_capacity
    }
    fn is_compute(node: &NodeState) -> bool {
        node.info.node_type == NodeType::Compute
    }
    Ok(match text {
        "" | "id" => |_, _| Ordering::Equal,
        "type" => |a, b| is_compute(a).cmp(&is_compute(b)),
        "available_cpu" => |a, b| free(b).cpu.total_cmp(&free(a).cpu),
        "available_memory" => |a, b| free(b).memory.cmp(&free(a).memory),
        "available_disk" => |a, b| free(b).disk.cmp(&free(a).disk),
        "available_gpu" => |a, b| free(b).gpu.cmp(&free(a).gpu),
        "approval" => |a, b| a.membership.as_str().cmp(b.membership.as_str()),
        "status" => |a, b| a.connection.as_str().cmp(b.connection.as_str()),
        _ => return Err(bad_request("invalid order_by")),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct One {
    node: NodeState,
}

pub(super) async fn get(State(app): State<App>, Id(id): Id) -> Answer {
    Json::of(&One { node: app.backend()?.node(&id).await? })
}

pub(super) async fn update(State(app): State<App>, Id(id): Id, input: Input) -> Answer {
    let action = match input.text("Action")?.as_str() {
        "approve" => NodeAction::Approve,
        "reject" => NodeAction::Reject,
        "delete" => NodeAction::Delete,
        "cordon" => NodeAction::Cordon,
        "uncordon" => NodeAction::Uncordon,
        "drain" => NodeAction::Drain { deadline: deadline_of(&input)? },
        other => {
            let text = format!("unknown node action {other:?}");
            let error = Error::new(code::BAD_REQUEST, text).component("APIServer");
            return Err(Failure(error.hint("Use approve, reject, delete, cordon, uncordon or drain")));
        }
    };
    app.backend()?.update_node(&id, action).await?;
    Json::of(&serde_json::json!({"Success": true}))
}

/// Longest time that a drain may take: a year, seconds.
const LONGEST_DRAIN: u64 = 366 * 24 * 3600;

/// `Deadline`, seconds from now until what is left on the node is stopped, as nanoseconds.
fn deadline_of(input: &Input) -> Result<i64, Failure> {
    let seconds = input.number("Deadline")?;
    if seconds > LONGEST_DRAIN {
        return Err(bad_request(format!("Deadline is {seconds} seconds, more than a year")));
    }
    Ok(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000))
}
