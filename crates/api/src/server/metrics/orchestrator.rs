//! Figures of an orchestrator: its jobs, their executions, and its nodes.

use super::{Exposition, Kind};
use bacalhau_model::{Connection, Error, Membership, NodeType};
use bacalhau_orchestrator::Orchestrator;

pub(in crate::server) async fn write(
    orchestrator: &Orchestrator,
    text: &mut Exposition,
) -> Result<(), Error> {
    let census = orchestrator.census().await?;
    text.family("bacalhau_orchestrator_jobs", Kind::Gauge, "Jobs that have not ended, by their state.");
    for (state, count) in census.job_states {
        text.whole(&[("state", &state.as_str().to_ascii_lowercase())], count);
    }
    text.family("bacalhau_orchestrator_executions", Kind::Gauge, "Executions that have not ended.");
    text.whole(&[], census.live_executions);
    text.family(
        "bacalhau_orchestrator_executions_cancelling",
        Kind::Gauge,
        "Stopped executions whose node has not said that it knows.",
    );
    text.whole(&[], census.cancelling);
    text.family("bacalhau_orchestrator_nodes_schedulable", Kind::Gauge, "Nodes that may get work now.");
    text.whole(&[], census.connected_nodes);
    let mut nodes = orchestrator.nodes().await?;
    // The orchestrator lists itself.
    nodes.retain(|node| node.info.node_type == NodeType::Compute);
    text.family(
        "bacalhau_orchestrator_nodes",
        Kind::Gauge,
        "Compute nodes known, by membership and connection.",
    );
    for membership in [Membership::Pending, Membership::Approved, Membership::Rejected] {
        for connection in [Connection::Connected, Connection::Disconnected] {
            let same = nodes
                .iter()
                .filter(|n| n.membership == membership && n.connection_state.status == connection);
            let (membership, connection) =
                (membership.as_str().to_ascii_lowercase(), connection.as_str().to_ascii_lowercase());
            text.whole(&[("membership", &membership), ("connection", &connection)], same.count());
        }
    }
    Ok(())
}
