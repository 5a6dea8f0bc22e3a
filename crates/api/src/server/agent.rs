//! `/agent`: what this node is.

use super::App;
use super::reply::{Answer, Json};
use axum::extract::State;
use bacalhau_model::NodeInfo;
use serde_json::{Value, json};

pub(super) async fn alive() -> Answer {
    Json::of(&json!({"Status": "OK"}))
}

pub(super) async fn version(State(app): State<App>) -> Answer {
    Json::of(&app.version)
}

pub(super) async fn node(State(app): State<App>) -> Answer {
    Json::of(&own_info(&app).await)
}

/// A compute node says how busy it is; a mere orchestrator has nothing to offer.
pub(super) async fn own_info(app: &App) -> NodeInfo {
    match &app.compute {
        Some(compute) => compute.info().await,
        None => app.info.clone(),
    }
}

pub(super) async fn config(State(app): State<App>) -> Answer {
    #[derive(serde::Serialize)]
    struct Config<'a> {
        config: &'a Value,
    }
    Json::of(&Config { config: &app.config })
}

pub(super) async fn auth_config() -> Answer {
    Json::of(&json!({"Config": {}, "Version": "1.0.0"}))
}

/// Internals for people who look for trouble. Free-form.
pub(super) async fn debug(State(app): State<App>) -> Answer {
    let mut found = serde_json::Map::new();
    if let Some(orchestrator) = &app.orchestrator {
        let census = orchestrator.census().await?;
        found.insert(
            "Orchestrator".to_owned(),
            json!({
                "UnfinishedJobs": census.jobs,
                "LiveExecutions": census.live_executions,
                "UnacknowledgedCancellations": census.cancelling,
                "Nodes": census.nodes,
                "SchedulableNodes": census.connected_nodes,
            }),
        );
        found.insert("DiscoveredNodes".to_owned(), serde_json::to_value(orchestrator.nodes().await?)?);
    }
    if let Some(compute) = &app.compute {
        let load = compute.load().await;
        found.insert("Connection".to_owned(), serde_json::to_value(compute.connection())?);
        found.insert("Running".to_owned(), Value::from(load.running));
        found.insert("Enqueued".to_owned(), Value::from(load.enqueued));
    }
    Json::of(&found)
}
