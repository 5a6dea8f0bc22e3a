//! The HTTP API: `/api/v1/...` in the shapes of Bacalhau 1.9.
//!
//! Deliberate differences, all of which its clients cope with:
//! - Statuses: conflicts and ambiguous IDs are 409 (were 500), a wrong `order_by` of jobs, an unknown node action,
//!   results of a service job and unreadable login data are 400 (were 500), a rerun of an unknown job is 404 (was
//!   400), a plain GET of a log stream is 426 (was an empty 200), timeouts are a JSON 503.
//! - Error bodies carry the generated request ID; 401 has `WWW-Authenticate`, 429 has `Retry-After`; the
//!   `X-Bacalhau-*` headers are on early refusals too.
//! - Requests: chunked bodies are taken, `?reason=` of a stop and `?namespace=` of every method are read, any path is
//!   decoded once, form bodies are refused instead of ignored, unknown fields of a job are told as warnings.
//! - Lists of executions have pages. A shortened `execution_id` works in histories. An exact node ID wins.
//! - Log streams: pings are answered and sent, any number may follow, logs of failed executions can be read.
//! - Access is decided by whole path segments; `/`, `/version` and `/livez` are open.
//! - The rate limit counts peers, not `X-Forwarded-For`, and leaves this machine alone.

mod access;
mod agent;
mod auth;
mod backend;
mod credentials;
mod embedded;
mod envelope;
mod events;
mod explain;
mod gate;
mod headers;
mod history;
mod input;
mod jobs;
mod listener;
mod logs;
mod metrics;
mod middleware;
mod nodes;
mod options;
mod pretty;
mod rate;
mod reply;
mod stall;
mod submit;

pub use access::{AuthConfig, Capability, User};
pub use backend::{Backend, Compute, Lines, Records, Reply};
pub use listener::{Running, Server, start};
pub use metrics::{Exposition, Kind};
pub use options::{Limits, Rate, ServerOptions};

use crate::credentials::CredentialBook;
use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{any, delete, get, put};
use bacalhau_compute::ComputeNode;
use bacalhau_model::{BuildVersion, NodeInfo};
use bacalhau_orchestrator::Orchestrator;
use listener::Phase;
use rate::RateLimiter;
use reply::{Answer, Failure, Json};
use serde::Serialize;
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// Writes figures of a part of the process that the API knows nothing else of.
pub type Figures = Arc<dyn Fn(&mut Exposition) + Send + Sync>;

/// What the API serves.
pub struct Services {
    /// Set on orchestrators; without it only `/api/v1/agent` answers.
    pub orchestrator: Option<Orchestrator>,
    /// Set on compute nodes.
    pub compute: Option<ComputeNode>,
    /// Keys with which nodes may join, where there is a NATS server of one's own.
    pub credentials: Option<Arc<dyn CredentialBook>>,
    /// More figures for `/metrics`.
    pub figures: Option<Figures>,
    /// What this node says of itself when it is no compute node.
    pub info: NodeInfo,
    /// This build.
    pub version: BuildVersion,
    /// The effective configuration, secrets masked.
    pub config: Value,
    /// Serve figures for Prometheus.
    pub metrics: bool,
}

/// The same as [`Services`], behind traits.
pub struct Parts {
    /// Set on orchestrators; without it only `/api/v1/agent` answers.
    pub backend: Option<Arc<dyn Backend>>,
    /// Set on compute nodes.
    pub compute: Option<Arc<dyn Compute>>,
    /// Keys with which nodes may join, where there is a NATS server of one's own.
    pub credentials: Option<Arc<dyn CredentialBook>>,
    /// More figures for `/metrics`.
    pub figures: Option<Figures>,
    /// What this node says of itself when it is no compute node.
    pub info: NodeInfo,
    /// This build.
    pub version: BuildVersion,
    /// The effective configuration, secrets masked.
    pub config: Value,
}

impl From<Services> for Parts {
    fn from(services: Services) -> Parts {
        Parts {
            backend: services.orchestrator.map(|o| Arc::new(o) as Arc<dyn Backend>),
            compute: services.compute.map(|c| Arc::new(c) as Arc<dyn Compute>),
            credentials: services.credentials,
            figures: services.figures,
            info: services.info,
            version: services.version,
            config: services.config,
        }
    }
}

/// Shared by all handlers.
type App = Arc<Shared>;

