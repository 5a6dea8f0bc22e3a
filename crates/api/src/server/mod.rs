//! The HTTP API: `/api/v1/...` in the shapes of Bacalhau 1.9.
//!
//! Deliberate differences, all of which its clients cope with: conflicts and ambiguous IDs are 409 instead of 500, a
//! wrong `order_by` is 400, a rerun of an unknown job is 404, chunked bodies are taken, `?reason=` of a stop is read,
//! error bodies carry the generated request ID, timeouts are JSON, a plain GET of a log stream is 426, pings on log
//! streams are answered, and logs of failed executions can be read.

mod agent;
mod auth;
mod envelope;
mod history;
mod input;
mod jobs;
mod listener;
mod logs;
mod middleware;
mod nodes;
mod reply;
mod submit;
#[cfg(test)]
mod tests;

pub use listener::{Running, ServerOptions, start};

use axum::Router;
use axum::routing::{any, get, put};
use bacalhau_compute::ComputeNode;
use bacalhau_model::{BuildVersion, NodeInfo};
use bacalhau_orchestrator::Orchestrator;
use serde_json::Value;
use std::sync::Arc;

/// What the API serves.
pub struct Services {
    /// Set on orchestrators; without it only `/api/v1/agent` answers.
    pub orchestrator: Option<Orchestrator>,
    /// Set on compute nodes.
    pub compute: Option<ComputeNode>,
    /// What this node says of itself when it is no compute node.
    pub info: NodeInfo,
    /// This build.
    pub version: BuildVersion,
    /// The effective configuration, secrets masked.
    pub config: Value,
}

/// Shared by all handlers.
type App = Arc<Services>;

/// All routes. Wrong methods inside the API are unknown routes, as clients expect.
fn router(app: App) -> Router {
    let api = Router::new()
        .route("/agent/alive", get(agent::alive))
        .route("/agent/version", get(agent::version))
        .route("/agent/node", get(agent::node))
        .route("/agent/config", get(agent::config))
        .route("/agent/authconfig", get(agent::auth_config))
        .route("/agent/debug", get(agent::debug));
    let api = match app.orchestrator {
        None => api,
        Some(_) => api
            .route("/auth", get(auth::list))
            .route("/auth/{method}", get(auth::method).post(auth::authenticate))
            .route("/orchestrator/jobs", get(jobs::list).put(submit::submit).post(submit::submit))
            .route("/orchestrator/jobs/diff", put(submit::diff).get(jobs::named_diff))
            .route("/orchestrator/jobs/{id}", get(jobs::get).delete(submit::stop))
            .route("/orchestrator/jobs/{id}/rerun", put(submit::rerun))
            .route("/orchestrator/jobs/{id}/history", get(history::history))
            .route("/orchestrator/jobs/{id}/executions", get(jobs::executions))
            .route("/orchestrator/jobs/{id}/versions", get(jobs::versions))
            .route("/orchestrator/jobs/{id}/results", get(jobs::results))
            .route("/orchestrator/jobs/{id}/logs", get(logs::logs))
            .route("/orchestrator/nodes", get(nodes::list))
            .route("/orchestrator/nodes/{id}", get(nodes::get).put(nodes::update)),
    };
    let api = api.method_not_allowed_fallback(reply::unknown_route);
    Router::new()
        .route("/", any(reply::to_version))
        .route("/version", any(reply::to_version))
        .route("/livez", any(reply::to_alive))
        .nest("/api/v1", api)
        .fallback(reply::unknown_route)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), middleware::around))
        .with_state(app)
}
