//! `/agent`: what this node is.

use super::App;
use super::reply::{Answer, Json};
use axum::extract::State;
use bacalhau_model::NodeInfo;
use bacalhau_wire::connect::Status;
use serde::Serialize;
use serde_json::{Map, Value};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Alive {
    status: &'static str,
}

pub(super) async fn alive() -> Answer {
    Json::of(&Alive { status: "OK" })
}

pub(super) async fn version(State(app): State<App>) -> Answer {
    Json::of(&app.parts.version)
}

/// A compute node with its way to the orchestrator.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(flatten)]
    info: NodeInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<Status>,
}

/// A compute node says how busy it is; a mere orchestrator has nothing to offer.
pub(super) async fn node(State(app): State<App>) -> Answer {
    match &app.parts.compute {
        Some(compute) => Json::of(&Node { info: compute.info().await, connection: compute.connection() }),
        None => Json::of(&app.parts.info),
    }
}

#[derive(Serialize)]
struct Config<'a> {
    config: &'a Value,
}

pub(super) async fn config(State(app): State<App>) -> Answer {
    Json::of(&Config { config: &app.parts.config })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SingleSignOn {
    version: &'static str,
    config: Map<String, Value>,
}

/// There is no identity provider.
pub(super) async fn auth_config() -> Answer {
    Json::of(&SingleSignOn { version: "1.0.0", config: Map::new() })
}

/// Internals for people who look for trouble. Free-form.
pub(super) async fn debug(State(app): State<App>) -> Answer {
    let mut found = match &app.parts.backend {
        Some(backend) => backend.debug().await?,
        None => Map::new(),
    };
    if let Some(compute) = &app.parts.compute {
        found.extend(compute.debug().await?);
    }
    Json::of(&found)
}