struct Shared {
    parts: Parts,
    metrics: bool,
    limits: Limits,
    auth: AuthConfig,
    rate: RateLimiter,
    server_headers: HeaderMap,
    /// One permit per database read that may go on.
    reads: Arc<Semaphore>,
    /// One permit per read of unknown length that may go on.
    long_reads: Arc<Semaphore>,
    /// One permit per stream of a log or of events that may be open.
    streams: Arc<Semaphore>,
    /// One permit per KiB of request body that may be in memory.
    bodies: Arc<Semaphore>,
    /// How far the server is on its way to its end.
    phase: watch::Receiver<Phase>,
}

/// Whose connection a request came on.
#[derive(Clone, Copy, Debug)]
struct Peer(IpAddr);

impl Shared {
    /// The orchestrator; its routes exist only where there is one.
    fn backend(&self) -> Result<&Arc<dyn Backend>, Failure> {
        self.parts.backend.as_ref().ok_or_else(reply::unknown_route)
    }

    /// Reads records on a thread that may block: a long list must not hold up those that serve everything else. The
    /// hop costs a fraction of a millisecond on an idle machine, and nothing that could be measured on a busy one.
    async fn read<T: Send + 'static>(
        &self,
        length: Length,
        query: impl FnOnce(&dyn Records) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let backend = Arc::clone(self.backend()?);
        let permit = |of: &Arc<Semaphore>| Arc::clone(of).acquire_owned();
        let long = match length {
            Length::Short => None,
            Length::Unknown => Some(permit(&self.long_reads).await.map_err(|_| envelope::internal())?),
        };
        let short = permit(&self.reads).await.map_err(|_| envelope::internal())?;
        let read = tokio::task::spawn_blocking(move || {
            // A read goes on when its client has left; so must its permits.
            let _permits = (long, short);
            query(backend.records())
        });
        // That the reading thread panicked has been told by the panic itself.
        read.await.map_err(|_| envelope::internal())?
    }

    /// The same, encoded, which takes longer than the reading.
    async fn show<T: Serialize>(
        &self,
        length: Length,
        query: impl FnOnce(&dyn Records) -> Result<T, Failure> + Send + 'static,
    ) -> Answer {
        self.read(length, move |records| Json::of(&query(records)?)).await
    }
}

/// How much a read may find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    /// A record, or a page of bounded size.
    Short,
    /// Any number of records. Few of these run at the same time, so that short reads find a free connection.
    Unknown,
}

/// All routes. Wrong methods inside the API are unknown routes, as clients expect.
fn router(app: App) -> Router {
    let api = Router::new()
        .route("/agent/alive", get(agent::alive))
        .route("/agent/version", get(agent::version))
        .route("/agent/node", get(agent::node))
        .route("/agent/config", get(agent::config))
        .route("/agent/authconfig", get(agent::auth_config))
        .route("/agent/debug", get(agent::debug));
    let api = match app.parts.backend {
        None => api,
        Some(_) => api
            .route("/auth", get(auth::list))
            .route("/auth/{id}", get(auth::method).post(auth::authenticate))
            .route("/orchestrator/jobs", get(jobs::list).put(submit::submit).post(submit::submit))
            .route(
                "/orchestrator/jobs/diff",
                put(submit::diff).get(jobs::named_diff).delete(submit::stop_diff),
            )
            .route("/orchestrator/jobs/{id}", get(jobs::get).delete(submit::stop))
            .route("/orchestrator/explain", put(explain::new))
            .route("/orchestrator/jobs/{id}/explain", get(explain::stored))
            .route("/orchestrator/jobs/{id}/rerun", put(submit::rerun))
            .route("/orchestrator/jobs/{id}/record", delete(submit::delete))
            .route("/orchestrator/jobs/{id}/history", get(history::history))
            .route("/orchestrator/jobs/{id}/executions", get(jobs::executions))
            .route("/orchestrator/jobs/{id}/versions", get(jobs::versions))
            .route("/orchestrator/jobs/{id}/results", get(jobs::results))
            .route("/orchestrator/jobs/{id}/logs", get(logs::logs))
            .route("/orchestrator/events", get(events::events))
            .route("/orchestrator/nodes", get(nodes::list))
            .route("/orchestrator/nodes/{id}", get(nodes::get).put(nodes::update))
            .merge(credentials::routes()),
    };
    let api = api.method_not_allowed_fallback(reply::fallback);
    let routes = Router::new()
        .route("/", any(reply::redirect))
        .route("/version", any(reply::redirect))
        .route("/livez", any(reply::redirect))
        .route("/metrics", get(metrics::metrics).fallback(reply::fallback))
        .nest("/api/v1", api)
        .fallback(reply::fallback)
        .with_state(Arc::clone(&app));
    // One router inside another, so that nothing is added to an answer after the middleware.
    Router::new()
        .fallback_service(routes)
        .layer(axum::middleware::from_fn_with_state(app, middleware::around))
}
