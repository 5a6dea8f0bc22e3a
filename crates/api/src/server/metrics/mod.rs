//! `/metrics`: figures about this node in the text format of Prometheus.
//!
//! Everything is read when it is asked for; nothing is kept here. Names have the prefix `bacalhau_` and units as
//! Prometheus wants them. No figure is labelled with something users choose, so that their number is bounded.

mod compute;
mod exposition;
mod orchestrator;

pub use exposition::{Exposition, Kind};

pub(super) use compute::write as write_compute;
pub(super) use orchestrator::write as write_orchestrator;

use super::reply::{self, Failure};
use super::{App, Length};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// What Prometheus calls this format.
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

pub(super) async fn metrics(State(app): State<App>) -> Result<Response, Failure> {
    if !app.metrics {
        return Err(reply::unknown_route());
    }
    let mut text = Exposition::default();
    text.family("bacalhau_node_info", Kind::Gauge, "This node, always 1.");
    let role = match (&app.parts.backend, &app.parts.compute) {
        (Some(_), Some(_)) => "hybrid",
        (Some(_), None) => "orchestrator",
        (None, _) => "compute",
    };
    let (mut id, version) = (app.parts.info.node_id.clone(), app.parts.version.git_version.as_str());
    if let Some(compute) = &app.parts.compute {
        id = compute.info().await.node_id;
    }
    text.sample(&[("node_id", &id), ("role", role), ("version", version)], 1.0);
    if let Some(compute) = &app.parts.compute {
        compute.metrics(&mut text).await;
    }
    if let Some(backend) = &app.parts.backend {
        backend.metrics(&mut text).await?;
        let bounds = app.read(Length::Short, |records| Ok(records.event_bounds()?)).await?;
        text.family("bacalhau_orchestrator_events_total", Kind::Counter, "Events of the stream so far.");
        text.whole(&[], bounds.map_or(0, |(_, newest)| newest));
    }
    if let Some(figures) = &app.parts.figures {
        figures(&mut text);
    }
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text.into_text()).into_response())
}
